"""Whoever keeps the runners' pipes: always a living keeper, and the way each run learns of its end."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

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

    async def _present(self) -> Keeper:
        while self._keeper is None:
            await self._there.wait()
        return self._keeper

    async def run(self, home: Home, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep a keeper until cancelled; started once there is one. It outlives us.

        Raises:
            Failed, Degraded: the first could not be started, or does not answer.
        """
        first = True
        while True:
            try:
                async with open_keeper(home, os.environ) as keeper:
                    await self._take(keeper)
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

    async def _take(self, keeper: Keeper) -> None:
        keeper.on_exit = self._ended
        self.boot_id = keeper.boot_id
        for run_id, (folder, born) in list(self._held.items()):
            with contextlib.suppress(KeeperFailed, OSError):
                await keeper.hold(run_id, folder, born.pid, born.start_time, born.stdin_fd, born.stdout_fd)
        for kept in await keeper.list():
            if kept.exit is not None:  # it ended while no keeper, or no connection, was there to say so
                self._ended(kept.run_id, kept.exit)
        self.degraded = None
        self._keeper = keeper
        self._there.set()
        self._there = trio.Event()

    def _ended(self, run_id: int, learnt: KeeperExit) -> None:
        self._held.pop(run_id, None)
        if (tell := self._expected.get(run_id)) is not None:
            tell(learnt)

    # What a run does with it

    def expect(self, run_id: int, tell: Callable[[KeeperExit], None]) -> None:
        """Have ``tell`` called on the loop when that run's process has ended."""
        self._expected[run_id] = tell

    def unexpect(self, run_id: int) -> None:
        """Nobody waits for that end any more."""
        self._expected.pop(run_id, None)

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

    def closed(self, run_id: int) -> None:
        """Our copies of that run's pipes are closed: they cannot be handed on any more."""
        self._held.pop(run_id, None)

    async def signal(self, run_id: int, number: int, *, group: bool) -> None:
        """Send a signal; a run that is gone hears nothing."""
        with contextlib.suppress(KeeperFailed):
            await (await self._present()).signal(run_id, number, group=group)

    async def hangup(self, run_id: int) -> None:
        """Have the keeper close its copy of the runner's stdin."""
        with contextlib.suppress(KeeperFailed):
            await (await self._present()).hangup(run_id)

    async def forget(self, run_id: int) -> None:
        """The end of that run is stored: the keeper may forget it."""
        with contextlib.suppress(KeeperFailed):
            await (await self._present()).forget(run_id)

    async def leftovers(self) -> list[Kept]:
        """The runs that the keeper still holds, dead or alive."""
        return await (await self._present()).list()

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
        await nursery.start(keeping.run, home)
        yield keeping
        nursery.cancel_scope.cancel()
