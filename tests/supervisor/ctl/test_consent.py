"""What is asked is shown whole, whatever it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supervisor.errors import Conflict

pytestmark = pytest.mark.timeout(60)
Agentctl = Callable[..., Any]


def question(**values: Any) -> dict[str, Any]:
    return {
        "id": 3,
        "run_id": 7,
        "agent": "bob",
        "tool": "sh",
        "input": {"command": "ls"},
        "rationale": "to see",
        "state": "open",
        "granted": None,
        "asked_at": 1.0,
        **values,
    }


def test_a_question_is_shown_with_who_why_since_when_and_how_to_answer(agentctl: Agentctl, fake: Any) -> None:
    fake.answers["permission.list"] = {"permissions": [question()]}
    out = agentctl("permissions").out
    for told in (
        "permission 3: agent bob (run 7)",
        "use sh",
        "to see",
        "ago",
        "command: ls",
        "allow 3",
        "deny 3",
    ):
        assert told in out


def test_the_end_of_a_long_input_is_shown_also_on_a_narrow_terminal(
    agentctl: Agentctl, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    code = "echo harmless " + " " * 5000 + "; rm -rf ~\n" * 2000 + "# the end"
    fake.answers["permission.list"] = {
        "permissions": [question(input={"code": code, "more": ["a", {"b": 1}]})]
    }
    out = agentctl("permissions").out
    assert out.count("rm -rf ~") == 2000
    assert "| # the end" in out
    assert 'more: ["a",{"b":1}]' in out


def test_escapes_bidi_marks_and_nuls_are_visible_everywhere(agentctl: Agentctl, fake: Any) -> None:
    evil = "a\x1b[1A\x00\u202eb"
    fake.answers["permission.list"] = {
        "permissions": [question(tool=evil, rationale=evil, input={evil: evil, "deep": {"x": evil}})]
    }
    out = agentctl("permissions").out
    assert "\x1b" not in out
    assert "\x00" not in out
    assert "\u202e" not in out
    assert out.count("\\u202e") == 5


def test_an_input_that_went_to_a_file_is_read_from_it_and_checked(
    agentctl: Agentctl, fake: Any, home: Any
) -> None:
    whole = {"code": "x = 1\n" * 1000 + "# the end"}
    data = json.dumps(whole).encode()
    folder: Path = home.runs / "7" / "inputs"
    folder.mkdir(parents=True)
    file = folder / "a.json"
    file.write_bytes(data)
    told = {
        "path": str(file),
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "beginning": "x = 1",
    }
    fake.answers["permission.list"] = lambda params: {"permissions": [question(input=dict(told))]}
    assert "# the end" in agentctl("permissions").out
    assert agentctl("permissions", "--json").json["permissions"][0]["input"] == whole
    file.write_bytes(data + b" ")
    assert "NOT SHOWN WHOLE" in agentctl("permissions").out
    file.unlink()
    assert "NOT SHOWN WHOLE" in agentctl("permissions").out


def test_a_file_elsewhere_is_not_read(agentctl: Agentctl, fake: Any) -> None:
    told = {"path": "/etc/passwd", "size": 1, "sha256": "0", "beginning": "x"}
    fake.answers["permission.list"] = {"permissions": [question(input=told)]}
    out = agentctl("permissions").out
    assert "path: /etc/passwd" in out
    assert "root:" not in out


def test_answers_are_passed_on_and_each_is_told(agentctl: Agentctl, fake: Any) -> None:
    def answer(params: dict[str, Any]) -> Any:
        if params["id"] == 4:
            return Conflict("permission 4 was denied by alice")
        return {"id": params["id"], "state": "decided", "granted": params["granted"], "decided_by": "root"}

    fake.answers["permission.answer"] = answer
    done = agentctl("allow", "3", "4", "5")
    assert done.code == 5
    assert done.out == "permission 3: allowed\npermission 5: allowed\n"
    assert "denied by alice" in done.err
    assert agentctl("deny", "3", "--reason", "no").out == "permission 3: denied\n"
    assert fake.calls[-1] == ("permission.answer", {"id": 3, "granted": False, "reason": "no"})


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "٣"])
def test_a_number_that_is_none_is_refused(agentctl: Agentctl, text: str) -> None:
    assert agentctl("allow", "--", text).code == 2


def test_nobody_asking_is_said(agentctl: Agentctl, fake: Any) -> None:
    assert agentctl("permissions").out == "nobody asks\n"
