"""Ending what no keeper holds any more: runners by their identity, what they started by its mark. Everything blocks."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

from ipc.identity import is_living

MARK = "AGENTD_RUN"
"""Environment of everything that a runner starts: ``<home's identity>:<run>``."""

PASSES = 10
"""How often the process table is gone through at most: what is killed may just have started something."""

GRACE = 3.0
"""Seconds for the kernel to end what was killed."""


def end_marked(marks: Collection[str], known: Mapping[int, float] | None = None) -> None:
    """Kill every process that carries one of ``marks``, and those of ``known`` (pid → start time, after boot)."""
    import psutil

    for _ in range(PASSES):
        doomed = []
        for process in psutil.process_iter():
            if process.pid == os.getpid():
                continue
            try:
                ours = (
                    known is not None and process.pid in known and is_living(process.pid, known[process.pid])
                )
                if ours or process.environ().get(MARK) in marks:
                    process.kill()
                    doomed.append(process)
            except psutil.Error:
                continue
        if not doomed:
            return
        psutil.wait_procs(doomed, timeout=GRACE)
