"""Measure how fast this agentd is, and what it costs, beside yardsticks in the same run.

Usage:
  bench [--quick] [--json=FILE] [NAME...]
  bench --list
  bench (-h | --help)

Options:
  --quick      fewer rounds and shorter looks: at most a minute instead of four
  --json=FILE  also write everything that was measured to this file; - is stdout, without the table
  --list       what NAME can be

Exit code 0 when everything was measured, whether or not the goals are met; 1 when something could not be.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import platformdirs
from docopt import docopt

from benchmarks import frames, idling, permission, spawning, status, stopping, supervisord, table
from benchmarks.measuring import Bench, Measure, NotMeasured
from benchmarks.processes import end_everything, nothing_left

MEASURES = (
    Measure(
        "spawn", "from the request for agents to ready: one, 100 at once, 100 at the start", spawning.measure
    ),
    Measure("frames", "frames a second from 1 and 20 runners to durable rows", frames.measure),
    Measure("permission", "a question's way to the person and back", permission.measure),
    Measure("idle", "memory, CPU and wake-ups of 100 idle agents", idling.measure),
    Measure("status", "agentctl status on 100 agents", status.measure),
    Measure("stop", "stopping 100 agents", stopping.measure),
)
LIMIT_S, QUICK_LIMIT_S = 240, 60
"""Seconds after which what is not measured yet stays so."""
DISK = Path("/var/tmp")  # noqa: S108 - unlike /tmp it is hardly ever in memory, and only a private folder in it is used


class OutOfTime(Exception):
    """The whole run takes too long."""


def main(arguments: Sequence[str]) -> int:
    """Measure what was asked for; returns the exit code."""
    given = docopt(__doc__ or "", argv=list(arguments))
    if given["--list"]:
        for measure in MEASURES:
            print(f"{measure.name:12}{measure.what}")
        return 0
    known = {measure.name: measure for measure in MEASURES}
    if unknown := [name for name in given["NAME"] if name not in known]:
        print(f"bench: there is no {unknown[0]}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    chosen = [measure for measure in MEASURES if not given["NAME"] or measure.name in given["NAME"]]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        return _bench(chosen, quick=given["--quick"], file=given["--json"])
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130


def _bench(chosen: Sequence[Measure], *, quick: bool, file: str | None) -> int:
    other = supervisord.install(platformdirs.user_cache_path("agentd-bench"))
    base = DISK if os.access(DISK, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="bench-", dir=base) as folder, nothing_left():
        bench = Bench(Path(folder), quick, other)
        machine = _machine(bench)
        faults = _measure(bench, chosen)
    machine["load_after"] = os.getloadavg()[0]
    for row in bench.rows:
        faults |= {
            f"{row.name}: {one.name}": one.why for one in row.yardsticks if one.why and not one.left_out
        }
    if file is not None:
        found = [row.as_json() for row in bench.rows]
        _write(file, {"machine": machine, "rows": found, "not_measured": faults})
    if file != "-":
        _show(bench, machine)
    for name, why in faults.items():
        print(f"NOT MEASURED: {name}: {why}", file=sys.stderr)
    return 1 if faults else 0


def _measure(bench: Bench, chosen: Sequence[Measure]) -> dict[str, str]:
    """Measure what was chosen; returns why, by name, for what could not be measured."""
    faults = {measure.name: "the whole run took too long" for measure in chosen}
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.alarm(QUICK_LIMIT_S if bench.quick else LIMIT_S)
    try:
        for measure in chosen:
            try:
                measure.run(bench)
                del faults[measure.name]
            except (NotMeasured, OSError, subprocess.SubprocessError) as error:
                faults[measure.name] = str(error)
            end_everything()
    except OutOfTime:
        pass  # what is left in the faults has not been measured
    finally:
        signal.alarm(0)
    return faults


def _out_of_time(*_: object) -> None:
    raise OutOfTime("the whole run took too long")


def _machine(bench: Bench) -> dict[str, Any]:
    return {
        "at": time.time(),
        "quick": bench.quick,
        "system": platform.platform(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "folder": str(bench.folder),
        "versions": {name: version(name) for name in ("agentd", "trio", "apsw", "orjson")},
    }


def _write(file: str, found: dict[str, Any]) -> None:
    text = json.dumps(found, indent=2)
    if file == "-":
        print(text)
    else:
        Path(file).write_text(f"{text}\n", encoding="utf-8")


def _show(bench: Bench, machine: dict[str, Any]) -> None:
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    print(f"{machine['system']}, {machine['cpus']} CPUs, Python {machine['python']}; {versions}")
    busy = "" if machine["load_before"] <= (machine["cpus"] or 1) else ": a busy machine, do not trust it"
    print(f"load before {machine['load_before']:.1f}, after {machine['load_after']:.1f}{busy}\n")
    for line in table.explained(bench.rows):
        print(line)
    print()
    for line in table.lines(bench.rows):
        print(line)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
