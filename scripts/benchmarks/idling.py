"""What a hundred idle agents cost: memory, CPU and wake-ups, of the runners and of what looks after them."""

from __future__ import annotations

import time
from contextlib import ExitStack

from benchmarks import agentd, supervisord
from benchmarks.measuring import Bench, Goal, NotMeasured, Row, Samples, Yardstick
from benchmarks.processes import Activity, pss

SETTLE_S = 12.0
"""Seconds after which what the start has left behind is over: trio's idle threads, for one, live 10 s."""


def measure(bench: Bench) -> None:
    """Add the rows ``memory-runner``, ``memory-supervisor``, ``memory-keeper``, ``idle-wakeups`` and ``idle-cpu``."""
    missing = ""
    with ExitStack() as running:
        bench.say(f"idle: starting {bench.agents} agents, and supervisord with as many")
        daemon = running.enter_context(agentd.running(bench))
        daemon.start_idle(bench.agents)
        supervisor, keeper, runners = daemon.pids()
        other: list[int] = []
        try:
            theirs = running.enter_context(supervisord.running(bench, bench.agents))
            other = [theirs.process.pid, *theirs.pids]
        except NotMeasured as error:
            missing = str(error)
        time.sleep(SETTLE_S / (6 if bench.quick else 1))
        memory = [pss(pid) for pid in (supervisor, keeper, *runners)]
        their_memory = [pss(pid) for pid in other]
        seconds = 5.0 if bench.quick else 30.0
        bench.say(f"idle: looking on for {seconds:g} s")
        ours_before, theirs_before = Activity([supervisor, keeper, *runners]), Activity(other)
        time.sleep(seconds)
        ours_now, theirs_now = Activity([supervisor, keeper, *runners]), Activity(other)
    switches, cpu = ours_now.since(ours_before)
    their_switches, their_cpu = theirs_now.since(theirs_before)

    def beside(what: str, unit: str, values: list[float]) -> tuple[Yardstick, ...]:
        if missing:
            return (Yardstick(what, None, missing),)
        return (Yardstick(what, Samples(unit, values)),)

    itself = beside("supervisord itself", "MB", their_memory[:1])
    everything = f"of supervisor, keeper and {len(runners)} runners in {seconds:g} idle seconds"
    fleet = f"supervisord with {bench.agents} idle Python programs"
    bench.rows += [
        Row(
            name="memory-runner",
            what=f"PSS of a runner that idles, one of {len(runners)}",
            ours=Samples("MB", memory[2:]),
            yardsticks=beside("an idle Python program of supervisord", "MB", their_memory[1:]),
            goal=Goal(4.5),
        ),
        Row(
            name="memory-supervisor",
            what=f"PSS of the supervisor of {len(runners)} runners",
            ours=Samples("MB", memory[:1]),
            yardsticks=itself,
        ),
        Row(
            name="memory-keeper",
            what=f"PSS of the keeper of {len(runners)} runners",
            ours=Samples("MB", memory[1:2]),
            yardsticks=itself,
        ),
        Row(
            name="idle-wakeups",
            what=f"context switches {everything}; no timer is due",
            ours=Samples("switches", [switches]),
            yardsticks=beside(fleet, "switches", [their_switches]),
            goal=Goal(0),
        ),
        Row(
            name="idle-cpu",
            what=f"CPU time {everything}",
            ours=Samples("ms", [cpu * 1e3]),
            yardsticks=beside(fleet, "ms", [their_cpu * 1e3]),
            goal=Goal(0),
        ),
    ]
