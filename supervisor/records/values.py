"""How values of ours become values that SQLite stores, and come back unchanged."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

LARGEST = 2**63 - 1
"""The largest integer that a column holds."""

MOST = 1e15
"""Amounts (dollars, seconds) above this are taken for this: no sum of them becomes infinite."""

ESCAPE = "\U0010fffd"
"""Begins the six hex digits of a character that UTF-8 has no bytes for: a lone surrogate, or this one itself."""

_UNSTORABLE = re.compile("[\ud800-\udfff\U0010fffd]")
_ESCAPED = re.compile(ESCAPE + "([0-9a-f]{6})")


def to_text(text: str) -> str:
    """Return what a TEXT column can hold for ``text``; `from_text` gives ``text`` back.

    Only a text with lone surrogates (a file name that is no UTF-8, say) is changed.
    """
    if text.isascii():
        return text
    if ESCAPE not in text:
        try:
            text.encode()
        except UnicodeEncodeError:
            pass
        else:
            return text
    return _UNSTORABLE.sub(lambda found: f"{ESCAPE}{ord(found[0]):06x}", text)


def from_text(stored: str) -> str:
    """Return the text that `to_text` stored."""
    if stored.isascii() or ESCAPE not in stored:
        return stored
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), stored)


def to_json(value: Any) -> str:
    """Return ``value`` as JSON text, whatever its texts and integers hold.

    Raises:
        TypeError, ValueError, RecursionError: it is no JSON, or nested too deep.
    """
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # lone surrogates, integers beyond 64 bits, and what is no JSON at all
        return json.dumps(value, separators=(",", ":"))


def from_json(text: str) -> Any:
    """Return the value that `to_json` stored; an integer beyond 64 bits comes back as the nearest float."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


def count(value: int) -> int:
    """Return ``value`` brought into 0 … `LARGEST`."""
    return min(max(value, 0), LARGEST)


def amount(value: float | None) -> float | None:
    """Return ``value`` brought into 0 … `MOST`; ``None`` and what is no number are unknown: ``None``."""
    if value is None:
        return None
    within = float(min(max(value, 0.0), MOST))  # an integer may be too large to become a float before
    return None if math.isnan(within) else within
