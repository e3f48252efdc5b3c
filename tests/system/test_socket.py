"""What a client may do to the socket: it gets an answer or is cut off, and nobody else notices."""

from __future__ import annotations

import json
import select
import socket
import time

import pytest

from tests.system.home import IDLE, Home
from tests.system.rpc import PATIENCE, Rpc


def raw(home: Home) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(PATIENCE)
    sock.connect(str(home.folder / "agentd.sock"))
    return sock


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"garbage", -32700),
        (b"\xff\xfe\x00", -32700),
        (b"{", -32700),
        (b"[]", -32600),
        (b'[{"jsonrpc": "2.0", "id": 1, "method": "agent.list"}]', -32600),
        (b'"text"', -32600),
        (b"{}", -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 5}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "agent.fly"}', -32601),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "agent.stop"}', -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "agent.stop", "params": {"name": 5}}', -32602),
        (
            b'{"jsonrpc": "2.0", "id": 1, "method": "agent.stop", "params": {"name": "a", "colour": 1}}',
            -32602,
        ),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "agent.stop", "params": ["a"]}', -32602),
    ],
)
def test_garbage_gets_the_error_of_the_standard_and_the_connection_goes_on(
    standing: Home, line: bytes, code: int
) -> None:
    with raw(standing) as sock, sock.makefile("rb") as answers:
        sock.sendall(line + b"\n")
        assert json.loads(answers.readline())["error"]["code"] == code
        sock.sendall(b'{"jsonrpc": "2.0", "id": "x", "method": "agent.list"}\n')
        assert json.loads(answers.readline())["id"] == "x"


def test_a_request_of_10_mb_is_refused_without_being_kept(standing: Home) -> None:
    before = memory(standing.pid)
    with raw(standing) as sock, sock.makefile("rb") as answers:
        try:
            sock.sendall(b'{"jsonrpc": "2.0", "method": "' + b"x" * 10_000_000 + b'"}\n')
        except (BrokenPipeError, ConnectionResetError):
            pass  # cut off in the middle is as good
        assert "1048576" in answers.readline().decode().replace(",", "")
    assert standing.call("agent.list") == {"agents": []}
    assert memory(standing.pid) - before < 8_000_000


def test_half_a_request_and_a_hang_up_harm_nobody(standing: Home) -> None:
    with raw(standing) as sock:
        sock.sendall(b'{"jsonrpc": "2.0", "id": 1, "meth')
    assert standing.call("agent.list") == {"agents": []}


@pytest.mark.slow
def test_a_client_that_never_reads_is_cut_off_and_holds_up_nobody(home: Home) -> None:
    deaf = raw(home)
    with deaf:
        deaf.sendall(b'{"jsonrpc": "2.0", "id": 1, "method": "events.follow", "params": {"after": 0}}\n')
        request = b'{"jsonrpc": "2.0", "id": 2, "method": "system.status"}\n'
        deaf.setblocking(False)
        try:
            for _ in range(20_000):
                deaf.send(request)
        except (BlockingIOError, BrokenPipeError):
            pass  # it does not read on either
        began = time.monotonic()
        home.begin_agent("one", **IDLE)
        home.stop("one")
        assert time.monotonic() - began < 3
        cut = select.poll()
        cut.register(deaf, 0)
        assert cut.poll(20_000), "it still may fill the supervisor's memory"


def test_the_socket_and_the_folder_are_its_user_s_alone(standing: Home) -> None:
    assert (standing.folder / "agentd.sock").stat().st_mode & 0o777 == 0o600
    assert standing.folder.stat().st_mode & 0o077 == 0
    assert standing.db.stat().st_mode & 0o077 == 0


def test_a_wait_holds_up_nothing_on_its_own_connection(home: Home) -> None:
    home.begin_agent("one", **IDLE)
    (caller,) = home.connect(1)
    waiting = caller.post("agent.wait", name="one", timeout_s=20)
    assert caller.call("agent.list")["agents"][0]["name"] == "one"
    (again,) = home.connect(1)
    home.stop("one")
    assert again.call("agent.wait", name="one")["status"] == "error"
    del waiting


def test_a_caller_that_goes_away_while_it_waits_is_forgotten(home: Home) -> None:
    home.begin_agent("one", **IDLE)
    caller = Rpc(home.folder / "agentd.sock")
    caller.post("agent.wait", name="one", timeout_s=600)
    caller.close()
    assert home.agent("one")["state"] == "running"


def memory(pid: int) -> int:
    """Bytes that a process holds resident."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4096
