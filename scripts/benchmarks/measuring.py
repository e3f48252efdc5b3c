"""Numbers and what is to be said of them: samples, yardsticks, goals, rows of the table."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any


class NotMeasured(Exception):
    """Something that should have been measured could not be; the text says why."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Repeated measurements of one thing, in ``unit``."""

    unit: str
    values: Sequence[float]

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def p95(self) -> float:
        """The least value that 95 % of all values do not exceed."""
        ordered = sorted(self.values)
        return ordered[-(-len(ordered) * 95 // 100) - 1]

    def as_json(self) -> dict[str, Any]:
        """All that there is to know."""
        return {
            "unit": self.unit,
            "median": self.median,
            "p95": self.p95,
            "min": min(self.values),
            "max": max(self.values),
            "stdev": statistics.stdev(self.values) if len(self.values) > 1 else None,
            "values": list(self.values),
        }


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What a number is compared with. Without ``samples``, ``why`` says why there are none.

    ``left_out`` tells that nobody asked for them, as with ``--quick``.
    """

    name: str
    samples: Samples | None
    why: str = ""
    left_out: bool = False


class Of(Enum):
    """What a goal is about."""

    MEDIAN = "median"
    RATIO = "ratio to the yardstick"
    EXCESS = "median above the yardstick's"


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound that a row should keep: not above ``bound``, or with ``at_least`` not below."""

    bound: float
    of: Of = Of.MEDIAN
    at_least: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measure; the first of its ``yardsticks`` is the one that its goal is about."""

    name: str
    what: str
    ours: Samples
    yardsticks: Sequence[Yardstick] = ()
    goal: Goal | None = None

    def ratio(self, yardstick: Yardstick) -> float | None:
        """Our median over the yardstick's."""
        if yardstick.samples is None or not yardstick.samples.median:
            return None
        return self.ours.median / yardstick.samples.median

    def judged(self) -> float | None:
        """The value that the goal bounds, None if it cannot be known."""
        if self.goal is None:
            return None
        if self.goal.of is Of.MEDIAN:
            return self.ours.median
        first = self.yardsticks[0]
        if first.samples is None:
            return None
        return self.ours.median - first.samples.median if self.goal.of is Of.EXCESS else self.ratio(first)

    def met(self) -> bool | None:
        """Whether the goal is reached, None if there is none or that cannot be known."""
        value = self.judged()
        if value is None or self.goal is None:
            return None
        return value >= self.goal.bound if self.goal.at_least else value <= self.goal.bound

    def as_json(self) -> dict[str, Any]:
        """The row for machines."""
        goal = self.goal
        return {
            "name": self.name,
            "what": self.what,
            "ours": self.ours.as_json(),
            "yardsticks": [
                {
                    "name": one.name,
                    "ratio": self.ratio(one),
                    "samples": one.samples and one.samples.as_json(),
                    "not_measured": one.why or None,
                }
                for one in self.yardsticks
            ],
            "goal": goal
            and {"of": goal.of.value, "bound": goal.bound, "at_least": goal.at_least, "value": self.judged()},
            "met": self.met(),
        }


@dataclass(slots=True)
class Bench:
    """What every measure needs to know: where to work, and how thoroughly."""

    folder: Path
    """Empty, on a real disk, removed in the end."""
    quick: bool
    supervisord: Path | str
    """The program, or why there is none."""
    agents: int = 100
    rows: list[Row] = field(default_factory=list)

    def rounds(self, thorough: int, quick: int) -> int:
        """How often to repeat something."""
        return quick if self.quick else thorough

    def say(self, text: str) -> None:
        """Tell whoever waits what happens now."""
        print(f"bench: {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Measure:
    """One name that can be asked for; ``run`` adds rows to the bench, or raises `NotMeasured`."""

    name: str
    what: str
    run: Callable[[Bench], None]
