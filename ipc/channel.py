"""Lines over a stream, for trio: the only file of the wire that knows a clock or a descriptor."""

from __future__ import annotations

import os
from collections import deque

import trio

READ_SIZE = 262_144
"""The most bytes that one read takes."""

QUEUE_LIMIT = 16 * 1_048_576
"""The most bytes that may wait for a peer that does not read."""


class LineWriter:
    """Writes lines to one descriptor in the order of ``put``, from a task of its own.

    Nobody who puts a line waits for the peer, and a line is never torn by somebody's time-out: what was begun stays
    at the head of the queue.
    """

    def __init__(self, fd: int, *, limit: int = QUEUE_LIMIT) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._limit = limit
        self._queue: deque[bytes | memoryview] = deque()
        self._waiting = 0
        self._put = 0
        self._written = 0
        self._wake = trio.Event()
        self._progress = trio.Event()
        self.blocked_since: float | None = None
        """The loop's time at which the peer last took something, while more waits for it."""
        self.broken = False
        """The peer has closed its end, or we have closed ours."""

    @property
    def backlog(self) -> int:
        """Bytes that wait to be written."""
        return self._waiting

    def put(self, data: bytes) -> int:
        """Queue ``data`` and return a ticket for ``written``.

        Raises:
            trio.BrokenResourceError: the peer is gone.
            trio.WouldBlock: too much waits already; nothing was queued.
        """
        if self.broken:
            raise trio.BrokenResourceError("the peer has closed its end")
        if self._waiting and self._waiting + len(data) > self._limit:
            raise trio.WouldBlock
        rest = data if self._queue else self._write_now(data)
        self._put += 1
        if rest:
            if not self._queue:
                self.blocked_since = trio.current_time()
            self._queue.append(rest)
            self._waiting += len(rest)
            self._wake.set()
        else:
            self._written = self._put
        return self._put

    def _write_now(self, data: bytes | memoryview) -> bytes | memoryview:
        """Write what the kernel takes at once and return the rest, without copying it."""
        try:
            return memoryview(data)[os.write(self._fd, data) :]
        except BlockingIOError:
            return data
        except OSError:
            self._break()
            raise trio.BrokenResourceError("the peer has closed its end") from None

    async def written(self, ticket: int) -> None:
        """Wait until the line with this ticket is in the kernel; cancelling only stops the waiting.

        Raises:
            trio.BrokenResourceError: it will never be.
        """
        await trio.lowlevel.checkpoint()
        while self._written < ticket:
            if self.broken:
                raise trio.BrokenResourceError("the peer has closed its end")
            await self._progress.wait()

    async def run(self) -> None:
        """Write what is queued until cancelled or ``close``; a broken peer ends it silently."""
        while not self.broken:
            if not self._queue:
                self._wake = trio.Event()
                await self._wake.wait()
                continue
            try:
                await trio.lowlevel.wait_writable(self._fd)
            except trio.ClosedResourceError:
                return
            head = self._queue[0]
            try:
                rest = self._write_now(head)
            except trio.BrokenResourceError:
                return
            self._waiting -= len(head) - len(rest)
            self.blocked_since = trio.current_time()
            if rest:
                self._queue[0] = rest
            else:
                self._queue.popleft()
                self._written = self._put - len(self._queue)
                if not self._queue:
                    self.blocked_since = None
                self._progress.set()
                self._progress = trio.Event()

    def close(self) -> None:
        """Close the descriptor; whoever waits learns it. May be called twice."""
        if self._fd >= 0:
            trio.lowlevel.notify_closing(self._fd)
            os.close(self._fd)
            self._fd = -1
        self._break()

    def _break(self) -> None:
        self.broken = True
        self._wake.set()
        self._progress.set()


def read_some_now(fd: int) -> bytes | None:
    """Return what a non-blocking ``fd`` has; ``b""`` is the end, ``None`` means nothing yet."""
    try:
        return os.read(fd, READ_SIZE)
    except BlockingIOError:
        return None


async def read_some(fd: int) -> bytes:
    """Wait until a non-blocking ``fd`` has something and return it; ``b""`` is the end.

    Lets others run each time, so that a peer that never pauses holds up nobody. Cancelling loses nothing.
    """
    await trio.lowlevel.checkpoint()
    while (data := read_some_now(fd)) is None:
        await trio.lowlevel.wait_readable(fd)
    return data
