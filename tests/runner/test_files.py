"""The two files that a run writes, its log and its journal: whole lines, whatever the disk does."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from ipc.frames import Exit, Init, InitPayload, IterationStart, Notify, Ready, Side
from ipc.journal import read_after
from ipc.session import Session
from runner.clock import WorkClock
from runner.control import Control
from runner.journal import Journal, JournalInUse, Reader
from runner.log import RECORD_LIMIT, Log
from runner.speaker import JournalSpeaker


def records(folder: Path) -> list[dict[str, Any]]:
    paths = [*sorted(folder.glob("log-*.ndjson")), folder / "log.ndjson"]
    return [json.loads(line) for path in paths for line in path.read_bytes().splitlines()]


def text_of(folder: Path, stream: str) -> str:
    return "".join(
        record["text"] + ("" if record.get("more") else "\n")
        for record in records(folder)
        if record["stream"] == stream
    )


def test_lines_that_arrive_together_are_one_record(tmp_path: Path) -> None:
    log = Log(tmp_path)
    out = log.stream("stdout")
    out.feed(b"one\ntwo\nthr")
    out.feed(b"ee\n\nfive")
    log.close()
    assert [record["text"] for record in records(tmp_path)] == ["one\ntwo", "three\n", "five"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_byte_of_a_text_is_lost_however_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("log")
    line = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=30)
    lines = data.draw(st.lists(line, max_size=30))
    lines.insert(
        data.draw(st.integers(0, len(lines))), "é" * data.draw(st.sampled_from([0, 5, RECORD_LIMIT]))
    )
    text = "\n".join(lines) + "\n"
    raw = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    log = Log(folder, rotate_at=data.draw(st.sampled_from([200, 5_000, 8_000_000])))
    for begin, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        log.stream("x").feed(raw[begin:end])
    log.close()
    assert text_of(folder, "x") == text
    assert all(len(record["text"].encode()) <= RECORD_LIMIT for record in records(folder))


def test_what_is_not_utf_8_is_visibly_replaced(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.stream("x").feed(b"caf\xe9 \xff\n")
    log.close()
    assert text_of(tmp_path, "x") == "caf� �\n"


def test_a_full_file_is_set_aside_and_numbering_goes_on(tmp_path: Path) -> None:
    for _ in range(2):
        log = Log(tmp_path, rotate_at=300)
        for number in range(10):
            log.write("x", f"line {number}")
        log.close()
    assert text_of(tmp_path, "x") == "".join(f"line {number}\n" for number in range(10)) * 2
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[0] == "log-000001.ndjson"
    assert names[-1] == "log.ndjson"
    assert len(names) > 3


def test_a_log_goes_on_behind_the_last_whole_line(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.note("first")
    log.close()
    with (tmp_path / "log.ndjson").open("ab") as file:
        file.write(b'{"t":1,"stre')
    log = Log(tmp_path)
    log.note("second")
    log.close()
    assert text_of(tmp_path, "agentd") == "first\nsecond\n"


def test_what_a_full_disk_swallowed_is_said_afterwards(
    tmp_path: Path, full_disk: Callable[[int | None], None]
) -> None:
    log = Log(tmp_path)
    log.note("before")
    full_disk(10)
    log.note("lost")
    log.note("lost too")
    full_disk(None)
    log.note("after")
    log.close()
    assert text_of(tmp_path, "agentd") == "before\n2 records are missing here: the disk is full\nafter\n"


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int | None], None]]:
    """A disk that takes so many bytes of a write and no more; None: there is room again."""
    real, room = os.pwrite, [None]

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        if room[0] is None:
            return real(fd, data, offset)
        if room[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data[: room[0]], offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    return lambda size: room.__setitem__(0, size)  # type: ignore[arg-type]


# The journal


def line(seq: int, size: int = 0) -> bytes:
    return json.dumps({"op": "notify", "text": "x" * size, "seq": seq}).encode() + b"\n"


def read_all(reader: Reader) -> list[int]:
    found: list[int] = []
    while data := reader.read():
        assert data.endswith(b"\n")
        found += [json.loads(one)["seq"] for one in data.splitlines()]
    return found


@pytest.mark.parametrize("full", [1, 300, 100_000])
def test_a_reader_finds_every_frame_across_files(tmp_path: Path, full: int) -> None:
    journal = Journal(tmp_path, full=full)
    reader = Reader(journal)
    found = []
    for seq in range(1, 41, 2):
        journal.append(line(seq, seq * 7) + line(seq + 1), seq)
        if seq % 3 == 0:
            found += read_all(reader)
    assert found + read_all(reader) == list(range(1, 41))
    for last in range(41):
        reader.seek(last)
        assert read_all(reader) == list(range(last + 1, 41))
        assert [seq for seq, _ in read_after(tmp_path, last)] == list(range(last + 1, 41))
    reader.close()
    journal.close()


def test_a_line_longer_than_a_chunk_is_read_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(line(1) + line(2, 900_000) + line(3), 1)
    reader = Reader(journal)
    assert read_all(reader) == [1, 2, 3]
    reader.close()
    journal.close()


@pytest.mark.parametrize("room", [0, 5])
def test_a_short_write_leaves_nothing_behind(
    tmp_path: Path, full_disk: Callable[[int | None], None], room: int
) -> None:
    journal = Journal(tmp_path)
    journal.append(line(1), 1)
    full_disk(room)
    with pytest.raises(OSError, match=r"could be written|No space"):
        journal.append(line(2, 100), 2)
    assert (tmp_path / "frames.jsonl").read_bytes() == line(1)
    full_disk(None)
    journal.append(line(2), 2)
    assert [seq for seq, _ in read_after(tmp_path, 0)] == [1, 2]
    journal.close()


def test_a_file_deleted_before_it_was_read_is_passed_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path, full=1)
    for seq in range(1, 5):
        journal.append(line(seq), seq)
    journal.acknowledge(2)
    reader = Reader(journal)
    journal.acknowledge(3)
    assert read_all(reader) == [4]
    reader.close()
    journal.close()


def test_two_runs_never_share_a_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(line(1), 1)
    journal.close()
    with pytest.raises(JournalInUse, match=r"frames\.jsonl already holds"):
        Journal(tmp_path)


# Saying, with a clock that needs no patience


@pytest.fixture
def speaking(tmp_path: Path) -> Iterator[tuple[JournalSpeaker, Control, Session]]:
    session = Session(Side.RUNNER)
    supervisor = Session(Side.SUPERVISOR)
    session.receive(
        supervisor.send(Init(payload=InitPayload(name="a", run_id="1", template="x", protocol=1)))
    )
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    control = Control()
    control.protocol = 1
    journal = Journal(tmp_path)
    log = Log(tmp_path)
    yield JournalSpeaker(writing, session, journal, control, log), control, session
    journal.close()
    log.close()
    os.close(reading)
    os.close(writing)


async def test_a_frame_waits_for_room_and_keeps_its_number(
    speaking: tuple[JournalSpeaker, Control, Session],
    full_disk: Callable[[int | None], None],
    autojump_clock: trio.testing.MockClock,
    tmp_path: Path,
) -> None:
    speaker, _, session = speaking
    await speaker.say(Ready(protocol=1))
    full_disk(3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(speaker.say, Notify(text="a"), Notify(text="b"))
        await trio.sleep(3600)
        assert session.last_seq == 3
        full_disk(None)
    assert [seq for seq, _ in read_after(tmp_path, 0)] == [1, 2, 3]


async def test_the_end_of_the_run_ends_the_wait_and_only_exit_is_said_afterwards(
    speaking: tuple[JournalSpeaker, Control, Session],
    full_disk: Callable[[int | None], None],
    autojump_clock: trio.testing.MockClock,
    tmp_path: Path,
) -> None:
    speaker, control, session = speaking
    await speaker.say(Ready(protocol=1))
    await speaker.say(IterationStart(iteration=1))
    full_disk(0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(speaker.say, Notify(text="lost"))
        await trio.sleep(60)
        control.end("stopped", "enough")
    full_disk(None)
    await speaker.say(Notify(text="makes no sense any more"))
    await speaker.say(Exit(reason="stopped"))
    await speaker.say(Notify(text="after the end"))
    ops = [json.loads(data)["op"] for _, data in read_after(tmp_path, 0)]
    assert ops == ["ready", "iteration_start", "exit"]
    assert session.last_seq == 3


async def test_a_limit_on_work_does_not_run_while_somebody_is_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    clock = WorkClock()
    with clock.limit(10) as limit:
        await trio.sleep(4)
        with clock.waiting():
            await trio.sleep(100)
            with clock.waiting():
                await trio.sleep(100)
            await trio.sleep(100)
            assert clock.worked() == 4
        began = trio.current_time()
        await trio.sleep_forever()
    assert limit.cancelled_caught
    assert trio.current_time() - began == 6
    assert clock.worked() == 10


async def test_a_renewed_limit_counts_from_now(autojump_clock: trio.testing.MockClock) -> None:
    clock = WorkClock()
    with clock.limit(None) as limit:
        await trio.sleep(50)
        clock.renew(limit, 5)
        await trio.sleep_forever()
    assert limit.cancelled_caught
    assert clock.worked() == 55


async def test_the_first_reason_to_end_stays_and_the_nearest_deadline_counts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    control = Control()
    control.end("stopped", "enough")
    first = control.ending
    assert first is not None
    assert first.deadline == trio.current_time() + 6
    await trio.sleep(1)
    control.hang_up()
    assert control.ending == first
    control.end("stopped", "now", within=0.5)
    assert control.ending is not None
    assert control.ending.deadline == trio.current_time() + 0.5
    assert control.ending.text == "enough"
