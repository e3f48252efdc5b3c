"""One run that the keeper holds: its process, its pipes, its end."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from ipc.keeper import EXIT_RECORD, Ending
from runner.descendants import send


@dataclass(slots=True, kw_only=True)
class Holding:
    """A run's process and our copies of its pipes. A process that is not our child is watched by its ``pidfd``."""

    run: str
    folder: Path
    pid: int
    start_time: float
    stdin: int
    stdout: int
    is_child: bool = True
    """The kernel keeps its pid for us until we reap it."""
    pidfd: int = -1
    ending: Ending | None = None
    told: bool = False
    recorded: bool = False

    def row(self) -> dict[str, object]:
        """What the verb ``list`` says of it."""
        ending = self.ending if self.told else None
        return {
            "run": self.run,
            "pid": self.pid,
            "start_time": self.start_time,
            "state": "exited" if ending else "running",
            "code": ending and ending.code,
            "signal": ending and ending.signal,
            "at": ending and ending.at,
            "held": not self.is_child,
        }

    def copies(self) -> list[int]:
        """New descriptors of stdin's write end and stdout's read end.

        Raises:
            OSError: too many are open.
        """
        stdin = os.dup(self.stdin)
        try:
            return [stdin, os.dup(self.stdout)]
        except OSError:
            os.close(stdin)
            raise

    def signal(self, number: int, *, group: bool) -> bool:
        """Signal the process, or its group; tells whether there was one that we may signal."""
        if self.ending is not None:
            return False
        if not self.is_child:
            try:
                signal.pidfd_send_signal(self.pidfd, 0 if group else number)
            except ProcessLookupError:
                return False
            if not group:
                return True
        # A newborn has no group before it has called setsid.
        return send(self.pid, number, group=group) or send(self.pid, number)

    def kill_group(self) -> None:
        """Kill what is left of its group; only for our child that has ended and that we have not reaped."""
        send(self.pid, signal.SIGKILL, group=True)

    def end(self, code: int | None, signum: int | None) -> None:
        """Note how it ended, here and on disk."""
        self.ending = Ending(
            run=self.run, pid=self.pid, start_time=self.start_time, code=code, signal=signum, at=time.time()
        )
        self.record()

    def record(self) -> None:
        """Write the exit record, whole or not at all; where the disk refuses, `recorded` stays false."""
        assert self.ending is not None
        path = self.folder / EXIT_RECORD
        new = path.with_suffix(".new")
        try:
            new.write_bytes(self.ending.record())
            new.replace(path)
        except (FileNotFoundError, NotADirectoryError):
            self.recorded = True  # the folder was removed: nobody will look for the record
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink()
        else:
            self.recorded = True

    def hang_up(self) -> None:
        """Close our copy of its stdin; in its place stands a pipe that nobody reads.

        Raises:
            OSError: too many descriptors are open.
        """
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, self.stdin, inheritable=False)
        os.close(writer)

    def discard(self) -> None:
        """Close its descriptors and delete its exit record."""
        for fd in (self.stdin, self.stdout, self.pidfd):
            if fd >= 0:
                os.close(fd)
        with contextlib.suppress(OSError):
            (self.folder / EXIT_RECORD).unlink(missing_ok=True)
