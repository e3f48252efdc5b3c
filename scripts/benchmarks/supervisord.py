"""The yardstick: supervisord from PyPI, in a virtual environment of its own, since it owns the same import name."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measuring import Bench, NotMeasured
from benchmarks.processes import IDLER, end, ended, kill_children
from runner.descendants import children

VERSION = "4.3.0"
INSTALL_WITHIN = 120.0
RUNNING_WITHIN = 60.0
PROBE = 0.005
"""Seconds between two looks at its log."""

SETTINGS = """\
[supervisord]
nodaemon = true
logfile = {folder}/supervisord.log
pidfile = {folder}/supervisord.pid
childlogdir = {folder}

[program:idle]
command = "{python}" -c "{program}"
numprocs = {count}
process_name = %(process_num)03d
startsecs = 0
"""


def install(cache: Path) -> Path | str:
    """Return the program, installed into ``cache`` if it is not there yet, or why that is not possible."""
    folder = cache / f"supervisord-{VERSION}-py{sys.version_info[0]}.{sys.version_info[1]}"
    program = folder / "bin" / "supervisord"
    if program.exists():
        return program
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    python = str(folder / "bin" / "python")
    for command in (
        [str(base if base.exists() else sys.executable), "-I", "-m", "venv", "--clear", str(folder)],
        [
            python,
            "-I",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-input",
            "--retries=1",
            "--timeout=10",
            f"supervisor=={VERSION}",
        ],
    ):
        try:
            subprocess.run(
                command,
                check=True,
                capture_output=True,
                text=True,
                timeout=INSTALL_WITHIN,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.CalledProcessError as error:
            last = (str(error.stderr).strip() or "it said nothing").splitlines()[-1]
            return f"supervisord cannot be installed: {last}"
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"supervisord cannot be installed: {error}"
    return program if program.exists() else "supervisord was installed without its program"


class Supervisord:
    """One running supervisord with idle Python programs; ``start_s`` is how long it took until all were RUNNING."""

    def __init__(self, program: Path, folder: Path, count: int) -> None:
        settings = folder / "supervisord.conf"
        settings.write_text(
            SETTINGS.format(folder=folder, python=program.with_name("python"), program=IDLER, count=count)
        )
        self._log = folder / "supervisord.log"
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [program, "-c", settings],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            start_new_session=True,
        )
        self._await_running(count)
        self.start_s = time.perf_counter() - began

    def _await_running(self, count: int) -> None:
        until = time.monotonic() + RUNNING_WITHIN
        while not self._log.exists() or self._log.read_bytes().count(b" entered RUNNING state") < count:
            if self.process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise NotMeasured("supervisord does not start its programs")
            time.sleep(PROBE)

    @property
    def pids(self) -> list[int]:
        """The pids of its programs."""
        return children(self.process.pid)

    def stop(self, within: float) -> float:
        """Send it SIGTERM and return the seconds until it and all programs have ended.

        Raises:
            NotMeasured: that took longer than ``within``.
        """
        began = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        if not ended(self.process, within):
            raise NotMeasured(f"not stopped after {within:g} s")
        return time.perf_counter() - began

    def kill(self) -> None:
        """End it and its programs at once."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)
            kill_children(self.process.pid)
        end(self.process, signal.SIGKILL, 5)


@contextmanager
def running(bench: Bench, count: int) -> Iterator[Supervisord]:
    """A supervisord for the block, with so many programs.

    Raises:
        NotMeasured: there is none, or it does not work.
    """
    if isinstance(bench.supervisord, str):
        raise NotMeasured(bench.supervisord)
    with tempfile.TemporaryDirectory(dir=bench.folder, ignore_cleanup_errors=True) as folder:
        found = Supervisord(bench.supervisord, Path(folder), count)
        try:
            yield found
        finally:
            found.kill()
