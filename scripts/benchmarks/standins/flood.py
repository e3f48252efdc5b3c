"""A stand-in that says so many frames (its second argument) as fast as it can."""

from __future__ import annotations

import time

from benchmarks.standins.peer import Peer, host
from ipc.frames import IterationDone, IterationStart, Log

LOGS = 8
"""Log frames of an iteration, said together as lines that a program printed together are."""
FRAMES = LOGS + 2
LINE = "a line such as a program prints, of some eighty characters, so that it has a size"


async def flood(peer: Peer) -> None:
    """Begin an iteration, log, end it, and again; report when that began and when the last was acknowledged."""
    await peer.go()
    began = time.monotonic()
    for number in range(1, int(peer.args[1]) // FRAMES + 1):
        await peer.speaker.say(IterationStart(iteration=number))
        await peer.speaker.say(*[Log(level="info", msg=LINE) for _ in range(LOGS)])
        await peer.speaker.say(IterationDone(iteration=number, status="ok", duration_s=0.001, summary=LINE))
    await peer.acknowledged()
    peer.report({"began": began, "ended": time.monotonic()})


if __name__ == "__main__":
    host(flood)
