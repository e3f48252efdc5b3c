"""A real supervisor with a home of its own, what one says to it, and the proof that it left nothing."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.system import traces
from tests.system.rpc import PATIENCE, Row, Rpc

AGENTD = (sys.executable, "-P", "-m", "supervisor")
AGENTCTL = (sys.executable, "-P", "-m", "supervisor.ctl.main")
PEERS = Path(__file__).parent / "peers"


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    words: Sequence[str]
    code: int
    out: str
    err: str

    @property
    def json(self) -> Row:
        """The one object that it printed."""
        (line,) = self.out.splitlines()
        return json.loads(line)  # type: ignore[no-any-return]

    def __str__(self) -> str:
        return f"{' '.join(self.words)} → {self.code}\n{self.out}{self.err}"


class Home:
    """A folder for one supervisor. Nothing runs in it before ``start``."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ad-")).resolve()
        self.log = self.folder / "agentd.log"
        self.db = self.folder / "agentd.db"
        self.environ = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "AGENTD_HOME": str(self.folder),
            # A user's git settings must not reach the tests.
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.events: list[Row] = []
        self._rpc: Rpc | None = None
        self._follower: Rpc | None = None
        self._opened: list[Rpc] = []
        self._begun: list[subprocess.Popen[bytes]] = []
        self._followers: list[subprocess.Popen[bytes]] = []

    # Files

    def write_config(self, text: str) -> None:
        (self.folder / "agentd.toml").write_text(text)

    def template(self, name: str, text: str) -> Path:
        """Write one of the user's own templates."""
        path = self.folder / "templates" / f"{name}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def output(self, agent: str) -> Path:
        return self.folder / "output" / agent

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """Ask the database as anybody may: read-only, with another program's SQLite."""
        conn = sqlite3.connect(f"file:{self.db}?mode=ro", uri=True)
        conn.row_factory = sqlite3.Row
        with contextlib.closing(conn):
            return [dict(row) for row in conn.execute(sql, values)]

    def run(self, run_id: int) -> Row:
        (row,) = self.rows("SELECT * FROM agent_runs WHERE run_id = ?", run_id)
        return row

    # The supervisor's life

    def spawn(self, **options: Any) -> tuple[subprocess.Popen[bytes], int]:
        """Begin an ``agentd``; return it and the descriptor on which it says that it listens."""
        reading, writing = os.pipe()
        try:
            with self.log.open("ab") as log:
                process = subprocess.Popen(
                    [*AGENTD, f"--ready-fd={writing}"],
                    env=self.environ,
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[writing],
                    start_new_session=True,
                    **options,
                )
        finally:
            os.close(writing)
        self._begun.append(process)
        return process, reading

    def start(self) -> Home:
        """Start the supervisor and wait until it listens."""
        self.hang_up()
        self.process, reading = self.spawn()
        try:
            assert select.select([reading], [], [], PATIENCE)[0], "agentd says nothing"
            assert os.read(reading, 1), f"agentd ended: {self.log.read_text()}"
        finally:
            os.close(reading)
        return self

    def fails_to_start(self) -> Done:
        """Start a supervisor that cannot."""
        done = subprocess.run(
            AGENTD, env=self.environ, cwd="/", capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        return Done(["agentd"], done.returncode, done.stdout, done.stderr)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def keeper(self) -> int:
        """The pid of the one keeper."""
        (pid,) = traces.keepers(self.folder)
        return pid

    def signal(self, number: int) -> int:
        """Send a signal to the supervisor and return how it ended: exit code, or negative signal."""
        assert self.process is not None
        self.hang_up()
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def end(self) -> None:
        """End the supervisor and its agents, so that another one can be started."""
        self._shut_down()
        for pid in traces.keepers(self.folder):
            traces.is_gone(pid, 10)

    # Talking to it

    @property
    def rpc(self) -> Rpc:
        """One connection, opened when it is first needed."""
        if self._rpc is None:
            self._rpc = Rpc(self.folder / "agentd.sock")
        return self._rpc

    def call(self, method: str, **params: Any) -> Row:
        """Ask on the one connection; raises Refused."""
        return self.rpc.call(method, **params)

    def connect(self, count: int) -> list[Rpc]:
        """Open further connections."""
        opened = [Rpc(self.folder / "agentd.sock") for _ in range(count)]
        self._opened += opened
        return opened

    def hang_up(self) -> None:
        """Close every connection."""
        for connection in (self._rpc, self._follower, *self._opened):
            if connection is not None:
                connection.close()
        self._opened.clear()
        self._rpc = self._follower = None

    def ctl(self, *words: str, within: float = PATIENCE, **environ: str) -> Done:
        """Run ``agentctl`` to its end."""
        done = subprocess.run(
            [*AGENTCTL, *words],
            env={**self.environ, **environ},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        return Done(["agentctl", *words], done.returncode, done.stdout, done.stderr)

    def ok(self, *words: str, within: float = PATIENCE) -> Done:
        """Run ``agentctl``, which must end well."""
        done = self.ctl(*words, within=within)
        assert done.code == 0, str(done)
        return done

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        """Begin an ``agentctl`` that goes on, such as ``tail -f``; its output is a pipe, unbuffered."""
        process = subprocess.Popen(
            [*AGENTCTL, *words],
            env=self.environ,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        self._followers.append(process)
        return process

    # Waiting

    def event(self, *kinds: str, after: int = 0, within: float = PATIENCE, **wanted: Any) -> Row:
        """Wait for the first event after a number of one of ``kinds`` with these values (or data)."""
        deadline = time.monotonic() + within
        for event in self._all_events(deadline):
            shown = {**(event["data"] or {}), **event}
            if event["id"] > after and event["kind"] in kinds and wanted.items() <= shown.items():
                return event
        told = "\n".join(f"  {e['id']} {e['kind']} {e['agent']} {e['data']}" for e in self.events[-20:])
        raise AssertionError(f"no {'/'.join(kinds)} {wanted} in {within:g} s; the last events:\n{told}")

    def _all_events(self, deadline: float) -> Iterator[Row]:
        yield from self.events
        if self._follower is None:
            self._follower = Rpc(self.folder / "agentd.sock")
            self._follower.call("events.follow", after=self.events[-1]["id"] if self.events else 0)
        while (left := deadline - time.monotonic()) > 0:
            try:
                event = self._follower.next_event(left)
            except TimeoutError:
                return
            assert event is not None, "the supervisor hung up"
            self.events.append(event)
            yield event

    @property
    def now(self) -> int:
        """The number of the last event that is stored."""
        return int(self.rows("SELECT coalesce(max(id), 0) AS last FROM events")[0]["last"])

    def begin_agent(self, name: str, template: str = "any", **settings: Any) -> int:
        """Start an agent, wait until it is ready, and return its run's number."""
        accepted = self.call("agent.start", name=name, template=template, settings=settings)
        waited = self.call("agent.wait", run_id=accepted["run_id"], until="ready", timeout_s=PATIENCE - 5)
        assert waited["status"] == "ok", waited
        return int(accepted["run_id"])

    def end_of(self, run_id: int, within: float = PATIENCE) -> Row:
        """Wait for a run's end and return its row."""
        waited = self.call("agent.wait", run_id=run_id, within=within + 5, timeout_s=within)
        assert waited["status"] != "timeout", (waited, self.agent(waited["agent"]))
        return self.run(run_id)

    def stop(self, name: str) -> Row:
        """Stop an agent and return the row of its run."""
        return self.end_of(self.call("agent.stop", name=name)["run_id"])

    def agent(self, name: str) -> Row:
        """An agent as ``status`` shows it."""
        (row,) = [row for row in self.call("agent.list")["agents"] if row["name"] == name]
        return row  # type: ignore[no-any-return]

    def question(self, agent: str) -> Row:
        """Wait until an agent asks, and return the permission."""
        self.event("permission.asked", agent=agent)
        (found,) = self.call("permission.list", agent=agent)["permissions"]
        return found  # type: ignore[no-any-return]

    # The end

    def close(self, *, orderly: bool) -> None:
        """End everything; if ``orderly``, as a person would, and fail if anything is left then."""
        left: list[str] = []
        try:
            self._end_followers()
            if orderly:
                self.end()
                left = traces.shown(traces.of_home(self.folder, self._runners()))
        finally:
            self.hang_up()
            self._end_by_force()
            shutil.rmtree(self.folder, ignore_errors=True)
        assert not left, "this outlived its home: " + "; ".join(left)

    def _shut_down(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.hang_up()
        self.call("system.shutdown")
        assert self.process.wait(PATIENCE) == 0, self.log.read_text()

    def _end_followers(self) -> None:
        for process in self._followers:
            process.kill()
            process.wait(PATIENCE)
            assert process.stdout is not None
            process.stdout.close()

    def _end_by_force(self) -> None:
        for process in self._begun:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait(PATIENCE)
        runners = self._runners()
        while doomed := traces.of_home(self.folder, runners):
            traces.kill(doomed)

    def _runners(self) -> list[tuple[int, float]]:
        with contextlib.suppress(sqlite3.Error):
            found = self.rows("SELECT pid, start_time FROM agent_runs WHERE pid IS NOT NULL")
            return [(row["pid"], row["start_time"]) for row in found]
        return []


def peer(behaviour: str, *words: str) -> list[str]:
    """A ``launch`` that puts a stand-in for the runner in its place."""
    return [sys.executable, str(PEERS / "hostile.py"), behaviour, *words]


def python(code: str) -> dict[str, Any]:
    """Settings of an agent whose every turn is this Python."""
    return {"adapter": "process", "process": {"command": [sys.executable, "-c", code]}}


IDLE: dict[str, Any] = {**python("print('idle')"), "interval": 3600}
"""Settings of an agent that has one short turn and then rests."""
BUSY: dict[str, Any] = python("import time; print('at it', flush=True); time.sleep(600)")
"""Settings of an agent that is in its first turn for good."""


def lines_until(process: subprocess.Popen[bytes], wanted: str, within: float = PATIENCE) -> str:
    """Read what a process prints until a text stands in it."""
    assert process.stdout is not None
    deadline, text = time.monotonic() + within, b""
    while wanted.encode() not in text:
        left = deadline - time.monotonic()
        readable = left > 0 and select.select([process.stdout], [], [], left)[0]
        data = os.read(process.stdout.fileno(), 65_536) if readable else b""
        assert data, f"{wanted!r} did not come, but {text.decode()!r}"
        text += data
    return text.decode()
