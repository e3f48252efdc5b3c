"""``agentctl run`` follows, asks, and stops what it started."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from supervisor.ctl.foreground import name_from
from supervisor.errors import Conflict, Invalid

pytestmark = pytest.mark.timeout(60)

QUESTION = {
    "id": 3,
    "run_id": 7,
    "agent": "t",
    "tool": "sh",
    "input": {"code": "rm -rf x"},
    "rationale": "tidy up",
    "state": "open",
    "granted": None,
    "asked_at": 1.0,
}


@pytest.fixture
def accepting(fake: Any) -> Any:
    fake.answers["agent.start"] = lambda params: {"agent": params["name"], "run_id": 7, "accepted_at": 1.0}
    fake.answers["agent.stop"] = {"agent": "t", "run_id": 7, "accepted_at": 1.0}
    fake.answers["agent.wait"] = {"status": "error", "run_id": 7, "state": "stopped", "error": None}
    return fake


def then(fake: Any, *events: tuple[Any, ...]) -> None:
    """Send events once the agent was started."""

    def work() -> None:
        fake.wait_for(
            lambda: any(method == "agent.start" for method, _ in fake.calls) and bool(fake.followers)
        )
        for number, (kind, data) in enumerate(events, 1):
            run_id = data.get("run", None if kind.startswith("agent.") else 7)
            fake.emit(number, kind, run_id, "t", **{key: data[key] for key in data if key != "run"})

    threading.Thread(target=work, daemon=True).start()


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("succeeded", 0),
        ("stopped", 0),
        ("failed", 1),
        ("crashed", 1),
        ("lost", 1),
        ("timed_out", 1),
        ("cancelled", 1),
    ],
)
def test_the_exit_code_says_how_the_run_ended(
    agentctl: Callable[..., Any], accepting: Any, state: str, code: int
) -> None:
    then(accepting, ("run.running", {}), (f"run.{state}", {"reason": "that is why"}))
    done = agentctl("run", "t")
    assert done.code == code
    assert "that is why" in done.err


def test_it_starts_in_the_present_folder_with_what_is_said(
    agentctl: Callable[..., Any], accepting: Any
) -> None:
    then(accepting, ("run.succeeded", {}))
    agentctl("run", "./x/My Agent.md", "--arg", "a", "--set", "interval=3", "--", "-b", "--json")
    assert (
        "agent.start",
        {
            "name": "my-agent",
            "template": os.path.abspath("x/My Agent.md"),
            "cwd": os.getcwd(),
            "args": ["a", "-b", "--json"],
            "settings": {"interval": 3},
        },
    ) in accepting.calls


def test_the_log_is_printed_as_it_comes(agentctl: Callable[..., Any], accepting: Any, home: Any) -> None:
    folder: Path = home.runs / "7"
    folder.mkdir(parents=True)
    (folder / "log.ndjson").write_bytes(orjson.dumps({"t": 1.0, "stream": "stdout", "text": "hello"}) + b"\n")
    then(accepting, ("run.succeeded", {}))
    assert "hello" in agentctl("run", "t").out


def test_without_a_terminal_it_says_that_a_question_waits_and_how_to_answer(
    agentctl: Callable[..., Any], accepting: Any
) -> None:
    accepting.answers["permission.list"] = {"permissions": [QUESTION]}
    then(accepting, ("permission.asked", {"permission_id": 3}), ("run.succeeded", {}))
    done = agentctl("run", "t")
    assert "code: rm -rf x" in done.out
    assert "agentctl allow 3" in done.out
    assert "waits for the answer to permission 3" in done.err
    assert not any(method == "permission.answer" for method, _ in accepting.calls)


def test_a_run_that_is_followed_by_another_is_followed_on(
    agentctl: Callable[..., Any], accepting: Any, home: Any
) -> None:
    for number in (7, 8, 9):
        folder: Path = home.runs / str(number)
        folder.mkdir(parents=True)
        line = {"t": 1.0, "stream": "stdout", "text": f"run {number} speaks"}
        (folder / "log.ndjson").write_bytes(orjson.dumps(line) + b"\n")
    then(
        accepting,
        ("run.crashed", {"reason": "killed by SIGKILL"}),
        ("run.queued", {"run": 8}),
        ("run.crashed", {"run": 8, "reason": "killed by SIGSEGV"}),
        ("agent.backoff", {"until": 9e9}),
        ("run.queued", {"run": 9}),
        ("run.succeeded", {"run": 9}),
        ("agent.wanted", {"wanted": "down"}),
    )
    done = agentctl("run", "t")
    assert done.code == 0
    for told in ("killed by SIGKILL", "started again, run 8", "killed by SIGSEGV", "starts again in"):
        assert done.err.count(told) == 1
    for number in (7, 8, 9):
        assert f"run {number} speaks" in done.out


@pytest.mark.parametrize(
    "last", [("agent.held", {"reason": "the sixth crash"}), ("agent.wanted", {"wanted": "down"})]
)
def test_an_agent_that_is_not_started_again_ends_it(
    agentctl: Callable[..., Any], accepting: Any, last: tuple[str, dict[str, Any]]
) -> None:
    then(accepting, ("run.crashed", {"reason": "x"}), ("agent.backoff", {"until": 9e9}), last)
    assert agentctl("run", "t").code == 1


def test_what_is_refused_starts_nothing(agentctl: Callable[..., Any], fake: Any) -> None:
    fake.answers["agent.start"] = Conflict("t runs already")
    assert agentctl("run", "t").code == 5


def test_a_supervisor_that_goes_is_told(agentctl: Callable[..., Any], accepting: Any) -> None:
    def work() -> None:
        accepting.wait_for(lambda: bool(accepting.followers))
        accepting.wait_for(lambda: any(method == "agent.start" for method, _ in accepting.calls))
        accepting.followers[0].shutdown(2)

    threading.Thread(target=work, daemon=True).start()
    done = agentctl("run", "t")
    assert done.code == 6
    assert "agentctl tail -f t" in done.err


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("repo-report", "repo-report"),
        ("/x/My Agent.md", "my-agent"),
        ("_x", "x"),
        ("a" * 80, "a" * 64),
        ("É1", "1"),
    ],
)
def test_the_agents_name_comes_from_the_templates(template: str, name: str) -> None:
    assert name_from(template) == name


@pytest.mark.parametrize("template", ["...", "日本.md", "a..b"])
def test_a_template_that_gives_no_name_needs_one(template: str) -> None:
    with pytest.raises(Invalid) as refused:
        name_from(template)
    assert "--name" in refused.value.remedy


class Terminal:
    """``agentctl run t`` at a terminal of its own."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.ctl.main", "run", "t"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "dumb"},
        )
        os.close(slave)
        self.shown = ""

    def until(self, text: str) -> None:
        """Read until ``text`` is on the screen."""
        while text not in self.shown:
            assert select.select([self.master], [], [], 20)[0], self.shown
            self.shown += os.read(self.master, 65536).decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)
        os.close(self.master)


@pytest.fixture
def terminal() -> Any:
    opened = Terminal()
    yield opened
    opened.close()


@pytest.mark.parametrize(("answers", "granted"), [(["y"], True), (["what?", "", "no"], False)])
def test_at_a_terminal_it_asks_and_passes_the_answer_on(
    accepting: Any, terminal: Terminal, answers: list[str], granted: bool
) -> None:
    accepting.answers["permission.list"] = {"permissions": [QUESTION]}
    accepting.answers["permission.answer"] = {
        "id": 3,
        "state": "decided",
        "granted": granted,
        "decided_by": "root",
    }
    then(accepting, ("permission.asked", {"permission_id": 3}))
    for answer in answers:
        terminal.until("allow 3?")
        terminal.shown = ""
        terminal.type(f"{answer}\n")
    accepting.wait_for(lambda: any(method == "permission.answer" for method, _ in accepting.calls))
    accepting.emit(9, "run.succeeded", 7, "t")
    terminal.until("succeeded")
    assert terminal.process.wait(20) == 0
    assert ("permission.answer", {"id": 3, "granted": granted}) in accepting.calls


def test_a_question_that_somebody_else_answered_first_is_no_trouble(
    accepting: Any, terminal: Terminal
) -> None:
    accepting.answers["permission.list"] = {"permissions": [QUESTION]}
    accepting.answers["permission.answer"] = Conflict("permission 3 was denied by alice")
    then(accepting, ("permission.asked", {"permission_id": 3}))
    terminal.until("allow 3?")
    terminal.type("y\n")
    terminal.until("denied by alice")
    accepting.emit(9, "run.failed", 7, "t", reason="denied")
    assert terminal.process.wait(20) == 1


def test_a_question_that_is_answered_elsewhere_is_taken_back(accepting: Any, terminal: Terminal) -> None:
    accepting.answers["permission.list"] = {"permissions": [QUESTION]}
    then(accepting, ("permission.asked", {"permission_id": 3}))
    terminal.until("allow 3?")
    accepting.emit(8, "permission.decided", 7, "t", permission_id=3, granted=False, decided_by="alice")
    terminal.until("permission 3: denied by alice")
    accepting.emit(9, "run.failed", 7, "t", reason="denied")
    assert terminal.process.wait(20) == 1
    assert not any(method == "permission.answer" for method, _ in accepting.calls)


def test_two_questions_are_asked_one_after_the_other(accepting: Any, terminal: Terminal) -> None:
    accepting.answers["permission.list"] = {"permissions": [QUESTION, {**QUESTION, "id": 4}]}
    accepting.answers["permission.answer"] = lambda params: {"id": params["id"], "granted": params["granted"]}
    then(accepting, ("permission.asked", {"permission_id": 3}), ("permission.asked", {"permission_id": 4}))
    terminal.until("permission 4")
    terminal.until("allow 3?")
    terminal.type("y\n")
    terminal.until("allow 4?")
    terminal.type("n\n")
    accepting.wait_for(lambda: ("permission.answer", {"id": 4, "granted": False}) in accepting.calls)
    assert ("permission.answer", {"id": 3, "granted": True}) in accepting.calls
    accepting.emit(9, "run.succeeded", 7, "t")
    assert terminal.process.wait(20) == 0


@pytest.mark.parametrize("asked", [False, True])
def test_ctrl_c_stops_the_agent_and_is_130(accepting: Any, terminal: Terminal, asked: bool) -> None:
    if asked:
        accepting.answers["permission.list"] = {"permissions": [QUESTION]}
        then(accepting, ("permission.asked", {"permission_id": 3}))
        terminal.until("allow 3?")
    else:
        terminal.until("Ctrl-C stops it")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.process.wait(20) == 130
    assert ("agent.stop", {"name": "t", "reason": "Ctrl-C"}) in accepting.calls
    assert accepting.calls[-1][0] == "agent.wait"
