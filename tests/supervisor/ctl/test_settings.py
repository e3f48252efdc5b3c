"""Settings as they are typed."""

from __future__ import annotations

import os
from typing import Any

import pytest

from supervisor.ctl.settings import assignments, caps, own_settings, template_name, value_of
from supervisor.errors import Invalid


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("1.5", 1.5),
        ("true", True),
        ('"5"', "5"),
        ("[1, 2]", [1, 2]),
        ("30m", "30m"),
        ("on-crash", "on-crash"),
        ("a = b", "a = b"),
        ("2026-11-20", "2026-11-20"),
        ("", ""),
        ("x\ny = 3", "x\ny = 3"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_a_value_is_toml_or_plain_text(text: str, value: object) -> None:
    assert value_of(text) == value


def test_dots_lead_into_tables() -> None:
    assert assignments(["interval=3", "budgets.cost_usd=2", "budgets.agent.tokens=5", "prompt=a=b"]) == {
        "interval": 3,
        "budgets": {"cost_usd": 2, "agent": {"tokens": 5}},
        "prompt": "a=b",
    }


@pytest.mark.parametrize(
    "texts", [["interval"], ["=3"], ["a..b=3"], ["a=1", "a=2"], ["a=1", "a.b=2"], ["a.b=2", "a=1"]]
)
def test_what_is_no_assignment_or_comes_twice_is_refused(texts: list[str]) -> None:
    with pytest.raises(Invalid):
        assignments(texts)


def test_caps_are_numbers() -> None:
    assert caps(["cost_usd=2", "agent.tokens=1000"]) == {"cost_usd": 2, "agent": {"tokens": 1000}}
    for text in ("cost_usd=much", "tokens=true", "agent.tokens=x"):
        with pytest.raises(Invalid, match="wanted a number"):
            caps([text])


@pytest.mark.parametrize("text", ["tokens=1.5", "iterations=2.0", "agent.tokens=nan", "agent.iterations=inf"])
def test_caps_on_what_is_counted_are_whole_numbers(text: str) -> None:
    with pytest.raises(Invalid, match="wanted a whole number"):
        caps([text])
    assert caps(["cost_usd=1.5", "wall_s=0.5"]) == {"cost_usd": 1.5, "wall_s": 0.5}


def test_caps_for_good_are_named_one_by_one() -> None:
    with pytest.raises(Invalid, match=r"wanted agent\.WHAT=CAP"):
        caps(["agent=5"])


def test_paths_become_absolute_and_names_stay() -> None:
    assert template_name("repo-report") == "repo-report"
    assert template_name("x.md") == os.path.abspath("x.md")
    args: dict[str, Any] = {
        "--template": "./t",
        "--cwd": ".",
        "--adapter": None,
        "--arg": ["a"],
        "--set": ["x=1"],
    }
    assert own_settings(args) == {
        "template": os.path.abspath("t"),
        "cwd": os.getcwd(),
        "args": ["a"],
        "settings": {"x": 1},
    }
