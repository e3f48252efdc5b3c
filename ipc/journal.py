"""Reading the journal of a run: every numbered frame its runner ever said, in files of its folder.

``frames.jsonl`` is being written; a full one is renamed ``frames-<first seq, 12 digits>.jsonl``. A line that is not
whole was never sent, and nothing behind it is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson

from ipc.lines import LINE_LIMIT

JOURNAL = "frames.jsonl"
FULL = 16 * 1_048_576
"""The size in bytes at which a new file begins."""


def full_name(first_seq: int) -> str:
    """Return the name of a full file whose first frame is ``first_seq``."""
    return f"frames-{first_seq:012}.jsonl"


def files(folder: Path) -> list[Path]:
    """Return the journal's files in ``folder``, oldest first."""
    found = sorted(path for path in folder.glob("frames-*.jsonl") if path.stem[7:].isdecimal())
    last = folder / JOURNAL
    return [*found, last] if last.exists() else found


def read_after(folder: Path, seq: int) -> Iterator[tuple[int, bytes]]:
    """Yield ``(seq, line with its newline)`` of every whole frame after ``seq``, in order and without a gap.

    A missing folder or file yields nothing. Where the journal goes on being written, and its file is renamed while
    this waits between two frames, it ends early rather than skip one: call again with the last number.

    Raises:
        OSError: a file is there and cannot be read.
    """
    found = files(folder)
    last: int | None = None
    for path, following in zip(found, [*found, None][1:], strict=True):
        if following is not None and following.name != JOURNAL and int(following.stem[7:]) <= seq + 1:
            continue
        try:
            lines = path.open("rb")
        except FileNotFoundError:
            continue
        with lines:
            while line := lines.readline(LINE_LIMIT):
                number = _number(line)
                if number is None:
                    return
                if number <= (seq if last is None else last):
                    continue
                if last is not None and number != last + 1:
                    return
                last = number
                yield number, line


def _number(line: bytes) -> int | None:
    if not line.endswith(b"\n"):
        return None
    try:
        frame = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    number = frame.get("seq") if isinstance(frame, dict) else None
    return number if type(number) is int else None
