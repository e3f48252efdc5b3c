"""The run's own log: one JSON object a line, ``{"t", "stream", "text"}``, in files of a bounded size.

``t`` is seconds since the epoch. ``text`` holds the whole lines that arrived together, joined by newlines and without
the last one; ``"more": true`` marks a piece of a line that the next record of the same stream goes on with.
"""

import os
import time
from pathlib import Path

import orjson

LOG = "log.ndjson"
ROTATE_AT = 8 * 1_048_576
"""The size in bytes at which a new file begins."""

RECORD_LIMIT = 64_000
"""Most bytes of output in one record."""


class Log:
    """Writes records; what cannot be written is counted, said later, and never ends a run."""

    def __init__(self, folder: Path | None, *, rotate_at: int = ROTATE_AT) -> None:
        """Begin or go on with the log in ``folder``; without a folder nothing is kept."""
        self._folder = folder
        self._rotate_at = rotate_at
        self._fd = -1
        self._size = 0
        self._lost = 0
        self._why = ""
        self._streams: dict[str, LogStream] = {}

    def stream(self, name: str) -> "LogStream":
        """Return the stream called ``name``, in which lines may be unfinished between two pieces of output."""
        return self._streams.setdefault(name, LogStream(self, name))

    def note(self, text: str) -> None:
        """Write a line of our own, in stream ``agentd``."""
        self.write("agentd", text.encode("utf-8", "replace").decode())

    def write(self, stream: str, text: str, *, more: bool = False) -> None:
        """Append one record with one ``write()``."""
        if self._folder is None:
            return
        if self._lost:
            lost, self._lost = self._lost, 0
            self._append("agentd", f"{lost} records are missing here: {self._why}", more=False)
        self._append(stream, text, more=more)

    def close(self) -> None:
        """Write what is unfinished and close the file; may be called twice."""
        for stream in self._streams.values():
            stream.end()
        self._streams.clear()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, stream: str, text: str, *, more: bool) -> None:
        record: dict[str, object] = {"t": time.time(), "stream": stream, "text": text}
        if more:
            record["more"] = True
        line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
        try:
            fd = self._file()
            written = os.pwrite(fd, line, self._size)
            if written < len(line):
                os.ftruncate(fd, self._size)
                raise OSError("the disk is full")
        except OSError as error:
            self._lost += 1
            self._why = error.strerror or str(error)
            return
        self._size += len(line)

    def _file(self) -> int:
        """Return the descriptor of a file with room in it; raises OSError."""
        assert self._folder is not None
        path = self._folder / LOG
        if self._fd < 0:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._size = _whole_size(self._fd)
            os.ftruncate(self._fd, self._size)
        if self._size >= self._rotate_at:
            path.rename(self._folder / f"log-{self._next_number():06}.ndjson")
            os.close(self._fd)
            self._fd = -1
            return self._file()
        return self._fd

    def _next_number(self) -> int:
        assert self._folder is not None
        taken = [
            int(path.stem[4:]) for path in self._folder.glob("log-*.ndjson") if path.stem[4:].isdecimal()
        ]
        return max(taken, default=0) + 1


class LogStream:
    """Cuts one stream of output into records; holds at most one unfinished line of ``RECORD_LIMIT`` bytes."""

    def __init__(self, log: Log, name: str) -> None:
        self._log = log
        self._name = name
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Write the lines that ``data`` completes; what is not UTF-8 becomes the replacement character."""
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        whole, self._rest = data[:end], data[end:]
        while whole:
            cut = len(whole)
            if cut > RECORD_LIMIT:
                cut = whole.rfind(b"\n", 0, RECORD_LIMIT) + 1
            if cut:
                self._log.write(self._name, _text(whole[: cut - 1]))
            else:
                cut = self._piece(whole)
            whole = whole[cut:]
        while len(self._rest) > RECORD_LIMIT:
            self._rest = self._rest[self._piece(self._rest) :]

    def end(self) -> None:
        """Write the unfinished last line, if there is one."""
        rest, self._rest = self._rest, b""
        if rest:
            self._log.write(self._name, _text(rest))

    def _piece(self, line: bytes) -> int:
        """Write the beginning of an over-long line, whole characters only, and return how many bytes that was."""
        cut = RECORD_LIMIT
        while cut > RECORD_LIMIT - 4 and line[cut] & 0xC0 == 0x80:
            cut -= 1
        self._log.write(self._name, _text(line[:cut]), more=True)
        return cut


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _whole_size(fd: int) -> int:
    """Return where the last whole line of a file ends: a writer may have died within a line."""
    size = os.fstat(fd).st_size
    start = max(0, size - 16 * RECORD_LIMIT)
    tail = os.pread(fd, size - start, start)
    return start + tail.rfind(b"\n") + 1
