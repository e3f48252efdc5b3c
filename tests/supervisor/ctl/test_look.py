"""What is shown of agents, runs and events."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(60)
Agentctl = Callable[..., Any]


def cells(line: str) -> list[str]:
    return [cell for cell in line.split("  ") if cell]


def test_each_agent_has_a_row_that_says_what_it_waits_for(agentctl: Agentctl, fake: Any, row: Any) -> None:
    now = time.time()
    fake.answers["agent.list"] = {
        "agents": [
            row("bob", state="waiting_permission", since=now - 200, waiting_for="alice", activity="asks: sh"),
            row("eve", state="backoff", backoff_until=now + 65.5, reason="killed by SIGKILL", restarts=2),
            row("max", state="paused", pause={"kind": "budget", "reason": "$2 spent", "resume_at": None}),
            row("zoe", flags=["stalled"], attempt=2, tokens_today=12345, cost_today=1.5),
        ]
    }
    head, bob, eve, paused, zoe = agentctl("status").out.splitlines()
    assert head.split() == [
        "AGENT",
        "STATE",
        "SINCE",
        "ITER",
        "DOES",
        "WAITS",
        "FOR",
        "RESTARTS",
        "TOKENS",
        "COST",
    ]
    assert [cell.strip() for cell in cells(bob)] == [
        "bob",
        "waiting permission",
        "3m",
        "3",
        "asks: sh",
        "alice",
    ]
    assert "again in 1m; killed by SIGKILL" in eve
    assert "budget: $2 spent" in paused
    assert "running (stalled)" in zoe
    assert "3.2" in zoe
    assert "12.3k" in zoe
    assert "$1.50" in zoe


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
def test_the_table_fits_the_terminal(
    agentctl: Agentctl, fake: Any, row: Any, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    fake.answers["agent.list"] = {
        "agents": [row("a" * 64, activity="reads " * 30), row("b", waiting_for="alice")]
    }
    lines = agentctl("status").out.splitlines()
    assert all(len(line) <= width for line in lines)
    assert "STATE" in lines[0]


def test_nothing_is_cut_where_it_is_no_terminal(agentctl: Agentctl, fake: Any, row: Any) -> None:
    fake.answers["agent.list"] = {"agents": [row(activity="reads " * 60 + "done")]}
    out = agentctl("status").out
    assert "done" in out
    assert "\x1b" not in out


def test_what_agents_say_cannot_move_the_cursor(agentctl: Agentctl, fake: Any, row: Any) -> None:
    fake.answers["agent.list"] = {"agents": [row(activity="\x1b[2Jall well\u202e")]}
    assert "\\x1b[2Jall well\\u202e" in agentctl("status").out


def test_named_agents_are_shown_alone_and_3_says_that_one_does_not_run(
    agentctl: Agentctl, fake: Any, row: Any
) -> None:
    fake.answers["agent.list"] = {"agents": [row("bob"), row("eve", state="idle")]}
    assert agentctl("status").code == 0
    done = agentctl("status", "bob")
    assert done.code == 0
    assert "eve" not in done.out
    assert agentctl("status", "bob", "eve").code == 3
    assert agentctl("status", "mallory").code == 3


def test_trouble_of_the_supervisor_is_told(agentctl: Agentctl, fake: Any) -> None:
    fake.answers["system.status"] = {"degraded": ["database: disk full"]}
    assert "degraded: database: disk full" in agentctl("status").err


def test_json_has_iso_times_and_its_schemas_version(agentctl: Agentctl, fake: Any, row: Any) -> None:
    fake.answers["agent.list"] = {"agents": [row(since=0.5)]}
    found = agentctl("status", "--json").json
    assert found["schema_version"] == 1
    assert found["agents"][0]["since"] == "1970-01-01T00:00:00.500Z"


def test_long_asks_for_processes(agentctl: Agentctl, fake: Any, row: Any) -> None:
    fake.answers["agent.list"] = {"agents": [row(cpu_percent=12.4, memory_bytes=3_400_000, processes=2)]}
    out = agentctl("status", "-l").out
    assert ("agent.list", {"long": True}) in fake.calls
    for told in ("4242", "12%", "3.4M"):
        assert told in out


def test_runs_are_listed(agentctl: Agentctl, fake: Any) -> None:
    run = {
        "run_id": 7,
        "agent": "bob",
        "state": "failed",
        "started_at": 10.0,
        "ended_at": 75.0,
        "reason": "why\nnot",
    }
    fake.answers["run.list"] = {"runs": [run]}
    out = agentctl("runs", "bob").out
    assert fake.calls[-1] == ("run.list", {"agent": "bob", "limit": 20})
    assert "1m 5s" in out
    assert "why not" in out


def test_a_run_is_shown_with_its_iterations_permissions_and_last_words(agentctl: Agentctl, fake: Any) -> None:
    permission = {
        "id": 3,
        "run_id": 7,
        "agent": "bob",
        "tool": "sh",
        "input": {"code": "ls\x1b"},
        "rationale": "look",
        "state": "applied",
        "granted": True,
        "how": "auto_approve",
        "decided_by": "agentd",
        "decided_at": 1.0,
        "asked_at": 1.0,
    }
    iteration = {
        "iteration": 1,
        "attempt": 2,
        "status": "error",
        "duration_s": 2.5,
        "error": "step x",
        "tokens_in": 5,
    }
    run = {
        "run_id": 7,
        "agent": "bob",
        "state": "crashed",
        "reason": "killed by SIGKILL",
        "template": "t",
        "queued_at": 1.0,
        "exit_signal": 9,
        "stderr_tail": "Traceback\x00\n  oh",
    }
    fake.answers["run.list"] = {"runs": [{"run_id": 7}]}
    fake.answers["run.show"] = {"run": run, "iterations": [iteration], "permissions": [permission]}
    out = agentctl("show", "bob").out
    for told in (
        "run 7 of bob: crashed",
        "killed by SIGKILL",
        "signal 9",
        "Traceback\\x00",
        "1.2",
        "step x",
        "allowed by agentd",
        "(automatically)",
        "code: ls\\x1b",
    ):
        assert told in out


@pytest.mark.parametrize("digits", [20, 5000])
def test_a_number_that_is_too_wide_is_refused(agentctl: Agentctl, fake: Any, digits: int) -> None:
    for words in (
        ["events", "-n"],
        ["runs", "-n"],
        ["tail", "bob", "-n"],
        ["tail", "bob", "--run"],
        ["show"],
    ):
        done = agentctl(*words, "9" * digits)
        assert (done.code, done.out) == (2, "")
        assert "wanted a whole number of at most" in done.err


@pytest.mark.parametrize("words", [[], ["-n", "0"], ["--after", "0"], ["-f"], ["-f", "--after", "0"]])
def test_events_of_an_agent_that_never_was_are_refused(
    agentctl: Agentctl, fake: Any, row: Any, words: list[str]
) -> None:
    fake.answers["agent.list"] = {"agents": [row("bob")]}
    fake.answers["events.read"] = {"events": [], "last": 9}
    done = agentctl("events", "eve", *words)
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("agentctl: no agent is called eve\n")
    if "-f" not in words:
        assert agentctl("events", "bob", *words) == (0, "", "")


def test_the_last_events_are_found_among_others(agentctl: Agentctl, fake: Any) -> None:
    def read(params: dict[str, Any]) -> Any:
        after, limit = params["after"], params["limit"]
        every = [
            {
                "id": n,
                "at": 1.0,
                "kind": "thing",
                "agent": "bob" if n % 10 == 0 else "eve",
                "run_id": 1,
                "data": {},
            }
            for n in range(1, 1001)
        ]
        found = [
            event for event in every if event["id"] > after and params.get("agent") in (None, event["agent"])
        ]
        page = found[:limit]
        return {"events": page, "last": page[-1]["id"] if page else 1000}

    fake.answers["events.read"] = read
    out = agentctl("events", "-n", "3", "--json").out
    assert [json.loads(line)["id"] for line in out.splitlines()] == [998, 999, 1000]
    out = agentctl("events", "bob", "-n", "3", "--json").out
    assert [json.loads(line)["id"] for line in out.splitlines()] == [980, 990, 1000]
    out = agentctl("events", "--after", "400", "--json").out
    assert [json.loads(line)["id"] for line in out.splitlines()] == list(range(401, 1001))
    assert agentctl("events", "-n", "0").out == ""
    assert agentctl("events", "-n", "x").code == 2
