"""Ending what no keeper holds any more: runners by their identity, what they started by its mark. Everything blocks."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from ipc.identity import is_living
from supervisor.peers import MARK

if TYPE_CHECKING:
    import psutil

PASSES = 10
"""How often the process table is gone through at most: what is killed may just have started something."""

GRACE = 3.0
"""Seconds for the kernel to end what was killed."""


def end_marked(marks: Collection[str], known: Mapping[int, float] | None = None) -> None:
    """Kill every process that carries one of ``marks``, and the trees of ``known`` runners (pid → start after boot)."""
    import psutil

    for pid, started in (known or {}).items():
        if is_living(pid, started):
            _end_tree(pid)
    for _ in range(PASSES):
        doomed = []
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and process.environ().get(MARK) in marks:
                    process.kill()
                    doomed.append(process)
            except psutil.Error:
                continue
        if not doomed:
            return
        psutil.wait_procs(doomed, timeout=GRACE)


def _end_tree(pid: int) -> None:
    """End a runner last: while it is there, whatever is orphaned below it comes to it, and is found there."""
    import psutil

    try:
        runner = psutil.Process(pid)
        runner.suspend()
        deadline = time.monotonic() + GRACE
        while left := _living(runner.children(recursive=True)):
            for process in left:
                process.kill()
            psutil.wait_procs(left, timeout=0.05)
            if time.monotonic() > deadline:
                break
        runner.kill()
        psutil.wait_procs([runner], timeout=GRACE)
    except psutil.NoSuchProcess:
        return


def _living(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    import psutil

    left = []
    for process in processes:
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                left.append(process)
        except psutil.NoSuchProcess:
            continue
    return left
