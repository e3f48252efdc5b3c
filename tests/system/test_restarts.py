"""What follows the end of a run: again at once, again later, or held until a person looks."""

from __future__ import annotations

import os
import signal

import pytest

from tests.system.home import BUSY, IDLE, Home, peer, python
from tests.system.rpc import Refused

QUICK = "[supervisor]\nbackoff_limit = 0.02\n"


@pytest.fixture
def impatient(empty: Home) -> Home:
    """A home whose supervisor waits 20 ms at most before it starts something again."""
    empty.write_config(QUICK)
    return empty.start()


def test_a_crash_loop_is_held_after_the_sixth_and_resume_starts_it(impatient: Home) -> None:
    home = impatient
    home.call("agent.start", name="loop", template="any", settings={**IDLE, "launch": peer("die", "7")})
    held = home.event("agent.held", agent="loop")
    ends = home.rows("SELECT state, exit_code, lineage, predecessor FROM agent_runs ORDER BY run_id")
    assert [tuple(row.values()) for row in ends] == [
        ("crashed", 7, 1, None if number == 1 else number - 1) for number in range(1, 7)
    ]
    row = home.agent("loop")
    assert (row["state"], row["restarts"]) == ("held", 5)
    for told in (str(held["data"]), row["reason"], home.ctl("status", "loop").out):
        assert "6 crashes in a row" in told
        assert "exit code 7" in told
    # Held over a restart of the supervisor, too.
    home.signal(signal.SIGTERM)
    home.start()
    assert home.agent("loop")["state"] == "held"
    home.ok("resume", "loop")
    home.event("run.crashed", agent="loop", run_id=7)
    home.event("agent.held", agent="loop", after=held["id"])
    assert home.run(7)["lineage"] == 1
    assert home.run(7)["predecessor"] == 6


def test_stop_of_one_that_backs_off_ends_that(home: Home) -> None:
    home.call("agent.start", name="loop", template="any", settings={**IDLE, "launch": peer("die", "1")})
    home.event("run.crashed", agent="loop", run_id=3)
    while home.agent("loop")["state"] != "backoff":
        home.event("run.crashed", agent="loop", after=home.now)
    assert home.agent("loop")["backoff_until"] is not None
    assert "again" in home.ok("status", "loop").out
    home.ok("stop", "loop")
    assert home.agent("loop")["state"] == "idle"
    assert home.agent("loop")["wanted"] == "down"


def test_start_of_one_that_backs_off_begins_at_once(home: Home) -> None:
    home.call("agent.start", name="loop", template="any", settings={**IDLE, "launch": peer("die", "1")})
    home.event("run.crashed", agent="loop", run_id=3)
    accepted = home.rpc.answer(home.rpc.post("agent.start", name="loop", template="any", settings=IDLE), 5)
    waited = home.call("agent.wait", run_id=accepted["run_id"], until="ready")
    assert waited["status"] == "ok"
    assert home.run(accepted["run_id"])["predecessor"] is None


@pytest.mark.parametrize(
    ("policy", "behaviour", "state"),
    [("never", "die 7", "crashed"), ("on-crash", "half_a_line", None), ("on-crash", "never_begun", "failed")],
)
def test_the_policy_decides(impatient: Home, policy: str, behaviour: str, state: str | None) -> None:
    home = impatient
    home.call(
        "agent.start",
        name="one",
        template="any",
        settings={**IDLE, "restart": policy, "launch": peer(*behaviour.split())},
    )
    if state is None:
        home.event("run.queued", agent="one", run_id=2)
        return
    home.event(f"run.{state}", agent="one")
    home.event("agent.wanted", agent="one", wanted="down")
    assert home.agent("one")["state"] == "idle"
    assert len(home.rows("SELECT 1 FROM agent_runs")) == 1


def test_always_begins_a_new_lineage_after_a_good_end(impatient: Home) -> None:
    home = impatient
    home.begin_agent("one", **{**python("print('done')"), "max_iterations": 1, "restart": "always"})
    home.event("run.succeeded", agent="one", run_id=2)
    assert [row["lineage"] for row in home.rows("SELECT lineage FROM agent_runs WHERE run_id < 3")] == [1, 2]
    home.ok("stop", "one")


def test_an_interrupted_turn_is_held_where_that_is_asked_for(home: Home) -> None:
    home.begin_agent("careful", **{**BUSY, "on_interrupted": "hold"})
    home.event("iteration.started", agent="careful")
    os.kill(home.agent("careful")["pid"], signal.SIGKILL)
    home.event("agent.held", agent="careful")
    assert "interrupted" in home.agent("careful")["reason"]
    home.ok("resume", "careful")
    home.event("iteration.started", agent="careful", iteration=1, attempt=2)


def test_one_that_died_paused_waits_for_its_resume(home: Home) -> None:
    settings = {**python("print('x')"), "interval": 0, "budgets": {"iterations": 1}}
    home.begin_agent("paused", **settings)
    home.event("run.paused", agent="paused")
    os.kill(home.agent("paused")["pid"], signal.SIGKILL)
    home.event("agent.held", agent="paused")
    assert "paused" in home.agent("paused")["reason"]
    home.ok("resume", "paused", "--set", "iterations=2")
    home.event("iteration.done", agent="paused", iteration=2)


def test_a_running_agent_is_not_started_again(home: Home) -> None:
    run_id = home.begin_agent("one", **IDLE)
    done = home.ctl("start", "one")
    assert done.code == 5
    assert f"run {run_id}" in done.err
    with pytest.raises(Refused, match="already running") as refused:
        home.call("agent.start", name="one", template="any", settings=IDLE)
    assert refused.value.exit_code == 5
    assert len(home.rows("SELECT 1 FROM agent_runs")) == 1


def test_guards_end_a_run_that_fails_again_and_again_or_turns_in_circles(home: Home) -> None:
    failing = home.begin_agent("failing", **{**python("import sys; sys.exit('no disk')"), "interval": 0})
    circling = home.begin_agent("circling", **{**python("print('same')"), "interval": 0})
    failed, stagnant = home.end_of(failing), home.end_of(circling)
    assert (failed["state"], failed["iterations"]) == ("failed", 3)
    assert "no disk" in failed["reason"]
    assert (stagnant["state"], stagnant["iterations"]) == ("failed", 3)
    assert "stagnant" in stagnant["reason"]


def test_a_run_s_row_says_when_it_began_and_why_it_was_stopped(home: Home) -> None:
    run_id = home.begin_agent("one", **IDLE)
    assert home.run(run_id)["queued_at"] <= home.run(run_id)["started_at"] <= home.run(run_id)["ready_at"]
    home.ok("stop", "one", "--reason", "the flat is on fire")
    run = home.run(run_id)
    assert run["state"] == "stopped"
    assert "the flat is on fire" in run["reason"]


def test_a_run_whose_last_turn_failed_has_not_succeeded(home: Home) -> None:
    settings = {**python("import sys; sys.exit('no disk')"), "max_iterations": 1}
    run = home.end_of(home.begin_agent("once", **settings))
    assert run["state"] == "failed"
    assert "no disk" in run["reason"]
