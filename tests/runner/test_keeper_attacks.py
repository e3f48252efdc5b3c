"""The keeper under those who mean it ill, or know no better: peers that talk nonsense, runners that leave things."""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from ipc.keeper import MESSAGE_LIMIT, VERSION
from runner.peers import PEERS_LIMIT, UNREAD_LIMIT
from tests.runner.keeping import (
    CAT,
    EXIT_7,
    PATIENCE,
    SLEEP,
    Line,
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


DAEMON = """
import subprocess
code = 5
lines = "setsid sh -c 'trap \\"\\" TERM HUP; echo $$; exec sleep 600' & exit"
leader = subprocess.Popen(["sh", "-c", lines], stdout=subprocess.PIPE, stderr=1)
print(int(leader.stdout.readline()), flush=True)
leader.wait()
"""
"""Leaves a daemon that holds the runner's stdout as its stderr."""


def test_what_a_dead_runner_daemonised_is_gone_before_its_end_is_told(here: Stand) -> None:
    line = here.start()
    _, _, stdout = here.spawn(line, "1", DAEMON)
    daemon = int(read_line(stdout))
    here.track(daemon)
    assert line.event()["code"] == 5
    assert is_gone(daemon, within=0)
    assert os.read(stdout, 1) == b"", "nobody holds its stdout any more"


def test_a_grandchild_in_the_runners_group_dies_with_it(here: Stand) -> None:
    line = here.start()
    _, _, stdout = here.spawn(
        line,
        "1",
        "import subprocess, os\nprint(subprocess.Popen(['sleep', '600']).pid, flush=True)\nos._exit(0)",
    )
    grandchild = int(read_line(stdout))
    here.track(grandchild)
    assert line.event()["code"] == 0
    assert is_gone(grandchild, within=0)


TREE = '''
import subprocess, sys, time
inner = """
import os, subprocess, time
below = subprocess.Popen(["sleep", "600"], start_new_session=True)
print(os.getpid(), below.pid, flush=True)
time.sleep(600)
"""
subprocess.Popen([sys.executable, "-c", inner], start_new_session=True)
time.sleep(600)
'''


def test_a_killed_runner_takes_its_tree_along_and_no_other_run_is_touched(here: Stand) -> None:
    line = here.start()
    _, stdin, stdout = here.spawn(line, "other", CAT)
    pid, _, its_stdout = here.spawn(line, "1", TREE)
    below = [int(word) for word in read_line(its_stdout).split()]
    for one in below:
        here.track(one)
    os.kill(pid, signal.SIGKILL)
    assert line.event()["signal"] == signal.SIGKILL
    assert all(is_gone(one, within=0) for one in below)
    os.write(stdin, b"untouched\n")
    assert read_line(stdout) == b"untouched\n"


BOMB = """
import os, time
for _ in range(5):
    os.fork()
if os.getpid() != os.getsid(0):
    os.setsid()
os.write(1, b"up\\n")
until = time.monotonic() + 20
while time.monotonic() < until:
    if os.fork(): os._exit(0)
    time.sleep(0.002)
os._exit(0)
"""


def test_a_bounded_fork_bomb_is_ended_and_told(here: Stand) -> None:
    line = here.start()
    before = open_fds(here.pid)
    _, _, stdout = here.spawn(line, "1", BOMB)
    assert line.event()["run"] == "1"
    while os.read(stdout, 4096):
        pass
    line.ask("forget", run="1")
    assert open_fds(here.pid) == before


@pytest.mark.parametrize(
    "nonsense",
    [
        b"garbage\n",
        b"[1, 2]\n",
        b'{"verb": "list"}\n',
        b'{"id": "x", "verb": "list"}\n',
        b'{"id": 1, "verb": "hold", "fds": 2}\n',
        b'{"id": 1, "verb": "list", "fds": -1}\n',
        b'{"id": 1, "verb": "list", "fds": 1e99}\n',
        b"\xff\xfe\n",
        b"\n",
        b"x" * (MESSAGE_LIMIT + 1),
    ],
    ids=lambda nonsense: str(nonsense[:30]),
)
def test_a_connection_that_talks_nonsense_is_cut_and_nobody_else_notices(
    here: Stand, nonsense: bytes
) -> None:
    line = here.start()
    bad = here.connect()
    bad.sock.setblocking(True)
    try:
        bad.sock.sendall(nonsense)
    except ConnectionError:
        pass  # cut while it was still talking
    assert bad.is_cut()
    assert line.ask("list")["runs"] == []


def test_an_unknown_verb_and_a_wrong_field_are_answered(here: Stand) -> None:
    line = here.start()
    assert "'dance'" in line.refusal("dance")
    assert "None" in line.refusal(None)  # type: ignore[arg-type]
    assert "run" in line.refusal("forget")
    assert "runs" in line.refusal("fds", runs="1")
    here.spawn(line, "1", SLEEP)
    for number in (0, 999, 2**32 + signal.SIGKILL):
        assert f"{number} is no signal" in line.refusal("signal", run="1", signal=number)


def test_half_a_message_holds_up_nobody_and_is_done_when_the_rest_comes(here: Stand) -> None:
    line = here.start()
    half = here.connect()
    half.sock.sendall(b'{"id": 1, "verb": "hel')
    assert line.ask("list")["runs"] == []
    half.sock.sendall(b'lo", "version": %d}\n' % VERSION)
    assert half.answer(1).body["pid"] == here.pid
    half.sock.sendall(b'{"id": 2')
    half.close()
    assert line.ask("list")["runs"] == []


def send_fds(line: Line, data: bytes, count: int) -> None:
    reader, writer = os.pipe()
    socket.send_fds(line.sock, [data], [reader] * count)
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(
    ("data", "count"), [(b'{"id": 1, "verb": "list"}\n', 3), (b'{"id": 1, "ve', 251), (b"\n", 1)], ids=str
)
def test_descriptors_that_nobody_announced_are_closed_with_their_connection(
    here: Stand, data: bytes, count: int
) -> None:
    line = here.start()
    before = open_fds(here.pid)
    bad = here.connect()
    send_fds(bad, data, count)
    assert bad.is_cut()
    bad.close()
    line.ask("list")
    assert open_fds(here.pid) == before


def test_descriptors_for_a_verb_that_takes_none_are_closed(here: Stand) -> None:
    line = here.start()
    before = open_fds(here.pid)
    assert "2 descriptors" in line.refusal("list", (0, 1))
    assert "2 descriptors" in line.refusal("spawn", (0, 1), **here.plan("1", SLEEP))
    assert "absolute" in line.refusal("hold", (0, 1), run="1", folder="x", pid=1, start_time=0.0)
    assert open_fds(here.pid) == before


def test_descriptors_of_a_half_message_are_closed_when_its_sender_leaves(here: Stand) -> None:
    line = here.start()
    bad = here.connect()
    bad.ask("list")
    before = open_fds(here.pid)
    send_fds(bad, b'{"id": 1, "fds": 2, "verb": "ho', 2)
    bad.close()
    deadline = time.monotonic() + PATIENCE
    while open_fds(here.pid) != before - 1:
        assert time.monotonic() < deadline
        line.ask("list")


def test_a_supervisor_that_never_reads_stalls_neither_reaping_nor_the_others(here: Stand) -> None:
    line = here.start()
    deaf = here.connect()
    deaf.sock.setblocking(False)
    asked = 0
    while select.select([], [deaf.sock], [], 0.3)[1]:
        asked += deaf.sock.send(b'{"id": 1, "verb": "hello", "version": 1}\n' * 100)
    assert asked
    for number in range(20):
        pid, _, _ = here.spawn(line, str(number), EXIT_7)
        assert line.event()["pid"] == pid
    deaf.close()


def test_a_supervisor_that_misses_too_much_is_cut_off(here: Stand) -> None:
    line = here.start()
    deaf = here.connect()
    run = "x" * 400_000
    for number in range(2 + 2 * UNREAD_LIMIT // len(run)):
        line.answer(line.post("spawn", **{**here.plan("s", EXIT_7), "run": f"{number}{run}"}))
        assert line.event()["code"] == 7
    assert deaf.is_cut()
    assert line.ask("hello", version=VERSION)["pid"] == here.pid


def test_more_connections_than_allowed_are_turned_away(here: Stand) -> None:
    line = here.start()
    others = [here.connect() for _ in range(PEERS_LIMIT)]
    assert others[-1].is_cut()
    assert others[0].ask("list")["ok"]
    for other in others:
        other.close()
    line.ask("list")
    assert here.connect().ask("hello", version=VERSION)


def test_without_descriptors_left_a_spawn_is_refused_and_the_keeper_goes_on(here: Stand) -> None:
    line = here.start()
    here.spawn(line, "1", SLEEP)
    line.ask("list")
    _, hard = resource.prlimit(here.pid, resource.RLIMIT_NOFILE)
    before = open_fds(here.pid)
    for room in range(8):
        resource.prlimit(here.pid, resource.RLIMIT_NOFILE, (before + room, hard))
        if room < 7:
            assert "Too many open files" in line.refusal("spawn", **here.plan("2", SLEEP))
        assert open_fds(here.pid) == before
    resource.prlimit(here.pid, resource.RLIMIT_NOFILE, (before, hard))
    waiting = here.connect()
    waiting.post("hello", version=VERSION)
    line.ask("list")
    resource.prlimit(here.pid, resource.RLIMIT_NOFILE, (before + 64, hard))
    assert waiting.take().body["pid"] == here.pid


def test_without_descriptors_left_an_end_is_still_told(here: Stand) -> None:
    line = here.start()
    pid, _, _ = here.spawn(line, "1", SLEEP)
    line.ask("list")
    _, hard = resource.prlimit(here.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(here.pid, resource.RLIMIT_NOFILE, (4, hard))
    assert line.ask("signal", run="1", signal=signal.SIGKILL)["sent"]
    deadline = time.monotonic() + PATIENCE
    while os.path.exists(f"/proc/{pid}"):  # until the keeper has reaped it
        assert time.monotonic() < deadline
    assert line.ask("list")["runs"][0]["state"] == "running", "nobody could look for what it left"
    resource.prlimit(here.pid, resource.RLIMIT_NOFILE, (64, hard))
    assert line.event()["signal"] == signal.SIGKILL


def test_a_stopped_keeper_answers_everything_once_it_goes_on(here: Stand) -> None:
    line = here.start()
    os.kill(here.pid, signal.SIGSTOP)
    asked = [line.post("spawn", **here.plan(str(number), EXIT_7)) for number in range(10)]
    assert not select.select([line.sock], [], [], 0.2)[0]
    os.kill(here.pid, signal.SIGCONT)
    for number in asked:
        here.track(line.answer(number).body["pid"])
    assert sorted(line.event()["run"] for _ in asked) == [str(number) for number in range(10)]


def test_signals_meant_for_a_terminal_do_not_end_it(here: Stand) -> None:
    line = here.start()
    here.spawn(line, "1", SLEEP)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
        os.kill(here.pid, number)
        assert line.ask("list")["runs"]
