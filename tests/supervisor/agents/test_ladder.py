"""The stop ladder, in virtual time: no process is needed to see its steps."""

from __future__ import annotations

import signal

import pytest
import trio

from supervisor.agents.ladder import descend


class Deaf:
    """A run that ends at ``ends_at`` of what is done to it, or on its second KILL."""

    def __init__(self, ends_at: str) -> None:
        self.gone = trio.Event()
        self.done: list[tuple[float, str]] = []
        self._ends_at = ends_at
        self._began = trio.current_time()

    def _note(self, what: str) -> None:
        self.done.append((round(trio.current_time() - self._began, 3), what))
        if what == self._ends_at and (what != "SIGKILL" or self.done[-2][1] == "SIGKILL"):
            self.gone.set()

    def ask_to_stop(self, deadline_s: float) -> None:
        assert deadline_s == 6.0
        self._note("ask")

    async def hang_up(self) -> None:
        self._note("hang up")

    async def signal(self, number: int) -> None:
        self._note(signal.Signals(number).name)


WHOLE = [
    (0.0, "ask"),
    (6.0, "hang up"),
    (7.0, "SIGTERM"),
    (7.0, "SIGCONT"),
    (9.0, "SIGKILL"),
    (10.0, "SIGKILL"),
]


@pytest.mark.parametrize(("ends_at", "steps"), [("ask", 1), ("hang up", 2), ("SIGCONT", 4), ("SIGKILL", 6)])
async def test_each_step_has_its_share_and_the_last_is_certain(
    ends_at: str, steps: int, autojump_clock: trio.testing.MockClock
) -> None:
    run = Deaf(ends_at)
    await descend(run, 10.0)
    assert run.done == WHOLE[:steps]


class Stuck(Deaf):
    """A run whose keeper does not answer."""

    async def hang_up(self) -> None:
        await super().hang_up()
        await trio.sleep_forever()


async def test_a_step_that_hangs_does_not_hold_up_the_next(autojump_clock: trio.testing.MockClock) -> None:
    run = Stuck("SIGCONT")
    await descend(run, 10.0)
    assert run.done == WHOLE[:4]
