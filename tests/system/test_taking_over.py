"""What a supervisor finds when it comes after another: pauses, holds and waits go on, and nothing is forgotten."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import sys

import pytest

from ipc.identity import is_living, start_time
from tests.system import traces
from tests.system.home import BUSY, IDLE, Home, peer


def test_what_was_paused_stays_so_until_it_is_resumed(home: Home) -> None:
    first = home.begin_agent("idler", **IDLE)
    home.event("iteration.done", agent="idler")
    home.ok("pause", "idler")
    home.event("run.paused", agent="idler")
    home.signal(signal.SIGKILL)
    home.start()
    home.event("agent.held", agent="idler")
    assert home.run(first)["state"] == "lost"
    row = home.agent("idler")
    assert (row["state"], "paused" in row["reason"]) == ("held", True)
    home.ok("resume", "idler")
    again = home.agent("idler")["run_id"]
    assert home.run(again)["predecessor"] == first
    home.stop("idler")


def test_an_interrupted_turn_is_held_where_that_is_asked_for(home: Home) -> None:
    home.begin_agent("careful", **{**BUSY, "on_interrupted": "hold"})
    home.event("iteration.started", agent="careful")
    home.signal(signal.SIGKILL)
    home.start()
    home.event("agent.held", agent="careful")
    assert home.agent("careful")["state"] == "held"


def test_a_wait_between_two_runs_goes_on_in_its_lineage(empty: Home) -> None:
    empty.write_config("[supervisor]\nbackoff_limit = 300\n")
    home = empty.start()
    home.call("agent.start", name="dies", template="any", settings={"launch": peer("die", "7")})
    first = home.event("run.queued", agent="dies")["run_id"]
    home.event("agent.backoff", agent="dies", crash_count=4, within=20)
    home.signal(signal.SIGKILL)
    home.start()
    following = home.event("run.queued", agent="dies", after=home.now, within=20)["run_id"]
    assert home.run(following)["lineage"] == first
    home.ctl("stop", "dies")


def test_a_pid_of_another_boot_is_nobody_of_ours(home: Home) -> None:
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], os.environ)
    try:
        run = home.begin_agent("idler", **IDLE)
        keeper = home.keeper
        home.signal(signal.SIGKILL)
        os.kill(keeper, signal.SIGKILL)
        with contextlib.closing(sqlite3.connect(home.db)) as database, database:
            database.execute(
                "UPDATE agent_runs SET pid = ?, start_time = ?, boot_id = 'another' WHERE run_id = ?",
                (pid, start_time(pid), run),
            )
        home.start()
        home.event("run.crashed", "run.lost", agent="idler", run_id=run)
        assert traces.alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_start_that_starts_agentd_does_not_trip_over_what_is_wanted_still(home: Home) -> None:
    home.begin_agent("idler", **IDLE)
    home.ok("shutdown")
    started = home.ctl("start", "idler")
    assert started.code == 0, str(started)
    home.ok("shutdown")


STARTER = """
```sh
read go < "$AGENTD_STATE/go"
code=0
"$1" -P -m supervisor 2> "$AGENTD_STATE/said" || code=$?
echo $code > "$AGENTD_STATE/code"
sleep 100
```
"""


def test_an_agent_cannot_start_the_supervisor(home: Home) -> None:
    home.template("starter", STARTER)
    state = home.output("starter") / ".state"
    state.mkdir(parents=True)
    os.mkfifo(state / "go")
    os.mkfifo(state / "code")
    home.begin_agent("starter", "starter", args=[sys.executable], restart="never")
    home.event("iteration.started", agent="starter")
    home.signal(signal.SIGKILL)
    (state / "go").write_text("go\n")
    assert (state / "code").read_text() == "4\n"
    assert "by an agent" in (state / "said").read_text()
    home.start()


@pytest.mark.slow
def test_a_keeper_that_is_killed_while_it_is_handed_the_runs_takes_nobody_with_it(home: Home) -> None:
    for number in range(20):
        home.begin_agent(f"a{number}", **IDLE)
    pids = {name: home.agent(name)["pid"] for name in ("a0", "a19")}
    supervisor = home.pid
    killed: set[int] = set()
    while len(killed) < 8:  # each as soon as it can be seen, so in the middle of the hand-over
        for keeper in traces.keepers(home.folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(keeper, signal.SIGKILL)
            killed.add(keeper)
    home.begin_agent("new", **IDLE)
    assert home.pid == supervisor
    assert {name: home.agent(name)["pid"] for name in pids} == pids
    home.ok("stop", "all")


@pytest.mark.slow
def test_a_stopped_keeper_holds_up_no_stop_and_is_shown(home: Home) -> None:
    run = home.begin_agent("deaf", **{**IDLE, "launch": peer("deaf"), "grace": 2, "restart": "never"})
    home.event("iteration.started", agent="deaf")
    pid, keeper = home.agent("deaf")["pid"], home.keeper
    started = start_time(pid)
    os.kill(keeper, signal.SIGSTOP)
    try:
        home.call("agent.stop", name="deaf")
        ended = home.end_of(run, within=25)
        assert ended["state"] == "stopped", ended["reason"]
        assert not is_living(pid, started)
    finally:
        os.kill(keeper, signal.SIGCONT)


def test_a_pause_that_has_not_begun_can_be_taken_back(home: Home) -> None:
    run = home.begin_agent("busy", **BUSY)
    home.event("iteration.started", agent="busy")
    home.ok("pause", "busy")
    home.ok("resume", "busy")
    home.ok("cancel", "busy")
    home.event("run.paused", agent="busy")
    home.event("iteration.started", agent="busy", iteration=2)
    assert home.run(run)["state"] == "running"
    home.stop("busy")


@pytest.mark.parametrize("name", ["agentd.sock", "keeper.sock.lock"])
def test_what_stands_in_the_way_at_the_start_is_told_in_one_line(empty: Home, name: str) -> None:
    (empty.folder / name).mkdir()
    failed = empty.fails_to_start()
    assert failed.code != 0
    assert "Traceback" not in failed.err
    (empty.folder / name).rmdir()


HIDER = """
```sh
trap '' TERM
hidden='trap "" TERM HUP INT; echo $$ >"$1"; while :; do sleep 1; done'
env -i PATH="$PATH" setsid sh -c "$hidden" sh "$AGENTD_STATE/pid" &
sleep 100
```
"""


def test_what_hides_its_mark_ends_with_its_runner_though_keeper_and_supervisor_are_dead(home: Home) -> None:
    home.template("hider", HIDER)
    note = home.output("hider") / ".state" / "pid"
    note.parent.mkdir(parents=True)
    os.mkfifo(note)
    home.begin_agent("hider", "hider", restart="never")
    hidden = int(note.read_text())
    started, keeper = start_time(hidden), home.keeper
    home.signal(signal.SIGKILL)
    os.kill(keeper, signal.SIGKILL)
    home.start()
    home.event("run.crashed", "run.lost", agent="hider")
    assert not is_living(hidden, started)


def test_what_was_being_shut_down_is_wanted_still(home: Home) -> None:
    settings = {**IDLE, "launch": peer("deaf"), "grace": 5, "restart": "never"}
    first = home.begin_agent("deaf", **settings)
    home.event("iteration.started", agent="deaf")
    home.call("system.shutdown")
    home.event("run.stopping", agent="deaf")
    home.signal(signal.SIGKILL)
    home.start()
    again = home.event("run.queued", agent="deaf", after=home.event("run.stopping", agent="deaf")["id"])
    assert again["run_id"] > first
    assert home.agent("deaf")["wanted"] == "up"


def test_a_pause_that_had_not_begun_is_kept_over_a_kill_whatever_the_policy(home: Home) -> None:
    home.begin_agent("busy", **{**BUSY, "restart": "never"})
    home.event("iteration.started", agent="busy")
    home.ok("pause", "busy")
    home.signal(signal.SIGKILL)
    home.start()
    home.event("agent.held", agent="busy")
    home.ok("resume", "busy")
    home.event("iteration.started", agent="busy", attempt=2)
    home.stop("busy")


def test_a_turn_that_lost_keeper_and_supervisor_counts_as_interrupted(home: Home) -> None:
    run = home.begin_agent("careful", **{**BUSY, "on_interrupted": "hold"})
    home.event("iteration.started", agent="careful")
    pid = home.agent("careful")["pid"]
    started, keeper = start_time(pid), home.keeper
    home.signal(signal.SIGKILL)
    os.kill(keeper, signal.SIGKILL)
    traces.is_gone(pid, 10)  # by itself, at the end of its stdin
    assert not is_living(pid, started)
    home.start()
    home.event("agent.held", agent="careful")
    rows = home.rows("SELECT status FROM iterations WHERE run_id = ?", run)
    assert [row["status"] for row in rows] == ["interrupted"]


@pytest.mark.parametrize("attempt", range(3))
def test_a_keeper_that_dies_during_the_recovery_holds_it_up_for_no_one(home: Home, attempt: int) -> None:
    runs = {name: home.begin_agent(name, **BUSY) for name in ("one", "two", "three")}
    for name in runs:
        home.event("iteration.started", agent=name)
    pids = {name: home.agent(name)["pid"] for name in runs}
    keeper = home.keeper
    home.signal(signal.SIGKILL)
    home.start()
    with contextlib.suppress(ProcessLookupError):
        os.kill(keeper, signal.SIGKILL)
    for name, run in runs.items():
        again = home.event("run.running", agent=name, after=home.event("run.running", run_id=run)["id"])
        assert again["run_id"] > run
        assert traces.is_gone(pids[name], 1)
    living = home.rows("SELECT agent FROM agent_runs WHERE ended_at IS NULL")
    assert sorted(row["agent"] for row in living) == ["one", "three", "two"]
