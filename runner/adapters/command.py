"""Running one program of a turn: what it prints goes to the log as it comes, what it says goes to the turn."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import trio

from ipc.channel import READ_SIZE, read_some
from runner.adapters.base import Agent
from runner.adapters.child import LEFTOVER_GRACE, Child
from runner.adapters.pipes import End, make_pipe, open_null
from runner.adapters.said import Said
from runner.log import Log
from runner.turn import Turn

TAIL = 8_192
"""How many bytes of the end of an output are remembered."""

DRAIN_LIMIT = 4 * 1_048_576
"""Most bytes read after the program has ended, should somebody it left behind go on writing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run. Without ``stderr`` both outputs go to the stream ``stdout``, in their order."""

    argv: Sequence[str]
    env: dict[str, str]
    stdin: bytes = b""
    stdout: str
    stderr: str | None = None
    timeout: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How it ended: ``code`` as of subprocess (below zero a signal), and the last that it printed."""

    code: int
    overtime: bool
    output: str
    errors: str


async def run_command(command: Command, turn: Turn, agent: Agent) -> Finished:
    """Run ``command`` until its leader ends, then end its group.

    When cancelled, the group gets TERM, ``turn.term_grace()`` seconds, and KILL; what it still prints and says in
    that time is kept.

    Raises:
        OSError: it could not be started.
    """
    log = agent.log
    await trio.lowlevel.checkpoint()  # whoever is cancelled begins nothing new
    with ExitStack() as held:
        output = Output(held, log, command.stdout)
        errors = Output(held, log, command.stderr) if command.stderr else None
        said = Said(held, turn, agent)
        feed = Feed(held, command.stdin)
        child = Child(
            command.argv,
            env=command.env | said.names(),
            stdin=feed.theirs.fd,
            stdout=output.theirs.fd,
            stderr=errors.theirs.fd if errors else output.theirs.fd,
            keep=said.theirs,
            known=agent.children,
        )
        outputs = [output, errors] if errors else [output]
        async with trio.open_nursery() as nursery:
            for one in outputs:
                one.theirs.close()
                nursery.start_soon(one.run)
            said.close_theirs()
            feed.theirs.close()
            nursery.start_soon(feed.run)
            nursery.start_soon(said.run, nursery)
            grace = LEFTOVER_GRACE
            try:
                with turn.clock.limit(command.timeout) as limit:
                    await child.ended()
                if limit.cancelled_caught:
                    grace = turn.term_grace()
            except trio.Cancelled:
                grace = turn.term_grace()
                raise
            finally:
                with trio.CancelScope(shield=True):  # bounded in end_group, and by DRAIN_LIMIT
                    if not await child.end_group(min(grace, turn.term_grace())):
                        log.note(f"process group {child.pid} does not end, even when killed")
                    for one in outputs:
                        one.drain()
                    await said.drain()
                for one in outputs:
                    one.scope.cancel()
            nursery.cancel_scope.cancel()
        return Finished(
            code=child.code if child.code is not None else -9,
            overtime=limit.cancelled_caught,
            output=output.tail(),
            errors=(errors or output).tail(),
        )


class Output:
    """One output of a program: a pipe whose contents go to a stream of the log."""

    def __init__(self, held: ExitStack, log: Log, stream: str) -> None:
        self._ours, self.theirs = make_pipe(held)
        os.set_blocking(self._ours.fd, False)
        self._stream = log.stream(stream)
        self._tail = b""
        self.scope = trio.CancelScope(shield=True)

    async def run(self) -> None:
        """Read until the end or until ``scope`` is cancelled: a cancelled turn still hears its program's last words."""
        with self.scope:
            while data := await read_some(self._ours.fd):
                self._take(data)
                await trio.lowlevel.checkpoint()

    def drain(self) -> None:
        """Take what lies in the pipe now, and write an unfinished last line."""
        taken = 0
        try:
            while taken < DRAIN_LIMIT and (data := os.read(self._ours.fd, READ_SIZE)):
                self._take(data)
                taken += len(data)
        except BlockingIOError:
            pass
        self._stream.end()

    def tail(self) -> str:
        """Return the end of what was printed."""
        return self._tail.decode("utf-8", "replace")

    def _take(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-TAIL:] if len(data) < TAIL else data[-TAIL:]
        self._stream.feed(data)


class Feed:
    """What a program reads from stdin; with nothing to say it is /dev/null."""

    def __init__(self, held: ExitStack, data: bytes) -> None:
        self._data = data
        self._ours: End | None = None
        if data:
            self.theirs, self._ours = make_pipe(held)
            os.set_blocking(self._ours.fd, False)
        else:
            self.theirs = open_null(held)

    async def run(self) -> None:
        """Write all, then close; a program that does not want to read it is left in peace."""
        if self._ours is None:
            return
        try:
            while self._data:
                await trio.lowlevel.wait_writable(self._ours.fd)
                self._data = self._data[os.write(self._ours.fd, self._data[:READ_SIZE]) :]
        except BrokenPipeError:
            pass
        finally:
            self._ours.close()
