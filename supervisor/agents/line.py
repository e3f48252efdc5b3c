"""The wire to one runner, as its supervisor holds it: what is said is queued, what is heard is frames."""

from __future__ import annotations

import logging

import trio

from ipc.channel import LineWriter
from ipc.errors import LocalError
from ipc.frames import PROTOCOL, Side, SupervisorFrame
from ipc.session import Received, Session

UNREAD_LIMIT = 8 * 1_048_576
"""Bytes that may wait for a runner before it takes no further commands; answers and stops still have room then."""

log = logging.getLogger("agentd.line")


class Line:
    """The conversation with the runner of one run; ``whose`` is for the log."""

    def __init__(self, whose: str) -> None:
        self._whose = whose
        self._session = Session(Side.SUPERVISOR)
        self._writer: LineWriter | None = None

    def connect(self, fd: int) -> None:
        """Say what is said from now on to ``fd``, which is the line's to close."""
        self._writer = LineWriter(fd)

    @property
    def plain(self) -> bool:
        """Whether the runner knows only the plain dialect."""
        return self._session.protocol < PROTOCOL

    @property
    def unread(self) -> float | None:
        """The loop's time since when the runner has not read what waits for it, if anything does."""
        return self._writer.blocked_since if self._writer else None

    @property
    def full(self) -> bool:
        """Whether so much waits to be read that no further command is taken."""
        return self._writer is not None and self._writer.backlog > UNREAD_LIMIT

    def receive(self, data: bytes) -> list[Received]:
        """Return what ``data`` completes."""
        return self._session.receive(data)

    def say(self, frame: SupervisorFrame) -> None:
        """Queue ``frame`` for the runner; one that is gone or does not read any more hears nothing."""
        try:
            if self._writer is not None:
                self._writer.put(self._session.send(frame))
        except trio.BrokenResourceError:
            pass  # it is gone, or will be
        except trio.WouldBlock:
            log.error("%s: %s is dropped, since it has long read nothing", self._whose, frame.op)
        except LocalError as error:
            log.error("%s: %s", self._whose, error)

    async def run(self) -> None:
        """Write what is queued until cancelled or closed."""
        if self._writer is not None:
            await self._writer.run()

    def close(self) -> None:
        """Close our end; may be called twice."""
        if self._writer is not None:
            self._writer.close()
