"""When a loop should no longer go on: failures in a row, and words that repeat themselves.

No clock and no I/O: the loop reports each iteration's end and is told whether that was enough.
"""

import re
from dataclasses import dataclass
from typing import Literal

_COOLDOWN = re.compile(r"Circuit breaker OPEN.{0,2000}?Cooldown:\s*(\d+(?:\.\d+)?)\s*s\b", re.DOTALL)
_TIMES = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"  # a date, perhaps with its time
    r"|\b\d\d?:\d\d(?::\d\d(?:\.\d+)?)?\b"  # a time of day
    r"|\b\d+(?:\.\d+)?\s?(?:ms|s|sec|seconds|min|minutes)\b",  # a duration
    re.IGNORECASE,
)
_NUMBERS = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The run ends: ``reason`` is what the exit frame says, ``text`` what a person reads."""

    reason: Literal["failed", "stagnant"]
    text: str


class Guards:
    """Counts what happened in a row; a limit of 0 turns that guard off."""

    def __init__(
        self, *, same_failure_limit: int = 3, failure_limit: int = 4, stagnation_limit: int = 3
    ) -> None:
        self._same_failure_limit = same_failure_limit
        self._failure_limit = failure_limit
        self._stagnation_limit = stagnation_limit
        self._failures = 0
        self._same = 0
        self._signature: str | None = None
        self._repeats = 0
        self._summary: str | None = None

    def failed(self, error: str) -> Verdict | None:
        """An iteration ended with ``error`` (or ran out of time)."""
        self._repeats, self._summary = 0, None
        self._failures += 1
        seen, self._signature = self._signature, signature(error)
        self._same = self._same + 1 if self._signature == seen else 1
        if 0 < self._same_failure_limit <= self._same:
            return Verdict("failed", f"{self._same} iterations in a row failed in the same way: {error}")
        if 0 < self._failure_limit <= self._failures:
            return Verdict("failed", f"{self._failures} iterations in a row failed, the last with: {error}")
        return None

    def succeeded(self, summary: str) -> Verdict | None:
        """An iteration went well and claims ``summary``; an empty one claims nothing."""
        self._clear_failures()
        said = normalised(summary)
        if not said:
            self._repeats, self._summary = 0, None
            return None
        self._repeats = self._repeats + 1 if said == self._summary else 1
        self._summary = said
        if 0 < self._stagnation_limit <= self._repeats:
            return Verdict(
                "stagnant", f"{self._repeats} iterations in a row ended with the same summary: {summary}"
            )
        return None

    def unchanged(self) -> None:
        """An iteration found nothing to do: neither a failure nor a repetition."""
        self._clear_failures()
        self._repeats, self._summary = 0, None

    def _clear_failures(self) -> None:
        self._failures, self._same, self._signature = 0, 0, None


def normalised(summary: str) -> str:
    """Return ``summary`` without what differs between two equal claims: case, spacing, times and durations."""
    return " ".join(_TIMES.sub("", summary.casefold()).split()).strip(" .!,;:")


def signature(error: str) -> str:
    """Return what two occurrences of one error have in common: numbers, times and addresses do not count."""
    return _NUMBERS.sub("#", normalised(error))


def cooldown_in(text: str) -> float | None:
    """Return the seconds that a text ``Circuit breaker OPEN … Cooldown: N s`` asks for, if it does."""
    found = _COOLDOWN.search(text)
    return float(found[1]) if found else None
