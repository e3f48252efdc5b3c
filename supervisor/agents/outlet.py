"""The stdout of a run's process: read to its end, or until the process is gone and the pipe is empty."""

from __future__ import annotations

import os

import trio

from ipc.channel import read_some_now


class Outlet:
    """Our end of the pipe. A grandchild may hold the other end open for ever, so the end of the process counts."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._gone = False
        self._waiting: trio.CancelScope | None = None

    def process_is_gone(self) -> None:
        """Nothing is written any more: what is in the pipe is all."""
        self._gone = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def next(self) -> bytes:
        """Return what has come, waiting for it; empty at the end."""
        await trio.lowlevel.checkpoint()
        while (data := read_some_now(self._fd)) is None:
            if self._gone:
                return b""
            with trio.CancelScope() as self._waiting:
                await trio.lowlevel.wait_readable(self._fd)
        return data

    def close(self) -> None:
        """Close it; once."""
        os.close(self._fd)
