"""One supervisor for each home: how it begins, how it ends, and what it finds when it comes back."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from tests.system import traces
from tests.system.conftest import ANY
from tests.system.home import AGENTD, BUSY, IDLE, PEERS, Home, lines_until, peer
from tests.system.rpc import PATIENCE, Rpc


def test_a_second_one_says_who_was_first_and_harms_nobody(home: Home) -> None:
    run_id = home.begin_agent("one", **IDLE)
    second = home.fails_to_start()
    assert second.code == 5
    assert f"pid {home.pid}" in second.err
    assert str(home.folder) in second.err
    assert "agentctl" in second.err
    assert home.agent("one")["run_id"] == run_id
    assert len(traces.keepers(home.folder)) == 1


def test_two_starts_at_once_make_one_supervisor(empty: Home) -> None:
    begun = [empty.begin("start", name, "--template", "any") for name in ("one", "two", "three")]
    for process in begun:
        assert process.wait(PATIENCE) == 0, process.stdout and process.stdout.read()
    assert {row["name"] for row in empty.ok("status", "--json").json["agents"]} == {"one", "two", "three"}
    assert len(traces.keepers(empty.folder)) == 1
    empty.ok("shutdown")


def test_shutdown_ends_all_and_the_keeper_too(home: Home) -> None:
    home.begin_agent("one", **BUSY)
    home.begin_agent("two", **IDLE)
    home.event("iteration.started", agent="one")
    keeper, runners = home.keeper, [home.agent(name)["pid"] for name in ("one", "two")]
    home.ok("shutdown")
    assert home.process is not None
    assert home.process.wait(PATIENCE) == 0
    for pid in (keeper, *runners):
        assert traces.is_gone(pid)
    assert traces.of_home(home.folder) == []
    assert not (home.folder / "keeper.sock").exists()
    assert [row["state"] for row in home.rows("SELECT state FROM agent_runs")] == ["stopped", "stopped"]
    last = home.now
    # What was wanted stays wanted: the next one starts them again.
    home.start()
    for name in ("one", "two"):
        home.event("runner.ready", agent=name, after=last)
        assert home.agent(name)["state"] in ("queued", "starting", "running")


def test_ctrl_c_stops_the_agents(home: Home) -> None:
    home.begin_agent("one", **BUSY)
    assert home.signal(signal.SIGINT) == 0
    assert [row["state"] for row in home.rows("SELECT state FROM agent_runs")] == ["stopped"]


def test_a_step_gets_the_descriptor_limit_that_agentd_was_started_with(empty: Home) -> None:
    found = resource.getrlimit(resource.RLIMIT_NOFILE)
    _, hard = found
    resource.setrlimit(resource.RLIMIT_NOFILE, (345, hard))
    try:
        home = empty.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, found)
    assert resource.prlimit(home.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    home.template(
        "look", "```sh\nulimit -S -n > $AGENTD_OUTPUT/soft\nulimit -H -n > $AGENTD_OUTPUT/hard\n```\n"
    )
    home.end_of(home.begin_agent("one", "look", max_iterations=1))
    assert (home.output("one") / "soft").read_text() == "345\n"
    unlimited = hard == resource.RLIM_INFINITY
    assert (home.output("one") / "hard").read_text() == ("unlimited\n" if unlimited else f"{hard}\n")


def test_sigterm_leaves_runners_alive_and_what_they_said_meanwhile_is_stored(home: Home) -> None:
    gate = home.folder / "gate"
    os.mkfifo(gate)
    code = f"print(open({str(gate)!r}).read())"
    home.begin_agent(
        "one", adapter="process", process={"command": ["python3", "-c", code]}, max_iterations=1, grace=3
    )
    home.event("iteration.started", agent="one")
    pid, keeper = home.agent("one")["pid"], home.keeper
    assert home.signal(signal.SIGTERM) == 0
    assert traces.alive(pid)
    assert traces.alive(keeper)
    gate.write_text("said to nobody")
    assert traces.is_gone(pid), "its turn was over, and so was its run"
    home.start()
    home.event("run.lost", "run.succeeded", agent="one")
    (turn,) = home.rows("SELECT status, summary FROM iterations WHERE run_id = 1")
    assert turn == {"status": "ok", "summary": "said to nobody"}
    assert home.run(1)["state"] == "succeeded", "its exit stands in its journal, and its code with the keeper"


def test_kill_9_and_a_new_start_find_no_stale_file_end_what_was_left_and_begin_again(home: Home) -> None:
    home.begin_agent("wanted", **BUSY)
    home.begin_agent("unwanted", **BUSY)
    home.begin_agent("never", **{**BUSY, "restart": "never"})
    home.event("iteration.started", agent="never")
    home.stop("unwanted")
    pids = [home.agent(name)["pid"] for name in ("wanted", "never")]
    last = home.now
    assert home.signal(signal.SIGKILL) == -signal.SIGKILL
    assert (home.folder / "agentd.sock").exists()
    assert all(map(traces.alive, pids))

    home.start()
    home.event("iteration.started", agent="wanted", after=last)
    for pid in pids:
        assert traces.is_gone(pid)
    lives = home.rows("SELECT agent, lineage, state, reason FROM agent_runs ORDER BY run_id")
    assert [(row["agent"], row["lineage"], row["state"]) for row in lives] == [
        ("wanted", 1, "lost"),
        ("unwanted", 2, "stopped"),
        ("never", 3, "lost"),
        ("wanted", 1, "running"),
    ]
    assert "agentd was restarted" in lives[0]["reason"]
    assert home.agent("wanted")["attempt"] == 2
    assert home.agent("never")["state"] == "idle"
    assert home.agent("unwanted")["state"] == "idle"


def test_kill_9_of_supervisor_and_keeper_both_leaves_nothing_that_the_next_one_does_not_end(
    home: Home,
) -> None:
    note = home.folder / "one.pid"
    command = [sys.executable, "-c", LEAVE, str(PEERS / "daemon.py"), str(note)]
    home.begin_agent("one", adapter="process", process={"command": command})
    home.event("notify", agent="one")
    daemon = int(note.read_text())
    home.begin_agent("deaf", **{**IDLE, "launch": peer("deaf"), "restart": "never"})
    home.event("iteration.started", agent="deaf")
    deaf = home.agent("deaf")["pid"]
    keeper = home.keeper
    home.signal(signal.SIGKILL)
    os.kill(keeper, signal.SIGKILL)
    home.start()
    # A runner that sees the end of its stdin says so in its journal, if it is quicker than the one who looks for it.
    ended = home.event("run.crashed", "run.lost", agent="one")
    home.event("run.lost", agent="deaf")
    assert traces.is_gone(deaf)
    assert traces.is_gone(daemon)
    home.event("notify", agent="one", after=ended["id"])


def test_an_open_question_is_void_after_the_supervisor_was_killed_and_asked_anew(home: Home) -> None:
    home.template("asker", '```sh ask="sure?"\ntrue\n```\n')
    home.begin_agent("asker", "asker", max_iterations=1)
    first = home.question("asker")["id"]
    last = home.now
    home.signal(signal.SIGKILL)
    home.start()
    again = home.event("permission.asked", agent="asker", after=last, within=10)
    assert [row["state"] for row in home.rows("SELECT state FROM permissions ORDER BY id")] == [
        "void",
        "open",
    ]
    late = home.ctl("allow", str(first))
    assert late.code == 5, str(late)
    home.ok("allow", str(again["data"]["permission_id"]))
    home.event("run.succeeded", agent="asker")


def test_a_log_is_followed_over_a_restart_of_the_supervisor(home: Home) -> None:
    home.template(
        "ticker", "+++\ninterval = 0.2\nstagnation_limit = 0\n+++\n```sh\necho tick of $AGENTD_RUN\n```\n"
    )
    home.begin_agent("ticker", "ticker")
    tail = home.begin("tail", "-f", "ticker")
    lines_until(tail, ":1")
    home.signal(signal.SIGKILL)
    home.start()
    lines_until(tail, ":2")


def test_a_newer_database_is_refused_and_left_as_it_is(empty: Home) -> None:
    empty.start().end()
    with closing(sqlite3.connect(empty.db)) as conn:
        conn.execute("PRAGMA user_version = 999")
    done = empty.fails_to_start()
    assert done.code == 78
    assert "newer" in done.err
    assert str(empty.db) in done.err
    with closing(sqlite3.connect(empty.db)) as conn:
        assert conn.execute("PRAGMA user_version").fetchone() == (999,)


def test_a_corrupt_database_is_refused_with_what_to_do(empty: Home) -> None:
    empty.db.write_bytes(b"this is no database at all\n" * 400)
    done = empty.fails_to_start()
    assert done.code == 2
    assert str(empty.db) in done.err
    assert "backup" in done.err
    assert empty.db.read_bytes().startswith(b"this is no database")


def test_a_database_that_is_damaged_inside_is_refused(empty: Home) -> None:
    empty.start().end()
    for name in ("agentd.db-wal", "agentd.db-shm"):
        (empty.folder / name).unlink(missing_ok=True)
    data = bytearray(empty.db.read_bytes())
    data[100:4096] = b"\xff" * (4096 - 100)
    empty.db.write_bytes(data)
    done = empty.fails_to_start()
    assert done.code in (1, 2), str(done)
    assert str(empty.db) in done.err
    assert "Traceback" not in done.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes where it wants")
def test_a_database_that_is_read_only_is_refused(empty: Home) -> None:
    empty.start().end()
    empty.db.chmod(0o400)
    done = empty.fails_to_start()
    assert done.code == 1
    assert "read-only" in done.err


def test_a_folder_where_the_database_belongs_is_refused(empty: Home) -> None:
    empty.db.mkdir()
    done = empty.fails_to_start()
    assert (done.code, "folder" in done.err) == (2, True), str(done)


def test_a_socket_path_that_is_too_long_is_refused_by_both_programs(empty: Home) -> None:
    deep = empty.folder / ("d" * 60) / ("e" * 60)
    for command in (AGENTD, (*AGENTD[:-1], "supervisor.ctl.main", "status")):
        done = subprocess.run(
            command,
            env={**empty.environ, "AGENTD_HOME": str(deep)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        assert "107" in done.stderr
        assert "AGENTD_HOME" in done.stderr
    assert not deep.exists()


LEAVE = """
import os, subprocess, sys, time
subprocess.run([sys.executable, *sys.argv[1:]], check=True)
os.write(int(os.environ["AGENTD_FD"]), b'{"type": "notify", "text": "there"}\\n')
time.sleep(600)
"""
CONFIG = """
[supervisor]
backoff_limit = "soon"
resart_limit = 3

[agent.good]
template = "any"

[agent.bad]
template = "any"
interval = true
intervall = 3
budgets = { beauty = 1 }

[agent."../evil"]
template = "any"

[budgets.daily]
cost_usd = 1
"""


def test_every_fault_of_the_settings_is_told_and_nothing_is_started(empty: Home) -> None:
    empty.write_config(CONFIG)
    for done in (empty.fails_to_start(), empty.ctl("check"), empty.ctl("start", "good")):
        assert done.code == 2, str(done)
        told = done.out + done.err
        for fault in (
            "supervisor.backoff_limit",
            "restart_limit",
            "agent.bad.interval",
            "intervall",
            "beauty",
            "evil",
            "budgets",
        ):
            assert fault in told, str(done)
        assert "Traceback" not in told
    assert not empty.db.exists()
    assert traces.of_home(empty.folder) == []


def test_settings_that_are_no_toml_are_refused_with_the_line(empty: Home) -> None:
    empty.write_config("[supervisor\n")
    done = empty.fails_to_start()
    assert done.code == 2
    assert "line 1" in done.err


def test_agents_of_the_file_start_with_the_supervisor_unless_they_should_not(empty: Home) -> None:
    empty.template("quiet", "+++\ninterval = 3600\n+++\n```sh\ntrue\n```\n")
    empty.write_config(
        '[agent.one]\ntemplate = "quiet"\n[agent.two]\ntemplate = "quiet"\nautostart = false\n'
    )
    empty.start()
    empty.event("runner.ready", agent="one")
    assert empty.agent("two")["state"] == "idle"
    assert empty.agent("one")["origin"] == "file"
    assert empty.ctl("remove", "two").code == 5
    # What was stopped by hand stays stopped over a restart.
    empty.stop("one")
    empty.signal(signal.SIGTERM)
    empty.start()
    assert empty.ok("start", "two").code == 0
    assert empty.agent("one")["state"] == "idle"


def test_an_agent_of_the_file_that_cannot_start_is_a_failed_run_with_the_reason_and_no_harm_to_others(
    empty: Home,
) -> None:
    empty.template("quiet", ANY)
    empty.write_config(
        '[agent.good]\ntemplate = "quiet"\ninterval = 3600\n[agent.bad]\ntemplate = "quiet"\ncwd = "/no/such/folder"\n'
    )
    empty.start()
    empty.event("runner.ready", agent="good")
    failed = empty.event("run.failed", agent="bad")
    assert "/no/such/folder" in failed["data"]["reason"]


def test_a_client_that_is_connected_is_told_that_the_supervisor_ends(home: Home) -> None:
    watcher = Rpc(home.folder / "agentd.sock")
    try:
        watcher.call("events.follow")
        home.signal(signal.SIGTERM)
        assert watcher.at_end(10)
    finally:
        watcher.close()
