"""Processes below this one: inheriting what they daemonise, finding, ending and reaping them.

A child stays a child until we reap it, so its pid can be nobody else's: only direct children are ever signalled here.
What lives below them becomes ours (see `become_subreaper`) as its parents die.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
LISTINGS = 3
"""How often the kernel is asked for children before it is believed."""
PROBE = 0.005
"""Seconds between two looks at children that were told to end."""

LIBC = ctypes.CDLL(None, use_errno=True)
LISTS_CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children").exists()
"""Whether the kernel lists children in /proc (CONFIG_PROC_CHILDREN)."""


def become_subreaper() -> None:
    """Let orphaned descendants become children of this process instead of init's; Linux only, else nothing happens.

    Raises:
        OSError: the kernel refused.
    """
    if sys.platform == "linux" and LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def children(pid: int | None = None) -> list[int]:
    """Pids of the direct children of ``pid`` (this process when None), zombies included; empty when it is gone."""
    pid = os.getpid() if pid is None else pid
    if not LISTS_CHILDREN:
        return _children_by_psutil(pid)
    # The kernel leaves out children while others come and go (proc(5)), so it is asked until nothing new is told.
    found: dict[int, None] = {}
    for _ in range(LISTINGS):
        before = len(found)
        found |= dict.fromkeys(_listed(pid))
        if len(found) == before and found:
            break
    return list(found)


@dataclass(frozen=True, slots=True)
class Ended:
    """A child that has ended; ``reaped`` tells whether its pid is still held for us."""

    pid: int
    code: int | None
    signal: int | None
    reaped: bool = False


def next_ended(mine: Iterable[int]) -> Ended | None:
    """Some child that has ended, or None; never waits.

    Where the kernel allows it the child is left unreaped, so that its group can still be signalled safely, and any
    child may be the answer. Elsewhere (macOS before Python 3.13) only those in ``mine`` are, already reaped.
    """
    if hasattr(os, "waitid"):
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return None
        if found is None:
            return None
        exited = found.si_code == os.CLD_EXITED
        return Ended(found.si_pid, found.si_status if exited else None, None if exited else found.si_status)
    for pid in mine:
        with contextlib.suppress(ChildProcessError):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
                return Ended(pid, code if code >= 0 else None, -code if code < 0 else None, reaped=True)
    return None


def reap(pid: int) -> bool:
    """Reap the child ``pid`` if it has ended; never waits. Tells whether it is gone."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def reap_adopted(known: Container[int]) -> list[int]:
    """Reap each child that has ended and is not in ``known``, one by one, and return their pids; never waits.

    ``known`` are the children somebody else waits for, those that are being started included: reaping one of them
    would rob its owner of the exit code.
    """
    return [pid for pid in strays(known) if reap(pid)]


def end_descendants(known: Container[int], grace: float) -> bool:
    """End everything below this process except ``known`` and reap it; blocks.

    With ``grace`` above 0 children first get TERM and CONT and so many seconds to end by themselves. Then each is
    killed, and what it leaves, until none is left. Returns False when something could not be killed (another
    user's process, or one stuck in the kernel) within two seconds more.
    """
    if grace > 0:
        for pid in strays(known):
            send(pid, signal.SIGTERM)
            send(pid, signal.SIGCONT)
        _reap_until(known, time.monotonic() + grace, kill=False)
    return _reap_until(known, time.monotonic() + 2, kill=True)


def strays(known: Container[int]) -> list[int]:
    """Direct children that are not in ``known``."""
    return [pid for pid in children() if pid not in known]


def send(pid: int, number: int, *, group: bool = False) -> bool:
    """Signal a process or its group; tells whether there was one and we may."""
    try:
        (os.killpg if group else os.kill)(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _reap_until(known: Container[int], deadline: float, *, kill: bool) -> bool:
    before: list[int] = []
    while True:
        left = [pid for pid in strays(known) if not reap(pid)]
        if not left and (_is_childless() or any(pid in known for pid in children())):
            return True
        if time.monotonic() > deadline:
            return False
        if kill:
            kill_with_groups(left, known)
        if left == before:
            time.sleep(PROBE)  # the kernel is ending them; while new ones appear there is no time to lose
        before = left


def _is_childless() -> bool:
    """Whether this process has no child at all, by the kernel's own word and not by its listing."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    except AttributeError:  # macOS before Python 3.13
        return not children()
    return False


def kill_with_groups(pids: Iterable[int], known: Container[int]) -> None:
    """Kill each process with its group: one that forks faster than we list is still of the same group."""
    groups: set[int] = set()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            groups.add(os.getpgid(pid))
        send(pid, signal.SIGKILL)
    for group in groups - {os.getpgrp()}:
        if group > 1 and group not in known:
            send(group, signal.SIGKILL, group=True)


def _listed(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_bytes().split())
    return found


def _children_by_psutil(pid: int) -> list[int]:
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        return [child.pid for child in psutil.Process(pid).children()]
    return []
