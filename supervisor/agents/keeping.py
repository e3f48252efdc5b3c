"""Whoever keeps the runners' pipes: always a living keeper, and the way each run learns of its end."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import trio

from ipc.identity import is_living
from supervisor.agents.keeper import Keeper, KeeperExit, KeeperFailed, KeeperLost, Kept, Spawned, open_keeper
from supervisor.errors import AgentdError
from supervisor.paths import Home

RETRY_KEEPER = 1.0
"""Seconds between attempts to start a keeper while the machine refuses."""

log = logging.getLogger("agentd.keeping")


class Keeping:
    """The present keeper. When it dies another is started at once and handed every pipe that we hold."""

    def __init__(self) -> None:
        self.degraded: str | None = None
        self.boot_id = ""
        self._keeper: Keeper | None = None
        self._there = trio.Event()
        self._expected: dict[int, Callable[[KeeperExit], None]] = {}
        self._held: dict[int, tuple[Path, Spawned]] = {}
        self._hung_up: set[int] = set()
        self._watched: set[int] = set()
        self._alone: trio.Nursery | None = None

    async def _present(self) -> Keeper:
        while self._keeper is None:
            await self._there.wait()
        return self._keeper

    async def run(
        self,
        home: Home,
        nursery: trio.Nursery,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Keep a keeper until cancelled; started once there is one. It outlives us.

        Raises:
            Failed, Degraded: the first could not be started, or does not answer.
        """
        self._alone = nursery
        first = True
        while True:
            try:
                async with open_keeper(home, os.environ) as keeper:
                    if await self._take(keeper):
                        if first:
                            first = False
                            task_status.started()
                        await keeper.lost.wait()
                    log.error("the keeper is gone; its runs go on, and a new one is started")
            except AgentdError as error:
                if first:
                    raise
                self.degraded = f"no keeper can be started: {error}"
            finally:
                self._keeper = None
            await trio.sleep(0 if self.degraded is None else RETRY_KEEPER)

    async def _take(self, keeper: Keeper) -> bool:
        """Hand every run that it does not know to a new keeper, and make it the present one; False if it died."""
        keeper.on_exit = self._ended
        self.boot_id = keeper.boot_id
        try:
            kept = {run.run_id: run for run in await keeper.list()}
            for run_id in self._held.keys() - kept.keys():
                held = self._held.get(run_id)  # it may have ended while others were handed over
                if held is not None:
                    await self._hand_over(keeper, run_id, *held)
        except KeeperFailed as error:
            log.warning("the keeper died while it was handed the runs: %s", error)
            return False
        for run in kept.values():
            if run.exit is not None:  # it ended while no keeper, or no connection, was there to say so
                self._ended(run.run_id, run.exit)
        self.degraded = None
        self._keeper = keeper
        self._there.set()
        self._there = trio.Event()
        return True

    async def _hand_over(self, keeper: Keeper, run_id: int, folder: Path, born: Spawned) -> None:
        """Give a new keeper our copies of a run's pipes; what it does not take we watch ourselves."""
        with ExitStack() as dead:
            stdin = born.stdin_fd
            if run_id in self._hung_up:  # its end of stdin stays the end of stdin
                reading, stdin = os.pipe()
                dead.callback(os.close, stdin)
                os.close(reading)
            try:
                await keeper.hold(run_id, folder, born.pid, born.start_time, stdin, born.stdout_fd)
            except KeeperLost:
                raise
            except (KeeperFailed, OSError) as error:
                log.error("run %s: the new keeper does not take it: %s", run_id, error)
                self._watch_ourselves(run_id, born)

    def _watch_ourselves(self, run_id: int, born: Spawned) -> None:
        if run_id not in self._watched and self._alone is not None:
            self._watched.add(run_id)
            self._alone.start_soon(self._watch, run_id, born)

    async def _watch(self, run_id: int, born: Spawned) -> None:
        """Learn of the end of a run that no keeper holds, or whose keeper does not answer."""
        try:
            pidfd = os.pidfd_open(born.pid)
        except OSError:
            pidfd = -1
        try:
            if pidfd >= 0 and is_living(born.pid, born.start_time):
                await trio.lowlevel.wait_readable(pidfd)
        finally:
            if pidfd >= 0:
                os.close(pidfd)
        self._ended(run_id, KeeperExit(born.pid, None, None, time.time()))

    def _ended(self, run_id: int, learnt: KeeperExit) -> None:
        self._held.pop(run_id, None)
        if run_id in self._watched and run_id not in self._expected and self._alone is not None:
            self._watched.discard(run_id)
            # A keeper that had not answered tells of it after all.
            self._alone.start_soon(self.forget, run_id)
        if (tell := self._expected.get(run_id)) is not None:
            tell(learnt)

    # What a run does with it

    def expect(self, run_id: int, tell: Callable[[KeeperExit], None]) -> None:
        """Have ``tell`` called on the loop when that run's process has ended."""
        self._expected[run_id] = tell

    def unexpect(self, run_id: int) -> None:
        """Nobody waits for that end any more, and our copies of its pipes are closed."""
        self._expected.pop(run_id, None)
        self._held.pop(run_id, None)
        self._hung_up.discard(run_id)

    async def spawn(
        self, run_id: int, folder: Path, env: Mapping[str, str], *, title: str, launch: Sequence[str]
    ) -> Spawned:
        """Have a runner made; the descriptors in the answer are the caller's.

        Raises:
            KeeperFailed: it could not be.
        """
        while True:
            keeper = await self._present()
            try:
                born = await keeper.spawn(run_id, folder, env, title=title, launch=launch)
            except KeeperLost:
                # What a dead keeper may have begun sees the end of its stdin; the next keeper begins anew.
                log.warning("run %s: the keeper died while it was asked for a process", run_id)
                await keeper.lost.wait()
                self._forsake(keeper)
            else:
                self._held[run_id] = (folder, born)
                return born

    def _forsake(self, keeper: Keeper) -> None:
        if self._keeper is keeper:
            self._keeper = None

    async def signal(self, run_id: int, number: int, *, group: bool) -> None:
        """Send a signal; a run that is gone hears nothing. Where no keeper answers, it is sent by us."""
        keeper = self._keeper
        if keeper is not None and keeper.degraded is None:
            with contextlib.suppress(KeeperFailed):
                await keeper.signal(run_id, number, group=group)
                return
        _, born = self._held.get(run_id, (None, None))
        if born is not None:
            self._watch_ourselves(run_id, born)
        if born is not None and is_living(born.pid, born.start_time):
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(born.pid, number)
        await trio.lowlevel.checkpoint()

    async def hangup(self, run_id: int) -> None:
        """Have the keeper close its copy of the runner's stdin; ours is closed already."""
        self._hung_up.add(run_id)
        with contextlib.suppress(KeeperFailed):
            await (await self._present()).hangup(run_id)

    async def forget(self, run_id: int) -> None:
        """The end of that run is stored: the keeper may forget it."""
        with contextlib.suppress(KeeperFailed):
            await (await self._present()).forget(run_id)

    async def leftovers(self) -> list[Kept]:
        """The runs that the present keeper holds, dead or alive."""
        while True:
            keeper = await self._present()
            try:
                return await keeper.list()
            except KeeperLost:
                await keeper.lost.wait()
                self._forsake(keeper)

    @property
    def pids(self) -> list[int]:
        """The present keeper's pid, if there is one."""
        return [self._keeper.pid] if self._keeper else []

    @property
    def trouble(self) -> str | None:
        """Why runs can neither be started nor ended just now, if so."""
        return self.degraded or (self._keeper.degraded if self._keeper else None)


@asynccontextmanager
async def open_keeping(home: Home) -> AsyncIterator[Keeping]:
    """A keeper for as long as the block lasts; the process and what it holds outlive it.

    Raises:
        Failed, Degraded: none could be started, or there is one that does not answer.
    """
    keeping = Keeping()
    async with trio.open_nursery() as nursery:
        await nursery.start(keeping.run, home, nursery)
        yield keeping
        nursery.cancel_scope.cancel()
