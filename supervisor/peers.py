"""The process at the other end of a Unix socket, and what it descends from."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import psutil

MARK = "AGENTD_RUN"
"""Environment of everything that a runner starts: ``<home's identity>:<run>``."""

GONE = "can no longer be seen"


class Connected(Protocol):
    """A connected Unix socket, trio's or a plain one."""

    def getsockopt(self, level: int, option: int, buflen: int, /) -> bytes:
        """See ``socket.socket``."""


class Peer(NamedTuple):
    """Process and user as the kernel noted them when the connection was made."""

    pid: int
    uid: int


def peer_of(connection: Connected) -> Peer:
    """Return who connected. Raises ``OSError`` where the kernel does not say."""
    if sys.platform == "darwin":
        (pid,) = struct.unpack("=i", connection.getsockopt(0, 0x002, 4))  # LOCAL_PEERPID
        _, uid = struct.unpack_from("=II", connection.getsockopt(0, 0x001, 76))  # LOCAL_PEERCRED
        return Peer(pid, uid)
    pid, uid, _ = struct.unpack("=iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return Peer(pid, uid)


def seen_inside(pid: int, identity: str, ours: Collection[int]) -> str | None:
    """Return why process ``pid`` is taken for an agent of the home called ``identity``; ``None`` if it is not.

    It is, if it or an ancestor is one of ``ours`` (keeper and runners) or carries that home's mark, or if it cannot be
    seen. An environment that is not ours to read (another user's) tells nothing; its ancestors then decide.
    """
    import psutil

    if pid <= 0:
        return GONE
    try:
        process = psutil.Process(pid)
        line = [process, *process.parents()]
        for one in line:
            if one.pid in ours:
                return f"descends from process {one.pid} of this home"
            if _carries(one, identity):
                return (
                    f"carries {MARK} of this home"
                    if one is process
                    else f"descends from {one.pid}, which is a run's"
                )
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return GONE
    except psutil.NoSuchProcess:
        return GONE
    return None


def _carries(process: psutil.Process, identity: str) -> bool:
    import psutil

    try:
        mark = process.environ().get(MARK, "")
    except (psutil.AccessDenied, psutil.ZombieProcess):
        return False
    return mark.rpartition(":")[0] == identity
