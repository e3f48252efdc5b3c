"""A home of its own, a supervisor that answers as it is told, and ``agentctl`` called in this process."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest

from supervisor.ctl.main import main
from supervisor.errors import AgentdError
from supervisor.paths import Home

Answer = Any
"""A result, an error to answer with, or a function of the parameters that returns or raises one."""


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


class FakeSupervisor:
    """Listens in a thread; ``answers`` by method; ``events`` are sent to every follower."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Answer] = {
            "system.status": {"pid": 42, "version": "0", "degraded": [], "agents": {}},
            "agent.list": {"agents": []},
            "run.list": {"runs": []},
            "run.show": lambda params: {"run": {"run_id": params["run_id"], "agent": "bob"}},
            "permission.list": {"permissions": []},
            "events.follow": {"last": 0},
            "system.shutdown": {},
        }
        self.followers: list[socket.socket] = []
        self.connections: list[socket.socket] = []
        self.changed = threading.Condition()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(os.fspath(path))
        self._listener.listen(50)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            thread = threading.Thread(target=self._talk, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _talk(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as lines:
                for line in lines:
                    self._answer(connection, json.loads(line))
        except OSError:
            return

    def _answer(self, connection: socket.socket, request: dict[str, Any]) -> None:
        method, params = request["method"], request["params"]
        answer = self.answers.get(method, AgentdError(f"{method} was not expected"))
        with self.changed:
            self.calls.append((method, params))
            self.changed.notify_all()
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
        try:
            if callable(answer):
                answer = answer(params)
            if isinstance(answer, Exception):
                raise answer
            reply["result"] = answer
        except AgentdError as error:
            reply["error"] = {
                "code": -32000 - error.exit_code,
                "message": str(error),
                "data": error.data(),
            }
        if answer is not None:
            connection.sendall(json.dumps(reply).encode() + b"\n")
        if method == "events.follow":
            with self.changed:
                self.followers.append(connection)
                self.changed.notify_all()
        if method == "system.shutdown":
            connection.shutdown(socket.SHUT_RDWR)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until a call has made ``condition`` true."""
        with self.changed:
            assert self.changed.wait_for(condition, 20), f"it never came to that: {self.calls}"

    def emit(
        self, number: int, kind: str, run_id: int | None = None, agent: str = "bob", **data: Any
    ) -> None:
        """Send an event to all followers."""
        event = {"id": number, "at": 1.0, "kind": kind, "agent": agent, "run_id": run_id, "data": data}
        line = json.dumps({"jsonrpc": "2.0", "method": "events.event", "params": event}).encode() + b"\n"
        for follower in self.followers:
            follower.sendall(line)

    def close(self) -> None:
        """Go as a supervisor that is killed does."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it is gone already
        for thread in self._threads:
            thread.join(10)
        self.path.unlink()


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A home with a short path: sockets have a limit."""
    with TemporaryDirectory(prefix="agentd-") as name:
        monkeypatch.setenv("AGENTD_HOME", name)
        for variable in ("AGENTD_TOKEN_FILE", "COLUMNS", "NO_COLOR"):
            monkeypatch.delenv(variable, raising=False)
        yield Home.from_environ(os.environ)


@pytest.fixture
def fake(home: Home) -> Iterator[FakeSupervisor]:
    """A supervisor that answers as it is told."""
    supervisor = FakeSupervisor(home.socket)
    yield supervisor
    if home.socket.exists():
        supervisor.close()


@pytest.fixture
def new_fake() -> type[FakeSupervisor]:
    """Another supervisor, after the first."""
    return FakeSupervisor


@pytest.fixture
def agentctl(home: Home, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Call ``agentctl`` in this process."""

    def call(*words: str) -> Done:
        capsys.readouterr()
        code = main(words)
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return call


def agent_row(name: str = "bob", **values: Any) -> dict[str, Any]:
    """A row as ``agent.list`` answers it."""
    return {
        "name": name,
        "state": "running",
        "since": 1.0,
        "run_id": 7,
        "iteration": 3,
        "attempt": 1,
        "activity": "",
        "waiting_for": None,
        "restarts": 0,
        "tokens_today": 0,
        "cost_today": 0.0,
        "flags": [],
        "reason": "",
        "backoff_until": None,
        "pause": None,
        "pid": 4242,
        **values,
    }


@pytest.fixture
def row() -> Callable[..., dict[str, Any]]:
    """Rows of agents."""
    return agent_row
