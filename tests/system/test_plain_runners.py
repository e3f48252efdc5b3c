"""A runner that knows only the plain dialect is worked with through its whole life."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.system.home import Home
from tests.system.rpc import Refused, Row

PLAIN = Path(__file__).parent.parent / "peers" / "plain_runner.py"


def begin(home: Home, *words: str, traits: tuple[str, ...] = (), **settings: object) -> int:
    launch = [sys.executable, str(PLAIN), *traits]
    return home.begin_agent(
        "old", launch=launch, args=list(words), **{"restart": "never", "grace": 1} | settings
    )


def statuses(home: Home, run_id: int) -> list[str]:
    found: list[Row] = home.rows("SELECT status FROM iterations WHERE run_id = ? ORDER BY iteration", run_id)
    return [row["status"] for row in found]


@pytest.mark.parametrize("traits", [(), ("silent",)])
def test_it_works_asks_pauses_notifies_and_ends(home: Home, traits: tuple[str, ...]) -> None:
    run_id = begin(home, "ok", "ask", "pause", "notify", "ok", traits=traits)
    question = home.question("old")
    assert (question["tool"], question["input"]) == ("shell", {"command": "rm x"})
    assert home.agent("old")["state"] == "waiting_permission"
    home.ok("allow", str(question["id"]))
    home.event("run.paused", agent="old")
    assert home.agent("old")["pause"]["reason"] == "enough for today"
    home.ok("resume", "old")
    run = home.end_of(run_id)
    assert (run["state"], run["iterations"], run["last_seq"]) == ("succeeded", 5, 0)
    assert statuses(home, run_id) == ["ok"] * 5
    (asked,) = home.rows("SELECT state, granted FROM permissions")
    assert asked == {"state": "applied", "granted": 1}
    assert home.event("notify", agent="old")["data"]["text"] == "look"


def test_a_denial_reaches_it(home: Home) -> None:
    run_id = begin(home, "ask", "ok")
    home.ok("deny", str(home.question("old")["id"]), "--reason", "not today")
    home.end_of(run_id)
    assert statuses(home, run_id) == ["permission", "ok"]


def test_it_is_stopped_while_it_waits_and_its_question_is_void(home: Home) -> None:
    begin(home, "ok", "ask")
    number = home.question("old")["id"]
    assert home.stop("old")["state"] == "stopped"
    assert home.rows("SELECT state FROM permissions") == [{"state": "void"}]
    late = home.ctl("allow", str(number))
    assert late.code == 5
    assert "run ended" in late.err


def test_a_deaf_one_is_killed(home: Home) -> None:
    run_id = begin(home, "ok", traits=("deaf",))
    home.event("iteration.done", agent="old")
    assert home.stop("old")["state"] == "stopped"
    assert home.run(run_id)["exit_signal"] == 9


@pytest.mark.parametrize("method", ["agent.pause", "agent.cancel", "agent.message"])
def test_what_it_does_not_know_is_refused_and_not_said(home: Home, method: str) -> None:
    begin(home, "ask")
    home.question("old")
    extra = {"text": "hello"} if method == "agent.message" else {}
    with pytest.raises(Refused, match="does not know") as refused:
        home.call(method, name="old", **extra)
    assert refused.value.exit_code == 5
    home.stop("old")


def test_it_may_babble_and_speak_of_the_future(home: Home) -> None:
    run_id = begin(home, "garbage", "unknown", "ok")
    assert home.end_of(run_id)["state"] == "succeeded"
    assert "Traceback: not a frame" in home.run(run_id)["stdout_tail"]


def test_a_wrong_field_fails_it(home: Home) -> None:
    run = home.end_of(begin(home, "ok", "wrong"))
    assert run["state"] == "failed"
    assert "text" in run["reason"]


@pytest.mark.parametrize("word", ["die", "half"])
def test_its_death_is_a_crash_and_what_it_finished_is_kept(home: Home, word: str) -> None:
    run = home.end_of(begin(home, "ok", word))
    assert (run["state"], run["exit_signal"]) == ("crashed", 9)
    assert statuses(home, run["run_id"]) == ["ok", "interrupted"]


def test_its_spending_is_in_the_ledger(home: Home) -> None:
    run_id = begin(home, "ok", "ok")
    home.end_of(run_id)
    (spent,) = home.rows("SELECT sum(tokens_in) AS i, sum(tokens_out) AS o, sum(cost_usd) AS c FROM ledger")
    assert (spent["i"], spent["o"], round(spent["c"], 6)) == (20, 10, 0.02)
