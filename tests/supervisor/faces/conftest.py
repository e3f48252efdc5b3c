"""A socket served over the real records in memory, with agents that only remember what they were told."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
import trio

from supervisor.agents import view
from supervisor.errors import NoSuchAgent
from supervisor.faces.rpc import serve
from supervisor.faces.service import Service, authenticate_by_token
from supervisor.paths import Home
from supervisor.principals import Principal
from supervisor.records.agents import put_agent
from supervisor.records.db import MemoryDatabase
from supervisor.records.events import Events, read_events

ROOT = Principal("root", admin=True)


@dataclass
class Accepted:
    agent: str
    run_id: int | None = 1
    accepted_at: float = 1000.0


@dataclass
class FakeAgent:
    name: str
    own: dict[str, Any] = field(default_factory=dict)
    caps: dict[str, Any] = field(default_factory=dict)


class FakePool:
    """Accepts everything that names an agent it knows, and remembers it."""

    def __init__(self) -> None:
        self.agents: dict[str, FakeAgent] = {}
        self.told: list[tuple[Any, ...]] = []
        self.error: Exception | None = None
        self.waited = trio.Event()
        self.waiting_send, self.waiting = trio.open_memory_channel[Any](100)

    def get(self, name: str) -> FakeAgent:
        if name not in self.agents:
            raise NoSuchAgent(f"no agent is called {name}")
        return self.agents[name]

    async def _take(self, verb: str, name: str, *args: Any, **kwargs: Any) -> Accepted:
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        self.told.append((verb, name, *args, *kwargs.values()))
        return Accepted(name)

    def __getattr__(self, verb: str) -> Any:
        async def take(name: str, *args: Any, **kwargs: Any) -> Accepted:
            return await self._take(verb, name, *args, **kwargs)

        return take


class World:
    """A served home."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder, folder, folder)
        self.pool = FakePool()
        self.events: Events | None = None
        self.database = MemoryDatabase(lambda events: self.events.publish(events) if self.events else None)
        self.events = Events(self._read, 0)
        self.caller = ROOT
        self.shut_down = trio.Event()

    async def _read(self, after: int, limit: int) -> list[Any]:
        return await self.database.read(lambda conn: read_events(conn, after, limit))

    def identify(self, connection: Any) -> Callable[[], Awaitable[Principal]]:
        assert connection.fileno() > 0

        async def caller() -> Principal:
            await trio.lowlevel.checkpoint()
            return self.caller

        return caller

    @property
    def service(self) -> Service:
        return Service(
            pool=self.pool,  # type: ignore[arg-type]
            steering=self.pool,  # type: ignore[arg-type]
            database=self.database,
            events=self.events,  # type: ignore[arg-type]
            home=self.home,
            version="1.2.3",
            started_at=1.0,
            identify=self.identify,
            authenticate=authenticate_by_token(self.database, time.time),
            degraded=list,
            shut_down=self.shut_down.set,
        )

    async def emit(self, *kinds: str, agent: str | None = None, **data: Any) -> None:
        await self.database.write(lambda tx: [tx.emit(kind, agent=agent, **data) for kind in kinds] and None)

    async def add(self, name: str, originator: str) -> None:
        self.pool.agents[name] = FakeAgent(name)
        await self.database.write(lambda tx: put_agent(tx, name, {}, "adhoc", originator, "up"))

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Talk]:
        stream = await trio.open_unix_socket(os.fspath(self.home.socket))
        async with stream:
            yield Talk(stream)


class Talk:
    """A client that can also misbehave."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.data = b""
        self.number = 0

    async def send(self, line: bytes) -> None:
        await self.stream.send_all(line)

    async def line(self) -> dict[str, Any] | None:
        """The next object; None at the end."""
        while b"\n" not in self.data:
            try:
                data = await self.stream.receive_some(65536)
            except trio.BrokenResourceError:
                return None
            if not data:
                return None
            self.data += data
        line, _, self.data = self.data.partition(b"\n")
        found: dict[str, Any] = orjson.loads(line)
        return found

    async def ask(self, method: str, **params: Any) -> None:
        self.number += 1
        await self.send(
            orjson.dumps({"jsonrpc": "2.0", "id": self.number, "method": method, "params": params}) + b"\n"
        )

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        await self.ask(method, **params)
        answer = await self.line()
        assert answer is not None
        assert answer["id"] == self.number
        return answer

    async def result(self, method: str, **params: Any) -> dict[str, Any]:
        answer = await self.call(method, **params)
        assert "error" not in answer, answer
        found: dict[str, Any] = answer["result"]
        return found

    async def error(self, method: str, **params: Any) -> dict[str, Any]:
        answer = await self.call(method, **params)
        found: dict[str, Any] = answer["error"]
        return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: sockets have a limit."""
    with TemporaryDirectory(prefix="agentd-") as name:
        yield Path(name)


@pytest.fixture
def no_views(monkeypatch: pytest.MonkeyPatch) -> None:
    async def rows(pool: FakePool) -> list[dict[str, Any]]:
        await trio.lowlevel.checkpoint()
        return [{"name": name, "state": "running", "pid": os.getpid()} for name in pool.agents]

    async def wait(pool: FakePool, **params: Any) -> dict[str, Any]:
        pool.waiting_send.send_nowait(params)
        await pool.waited.wait()
        return {"status": "ok", **params}

    monkeypatch.setattr(view, "rows", rows)
    monkeypatch.setattr(view, "wait", wait)


@pytest.fixture
def make_world(no_views: None) -> type[World]:
    """Homes that are not served yet."""
    return World


@pytest.fixture
async def world(folder: Path, no_views: None, nursery: trio.Nursery) -> AsyncIterator[World]:
    """A home whose socket is served until the test's end."""
    with trio.fail_after(30):
        served = World(folder)
        await nursery.start(serve, served.service, served.home.socket)
        yield served
        nursery.cancel_scope.cancel()
