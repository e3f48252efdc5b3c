"""Saying frames: through the journal in protocol 1, straight to stdout to a plain supervisor."""

import os
from typing import Protocol

import trio

from ipc.channel import LineWriter
from ipc.codec import encode
from ipc.frames import Attached, Exit, IterationDone, Pong, RunnerFrame, Stream
from ipc.session import Session
from ipc.talk import Talk
from runner.control import Control
from runner.journal import Journal, Reader
from runner.log import Log

FIRST_RETRY, LONGEST_RETRY = 0.1, 2.0
"""Seconds between two attempts to write to a full disk."""


class Speaker(Protocol):
    """The runner's voice."""

    async def say(self, *frames: RunnerFrame) -> None:
        """Say ``frames``, together; returns when they are safe from our death or, to a plain peer, written.

        After ``exit`` nothing is said any more.
        """

    def show(self, frame: Stream) -> None:
        """Show ``frame`` to whoever happens to look; dropped rather than waited for."""

    async def run(self) -> None:
        """Send what there is to send until cancelled."""

    async def settle(self, within: float, *, acknowledged: bool) -> None:
        """Wait until all was sent (and, if asked, acknowledged), at most so many seconds."""


class JournalSpeaker:
    """Appends to the journal; a task of its own writes to stdout what it reads there, so nobody waits for a reader."""

    def __init__(self, fd: int, session: Session, journal: Journal, control: Control, log: Log) -> None:
        self._fd = fd
        self._session = session
        self._journal = journal
        self._control = control
        self._log = log
        self._reader = Reader(journal)
        self._wake = trio.Event()
        self._settled = trio.Event()
        self._piece = b""
        """Whole lines on their way out, or what is left of them."""
        self._reply: bytes | None = None
        self._attach: tuple[bytes, int] | None = None
        self._acknowledged = 0
        self._silent = False

    async def say(self, *frames: RunnerFrame) -> None:
        """Journal ``frames`` with one write.

        On a full disk this waits until there is room. The run's end ends that wait: then they are lost, and of what
        comes later only ``exit`` is said, since nothing else would make sense without them.
        """
        if self._silent:
            frames = tuple(frame for frame in frames if isinstance(frame, Exit))
        if not frames or self._session.talk is Talk.ENDED:
            return
        data = b"".join([self._session.send(frame) for frame in frames])
        first = self._session.last_seq - len(frames) + 1
        if not await self._write(data, first):
            for _ in frames:
                self._session.unsend()
            self._silent = True
            return
        self._send_now()

    async def _write(self, data: bytes, first: int) -> bool:
        pause = FIRST_RETRY
        while True:
            ending = self._control.ending is not None
            try:
                self._journal.append(data, first)
            except OSError as error:
                self._log.note(f"the journal cannot be written: {error}")
            else:
                return True
            if ending:
                return False
            with trio.move_on_after(pause, shield=True):
                await self._control.until(lambda: self._control.ending)
            pause = min(pause * 2, LONGEST_RETRY)

    def show(self, frame: Stream) -> None:
        """Write ``frame`` now if nothing else is on its way."""
        if self._settled.is_set():
            self._piece = encode(frame)
            self._send_now()

    def attach(self, reply: Attached, last_seq: int) -> None:
        """A supervisor took over: answer at the next end of a line, then send again what came after ``last_seq``."""
        self._attach = (encode(reply), last_seq)
        self._send_now()

    def pong(self, reply: Pong) -> None:
        """Answer a ping at the next end of a line."""
        self._reply = encode(reply)
        self._send_now()

    def acknowledge(self, seq: int) -> None:
        """Everything up to ``seq`` is durable elsewhere."""
        self._acknowledged = max(self._acknowledged, seq)
        self._journal.acknowledge(min(seq, self._session.last_seq))
        self._control.wake()

    async def run(self) -> None:
        """Send the journal as it grows, until cancelled or until nobody can ever read it."""
        try:
            while True:
                if not self._piece and not self._next():
                    self._settled.set()
                    await self._wake.wait()
                    self._wake = trio.Event()
                    continue
                try:
                    self._write_piece()
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self._fd)
                else:
                    await trio.lowlevel.checkpoint()
        except BrokenPipeError:
            self._control.hang_up()
        finally:
            self._settled.set()
            self._reader.close()

    def _send_now(self) -> None:
        """If nothing is on its way, send what the pipe takes at once; leave the rest to ``run``."""
        if self._settled.is_set() and not self._control.deaf:
            try:
                while self._piece or self._next():
                    self._write_piece()
                return
            except (BlockingIOError, BrokenPipeError):
                pass  # run meets it again
        self._settled = trio.Event()
        self._wake.set()

    def _next(self) -> bool:
        """Take the next lines to send, if there are any."""
        if self._attach is not None:
            (self._piece, last_seq), self._attach = self._attach, None
            self._reader.seek(last_seq)
        elif self._reply is not None:
            self._piece, self._reply = self._reply, None
        else:
            self._piece = self._reader.read()
        return bool(self._piece)

    def _write_piece(self) -> None:
        """Write what the pipe takes now; raises BlockingIOError if that is nothing."""
        self._piece = self._piece[os.write(self._fd, self._piece) :]

    async def settle(self, within: float, *, acknowledged: bool) -> None:
        """Wait until the journal is sent, and acknowledged if asked; ends early when nobody hears us."""

        def done() -> bool | None:
            sent = self._settled.is_set()
            heard = not acknowledged or self._acknowledged >= self._session.last_seq
            return True if self._control.deaf or (sent and heard) else None

        with trio.move_on_after(within, shield=True):
            await self._settled.wait()
            await self._control.until(done)


class PlainSpeaker:
    """Writes lines that a plain supervisor knows; waits for its reader as long as stdin is open."""

    def __init__(self, fd: int, session: Session, control: Control) -> None:
        self._session = session
        self._control = control
        self._writer = LineWriter(fd)
        self._speaking = trio.Lock()

    async def say(self, *frames: RunnerFrame) -> None:
        """Write ``frames`` without what is ours; a line is written whole or is the last."""
        async with self._speaking:
            for frame in frames:
                if frame.ours or self._writer.broken or self._session.talk is Talk.ENDED:
                    continue
                self._session.send(frame)
                data = encode(_plain(frame))
                with self._control.bounded() as scope:
                    try:
                        await self._writer.written(self._writer.put(data))
                    except trio.BrokenResourceError:
                        self._control.hang_up()
                if scope.cancelled_caught:
                    self._writer.close()

    def show(self, frame: Stream) -> None:
        """A plain supervisor has no live view."""

    async def run(self) -> None:
        """Write what did not fit into the pipe at once."""
        await self._writer.run()

    async def settle(self, within: float, *, acknowledged: bool) -> None:
        """Nothing is ever left: ``say`` waits."""


PLAIN_STATUS = {"no_change": "ok", "cancelled": "error", "timed_out": "error"}
PLAIN_REASON = {
    "stopped": "completed",
    "supervisor_lost": "completed",
    "failed": "exception",
    "stagnant": "exception",
}


def _plain(frame: RunnerFrame) -> RunnerFrame:
    """Take from ``frame`` what the plain dialect does not know."""
    if isinstance(frame, IterationDone):
        frame.summary = frame.summary or (frame.error or "")[:500]
        frame.status = PLAIN_STATUS.get(frame.status, frame.status)
    elif isinstance(frame, Exit):
        frame.reason = PLAIN_REASON.get(frame.reason, frame.reason)
    for name, _, _, ours in frame.PLAN:
        if ours:
            setattr(frame, name, None)
    return frame
