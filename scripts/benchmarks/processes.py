"""Processes as the kernel counts them, and ending all that this program has started."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.measuring import NotMeasured
from runner.descendants import become_subreaper, children, end_descendants

IDLER = "import signal; signal.pause()"
"""An idle Python program."""


@contextmanager
def nothing_left() -> Iterator[None]:
    """Inherit what is daemonised below us, and end everything below us when the block does."""
    become_subreaper()
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
            signal.signal(number, signal.SIG_IGN)
        end_everything()


def end_everything() -> None:
    """Kill every process below this one; raises RuntimeError if one cannot be killed."""
    if not end_descendants((), 0):
        raise RuntimeError(f"these processes cannot be killed: {children()}")


def parent(pid: int) -> int:
    """The pid of a process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def pss(pid: int) -> float:
    """The memory of a process in MB, shared pages counted in proportion."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"the kernel does not tell the PSS of {pid}")


class Activity:
    """How often some processes have been woken and how long they have run, all their threads together."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._threads: dict[str, tuple[int, int]] = {}
        for pid in pids:
            for thread in Path(f"/proc/{pid}/task").iterdir():
                with suppress(FileNotFoundError, ProcessLookupError):
                    self._threads[thread.name] = _switches(thread), _ran(thread)

    def since(self, before: Activity) -> tuple[int, float]:
        """Return context switches, and seconds of CPU, since an earlier look at the same processes."""
        switches = ran = 0
        for thread, (now_switches, now_ran) in self._threads.items():
            then_switches, then_ran = before._threads.get(thread, (0, 0))
            switches += now_switches - then_switches
            ran += now_ran - then_ran
        return switches, ran / 1e9


def _switches(thread: Path) -> int:
    lines = (thread / "status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


def _ran(thread: Path) -> int:
    """Nanoseconds on a CPU."""
    return int((thread / "schedstat").read_text().split()[0])


def ended(process: subprocess.Popen[bytes], within: float) -> bool:
    """Wait for the end of our child and tell whether it came within so many seconds.

    Told by the kernel, at once: ``Popen.wait`` with a time-out looks only now and then, up to 50 ms late.
    """
    if process.poll() is None:
        pidfd = os.pidfd_open(process.pid)
        try:
            select.select([pidfd], [], [], within)
        finally:
            os.close(pidfd)
    return process.poll() is not None


def timed(command: Sequence[str], environ: Mapping[str, str], within: float) -> float:
    """Run ``command`` to its end and return the seconds that took.

    Raises:
        NotMeasured: it failed, or took longer than ``within``.
    """
    began = time.perf_counter()
    with subprocess.Popen(
        command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        in_time = ended(process, within)
        took = time.perf_counter() - began
        if not in_time:
            process.kill()
    if process.returncode:
        raise NotMeasured(f"{' '.join(command)}: exit {process.returncode} after {took:.1f} s")
    return took


def end(process: subprocess.Popen[bytes], number: int, within: float) -> None:
    """Signal a process and wait for its end; kill it when that takes longer than ``within`` seconds."""
    if process.poll() is None:
        process.send_signal(number)
        if not ended(process, within):
            process.kill()
            process.wait()


def kill_children(pid: int) -> None:
    """Kill a process that is not our child, or is, and its children."""
    below = children(pid)
    for one in (pid, *below):
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
