"""The blocking client."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from supervisor.ctl import client as module
from supervisor.ctl.client import Client, connect
from supervisor.errors import Conflict, Degraded, Invalid, NoSupervisor, NotPermitted

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def path(home: Any) -> str:
    return os.fspath(home.socket)


@pytest.fixture
def peer(path: str) -> Iterator[socket.socket]:
    """A listening socket that answers nothing by itself."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(5)
        yield listener


def answer_with(listener: socket.socket, *pieces: bytes) -> threading.Thread:
    """Take one connection and one line, send ``pieces``, hang up."""

    def work() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            for piece in pieces:
                connection.sendall(piece)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_nobody_listening_is_no_supervisor(path: str) -> None:
    with pytest.raises(NoSupervisor):
        Client(path)
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stale.bind(path)
    stale.close()
    with pytest.raises(NoSupervisor):
        Client(path)


def test_an_answer_may_come_in_pieces_after_events_and_strangers_answers(
    peer: socket.socket, path: str
) -> None:
    event = orjson.dumps({"jsonrpc": "2.0", "method": "events.event", "params": {"id": 5}})
    stranger = orjson.dumps({"jsonrpc": "2.0", "id": 99, "result": {}})
    answer = orjson.dumps({"jsonrpc": "2.0", "id": 1, "result": {"pid": 7}})
    thread = answer_with(
        peer, event + b"\n" + stranger[:5], stranger[5:] + b"\n" + answer[:9], answer[9:] + b"\n"
    )
    with Client(path) as client:
        assert client.call("system.status") == {"pid": 7}
        assert client.event(1) == {"id": 5}
        assert client.event(1) is None
        assert client.ended
    thread.join(10)


def test_an_error_is_raised_again_as_what_it_was(peer: socket.socket, path: str) -> None:
    error = {"code": -32005, "message": "late", "data": Conflict("", remedy="ask").data()}
    thread = answer_with(peer, orjson.dumps({"jsonrpc": "2.0", "id": 1, "error": error}) + b"\n")
    with Client(path) as client, pytest.raises(Conflict, match="late") as raised:
        client.call("system.status")
    assert raised.value.remedy == "ask"
    thread.join(10)


def test_a_wrong_call_is_refused_before_it_is_sent(peer: socket.socket, path: str) -> None:
    with Client(path) as client:
        with pytest.raises(Invalid, match="name: wanted text"):
            client.call("agent.stop", name=7)
        with pytest.raises(Invalid, match="no such method"):
            client.call("agent.stopp")


@pytest.mark.parametrize("text", ["a\udcffb", "/tmp/\udcff"])
def test_text_that_is_no_utf8_is_refused_before_it_is_sent(peer: socket.socket, path: str, text: str) -> None:
    with Client(path) as client:
        with pytest.raises(Invalid, match=r"agent\.message: this cannot be sent: .*UTF-8"):
            client.call("agent.message", name="bob", text=text)
        with pytest.raises(Invalid, match=r"agent\.start: this cannot be sent: .*UTF-8"):
            client.call("agent.start", name="bob", cwd=text)


def test_a_number_that_is_too_wide_is_refused_before_it_is_sent(peer: socket.socket, path: str) -> None:
    with Client(path) as client, pytest.raises(Invalid, match=r"budget\.set: this cannot be sent: .*64-bit"):
        client.call("budget.set", agent="bob", budgets={"tokens": 10**20})


def test_a_supervisor_that_does_not_answer_is_said_to_be_so(
    peer: socket.socket, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_WITHIN", 0.1)
    with Client(path) as client, pytest.raises(Degraded, match="does not answer"):
        client.call("system.status")


def test_a_refusal_is_read_although_sending_failed(peer: socket.socket, path: str) -> None:
    refusal = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "too long", "data": {}}}

    def work() -> None:
        connection, _ = peer.accept()
        with connection:
            connection.sendall(orjson.dumps(refusal) + b"\n")

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    with Client(path) as client, pytest.raises(Exception, match="too long"):
        client.call("agent.message", name="bob", text="x" * 3_000_000)
    thread.join(10)


def test_the_end_without_an_answer_is_no_supervisor(peer: socket.socket, path: str) -> None:
    thread = answer_with(peer, b'{"jsonrpc":"2.0","id":1,"resu')
    with Client(path) as client, pytest.raises(NoSupervisor, match="before it answered"):
        client.call("system.status")
    thread.join(10)


def test_the_last_event_ends_the_following(peer: socket.socket, path: str) -> None:
    end = orjson.dumps({"jsonrpc": "2.0", "method": "events.end", "params": {"after": 5}})
    thread = answer_with(peer, b'{"jsonrpc":"2.0","id":1,"result":{"last":5}}\n' + end + b"\n")
    with Client(path) as client:
        client.call("events.follow")
        assert client.event(None) is None
        assert client.ended
    thread.join(10)


def test_texts_that_are_no_utf8_are_read(peer: socket.socket, path: str) -> None:
    thread = answer_with(peer, b'{"jsonrpc":"2.0","id":1,"result":{"text":"a\\udcffb"}}\n')
    with Client(path) as client:
        assert client.call("system.status") == {"text": "a\udcffb"}
    thread.join(10)


def test_a_token_that_is_refused_leaves_no_connection(fake: Any, path: str, tmp_path: Path) -> None:
    fake.answers["session.authenticate"] = NotPermitted("this token is not known")
    file = tmp_path / "token"
    file.write_text("x")
    with pytest.raises(NotPermitted):
        connect(path, os.fspath(file))
    file.write_bytes(b"\xff")
    with pytest.raises(Invalid, match="not UTF-8"):
        connect(path, os.fspath(file))
