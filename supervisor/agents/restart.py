"""Whether and when a run is followed by another: pure decisions, no clock.

The first crash is answered at once, the next after 1, 2, 4, 8 seconds (at most five minutes) and some jitter; the sixth
in a row is answered by holding the agent until a person looks. A minute of health, or one finished iteration that
was ``ok``, begins the count anew.
"""

from __future__ import annotations

from dataclasses import dataclass

from supervisor.agents.lifecycle import RESTARTABLE, Verdict

JITTER = 0.25
"""The share of a delay that may come on top of it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Restarts in a row before an agent is held; the longest delay between them, and the life after ``ready`` that
    clears the count, both in seconds."""

    restarts: int = 5
    delay: float = 300.0
    healthy_after: float = 60.0


@dataclass(frozen=True, slots=True)
class Idle:
    """No successor."""


@dataclass(frozen=True, slots=True)
class Again:
    """A successor after ``delay`` seconds; ``crashes`` in a row so far. ``fresh``: it begins a lineage of its own."""

    delay: float
    crashes: int
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """No successor until a person resumes the agent."""

    reason: str
    crashes: int


Decision = Idle | Again | Held


def decide(
    policy: str,
    verdict: Verdict,
    *,
    wanted: bool,
    crashes: int,
    healthy: bool,
    held: str = "",
    chance: float,
    limits: Limits,
) -> Decision:
    """Say what follows a run.

    ``crashes`` counts those in a row before this one; ``healthy``: this run did what clears the count; ``held``: why
    a person must look first (the run died paused, or in an iteration that must not be repeated unseen); ``chance``: a
    number in [0, 1) for the jitter.
    """
    if not wanted:
        return Idle()
    if held and verdict.state in RESTARTABLE:
        return Held(held, crashes)
    if policy == "never":
        return Idle()
    if verdict.state not in RESTARTABLE:
        if policy != "always":
            return Idle()
        return Again(delay=1.0 + JITTER * chance, crashes=0 if healthy else crashes, fresh=True)
    before = 0 if healthy else crashes
    count = before + 1 if verdict.counted else before
    if count > limits.restarts:
        return Held(f"{count} crashes in a row, the last: {verdict.reason}", count)
    return Again(delay=backoff(count, chance, limits.delay), crashes=count)


def backoff(crashes: int, chance: float, longest: float) -> float:
    """Seconds to wait after this many crashes in a row, at most ``longest``."""
    if crashes <= 1:
        return 0.0
    return min(longest, 2.0 ** min(crashes - 2, 16) * (1 + JITTER * chance))
