"""Our runner under a supervisor that knows only the plain dialect, and the plain runner that others are tested with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ipc
from ipc.frames import Init, InitPayload, PermissionResponse, Resume, Side
from ipc.session import Session

PEERS = Path(__file__).parents[1] / "peers"
PACKAGES = Path(ipc.__file__).parents[1]
ASK = '```sh ask="why not"\necho wrote\n```\n'


def supervise(tmp_path: Path, program: str, *, code: int = 0, **scenario: Any) -> list[dict[str, Any]]:
    """Let the plain supervisor play a scenario and return what it heard."""
    template = tmp_path / "program.md"
    template.write_text(program)
    payload = {
        "name": "bob",
        "run_id": "17",
        "template": str(template),
        "args": "one text",
        "config": {},
        "interval": 600 if scenario.get("stop_after") else 0,
        "log_dir": str(tmp_path / "run"),
    }
    payload |= scenario.pop("payload", {})
    done = subprocess.run(
        [sys.executable, str(PEERS / "plain_supervisor.py"), json.dumps({"payload": payload, **scenario})],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ | {"PYTHONPATH": str(PACKAGES)},
    )
    assert done.returncode == code, done.stderr + done.stdout
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_plain_supervisor_hears_nothing_that_it_does_not_know(tmp_path: Path) -> None:
    program = (
        '```sh\necho \'{"type":"usage","tokens_in":3,"cost_usd":0.5}\' >&$AGENTD_FD\n'
        'echo \'{"type":"notify","text":"look"}\' >&$AGENTD_FD\n'
        'echo \'{"type":"no_change"}\' >&$AGENTD_FD\n```\n'
    )
    heard = supervise(tmp_path, program, payload={"max_iterations": 2})
    assert [frame["op"] for frame in heard] == [
        "ready",
        *["iteration_start", "notify", "iteration_done"] * 2,
        "exit",
    ]
    assert heard[0] == {"op": "ready"}
    assert heard[3]["status"] == "ok"
    assert heard[3]["tokens_in"] == 3
    assert heard[3]["cost_usd"] == 0.5
    assert heard[-1] == {"op": "exit", "reason": "completed", "iterations": 2}
    assert not (tmp_path / "run" / "frames.jsonl").exists()


def test_silence_about_approval_is_consent_in_the_plain_dialect(tmp_path: Path) -> None:
    heard = supervise(tmp_path, ASK, stop_after=1)
    assert [frame["op"] for frame in heard] == ["ready", "iteration_start", "log", "iteration_done", "exit"]


@pytest.mark.parametrize(
    ("granted", "status", "reason"), [(True, "ok", "completed"), (False, "permission", "exception")]
)
def test_a_plain_answer_needs_no_digest(tmp_path: Path, granted: bool, status: str, reason: str) -> None:
    heard = supervise(tmp_path, ASK, payload={"auto_approve": False}, answers=[granted], stop_after=1)
    assert [frame["op"] for frame in heard][:4] == [
        "ready",
        "iteration_start",
        "permission_request",
        "iteration_done",
    ]
    assert heard[3]["status"] == status
    assert heard[-1]["reason"] == reason


def test_a_plain_pause_is_left_by_resume(tmp_path: Path) -> None:
    cap = {"scope": "run", "what": "iterations", "cap": 1, "base": 0}
    heard = supervise(tmp_path, "```sh\ntrue\n```\n", payload={"budgets": [cap]}, resumes=2)
    assert [frame["op"] for frame in heard if "pause" in frame["op"] or frame["op"] == "resumed"] == [
        "paused_budget",
        "resumed",
        "paused_budget",
        "resumed",
        "paused_budget",
    ]


def test_a_slow_plain_supervisor_is_waited_for(tmp_path: Path) -> None:
    text = "&0123456789012345678901234567890"
    program = f'```sh\nseq 3000 | sed \'s/.*/{{"type":"notify","text":"{text}"}}/\' >&$AGENTD_FD\n```\n'
    heard = supervise(tmp_path, program, slow=1, stop_after=1)
    assert sum(frame["op"] == "notify" for frame in heard) == 3000


def test_a_plain_supervisors_template_fault_ends_with_code_1(tmp_path: Path) -> None:
    heard = supervise(tmp_path, "no steps", code=1)
    assert heard[-1]["reason"] == "exception"


def run_plain(words: list[str], *traits: str, answers: list[Any]) -> tuple[list[str], int]:
    """Talk to the plain runner as our supervisor would: through a session."""
    session = Session(Side.SUPERVISOR)
    process = subprocess.Popen(
        [sys.executable, str(PEERS / "plain_runner.py"), *traits],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process, process.stdin, process.stdout:
        payload = InitPayload(name="bob", run_id="1", template="x", args=words, protocol=1)
        process.stdin.write(session.send(Init(payload=payload)))
        process.stdin.flush()
        heard: list[str] = []
        waiting = iter(answers)
        while data := os.read(process.stdout.fileno(), 65536):
            for frame in session.receive(data):
                heard.append(getattr(frame, "op", type(frame).__name__))
                if heard[-1] in ("permission_request", "paused_budget"):
                    process.stdin.write(session.send(next(waiting)))
                    process.stdin.flush()
        return heard, process.wait(20)


def test_our_session_understands_a_plain_runner() -> None:
    answers = [PermissionResponse(request_id="q1", granted=True), Resume()]
    heard, code = run_plain(["ok", "ask", "pause", "notify"], answers=answers)
    assert code == 0
    middle = [
        "iteration_start",
        "permission_request",
        "iteration_done",
        "iteration_start",
        "paused_budget",
        "resumed",
    ]
    assert heard == [
        *["ready", "iteration_start", "iteration_done"],
        *middle,
        *["iteration_done", "iteration_start", "notify", "iteration_done", "exit"],
    ]


def test_our_session_takes_a_plain_runners_garbage_for_what_it_is() -> None:
    heard, _ = run_plain(["garbage", "unknown"], "silent", answers=[])
    assert heard == [
        "ready",
        "StrayLine",
        "StrayLine",
        "iteration_done",
        "telepathy",
        "log",
        "iteration_done",
        "exit",
    ]


def test_our_session_finds_a_plain_runners_fault() -> None:
    heard, _ = run_plain(["wrong"], answers=[])
    assert heard == ["ready", "iteration_start", "Fault"]


def test_a_plain_runner_may_die_within_a_line() -> None:
    heard, code = run_plain(["half"], answers=[])
    assert heard == ["ready", "iteration_start"]
    assert code == -9
