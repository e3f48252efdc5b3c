"""Stand-ins for runners: started by agentd through an agent's ``launch``, told to go through a pipe."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Self

import orjson

from benchmarks.agentd import Agentd, Events
from benchmarks.measuring import NotMeasured
from benchmarks.standins.peer import REPORT

SCRIPTS = Path(__file__).parents[1]
PYTHONPATH = {"PYTHONPATH": os.pathsep.join((str(SCRIPTS), str(SCRIPTS.parent)))}
"""Where a stand-in finds us, and the packages of this checkout."""


class StandIns:
    """So many runners that are ``program``, each ready and waiting for `go`. A context manager."""

    def __init__(self, agentd: Agentd, program: str, count: int, *args: object) -> None:
        self._agentd = agentd
        self._gates: list[int] = []
        calls = []
        for number in range(count):
            name = f"{program}-{number}"
            gate = agentd.home.state / f"{name}.gate"
            os.mkfifo(gate, 0o600)
            self._gates.append(os.open(gate, os.O_RDWR | os.O_NONBLOCK))
            settings = {
                "launch": [sys.executable, "-P", "-m", f"benchmarks.standins.{program}"],
                "env": PYTHONPATH,
                "args": [str(gate), *map(str, args)],
                "process": {"command": ["true"]},
            }
            calls.append(
                (
                    "agent.start",
                    {"name": name, "template": "idle", "adapter": "process", "settings": settings},
                )
            )
        with Events(agentd) as events:
            self.runs: list[int] = [found["run_id"] for found in agentd.together(calls)]
            events.count("runner.ready", count)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for gate in self._gates:
            os.close(gate)

    def go(self) -> None:
        """Let each begin."""
        for gate in self._gates:
            os.write(gate, b".")

    def reports(self, within: float) -> list[Any]:
        """Wait until all have ended and return what they have measured.

        Raises:
            NotMeasured: one has not ended in so many seconds, or not well.
        """
        with self._agentd.client() as client:
            for run in self.runs:
                ended = client.call("agent.wait", run_id=run, until="end", timeout_s=within)
                if ended["status"] != "ok":
                    raise NotMeasured(f"a stand-in is {ended['state']}: {ended['error']}")
        return [orjson.loads((self._agentd.home.runs / str(run) / REPORT).read_bytes()) for run in self.runs]
