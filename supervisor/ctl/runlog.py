"""Reading a run's log as single lines.

The runner writes ``log-000001.ndjson`` … and at last ``log.ndjson``, the supervisor ``stray.ndjson``.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection, Iterator
from heapq import merge
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

import orjson

KINDS = ("log", "stray")
"""``<kind>.ndjson`` is a file that grows; full ones are renamed ``<kind>-<number>.ndjson``."""
CHUNK = 262_144
LONGEST = 1_048_576
"""Characters of a line that are put together from its pieces."""


class Line(NamedTuple):
    """One line of output: when (seconds since the epoch), on which stream, and its text without the newline."""

    t: float
    stream: str
    text: str


class RunLog:
    """A run's log from its beginning; each `read` yields what has come since, over rotation. A context manager."""

    def __init__(self, folder: Path, streams: Collection[str] = ()) -> None:
        """``streams`` are those wanted, as in `wanted`; none named means all."""
        self._parts = [_Part(folder, kind, streams) for kind in KINDS]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def read(self) -> Iterator[Line]:
        """Yield the lines that are whole by now, in the order of their times; may be called again."""
        return merge(*(part.read() for part in self._parts), key=lambda line: line.t)

    def move_to(self, folder: Path) -> None:
        """Go on with another run's log, from its beginning."""
        for part in self._parts:
            part.move_to(folder)

    def skip_to_last(self, number: int) -> None:
        """Begin with the newest files from which on there are ``number`` lines, not with the oldest."""
        for part in self._parts:
            part.skip_to_last(number)

    def close(self) -> None:
        """Close the files; may be called twice."""
        for part in self._parts:
            part.close()


class _Part:
    """The files that one writer made, as `RunLog` has them."""

    def __init__(self, folder: Path, kind: str, streams: Collection[str]) -> None:
        self._folder = folder
        self._kind = kind
        self._streams = frozenset(streams)
        self._file: BinaryIO | None = None
        self._data = b""
        self._parts: dict[str, str] = {}

    def read(self) -> Iterator[Line]:
        while self._file is not None or self._open_next(None):
            assert self._file is not None
            while data := self._file.read(CHUNK):
                *whole, self._data = (self._data + data).split(b"\n")
                for record in whole:
                    yield from self._lines(record)
            if self._is_current():
                return
            # Renamed meanwhile: what was written between our last read and the renaming is still to be had.
            if data := self._file.read(CHUNK):
                *whole, self._data = (self._data + data).split(b"\n")
                for record in whole:
                    yield from self._lines(record)
                continue
            finished = self._file
            if not self._open_next(finished):
                return
            finished.close()
            self._data = b""

    def move_to(self, folder: Path) -> None:
        self.close()
        self._folder = folder
        self._data = b""
        self._parts.clear()

    def skip_to_last(self, number: int) -> None:
        for path in reversed(self._files()):
            try:
                file = path.open("rb")
            except OSError:
                continue
            self.close()
            self._file = file
            number -= sum(1 for record in file for _ in self._lines(record))
            file.seek(0)
            self._parts.clear()
            if number <= 0:
                return

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _files(self) -> list[Path]:
        """The files there are, oldest first."""
        return [*sorted(self._folder.glob(f"{self._kind}-*.ndjson")), self._folder / f"{self._kind}.ndjson"]

    def _is_current(self) -> bool:
        assert self._file is not None
        files = self._files()
        return _same(files[-1], self._file) or not any(_same(path, self._file) for path in files[:-1])

    def _open_next(self, after: BinaryIO | None) -> bool:
        """Open the file that follows ``after``, or the first; False if there is none yet."""
        files = self._files()
        first = 0
        if after is not None:
            first = next((number + 1 for number, path in enumerate(files) if _same(path, after)), len(files))
        for path in files[first : first + 1]:
            try:
                self._file = path.open("rb")
            except OSError:
                return False
            return True
        return False

    def _lines(self, record: bytes) -> Iterator[Line]:
        try:
            found = orjson.loads(record)
            t, stream, text = float(found["t"]), str(found["stream"]), str(found["text"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return
        if self._streams and not wanted(stream, self._streams):
            return
        text = self._parts.pop(stream, "") + text
        if found.get("more") is True and len(text) < LONGEST:
            self._parts[stream] = text
            return
        for line in text.split("\n"):
            yield Line(t, stream, line)


def wanted(stream: str, names: Collection[str]) -> bool:
    """Whether one of ``names`` means the stream: by its whole name, or by what is before the colon."""
    return stream in names or stream.partition(":")[0] in names


def last_lines(log: RunLog, number: int) -> deque[Line]:
    """Return the last ``number`` lines of a log that was not read yet; its next `read` goes on after them."""
    log.skip_to_last(number)
    return deque(log.read(), maxlen=number)


def _same(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except OSError:
        return False
