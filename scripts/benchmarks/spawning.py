"""From the request for an agent to its ``ready``: one alone, a hundred together, and a hundred at agentd's start."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from benchmarks import agentd, launching, supervisord
from benchmarks.measuring import Bench, Goal, NotMeasured, Row, Samples, Yardstick
from benchmarks.processes import timed

INTERPRETER = (sys.executable, "-P", "-c", "import trio, orjson; print(flush=True)")
FILE = """\
[agent.{name}]
template = "idle"
adapter = "process"
interval = "1d"
process.command = ["true"]
"""


def measure(bench: Bench) -> None:
    """Add the rows ``spawn-1``, ``spawn-100`` and ``boot-100``."""
    one_alone(bench)
    hundred: list[float] = []
    boot: list[float] = []
    theirs: list[float] = []
    bare: list[float] = []
    missing = ""
    for number in range(1, bench.rounds(4, 2) + 1):
        bench.say(f"spawn: {bench.agents} at once, round {number}")
        with agentd.running(bench) as ours:
            hundred.append(ours.start_idle(bench.agents))
        boot.append(_boot(bench))
        bare.append(_bare(bench.agents))
        if number <= bench.rounds(3, 1) and not missing:
            try:
                with supervisord.running(bench, bench.agents) as other:
                    theirs.append(other.start_s)
            except NotMeasured as error:
                missing = str(error)
    yardsticks = (
        Yardstick(
            "supervisord, from its start to all RUNNING", Samples("s", theirs) if theirs else None, missing
        ),
        Yardstick("a bare trio program opening as many Pythons", Samples("s", bare)),
    )
    count = bench.agents
    bench.rows += [
        Row(
            name=f"spawn-{count}",
            what=f"{count} agents asked for at once over the socket, until the last is ready",
            ours=Samples("s", hundred),
            yardsticks=yardsticks,
            goal=Goal(0.6),
        ),
        Row(
            name=f"boot-{count}",
            what=f"agentd with {count} agents in agentd.toml, from its start until the last is ready",
            ours=Samples("s", boot),
            yardsticks=yardsticks,
        ),
    ]


def one_alone(bench: Bench) -> None:
    """Add the row ``spawn-1``."""
    ours: list[float] = []
    bare: list[float] = []
    bench.say("spawn: one at a time")
    with agentd.running(bench) as daemon, daemon.client() as client, agentd.Events(daemon) as events:
        for name in agentd.names(bench.rounds(30, 10)):
            began = time.perf_counter()
            client.call("agent.start", name=name, **agentd.IDLE)
            events.until("runner.ready")
            ours.append((time.perf_counter() - began) * 1e3)
            events.until("iteration.done")
            bare.append(timed(INTERPRETER, daemon.environ, agentd.HAPPENS_WITHIN) * 1e3)
    bench.rows.append(
        Row(
            name="spawn-1",
            what="one agent, from the request to ready",
            ours=Samples("ms", ours),
            yardsticks=(Yardstick("python -c that imports trio and orjson and prints", Samples("ms", bare)),),
        )
    )


def _boot(bench: Bench) -> float:
    settings = "\n".join(FILE.format(name=name) for name in agentd.names(bench.agents))
    began = time.time()
    with agentd.running(bench, settings) as daemon:
        until = time.monotonic() + agentd.HAPPENS_WITHIN
        query = "SELECT count(ready_at), max(ready_at) FROM agent_runs"
        while (found := daemon.query(query)[0])[0] < bench.agents:
            if time.monotonic() > until:
                raise NotMeasured(f"only {found[0]} agents are ready")
            time.sleep(0.05)
    return float(found[1]) - began


def _bare(count: int) -> float:
    command = [sys.executable, "-P", "-m", "benchmarks.standins.prototype", str(count)]
    try:
        done = subprocess.run(
            command,
            env=os.environ | launching.PYTHONPATH,
            check=True,
            stdout=subprocess.PIPE,
            timeout=agentd.HAPPENS_WITHIN,
        )
    except subprocess.SubprocessError as error:
        raise NotMeasured(f"{count} Pythons could not be opened: {error}") from None
    return float(done.stdout)
