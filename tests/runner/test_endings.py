"""Every way to end a run, at every place where it can wait; and that nothing of it is left."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ASK = '```sh ask="why not"\necho wrote\n```\n'
NAP = "```sh\necho $$ >pid.pid; echo begun >&2; exec sleep 600\n```\n"
DEAF = "```sh\ntrap '' TERM\necho $$ >pid.pid\nwhile :; do sleep 600; done\n```\n"
FLOOD = "```sh\necho $$ >pid.pid\nexec yes\n```\n"
ASKING_PROGRAM = """
import os, time
os.write(int(os.environ["AGENTD_FD"]), b'{"type":"permission","tool":"t"}\\n')
time.sleep(600)
"""


def in_the_interval(peer: Any) -> None:
    peer.init(interval=600)
    peer.until("iteration_done")


def in_a_step(peer: Any) -> None:
    peer.init(NAP)
    pid_of(peer)


def in_a_step_deaf_to_term(peer: Any) -> None:
    peer.init(DEAF, grace_s=2)
    pid_of(peer)


def in_a_stopped_step(peer: Any) -> None:
    peer.init(NAP)
    os.kill(pid_of(peer), signal.SIGSTOP)


def in_a_flood(peer: Any) -> None:
    peer.init(FLOOD)
    pid_of(peer)


def in_a_program_of_the_process_adapter(peer: Any) -> None:
    peer.process_init("import os, time; open('pid.pid', 'w').write(str(os.getpid())); time.sleep(600)")
    pid_of(peer)


def while_asking(peer: Any) -> None:
    peer.init(ASK)
    peer.until("permission_request")


def while_a_program_asks(peer: Any) -> None:
    peer.process_init(ASKING_PROGRAM)
    peer.until("permission_request")


def while_a_wrong_answer_was_refused(peer: Any) -> None:
    peer.init(ASK)
    peer.allow(peer.until("permission_request"), digest="0" * 64)
    peer.until("log")


def in_an_operators_pause(peer: Any) -> None:
    peer.init(interval=600)
    peer.until("iteration_done")
    peer.command("pause", reason="lunch")
    peer.until("paused_budget")


def in_a_pause_for_budget(peer: Any) -> None:
    peer.init(budgets=[{"scope": "run", "what": "iterations", "cap": 0}])
    peer.until("paused_budget")


def while_reserving(peer: Any) -> None:
    peer.init(config={"reserve": True})
    peer.until("reserve")


def while_nobody_reads_a_full_pipe(peer: Any) -> None:
    text = "x" * 1000
    peer.init(
        f'```sh\nseq 1000 | sed \'s/.*/{{"type":"notify","text":"{text}"}}/\' >&$AGENTD_FD\nexec sleep 600\n```\n'
    )
    peer.until("notify")
    until(lambda: (peer.run_dir / "frames.jsonl").stat().st_size > 1_000_000)


SITUATIONS = [
    in_the_interval,
    in_a_step,
    in_a_step_deaf_to_term,
    in_a_stopped_step,
    in_a_flood,
    in_a_program_of_the_process_adapter,
    while_asking,
    while_a_program_asks,
    while_a_wrong_answer_was_refused,
    in_an_operators_pause,
    in_a_pause_for_budget,
    while_reserving,
    while_nobody_reads_a_full_pipe,
]


def by_stop(peer: Any) -> None:
    peer.say("stop", reason="enough")


def by_stop_twice(peer: Any) -> None:
    peer.say("stop", reason="enough")
    peer.say("stop", reason="really")


def by_the_end_of_stdin(peer: Any) -> None:
    peer.stdin.close()


def by_term(peer: Any) -> None:
    peer.process.send_signal(signal.SIGTERM)


def by_int(peer: Any) -> None:
    peer.process.send_signal(signal.SIGINT)


def by_a_fault(peer: Any) -> None:
    peer.say("stop", reason=7)


WAYS = {
    by_stop: "stopped",
    by_stop_twice: "stopped",
    by_the_end_of_stdin: "supervisor_lost",
    by_term: "stopped",
    by_int: "stopped",
    by_a_fault: "failed",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_run_can_be_ended_at_every_await(
    runner: Any, lives: Callable[[int], bool], situation: Callable[[Any], None], way: Callable[[Any], None]
) -> None:
    situation(runner)
    began = time.monotonic()
    way(runner)
    assert runner.code(10) == 0
    assert time.monotonic() - began < 3 + 1, "longer than 60 % of the grace and the linger"
    frames = runner.journal()
    assert frames[-1]["op"] == "exit"
    assert frames[-1]["reason"] == WAYS[way]
    ops = [frame["op"] for frame in frames]
    # A turn that nobody decided to end has no end on record: it counts as interrupted.
    cut_off = ops.count("iteration_start") - ops.count("iteration_done")
    assert cut_off == 0 or (cut_off == 1 and way is by_the_end_of_stdin)
    assert ops.count("iteration_done") == frames[-1]["iterations"]
    assert ops.count("permission_request") == ops.count("permission_withdrawn") + ops.count(
        "permission_applied"
    )
    if (runner.cwd / "pid.pid").exists():
        assert not lives(pid_of(runner))


@pytest.mark.parametrize("situation", [in_a_step, while_asking, while_a_program_asks, in_a_step_deaf_to_term])
def test_cancel_wakes_whatever_a_turn_waits_for(runner: Any, situation: Callable[[Any], None]) -> None:
    situation(runner)
    runner.command("cancel", iteration=1, reason="no")
    assert runner.until("iteration_done")["status"] == "cancelled"
    ops = runner.ops()
    assert ops.count("permission_request") == ops.count("permission_withdrawn")
    runner.until("iteration_start", iteration=2)


def test_stop_before_init_ends_in_peace(runner: Any) -> None:
    runner.say("stop")
    assert runner.code() == 0


def test_a_signal_before_init_ends_in_peace(runner: Any) -> None:
    runner.write(b"nonsense\n")
    until(lambda: "stray" in runner.errors())
    runner.process.send_signal(signal.SIGTERM)
    assert runner.code() == 0


def test_a_stops_own_deadline_counts(runner: Any) -> None:
    in_a_step_deaf_to_term(runner)
    began = time.monotonic()
    runner.say("stop", deadline_s=0.5)
    assert runner.code() == 0
    assert time.monotonic() - began < 1.2


def test_a_programs_last_words_are_heard_when_it_is_told_to_end(runner: Any) -> None:
    runner.init(
        "```sh id=s\n"
        'end() { echo last words; echo \'{"type":"usage","tokens_in":9}\' >&$AGENTD_FD; exit 0; }; trap end TERM\n'
        "echo $$ >pid.pid\nwhile :; do sleep 0.05; done\n```\n"
    )
    pid_of(runner)
    runner.say("stop")
    assert runner.until("iteration_done")["tokens_in"] == 9
    runner.rest()
    assert "last words" in runner.log("step:s")


def test_a_grandchild_that_holds_stdout_does_not_keep_a_step_from_ending(
    runner: Any, lives: Callable[[int], bool]
) -> None:
    runner.init("```sh\nsleep 600 & echo $! >pid.pid\necho done\n```\n", max_iterations=1)
    assert runner.until("iteration_done")["summary"] == "done"
    assert not lives(pid_of(runner))


def test_a_grandchild_in_a_session_of_its_own_does_not_either_and_is_gone_at_the_end(
    runner: Any, lives: Callable[[int], bool]
) -> None:
    runner.init(
        "```sh\nsetsid sh -c 'echo $$ >pid.pid; exec sleep 600' &\n"
        "while ! test -s pid.pid; do sleep 0.01; done\necho done\n```\n",
        interval=600,
        config={"stagnation_limit": 0},
    )
    assert runner.until("iteration_done")["summary"] == "done"
    assert lives(pid_of(runner))
    runner.say("stop")
    assert runner.rest()[-1]["reason"] == "stopped"
    assert not lives(pid_of(runner))


DAEMON = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in range(3): os.close(fd)
        open("pid.pid.new", "w").write(str(os.getpid())); os.rename("pid.pid.new", "pid.pid")
        time.sleep(600)
    os._exit(0)
os.wait()
while not os.path.exists("pid.pid"): time.sleep(0.01)
print("daemonised")
"""


def test_a_double_forked_daemon_is_gone_after_a_normal_end(runner: Any, lives: Callable[[int], bool]) -> None:
    runner.init(f"```python\n{DAEMON}```\n", max_iterations=1)
    assert runner.rest()[-1]["reason"] == "completed"
    assert runner.code() == 0
    assert not lives(pid_of(runner))


def test_a_flood_of_output_is_logged_with_bounded_memory(runner: Any) -> None:
    runner.init("```sh id=big\nyes 0123456789abcdef | head -c 102000000\n```\n", max_iterations=1)
    runner.until("iteration_done", status="ok")
    status = Path(f"/proc/{runner.process.pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak < 60_000, f"{peak} kB"
    runner.rest()
    lines = runner.log("step:big").split("\n")
    assert sum(line == "0123456789abcdef" for line in lines) == 6_000_000


def test_two_megabytes_without_a_newline_are_logged_in_pieces(runner: Any) -> None:
    runner.init("```python id=long\nprint('é' * 1_000_000, end='')\n```\n", max_iterations=1)
    runner.rest()
    assert runner.log("step:long") == "é" * 1_000_000 + "\n"


def test_five_hundred_frames_and_then_the_end_are_all_there(runner: Any) -> None:
    runner.init(
        '```sh\nseq 500 | sed \'s/.*/{"type":"notify","text":"&"}/\' >&$AGENTD_FD\n```\n', max_iterations=1
    )
    texts = [frame["text"] for frame in runner.rest() if frame["op"] == "notify"]
    assert texts == [str(number) for number in range(1, 501)]


def test_no_zombie_of_an_agent_waits_for_the_end(runner: Any) -> None:
    runner.init("```sh\nsetsid sleep 0 &\nsetsid sleep 0 &\nwait\n```\n", max_iterations=3, interval=0.05)
    runner.until("iteration_done", iteration=3)
    runner.rest()
    assert runner.code() == 0


def pid_of(peer: Any) -> int:
    """Wait until the program has written its pid."""
    path = peer.cwd / "pid.pid"
    until(lambda: path.exists() and path.read_text().strip())
    return int(path.read_text())


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


def test_the_environment_is_exactly_what_init_said_and_ours(runner: Any) -> None:
    runner.process_init(
        "import json, os; print(json.dumps(sorted(os.environ)))",
        env={"PATH": os.environ["PATH"], "X": "1"},
        max_iterations=1,
    )
    summary = runner.until("iteration_done")["summary"]
    names = ["ANSWER_FD", "AGENT", "ATTEMPT", "FD", "ITERATION", "OUTPUT", "RUN", "STATE"]
    assert set(json.loads(summary)) - {"LC_CTYPE"} == {f"AGENTD_{name}" for name in names} | {"PATH", "X"}


def test_no_descriptor_of_the_wire_reaches_a_program(runner: Any) -> None:
    code = (
        "import os; fds = sorted(map(int, os.listdir('/proc/self/fd')))[:-1]\n"
        "print(fds, {os.readlink(f'/proc/self/fd/{n}').split(':')[0] for n in fds})"
    )
    runner.process_init(code, max_iterations=1, config={"prompt": "x"})
    done = runner.until("iteration_done")
    assert done["summary"] == "[0, 1, 2, 3, 4] {'pipe'}", done.get("error")
