"""Processes of a home, found by what the kernel shows of them, and their ends."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ipc.identity import start_time

SAME_START = 0.05
"""Seconds by which two readings of one process's start may differ."""


class Seen(NamedTuple):
    """A living process."""

    pid: int
    parent: int
    state: str
    title: str
    environ: bytes


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return _stat(pid)[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_gone(pid: int, within: float = 20.0) -> bool:
    """Wait until the process has ended, reaped or not."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], within)[0])
    finally:
        os.close(pidfd)


def descriptors(pid: int) -> list[str]:
    """What each open descriptor of a process is, without the numbers that tell one pipe from another."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/{pid}/fd/{name}").split("[")[0])
    return sorted(found)


def of_home(folder: Path, runners: Iterable[tuple[int, float]] = ()) -> list[Seen]:
    """Everything alive that belongs to a home: by its mark, its environment, its keeper's title, its ancestors.

    ``runners``: pid and start time of runners, which would not be found once their keeper is gone.
    """
    home = str(folder).encode()
    processes = {one.pid: one for one in _all()}
    ours = {
        one.pid
        for one in processes.values()
        if b"AGENTD_HOME=" + home + b"\0" in one.environ
        or b"AGENTD_RUN=" + home + b":" in one.environ
        or f"{folder}/keeper.sock" in one.title
    }
    for pid, started in runners:
        with contextlib.suppress(ProcessLookupError):
            if pid in processes and abs(start_time(pid) - started) < SAME_START:
                ours.add(pid)
    ours.discard(os.getpid())
    return [one for one in processes.values() if _descends(one, ours, processes)]


def keepers(folder: Path) -> list[int]:
    """Pids of the home's living keepers."""
    return [one.pid for one in _all() if one.title == f"agentd keeper {folder}/keeper.sock"]


def shown(processes: Iterable[Seen]) -> list[str]:
    return [f"{one.pid} ({one.state}): {one.title[:200]}" for one in processes]


def kill(processes: Iterable[Seen], within: float = 10.0) -> None:
    deadline = time.monotonic() + within
    doomed = list(processes)
    for process in doomed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    for process in doomed:
        is_gone(process.pid, max(0.0, deadline - time.monotonic()))


def _all() -> list[Seen]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                state, parent = _stat(int(name))
                if state not in "ZX":
                    title = (
                        Path(f"/proc/{name}/cmdline")
                        .read_bytes()
                        .replace(b"\0", b" ")
                        .strip()
                        .decode(errors="replace")
                    )
                    environ = Path(f"/proc/{name}/environ").read_bytes()
                    found.append(Seen(int(name), int(parent), state, title, environ))
    return found


def _stat(pid: int) -> tuple[str, str]:
    """State and parent."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], fields[1]


def _descends(one: Seen, ours: set[int], processes: dict[int, Seen]) -> bool:
    known: Seen | None = one
    while known is not None:
        if known.pid in ours:
            return True
        known = processes.get(known.parent)
    return False
