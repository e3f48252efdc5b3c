"""What the keeper is for: runners out of a warm fork, pipes that outlive a supervisor, ends that are not lost."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipc.identity import boot_id, start_time
from ipc.keeper import RUNS_LIMIT, VERSION
from tests.runner.keeping import (
    CAT,
    COMMAND,
    EXIT_7,
    PACKAGES,
    PATIENCE,
    SLEEP,
    Stand,
    is_gone,
    open_fds,
    read_line,
    stand,
)


@pytest.fixture
def here() -> Iterator[Stand]:
    with stand() as made:
        yield made


def test_a_runner_answers_through_the_descriptors_that_come_with_its_spawn(here: Stand) -> None:
    pid, stdin, stdout = here.spawn(here.start(), "1", CAT)
    os.write(stdin, b"hello\n")
    assert read_line(stdout) == b"hello\n"
    assert os.getsid(pid) == pid


def test_hello_tells_who_the_keeper_is_and_refuses_another_version(here: Stand) -> None:
    line = here.start()
    hello = line.ask("hello", version=VERSION)
    assert (hello["pid"], hello["boot_id"], hello["version"]) == (here.pid, boot_id(), VERSION)
    assert hello["start_time"] == start_time(here.pid)
    assert "version 99" in line.refusal("hello", version=99)


def test_a_signal_is_told_as_a_signal(here: Stand) -> None:
    line = here.start()
    here.spawn(line, "1", SLEEP)
    assert line.ask("signal", run="1", signal=signal.SIGTERM, group=True)["sent"]
    event = line.event()
    assert (event["code"], event["signal"]) == (None, signal.SIGTERM)
    assert not line.ask("signal", run="1", signal=signal.SIGTERM)["sent"]


def test_a_signal_right_after_the_spawn_meets_the_runner_and_not_the_keepers_handlers(here: Stand) -> None:
    line = here.start()
    for number in range(30):
        asked = line.post("spawn", **here.plan(str(number), SLEEP))
        sent = line.post("signal", run=str(number), signal=signal.SIGTERM, group=True)
        here.track(line.answer(asked).body["pid"])
        assert line.answer(sent).body["sent"]
        assert line.event()["signal"] == signal.SIGTERM


def test_a_stopped_runner_dies_of_kill(here: Stand) -> None:
    line = here.start()
    pid, _, stdout = here.spawn(line, "1", SLEEP)
    read_line(stdout)
    line.ask("signal", run="1", signal=signal.SIGSTOP)
    line.ask("signal", run="1", signal=signal.SIGKILL, group=True)
    assert line.event()["signal"] == signal.SIGKILL
    assert is_gone(pid)


def test_an_exception_and_an_exit_of_any_kind_become_codes_and_stand_in_stderr(here: Stand) -> None:
    line = here.start()
    wanted = {
        "raise ValueError('oh')": 1,
        "raise SystemExit(3)": 3,
        "raise SystemExit('no')": 1,
        "import os; os._exit(9)": 9,
    }
    for number, (program, code) in enumerate(wanted.items()):
        here.spawn(line, str(number), program)
        assert line.event()["code"] == code
    assert "ValueError: oh" in (here.run_folder("0") / "stderr").read_text()


def test_what_a_runner_printed_last_is_flushed(here: Stand) -> None:
    line = here.start()
    _, _, stdout = here.spawn(line, "1", "import sys; print('out'); sys.stderr.write('err')")
    line.event()
    assert read_line(stdout) == b"out\n"
    assert (here.run_folder("1") / "stderr").read_text() == "err"


LOOK = """
import json, os, random, resource, signal
print(json.dumps({
    "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")),
    "env": dict(os.environ), "cwd": os.getcwd(), "random": random.random(),
    "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "handlers": [signal.getsignal(n) in (signal.SIG_DFL, signal.default_int_handler)
                 for n in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP)],
    "mask": list(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "wakeup": signal.set_wakeup_fd(-1),
    "title": open("/proc/self/cmdline").read().rstrip("\\0"),
    "subreaper": __import__("runner.descendants").descendants.LIBC.prctl(37, (ctypes := __import__("ctypes")).byref(
        got := ctypes.c_int()), 0, 0, 0) or got.value,
}))
"""


def test_a_child_has_nothing_of_the_keeper_or_of_another_runner(here: Stand) -> None:
    line = here.start()
    here.connect().ask("hello", version=VERSION)
    here.spawn(line, "before", SLEEP)
    found = []
    for run in ("1", "2"):
        plan = here.plan(run, LOOK, env={"ONLY": "this"}, cwd=str(here.folder))
        _, _, stdout = here.spawn(line, run, LOOK, env={"ONLY": "this"}, cwd=str(here.folder))
        seen = json.loads(read_line(stdout))
        found.append(seen)
        assert seen["fds"] == [0, 1, 2]
        assert seen["env"] == plan["env"]
        assert seen["cwd"] == str(here.folder)
        assert tuple(seen["files"]) == resource.getrlimit(resource.RLIMIT_NOFILE)
        assert all(seen["handlers"])
        assert (seen["mask"], seen["wakeup"], seen["subreaper"]) == ([], -1, 1)
        assert seen["title"] == f"stand-in {run}"
    assert found[0]["random"] != found[1]["random"]


def test_the_keeper_itself_has_the_environment_it_was_given_and_a_raised_limit(here: Stand) -> None:
    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    line = here.start(preexec_fn=lower)
    soft, hard = resource.prlimit(here.pid, resource.RLIMIT_NOFILE)
    assert soft == min(hard, 65_536)
    _, _, stdout = here.spawn(line, "1", LOOK)
    assert json.loads(read_line(stdout))["files"] == [256, hard]


def test_a_launch_command_is_really_executed_and_then_the_runner(here: Stand) -> None:
    line = here.start()
    tool = here.folder / "tool"
    tool.write_text('#!/bin/sh\necho "$@"\ncommand -v python\necho $ONLY\necho $$\n')
    tool.chmod(0o755)
    pid, _, stdout = here.spawn(line, "1", "", launch=[str(tool), "host"], env={"ONLY": "this"})
    assert read_line(stdout) == b"host python -P -m runner --pipe\n"
    assert Path(os.fsdecode(read_line(stdout).strip())) == Path(sys.executable).parent / "python"
    assert read_line(stdout) == b"this\n"
    assert int(read_line(stdout)) == pid
    assert line.event()["code"] == 0


def test_a_launch_command_that_is_not_there_ends_with_127_and_a_reason(here: Stand) -> None:
    line = here.start()
    here.spawn(line, "1", "", launch=["no-such-command"])
    assert line.event()["code"] == 127
    assert "FileNotFoundError" in (here.run_folder("1") / "stderr").read_text()


def test_a_hangup_ends_a_runners_stdin_once_the_supervisor_has_closed_its_copy(here: Stand) -> None:
    line = here.start()
    _, stdin, stdout = here.spawn(line, "1", CAT)
    os.close(stdin)
    line.ask("hangup", run="1")
    assert line.event()["code"] == 0
    later = line.answer(line.post("fds", runs=["1"]))
    with pytest.raises(BrokenPipeError):
        os.write(later.fds[0], b"x")
    assert os.read(later.fds[1], 1) == b""
    os.close(stdout)


def test_descriptors_are_handed_out_again_in_the_order_asked(here: Stand) -> None:
    line = here.start()
    for run in ("a", "b", "c"):
        here.spawn(line, run, f"print('{run}', flush=True)\n{CAT}")
    again = line.answer(line.post("fds", runs=["c", "a"]))
    assert again.body["fds"] == 4
    assert [read_line(again.fds[1]), read_line(again.fds[3])] == [b"c\n", b"a\n"]
    assert "not held" in line.refusal("fds", runs=["a", "nobody"])
    assert str(RUNS_LIMIT) in line.refusal("fds", runs=["a"] * (RUNS_LIMIT + 1))
    largest = line.answer(line.post("fds", runs=["a"] * RUNS_LIMIT))
    assert len(largest.fds) == 2 * RUNS_LIMIT
    again.close()
    largest.close()


def test_two_supervisors_are_both_told(here: Stand) -> None:
    first, second = here.start(), here.connect()
    here.spawn(first, "1", EXIT_7)
    assert first.event() == second.event()


def test_a_keeper_with_nothing_connected_and_nothing_held_ends_and_removes_its_socket(here: Stand) -> None:
    line = here.start()
    other = here.connect()
    line.close()
    assert other.ask("list")["runs"] == []
    other.close()
    assert is_gone(here.pid)
    assert not here.socket.exists()


def test_a_shutdown_is_refused_while_a_run_is_held(here: Stand) -> None:
    line = here.start()
    here.spawn(line, "1", EXIT_7)
    line.event()
    assert "1 runs are held" in line.refusal("shutdown")
    os.kill(here.pid, signal.SIGTERM)
    line.ask("forget", run="1")
    assert line.ask("shutdown")["ok"]
    assert line.is_cut()
    assert is_gone(here.pid)


def test_a_second_keeper_leaves_the_field_to_the_first(here: Stand) -> None:
    here.start()
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PACKAGES)}
    rivals = [subprocess.Popen([*COMMAND, str(here.socket)], env=env, cwd="/") for _ in range(3)]
    assert [rival.wait(PATIENCE) for rival in rivals] == [0, 0, 0]
    assert here.connect().ask("hello", version=VERSION)["pid"] == here.pid


def test_the_socket_of_a_killed_keeper_is_taken_over(here: Stand) -> None:
    here.start()
    killed = here.pid
    os.kill(killed, signal.SIGKILL)
    assert is_gone(killed)
    assert here.socket.exists()
    here.start()
    assert here.pid != killed
    assert stat.S_IMODE(here.socket.stat().st_mode) == 0o600


def test_a_keeper_that_cannot_listen_says_why(here: Stand) -> None:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PACKAGES)}
    for path in (here.folder / "nowhere" / "keeper.sock", here.folder / ("x" * 120)):
        done = subprocess.run(
            [*COMMAND, str(path)], env=env, cwd="/", timeout=PATIENCE, capture_output=True, check=False
        )
        assert done.returncode == 1
        assert done.stderr.startswith(b"no keeper at ")


def test_a_run_is_not_spawned_twice_and_not_forgotten_while_it_runs(here: Stand) -> None:
    line = here.start()
    here.spawn(line, "1", SLEEP)
    assert "held already" in line.refusal("spawn", **here.plan("1", SLEEP))
    assert "has not ended" in line.refusal("forget", run="1")
    assert "not held" in line.refusal("forget", run="2")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"env": {"A=B": "x"}}, "'A=B'"),
        ({"env": {"A": "x\0y"}}, "NUL"),
        ({"env": {"A": 1}}, "env"),
        ({"launch": "ssh"}, "launch"),
        ({"folder": "relative"}, "absolute"),
        ({"folder": "/nowhere/at/all"}, "No such file"),
        ({"title": None}, "title"),
    ],
)
def test_a_spawn_that_makes_no_sense_is_refused_and_starts_nothing(
    here: Stand, change: dict[str, object], reason: str
) -> None:
    line = here.start()
    before = open_fds(here.pid)
    assert reason in line.refusal("spawn", **{**here.plan("1", SLEEP), **change})
    assert line.ask("list")["runs"] == []
    assert open_fds(here.pid) == before


def test_two_hundred_spawns_leave_no_descriptor_behind(here: Stand) -> None:
    line = here.start()
    before = open_fds(here.pid)
    for number in range(200):
        _, stdin, stdout = here.spawn(line, str(number), "")
        line.event()
        line.ask("forget", run=str(number))
        os.close(stdin)
        os.close(stdout)
    assert open_fds(here.pid) == before
