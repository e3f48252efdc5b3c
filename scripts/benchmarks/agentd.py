"""An agentd of the bench's own: in a home of its own, started and ended by it, spoken to over its socket."""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import apsw

from benchmarks.measuring import Bench, NotMeasured
from benchmarks.processes import end, parent
from supervisor.ctl.client import Client
from supervisor.errors import AgentdError
from supervisor.paths import Home

BIN = Path(sys.executable).parent
AGENTCTL = BIN / "agentctl"
LISTENS_WITHIN = 20.0
ENDS_WITHIN = 20.0
HAPPENS_WITHIN = 60.0
"""Seconds after which what is waited for is given up."""
CONNECTIONS = 10
"""Over how many connections requests are made that shall arrive together."""

IDLE = {
    "template": "idle",
    "adapter": "process",
    "settings": {"interval": 86_400.0, "process": {"command": ["true"]}},
}
"""An agent that has one short turn and then waits for a day."""

Call = tuple[str, Mapping[str, Any]]
"""A method and its parameters."""


class Agentd:
    """One running agentd. ``environ`` is what its clients need to find it."""

    def __init__(self, folder: Path, toml: str = "") -> None:
        self.home = Home(folder, folder, folder)
        self.environ = {
            name: value for name, value in os.environ.items() if not name.startswith(("AGENTD_", "PYTHON"))
        } | {"AGENTD_HOME": str(folder)}
        (folder / "templates").mkdir()
        (folder / "templates" / "idle.md").write_text("Nothing to do.\n")
        if toml:
            self.home.config_file.write_text(toml)
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as ready:
            try:
                with self.home.log.open("wb") as log:
                    self.process = subprocess.Popen(
                        [sys.executable, "-P", "-m", "supervisor", f"--ready-fd={writing}"],
                        env=self.environ,
                        cwd="/",
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        pass_fds=(writing,),
                        start_new_session=True,
                    )
            finally:
                os.close(writing)
            with selectors.DefaultSelector() as selector:
                selector.register(ready, selectors.EVENT_READ)
                if not selector.select(LISTENS_WITHIN) or not ready.read(1):
                    raise NotMeasured(f"agentd does not listen: {self.home.log.read_text()[-2000:]}")

    def client(self) -> Client:
        """A new connection."""
        return Client(str(self.home.socket))

    def pids(self) -> tuple[int, int, list[int]]:
        """The pids of supervisor, keeper, and runners."""
        with self.client() as client:
            runners = [row["pid"] for row in client.call("agent.list")["agents"] if row["pid"]]
        return self.process.pid, parent(runners[0]), runners

    def together(self, calls: Iterable[Call]) -> list[dict[str, Any]]:
        """Make all ``calls`` over a few connections without waiting for one another; return their results.

        Raises:
            NotMeasured: one failed, or they took too long.
        """
        waiting = list(calls)
        share = -(-len(waiting) // CONNECTIONS)
        results: list[dict[str, Any]] = []
        with selectors.DefaultSelector() as selector:
            for start in range(0, len(waiting), share):
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                selector.register(sock, selectors.EVENT_READ, bytearray())
                sock.connect(str(self.home.socket))
                sock.sendall(b"".join(_request(*call) for call in waiting[start : start + share]))
            try:
                while len(results) < len(waiting):
                    results += _answers(selector)
            finally:
                for key in list(selector.get_map().values()):
                    key.fileobj.close()  # type: ignore[union-attr]
        return results

    def start_idle(self, count: int) -> float:
        """Start so many idle agents at once and return the seconds until the last one was ready."""
        with Events(self) as events:
            began = time.perf_counter()
            self.together(("agent.start", {"name": name, **IDLE}) for name in names(count))
            events.count("runner.ready", count)
            took = time.perf_counter() - began
            events.count("iteration.done", count)
        return took

    def end(self) -> None:
        """Stop the agents and end it."""
        end(self.process, signal.SIGINT, ENDS_WITHIN)

    def query(self, sql: str, given: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Ask the database."""
        conn = apsw.Connection(str(self.home.db), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            return list(conn.execute(sql, given))
        finally:
            conn.close()


def names(count: int) -> list[str]:
    """Names for so many agents."""
    return [f"idle-{number:03}" for number in range(count)]


def _request(method: str, params: Mapping[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 0, "method": method, "params": params}).encode() + b"\n"


def _answers(selector: selectors.BaseSelector) -> list[dict[str, Any]]:
    found = []
    ready = selector.select(HAPPENS_WITHIN)
    if not ready:
        raise NotMeasured(f"agentd does not answer in {HAPPENS_WITHIN:g} s")
    for key, _ in ready:
        data = key.fileobj.recv(65_536)  # type: ignore[union-attr]
        if not data:
            raise NotMeasured("agentd has hung up")
        key.data.extend(data)
        *lines, rest = key.data.split(b"\n")
        key.data[:] = rest
        for answer in map(json.loads, lines):
            if "error" in answer:
                raise NotMeasured(f"agentd refuses: {answer['error']['message']}")
            found.append(answer["result"])
    return found


class Events:
    """What happens from now on, over a connection of its own. A context manager."""

    def __init__(self, agentd: Agentd) -> None:
        self._client = agentd.client()
        self._client.call("events.follow")
        self._seen: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._client.close()

    def next(self) -> dict[str, Any]:
        """Wait for the next event.

        Raises:
            NotMeasured: none comes, or an agent failed.
        """
        event = self._client.event(HAPPENS_WITHIN)
        if event is None:
            raise NotMeasured(f"nothing happens any more after {self._seen}")
        if event["kind"] in ("run.failed", "run.crashed", "run.lost"):
            raise NotMeasured(f"agent {event['agent']}: {event['kind']}: {event['data'].get('reason')}")
        self._seen[event["kind"]] = self._seen.get(event["kind"], 0) + 1
        return event

    def count(self, kind: str, wanted: int) -> None:
        """Wait until so many events of a kind have come since the beginning."""
        while self._seen.get(kind, 0) < wanted:
            self.next()

    def until(self, kind: str) -> dict[str, Any]:
        """Wait for the next event of a kind."""
        while (event := self.next())["kind"] != kind:
            pass
        return event


@contextmanager
def running(bench: Bench, toml: str = "") -> Iterator[Agentd]:
    """An agentd for the block; its agents end with it.

    Raises:
        NotMeasured: it does not start, or refuses something.
    """
    with tempfile.TemporaryDirectory(dir=bench.folder, ignore_cleanup_errors=True) as folder:
        agentd = Agentd(Path(folder), toml)
        try:
            yield agentd
        except AgentdError as error:
            raise NotMeasured(f"agentd: {error}") from error
        finally:
            agentd.end()
