"""What a run leaves in its folder, as far as the supervisor reads or adds to it. Everything here blocks."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from pathlib import Path

import orjson

from ipc import journal
from ipc.codec import decode
from ipc.errors import RemoteError
from ipc.frames import RunnerFrame, UnknownFrame
from ipc.keeper import EXIT_RECORD, Ending

LOG = "log.ndjson"
"""The runner's: it writes at offsets of its own, so nobody else may write there."""
STRAY = "stray.ndjson"
"""Records as in the log, of what came on stdout and was no frame."""
STDERR = "stderr"
TAIL_LINES = 20
TAIL_BYTES = 8_192
STRAY_LIMIT = 1_048_576
"""The most bytes of stray output that are kept of one run."""

BATCH = 1_000
"""The most frames that are taken from a journal at once."""


class Leavings:
    """The folder of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.strays = 0
        """Lines of its stdout that were no frames."""
        self._last_strays: deque[str] = deque(maxlen=TAIL_LINES)
        self._kept = 0

    def make(self) -> None:
        """Make the folder, for our user alone.

        Raises:
            OSError: it cannot be made.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def add_strays(self, lines: list[str]) -> None:
        """Keep output that was no frame beside the run's log, as far as the limit allows; a full disk loses it."""
        self.strays += len(lines)
        self._last_strays.extend(line[:1_000] for line in lines[-TAIL_LINES:])
        if self._kept > STRAY_LIMIT:
            return
        record = b""
        for line in lines:
            record += orjson.dumps(
                {"t": time.time(), "stream": "stray", "text": line[:32_768]},
                option=orjson.OPT_APPEND_NEWLINE,
            )
        self._kept += len(record)
        with contextlib.suppress(OSError), (self.folder / STRAY).open("ab", buffering=0) as file:
            file.write(record)

    def log_age(self) -> float:
        """Seconds since its log or its stray output last grew; infinite without either."""
        grew = float("-inf")
        for name in (LOG, STRAY):
            with contextlib.suppress(OSError):
                grew = max(grew, (self.folder / name).stat().st_mtime)
        return max(0.0, time.time() - grew)

    @property
    def stdout_tail(self) -> str:
        """The last lines of its stdout that were no frames."""
        return "\n".join(self._last_strays)

    def stderr_tail(self) -> str:
        """The last lines of its stderr."""
        try:
            with (self.folder / STDERR).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
                text = file.read(TAIL_BYTES).decode("utf-8", "backslashreplace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-TAIL_LINES:])

    def forget_journal(self) -> None:
        """Delete the journal: all of it is stored and the run is closed."""
        for path in journal.files(self.folder):
            with contextlib.suppress(OSError):
                path.unlink()


def exit_record(folder: Path) -> tuple[int | None, int | None] | None:
    """Return (code, signal) with which a keeper saw the run's process end; None without a record that can be read.

    A held process leaves a record in which both are None: nobody could learn them.
    """
    try:
        ending = Ending.read((folder / EXIT_RECORD).read_bytes())
    except (OSError, RemoteError):
        return None
    if not all(value is None or type(value) is int for value in (ending.code, ending.signal)):
        return None
    return ending.code, ending.signal


def frames_after(folder: Path, seq: int) -> list[RunnerFrame | UnknownFrame]:
    """Return up to ``BATCH`` frames of a dead run's journal after ``seq``; a faulty one ends the list.

    Raises:
        OSError: the journal is there and cannot be read.
    """
    found: list[RunnerFrame | UnknownFrame] = []
    for number, line in journal.read_after(folder, seq):
        try:
            frame = decode(line)
        except RemoteError:
            break
        if not isinstance(frame, RunnerFrame | UnknownFrame) or number != seq + len(found) + 1:
            break
        found.append(frame)
        if len(found) == BATCH:
            break
    return found
