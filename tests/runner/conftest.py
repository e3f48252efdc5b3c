"""A supervisor's end of the wire for tests: real runners, real pipes, every wait bounded."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import ipc

Frame = dict[str, Any]
PACKAGES = Path(ipc.__file__).parents[1]
"""Where what is tested was imported from."""

PATIENCE = 20.0
"""Seconds until a test gives up waiting for the kernel to tell it something."""


class Peer:
    """One runner and what it said. ``seen`` holds every frame in order, live views left out."""

    def __init__(self, folder: Path, command: Sequence[str] = ("-P", "-m", "runner", "--pipe")) -> None:
        self.folder = folder
        self.run_dir = folder / "run"
        self.run_dir.mkdir()
        self.cwd = folder / "work"
        self.cwd.mkdir()
        self.stderr = folder / "stderr"
        self.seen: list[Frame] = []
        self.streams: list[Frame] = []
        self.mark = f"test-{uuid.uuid4()}"
        """What every process of this run carries in AGENTD_RUN."""
        self._rest = b""
        self._ended = False
        self._cmd = 0
        with self.stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=os.environ | {"PYTHONPATH": str(PACKAGES)},
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin = self.process.stdin
        self.stdout_fd = self.process.stdout.fileno()

    # Saying

    def say(self, op: str, **fields: Any) -> None:
        """Say one frame as it is."""
        self.write(json.dumps({"op": op, **fields}).encode() + b"\n")

    def command(self, op: str, **fields: Any) -> int:
        """Say a numbered frame with the next number."""
        self._cmd += 1
        self.say(op, cmd=self._cmd, **fields)
        return self._cmd

    def write(self, data: bytes) -> None:
        self.stdin.write(data)
        self.stdin.flush()

    def init(self, program: str | None = None, **fields: Any) -> None:
        """Say ``init`` in protocol 1; ``program`` is the text of a runbook."""
        self.write(json.dumps({"op": "init", "payload": self.payload(program, **fields)}).encode() + b"\n")

    def payload(self, program: str | None = None, **fields: Any) -> dict[str, Any]:
        template = self.folder / "program.md"
        template.write_text(program or "```sh\ntrue\n```\n")
        base = {
            "name": "bob",
            "run_id": self.mark,
            "template": str(template),
            "args": [],
            "config": {"output": str(self.folder / "output")},
            "interval": 0,
            "auto_approve": False,
            "log_dir": str(self.run_dir),
            "protocol": 1,
            "cwd": str(self.cwd),
            "env": {"PATH": os.environ["PATH"]},
            "grace_s": 5,
        }
        config = fields.pop("config", {})
        merged = base | fields
        merged["config"] = {**base["config"], **config}  # type: ignore[dict-item]
        return {name: value for name, value in merged.items() if value is not ...}

    def process_init(self, code: str, **fields: Any) -> None:
        """Say ``init`` for the ``process`` adapter: ``code`` is a Python program."""
        config = fields.pop("config", {})
        command = [sys.executable, "-c", code]
        self.init(
            adapter="process", config={"prompt": "hi", "options": {"command": command}, **config}, **fields
        )

    def allow(self, request: Frame, granted: bool = True, **fields: Any) -> None:
        self.command(
            "permission_response",
            request_id=request["request_id"],
            granted=granted,
            **{"digest": request["digest"], **fields},
        )

    # Hearing

    def next(self, *, within: float = PATIENCE) -> Frame | None:
        """Return the next frame; None at the end of stdout."""
        deadline = time.monotonic() + within
        while b"\n" not in self._rest:
            if self._ended:
                assert not self._rest, f"torn line at the end: {self._rest[:200]!r}"
                return None
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.stdout_fd], [], [], left)[0]:
                raise AssertionError(f"nothing came in {within} s; so far: {self.seen[-5:]}; {self.errors()}")
            data = os.read(self.stdout_fd, 1 << 20)
            self._ended = not data
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        frame: Frame = json.loads(line)
        (self.streams if frame["op"] == "stream" else self.seen).append(frame)
        return frame

    def until(self, op: str, **fields: Any) -> Frame:
        """Read up to the next frame with that op and those fields."""
        while True:
            frame = self.next()
            assert frame is not None, f"ended without {op}: {self.seen[-5:]}; {self.errors()}"
            if frame["op"] == op and fields.items() <= frame.items():
                return frame

    def rest(self) -> list[Frame]:
        """Read to the end of stdout and return all that was ever said."""
        while self.next() is not None:
            pass
        return self.seen

    def rest_of_whole_lines(self) -> list[Frame]:
        """Read to the end of stdout after the runner was killed, perhaps within a line."""
        while self._ended is False:
            data = os.read(self.stdout_fd, 1 << 20)
            self._ended = not data
            self._rest += data
        whole, _, _ = self._rest.rpartition(b"\n")
        self.seen += [frame for frame in map(json.loads, whole.splitlines()) if frame["op"] != "stream"]
        return self.seen

    def ops(self) -> list[str]:
        return [frame["op"] for frame in self.seen]

    # Ends

    def code(self, within: float = PATIENCE) -> int:
        """Wait for the end and return the exit code."""
        return self.process.wait(within)

    def errors(self) -> str:
        return self.stderr.read_text()

    def log(self, stream: str | None = None) -> str:
        """Return the text of the run's log, or of one stream of it."""
        text = []
        for path in [*sorted(self.run_dir.glob("log-*.ndjson")), self.run_dir / "log.ndjson"]:
            for line in path.read_bytes().splitlines():
                record = json.loads(line)
                if stream in (None, record["stream"]):
                    text.append(record["text"] + ("" if record.get("more") else "\n"))
        return "".join(text)

    def journal(self) -> list[Frame]:
        """Return the whole lines of the present journal file."""
        data = (self.run_dir / "frames.jsonl").read_bytes()
        return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        for pid in marked(self.mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def marked(mark: str) -> list[int]:
    """Processes that carry ``mark`` in AGENTD_RUN: what a killed runner has left."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"AGENTD_RUN={mark}\0".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def digest(tool: str, given: dict[str, Any]) -> str:
    """The digest of PROTOCOL.md, written a second time and without our code."""
    text = json.dumps([tool, given], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Peer]]:
    """Start runners; they and what they left behind are killed at the end of the test."""
    peers: list[Peer] = []

    def start(*command: Sequence[str]) -> Peer:
        folder = tmp_path / f"peer{len(peers)}"
        folder.mkdir()
        peers.append(Peer(folder, *command))
        return peers[-1]

    try:
        yield start
    finally:
        for peer in peers:
            peer.close()


@pytest.fixture
def runner(start: Callable[..., Peer]) -> Peer:
    """One runner that has heard nothing yet."""
    return start()


@pytest.fixture
def digest_of() -> Callable[[str, dict[str, Any]], str]:
    return digest


@pytest.fixture
def lives() -> Callable[[int], bool]:
    return alive
