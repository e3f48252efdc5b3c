"""One end of the wire without any I/O: bytes in, frames out; frames in, bytes out.

The same class serves both ends. It cuts lines, decodes them, keeps the two numberings (``seq`` of the runner's
frames, ``cmd`` of the supervisor's) and holds both sides to the tables in ``talk``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from ipc.codec import Known, decode, encode
from ipc.errors import LocalError, RemoteError
from ipc.frames import (
    PROTOCOL,
    Attach,
    Attached,
    Init,
    Ready,
    RunnerFrame,
    Side,
    StrayLine,
    SupervisorFrame,
    UnknownFrame,
)
from ipc.lines import LINE_LIMIT, LineSplitter, Overlong
from ipc.talk import COMMANDS, PLAIN_COMMANDS, PLAIN_STEPS, STEPS, Talk

UNDO_LIMIT = 256
"""How many frames can be taken back: more than anybody writes together."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The peer broke the protocol; nothing that it says afterwards is looked at."""

    error: RemoteError


Received = Known | UnknownFrame | StrayLine | Fault
"""What ``Session.receive`` hands out."""


class Session:
    """The conversation with one peer, as seen from ``side``.

    ``protocol`` is 0 until both sides have offered 1. ``last_seq`` and ``last_cmd`` are the highest numbers sent (of
    our own kind) or received (of the peer's).
    """

    def __init__(self, side: Side, *, limit: int = LINE_LIMIT) -> None:
        self.side = side
        self.talk = Talk.NEW
        self.protocol = 0
        self.last_seq = 0
        self.last_cmd = 0
        self._offered = 0
        self._awaited: str | None = None
        self._torn: StrayLine | None = None
        self._undo: deque[tuple[Talk, int]] = deque(maxlen=UNDO_LIMIT)
        self._faulty = False
        self._limit = limit
        self._lines = LineSplitter(limit)

    def _steps(self, protocol: int) -> Mapping[str, Talk]:
        """What the runner may say now, and where each leads."""
        return (STEPS if protocol else PLAIN_STEPS)[self.talk]

    def _agreed(self, ready: Ready) -> int:
        return PROTOCOL if min(ready.protocol, self._offered) >= PROTOCOL else 0

    # What we say

    def send(self, frame: Known) -> bytes:
        """Return the bytes that say ``frame``, having numbered it if it is a runner's.

        Raises:
            LocalError: the protocol forbids it now, or it does not fit a line. Nothing has changed then.
        """
        if frame.sender is not self.side:
            raise LocalError(f"{frame.op} is not ours to say")
        if isinstance(frame, RunnerFrame):
            return self._send_as_runner(frame)
        self._check_command(frame)
        begun = self.talk not in (Talk.NEW, Talk.GREETED)
        data = encode(
            frame, plain=(self.protocol if begun else self._offered) < PROTOCOL and frame.op != Init.op
        )
        if frame.numbered and self.protocol and frame.cmd is not None:
            self.last_cmd = frame.cmd
        if isinstance(frame, Init):
            self._offered = frame.payload.protocol
            self.talk = Talk.GREETED
        return data

    def _check_command(self, frame: SupervisorFrame) -> None:
        op = frame.op
        if op not in COMMANDS[self.talk]:
            raise LocalError(f"{op} cannot be said to a runner that is {self.talk.value}")
        if not self.protocol:
            if op not in PLAIN_COMMANDS:
                raise LocalError(f"a plain runner does not know {op}")
        elif frame.numbered:
            if self._awaited is not None:
                raise LocalError(f"{op} would overtake what the runner has missed: attached has not come yet")
            if frame.cmd is None or frame.cmd <= self.last_cmd:
                raise LocalError(f"{op} carries cmd {frame.cmd} after {self.last_cmd}")

    def _send_as_runner(self, frame: RunnerFrame) -> bytes:
        protocol = self._agreed(frame) if isinstance(frame, Ready) else self.protocol
        if frame.ours and not protocol:
            raise LocalError(f"a plain supervisor does not know {frame.op}")
        step = self._steps(protocol).get(frame.op)
        if step is None:
            raise LocalError(f"{frame.op} cannot be said while {self.talk.value}")
        counted = frame.numbered and protocol > 0
        if counted:
            frame.seq = self.last_seq + 1
        begun = protocol or self.talk is not Talk.GREETED or isinstance(frame, Ready)
        data = encode(frame, plain=(protocol if begun else self._offered) < PROTOCOL)
        if counted:
            self._undo.append((self.talk, self.protocol))
            self.last_seq += 1
        self.talk, self.protocol = step, protocol
        return data

    def unsend(self) -> None:
        """Take back the last numbered frame, which could not be written; once for each of several, at most 256.

        Raises:
            LocalError: there is none that could be taken back.
        """
        if not self._undo:
            raise LocalError("there is nothing to take back")
        self.last_seq -= 1
        self.talk, self.protocol = self._undo.pop()

    def attach(self, id: str, last_seq: int, talk: Talk) -> bytes:
        """Return the bytes that take over a runner, known up to ``last_seq``, which left it at ``talk``.

        A newline goes ahead, in case a predecessor died while it wrote. All that is received before the
        ``attached`` with this ``id`` is thrown away.

        Raises:
            LocalError: this is no supervisor's session, or it has begun already.
        """
        if self.side is not Side.SUPERVISOR or self.talk is not Talk.NEW:
            raise LocalError("only a supervisor attaches, as the first thing that it says")
        data = b"\n" + encode(Attach(id=id, last_seq=last_seq))
        self._awaited = id
        self.protocol = self._offered = PROTOCOL
        self.last_seq = last_seq
        self.talk = talk
        return data

    # What they say

    def receive(self, data: bytes) -> list[Received]:
        """Return what ``data`` completes, in order. A ``Fault`` is always the last there is.

        A runner's frame that was seen before (by its ``seq``) and a command that was seen before (by its ``cmd``)
        are left out; so are empty lines, and the line that a supervisor left torn when ``attach`` follows it.
        """
        found: list[Received] = []
        if self._faulty:
            return found
        for line in self._lines.feed(data):
            try:
                received = self._take(line)
            except RemoteError as error:
                self._faulty = True
                received = Fault(error)
            if received is None:
                continue
            if self._torn is not None and not isinstance(received, Attach):
                found.append(self._torn)
            self._torn = None
            if self.protocol and self.side is Side.RUNNER and isinstance(received, StrayLine):
                self._torn = received
                continue
            found.append(received)
            if self._faulty:
                break
        return found

    def _take(self, line: bytes | Overlong) -> Received | None:
        if self._awaited is not None:
            return self._take_while_attaching(line)
        if isinstance(line, Overlong):
            raise RemoteError(f"a line passed the limit of {self._limit} bytes")
        if not line.strip():
            return None
        frame = decode(line, plain=not self.protocol)
        if isinstance(frame, StrayLine):
            return frame
        if isinstance(frame, UnknownFrame):
            return self._take_unknown(frame)
        if frame.sender is self.side:
            raise RemoteError(f"{frame.op} is not theirs to say", field=frame.op)
        if isinstance(frame, RunnerFrame):
            return self._take_from_runner(frame)
        return self._take_command(frame)

    def _take_while_attaching(self, line: bytes | Overlong) -> Received | None:
        if isinstance(line, Overlong):
            return None
        try:
            frame = decode(line)
        except RemoteError:
            return None
        if not isinstance(frame, Attached) or frame.id != self._awaited:
            return None
        if frame.last_seq < self.last_seq:
            raise RemoteError(
                f"attached.last_seq is {frame.last_seq}, and {self.last_seq} was seen",
                field="attached.last_seq",
            )
        self._awaited = None
        self.last_cmd = frame.last_cmd
        return frame

    def _take_unknown(self, frame: UnknownFrame) -> Received | None:
        """A later version's frame means nothing to us, but its number counts."""
        number = frame.raw.get("seq" if self.side is Side.SUPERVISOR else "cmd")
        if not self.protocol or type(number) is not int:
            return frame
        if self.side is Side.SUPERVISOR:
            if not self._follows(frame.op, number):
                return None
            self.last_seq = number
        else:
            if number <= self.last_cmd:
                return None
            self.last_cmd = number
        return frame

    def _follows(self, op: str, seq: int) -> bool:
        """Whether ``seq`` is the next number; false for one that was seen before."""
        if seq > self.last_seq + 1:
            raise RemoteError(f"{op}.seq is {seq} after {self.last_seq}", field=f"{op}.seq")
        return seq > self.last_seq

    def _take_from_runner(self, frame: RunnerFrame) -> Received | None:
        protocol = self._agreed(frame) if isinstance(frame, Ready) else self.protocol
        counted = frame.numbered and protocol > 0
        if counted:
            if frame.seq is None:
                raise RemoteError(f"{frame.op}.seq is missing", field=f"{frame.op}.seq")
            if not self._follows(frame.op, frame.seq):
                return None
        step = self._steps(protocol).get(frame.op)
        if step is None:
            raise RemoteError(f"{frame.op} was said while {self.talk.value}", field=frame.op)
        self.last_seq += counted
        self.talk, self.protocol = step, protocol
        return frame

    def _take_command(self, frame: SupervisorFrame) -> Received | None:
        if isinstance(frame, Init):
            if self.talk is not Talk.NEW:
                raise RemoteError("init was said twice", field="init")
            self._offered = frame.payload.protocol
            self.talk = Talk.GREETED
            return frame
        if self.talk is Talk.NEW and frame.op != "stop":
            raise RemoteError(f"{frame.op} was said before init", field=frame.op)
        if self.protocol and frame.numbered:
            if frame.cmd is None:
                raise RemoteError(f"{frame.op}.cmd is missing", field=f"{frame.op}.cmd")
            if frame.cmd <= self.last_cmd:
                return None
            self.last_cmd = frame.cmd
        return frame
