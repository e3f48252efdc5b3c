"""Logs are followed over rotation, new runs and restarts of the supervisor."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from supervisor.errors import NoSuchRun

pytestmark = pytest.mark.timeout(60)


def record(
    folder: Path, text: str, stream: str = "stdout", *, file: str = "log.ndjson", t: float = 1.0
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / file).open("ab") as opened:
        opened.write(orjson.dumps({"t": t, "stream": stream, "text": text}) + b"\n")


class Tail:
    """``agentctl`` in a process of its own, read line by line."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.ctl.main", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().rstrip("\n")

    def end(self) -> str:
        self.process.send_signal(2)
        _, err = self.process.communicate(timeout=20)
        return err.decode()


@pytest.fixture
def tail() -> Iterator[Callable[..., Tail]]:
    started: list[Tail] = []

    def start(*words: str) -> Tail:
        started.append(Tail(*words))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate(timeout=20)


def runs_of(*numbers: int) -> dict[str, Any]:
    return {"runs": [{"run_id": number, "agent": "bob"} for number in sorted(numbers, reverse=True)]}


def test_the_last_lines_of_the_latest_run_are_printed_singly(
    agentctl: Callable[..., Any], fake: Any, home: Any
) -> None:
    fake.answers["run.list"] = runs_of(6, 7)
    record(home.runs / "6", "old")
    record(home.runs / "7", "a\nb\nc")
    record(home.runs / "7", "d", "stderr")
    assert agentctl("tail", "bob", "-n", "2").out == "   stdout | c\n   stderr | d\n"
    assert agentctl("tail", "bob", "--stream", "stderr").out == "   stderr | d\n"
    assert agentctl("tail", "bob", "--run", "6").out == "   stdout | old\n"
    lines = agentctl("tail", "bob", "-n", "1", "--json").json
    assert lines == {"schema_version": 1, "at": "1970-01-01T00:00:01.000Z", "stream": "stderr", "text": "d"}


def test_a_stream_is_named_whole_or_by_its_kind_and_one_that_is_not_there_is_told(
    agentctl: Callable[..., Any], fake: Any, home: Any
) -> None:
    fake.answers["run.list"] = runs_of(7)
    record(home.runs / "7", "a", "step:look")
    record(home.runs / "7", "b", "step:clean")
    record(home.runs / "7", "c", "agentd")
    assert agentctl("tail", "bob", "--stream", "step") == (0, "step:look | a\nstep:clean | b\n", "")
    assert agentctl("tail", "bob", "--stream", "step:clean,agentd", "-n", "1") == (0, "   agentd | c\n", "")
    told = "no stream tool, step:none in this log; it has: agentd, step:clean, step:look\n"
    done = agentctl("tail", "bob", "--stream", "agentd,tool,step:none")
    assert done == (0, "   agentd | c\n", told)
    assert "nothing yet" in agentctl("tail", "bob", "--run", "6", "--stream", "stdout").err


def test_a_run_that_is_none_or_another_agents_is_refused(
    agentctl: Callable[..., Any], fake: Any, home: Any
) -> None:
    fake.answers["run.list"] = runs_of(7)
    record(home.runs / "2", "secret")
    fake.answers["run.show"] = {"run": {"run_id": 2, "agent": "eve"}}
    done = agentctl("tail", "bob", "--run", "2")
    assert (done.code, done.out) == (3, "")
    assert "run 2 is one of agent eve, not of bob" in done.err
    fake.answers["run.show"] = NoSuchRun("there is no run 0")
    for number in ("0", "99"):
        done = agentctl("tail", "bob", "--run", number)
        assert (done.code, done.out, done.err) == (3, "", "agentctl: there is no run 0\n")


def test_every_stream_that_is_offered_can_be_in_a_log(agentctl: Callable[..., Any], home: Any) -> None:
    offered = agentctl("help", "tail").out.partition("--stream S")[2].partition("--run RUN")[0]
    for stream in ("step:ID", "step", "stdout", "stderr", "agentd", "stray"):
        assert f"{stream} (" in offered or f"{stream} and " in offered
    for live in ("assistant", "tool", "lifecycle"):
        assert live not in offered


def test_what_was_stray_is_shown_at_its_time(
    agentctl: Callable[..., Any], fake: Any, home: Any, tail: Any
) -> None:
    fake.answers["run.list"] = runs_of(7)
    folder = home.runs / "7"
    for t in (1.0, 3.0):
        record(folder, f"out {t:g}", t=t)
    for t in (2.0, 4.0):
        record(folder, f"odd {t:g}", "stray", file="stray.ndjson", t=t)
    shown = ["    stray | odd 2", "   stdout | out 3", "    stray | odd 4"]
    assert agentctl("tail", "bob", "-n", "3").out.splitlines() == shown
    assert agentctl("tail", "bob", "--stream", "stray").out.splitlines() == [shown[0], shown[2]]
    followed = tail("tail", "-f", "-n", "3", "bob")
    assert [followed.line() for _ in shown] == shown
    record(folder, "late", "stray", file="stray.ndjson", t=5.0)
    assert followed.line() == "    stray | late"
    followed.end()


def test_an_agent_without_a_run_and_one_that_never_was_are_told_apart(
    agentctl: Callable[..., Any], fake: Any, row: Any
) -> None:
    fake.answers["agent.list"] = {"agents": [row("bob")]}
    assert "has had no run" in agentctl("tail", "bob").err
    done = agentctl("tail", "eve")
    assert done.code == 3
    assert "no agent is called eve" in done.err


def test_following_goes_on_over_rotation_and_new_runs(fake: Any, home: Any, tail: Any) -> None:
    fake.answers["run.list"] = runs_of(7)
    folder = home.runs / "7"
    record(folder, "one")
    followed = tail("tail", "-f", "bob")
    assert followed.line() == "   stdout | one"
    (folder / "log.ndjson").rename(folder / "log-000001.ndjson")
    record(folder, "two")
    assert followed.line() == "   stdout | two"
    fake.wait_for(lambda: bool(fake.followers))
    record(folder, "three")
    record(home.runs / "8", "four")
    fake.emit(1, "run.queued", 8)
    assert followed.line() == "   stdout | three"
    assert followed.line() == "   stdout | four"
    assert "run 8 of bob" in followed.end()
    assert followed.process.returncode == 130


def test_following_goes_on_while_the_supervisor_is_away_and_finds_what_began_meanwhile(
    fake: Any, home: Any, tail: Any, new_fake: Any
) -> None:
    fake.answers["run.list"] = runs_of(7)
    record(home.runs / "7", "one")
    followed = tail("tail", "-f", "bob")
    assert followed.line() == "   stdout | one"
    fake.wait_for(lambda: bool(fake.followers))
    fake.close()
    record(home.runs / "7", "two")
    assert followed.line() == "   stdout | two"
    record(home.runs / "8", "three")
    record(home.runs / "9", "four")
    again = new_fake(home.socket)
    try:
        again.answers["run.list"] = runs_of(7, 8, 9)
        assert followed.line() == "   stdout | three"
        assert followed.line() == "   stdout | four"
        followed.end()
    finally:
        again.close()


def test_events_are_followed_over_a_restart_from_the_last_number(
    fake: Any, home: Any, tail: Any, new_fake: Any
) -> None:
    fake.answers["events.read"] = {"events": [], "last": 0}
    followed = tail("events", "-f", "--json")
    fake.wait_for(lambda: bool(fake.followers))
    fake.emit(5, "thing")
    assert orjson.loads(followed.line())["id"] == 5
    fake.close()
    again = new_fake(home.socket)
    try:
        again.wait_for(lambda: bool(again.followers))
        assert ("events.follow", {"after": 5}) in again.calls
        again.emit(6, "thing")
        assert orjson.loads(followed.line())["id"] == 6
        assert "waiting for it" in followed.end()
    finally:
        again.close()


@pytest.mark.parametrize("words", [[], ["--after", "3"]])
def test_a_supervisor_that_dies_before_the_following_began_is_waited_for_too(
    fake: Any, home: Any, tail: Any, new_fake: Any, words: list[str]
) -> None:
    def die(params: Any) -> None:
        for connection in fake.connections:
            connection.shutdown(socket.SHUT_RDWR)

    fake.answers["events.read"] = fake.answers["events.follow"] = die
    followed = tail("events", "-f", "--json", *words)
    fake.wait_for(lambda: any(method.startswith("events.") for method, _ in fake.calls))
    fake.close()
    again = new_fake(home.socket)
    event = {"id": 4, "at": 1.0, "kind": "thing", "agent": "bob", "run_id": None, "data": {}}
    again.answers["events.read"] = lambda params: {
        "events": [event] if params["after"] < 4 else [],
        "last": 4,
    }
    try:
        again.wait_for(lambda: bool(again.followers))
        if not words:
            assert orjson.loads(followed.line())["id"] == 4
        assert ("events.follow", {"after": 3 if words else 4}) in again.calls
        again.emit(5, "thing")
        assert orjson.loads(followed.line())["id"] == 5
        assert "waiting for it" in followed.end()
    finally:
        again.close()


def test_an_idle_follower_costs_next_to_nothing(fake: Any, home: Any, tail: Any) -> None:
    import psutil

    fake.answers["run.list"] = runs_of(7)
    record(home.runs / "7", "one")
    followed = tail("tail", "-f", "bob")
    followed.line()
    fake.wait_for(lambda: bool(fake.followers))
    process = psutil.Process(followed.process.pid)
    before = sum(process.cpu_times()[:2])
    calls = len(fake.calls)
    time.sleep(2)
    assert sum(process.cpu_times()[:2]) - before < 0.2
    assert len(fake.calls) - calls <= 1
    followed.end()


def test_the_supervisors_own_log_is_shown_and_followed(
    agentctl: Callable[..., Any], home: Any, tail: Any
) -> None:
    assert agentctl("log").code == 2
    home.log.write_text("one\ntwo\x1b[2J\n")
    assert agentctl("log", "-n", "1").out == "two\\x1b[2J\n"
    followed = tail("log", "-f", "-n", "1")
    followed.line()
    with home.log.open("a") as file:
        file.write("three\n")
    assert followed.line() == "three"
    followed.end()
