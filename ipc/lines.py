"""Cut lines out of bytes, before anything looks inside them."""

from __future__ import annotations

from dataclasses import dataclass

LINE_LIMIT = 1_048_576
"""The longest line in bytes, its newline included."""


@dataclass(frozen=True, slots=True)
class Overlong:
    """A line that passed the limit: its first bytes, the rest was dropped up to its newline."""

    beginning: bytes


SHOWN = 200
"""How much of an over-long line is kept, in bytes."""


class LineSplitter:
    """Bytes in, whole lines out; never holds more than ``limit`` bytes of an unfinished line."""

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        self._limit = limit
        self._shown = min(SHOWN, limit)
        self._data = bytearray()
        self._skipping = False

    @property
    def pending(self) -> bytes:
        """What has come since the last newline."""
        return bytes(self._data)

    def feed(self, data: bytes) -> list[bytes | Overlong]:
        """Return the lines that ``data`` ends, without their newlines.

        An over-long line is reported once, as soon as it passes the limit: its newline may never come.
        """
        found: list[bytes | Overlong] = []
        if self._skipping:
            newline = data.find(b"\n")
            if newline < 0:
                return found
            self._skipping = False
            data = data[newline + 1 :]
        *whole, rest = data.split(b"\n")
        if whole and self._data:
            whole[0] = bytes(self._data) + whole[0]
            self._data.clear()
        found.extend(line if len(line) < self._limit else Overlong(line[: self._shown]) for line in whole)
        self._data += rest
        if len(self._data) >= self._limit:
            found.append(Overlong(bytes(self._data[: self._shown])))
            self._data.clear()
            self._skipping = True
        return found
