"""What a stranger does on the first day, with ``agentctl`` alone, on a real repository of theirs."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.system.home import Home, lines_until, python
from tests.system.traces import is_gone

SPENDER = """+++
adapter = "process"
interval = 0
stagnation_limit = 0

[process]
command = ["python3", "spend.py"]
+++
Spend a dollar.
"""
SPEND = """import json, os
say = {"type": "usage", "model": "m", "tokens_in": 1000, "tokens_out": 10, "cost_usd": 1.0}
os.write(int(os.environ["AGENTD_FD"]), json.dumps(say).encode() + b"\\n")
print("spent in turn", os.environ["AGENTD_ITERATION"])
"""
SECOND_TURN_HANGS = """
import os, time
print("turn", os.environ["AGENTD_ITERATION"], flush=True)
if os.environ["AGENTD_ITERATION"] == "2":
    time.sleep(600)
"""


@pytest.fixture
def repository(tmp_path: Path, empty: Home) -> Path:
    """A small git repository with two commits."""
    folder = tmp_path / "project"
    folder.mkdir()

    def git(*words: str) -> None:
        who = ["-c", "user.name=A Stranger", "-c", "user.email=stranger@example.org"]
        subprocess.run(["git", *who, *words], cwd=folder, env=empty.environ, check=True, timeout=30)

    git("init", "-q")
    (folder / "main.py").write_text("# TODO: say hello\nprint('hello')\n")
    git("add", ".")
    git("commit", "-q", "-m", "Begin")
    (folder / "README.md").write_text("# Project\n")
    (folder / "requirements.txt").write_text("requests\n")
    git("add", ".")
    git("commit", "-q", "-m", "Say what it is")
    (folder / "spend.py").write_text(SPEND)
    return folder


@pytest.mark.slow
def test_the_first_day(empty: Home, repository: Path) -> None:
    home, here = empty, str(repository)
    home.template("spender", SPENDER)
    app_log = repository / "app.log"
    app_log.write_text("nothing yet\n")

    # Three agents from templates; the first start brings up the supervisor and says so.
    first = home.ok("start", "report", "--template", "repo-report", "--cwd", here)
    assert "started agentd" in first.err
    watching = ["--template", "log-watch", "--cwd", here, "--arg", str(app_log), "--set", "interval=100ms"]
    home.ok("start", "watch", *watching)
    capped = ["--template", "spender", "--cwd", here, "--set", "budgets.cost_usd=2.5"]
    home.ok("start", "spend", *capped)
    supervisor = int(home.ok("pid").out)
    events = home.begin("events", "-f", "--after", "0")

    # A prompt, shown whole and answered.
    lines_until(events, "permission.asked report")
    status = home.ok("status").out
    assert "waiting permission" in status
    asked = home.ok("permissions").out
    assert "REPORT.md" in asked
    home.ok("allow", "1")
    lines_until(events, "iteration.done report run 1: iteration 1, attempt 1, status ok")
    assert "TODO" in (home.output("report") / "REPORT.md").read_text()
    late = home.ctl("deny", "1")
    assert late.code == 5
    assert "allowed" in late.err

    # One runner is killed and comes back, in its lineage.
    runner = int(home.ok("pid", "watch").out)
    os.kill(runner, signal.SIGKILL)
    lines_until(events, "run.crashed watch")
    lines_until(events, "runner.ready watch")
    back = home.ok("status", "watch", "--json").json["agents"][0]
    assert (back["restarts"], back["pid"] != runner) == (1, True)

    # One is paused by its budget, and goes on with a new cap.
    home.event("run.paused", agent="spend")
    shown = home.ok("status", "spend").out
    assert "paused" in shown
    assert "$3.00" in shown
    assert home.ctl("resume", "spend").code == 75
    home.ok("resume", "spend", "--set", "cost_usd=4.5")
    home.event("iteration.done", agent="spend", iteration=5)
    home.event(
        "run.paused", agent="spend", after=home.event("run.resumed", "run.running", agent="spend")["id"]
    )

    # A log is followed; what an agent has to tell is an event.
    tail = home.begin("tail", "-f", "watch")
    with app_log.open("a") as file:
        file.write("an ERROR of the real world\n")
    lines_until(tail, "an ERROR of the real world")
    tail.send_signal(signal.SIGINT)
    assert tail.wait(10) == 130

    # Everything is stopped.
    home.ok("stop", "all")
    assert {row["state"] for row in home.ok("status", "--json").json["agents"]} == {"idle"}
    home.ok("shutdown")
    assert is_gone(supervisor)
    assert home.ctl("status").code == 6

    # The history is anybody's to read.
    with closing(sqlite3.connect(f"file:{home.db}?mode=ro", uri=True)) as conn:
        runs = conn.execute(
            "SELECT agent, lineage, predecessor, state FROM agent_runs ORDER BY run_id"
        ).fetchall()
        assert runs == [
            ("report", 1, None, "stopped"),
            ("watch", 2, None, "crashed"),
            ("spend", 3, None, "stopped"),
            ("watch", 2, 2, "stopped"),
        ]
        (spent,) = conn.execute("SELECT sum(cost_usd) FROM ledger WHERE agent = 'spend'").fetchone()
        assert spent == 5.0
        answer = conn.execute("SELECT state, granted, how FROM permissions").fetchall()
        assert answer == [("applied", 1, "person")]


def test_a_killed_runner_comes_back_where_it_was(home: Home) -> None:
    home.begin_agent("worker", **python(SECOND_TURN_HANGS), interval=0)
    home.event("iteration.started", agent="worker", iteration=2)
    before = home.agent("worker")
    os.kill(before["pid"], signal.SIGKILL)
    again = home.event("iteration.started", agent="worker", iteration=2, attempt=2)
    after = home.agent("worker")
    assert (after["state"], after["iteration"], after["attempt"]) == ("running", 2, 2)
    assert after["pid"] != before["pid"]
    assert again["run_id"] == after["run_id"] != before["run_id"]
    lives = home.rows("SELECT lineage, predecessor, state, exit_signal FROM agent_runs ORDER BY run_id")
    assert [tuple(row.values()) for row in lives] == [
        (before["run_id"], None, "crashed", 9),
        (before["run_id"], before["run_id"], "running", None),
    ]
    turns = home.rows("SELECT iteration, attempt, status FROM iterations ORDER BY run_id, iteration, attempt")
    assert [tuple(row.values()) for row in turns] == [(1, 1, "ok"), (2, 1, "interrupted"), (2, 2, "running")]


def test_a_runbook_that_is_denied_ends_and_says_so(home: Home) -> None:
    home.template("asker", '```sh id=danger ask="to be sure"\necho did it\n```\n')
    run_id = home.begin_agent("asker", "asker")
    question = home.question("asker")
    assert "echo did it" in str(question["input"])
    home.ok("deny", str(question["id"]), "--reason", "too dangerous")
    run = home.end_of(run_id)
    assert run["state"] == "failed"
    assert "too dangerous" in home.ok("show", "asker").out


def test_run_follows_in_the_foreground_and_ctrl_c_stops(home: Home) -> None:
    home.template("long", "```sh id=wait\necho at work; sleep 600\n```\n")
    run = home.begin("run", "long")
    lines_until(run, "at work")
    run.send_signal(signal.SIGINT)
    assert run.wait(20) == 130
    assert [row["state"] for row in home.rows("SELECT state FROM agent_runs")] == ["stopped"]


def test_run_ends_with_what_became_of_it(home: Home) -> None:
    home.template("quick", "+++\nmax_iterations = 1\n+++\n```sh\necho done here\n```\n")
    done = home.ok("run", "quick")
    assert "done here" in done.out
    home.template("bad", "+++\nmax_iterations = 1\nfailure_limit = 1\n+++\n```sh id=breaks\nexit 3\n```\n")
    failed = home.ctl("run", "bad")
    assert failed.code == 1
    assert "breaks" in failed.out + failed.err


def test_a_message_reaches_the_next_prompt_and_pause_holds_before_the_next_turn(home: Home) -> None:
    home.begin_agent(
        "reader",
        adapter="process",
        process={"command": ["cat"]},
        prompt="Your turn.",
        interval=0.05,
        stagnation_limit=0,
    )
    home.event("iteration.done", agent="reader")
    home.ok("pause", "reader", "--reason", "let me see")
    paused = home.event("run.paused", agent="reader")
    assert "let me see" in home.ok("status", "reader").out
    home.ok("message", "reader", "look", "left")
    home.ok("resume", "reader")
    done = home.event("iteration.done", agent="reader", after=paused["id"])
    assert "look left" in done["data"]["summary"]
    home.stop("reader")
