"""The keeper as a process: reach the one that listens at a path, or start it."""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import trio

from supervisor.descriptors import restore_limit
from supervisor.errors import Degraded, Failed
from supervisor.settings.environment import allowed

START_WITHIN = 20.0
"""Seconds for a new keeper to listen."""

COMMAND = (sys.executable, "-P", "-m", "runner", "--keeper")
"""Starts a keeper once the path of its socket is appended."""

PACKAGES = Path(__file__).parents[2]
"""Where the runner lies that belongs to this supervisor."""


def connect(path: Path) -> socket.socket | None:
    """Connect to the keeper that listens at ``path``; None where none does.

    Raises:
        Degraded: there is one and it accepts nobody.
        Failed: it cannot be reached.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        sock.connect(str(path))
    except OSError as error:
        sock.close()
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
            return None
        kind = Degraded if error.errno == errno.EAGAIN else Failed
        raise kind(f"the keeper at {path}: {error.strerror or error}", remedy="agentctl doctor") from None
    return sock


async def start(path: Path, environ: Mapping[str, str], command: Sequence[str]) -> None:
    """Start a keeper with the allow-listed part of ``environ``; returns once one listens, ours or a quicker one.

    It gets the descriptor limit that we found, which it hands on to all that it starts.

    Raises:
        Degraded: it took too long.
        Failed: none could be started, with its own last words.
    """
    env = {**allowed(environ), "PYTHONPATH": str(PACKAGES)}
    remedy = "agentctl doctor"
    try:
        with trio.fail_after(START_WITHIN):
            done = await trio.run_process(
                [*command, str(path)],
                env=env,
                cwd="/",
                check=False,
                capture_stdout=True,
                capture_stderr=True,
                preexec_fn=restore_limit,
            )
    except trio.TooSlowError:
        raise Degraded(f"a keeper did not start in {START_WITHIN:g} s", remedy=remedy) from None
    except OSError as error:
        raise Failed(f"no keeper could be started: {error}", remedy=remedy) from None
    if done.returncode != 0:
        *_, last = [b"it said nothing", *done.stderr.strip().splitlines()]
        raise Failed(f"no keeper could be started: {last.decode(errors='replace')}", remedy=remedy)


def pid_behind(sock: socket.socket) -> int:
    """The pid of the process that listens on the other side; 0 where the system does not tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        return 0
    credentials = struct.Struct("iII")
    pid, _, _ = credentials.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size))
    return int(pid)
