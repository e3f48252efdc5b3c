"""Of a run nothing is left: not what it began, not what that daemonised, however the run ended."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.home import BUSY, PEERS, Home
from tests.system.traces import alive, is_gone

DAEMON = str(PEERS / "daemon.py")
THEN = {"ends": "", "goes on": "import time\ntime.sleep(600)"}
SAY = """import os, subprocess, sys
subprocess.run([sys.executable, {daemon!r}, {note!r}], check=True)
os.write(int(os.environ["AGENTD_FD"]), b'{{"type": "notify", "text": "it is there"}}\\n')
"""


@pytest.fixture
def beside(home: Home) -> Iterator[Home]:
    """A home in which another agent has left a daemon too, which must live on."""
    home.begin_agent("neighbour", **program(home.folder / "neighbour.pid", "goes on"))
    before = daemon_of(home, home.folder / "neighbour.pid")
    yield home
    assert alive(before)
    home.stop("neighbour")
    assert is_gone(before)


def program(note: Path, then: str, **settings: object) -> dict[str, object]:
    """Settings of an agent whose turn leaves a daemon and then ends, or goes on."""
    code = SAY.format(daemon=DAEMON, note=str(note)) + THEN[then]
    command = [sys.executable, "-c", code]
    return {"adapter": "process", "process": {"command": command}, "restart": "never", "grace": 3, **settings}


def daemon_of(home: Home, note: Path) -> int:
    """Wait until an agent's daemon is there and return its pid."""
    home.event("notify", agent=note.stem)
    return int(note.read_text())


def test_a_daemon_is_gone_after_a_normal_end(beside: Home) -> None:
    note = beside.folder / "one.pid"
    run_id = beside.begin_agent("one", **program(note, "ends", max_iterations=1))
    assert beside.end_of(run_id)["state"] == "succeeded"
    assert is_gone(int(note.read_text()), 1)


def test_a_daemon_is_gone_after_a_stop(beside: Home) -> None:
    note = beside.folder / "one.pid"
    beside.begin_agent("one", **program(note, "goes on"))
    daemon = daemon_of(beside, note)
    assert beside.stop("one")["state"] == "stopped"
    assert is_gone(daemon, 1)


def test_a_daemon_is_gone_after_the_runner_was_killed(beside: Home) -> None:
    note = beside.folder / "one.pid"
    run_id = beside.begin_agent("one", **program(note, "goes on"))
    daemon = daemon_of(beside, note)
    os.kill(beside.agent("one")["pid"], signal.SIGKILL)
    assert beside.end_of(run_id)["state"] == "crashed"
    assert is_gone(daemon, 5)


def test_a_daemon_is_gone_after_a_runner_that_hears_nothing_was_killed(beside: Home) -> None:
    note = beside.folder / "one.pid"
    beside.begin_agent("one", **program(note, "goes on", grace=1))
    daemon = daemon_of(beside, note)
    os.kill(beside.agent("one")["pid"], signal.SIGSTOP)
    assert beside.stop("one")["state"] == "stopped"
    assert is_gone(daemon, 5)


def test_a_daemon_of_a_runbook_step_is_gone_when_the_run_has_ended(home: Home) -> None:
    note = home.folder / "book.pid"
    home.template("book", f"```sh id=leave\n{sys.executable} {DAEMON} {note}\nsleep 600 &\n```\n")
    run_id = home.begin_agent("book", "book", max_iterations=1)
    assert home.end_of(run_id)["state"] == "succeeded"
    assert is_gone(int(note.read_text()), 1)


def test_a_stopped_runner_is_killed_and_its_turn_with_it(home: Home) -> None:
    home.begin_agent("one", **{**BUSY, "grace": 1})
    home.event("iteration.started", agent="one")
    pid = home.agent("one")["pid"]
    os.kill(pid, signal.SIGSTOP)
    run = home.stop("one")
    assert run["state"] == "stopped", run["reason"]
    assert not alive(pid)
