"""From the first byte of the wire to the exit code: claim it, hear ``init``, live the run."""

import signal
import sys
from collections.abc import AsyncIterator

import trio

from ipc.frames import Init, InitPayload, StrayLine
from ipc.session import Fault
from runner.control import Control
from runner.descendants import end_descendants
from runner.run import BadInit, Run
from runner.wire import Claimed, Ear, claim, give_back

INIT_WITHIN = 10.0
"""Seconds until a runner that hears no ``init`` gives up."""

BAD_INIT = 2
"""Exit code of a run that never began."""


def run_pipe() -> int:
    """Host one agent over stdin and stdout and return the exit code. Expects to own the process."""
    claimed = claim()
    try:
        return trio.run(serve, claimed)
    except BaseException:
        end_descendants((), 0.0)
        raise
    finally:
        give_back(claimed)


async def serve(claimed: Claimed) -> int:
    """Live one run on ``claimed`` and return the exit code; made to be the main task of the process."""
    control = Control()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_heed, signals, control)
            ear = Ear(claimed.reading)
            try:
                payload = await _greeting(ear, control)
                code = 0 if payload is None else await Run(payload, claimed, ear, control).live()
            except BadInit as error:
                print(f"runner: {error}", file=sys.stderr)  # noqa: T201 - stderr is the run's own file
                code = BAD_INIT
            nursery.cancel_scope.cancel()
    return code


async def _heed(signals: AsyncIterator[int], control: Control) -> None:
    async for number in signals:
        control.end("stopped", f"stopped by {signal.Signals(number).name}")


async def _greeting(ear: Ear, control: Control) -> InitPayload | None:
    """Return what ``init`` says, or None if the run was told to end before it began; raises BadInit."""
    with trio.move_on_after(INIT_WITHIN) as patience, control.cut_at_end():
        return await _first_frame(ear)
    if patience.cancelled_caught:
        raise BadInit(f"no init came within {INIT_WITHIN:g} s")
    return None


async def _first_frame(ear: Ear) -> InitPayload | None:
    """Return the payload of ``init``, or None for an early ``stop``; raises BadInit for anything else."""
    while True:
        match await ear.next():
            case None:
                raise BadInit("stdin ended before init came")
            case Init(payload=payload):
                return payload
            case Fault(error=error):
                raise BadInit(f"bad init: {error}")
            case StrayLine(text=text):
                print(f"runner: stray line before init: {text[:200]!r}", file=sys.stderr)  # noqa: T201
            case other if getattr(other, "op", "") == "stop":
                return None
