"""A rehearsal leaves its process as it was, and runners forked from it smaller."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ipc

PACKAGES = Path(ipc.__file__).parents[1]
REPORT = """
import json, os, signal, sys, threading
from runner.rehearsal import rehearse
def state():
    fds = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in sorted(os.listdir("/proc/self/fd"), key=int)[:-1]}
    handlers = [str(signal.getsignal(one)) for one in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)]
    return [os.getcwd(), fds, handlers, threading.active_count(), sorted(os.listdir(os.environ["TMPDIR"]))]
before = state()
rehearse()
print(json.dumps([before, state()]))
"""
REFUSAL = """
import os, sys, time
from runner.rehearsal import rehearse
pid = os.fork()
if pid == 0:
    time.sleep(600)
try:
    rehearse()
except RuntimeError as error:
    print(error)
os.kill(pid, 9)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def run(code: str, tmp_path: Path) -> Any:
    env = os.environ | {"PYTHONPATH": str(PACKAGES), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False, env=env
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_a_rehearsal_leaves_nothing_behind(tmp_path: Path) -> None:
    before, after = json.loads(run(REPORT, tmp_path))
    assert before == after


def test_a_process_with_children_does_not_rehearse(tmp_path: Path) -> None:
    assert run(REFUSAL, tmp_path).splitlines() == ["a rehearsal would end the children of this process", "-9"]
