"""One client's socket as lines, with bounds on what it may make us hold and how long it may make us wait."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import cast

import trio

from ipc.lines import LINE_LIMIT, LineSplitter, Overlong

CHUNK = 65_536
"""Bytes taken from or given to a client at once."""
SEND_WITHIN = 5.0
"""Seconds a client has to take `CHUNK` bytes; one that never reads is cut off then."""
LAST_SEND_WITHIN = 0.5
"""The same, once the supervisor is going."""
LINGER = 1.0
"""Seconds in which what a refused client still sends is thrown away, so that it gets to read the refusal."""
BACKLOG = 1024
"""Connections the kernel keeps for us while we are busy."""


def listen(path: Path) -> trio.SocketListener:
    """Listen on ``path`` with mode 0600, in place of whatever socket file a dead supervisor left there.

    The caller holds the home's lock, so no living supervisor's socket can be taken away. Nobody can connect
    before the mode is set, because listening comes last. Raises `OSError`.
    """
    path.unlink(missing_ok=True)
    plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        plain.bind(os.fspath(path))
        path.chmod(0o600)
        plain.listen(BACKLOG)
        return trio.SocketListener(trio.socket.from_stdlib_socket(plain))
    except BaseException:
        plain.close()
        raise


class Lines:
    """Lines in and out of one client's socket. Sends of several tasks never mix."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._splitter = LineSplitter(LINE_LIMIT)
        self._sending = trio.Lock()
        self._patience = SEND_WITHIN
        self._send_scope: trio.CancelScope | None = None
        self._cut = False

    @property
    def socket(self) -> socket.socket:
        """The socket, to ask it for the peer's credentials and nothing else."""
        return cast("socket.socket", self._stream.socket)

    async def receive(self) -> list[bytes | Overlong] | None:
        """Return the lines that the next bytes end, without their newlines; `None` at the end or after a cut.

        Cancellation loses nothing: what was read stays for the next call.
        """
        try:
            data = await self._stream.receive_some(CHUNK)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return None
        return self._splitter.feed(data) if data else None

    @property
    def unended(self) -> bytes:
        """What came after the last newline."""
        return self._splitter.pending

    async def send(self, lines: bytes) -> None:
        """Send whole lines, each with its newline.

        Raises `trio.BrokenResourceError` when the client is gone or did not take a chunk in `SEND_WITHIN`, and
        cuts it off. Cancellation is noticed before the lines or after them, never within.
        """
        async with self._sending:
            for start in range(0, len(lines), CHUNK):
                await self._send_chunk(lines[start : start + CHUNK])

    async def _send_chunk(self, chunk: bytes) -> None:
        if self._cut:
            raise trio.BrokenResourceError("this client was cut off")
        try:
            with trio.move_on_after(self._patience, shield=True) as self._send_scope:
                await self._stream.send_all(chunk)
        except trio.ClosedResourceError as error:
            raise trio.BrokenResourceError("the connection is closed") from error
        if self._send_scope.cancelled_caught:
            self.cut()
            raise trio.BrokenResourceError("the client stopped reading")

    def hurry(self) -> None:
        """Give the client `LAST_SEND_WITHIN` from now on: the supervisor is going."""
        self._patience = LAST_SEND_WITHIN
        if self._send_scope is not None:
            self._send_scope.deadline = min(self._send_scope.deadline, trio.current_time() + self._patience)

    def cut(self) -> None:
        """End the conversation both ways at once; whoever reads or sends here wakes up. May be called twice."""
        self._cut = True
        try:
            self._stream.socket.shutdown(trio.socket.SHUT_RDWR)
        except OSError:
            return  # the client was faster

    async def peer_gone(self) -> bool:
        """Whether the client has closed its socket, and not only said that it sends no more."""
        try:
            await self._stream.socket.send(b"")
        except OSError:
            return True
        return False

    async def refuse(self, line: bytes) -> None:
        """Send a last line and throw away what the client is still sending, within `LINGER`."""
        try:
            await self.send(line)
            self._stream.socket.shutdown(trio.socket.SHUT_WR)
            with trio.move_on_after(LINGER):
                while await self._stream.receive_some(CHUNK):
                    pass
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            return
