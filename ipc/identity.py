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
START_FIELD = 19
"""Where the start time stands in ``/proc/PID/stat``, counted after the name in parentheses."""


def start_time(pid: int) -> float:
    """When the process started, in seconds after boot; a zombie still has its start time.

    Raises:
        ProcessLookupError: there is no such process.
    """
    if not LINUX:
        return _start_time_by_psutil(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(f"no process {pid}") from None
    ticks = int(stat[stat.rindex(b")") + 2 :].split()[START_FIELD])
    return ticks / os.sysconf("SC_CLK_TCK")


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
