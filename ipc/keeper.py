"""The keeper's socket: JSON lines that carry file descriptors, and the catalogue of what is asked there.

Both sides use it on a non-blocking Unix stream socket. Descriptors travel with the first byte of their message, and
the message says how many they are (``"fds": n``), so they arrive before its newline and in its order.

A request is ``{"id": n, "verb": ...}`` with the fields of its class below; its answer is ``{"id": n, "ok": true, ...}``
or ``{"id": n, "error": text}``. Unasked comes ``{"event": "exit", ...}`` with the fields of `Ending`.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from ipc.errors import LocalError, RemoteError
from ipc.fields import AMOUNT, COUNT, ENV, FLAG, TEXT, TEXTS, fielded, optional, required
from ipc.lines import LineSplitter, Overlong

VERSION = 1
"""What both sides say in `Hello`; a keeper may be older than the supervisor that finds it."""

FDS_LIMIT = 250
"""Descriptors in one message; Linux takes 253."""

RUNS_LIMIT = FDS_LIMIT // 2
"""Runs in one `Fds` request."""

MESSAGE_LIMIT = 4 * 1_048_576
"""Bytes of one message: an environment is at most about 2 MiB."""

READ_SIZE = 65_536
ANCILLARY_SIZE = socket.CMSG_SPACE(253 * array.array("i").itemsize)
RECEIVE_FLAGS = getattr(socket, "MSG_CMSG_CLOEXEC", 0)

EXIT_RECORD = "exit.json"
"""The file in a run's folder in which the keeper leaves the run's `Ending`."""


@fielded
class Hello:
    """The first request; answered with ``version pid start_time boot_id`` of the keeper."""

    version: int = required(COUNT)


@fielded
class Spawn:
    """Fork a runner; answered with ``pid start_time`` and its stdin's write end and stdout's read end."""

    run: str = required(TEXT)
    folder: str = required(TEXT)
    env: dict[str, str] = required(ENV)
    title: str = required(TEXT)
    cwd: str = optional(TEXT, default="/")
    launch: list[str] = optional(TEXTS, default=[])


@fielded
class Hold:
    """Hold the two descriptors it carries for a runner that is not the keeper's child.

    One that has ended already is held too, and its end told at once.
    """

    run: str = required(TEXT)
    folder: str = required(TEXT)
    pid: int = required(COUNT)
    start_time: float = required(AMOUNT)


@fielded
class Listing:
    """``list``: answered with ``runs``, one row for each that is held."""


@fielded
class Fds:
    """Answered with two descriptors for each run, in the order asked; at most `RUNS_LIMIT` runs."""

    runs: list[str] = required(TEXTS)


@fielded
class Signal:
    """Signal a runner that still runs, or with ``group`` its whole process group."""

    run: str = required(TEXT)
    signal: int = required(COUNT)
    group: bool = optional(FLAG, default=False)


@fielded
class Hangup:
    """Close the keeper's copy of a runner's stdin."""

    run: str = required(TEXT)


@fielded
class Forget:
    """Let go of a run that has ended: its descriptors, its exit record."""

    run: str = required(TEXT)


@fielded
class Shutdown:
    """End at once; refused while a run is held."""


Request = Hello | Spawn | Hold | Listing | Fds | Signal | Hangup | Forget | Shutdown

VERBS: dict[str, type[Request]] = {
    "hello": Hello,
    "spawn": Spawn,
    "hold": Hold,
    "list": Listing,
    "fds": Fds,
    "signal": Signal,
    "hangup": Hangup,
    "forget": Forget,
    "shutdown": Shutdown,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a run's process ended; ``code`` and ``signal`` are both None where nobody could learn them."""

    run: str
    pid: int
    start_time: float
    code: int | None
    signal: int | None
    at: float
    """Seconds since the epoch."""

    def event(self) -> dict[str, Any]:
        """The message that tells it."""
        return {"event": "exit", **asdict(self)}

    def record(self) -> bytes:
        """The content of `EXIT_RECORD`."""
        return orjson.dumps(asdict(self), option=orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def read(cls, data: bytes | dict[str, Any]) -> Ending:
        """The ending that a record's bytes, or an event, tell.

        Raises:
            RemoteError: it is no ending.
        """
        try:
            raw = orjson.loads(data) if isinstance(data, bytes) else data
            return cls(**{name: raw[name] for name in cls.__slots__})
        except (ValueError, KeyError, TypeError) as error:
            raise RemoteError(f"not the end of a run: {error!r}") from None


@dataclass(frozen=True, slots=True)
class Message:
    """One message with the descriptors it brought; whoever takes the message owns them."""

    body: dict[str, Any]
    fds: list[int] = field(default_factory=list)

    def close(self) -> None:
        """Close its descriptors."""
        close_all(self.fds)


class Inbox:
    """Messages out of a socket. Descriptors that nobody announced end the connection."""

    def __init__(self) -> None:
        self.messages: deque[Message] = deque()
        """What has arrived whole, oldest first; to be taken from the left."""
        self._lines = LineSplitter(MESSAGE_LIMIT)
        self._fds: deque[int] = deque()

    def receive(self, sock: socket.socket) -> None:
        """Read once; nothing happens where nothing is there to read.

        Raises:
            EOFError: the peer has closed its side.
            RemoteError: what came is no message. The connection is of no more use, as after any error here.
            OSError: the connection broke.
        """
        try:
            data, ancillary, flags, _ = sock.recvmsg(READ_SIZE, ANCILLARY_SIZE, RECEIVE_FLAGS)
        except (BlockingIOError, InterruptedError):
            return
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._fds.extend(_descriptors(content))
        if flags & socket.MSG_CTRUNC:
            raise RemoteError(
                "descriptors were lost on the way: too many are open here, or were sent at once"
            )
        if not data:
            raise EOFError
        for line in self._lines.feed(data):
            if isinstance(line, Overlong):
                raise RemoteError(f"a message of more than {MESSAGE_LIMIT} bytes")
            self.messages.append(self._message(line))
        if self._fds and (not self._lines.pending or len(self._fds) > FDS_LIMIT):
            raise RemoteError("descriptors that no message announces")

    def _message(self, line: bytes) -> Message:
        try:
            body = orjson.loads(line)
        except ValueError:
            raise RemoteError("a line that is not JSON") from None
        if type(body) is not dict:
            raise RemoteError("a message that is not an object")
        count = body.get("fds", 0)
        if type(count) is not int or not 0 <= count <= len(self._fds):
            raise RemoteError("a message that announces descriptors it does not bring", field="fds")
        return Message(body, [self._fds.popleft() for _ in range(count)])

    def close(self) -> None:
        """Close every descriptor that arrived and was not taken."""
        close_all(self._fds)
        self._fds.clear()
        for message in self.messages:
            message.close()
        self.messages.clear()


class Outbox:
    """Messages on their way into a socket; never waits for the peer."""

    def __init__(self) -> None:
        self._queue: deque[tuple[memoryview, list[int]]] = deque()
        self._size = 0

    def __len__(self) -> int:
        """Bytes that wait to be sent."""
        return self._size

    def append(self, body: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Queue a message. Its descriptors are ours from now on, and closed when they are sent.

        Raises:
            LocalError: it is too long, or holds what JSON cannot say; its descriptors are closed.
        """
        if fds:
            body = {**body, "fds": len(fds)}
        try:
            data = orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError as error:
            close_all(fds)
            raise LocalError(f"cannot be said in JSON: {error}") from None
        if len(data) > MESSAGE_LIMIT or len(fds) > FDS_LIMIT:
            close_all(fds)
            raise LocalError(f"a message of {len(data)} bytes and {len(fds)} descriptors")
        self._queue.append((memoryview(data), list(fds)))
        self._size += len(data)

    def flush(self, sock: socket.socket) -> None:
        """Send what the kernel takes now.

        Raises:
            OSError: the connection is broken.
        """
        while self._queue:
            data, fds = self._queue[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                sent = sock.sendmsg([data], rights)
            except (BlockingIOError, InterruptedError):
                return
            close_all(fds)
            self._size -= sent
            if sent < len(data):
                self._queue[0] = (data[sent:], [])
            else:
                self._queue.popleft()

    def close(self) -> None:
        """Drop what waits and close its descriptors."""
        for _, fds in self._queue:
            close_all(fds)
        self._queue.clear()
        self._size = 0


def close_all(fds: Iterable[int]) -> None:
    """Close each descriptor, whatever the kernel says to that."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


def _descriptors(content: bytes) -> list[int]:
    numbers = array.array("i")
    numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
    if not RECEIVE_FLAGS:
        for fd in numbers:
            os.set_inheritable(fd, False)
    return numbers.tolist()
