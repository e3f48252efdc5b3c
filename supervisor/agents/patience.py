"""How long a run may say nothing: before it is ready, and between signs of life."""

from __future__ import annotations

from typing import Protocol

import trio

from supervisor.agents.facts import Facts
from supervisor.agents.lifecycle import Life

READY_WITHIN = 10.0
"""Seconds from ``init`` to ``ready``; a runner needs milliseconds, a machine at its limits longer."""

LOOK_AGAIN = 1.0
"""The shortest time in seconds between two looks at the log of a run that may have stalled."""


class Watched(Protocol):
    """What is watched of a run."""

    facts: Facts
    ready: trio.Event
    stalled: bool

    def late(self) -> None:
        """End it."""

    async def stall(self) -> None:
        """Flag it."""

    async def shown_life_at(self) -> float:
        """When it last did something, on the loop's clock."""


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
