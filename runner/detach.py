"""How a keeper comes to be: one for each socket, detached from whoever asked for it."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

BACKLOG = 128
DESCRIPTORS = 65_536
"""Above the highest number that may have been inherited."""

Serve = Callable[[socket.socket, Callable[[], None]], None]
"""Serves a listening socket until it is no longer needed; calls the function it is given once it can."""


def detach(path: str, serve: Serve) -> int:
    """Have ``serve`` called in a process of its own that listens at ``path``, unless one does; return once it does.

    That process leads its own session and works in ``/``; what it has to say later goes to the file that is named as
    the socket with the ending ``.log``. Returns 0 when somebody listens and 1 when nobody does; the reason then
    stands on stderr.
    """
    os.closerange(3, DESCRIPTORS)
    path = os.path.abspath(path)
    told, ready = os.pipe()
    if os.fork():
        os.close(ready)
        return 0 if os.read(told, 1) else 1
    os.close(told)
    code = 1
    try:
        os.setsid()
        os.chdir("/")
        _listen_and_serve(path, ready, serve)
        code = 0
    except OSError as error:
        print(f"no keeper at {path}: {error}", file=sys.stderr)  # noqa: T201 - read by whoever asked for a keeper
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stderr.flush()
        os._exit(code)


def _listen_and_serve(path: str, ready: int, serve: Serve) -> None:
    def say_ready() -> None:
        _leave_stdio(Path(path).with_suffix(".log"))
        os.write(ready, b"\n")
        os.close(ready)

    if not _lock(f"{path}.lock"):
        os.write(ready, b"\n")
        return
    with _listen(path) as listener:
        try:
            serve(listener, say_ready)
        finally:
            Path(path).unlink(missing_ok=True)


def _lock(path: str) -> bool:
    """Take the lock for as long as this process lives, if nobody has it.

    A record lock, which no forked child inherits. The file stays: were it removed, two could each lock "it".
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _listen(path: str) -> socket.socket:
    """Listen at ``path``; what a killed keeper left there is removed, which is safe under the lock."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        Path(path).unlink(missing_ok=True)
        listener.bind(path)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(mask)
    return listener


def _leave_stdio(log: Path) -> None:
    """Point 0 and 1 at nothing and 2 at ``log``: whoever started us may be waiting for their end."""
    null = os.open(os.devnull, os.O_RDWR)
    stderr = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for fd, number in ((null, 0), (null, 1), (stderr, 2)):
        os.dup2(fd, number)
    os.close(null)
    os.close(stderr)
