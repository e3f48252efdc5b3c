"""The supervisor's side of the keeper, against a real one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from ipc.identity import boot_id, start_time
from ipc.keeper import RUNS_LIMIT
from supervisor.agents import keeper as client
from supervisor.agents.keeper import Keeper, KeeperExit, KeeperFailed, KeeperLost, Spawned, open_keeper
from supervisor.errors import Degraded, Failed
from supervisor.paths import Home
from tests.runner.keeping import CAT, COMMAND, EXIT_7, SLEEP, Stand, is_gone, open_fds, stand

PATIENCE = 30


class Place(Stand):
    """A stand whose keeper is found or started by the client."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.home = Home(folder, folder, folder)
        self.exits: dict[int, KeeperExit] = {}
        self._heard = trio.Event()

    @asynccontextmanager
    async def keeper(self) -> AsyncIterator[Keeper]:
        with trio.fail_after(PATIENCE):
            async with open_keeper(self.home, os.environ, command=COMMAND) as keeper:
                keeper.on_exit = self._on_exit
                self.track(keeper.pid)
                yield keeper

    def _on_exit(self, run_id: int, exit: KeeperExit) -> None:
        self.exits[run_id] = exit
        self._heard.set()

    async def end_of(self, run_id: int) -> KeeperExit:
        while run_id not in self.exits:
            self._heard = trio.Event()
            await self._heard.wait()
        return self.exits[run_id]

    async def born(self, keeper: Keeper, run_id: int, program: str) -> Spawned:
        plan = self.plan(str(run_id), program)
        made = await keeper.spawn(run_id, Path(plan["folder"]), plan["env"], plan["title"])
        self.track(made.pid)
        return made


@pytest.fixture
def here() -> Iterator[Place]:
    with stand() as made:
        place = Place(made.folder)
        try:
            yield place
        finally:
            place.close()


def close(*born: Spawned) -> None:
    for one in born:
        os.close(one.stdin_fd)
        os.close(one.stdout_fd)


async def read(fd: int) -> bytes:
    os.set_blocking(fd, False)
    await trio.lowlevel.wait_readable(fd)
    return os.read(fd, 100)


async def test_a_keeper_is_started_and_found_again(here: Place) -> None:
    async with here.keeper() as first:
        assert (first.start_time, first.boot_id) == (start_time(first.pid), boot_id())
        async with here.keeper() as second:
            assert second.pid == first.pid
    assert is_gone(first.pid)
    async with here.keeper() as third:
        assert third.pid != first.pid


async def test_the_keeper_has_only_the_allowed_part_of_the_environment(here: Place) -> None:
    look = "import time\ntime.sleep(600)"
    with trio.fail_after(PATIENCE):
        environ = {**os.environ, "SECRET_TOKEN": "hidden", "LC_TIME": "C"}
        async with open_keeper(here.home, environ, command=COMMAND) as keeper:
            here.track(keeper.pid)
            run = await keeper.spawn(1, here.run_folder("1"), {"PROGRAM": look}, "t", launch=["sleep", "600"])
            here.track(run.pid)
            close(run)
            seen = await trio.Path(f"/proc/{keeper.pid}/environ").read_bytes()
            assert b"hidden" not in seen


async def test_a_runner_lives_its_life_through_the_client(here: Place) -> None:
    async with here.keeper() as keeper:
        born = await here.born(keeper, 17, CAT)
        assert born.start_time == start_time(born.pid)
        os.write(born.stdin_fd, b"hello\n")
        assert await read(born.stdout_fd) == b"hello\n"
        (kept,) = await keeper.list()
        assert (kept.run_id, kept.pid, kept.held, kept.exit) == (17, born.pid, False, None)
        os.close(born.stdin_fd)
        await keeper.hangup(17)
        ended = await here.end_of(17)
        assert (ended.pid, ended.code, ended.signal) == (born.pid, 0, None)
        (kept,) = await keeper.list()
        assert kept.exit == ended
        assert not await keeper.signal(17, signal.SIGTERM)
        await keeper.forget(17)
        assert await keeper.list() == []
        os.close(born.stdout_fd)


async def test_a_hundred_runners_are_spawned_at_once_and_told_apart(here: Place) -> None:
    born: dict[int, Spawned] = {}

    async def spawn(keeper: Keeper, run_id: int) -> None:
        born[run_id] = await here.born(keeper, run_id, f"print({run_id}, flush=True)\n{CAT}")

    async with here.keeper() as keeper:
        async with trio.open_nursery() as nursery:
            for run_id in range(100):
                nursery.start_soon(spawn, keeper, run_id)
        for run_id, one in born.items():
            assert int(await read(one.stdout_fd)) == run_id
        close(*born.values())
        again = await keeper.fds(born)
        assert list(again) == list(born)
        os.write(again[42][0], b"still\n")
        assert await read(again[42][1]) == b"still\n"
        for pair in again.values():
            os.close(pair[0])
            os.close(pair[1])
        for run_id in born:
            assert await keeper.signal(run_id, signal.SIGKILL)
        for run_id in born:
            assert (await here.end_of(run_id)).signal == signal.SIGKILL
            await keeper.forget(run_id)


async def test_more_runs_than_fit_one_message_are_fetched_in_several(here: Place) -> None:
    runs = range(RUNS_LIMIT + 5)
    async with here.keeper() as keeper:
        for run_id in runs:
            close(await here.born(keeper, run_id, EXIT_7))
        await keeper.list()
        before = open_fds(os.getpid())
        again = await keeper.fds([*runs, *runs])
        assert open_fds(os.getpid()) == before + 2 * len(runs)
        for pair in again.values():
            os.close(pair[0])
            os.close(pair[1])
        with pytest.raises(KeeperFailed, match="run 9999 is not held"):
            await keeper.fds([*runs, 9999])
        assert open_fds(os.getpid()) == before


async def test_a_refusal_is_raised_with_the_keepers_words(here: Place) -> None:
    async with here.keeper() as keeper:
        close(await here.born(keeper, 1, SLEEP))
        with pytest.raises(KeeperFailed, match="run 1 is held already"):
            await here.born(keeper, 1, SLEEP)
        with pytest.raises(KeeperFailed, match="1 runs are held"):
            await keeper.shutdown()
        with pytest.raises(KeeperFailed, match="surrogates"):
            await keeper.spawn(2, here.run_folder("2"), {"A": "\udcff"}, "t")
        assert not keeper.lost.is_set()


async def test_a_silent_keeper_makes_it_degraded_until_it_answers(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PATIENCE", 0.1)
    async with here.keeper() as keeper:
        os.kill(keeper.pid, signal.SIGSTOP)
        try:
            with trio.move_on_after(0.5):
                await keeper.list()
            assert keeper.degraded is not None
            assert f"pid {keeper.pid}" in keeper.degraded
        finally:
            os.kill(keeper.pid, signal.SIGCONT)
        assert await keeper.list() == []
        assert keeper.degraded is None


async def test_what_arrives_for_somebody_who_left_is_closed(here: Place) -> None:
    async with here.keeper() as keeper:
        await keeper.list()
        before = open_fds(os.getpid())
        os.kill(keeper.pid, signal.SIGSTOP)
        with trio.move_on_after(0.1):
            await here.born(keeper, 1, SLEEP)
        os.kill(keeper.pid, signal.SIGCONT)
        (kept,) = await keeper.list()
        here.track(kept.pid)
        assert kept.run_id == 1
        assert open_fds(os.getpid()) == before


async def test_when_the_keeper_dies_everyone_who_waits_learns_it_and_a_new_one_holds_the_runners(
    here: Place,
) -> None:
    async with here.keeper() as keeper:
        born = await here.born(keeper, 1, CAT)
        os.kill(keeper.pid, signal.SIGSTOP)
        outcomes: list[str] = []

        async def ask() -> None:
            try:
                await keeper.list()
            except KeeperLost:
                outcomes.append("lost")

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            os.kill(keeper.pid, signal.SIGKILL)
        assert outcomes == ["lost"] * 3
        assert keeper.lost.is_set()
        with pytest.raises(KeeperLost):
            await keeper.list()
    async with here.keeper() as keeper:
        folder = here.run_folder("1")
        await keeper.hold(2, folder, born.pid, born.start_time + 5, born.stdin_fd, born.stdout_fd)
        assert (await here.end_of(2)).code is None
        await keeper.forget(2)
        await keeper.hold(1, folder, born.pid, born.start_time, born.stdin_fd, born.stdout_fd)
        close(born)
        again = await keeper.fds([1])
        os.write(again[1][0], b"alive\n")
        assert await read(again[1][1]) == b"alive\n"
        for fd in again[1]:
            os.close(fd)
        await keeper.hangup(1)
        assert await here.end_of(1) == KeeperExit(born.pid, None, None, here.exits[1].at)


async def test_leaving_it_leaves_runners_alone_and_cancelling_the_body_too(here: Place) -> None:
    async with here.keeper() as keeper:
        born = await here.born(keeper, 1, SLEEP)
        with trio.CancelScope() as scope:
            scope.cancel()
            await keeper.list()
    async with here.keeper() as keeper:
        (kept,) = await keeper.list()
        assert (kept.pid, kept.exit) == (born.pid, None)
    close(born)


async def test_opening_again_and_again_leaves_no_descriptor(here: Place) -> None:
    async with here.keeper() as holder:
        close(await here.born(holder, 1, EXIT_7))
        await holder.list()
        before = open_fds(os.getpid()), open_fds(holder.pid)
        for _ in range(50):
            async with here.keeper() as keeper:
                await keeper.list()
        while (open_fds(os.getpid()), open_fds(holder.pid)) != before:
            await holder.list()  # until the keeper has seen the last one leave, or the fixture's time is over


async def test_a_keeper_that_cannot_start_is_named_with_its_own_words(here: Place) -> None:
    missing = Home(here.folder, here.folder, here.folder / "missing")
    with trio.fail_after(PATIENCE), pytest.raises(Failed, match=r"no keeper at .*missing"):
        async with open_keeper(missing, os.environ, command=COMMAND):
            pass
    with trio.fail_after(PATIENCE), pytest.raises(Failed, match="no-such-program"):
        async with open_keeper(here.home, os.environ, command=("/no-such-program",)):
            pass


async def test_one_that_listens_and_says_nothing_is_named_by_its_pid(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "GREET_WITHIN", 0.1)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as mute:
        mute.bind(str(here.socket))
        mute.listen()
        with pytest.raises(Degraded, match=f"pid {os.getpid()}"):
            async with open_keeper(here.home, os.environ):
                pass


async def test_an_answer_that_is_nonsense_counts_as_the_keepers_loss(here: Place) -> None:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as odd:
        odd.bind(str(here.socket))
        odd.listen()
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:

                async def babble() -> None:
                    listener = trio.socket.from_stdlib_socket(odd)
                    while True:
                        peer, _ = await listener.accept()
                        with peer:
                            await peer.send(b"nonsense\n")

                nursery.start_soon(babble)
                with pytest.raises(Failed, match="no keeper could be reached"):
                    async with open_keeper(here.home, os.environ):
                        pass
                nursery.cancel_scope.cancel()
