"""Verbs, usage texts, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supervisor.ctl.main import VERBS, find, main, parse
from supervisor.errors import KINDS, AgentdError, Invalid

pytestmark = pytest.mark.timeout(60)

EXAMPLES: dict[str, list[str]] = {
    "status": ["", "-l", "bob eve", "--long"],
    "start": [
        "bob",
        "bob eve",
        "bob --template t --cwd /tmp --arg a --arg b --set k=v --set x.y=3",
        "--no-wait bob",
    ],
    "stop": ["all", "bob eve --reason because", "--wait 5 bob"],
    "restart": ["bob", "all --no-wait"],
    "resume": ["bob", "bob --set cost_usd=2 --set agent.tokens=5"],
    "pause": ["bob eve --reason lunch"],
    "cancel": ["bob"],
    "message": ["bob hello there", "bob -- -x is an option"],
    "tail": ["bob", "bob -f -n 5", "-fn5 bob --stream stdout,stderr", "bob --run 7"],
    "log": ["", "-f -n 100"],
    "add": ["bob --template t", "bob"],
    "remove": ["bob eve"],
    "shutdown": ["", "--wait 5"],
    "pid": ["", "bob", "all"],
    "signal": ["HUP bob", "9 bob eve"],
    "version": [""],
    "run": ["t", "t -- a -b c", "t a b", "./t.md --name bob --cwd /tmp --set k=v --arg a"],
    "runs": ["", "bob -n 5"],
    "show": ["7", "bob"],
    "permissions": ["", "bob --state all"],
    "allow": ["1 2", "1 --reason fine"],
    "deny": ["1 --reason no"],
    "budget": ["", "bob", "bob --set cost_usd=2"],
    "events": ["", "bob -f --after 7", "-n 5"],
    "wait": ["bob", "--run 7 --for ready --timeout 1h"],
    "templates": [""],
    "check": ["", "x.toml"],
    "doctor": [""],
    "token": ["list", "add lap --principal alice --expires 30d", "remove lap"],
}
WITHOUT_SUPERVISOR = {"start", "run", "version", "templates", "check", "doctor", "log"}


def test_there_is_an_example_of_each_verb() -> None:
    assert EXAMPLES.keys() == VERBS.keys()


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_is_documented_parses_and_has_a_function(verb: str) -> None:
    usage, function = find(verb)
    assert callable(function)
    assert function.__doc__
    assert usage[0].isupper()
    assert f"Usage: agentctl {verb} " in usage
    assert all(len(line) <= 110 for line in usage.splitlines())
    for example in EXAMPLES[verb]:
        for common in ("", " --json --token-file f"):
            words, dashes, rest = example.partition(" -- ")
            args = parse(verb, usage, (words + common).split() + (["--", *rest.split()] if dashes else []))
            assert args["--json"] is bool(common)


@pytest.mark.parametrize("verb", VERBS)
def test_what_a_verb_does_not_know_is_refused_with_its_usage(verb: str, agentctl: Callable[..., Any]) -> None:
    done = agentctl(verb, "--colour", "red", *EXAMPLES[verb][0].split())
    assert done.code == 2
    assert "no such option: --colour" in done.err
    assert f"Usage: agentctl {verb} " in done.err
    assert done.out == ""


@pytest.mark.parametrize("verb", sorted(VERBS.keys() - {"message", "run", "status", "start", "stop"}))
def test_too_much_is_refused(verb: str, agentctl: Callable[..., Any]) -> None:
    usage, _ = find(verb)
    if "..." in usage.partition("Usage:")[2].partition("\n\n")[0]:
        return
    done = agentctl(verb, *EXAMPLES[verb][0].split(), "a", "b", "c", "d")
    assert done.code == 2
    assert "do not fit" in done.err


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_the_same_however_it_is_asked_for(verb: str, agentctl: Callable[..., Any]) -> None:
    usage, _ = find(verb)
    for words in (["help", verb], [verb, "--help"], [verb, "-h", "whatever"]):
        done = agentctl(*words)
        assert (done.code, done.out) == (0, f"{usage}\n")


def test_help_alone_names_every_verb(agentctl: Callable[..., Any]) -> None:
    for words in (["help"], ["--help"], ["-h"]):
        done = agentctl(*words)
        assert done.code == 0
        for verb in VERBS:
            assert f"\n  {verb} " in done.out


def test_later_verbs_are_not_mentioned(agentctl: Callable[..., Any]) -> None:
    for verb in ("reread", "update", "reload", "init", "backup"):
        assert f"\n  {verb} " not in agentctl("help").out
        assert agentctl(verb).code == 2


def test_an_unknown_verb_is_refused_with_the_nearest(agentctl: Callable[..., Any]) -> None:
    done = agentctl("stauts")
    assert done.code == 2
    assert "stauts: no such verb (status?)" in done.err


@pytest.mark.parametrize("verb", sorted(VERBS.keys() - WITHOUT_SUPERVISOR))
def test_without_a_supervisor_a_verb_exits_6_and_says_what_to_do(
    verb: str, agentctl: Callable[..., Any]
) -> None:
    done = agentctl(verb, *EXAMPLES[verb][0].split())
    assert done.code == 6
    assert "no supervisor is running" in done.err
    assert "agentctl start" in done.err


def test_agentctl_alone_is_status(agentctl: Callable[..., Any], fake: Any, row: Any) -> None:
    fake.answers["agent.list"] = {"agents": [row()]}
    assert agentctl().out == agentctl("status").out != ""
    assert agentctl("--json").json["agents"][0]["name"] == "bob"
    assert agentctl("--json", "status").out == agentctl("status", "--json").out


@pytest.mark.parametrize("name", KINDS)
def test_each_error_has_its_exit_code_its_words_and_its_remedy(
    name: str, agentctl: Callable[..., Any], fake: Any
) -> None:
    fake.answers["agent.pause"] = KINDS[name]("bob: \x1b[31mno", remedy="do this")
    done = agentctl("pause", "bob")
    assert done.code == KINDS[name].exit_code
    assert done.err == "agentctl: bob: \\x1b[31mno\n  do this\n"
    assert done.out == ""
    done = agentctl("pause", "bob", "--json")
    assert done.code == KINDS[name].exit_code
    assert done.json["error"] == {
        "name": name,
        "exit_code": done.code,
        "remedy": "do this",
        "message": "bob: \x1b[31mno",
    }
    assert done.json["schema_version"] == 1
    assert done.err == ""


def test_the_exit_codes_are_those_that_are_promised() -> None:
    assert {name: kind.exit_code for name, kind in KINDS.items()} == {
        "failed": 1,
        "degraded": 1,
        "invalid": 2,
        "no_such_agent": 3,
        "no_such_run": 3,
        "not_running": 3,
        "not_permitted": 4,
        "conflict": 5,
        "no_supervisor": 6,
        "paused": 75,
        "database_too_new": 78,
        "wait_timed_out": 124,
    }


def test_what_goes_wrong_with_one_name_does_not_keep_the_others(
    agentctl: Callable[..., Any], fake: Any
) -> None:
    def pause(params: dict[str, Any]) -> Any:
        if params["name"] == "eve":
            return KINDS["conflict"]("eve: paused already")
        return {"agent": params["name"], "run_id": 1, "accepted_at": 1.0}

    fake.answers["agent.pause"] = pause
    done = agentctl("pause", "bob", "eve", "zoe")
    assert done.code == 5
    assert done.out.splitlines() == [
        "bob: pauses before its next iteration",
        "zoe: pauses before its next iteration",
    ]


def test_an_answer_after_which_the_supervisor_is_gone_is_exit_6(
    agentctl: Callable[..., Any], fake: Any
) -> None:
    def die(params: dict[str, Any]) -> Any:
        raise OSError

    fake.answers["agent.list"] = die
    done = agentctl("status")
    assert done.code == 6
    assert "ended before it answered" in done.err


def test_a_home_that_is_no_absolute_path_is_refused(
    agentctl: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTD_HOME", "here")
    done = agentctl("status")
    assert done.code == 2
    assert "AGENTD_HOME" in done.err


def test_a_socket_path_that_is_too_long_is_refused_with_the_remedy(
    agentctl: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTD_HOME", f"/tmp/{'x' * 120}")
    done = agentctl("status")
    assert done.code == 2
    assert "107 bytes" in done.err
    assert "AGENTD_HOME" in done.err


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(argv: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("supervisor.ctl.main.run", interrupted)
    assert main(["status"]) == 130


def test_a_reader_who_leaves_ends_it_quietly(fake: Any, row: Any) -> None:
    fake.answers["agent.list"] = {"agents": [row(f"agent-{number}") for number in range(3000)]}
    process = subprocess.Popen(
        [sys.executable, "-m", "supervisor.ctl.main", "status"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdout, process.stderr:
        assert process.stdout.readline().startswith(b"AGENT")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == 0


def test_a_terminal_that_knows_only_ascii_is_no_trouble(fake: Any, row: Any) -> None:
    fake.answers["agent.list"] = {"agents": [row(activity="liest 日本語 · fertig")]}
    done = subprocess.run(
        [sys.executable, "-m", "supervisor.ctl.main", "status"],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "ascii"},
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"liest \\u65e5" in done.stdout


def test_usage_errors_are_ours_and_not_docopts() -> None:
    usage, _ = find("stop")
    with pytest.raises(Invalid) as refused:
        parse("stop", usage, [])
    assert isinstance(refused.value, AgentdError)
    assert "these arguments do not fit" in str(refused.value)


def test_a_token_is_read_from_a_file_and_never_from_the_command_line(
    agentctl: Callable[..., Any], fake: Any, home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.answers["session.authenticate"] = {"principal": "alice"}
    file = Path(home.state) / "token"
    file.write_text("s3cret\n")
    assert agentctl("status", "--token-file", str(file)).code == 0
    assert agentctl(f"--token-file={file}", "status").code == 0
    monkeypatch.setenv("AGENTD_TOKEN_FILE", str(file))
    assert agentctl().code == 0
    assert [params["token"] for method, params in fake.calls if method == "session.authenticate"] == [
        "s3cret"
    ] * 3
    monkeypatch.setenv("AGENTD_TOKEN_FILE", "/nowhere")
    done = agentctl("status")
    assert done.code == 2
    assert "/nowhere" in done.err
