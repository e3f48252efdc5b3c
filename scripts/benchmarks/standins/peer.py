"""A runner without a loop: it is greeted, says what a measure needs, and says goodbye."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import trio

from ipc.frames import PROTOCOL, Ack, Exit, Init, PermissionResponse, Ready, Stop
from runner.control import Control
from runner.journal import Journal
from runner.log import Log
from runner.speaker import JournalSpeaker
from runner.wire import Ear, claim

REPORT = "report.json"
"""What a stand-in has measured, in the folder of its run."""
ACKNOWLEDGED_WITHIN = 120.0


class Peer:
    """What a stand-in speaks with. ``args`` are the agent's; ``answers`` is told when answers to questions come."""

    def __init__(self, ear: Ear, speaker: JournalSpeaker, folder: Path, args: list[str]) -> None:
        self.speaker = speaker
        self.args = args
        self.answered, self.answers = trio.open_memory_channel[float](1)
        self._ear = ear
        self._folder = folder
        self._gate = os.open(args[0], os.O_RDONLY | os.O_NONBLOCK)

    async def listen(self, scope: trio.CancelScope) -> None:
        """Take what the supervisor says, until it says stop or nothing any more."""
        while (heard := await self._ear.next()) is not None:
            match heard:
                case Ack(seq=seq):
                    self.speaker.acknowledge(seq)
                case PermissionResponse():
                    self.answered.send_nowait(trio.current_time())
                case Stop():
                    break
        scope.cancel()

    async def go(self) -> None:
        """Wait until the bench says go: a byte in the pipe that the first argument names."""
        while True:
            try:
                if os.read(self._gate, 1):
                    return
            except BlockingIOError:
                pass
            await trio.lowlevel.wait_readable(self._gate)

    async def acknowledged(self) -> None:
        """Wait until all that was said is durable elsewhere."""
        await self.speaker.settle(ACKNOWLEDGED_WITHIN, acknowledged=True)

    def report(self, found: object) -> None:
        """Leave what was measured for the bench."""
        (self._folder / REPORT).write_bytes(orjson.dumps(found))


def host(behave: Callable[[Peer], Awaitable[None]]) -> None:
    """Be a runner that does ``behave`` between ``ready`` and ``exit``."""
    trio.run(_host, behave)


async def _host(behave: Callable[[Peer], Awaitable[None]]) -> None:
    claimed = claim()
    control = Control()
    control.protocol = PROTOCOL
    ear = Ear(claimed.reading)
    greeting = await ear.next()
    if not isinstance(greeting, Init):
        sys.exit(f"no init: {greeting!r}")
    folder = Path(greeting.payload.log_dir or ".")
    journal = Journal(folder)
    speaker = JournalSpeaker(claimed.writing, ear.session, journal, control, Log(folder))
    peer = Peer(ear, speaker, folder, greeting.payload.args)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(speaker.run)
        nursery.start_soon(peer.listen, nursery.cancel_scope)
        await speaker.say(Ready(protocol=PROTOCOL, pid=os.getpid(), capabilities={}))
        await behave(peer)
        await speaker.say(Exit(reason="completed"))
        await peer.acknowledged()
        nursery.cancel_scope.cancel()
