"""Verbs that change what runs say what came of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from supervisor.errors import Conflict, NotRunning, Paused

pytestmark = pytest.mark.timeout(60)
Agentctl = Callable[..., Any]


def accepted(params: dict[str, Any]) -> dict[str, Any]:
    return {"agent": params["name"], "run_id": 7, "accepted_at": 1.0}


def waited(status: str, state: str, error: str | None = None) -> dict[str, Any]:
    return {
        "status": status,
        "run_id": 7,
        "state": state,
        "started_at": 1.0,
        "ended_at": None,
        "error": error,
    }


def test_start_returns_when_it_is_ready(agentctl: Agentctl, fake: Any) -> None:
    fake.answers["agent.start"] = accepted
    fake.answers["agent.wait"] = waited("ok", "running")
    done = agentctl("start", "bob")
    assert (done.code, done.out) == (0, "bob: running (run 7)\n")
    assert fake.calls[-1] == ("agent.wait", {"run_id": 7, "until": "ready", "timeout_s": 30.0})
    assert agentctl("start", "bob", "--json").json["state"] == "running"


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        (waited("error", "failed", "step x"), 1, "bob: failed: step x"),
        (waited("error", "crashed", "killed"), 1, "agentctl show 7"),
        (waited("timeout", "starting"), 124, "not ready after 30 s"),
        (waited("ok", "paused", "$2 spent"), 75, "agentctl resume bob"),
    ],
)
def test_start_says_why_it_is_not_ready(
    agentctl: Agentctl, fake: Any, answer: dict[str, Any], code: int, told: str
) -> None:
    fake.answers["agent.start"] = accepted
    fake.answers["agent.wait"] = answer
    done = agentctl("start", "bob")
    assert done.code == code
    assert told in done.err
    assert done.out == ""


def test_start_of_what_a_budget_pauses_is_75_and_of_what_runs_5(agentctl: Agentctl, fake: Any) -> None:
    fake.answers["agent.start"] = Paused("bob: $2 spent")
    assert agentctl("start", "bob").code == 75
    fake.answers["agent.start"] = Conflict("bob runs already")
    assert agentctl("start", "bob").code == 5


def test_start_without_waiting(agentctl: Agentctl, fake: Any) -> None:
    fake.answers["agent.start"] = accepted
    assert agentctl("start", "bob", "--no-wait").out == "bob: accepted (run 7)\n"


def test_start_passes_settings_on(agentctl: Agentctl, fake: Any) -> None:
    fake.answers["agent.start"] = accepted
    agentctl(
        "start", "bob", "--no-wait", "--template", "t", "--cwd", ".", "--arg", "a", "--set", "interval=5m"
    )
    assert fake.calls[-1] == (
        "agent.start",
        {"name": "bob", "template": "t", "cwd": os.getcwd(), "args": ["a"], "settings": {"interval": "5m"}},
    )
    assert agentctl("start", "bob", "eve", "--template", "t").code == 2


def test_all_stands_for_those_that_it_can_mean(agentctl: Agentctl, fake: Any, row: Any) -> None:
    fake.answers["agent.list"] = {
        "agents": [
            row("bob"),
            row("eve", state="idle"),
            row("max", state="backoff"),
            row("zoe", state="held"),
        ]
    }
    for verb in ("start", "stop", "restart"):
        fake.answers[f"agent.{verb}"] = accepted
        agentctl(verb, "all", "--no-wait")
    told = [(method, params["name"]) for method, params in fake.calls if method != "agent.list"]
    assert told == [
        ("agent.start", "eve"),
        ("agent.start", "zoe"),
        ("agent.stop", "bob"),
        ("agent.stop", "max"),
        ("agent.restart", "bob"),
        ("agent.restart", "max"),
    ]


def test_an_agent_called_all_is_meant_by_it(agentctl: Agentctl, fake: Any, row: Any) -> None:
    fake.answers["agent.list"] = {"agents": [row("all"), row("bob")]}
    fake.answers["agent.stop"] = accepted
    assert agentctl("stop", "all", "--no-wait").out == "all: stopping\n"


def test_stop_tells_every_agent_before_it_waits_for_any(agentctl: Agentctl, fake: Any) -> None:
    def stop(params: dict[str, Any]) -> Any:
        return NotRunning("eve is not running") if params["name"] == "eve" else accepted(params)

    fake.answers["agent.stop"] = stop
    fake.answers["agent.wait"] = waited("error", "stopped")
    done = agentctl("stop", "bob", "eve", "max")
    assert done.code == 3
    assert done.out == "bob: stopped\nmax: stopped\n"
    assert [method for method, _ in fake.calls] == ["agent.stop"] * 3 + ["agent.wait"] * 2


def test_stop_of_what_does_not_end_in_time_is_124(agentctl: Agentctl, fake: Any) -> None:
    fake.answers["agent.stop"] = accepted
    fake.answers["agent.wait"] = waited("timeout", "stopping")
    done = agentctl("stop", "bob", "--wait", "5")
    assert done.code == 124
    assert "still stopping after 5 s" in done.err


def test_resume_takes_caps(agentctl: Agentctl, fake: Any) -> None:
    fake.answers["agent.resume"] = accepted
    assert agentctl("resume", "bob", "--set", "cost_usd=2").code == 0
    assert fake.calls[-1] == ("agent.resume", {"name": "bob", "budgets": {"cost_usd": 2}})
    assert agentctl("resume", "bob", "--set", "cost_usd=x").code == 2


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (waited("ok", "succeeded"), 0),
        (waited("error", "failed", "x"), 1),
        (waited("timeout", "running"), 124),
    ],
)
def test_wait_says_how_it_came_out(agentctl: Agentctl, fake: Any, answer: dict[str, Any], code: int) -> None:
    fake.answers["agent.wait"] = answer
    assert agentctl("wait", "bob", "--timeout", "1m").code == code
    assert fake.calls[-1] == ("agent.wait", {"name": "bob", "until": "end", "timeout_s": 60.0})
    assert agentctl("wait", "--run", "7", "--for", "ready").code == code
    assert fake.calls[-1][1]["run_id"] == 7


def test_wait_for_something_else_is_refused(agentctl: Agentctl, fake: Any) -> None:
    assert agentctl("wait", "bob", "--for", "godot").code == 2
    assert agentctl("wait", "bob", "--timeout", "soon").code == 2
    assert agentctl("wait", "--run", "x").code == 2


def test_a_message_is_its_words(agentctl: Agentctl, fake: Any) -> None:
    fake.answers["agent.message"] = accepted
    agentctl("message", "bob", "look", "here")
    assert fake.calls[-1] == ("agent.message", {"name": "bob", "text": "look here"})
    agentctl("message", "bob", "--", "--json", "is", "an", "option")
    assert fake.calls[-1][1]["text"] == "--json is an option"


def test_pids_and_signals(agentctl: Agentctl, fake: Any, row: Any) -> None:
    fake.answers["agent.list"] = {"agents": [row("bob"), row("eve", pid=None, state="idle")]}
    fake.answers["agent.signal"] = accepted
    assert agentctl("pid").out == "42\n"
    assert agentctl("pid", "bob").out == "4242\n"
    assert agentctl("pid", "all").out == "4242\n"
    assert agentctl("pid", "eve").code == 3
    assert agentctl("pid", "mallory").code == 3
    for name in ("HUP", "SIGHUP", "hup", "1"):
        assert agentctl("signal", name, "bob").code == 0
        assert fake.calls[-1] == ("agent.signal", {"name": "bob", "signal": 1})
    assert agentctl("signal", "NOPE", "bob").code == 2


def test_budgets_are_shown_and_set(agentctl: Agentctl, fake: Any) -> None:
    fake.answers["budget.show"] = {
        "budgets": [
            {"agent": "bob", "scope": "run", "what": "cost_usd", "cap": 2, "spent": 0.5},
            {"agent": "bob", "scope": "agent", "what": "tokens", "cap": 0, "spent": 0},
        ]
    }
    fake.answers["budget.set"] = {"agent": "bob", "budgets": []}
    out = agentctl("budget", "bob", "--set", "agent.tokens=0").out
    assert ("budget.set", {"agent": "bob", "budgets": {"agent": {"tokens": 0}}}) in fake.calls
    assert "$0.5" in out
    assert "25%" in out
    assert agentctl("budget", "--set", "tokens=1").code == 2


def test_tokens_are_printed_once_and_listed_without_it(agentctl: Agentctl, fake: Any) -> None:
    fake.answers["token.add"] = {"token": "s3cret"}
    fake.answers["token.list"] = {"tokens": [{"name": "lap", "principal": "alice", "created_at": 1.0}]}
    fake.answers["token.remove"] = {"name": "lap"}
    assert agentctl("token", "add", "lap", "--principal", "alice", "--expires", "30d").out == "s3cret\n"
    assert fake.calls[-1] == ("token.add", {"name": "lap", "principal": "alice", "expires_s": 2592000.0})
    assert "never" in agentctl("token", "list").out
    assert agentctl("token", "remove", "lap").code == 0
