"""Ending what a process left below itself, each scenario in a process of its own that can inherit orphans."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from runner import descendants
from tests.runner.keeping import PACKAGES, PATIENCE

PREAMBLE = """
import os, signal, subprocess, sys, time
from runner.descendants import *
become_subreaper()

def shell(text):
    return subprocess.Popen(["sh", "-c", text], stdout=subprocess.PIPE, start_new_session=True)

def up(process):
    assert process.stdout.readline() == b"up\\n"
    return process.pid
"""


def run(scenario: str) -> str:
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(PACKAGES),
        "PYTHONWARNINGS": "ignore::ResourceWarning",
    }
    return subprocess.run(
        [sys.executable, "-P", "-c", PREAMBLE + scenario],
        env=env, timeout=PATIENCE, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip


def test_children_are_listed_dead_or_alive_and_a_stranger_has_none() -> None:
    with subprocess.Popen(["sleep", "60"]) as alive, subprocess.Popen(["true"]) as dead:
        os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
        assert {alive.pid, dead.pid} <= set(descendants.children())
        assert alive.pid in descendants.children(os.getpid())
        alive.kill()
    assert descendants.children(alive.pid) == []


def test_children_are_found_without_the_kernels_list_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descendants, "LISTS_CHILDREN", False)
    with subprocess.Popen(["sleep", "60"]) as alive:
        assert alive.pid in descendants.children()
        alive.kill()
    assert descendants.children(alive.pid) == []


def test_children_of_every_thread_are_listed() -> None:
    assert (
        run("""
import threading
started, over = threading.Event(), threading.Event()
def work():
    process.append(subprocess.Popen(["sleep", "60"]))
    started.set()
    over.wait()
process = []
thread = threading.Thread(target=work)
thread.start()
started.wait()
print(children() == [process[0].pid], end="")
process[0].kill()
over.set()
""")
        == "True"
    )


def test_only_adopted_children_that_have_ended_are_reaped() -> None:
    assert (
        run("""
mine = subprocess.Popen(["true"])
held = shell("(exec >/dev/null; exit 0) & echo up; wait; exit")  # else Popen itself would reap it
orphaned = up(held)
os.waitid(os.P_PID, mine.pid, os.WEXITED | os.WNOWAIT)
os.waitid(os.P_PID, orphaned, os.WEXITED | os.WNOWAIT)
print(reap_adopted({mine.pid}) == [orphaned], mine.wait() == 0, reap_adopted(()) == [], end="")
""")
        == "True True True"
    )


def test_a_double_forked_daemon_in_its_own_session_is_ended() -> None:
    assert (
        run("""
leader = shell("setsid sh -c 'trap \\"\\" TERM HUP; echo up; while :; do sleep 1; done' & exit")
up(leader)
leader.wait()
assert len(children()) == 1
print(end_descendants((), 0), children(), end="")
""")
        == "True []"
    )


def test_a_polite_child_has_its_grace_and_a_stopped_one_hears_term() -> None:
    assert (
        run("""
polite = shell("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done")
stopped = shell("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done")
up(polite), os.kill(up(stopped), signal.SIGSTOP)
began = time.monotonic()
print(end_descendants((), 15), polite.stdout.read(), stopped.stdout.read(), time.monotonic() - began < 10, end="")
""")
        == "True b'bye\\n' b'bye\\n' True"
    )


def test_a_deep_tree_is_ended_generation_by_generation() -> None:
    assert (
        run("""
tree = "sleep 60"
for _ in range(6):
    tree = f"setsid python -S -c \\"{''}import subprocess,sys; subprocess.run(sys.argv[1:])\\" {tree}"
root = shell("echo up; " + tree)
up(root)
while True:
    last, depth = root.pid, 0
    while below := children(last):
        last, depth = below[0], depth + 1
    if depth >= 6: break
print(end_descendants((), 0), children(), end="")
""")
        == "True []"
    )


def test_a_small_fork_bomb_is_ended() -> None:
    assert (
        run("""
bomb = '''
import os
os.write(1, b"up\\\\n")
for _ in range(5):
    os.fork()
    os.setsid() if os.getpid() != os.getsid(0) and os.getpid() != os.getpgid(0) else None
import time
until = time.monotonic() + 5  # should the test fail, its bomb goes out by itself
while time.monotonic() < until:
    try:
        if os.fork(): os._exit(0)
    except OSError: pass
    time.sleep(0.002)
'''
up(subprocess.Popen([sys.executable, "-c", bomb], stdout=subprocess.PIPE))
print(end_descendants((), 0), children(), end="")
""")
        == "True []"
    )


def test_known_children_are_left_to_their_owner() -> None:
    assert (
        run("""
mine, other = shell("echo up; exec sleep 60"), shell("echo up; exec sleep 60")
up(mine), up(other)
print(end_descendants({mine.pid}, 0), children() == [mine.pid], mine.poll(), end="")
mine.kill()
""")
        == "True True None"
    )


def test_with_nothing_below_it_returns_at_once() -> None:
    began = time.monotonic()
    assert run("print(end_descendants((), 10), end='')") == "True"
    assert time.monotonic() - began < 5
