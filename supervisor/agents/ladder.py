"""The stop ladder: ask, hang up, TERM and CONT, KILL; each step bounded by its share of the grace, the last certain."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

ASK, HANG_UP, TERMINATE = 0.6, 0.1, 0.2
"""The shares of the grace that the first three steps are given; what is left belongs to KILL."""

KILL_AGAIN = 1.0
"""Seconds after which KILL is sent once more to a process that is still there."""


class Stoppable(Protocol):
    """What the ladder needs of a run; none of these waits for the runner."""

    gone: trio.Event

    def ask_to_stop(self, deadline_s: float) -> None:
        """Say ``stop``."""

    async def hang_up(self) -> None:
        """Close both copies of its stdin."""

    async def signal(self, number: int) -> None:
        """Send a signal to its process group."""


async def descend(run: Stoppable, grace: float) -> None:
    """End ``run``; returns once it is gone. ``grace`` is in seconds, for the whole ladder.

    Cancelling leaves the run on the step it had reached.
    """
    steps: tuple[tuple[Callable[[], Awaitable[None]], float], ...] = (
        (lambda: _ask(run, grace * ASK), ASK),
        (run.hang_up, HANG_UP),
        (lambda: _terminate(run), TERMINATE),
    )
    for act, share in steps:
        with trio.move_on_after(grace * share):
            await act()
            await run.gone.wait()
        if run.gone.is_set():
            return
    while not run.gone.is_set():
        with trio.move_on_after(KILL_AGAIN):
            await run.signal(signal.SIGKILL)
            await run.gone.wait()


async def _ask(run: Stoppable, deadline_s: float) -> None:
    run.ask_to_stop(deadline_s)


async def _terminate(run: Stoppable) -> None:
    await run.signal(signal.SIGTERM)
    await run.signal(signal.SIGCONT)
