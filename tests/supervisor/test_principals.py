"""Who is calling, and whether an agent hides behind it; with real processes and sockets."""

import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor.errors import Conflict, Invalid, NotPermitted
from supervisor.paths import Home
from supervisor.peers import MARK, seen_inside
from supervisor.principals import (
    Principal,
    add_token,
    administrator,
    authenticate,
    list_tokens,
    principal_of,
    remove_token,
    user_name,
)
from supervisor.records.db import Tx, memory_tx

WAIT = "import sys; print('up', flush=True); sys.stdin.read()"
CONNECT = """
import socket, sys
peer = socket.socket(socket.AF_UNIX)
peer.connect(sys.argv[1])
print('up', flush=True)
sys.stdin.read()
"""
SPAWN = "import subprocess, sys; sys.exit(subprocess.run([sys.executable, *sys.argv[1:]]).returncode)"

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start Python programs that wait for the end of their stdin, and end them."""
    begun: list[subprocess.Popen[bytes]] = []

    def start(*args: str, **env: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if name != MARK} | env,
        )
        begun.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        return process

    yield start
    for process in begun:
        finish(process)


def finish(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        process.wait(10)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, tmp_path, tmp_path)


def test_a_process_of_nobody_is_outside(start: Start, home: Home) -> None:
    assert seen_inside(start(WAIT).pid, home.identity, ()) is None


def test_a_process_that_carries_the_mark_of_this_home_is_inside(start: Start, home: Home) -> None:
    process = start(WAIT, **{MARK: f"{home.identity}:17"})
    assert MARK in (seen_inside(process.pid, home.identity, ()) or "")


@pytest.mark.parametrize("mark", ["/elsewhere:17", "17", "", ":", "{}"])
def test_another_homes_mark_is_none_of_ours(start: Start, home: Home, mark: str) -> None:
    process = start(WAIT, **{MARK: mark.format(home.identity)})
    assert seen_inside(process.pid, home.identity, ()) is None


def test_a_descendant_is_inside_although_it_has_cleared_its_environment(start: Start, home: Home) -> None:
    clear = f"import os, sys; os.execve(sys.executable, [sys.executable, '-c', {WAIT!r}], {{}})"
    parent = start(SPAWN, "-c", SPAWN, "-c", clear)
    import psutil

    grandchild = psutil.Process(parent.pid).children(recursive=True)[-1]
    assert "of this home" in (seen_inside(grandchild.pid, home.identity, {parent.pid}) or "")
    assert seen_inside(grandchild.pid, home.identity, ()) is None
    marked = start(SPAWN, "-c", clear, **{MARK: f"{home.identity}:3"})
    child = psutil.Process(marked.pid).children()[0]
    assert "which is a run's" in (seen_inside(child.pid, home.identity, ()) or "")


def test_a_process_that_has_gone_can_no_longer_be_seen(start: Start, home: Home) -> None:
    process = start(WAIT)
    finish(process)
    for pid in (process.pid, 0, -1):
        assert "no longer" in (seen_inside(pid, home.identity, ()) or "")


def test_a_zombie_can_no_longer_be_seen(start: Start, home: Home) -> None:
    process = start(WAIT)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert "no longer" in (seen_inside(process.pid, home.identity, ()) or "")


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        listener.settimeout(10)
        yield listener


def test_a_caller_is_the_unix_user_behind_the_socket(
    start: Start, home: Home, listener: socket.socket
) -> None:
    start(CONNECT, listener.getsockname())
    connection, _ = listener.accept()
    with connection:
        found = principal_of(connection, home)
    assert found == Principal(pwd.getpwuid(os.geteuid()).pw_name, admin=True)
    assert found == administrator()


def test_an_agent_that_calls_is_inside_and_stays_so_with_any_token(
    start: Start, home: Home, listener: socket.socket, tx: Tx
) -> None:
    process = start(CONNECT, listener.getsockname())
    connection, _ = listener.accept()
    with connection:
        for found in (
            principal_of(connection, home, process.pid),
            principal_of(connection, home, None, [process.pid]),
        ):
            assert found.inside is not None
            with pytest.raises(NotPermitted, match="an agent may not allow") as caught:
                found.refuse_inside("allow anything")
            assert caught.value.exit_code == 4
            token = add_token(tx, f"t{len(list_tokens(tx.conn))}", "anna", scope="admin")
            assert authenticate(tx.conn, token, found, tx.now).inside == found.inside
            with pytest.raises(NotPermitted):
                authenticate(tx.conn, token, found, tx.now).require_admin("stop everything")


def test_a_caller_that_has_gone_may_not_decide(start: Start, home: Home, listener: socket.socket) -> None:
    process = start(CONNECT, listener.getsockname())
    connection, _ = listener.accept()
    finish(process)
    with connection:
        assert principal_of(connection, home).inside is not None


def test_a_user_without_a_name_is_its_number() -> None:
    assert user_name(0) == pwd.getpwuid(0).pw_name
    assert user_name(4_000_000_001) == "4000000001"


# Tokens


@pytest.fixture
def tx() -> Tx:
    return memory_tx(now=100.0)


PEER = Principal("unix", admin=True)


def test_a_token_makes_its_owner_of_whoever_has_it_and_no_administrator(tx: Tx) -> None:
    token = add_token(tx, "phone", "anna")
    assert authenticate(tx.conn, token, PEER, tx.now) == Principal("anna", admin=False)
    admin = add_token(tx, "root", "carl", scope="admin")
    assert authenticate(tx.conn, admin, PEER, tx.now) == Principal("carl", admin=True)


def test_a_token_is_nowhere_but_in_its_owners_hands(tx: Tx) -> None:
    token = add_token(tx, "phone", "anna")
    tx.number(0)
    for name in ("tokens", "events"):
        assert token not in str(tx.conn.execute(f"SELECT * FROM {name}").fetchall())
    assert list_tokens(tx.conn) == [
        {
            "name": "phone",
            "principal": "anna",
            "scope": "user",
            "created_at": 100.0,
            "expires_at": None,
            "revoked_at": None,
        }
    ]


def test_no_token_but_a_valid_one_is_taken(tx: Tx) -> None:
    expiring = add_token(tx, "short", "anna", expires_s=10)
    removed = add_token(tx, "gone", "anna")
    remove_token(tx, "gone")
    assert authenticate(tx.conn, expiring, PEER, 109.9).name == "anna"
    for token, now, why in [
        (expiring, 110.0, "has expired"),
        (removed, 100.0, "was revoked"),
        ("", 100.0, "is not known"),
        ("guess\ud800", 100.0, "is not known"),
    ]:
        with pytest.raises(NotPermitted, match=why) as caught:
            authenticate(tx.conn, token, PEER, now)
        assert caught.value.exit_code == 4


def test_a_name_is_free_again_once_its_token_is_no_longer_in_force(tx: Tx) -> None:
    first = add_token(tx, "phone", "anna")
    with pytest.raises(Conflict, match="phone"):
        add_token(tx, "phone", "carl")
    remove_token(tx, "phone")
    second = add_token(tx, "phone", "carl", expires_s=5)
    tx.now = 200.0
    third = add_token(tx, "phone", "dora")
    assert authenticate(tx.conn, third, PEER, tx.now).name == "dora"
    for token in (first, second):
        with pytest.raises(NotPermitted):
            authenticate(tx.conn, token, PEER, tx.now)


def test_bad_names_and_scopes_are_refused(tx: Tx) -> None:
    for name, scope in (("", "user"), ("phone", "king")):
        with pytest.raises(Invalid):
            add_token(tx, name, "anna", scope=scope)
    with pytest.raises(Invalid, match="phone"):
        remove_token(tx, "phone")
