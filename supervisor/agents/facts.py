"""What a run's frames say about it: a pure fold from frames to facts, shown once they are stored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ipc.frames import (
    Exit,
    IterationDone,
    IterationStart,
    Log,
    PausedBudget,
    PermissionApplied,
    PermissionRequest,
    PermissionWithdrawn,
    Ready,
    Resumed,
    RunnerFrame,
    UnknownFrame,
)
from supervisor.agents.lifecycle import STEPS, Happening, Life


@dataclass(frozen=True, slots=True)
class Pause:
    """Why a run is paused; ``seq`` is the number of the frame that said so, ``resume_at`` wall time."""

    kind: str
    reason: str
    resume_at: float | None
    seq: int | None


@dataclass(slots=True)
class Facts:
    """A run as its frames tell it. ``since``: wall time of the last change of ``life``."""

    life: Life
    since: float
    iteration: int = 0
    attempt: int = 1
    in_turn: bool = False
    questions: dict[str, str] = field(default_factory=dict)
    """Undecided questions: request id → tool."""
    pause: Pause | None = None
    said: str | None = None
    detail: str = ""
    healthy: bool = False
    """An iteration of it has ended ``ok``."""
    summary: str = ""

    def after(self, frames: Iterable[RunnerFrame | UnknownFrame], now: float) -> Facts:
        """Return the facts once ``frames`` have been said."""
        facts = replace(self, questions=dict(self.questions))
        for frame in frames:
            happening = facts.take(frame)
            if happening is not None:
                facts.step(happening, now)
        return facts

    def step(self, happening: Happening, now: float) -> None:
        """Let ``happening`` change ``life``."""
        life = STEPS[self.life][happening]
        if life is not self.life:
            self.life, self.since = life, now

    def take(self, frame: RunnerFrame | UnknownFrame) -> Happening | None:
        """Note what ``frame`` says; return what it means for the life."""
        match frame:
            case Ready():
                return Happening.READY
            case IterationStart():
                self.iteration, self.attempt, self.in_turn = frame.iteration, frame.attempt, True
                return self._unpaused()
            case IterationDone():
                self.iteration, self.in_turn, self.summary = frame.iteration, False, frame.summary
                self.healthy = self.healthy or frame.status in ("ok", "no_change")
                if frame.status == "error":
                    self.detail = frame.error or frame.summary
                self.questions.clear()
                return self._unpaused() or Happening.ANSWERED
            case PermissionRequest():
                self.questions[frame.request_id] = frame.tool
                self.pause = None
                return Happening.ASKED
            case PermissionApplied() | PermissionWithdrawn():
                return self.decided(frame.request_id)
            case PausedBudget():
                self.pause = Pause(frame.kind, frame.reason, frame.resume_at, frame.seq)
                return Happening.PAUSED
            case Resumed():
                return self._unpaused() or Happening.RESUMED
            case Log() if frame.level == "error":
                self.detail = frame.msg
            case Exit():
                self.said = frame.reason
        return None

    def _unpaused(self) -> Happening | None:
        """A plain runner may begin a turn without having said that its pause is over."""
        if self.pause is None:
            return None
        self.pause = None
        return Happening.RESUMED

    def decided(self, request_id: str) -> Happening | None:
        """The question needs nobody any more; say so if none is left."""
        if self.questions.pop(request_id, None) is None or self.questions:
            return None
        return Happening.ANSWERED

    def decide_all(self, now: float) -> None:
        """Every question was decided the moment it was asked."""
        for request_id in list(self.questions):
            if (happening := self.decided(request_id)) is not None:
                self.step(happening, now)

    @property
    def activity(self) -> str:
        """What it does now, in a few words."""
        if self.life is Life.WAITING and self.questions:
            return f"asks: {next(iter(self.questions.values()))}"
        if self.life is Life.PAUSED and self.pause:
            return self.pause.reason
        if self.in_turn:
            return f"in iteration {self.iteration}"
        return self.summary
