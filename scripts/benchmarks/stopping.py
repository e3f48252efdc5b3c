"""Stopping a hundred idle agents, until the end of each is a row."""

from __future__ import annotations

import time

from benchmarks import agentd, supervisord
from benchmarks.measuring import Bench, Goal, NotMeasured, Row, Samples, Yardstick
from benchmarks.processes import timed

STOPPED_WITHIN = 60.0
THEY_STOP_WITHIN = 90.0


def measure(bench: Bench) -> None:
    """Add the rows ``stop-cli`` and ``stop-rpc``."""
    by_command: list[float] = []
    by_socket: list[float] = []
    for number in range(1, bench.rounds(5, 2) + 1):
        bench.say(f"stop: {bench.agents} agents, round {number}")
        for found, stop in ((by_command, _agentctl), (by_socket, _together)):
            with agentd.running(bench) as daemon:
                daemon.start_idle(bench.agents)
                found.append(stop(daemon, bench.agents))
    yardsticks = (_theirs(bench),)
    bench.rows += [
        Row(
            name="stop-cli",
            what=f"agentctl stop all on {bench.agents} idle agents, the whole process",
            ours=Samples("s", by_command),
            yardsticks=yardsticks,
            goal=Goal(1.0),
        ),
        Row(
            name="stop-rpc",
            what=f"{bench.agents} idle agents told to stop at once over the socket, until the last one's row has ended",
            ours=Samples("s", by_socket),
            yardsticks=yardsticks,
            goal=Goal(1.0),
        ),
    ]


def _agentctl(daemon: agentd.Agentd, count: int) -> float:
    took = timed((str(agentd.AGENTCTL), "stop", "all"), daemon.environ, STOPPED_WITHIN)
    stopped = daemon.query("SELECT count(ended_at) FROM agent_runs")[0][0]
    if stopped != count:
        raise NotMeasured(f"agentctl stop all has ended {stopped} runs of {count}")
    return took


def _together(daemon: agentd.Agentd, count: int) -> float:
    with agentd.Events(daemon) as events:
        began = time.perf_counter()
        daemon.together(("agent.stop", {"name": name}) for name in agentd.names(count))
        events.count("run.stopped", count)
        return time.perf_counter() - began


def _theirs(bench: Bench) -> Yardstick:
    name = f"supervisord with {bench.agents} idle Python programs, from SIGTERM to its end"
    if bench.quick:
        return Yardstick(name, None, "left out by --quick", left_out=True)
    bench.say(f"stop: supervisord, at most {THEY_STOP_WITHIN:g} s")
    try:
        with supervisord.running(bench, bench.agents) as theirs:
            return Yardstick(name, Samples("s", [theirs.stop(THEY_STOP_WITHIN)]))
    except NotMeasured as error:
        return Yardstick(name, None, str(error))
