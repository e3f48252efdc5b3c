"""One program of the agent: a session of its own, ended as a group, waited for by its pid."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

import trio

from runner.descendants import reap_adopted

KILL_WAIT = 5.0
"""Seconds after KILL until a process that still does not end is given up: it is stuck in the kernel."""

LEFTOVER_GRACE = 1.0
"""Most seconds that what a finished program left running in its group gets between TERM and KILL."""

FIRST_LOOK, LONGEST_LOOK = 0.002, 0.05
"""Seconds between two looks whether a group that was told to end is empty."""


class Child:
    """A process that leads its own session. ``known`` holds its pid as long as it is ours to reap."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        stdin: int,
        stdout: int,
        stderr: int,
        keep: Sequence[int],
        known: set[int],
    ) -> None:
        """Start ``argv`` with the descriptors in ``keep`` and no others; raises OSError if that is impossible."""
        self._known = known
        self._process = subprocess.Popen(
            argv, env=env, stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=keep, start_new_session=True
        )
        self.pid = self._process.pid
        known.add(self.pid)

    @property
    def code(self) -> int | None:
        """The exit code once it was reaped; a signal's number below zero."""
        return self._process.returncode

    async def ended(self) -> int:
        """Wait for the leader alone, whoever holds its pipes, and reap it. Cancelling leaves it as it is."""
        if hasattr(os, "pidfd_open"):
            if self._process.returncode is None:
                pidfd = os.pidfd_open(self.pid)
                try:
                    await trio.lowlevel.wait_readable(pidfd)
                finally:
                    trio.lowlevel.notify_closing(pidfd)
                    os.close(pidfd)
        else:
            await trio.to_thread.run_sync(self._process.wait, abandon_on_cancel=True)
        code = self._process.wait()
        self._known.discard(self.pid)
        return code

    async def end_group(self, grace: float) -> bool:
        """End the leader and its group: TERM and CONT, ``grace`` seconds, then KILL; False if something survives that.

        Call it at once after ``ended``: the number of an empty group can be given to somebody else.
        """
        if not self._signal(signal.SIGTERM):
            return await self._gone(KILL_WAIT)
        self._signal(signal.SIGCONT)
        if await self._gone(grace):
            return True
        self._signal(signal.SIGKILL)
        return await self._gone(KILL_WAIT)

    def _signal(self, number: int) -> bool:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    async def _gone(self, within: float) -> bool:
        with trio.move_on_after(within, shield=True):
            if self.code is None:
                await self.ended()
            pause = FIRST_LOOK
            while True:
                reap_adopted(self._known)
                if not self._signal(0):
                    return True
                await trio.sleep(pause)
                pause = min(pause * 2, LONGEST_LOOK)
        return False
