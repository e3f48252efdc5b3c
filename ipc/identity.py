"""Which process a pid means: its start time, and the boot in which that was.

A start time is seconds after the machine's start, as the kernel counts them: setting the clock does not change it, as
it changes psutil's ``create_time()``. On Linux it equals
``psutil.Process(pid).create_time() - psutil.boot_time()`` to within 0.01 s.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

LINUX = bool(sys.platform == "linux")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
STATE_FIELD, START_FIELD = 0, 19
"""Where state and start time stand in ``/proc/PID/stat``, counted after the name in parentheses."""
TICKS = os.sysconf("SC_CLK_TCK")
SAME_START = 0.02
"""Seconds by which two readings of one process's start may differ."""


def start_time(pid: int) -> float:
    """When the process started, in seconds after boot; a zombie still has its start time.

    Raises:
        ProcessLookupError: there is no such process.
    """
    if not LINUX:
        return _start_time_by_psutil(pid)
    return _ticks(_stat(pid))


def is_living(pid: int, started: float) -> bool:
    """Whether the process that was ``pid`` when it started then is there still, and no zombie."""
    try:
        if not LINUX:
            return abs(_start_time_by_psutil(pid) - started) < SAME_START
        stat = _stat(pid)
    except ProcessLookupError:
        return False
    return stat[STATE_FIELD] not in (b"Z", b"X") and abs(_ticks(stat) - started) < SAME_START


def _stat(pid: int) -> list[bytes]:
    """The fields of ``/proc/PID/stat`` after the name."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(f"no process {pid}") from None
    return stat[stat.rindex(b")") + 2 :].split()


def _ticks(stat: list[bytes]) -> float:
    return int(stat[START_FIELD]) / TICKS


def boot_id() -> str:
    """A text that is the same until the machine starts again."""
    if LINUX:
        return BOOT_ID.read_text(encoding="ascii").strip()
    import psutil

    return str(int(psutil.boot_time()))


def _start_time_by_psutil(pid: int) -> float:
    import psutil

    try:
        return psutil.Process(pid).create_time() - psutil.boot_time()
    except psutil.NoSuchProcess:
        raise ProcessLookupError(f"no process {pid}") from None
