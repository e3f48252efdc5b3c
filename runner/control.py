"""What the supervisor wants of this run, in one place that everything can wait for.

Frames and signals change it at once, from whatever task hears them; the loop and its turns wait with ``until`` and see
each change. Nothing here speaks, and nothing blocks.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import trio

from ipc.codec import digest
from ipc.frames import (
    Budget,
    Budgets,
    Cancel,
    Message,
    Pause,
    PausedBudget,
    PermissionResponse,
    Reserved,
    Resume,
    Stop,
    SupervisorFrame,
)

OUR_SHARE = 0.6
"""The part of an agent's grace in which the runner ends by itself; the rest belongs to the supervisor's ladder."""

A_MOMENT = 0.05
"""Seconds that a clean-up gets even when time is over."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ending:
    """The run shall end: as what (``exit.reason``), why, and by when (trio's clock)."""

    reason: str
    text: str
    deadline: float


@dataclass(slots=True, kw_only=True)
class Question:
    """A permission that was asked for; ``answer`` is set once."""

    request_id: str
    tool: str
    input: dict[str, Any]
    digest: str
    answer: PermissionResponse | None = None


class Control:
    """The wanted state of one run."""

    def __init__(self) -> None:
        self.protocol = 0
        self.grace = 10.0
        self.ending: Ending | None = None
        self.deaf = False
        """Nobody hears us any more: stdin or stdout has ended."""
        self.pause: Pause | None = None
        self.paused: PausedBudget | None = None
        """The pause that the run is in."""
        self.resume: Resume | None = None
        self.cancel: Cancel | None = None
        self.budgets: list[Budget] = []
        self.messages: list[Message] = []
        self.reserved: Reserved | None = None
        self.questions: dict[str, Question] = {}
        self.refusals: list[str] = []
        """What was asked of us and not done, for the log."""
        self._changed = trio.lowlevel.ParkingLot()
        self._bounded: set[trio.CancelScope] = set()
        self._cut: set[trio.CancelScope] = set()

    async def until(self, found: Callable[[], T | None]) -> T:
        """Wait until ``found`` returns something and return that; looked at again after each change."""
        while (value := found()) is None:
            await self._changed.park()
        return value

    async def changed(self) -> None:
        """Wait for the next change."""
        await self._changed.park()

    def wake(self) -> None:
        """Let everybody who waits look again."""
        self._changed.unpark_all()

    def end(self, reason: str, text: str, within: float | None = None) -> None:
        """The run shall end within so many seconds, else within our share of the grace.

        The first reason stays; the deadline only moves nearer.
        """
        deadline = trio.current_time() + (self.grace * OUR_SHARE if within is None else within)
        if self.ending is not None:
            deadline = min(deadline, self.ending.deadline)
            reason, text = self.ending.reason, self.ending.text
        self.ending = Ending(reason, text, deadline)
        for scope in self._bounded:
            scope.deadline = deadline
        for scope in self._cut:
            scope.cancel()
        self.wake()

    def hang_up(self) -> None:
        """Keeper and supervisor are both gone: begin nothing new, end."""
        self.deaf = True
        self.end("supervisor_lost", "the supervisor is gone")

    @contextmanager
    def cut_at_end(self) -> Iterator[trio.CancelScope]:
        """A block that is cancelled as soon as the run shall end."""
        with trio.CancelScope() as scope:
            if self.ending is not None:
                scope.cancel()
            self._cut.add(scope)
            try:
                yield scope
            finally:
                self._cut.discard(scope)

    @contextmanager
    def bounded(self) -> Iterator[trio.CancelScope]:
        """A shielded block that lasts as long as it must, but not beyond the end of a run that shall end."""
        deadline = self.ending.deadline if self.ending else math.inf
        with trio.CancelScope(shield=True, deadline=deadline) as scope:
            self._bounded.add(scope)
            try:
                yield scope
            finally:
                self._bounded.discard(scope)

    def time_left(self, most: float) -> float:
        """Return ``most`` seconds, or the fewer that a run which shall end has left; at least a moment."""
        left = math.inf if self.ending is None else self.ending.deadline - trio.current_time()
        return max(A_MOMENT, min(most, left))

    def term_grace(self) -> float:
        """Seconds that a program gets between TERM and KILL: enough is left to say how it ended."""
        return max(A_MOMENT, self.time_left(self.grace * OUR_SHARE) * 2 / 3)

    def take(self, frame: SupervisorFrame) -> None:
        """Do what ``frame`` asks for. What can no longer apply meets nothing."""
        match frame:
            case Stop():
                self.end("stopped", frame.reason or "stopped by the supervisor", frame.deadline_s)
            case PermissionResponse():
                self._answer(frame)
            case Resume():
                self._resume(frame)
            case Budgets():
                self.budgets = frame.budgets
            case Cancel():
                self.cancel = frame
            case Pause():
                if self.paused is None or self.paused.kind != "operator":
                    self.pause = frame
            case Message():
                self.messages.append(frame)
            case Reserved():
                self.reserved = frame
        self.wake()

    def _resume(self, frame: Resume) -> None:
        if self.paused is None or frame.pause_seq not in (None, self.paused.seq):
            return
        if frame.budgets is not None:
            self.budgets = frame.budgets
        self.resume = frame

    def _answer(self, frame: PermissionResponse) -> None:
        question = self.questions.get(frame.request_id)
        if question is None or question.answer is not None:
            return
        if not self._binds(frame.digest, question.digest):
            self._refuse(f"the answer to {frame.request_id} was for another input; the question stays open")
        elif frame.updated_input is not None and not self._binds(
            frame.updated_digest, digest(question.tool, frame.updated_input)
        ):
            self._refuse(
                f"the changed input of {frame.request_id} is not what was decided; the question stays open"
            )
        else:
            question.answer = frame

    def _binds(self, given: str | None, wanted: str) -> bool:
        """In protocol 1 a decision always carries a digest; a plain supervisor knows of none."""
        return given == wanted or (given is None and not self.protocol)

    def _refuse(self, text: str) -> None:
        self.refusals.append(text)
