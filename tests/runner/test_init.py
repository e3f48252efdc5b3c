"""The first line, and what is refused before anything begins."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest


def test_an_init_of_900_kb_is_read_whole(runner: Any) -> None:
    runner.init(max_iterations=1, env={"PATH": "/usr/bin:/bin", "LARGE": "x" * 900_000}, args=[])
    done = [frame for frame in runner.rest() if frame["op"] == "iteration_done"]
    # The kernel takes no variable of that size; what counts is that init was understood.
    assert "could not be started" in done[0]["error"]
    assert runner.code() == 0


def test_an_init_in_halves_is_one_line(runner: Any) -> None:
    line = json.dumps({"op": "init", "payload": runner.payload(max_iterations=1)}).encode() + b"\n"
    for byte in (line[:10], line[10:11], line[11:-1]):
        runner.write(byte)
        time.sleep(0.02)
    runner.write(line[-1:])
    assert runner.rest()[-1]["reason"] == "completed"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"auto_approve": "false"}, "init.payload.auto_approve: wanted true or false"),
        ({"name": 7}, "init.payload.name: wanted text"),
        ({"name": ...}, "init.payload.name: wanted text"),
        ({"args": [1]}, "init.payload.args"),
        ({"interval": "2"}, "init.payload.interval: wanted number"),
        ({"env": {"A": 1}}, "init.payload.env"),
        ({"budgets": [{"scope": "run", "what": "money", "cap": 1}]}, "init.payload.budgets.what"),
        ({"config": {"stagnation_limit": "3"}}, "init.payload.config.stagnation_limit"),
        ({"config": {"on_denied": "shrug"}}, "init.payload.config.on_denied"),
        ({"cwd": "/nowhere/at/all"}, "init.payload.cwd: /nowhere/at/all: No such file or directory"),
        ({"log_dir": ...}, "init.payload.log_dir: protocol 1 needs the run's folder"),
        ({"log_dir": "/dev/null/x"}, "init.payload.log_dir: /dev/null/x: Not a directory"),
    ],
)
def test_a_bad_init_is_refused_with_one_clear_line(runner: Any, fields: dict[str, Any], named: str) -> None:
    runner.init(**fields)
    assert runner.rest() == []
    assert runner.code() == 2
    lines = runner.errors().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("runner: bad init: ")
    assert named in lines[0]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b'{"op":"resume"}\n', "resume was said before init"),
        (b'{"op":"ready"}\n', "ready is not theirs to say"),
        (b"x" * 1_048_577, "a line passed the limit"),
    ],
)
def test_anything_but_init_first_is_refused(runner: Any, said: bytes, why: str) -> None:
    runner.write(said)
    assert runner.code() == 2
    assert why in runner.errors()


def test_the_end_of_stdin_before_init_is_refused(runner: Any) -> None:
    runner.stdin.close()
    assert runner.code() == 2
    assert "stdin ended before init" in runner.errors()


@pytest.mark.slow
def test_ten_seconds_without_init_are_enough(runner: Any) -> None:
    runner.write(b"is anybody there\n")
    assert runner.code(15) == 2
    assert "no init came within 10 s" in runner.errors()


@pytest.mark.parametrize(
    ("program", "fields", "why"),
    [
        (None, {"template": "/nowhere/x.md"}, "/nowhere/x.md: No such file or directory"),
        ("# only prose\n", {}, "no program: a runbook needs a fenced sh or python block"),
        ("```sh\ntrue\n", {}, "the block begun here has no end"),
        ("+++\nx = \n+++\n", {}, "program.md:2: front matter"),
        (None, {"adapter": "shaman"}, "shaman: no such adapter (known: process, runbook)"),
        (None, {"adapter": "process"}, "process.command: wanted a command line"),
        (
            None,
            {"adapter": "process", "config": {"options": {"command": "no-such-thing -x"}}},
            "no-such-thing: no such command",
        ),
    ],
)
def test_what_cannot_run_is_said_and_ends_with_code_1(
    runner: Any, program: str | None, fields: dict[str, Any], why: str
) -> None:
    runner.init(program, **fields)
    frames = runner.rest()
    assert runner.code() == 1
    assert runner.ops() == ["ready", "log", "exit"]
    assert why in frames[1]["msg"]
    assert frames[2]["reason"] == "exception"
    assert why in runner.errors()


def test_a_folder_that_holds_another_runs_journal_is_refused(runner: Any) -> None:
    (runner.run_dir / "frames.jsonl").write_text('{"op":"ready","seq":1}\n')
    runner.init()
    assert runner.code() == 2
    assert "already holds the journal of a run" in runner.errors()


def test_a_torn_journal_of_a_run_that_never_began_is_begun_anew(runner: Any) -> None:
    (runner.run_dir / "frames.jsonl").write_text('{"op":"rea')
    runner.init(max_iterations=1)
    assert runner.journal() == [] or runner.rest()
    runner.rest()
    assert runner.journal()[0]["op"] == "ready"


@pytest.mark.parametrize("arguments", [[], ["--pip"], ["--pipe", "x"], ["--keeper"]])
def test_another_command_line_gets_the_usage(arguments: list[str]) -> None:
    import ipc

    done = subprocess.run(
        [sys.executable, "-m", "runner", *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        stdin=subprocess.DEVNULL,
        cwd=Path(ipc.__file__).parents[1],
    )
    assert done.returncode == 2
    assert done.stderr.startswith("Usage:")
