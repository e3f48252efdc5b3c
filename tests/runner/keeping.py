"""A keeper for tests: its runners execute the Python in their environment's ``PROGRAM`` instead of a real run."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ipc
from ipc.identity import start_time
from ipc.keeper import VERSION, Inbox, Message, Outbox

PACKAGES = Path(ipc.__file__).parents[1]

STAND_IN = """
import os, sys, types

def run_pipe():
    names = {}
    exec(os.environ["PROGRAM"], names)
    return names.get("code", 0)

module = types.ModuleType("runner.__main__")
module.run_pipe = run_pipe
sys.modules["runner.__main__"] = module
from runner.keeper import main
sys.exit(main(sys.argv[-1]))
"""
COMMAND = (sys.executable, "-P", "-c", STAND_IN)

CAT = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"
"""Echoes lines until the end of its stdin."""
SLEEP = "import time\nprint('up', flush=True)\ntime.sleep(600)"
EXIT_7 = "code = 7"
PATIENCE = 20


class Line:
    """A blocking connection to a keeper."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(path))
        self.sock.setblocking(False)
        self.events: list[dict[str, Any]] = []
        self._inbox, self._outbox, self._last = Inbox(), Outbox(), 0

    def post(self, verb: str, fds: tuple[int, ...] = (), **fields: Any) -> int:
        self._last += 1
        self._outbox.append({"id": self._last, "verb": verb, **fields}, [os.dup(fd) for fd in fds])
        while self._outbox:
            self._outbox.flush(self.sock)
            select.select([], [self.sock], [], 1)
        return self._last

    def take(self) -> Message:
        """The next message, an answer or an event."""
        deadline = time.monotonic() + PATIENCE
        while not self._inbox.messages:
            assert select.select([self.sock], [], [], deadline - time.monotonic())[0], "the keeper is silent"
            self._inbox.receive(self.sock)
        return self._inbox.messages.popleft()

    def answer(self, number: int) -> Message:
        while "event" in (message := self.take()).body:
            self.events.append(message.body)
        assert message.body["id"] == number
        return message

    def ask(self, verb: str, fds: tuple[int, ...] = (), **fields: Any) -> dict[str, Any]:
        answer = self.answer(self.post(verb, fds, **fields))
        assert "error" not in answer.body, answer.body["error"]
        return answer.body

    def refusal(self, verb: str, fds: tuple[int, ...] = (), **fields: Any) -> str:
        return str(self.answer(self.post(verb, fds, **fields)).body["error"])

    def event(self) -> dict[str, Any]:
        """The next event."""
        if self.events:
            return self.events.pop(0)
        message = self.take()
        assert "event" in message.body, message
        return message.body

    def is_cut(self) -> bool:
        """Wait for the other side to cut us."""
        with contextlib.suppress(EOFError, ConnectionError):
            while select.select([self.sock], [], [], PATIENCE)[0]:
                self._inbox.receive(self.sock)
                self._inbox.close()
            return False
        return True

    def close(self) -> None:
        self._inbox.close()
        self.sock.close()


class Stand:
    """A folder with a keeper in it, and everything that a test starts there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "keeper.sock"
        self.pid = 0
        self._lines: list[Line] = []
        self._started: list[tuple[int, float]] = []

    def start(self, **options: Any) -> Line:
        """Start a keeper, unless one is there, and connect."""
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PACKAGES)}
        subprocess.run(
            [*COMMAND, str(self.socket)], check=True, env=env, timeout=PATIENCE, cwd="/", **options
        )
        line = self.connect()
        hello = line.ask("hello", version=VERSION)
        self.pid = hello["pid"]
        self.track(hello["pid"])
        return line

    def connect(self) -> Line:
        line = Line(self.socket)
        self._lines.append(line)
        return line

    def run_folder(self, run: str) -> Path:
        folder = self.folder / "runs" / run
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def plan(self, run: str, program: str, **more: Any) -> dict[str, Any]:
        env = {"PATH": os.environ["PATH"], "PROGRAM": program, "AGENTD_RUN": str(self.folder)} | more.pop(
            "env", {}
        )
        return {
            "run": run,
            "folder": str(self.run_folder(run)),
            "env": env,
            "title": f"stand-in {run}",
            **more,
        }

    def spawn(self, line: Line, run: str, program: str, **more: Any) -> tuple[int, int, int]:
        """Spawn and return pid, stdin, stdout."""
        message = line.answer(line.post("spawn", **self.plan(run, program, **more)))
        assert "error" not in message.body, message.body["error"]
        self.track(message.body["pid"])
        return message.body["pid"], message.fds[0], message.fds[1]

    def track(self, pid: int) -> None:
        """See to it that this process does not outlive the test."""
        with contextlib.suppress(ProcessLookupError):
            self._started.append((pid, start_time(pid)))

    def close(self) -> None:
        for line in self._lines:
            line.close()
        for pid, started in self._started:
            with contextlib.suppress(ProcessLookupError):
                if start_time(pid) == started:
                    os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def stand() -> Iterator[Stand]:
    made = Stand(Path(tempfile.mkdtemp(prefix="keeper-")))
    try:
        yield made
    finally:
        made.close()


def read_line(fd: int, within: float = PATIENCE) -> bytes:
    """A line from a pipe, its newline included; what came so far at its end."""
    line = b""
    deadline = time.monotonic() + within
    while not line.endswith(b"\n"):
        assert select.select([fd], [], [], max(deadline - time.monotonic(), 0))[0], f"only {line!r} came"
        byte = os.read(fd, 1)
        if not byte:
            break
        line += byte
    return line


def is_gone(pid: int, within: float = PATIENCE) -> bool:
    """Wait until the process has ended, reaped or not."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], within)[0])
    finally:
        os.close(pidfd)


def open_fds(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
