"""The run's journal: every numbered frame, appended before it is sent, in files of 16 MiB.

Appending is one ``pwrite`` at the end of the last whole line: what a full disk cut short is overwritten by the next
attempt, and a reader stops before it.
"""

import os
from pathlib import Path

from ipc.journal import FULL, JOURNAL, full_name
from ipc.lines import LINE_LIMIT

CHUNK = 65_536
"""How many bytes a reader takes at once, unless one line is longer."""


class JournalInUse(Exception):
    """The folder already holds the journal of a run; the text says where."""


class Segment:
    """One file of the journal: its first number, where it lies, how many whole bytes it has, and what follows it."""

    __slots__ = ("first", "following", "path", "size")

    def __init__(self, first: int, path: Path) -> None:
        self.first = first
        self.path = path
        self.size = 0
        self.following: Segment | None = None


class Journal:
    """Appends frames to ``folder/frames.jsonl``; full files are renamed, acknowledged ones deleted."""

    def __init__(self, folder: Path, *, full: int = FULL) -> None:
        """Begin a journal.

        Raises:
            JournalInUse: another run has written there.
            OSError: the file cannot be made.
        """
        self._folder = folder
        self._full = full
        path = folder / JOURNAL
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if b"\n" in os.pread(self._fd, LINE_LIMIT, 0):
            os.close(self._fd)
            raise JournalInUse(
                f"{path} already holds the journal of a run; give this run a folder of its own"
            )
        os.ftruncate(self._fd, 0)
        self.oldest = self._newest = Segment(1, path)

    def append(self, data: bytes, first: int) -> None:
        """Append whole lines, the first of which is number ``first``, with one write.

        Raises:
            OSError: nothing of ``data`` counts as written; the call can be repeated.
        """
        if self._newest.size >= self._full:
            self._begin_file(first)
        segment = self._newest
        written = os.pwrite(self._fd, data, segment.size)
        if written < len(data):
            os.ftruncate(self._fd, segment.size)
            raise OSError(f"only {written} of {len(data)} bytes could be written")
        segment.size += written

    def acknowledge(self, seq: int) -> None:
        """Delete the full files that hold nothing after ``seq``."""
        while self.oldest.following is not None and self.oldest.following.first <= seq + 1:
            self.oldest.path.unlink(missing_ok=True)
            self.oldest = self.oldest.following

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _begin_file(self, first: int) -> None:
        full, path = self._newest, self._folder / JOURNAL
        renamed = self._folder / full_name(full.first)
        if full.path != renamed:
            path.rename(renamed)
            full.path = renamed
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        os.close(self._fd)
        self._fd = fd
        self._newest = full.following = Segment(first, path)


class Reader:
    """A place in a journal, from which whole lines are read in order, across its files."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._segment = journal.oldest
        self._fd = -1
        self._offset = 0

    def read(self) -> bytes:
        """Return the next whole lines, about ``CHUNK`` bytes of them; empty when all has been read."""
        while self._offset >= self._segment.size:
            if self._segment.following is None:
                return b""
            self._go_to(self._segment.following)
        if self._fd < 0 and not self._open():
            return self.read()
        size = CHUNK
        while True:
            data = os.pread(self._fd, min(size, self._segment.size - self._offset), self._offset)
            end = data.rfind(b"\n") + 1
            if end or not data:
                break
            size += LINE_LIMIT
        self._offset += end
        return data[:end]

    def seek(self, last_seq: int) -> None:
        """Go on with the frame after ``last_seq``, or with the oldest that is left."""
        segment = self._journal.oldest
        while segment.following is not None and segment.following.first <= last_seq + 1:
            segment = segment.following
        self._go_to(segment)
        to_skip = last_seq + 1 - segment.first
        while to_skip > 0 and (data := self.read()):
            lines = data.splitlines(keepends=True)
            if len(lines) > to_skip:
                self._offset -= sum(map(len, lines[to_skip:]))
            to_skip -= len(lines)

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> bool:
        """Open the present file; if it was acknowledged and deleted meanwhile, go to the one behind it instead."""
        try:
            self._fd = os.open(self._segment.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            if self._segment.following is None:
                raise
            self._go_to(self._segment.following)
            return False
        return True

    def _go_to(self, segment: Segment) -> None:
        self.close()
        self._segment, self._offset = segment, 0
