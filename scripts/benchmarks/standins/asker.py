"""A stand-in that asks so many questions (its second argument), one each time that it is told to go."""

from __future__ import annotations

import trio

from benchmarks.standins.peer import Peer, host
from ipc.codec import digest
from ipc.frames import IterationDone, IterationStart, PermissionApplied, PermissionRequest

TOOL = "sh"
INPUT = {"command": "git push --force origin main"}


async def ask(peer: Peer) -> None:
    """Ask, wait for the answer, say that it was applied, and again; report the seconds from question to answer."""
    took = []
    await peer.speaker.say(IterationStart(iteration=1))
    for number in range(int(peer.args[1])):
        await peer.go()
        request_id = f"1.1.{number}"
        began = trio.current_time()
        await peer.speaker.say(
            PermissionRequest(
                request_id=request_id, tool=TOOL, input=INPUT, rationale="why not", digest=digest(TOOL, INPUT)
            )
        )
        took.append(await peer.answers.receive() - began)
        await peer.speaker.say(PermissionApplied(request_id=request_id, granted=True))
    await peer.speaker.say(IterationDone(iteration=1, status="ok"))
    await peer.acknowledged()
    peer.report(took)


if __name__ == "__main__":
    host(ask)
