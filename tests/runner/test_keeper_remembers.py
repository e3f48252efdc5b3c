"""What the keeper is trusted with: pipes that outlive a supervisor, and ends that nobody was there to hear."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipc.identity import start_time
from ipc.keeper import EXIT_RECORD, Ending
from runner.descendants import children
from tests.runner.keeping import (
    CAT,
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


def test_an_end_is_told_with_its_code_and_stands_on_disk_until_it_is_forgotten(here: Stand) -> None:
    line = here.start()
    pid, _, _ = here.spawn(line, "1", EXIT_7)
    event = line.event()
    assert event == {"event": "exit"} | event | {"run": "1", "pid": pid, "code": 7, "signal": None}
    record = here.run_folder("1") / EXIT_RECORD
    assert Ending.read(record.read_bytes()).event() == event
    (row,) = line.ask("list")["runs"]
    assert (row["state"], row["code"], row["held"]) == ("exited", 7, False)
    line.ask("forget", run="1")
    assert not record.exists()
    assert line.ask("list")["runs"] == []


SUPERVISOR = """
import os, sys
from pathlib import Path
from tests.runner.keeping import CAT, Line, Stand
here = Stand(Path(sys.argv[1]))
pid, stdin, stdout = here.spawn(here.connect(), "1", CAT)
print(pid, flush=True)
sys.stdin.read()
"""


def test_a_supervisor_killed_with_9_leaves_its_runner_working_for_the_next(here: Stand) -> None:
    here.start().close()
    line = here.start()
    env = dict(os.environ, PYTHONPATH=os.pathsep.join((str(Path(__file__).parents[2]), str(PACKAGES))))
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(here.folder)],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as supervisor:
        assert supervisor.stdout is not None
        pid = int(read_line(supervisor.stdout.fileno()))
        here.track(pid)
        line.close()
        supervisor.kill()
        supervisor.wait(PATIENCE)
    line = here.connect()
    (row,) = line.ask("list")["runs"]
    assert (row["pid"], row["state"], row["start_time"]) == (pid, "running", start_time(pid))
    adopted = line.answer(line.post("fds", runs=["1"]))
    os.write(adopted.fds[0], b"still there\n")
    assert read_line(adopted.fds[1]) == b"still there\n"
    adopted.close()


def test_an_end_that_nobody_heard_is_in_the_list_of_the_next_supervisor(here: Stand) -> None:
    line = here.start()
    pid, stdin, _ = here.spawn(line, "1", CAT)
    line.ask("hangup", run="1")
    line.close()
    os.close(stdin)
    assert is_gone(pid)
    line = here.connect()
    (row,) = line.ask("list")["runs"]
    assert row["state"] == "exited" or line.event()["run"] == "1"


def test_a_held_runner_keeps_its_pipes_and_its_end_is_told_without_a_code(here: Stand) -> None:
    line = here.start()
    pid, stdin, stdout = here.spawn(line, "1", CAT)
    started = start_time(pid)
    os.kill(here.pid, signal.SIGKILL)
    assert is_gone(here.pid)
    line = here.start()
    where = {"run": "1", "folder": str(here.run_folder("1")), "pid": pid}
    assert "0 descriptors" in line.refusal("hold", **where, start_time=started)
    line.ask("hold", (stdin, stdout), **where, start_time=started)
    os.close(stdin)
    (row,) = line.ask("list")["runs"]
    assert (row["held"], row["state"], row["pid"]) == (True, "running", pid)
    again = line.answer(line.post("fds", runs=["1"]))
    os.write(again.fds[0], b"held\n")
    assert read_line(stdout) == b"held\n"
    again.close()
    assert line.ask("signal", run="1", signal=signal.SIGTERM, group=True)["sent"]
    event = line.event()
    assert (event["pid"], event["code"], event["signal"]) == (pid, None, None)
    assert (here.run_folder("1") / EXIT_RECORD).exists()
    before = open_fds(here.pid)
    line.ask("forget", run="1")
    assert open_fds(here.pid) == before - 3


BYSTANDER = """
import signal, subprocess
subprocess.Popen(["cat"])
print("up", flush=True)
signal.pause()
"""


def test_when_a_held_runner_ends_its_group_is_left_alone(here: Stand) -> None:
    line = here.start()
    pid, stdin, stdout = here.spawn(line, "1", BYSTANDER)
    assert read_line(stdout) == b"up\n"
    (bystander,) = children(pid)
    here.track(bystander)
    started = start_time(pid)
    os.kill(here.pid, signal.SIGKILL)
    assert is_gone(here.pid)
    line = here.start()
    folder = str(here.run_folder("1"))
    line.ask("hold", (stdin, stdout), run="1", folder=folder, pid=pid, start_time=started)
    assert line.ask("signal", run="1", signal=signal.SIGKILL, group=False)["sent"]
    assert line.event()["pid"] == pid
    os.write(stdin, b"unhurt\n")
    assert read_line(stdout) == b"unhurt\n"
    line.ask("forget", run="1")


def test_a_runner_that_died_before_it_could_be_held_is_told_as_ended_and_nobody_else_is_hurt(
    here: Stand,
) -> None:
    line = here.start()
    pid, stdin, stdout = here.spawn(line, "1", CAT)
    started = start_time(pid)
    where = {"folder": str(here.run_folder("2")), "pid": pid, "start_time": started + 1}
    line.ask("hold", (stdin, stdout), run="2", **where)
    assert line.event()["run"] == "2"
    where |= {"pid": 2**22 + 1}
    line.ask("hold", (stdin, stdout), run="3", **where)
    assert (line.event() | {"at": 0, "start_time": 0}) == {
        "event": "exit", "run": "3", "pid": 2**22 + 1, "start_time": 0, "code": None, "signal": None, "at": 0
    }  # fmt: skip
    before = open_fds(here.pid)
    line.ask("forget", run="2")
    line.ask("forget", run="3")
    assert open_fds(here.pid) == before - 4
    os.write(stdin, b"unhurt\n")
    assert read_line(stdout) == b"unhurt\n"


def test_an_exit_record_waits_in_memory_for_a_disk_that_takes_it(here: Stand) -> None:
    line = here.start()
    folder = here.run_folder("1")
    (folder / "exit.new").mkdir()
    here.spawn(line, "1", EXIT_7)
    assert line.event()["code"] == 7
    assert not (folder / EXIT_RECORD).exists()
    (folder / "exit.new").rmdir()
    deadline = time.monotonic() + PATIENCE
    while not (folder / EXIT_RECORD).exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert Ending.read((folder / EXIT_RECORD).read_bytes()).code == 7


def test_a_run_whose_folder_was_removed_is_forgotten_all_the_same(here: Stand) -> None:
    line = here.start()
    _, _, stdout = here.spawn(line, "1", SLEEP)
    read_line(stdout)
    (here.run_folder("1") / "stderr").unlink()
    here.run_folder("1").rmdir()
    line.ask("signal", run="1", signal=signal.SIGKILL)
    line.event()
    line.ask("forget", run="1")
