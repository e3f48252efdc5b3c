"""What the processes of runs use now, from one pass over the process table."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection
from typing import TypedDict

import psutil


class Used(TypedDict):
    """Of a process and everything below it: CPU seconds so far, per cent of one CPU since it began, bytes, number."""

    cpu_s: float
    cpu_percent: float
    memory_bytes: int
    processes: int


def sample(roots: Collection[int]) -> dict[int, Used]:
    """Return what each of ``roots`` and its descendants use; a root that is gone is left out. It blocks.

    Memory is resident memory; pages that processes share are counted in each.
    """
    children: defaultdict[int, list[int]] = defaultdict(list)
    used: dict[int, tuple[float, int, float]] = {}
    for process in psutil.process_iter(["ppid", "cpu_times", "memory_info", "create_time"]):
        cpu, memory = process.info["cpu_times"], process.info["memory_info"]
        children[process.info["ppid"]].append(process.pid)
        if cpu is not None and memory is not None:
            used[process.pid] = (cpu.user + cpu.system, memory.rss, process.info["create_time"])
    return {root: _add_up(root, children, used) for root in roots if root in used}


def _add_up(
    root: int, children: defaultdict[int, list[int]], used: dict[int, tuple[float, int, float]]
) -> Used:
    tree, todo = set[int](), [root]
    while todo:
        pid = todo.pop()
        if pid in used and pid not in tree:
            tree.add(pid)
            todo += children[pid]
    cpu_s = sum(used[pid][0] for pid in tree)
    lived = max(0.001, time.time() - used[root][2])
    return Used(
        cpu_s=cpu_s,
        cpu_percent=100 * cpu_s / lived,
        memory_bytes=sum(used[pid][1] for pid in tree),
        processes=len(tree),
    )
