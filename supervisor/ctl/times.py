"""Times as people read them, and as ISO 8601 for programs."""

from __future__ import annotations

from datetime import UTC, datetime

TIMES = frozenset({"at", "since", "backoff_until", "stalled_since", "t"})
"""Keys that hold a time in seconds since the epoch, besides those that end in ``_at``."""
FOREIGN = frozenset({"input", "settings", "config", "definition"})
"""Keys whose values are not ours to rewrite."""

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "m"))


def span(seconds: float) -> str:
    """Write a duration with its two widest units: ``12s``, ``3m 5s``, ``2h 14m``, ``3d 4h``."""
    seconds = max(0.0, seconds)
    if seconds < 60:
        return f"{seconds:.1f}s" if 0 < seconds < 10 and seconds != int(seconds) else f"{int(seconds)}s"
    smaller = (1.0, "s")
    for size, unit in reversed(_UNITS):
        if seconds < size * (24 if unit == "h" else 60) or unit == "d":
            rest = int(seconds % size // smaller[0])
            return f"{int(seconds // size)}{unit}" + (f" {rest}{smaller[1]}" if rest else "")
        smaller = (size, unit)
    raise AssertionError(seconds)


def short_span(seconds: float) -> str:
    """Write a duration with its widest unit alone, for tables: ``12s``, ``3m``, ``2h``, ``3d``."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(max(0.0, seconds))}s"


def ago(at: object, now: float) -> str:
    """Write how long before ``now`` the time ``at`` was, or nothing for no time."""
    return f"{short_span(now - at)} ago" if isinstance(at, int | float) else ""


def ahead(at: object, now: float) -> str:
    """Write how long after ``now`` the time ``at`` is, or nothing for no time."""
    return f"in {short_span(at - now)}" if isinstance(at, int | float) else ""


def iso(at: float) -> str:
    """Write a time as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def with_iso_times(value: object) -> object:
    """Return ``value`` with every time of ours in it as ISO 8601; what an agent or a person wrote stays."""
    if isinstance(value, dict):
        return {
            key: iso(item)
            if isinstance(item, int | float) and not isinstance(item, bool) and _is_time(key)
            else item
            if key in FOREIGN
            else with_iso_times(item)
            for key, item in value.items()
        }
    return [with_iso_times(item) for item in value] if isinstance(value, list) else value


def _is_time(key: str) -> bool:
    return key in TIMES or key.endswith("_at")
