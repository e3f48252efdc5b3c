"""The keeper may be killed at any moment: its runs go on, their ends are learnt, and new ones begin."""

from __future__ import annotations

import os
import signal

import pytest

from tests.system import traces
from tests.system.home import BUSY, IDLE, Home, peer, python


def kill_keeper(home: Home) -> None:
    """Kill the keeper and wait for the next one."""
    keeper = home.keeper
    os.kill(keeper, signal.SIGKILL)
    assert traces.is_gone(keeper)


def test_runs_go_on_their_ends_are_learnt_and_new_ones_start(home: Home) -> None:
    gate = home.folder / "gate"
    os.mkfifo(gate)
    code = f"print(open({str(gate)!r}).read())"
    first = home.begin_agent("ends", **{**python(code), "max_iterations": 1})
    second = home.begin_agent("busy", **BUSY)
    home.event("iteration.started", agent="ends")
    home.event("iteration.started", agent="busy")
    before = {name: home.agent(name)["pid"] for name in ("ends", "busy")}
    kill_keeper(home)
    # A new start needs the next keeper, so it is there afterwards.
    home.begin_agent("new", **IDLE)
    assert home.call("system.status")["degraded"] == []
    for name, pid in before.items():
        assert traces.alive(pid)
        assert (home.agent(name)["pid"], home.agent(name)["state"]) == (pid, "running")
    gate.write_text("the end")
    run = home.end_of(first)
    assert (run["state"], run["exit_code"]) == ("succeeded", None)
    assert home.stop("busy")["state"] == "stopped"
    assert home.run(second)["ended_at"] is not None
    assert traces.is_gone(before["busy"], 1)
    home.stop("new")


def test_a_deaf_runner_of_a_dead_keeper_is_stopped_all_the_same(home: Home) -> None:
    home.call(
        "agent.start",
        name="deaf",
        template="any",
        settings={**IDLE, "launch": peer("deaf"), "grace": 1, "restart": "never"},
    )
    home.event("iteration.started", agent="deaf")
    pid = home.agent("deaf")["pid"]
    kill_keeper(home)
    run = home.stop("deaf")
    assert run["state"] == "stopped", run["reason"]
    assert traces.is_gone(pid, 1)


def test_a_runner_that_is_killed_after_its_keeper_comes_back(home: Home) -> None:
    home.begin_agent("one", **BUSY)
    home.event("iteration.started", agent="one")
    pid = home.agent("one")["pid"]
    kill_keeper(home)
    os.kill(pid, signal.SIGKILL)
    home.event("iteration.started", agent="one", attempt=2)
    assert home.run(1)["state"] == "crashed"


@pytest.mark.parametrize("times", [3])
def test_the_keeper_may_die_again_and_again(home: Home, times: int) -> None:
    home.begin_agent("one", **BUSY)
    home.event("iteration.started", agent="one")
    pid = home.agent("one")["pid"]
    for number in range(times):
        kill_keeper(home)
        home.begin_agent(f"new{number}", **IDLE)
    assert home.agent("one")["pid"] == pid
    assert home.stop("one")["state"] == "stopped"


def test_a_prompt_is_answered_though_the_keeper_died(home: Home) -> None:
    home.template("asker", '```sh ask="sure?"\necho yes\n```\n')
    run_id = home.begin_agent("asker", "asker", max_iterations=1)
    number = home.question("asker")["id"]
    kill_keeper(home)
    home.ok("allow", str(number))
    assert home.end_of(run_id)["state"] == "succeeded"


def test_what_a_run_left_is_gone_though_its_keeper_died(home: Home) -> None:
    note = home.folder / "pid"
    code = (
        "import os, subprocess, sys, time\n"
        f"p = subprocess.Popen(['sleep', '600'], start_new_session=True)\nopen({str(note)!r}, 'w').write(str(p.pid))\n"
        'os.write(int(os.environ[\'AGENTD_FD\']), b\'{"type": "notify", "text": "there"}\\n\')\ntime.sleep(600)'
    )
    home.begin_agent("one", **{**python(code), "restart": "never"})
    home.event("notify", agent="one")
    kill_keeper(home)
    os.kill(home.agent("one")["pid"], signal.SIGKILL)
    home.event("run.crashed", agent="one")
    assert traces.is_gone(int(note.read_text()), 5)
