"""A bare supervisor: opens so many Pythons at once (its argument) and prints the seconds until each has said a line."""

from __future__ import annotations

import subprocess
import sys
import time

import trio

SAYS_READY = "print(flush=True); import signal; signal.pause()"


async def open_all(count: int) -> float:
    """Return the seconds until the last has said its line; then all are killed."""
    opened: list[trio.Process] = []

    async def open_one() -> None:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-P", "-c", SAYS_READY], stdout=subprocess.PIPE
        )
        opened.append(process)
        assert process.stdout is not None
        await process.stdout.receive_some(1)

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(open_one)
    took = time.perf_counter() - began
    for process in opened:
        process.kill()
        await process.wait()
    return took


if __name__ == "__main__":
    print(trio.run(open_all, int(sys.argv[1])))
