"""The pure parts: guards, budgets, prompts, what is too large."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.frames import Budget
from runner.budgets import Spent, describe, reached, work_left
from runner.guards import Guards, Verdict, cooldown_in, normalised, signature
from runner.inputs import BEGINNING, LARGEST, LargeInputs
from runner.prompt import PromptError, check, render, with_messages


def play(guards: Guards, events: str) -> list[str]:
    """Feed one letter an event; small letters fail, capitals succeed with that summary, a dot changed nothing."""
    heard = []
    for letter in events:
        verdict: Verdict | None = None
        if letter == ".":
            guards.unchanged()
        elif letter.islower():
            verdict = guards.failed(f"error {letter}")
        else:
            verdict = guards.succeeded("" if letter == "_" else f"summary {letter}")
        heard.append(verdict.reason if verdict else "-")
    return heard


@pytest.mark.parametrize(
    ("events", "last"),
    [
        ("aa", "-"),
        ("aaa", "failed"),
        ("aba", "-"),
        ("abab", "failed"),
        ("abcd", "failed"),
        ("aaBaa", "-"),
        ("aa.aa", "-"),
        ("abcBd", "-"),
        ("AA", "-"),
        ("AAA", "stagnant"),
        ("ABABAB", "-"),
        ("AA.A", "-"),
        ("AAaA", "-"),
        ("." * 50, "-"),
        ("___", "-"),
        ("AA_A", "-"),
        ("AABBB", "stagnant"),
        ("baaa", "failed"),
    ],
)
def test_what_happens_in_a_row_counts(events: str, last: str) -> None:
    heard = play(Guards(), events)
    assert heard[-1] == last
    assert set(heard[:-1]) <= {"-"}


def test_a_limit_of_nothing_turns_a_guard_off() -> None:
    assert set(play(Guards(same_failure_limit=0, failure_limit=0, stagnation_limit=0), "aaaaaaAAAAAA")) == {
        "-"
    }


def test_limits_are_what_was_asked_for() -> None:
    assert play(Guards(same_failure_limit=2), "aa") == ["-", "failed"]
    assert play(Guards(same_failure_limit=9, failure_limit=6), "aaaaaa")[-1] == "failed"
    assert play(Guards(stagnation_limit=1), "A") == ["stagnant"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("All done.", " all  DONE ", True),
        ("done at 2026-11-20T10:00:00Z", "done at 2026-11-21T11:30:00+01:00", True),
        ("done in 3.2 s", "done in 4 s", True),
        ("done at 10:15", "done at 11:20:05", True),
        ("10 files", "20 files", False),
        ("page 1", "page 2", False),
    ],
)
def test_times_make_no_difference_to_a_claim_but_numbers_do(one: str, other: str, same: bool) -> None:
    assert (normalised(one) == normalised(other)) is same


def test_numbers_and_addresses_make_no_difference_to_an_error() -> None:
    assert signature("exit 1: pid 4711 at 0x7f00ab") == signature("exit 1: pid 4712 at 0x7f00ac")
    assert signature("no such file a.txt") != signature("no such file b.txt")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Circuit breaker OPEN for model x. Cooldown: 30 s", 30.0),
        ("x\nCircuit breaker OPEN\n…\nCooldown: 2.5s\n", 2.5),
        ("Circuit breaker closed. Cooldown: 30 s", None),
        ("Cooldown: 30 s", None),
        ("", None),
    ],
)
def test_the_text_of_a_cooldown_is_understood(text: str, wanted: float | None) -> None:
    assert cooldown_in(text) == wanted


def budget(what: str, cap: float, base: float = 0, scope: str = "run") -> Budget:
    return Budget(scope=scope, what=what, cap=cap, base=base)


@pytest.mark.parametrize(
    ("one", "spent", "is_reached"),
    [
        (budget("cost_usd", 1), Spent(cost_usd=0.99), False),
        (budget("cost_usd", 1), Spent(cost_usd=1), True),
        (budget("cost_usd", 1, base=0.5), Spent(cost_usd=0.5), True),
        (budget("cost_usd", 1, base=-0.5), Spent(cost_usd=1.2), False),
        (budget("tokens", 0), Spent(), True),
        (budget("iterations", 3, base=1), Spent(iterations=2), True),
        (budget("wall_s", 60), Spent(wall_s=59.9), False),
    ],
)
def test_a_cap_is_reached_when_base_and_own_meet_it(one: Budget, spent: Spent, is_reached: bool) -> None:
    assert (reached([one], spent) is one) is is_reached


def test_the_tightest_cap_on_time_counts() -> None:
    caps = [budget("wall_s", 60), budget("wall_s", 100, base=70), budget("tokens", 1)]
    assert work_left(caps, Spent(wall_s=10)) == 20
    assert work_left(caps, Spent(wall_s=50)) == 0
    assert work_left([], Spent()) == float("inf")


@pytest.mark.parametrize(
    ("one", "spent", "text"),
    [
        (budget("cost_usd", 1, scope="agent"), Spent(cost_usd=1.5), "cost per agent: $1.5 of $1"),
        (budget("tokens", 1000), Spent(tokens=123456), "tokens per run: 123,456 of 1,000"),
        (budget("wall_s", 60), Spent(wall_s=61.25), "working time per run: 61.2 s of 60.0 s"),
    ],
)
def test_a_reached_cap_is_described(one: Budget, spent: Spent, text: str) -> None:
    assert describe(one, spent) == text


def test_variables_are_filled_in_and_nothing_else() -> None:
    values = {"agent.name": "bob", "args": "{{agent.name}} $(rm -rf /)", "session.id": None}
    assert render("{{agent.name}} {{ args }}", values) == "bob {{agent.name}} $(rm -rf /)"
    assert (
        render("\\{{agent.name}} {{{ x } {{1}} {{ a b }}", values) == "{{agent.name}} {{{ x } {{1}} {{ a b }}"
    )
    with pytest.raises(PromptError, match=r"prompt: \{\{agent.nam\}\}: no such variable \(agent.name\?"):
        render("{{agent.nam}}", values)
    with pytest.raises(PromptError, match=r"bootstrap_prompt: \{\{session.id\}\} has no value yet"):
        render("{{session.id}}", values, what="bootstrap_prompt")
    with pytest.raises(PromptError, match="known: a, b"):
        check("{{zzz}}", {"a", "b"})
    check("{{session.id}} \\{{zzz}}", values)


def test_messages_stand_behind_the_prompt() -> None:
    assert with_messages("do it", []) == "do it"
    assert with_messages("do it", ["a", "b"]) == (
        "do it\n\nMessage from the operator:\na\n\nMessage from the operator:\nb"
    )
    assert with_messages("", ["a"]) == "Message from the operator:\na"


@given(st.text(max_size=200), st.text(max_size=20))
def test_a_value_is_never_looked_into(text: str, value: str) -> None:
    assert render("{{x}}", {"x": text}) == text
    assert render("{{x}}{{y}}", {"x": text, "y": value}) == text + value


def test_a_small_input_stays_as_it_is(tmp_path: Path) -> None:
    inputs = LargeInputs(tmp_path)
    given_input = {"a": "x" * 1000}
    assert inputs.fit(given_input) is given_input
    assert not (tmp_path / "inputs").exists()


def test_a_large_input_is_kept_and_named(tmp_path: Path) -> None:
    inputs = LargeInputs(tmp_path)
    large = {"a": "é" * LARGEST}
    kept = inputs.fit(large)
    data = Path(kept["path"]).read_bytes()
    assert json.loads(data) == large
    assert kept["sha256"] == hashlib.sha256(data).hexdigest()
    assert kept["size"] == len(data)
    assert len(kept["beginning"]) <= BEGINNING
    assert [path.name for path in (tmp_path / "inputs").iterdir()] == [Path(kept["path"]).name]


def test_a_large_text_shows_its_beginning_and_its_file(tmp_path: Path) -> None:
    text = LargeInputs(tmp_path).fit_text("z" * (LARGEST + 1))
    assert len(text) < 2 * BEGINNING
    assert str(tmp_path) in text
    assert LargeInputs(None).fit_text("z" * (LARGEST + 1)).endswith("all of it in no file)")
    assert LargeInputs(tmp_path / "gone").fit_text("z" * (LARGEST + 1)).endswith("No such file or directory)")


def test_half_a_surrogate_pair_becomes_sayable() -> None:
    assert LargeInputs(None).fit_text("a\udc80") == "a?"
