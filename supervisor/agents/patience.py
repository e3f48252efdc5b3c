"""How long a run may say nothing: before it is ready, and between signs of life."""

from __future__ import annotations

from typing import Protocol

import trio

from ipc.identity import is_living
from supervisor.agents.facts import Facts
from supervisor.agents.keeper import Spawned
from supervisor.agents.keeping import Keeping
from supervisor.agents.lifecycle import Life
from supervisor.records.frames import RunRef

READY_WITHIN = 10.0
"""Seconds from ``init`` to ``ready``; a runner needs milliseconds, a machine at its limits longer."""

SILENT_AFTER_CLOSE = 5.0
"""Seconds that a runner may live on with its end of the wire closed."""

LOOK_AGAIN = 1.0
"""The shortest time in seconds between two looks at the log of a run that may have stalled."""


class Watched(Protocol):
    """What is watched of a run."""

    ref: RunRef
    facts: Facts
    ready: trio.Event
    gone: trio.Event
    stalled: bool

    @property
    def ending(self) -> bool:
        """Whether it has said its last word, or was told to end."""

    def fail(self, fault: str) -> None:
        """End it for what it did."""

    def late(self) -> None:
        """End it."""

    async def stall(self) -> None:
        """Flag it."""

    async def shown_life_at(self) -> float:
        """When it last did something, on the loop's clock."""


async def expect_end(run: Watched, keeping: Keeping, born: Spawned) -> None:
    """Wait for the end of a runner that has closed its end of the wire, and end it if it lives on."""
    with trio.move_on_after(SILENT_AFTER_CLOSE):
        await run.gone.wait()
    if not run.gone.is_set() and not run.ending and is_living(born.pid, born.start_time):
        run.fail("it closed its end of the wire and lived on")
    while not run.gone.is_set():
        with trio.move_on_after(SILENT_AFTER_CLOSE):
            await keeping.signal(run.ref.run_id, 0, group=False)  # is anybody there who would tell us?
            await run.gone.wait()


async def expect_ready(run: Watched) -> None:
    """End ``run`` unless it is ready in time."""
    with trio.move_on_after(READY_WITHIN):
        await run.ready.wait()
    if not run.ready.is_set() and run.facts.life is not Life.STOPPING:
        run.late()


async def watch_for_stall(run: Watched, limit: float) -> None:
    """Flag ``run`` once it has shown no life for ``limit`` seconds; what waits for a person is never flagged."""
    while True:
        quiet = trio.current_time() - await run.shown_life_at()
        if run.facts.life is not Life.RUNNING:
            quiet = 0.0
        elif quiet >= limit and not run.stalled:
            await run.stall()
        await trio.sleep(max(limit - quiet, LOOK_AGAIN) if quiet < limit else limit)
