"""Frames a second, from runners to rows that are committed and acknowledged."""

from __future__ import annotations

from benchmarks import agentd, plain
from benchmarks.launching import StandIns
from benchmarks.measuring import Bench, Goal, NotMeasured, Row, Samples, Yardstick
from benchmarks.standins.flood import FRAMES

KINDS = "('log', 'iteration.started', 'iteration.done')"
STORED_WITHIN = 60.0


def measure(bench: Bench) -> None:
    """Add the rows ``frames-1`` and ``frames-20``."""
    total = 20_000 if bench.quick else 100_000
    rates: dict[int, list[float]] = {1: [], 20: []}
    bare: list[float] = []
    for number in range(1, bench.rounds(3, 2) + 1):
        for runners, found in rates.items():
            bench.say(f"frames: {total} of {runners}, round {number}")
            found.append(_rate(bench, runners, total // runners))
        with plain.database(bench) as database:
            bare.append(database.rate(total))
    yardstick = Yardstick(
        "plain APSW, WAL, synchronous=FULL, 100 rows a transaction", Samples("frames/s", bare)
    )
    for runners, found in rates.items():
        bench.rows.append(
            Row(
                name=f"frames-{runners}",
                what=f"{total} frames of {_runners(runners)}, until the last row is committed and acknowledged",
                ours=Samples("frames/s", found),
                yardsticks=(yardstick,),
                goal=Goal(30_000, at_least=True),
            )
        )


def _runners(count: int) -> str:
    return "one runner" if count == 1 else f"{count} runners at once"


def _rate(bench: Bench, runners: int, frames: int) -> float:
    with agentd.running(bench) as daemon, StandIns(daemon, "flood", runners, frames) as floods:
        floods.go()
        reports = floods.reports(STORED_WITHIN)
        _check(daemon, floods.runs, frames)
    took: float = max(one["ended"] for one in reports) - min(one["began"] for one in reports)
    return runners * frames / took


def _check(daemon: agentd.Agentd, runs: list[int], frames: int) -> None:
    for run in runs:
        events = daemon.query(f"SELECT count(*) FROM events WHERE run_id = ? AND kind IN {KINDS}", (run,))
        turns = daemon.query("SELECT count(*) FROM iterations WHERE run_id = ? AND status = 'ok'", (run,))
        if (events[0][0], turns[0][0]) != (frames, frames // FRAMES):
            raise NotMeasured(
                f"run {run}: {events[0][0]} events and {turns[0][0]} iterations of {frames} frames"
            )
