"""``agentctl status`` on a hundred agents, as a whole process."""

from __future__ import annotations

import sys

from benchmarks import agentd
from benchmarks.measuring import Bench, Goal, Of, Row, Samples, Yardstick
from benchmarks.processes import timed

IMPORTS = (sys.executable, "-c", "import orjson, docopt")
ENDS_WITHIN = 20.0


def measure(bench: Bench) -> None:
    """Add the row ``status``."""
    ours: list[float] = []
    bare: list[float] = []
    with agentd.running(bench) as daemon:
        daemon.start_idle(bench.agents)
        pairs = bench.rounds(40, 12)
        bench.say(f"status: {pairs} times")
        for _ in range(pairs):
            ours.append(timed((str(agentd.AGENTCTL), "status"), daemon.environ, ENDS_WITHIN) * 1e3)
            bare.append(timed(IMPORTS, daemon.environ, ENDS_WITHIN) * 1e3)
    bench.rows.append(
        Row(
            name="status",
            what=f"agentctl status on {bench.agents} agents, the whole process",
            ours=Samples("ms", ours),
            yardsticks=(Yardstick('python -c "import orjson, docopt"', Samples("ms", bare)),),
            goal=Goal(1.5, of=Of.RATIO),
        )
    )
