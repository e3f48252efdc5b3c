"""Two sessions joined by nothing but bytes, and one honest frame for every op."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ipc.codec import Known, decode
from ipc.frames import CATALOGUE, Init, InitPayload, Ready, Side
from ipc.session import Fault, Received, Session
from ipc.talk import Talk

GOLDEN = Path(__file__).parent / "golden"


def sample(op: str, *, cmd: int | None = None, protocol: int = 1) -> Known:
    """A frame of ``op`` with every field given; ``cmd`` where it is numbered."""
    cls = CATALOGUE[op]
    lines = (GOLDEN / f"{cls.sender.value}.jsonl").read_bytes().splitlines()
    frame = next(frame for line in lines if type(frame := decode(line)) is cls)
    if isinstance(frame, Init):
        frame.payload.protocol = protocol
    elif isinstance(frame, Ready):
        frame.protocol = protocol
    if cls.sender is Side.SUPERVISOR and cls.numbered:
        frame.cmd = cmd  # type: ignore[union-attr]
    return frame


WAYS: dict[Talk, list[str]] = {
    Talk.NEW: [],
    Talk.GREETED: ["init"],
    Talk.IDLE: ["init", "ready"],
    Talk.TURN: ["init", "ready", "iteration_start"],
    Talk.PAUSED: ["init", "ready", "paused_budget"],
    Talk.ENDED: ["init", "ready", "exit"],
}
"""The ops that lead two sessions to each state."""


def pair(talk: Talk, protocol: int = 1) -> tuple[Session, Session]:
    """A supervisor's and a runner's session that have both come to ``talk``."""
    supervisor, runner = Session(Side.SUPERVISOR), Session(Side.RUNNER)
    for op in WAYS[talk]:
        sender, receiver = (
            (supervisor, runner) if CATALOGUE[op].sender is Side.SUPERVISOR else (runner, supervisor)
        )
        frame = sample(op, protocol=protocol)
        (received,) = receiver.receive(sender.send(frame))
        assert type(received) is type(frame)
    assert supervisor.talk is runner.talk is talk
    return supervisor, runner


def greeting(protocol: int = 1) -> Init:
    """An ``init`` that offers ``protocol``."""
    return Init(payload=InitPayload(name="a", run_id="1", template="/t.md", protocol=protocol))


def said(**raw: Any) -> bytes:
    """A line that holds ``raw``."""
    return json.dumps(raw).encode() + b"\n"


def kinds(received: list[Received]) -> list[Any]:
    """What sort each of ``received`` is."""
    return [type(item) for item in received]


def fault(session: Session, data: bytes) -> Fault:
    """The fault that ``data`` ends with."""
    *before, last = session.receive(data)
    assert not any(isinstance(item, Fault) for item in before)
    assert isinstance(last, Fault)
    return last
