"""The life of a run: one table, every pair of state and event decided, and the rule by which an end gets its name.

No clock and no I/O in here. ``STEPS`` says where each event leads; an event that changes nothing leads to the state it
found. A terminal state never changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Life(Enum):
    """What a run is."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting_permission"
    PAUSED = "paused"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    STOPPED = "stopped"
    FAILED = "failed"
    CRASHED = "crashed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def over(self) -> bool:
        """Whether it is terminal."""
        return self in TERMINAL


TERMINAL = frozenset(
    {Life.SUCCEEDED, Life.STOPPED, Life.FAILED, Life.CRASHED, Life.TIMED_OUT, Life.CANCELLED, Life.LOST}
)
RESTARTABLE = frozenset({Life.CRASHED, Life.LOST, Life.TIMED_OUT})
"""The ends that ``restart = "on-crash"`` covers."""


class Happening(Enum):
    """What happens to a run before its end."""

    SPAWNED = "spawned"
    READY = "ready"
    ASKED = "asked"  # a question is open
    ANSWERED = "answered"  # none is open any more
    PAUSED = "paused"
    RESUMED = "resumed"
    STOP = "stop"  # asked for, or forced by a fault or a time-out


_Q, _S, _R, _W, _P, _X = Life.QUEUED, Life.STARTING, Life.RUNNING, Life.WAITING, Life.PAUSED, Life.STOPPING
_H = Happening

STEPS: dict[Life, dict[Happening, Life]] = {
    _Q: {
        _H.SPAWNED: _S,
        _H.READY: _R,
        _H.ASKED: _Q,
        _H.ANSWERED: _Q,
        _H.PAUSED: _Q,
        _H.RESUMED: _Q,
        _H.STOP: _X,
    },
    _S: {
        _H.SPAWNED: _S,
        _H.READY: _R,
        _H.ASKED: _S,
        _H.ANSWERED: _S,
        _H.PAUSED: _S,
        _H.RESUMED: _S,
        _H.STOP: _X,
    },
    _R: {
        _H.SPAWNED: _R,
        _H.READY: _R,
        _H.ASKED: _W,
        _H.ANSWERED: _R,
        _H.PAUSED: _P,
        _H.RESUMED: _R,
        _H.STOP: _X,
    },
    _W: {
        _H.SPAWNED: _W,
        _H.READY: _W,
        _H.ASKED: _W,
        _H.ANSWERED: _R,
        _H.PAUSED: _P,
        _H.RESUMED: _W,
        _H.STOP: _X,
    },
    _P: {
        _H.SPAWNED: _P,
        _H.READY: _P,
        _H.ASKED: _W,  # only a plain runner asks without having said that its pause is over
        _H.ANSWERED: _P,
        _H.PAUSED: _P,
        _H.RESUMED: _R,
        _H.STOP: _X,
    },
    _X: dict.fromkeys(Happening, _X),
    **{end: dict.fromkeys(Happening, end) for end in TERMINAL},
}


@dataclass(frozen=True, slots=True)
class Ending:
    """All that is known of a run's end. ``code`` and ``signal`` are both ``None`` where nobody could learn them."""

    code: int | None = None
    signal: int | None = None
    said: str | None = None
    """The reason of its ``exit`` frame, if there was one."""
    detail: str = ""
    """The last thing it said about why."""
    stop_asked: bool = False
    why_stopped: str = ""
    """What was said when it was told to stop."""
    ours: frozenset[int] = frozenset()
    """The signals that we sent it."""
    fault: str = ""
    """How it broke the protocol, or why it could not be started."""
    late: bool = False
    """It was ended because it was not ready in time."""
    began: bool = True
    """It had a process."""

    @property
    def unknown(self) -> bool:
        """Whether it had a process and nobody could learn how that ended."""
        return self.began and self.code is None and self.signal is None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The name of an end; ``counted``: whether it counts against the restart limit."""

    state: Life
    reason: str
    counted: bool = True


_SAID: dict[str, Life] = {
    "completed": Life.SUCCEEDED,
    "stopped": Life.STOPPED,
    "failed": Life.FAILED,
    "stagnant": Life.FAILED,
    "exception": Life.FAILED,
    "supervisor_lost": Life.CRASHED,
}
_NAMED = {1: "SIGHUP", 2: "SIGINT", 6: "SIGABRT", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}


def judge(end: Ending) -> Verdict:
    """Name the end of a run: what we know for certain outranks what the runner said of itself."""
    if end.fault:
        return Verdict(Life.FAILED, end.fault)
    if end.late:
        return Verdict(Life.TIMED_OUT, "it was not ready in time")
    if not end.began:
        return Verdict(Life.CANCELLED, f"{_told(end)} (before it began)")
    if end.signal is not None:
        name = _NAMED.get(end.signal, f"signal {end.signal}")
        if end.stop_asked and end.signal in end.ours:
            return Verdict(Life.STOPPED, f"{_told(end)}; ended by our {name}")
        return Verdict(Life.CRASHED, f"killed by {name}")
    if end.code:
        state = Life.FAILED if end.said == "exception" or end.code == 2 else Life.CRASHED
        return Verdict(state, _explain(f"exit code {end.code}", end))
    if end.said is None:
        if end.stop_asked:
            return Verdict(Life.STOPPED, _told(end))
        how = "exit code 0" if end.code == 0 else "exit code unknown"
        return Verdict(Life.CRASHED, f"it ended without a word ({how})")
    if end.said == "supervisor_lost":
        return Verdict(Life.CRASHED, "it lost its supervisor", counted=False)
    if end.stop_asked and end.said in ("completed", "stopped"):
        return Verdict(Life.STOPPED, _told(end))
    return Verdict(_SAID[end.said], _explain(end.said, end))


def _told(end: Ending) -> str:
    return end.why_stopped or "told to stop"


def _explain(short: str, end: Ending) -> str:
    return f"{short}: {end.detail}" if end.detail else short
