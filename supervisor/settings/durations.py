"""Spans of time as people write them: ``30``, ``"30m"``, ``"1h30m"``, ``"500ms"``; always seconds inside."""

import math
import re

LONGEST = 366 * 86400.0
"""Seconds. A longer span is a slip of the keyboard, and would overflow some timers."""

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*", re.ASCII)


def seconds(value: object) -> float:
    """Read a span: a number of seconds, or text of numbers with units ms, s, m, h, d.

    Raises `ValueError`, saying what was wanted, for anything else and for what is negative, endless or over 366 days.
    """
    if isinstance(value, str):
        span = _from_text(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        span = _from_number(value)
    else:
        raise ValueError('wanted a duration (seconds, or text such as "30m")')
    if not math.isfinite(span) or span > LONGEST:
        raise ValueError("wanted a duration of at most 366d")
    if span < 0:
        raise ValueError("a duration cannot be negative")
    return span


def _from_number(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _from_text(text: str) -> float:
    rest, total = text.strip(), 0.0
    used: list[str] = []
    while match := PART.match(rest):
        number, unit = match.groups()
        if unit in used:
            raise ValueError(f"{text!r} has the unit {unit} twice")
        used.append(unit)
        total += float(number) * UNITS[unit]
        rest = rest[match.end() :]
    if rest or not used:
        hint = f' ("{rest}s"?)' if re.fullmatch(r"\d+(\.\d+)?", rest) else ""
        raise ValueError(f'{text!r} is no duration such as "30m", "1h30m" or "500ms"{hint}')
    return total
