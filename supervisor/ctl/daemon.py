"""Starting the supervisor in the background when a verb needs one and none listens."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time

from supervisor.ctl.client import Client
from supervisor.ctl.invocation import Invocation
from supervisor.errors import KINDS, AgentdError, Conflict, Failed, NoSupervisor, WaitTimedOut

COMMAND = (sys.executable, "-P", "-m", "supervisor")
"""What is started; ``--ready-fd=N`` follows."""
READY_WITHIN = 30.0
"""Seconds a supervisor has to listen."""
LOOK_AGAIN = 0.02
"""Seconds between two tries to reach a supervisor that somebody else is starting."""
TOLD = 4000
"""Characters of its log that are shown when it does not."""


def connect_or_start(ctl: Invocation) -> Client:
    """Connect to the supervisor; start one, and say so, if none listens.

    Raises what it ended with, `WaitTimedOut` if it does not listen in time.
    """
    try:
        return ctl.connect()
    except NoSupervisor:
        if ctl.home.socket.exists() and not os.access(ctl.home.socket, os.W_OK):
            raise
    try:
        pid = start_supervisor(ctl)
    except Conflict:
        return _connect_to_the_quicker(ctl)
    ctl.note(f"started agentd (pid {pid}) for {ctl.home.state}")
    client = ctl.connect()
    client.is_first = True
    return client


def _connect_to_the_quicker(ctl: Invocation) -> Client:
    """Another caller's supervisor was first; wait until it listens."""
    deadline = time.monotonic() + READY_WITHIN
    while True:
        try:
            return ctl.connect()
        except NoSupervisor:
            if time.monotonic() > deadline:
                raise
            time.sleep(LOOK_AGAIN)


def start_supervisor(ctl: Invocation) -> int:
    """Start a supervisor that outlives us, with its output in the home's log; returns its pid once it listens."""
    home = ctl.home
    home.make_folders()
    reading, writing = os.pipe()
    try:
        with home.log.open("ab") as log:
            os.chmod(home.log, 0o600)
            before = log.tell()
            process = subprocess.Popen(
                [*COMMAND, f"--ready-fd={writing}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                pass_fds=(writing,),
                start_new_session=True,
                env={**ctl.environ},
            )
        os.close(writing)
        writing = -1
        _await_ready(reading, process, ctl, before)
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
    process.returncode = 0  # it is not ours to wait for
    return process.pid


def _await_ready(reading: int, process: subprocess.Popen[bytes], ctl: Invocation, before: int) -> None:
    deadline = time.monotonic() + READY_WITHIN
    readable, _, _ = select.select([reading], [], [], READY_WITHIN)
    if not readable:
        os.killpg(process.pid, signal.SIGTERM)
        process.returncode = 0
        raise WaitTimedOut(f"agentd did not listen within {READY_WITHIN:.0f} s", remedy=f"see {ctl.home.log}")
    if os.read(reading, 1):
        return
    try:
        code = process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.returncode = 0
        raise Failed("agentd runs but does not listen", remedy=f"see {ctl.home.log}") from None
    with ctl.home.log.open("rb") as log:
        log.seek(before)
        told = log.read()[-TOLD:].decode(errors="replace").strip()
    raise _error_of(code)(
        f"agentd did not start: {told or f'it ended with {code}'}", remedy=f"see {ctl.home.log}"
    )


def _error_of(code: int) -> type[AgentdError]:
    return next((kind for kind in KINDS.values() if kind.exit_code == code and code != 1), Failed)
