"""Lines through real pipes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import trio
import trio.testing

from ipc.channel import LineWriter, read_some, read_some_now
from ipc.lines import LineSplitter, Overlong

F_GETPIPE_SZ = 1032


@dataclass
class Pipe:
    """A pipe whose reading end does not block; ``size``: what the kernel holds, in bytes."""

    read: int
    write: int
    size: int

    def close_read(self) -> None:
        os.close(self.read)
        self.read = -1

    def lines(self) -> list[bytes | Overlong]:
        """What can be read at once, cut into lines."""
        data = b""
        while more := read_some_now(self.read):
            data += more
        return LineSplitter().feed(data)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    pipe = Pipe(read, write, fcntl.fcntl(write, F_GETPIPE_SZ))
    yield pipe
    for fd in (pipe.read, pipe.write):
        try:
            os.close(fd)
        except OSError:
            pass


@pytest.fixture
def writer(pipe: Pipe) -> LineWriter:
    """A writer that owns the pipe's writing end."""
    writer = LineWriter(pipe.write)
    pipe.write = -1
    return writer


async def read_lines(pipe: Pipe, count: int) -> list[bytes | Overlong]:
    splitter, found = LineSplitter(), list[bytes | Overlong]()
    while len(found) < count:
        found += splitter.feed(await read_some(pipe.read))
    return found


def fill(writer: LineWriter, pipe: Pipe) -> None:
    """Put one line that is a little longer than the pipe."""
    writer.put(b"f" * pipe.size + b"\n")
    assert writer.backlog > 0


async def test_a_line_goes_out_at_once_while_the_pipe_has_room(pipe: Pipe, writer: LineWriter) -> None:
    with trio.fail_after(10):
        ticket = writer.put(b"one\n")
        assert pipe.lines() == [b"one"]
        await writer.written(ticket)
        assert writer.backlog == 0
        assert writer.blocked_since is None


async def test_order_is_kept_between_what_waits_and_what_comes_later(
    pipe: Pipe, writer: LineWriter, nursery: trio.Nursery
) -> None:
    with trio.fail_after(20):
        nursery.start_soon(writer.run)
        lines = [b"%d %s\n" % (number, b"x" * (number * 7919 % 30_000)) for number in range(300)]
        tickets = [writer.put(line) for line in lines]
        assert tickets == sorted(set(tickets))
        assert await read_lines(pipe, len(lines)) == [line[:-1] for line in lines]
        await writer.written(tickets[-1])
        nursery.cancel_scope.cancel()


async def test_a_slow_reader_holds_up_nobody_who_puts(
    pipe: Pipe, writer: LineWriter, nursery: trio.Nursery
) -> None:
    with trio.fail_after(20):
        nursery.start_soon(writer.run)
        fill(writer, pipe)
        begun = trio.current_time()
        for number in range(1_000):
            writer.put(b"%d\n" % number)
        assert trio.current_time() - begun < 5
        assert begun >= (writer.blocked_since or begun + 1)
        last = writer.put(b"last\n")
        assert len(await read_lines(pipe, 1_002)) == 1_002
        await writer.written(last)
        assert (writer.backlog, writer.blocked_since) == (0, None)
        nursery.cancel_scope.cancel()


async def test_a_torn_line_is_finished_before_anything_else(
    pipe: Pipe, writer: LineWriter, nursery: trio.Nursery
) -> None:
    with trio.fail_after(20):
        fill(writer, pipe)
        last = writer.put(b"last\n")
        first_part = read_some_now(pipe.read)
        assert first_part
        assert b"\n" not in first_part
        nursery.start_soon(writer.run)
        await writer.written(last)
        rest = await read_some(pipe.read)
        assert first_part + rest == b"f" * pipe.size + b"\nlast\n"
        nursery.cancel_scope.cancel()


async def test_a_line_that_waits_is_not_copied_again_for_every_piece(pipe: Pipe, writer: LineWriter) -> None:
    writer.put(b"x" * 1_000_000 + b"\n")
    await trio.lowlevel.checkpoint()
    assert all(isinstance(piece, memoryview) for piece in writer._queue)


async def test_giving_up_the_wait_leaves_the_line_queued(
    pipe: Pipe, writer: LineWriter, nursery: trio.Nursery
) -> None:
    with trio.fail_after(20):
        fill(writer, pipe)
        ticket = writer.put(b"wanted\n")
        nursery.start_soon(writer.run)
        with trio.move_on_after(0.01) as scope:
            await writer.written(ticket)
        assert scope.cancelled_caught
        assert writer.backlog > 0
        assert (await read_lines(pipe, 2))[1] == b"wanted"
        await writer.written(ticket)
        nursery.cancel_scope.cancel()


async def test_cancelling_the_writing_task_loses_and_tears_nothing(pipe: Pipe, writer: LineWriter) -> None:
    with trio.fail_after(20):
        fill(writer, pipe)
        writer.put(b"after\n")
        async with trio.open_nursery() as first:
            first.start_soon(writer.run)
            await trio.testing.wait_all_tasks_blocked()
            first.cancel_scope.cancel()
        async with trio.open_nursery() as second:
            second.start_soon(writer.run)
            assert await read_lines(pipe, 2) == [b"f" * pipe.size, b"after"]
            second.cancel_scope.cancel()


async def test_closing_wakes_whoever_waits_and_ends_the_writing_task(pipe: Pipe, writer: LineWriter) -> None:
    told = []

    async def wait(ticket: int) -> None:
        with pytest.raises(trio.BrokenResourceError):
            await writer.written(ticket)
        told.append(ticket)

    with trio.fail_after(20):
        fill(writer, pipe)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            for _ in range(3):
                nursery.start_soon(wait, writer.put(b"never\n"))
            await trio.testing.wait_all_tasks_blocked()
            writer.close()
            writer.close()
        assert len(told) == 3
        assert writer.broken
        with pytest.raises(trio.BrokenResourceError):
            writer.put(b"more\n")


async def test_closing_an_idle_writer_ends_its_task(writer: LineWriter) -> None:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            await trio.testing.wait_all_tasks_blocked()
            writer.close()


async def test_a_reader_that_goes_away_wakes_whoever_waits(pipe: Pipe, writer: LineWriter) -> None:
    with trio.fail_after(20):
        fill(writer, pipe)
        ticket = writer.put(b"never\n")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            await trio.testing.wait_all_tasks_blocked()
            pipe.close_read()
            with pytest.raises(trio.BrokenResourceError):
                await writer.written(ticket)
        assert writer.broken


async def test_a_reader_that_is_gone_already_is_told_at_once(pipe: Pipe, writer: LineWriter) -> None:
    with trio.fail_after(20):
        done = writer.put(b"heard\n")
        pipe.close_read()
        with pytest.raises(trio.BrokenResourceError):
            writer.put(b"never\n")
        await writer.written(done)


async def test_the_queue_is_bounded_and_what_does_not_fit_is_not_queued(pipe: Pipe) -> None:
    with trio.fail_after(20):
        writer = LineWriter(pipe.write, limit=1_000)
        pipe.write = -1
        fill(writer, pipe)
        while writer.backlog + 100 <= 1_000:
            writer.put(b"y" * 99 + b"\n")
        before = writer.backlog
        with pytest.raises(trio.WouldBlock):
            writer.put(b"z" * 999 + b"\n")
        assert writer.backlog == before
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            seen = await read_lines(pipe, 2)
            last = writer.put(b"last\n")
            await writer.written(last)
            seen += pipe.lines()
            nursery.cancel_scope.cancel()
        assert not any(b"z" in line for line in seen if isinstance(line, bytes))


async def test_one_line_longer_than_the_bound_still_goes_out(pipe: Pipe) -> None:
    with trio.fail_after(20):
        writer = LineWriter(pipe.write, limit=1_000)
        pipe.write = -1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            writer.put(b"x" * 900_000 + b"\n")
            assert await read_lines(pipe, 1) == [b"x" * 900_000]
            nursery.cancel_scope.cancel()


async def test_reading_waits_for_bytes_and_ends_with_nothing(pipe: Pipe, nursery: trio.Nursery) -> None:
    with trio.fail_after(20):
        assert read_some_now(pipe.read) is None
        nursery.start_soon(_write_later, pipe)
        assert await read_some(pipe.read) == b"late"
        assert await read_some(pipe.read) == b""
        assert read_some_now(pipe.read) == b""


async def _write_later(pipe: Pipe) -> None:
    await trio.testing.wait_all_tasks_blocked()
    os.write(pipe.write, b"late")
    await trio.testing.wait_all_tasks_blocked()
    os.close(pipe.write)
    pipe.write = -1


async def test_giving_up_a_read_loses_nothing(pipe: Pipe) -> None:
    with trio.fail_after(20):
        os.write(pipe.write, b"kept")
        with trio.CancelScope() as scope:
            scope.cancel()
            await read_some(pipe.read)
        assert scope.cancelled_caught
        assert await read_some(pipe.read) == b"kept"


async def test_a_peer_that_never_pauses_does_not_starve_the_others(pipe: Pipe, writer: LineWriter) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            for _ in range(100):
                await writer.written(writer.put(b"flood\n"))
                assert await read_some(pipe.read) == b"flood\n"
            nursery.cancel_scope.cancel()
    assert turns >= 100
