"""Whatever arrives, a session answers with frames, strays or one last fault, and never with another exception."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipc.codec import encode
from ipc.errors import RemoteError
from ipc.frames import CATALOGUE, Side
from ipc.session import Fault, Session
from ipc.talk import Talk
from tests.ipc.making import frames
from tests.ipc.pairs import pair, sample

BITS = [
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b":",
    b",",
    b"\n",
    b"\0",
    b"\\ud800",
    b"\xff",
    b"null",
    b"NaN",
    b"1e999",
    b"-1",
]
BITS += [
    b"true",
    b'"op"',
    b'"seq":',
    b'"cmd":',
    b"9223372036854775808",
    b"[" * 200,
    b'{"a":' * 200,
    b"}" * 200,
]
LINES = {
    side: [encode(sample(op, cmd=1)) for op, cls in CATALOGUE.items() if cls.sender is not side]
    for side in Side
}


def sessions() -> list[Session]:
    """One session of each side in every state and protocol, and one that waits to be attached."""
    attaching = Session(Side.SUPERVISOR)
    attaching.attach("a-1", 3, Talk.TURN)
    return [attaching, *(session for protocol in (0, 1) for talk in Talk for session in pair(talk, protocol))]


def mutated(line: bytes, chance: random.Random) -> bytes:
    """``line`` with a few bytes changed, taken out, put in, or doubled."""
    data = bytearray(line)
    for _ in range(chance.randint(0, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del data[at : at + chance.randint(1, 8)]
            case 2:
                data[at:at] = chance.choice(BITS)
            case _:
                data[at:at] = data[at : at + chance.randint(1, 30)]
    return bytes(data)


def feed(session: Session, data: bytes) -> None:
    received = session.receive(data)
    faults = [item for item in received if isinstance(item, Fault)]
    assert len(faults) <= 1
    if faults:
        assert received[-1] is faults[0]
        assert type(faults[0].error) is RemoteError
        assert session.receive(b"\n" + data) == []


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_any_bytes_are_survived(chunks: list[bytes]) -> None:
    for session in sessions():
        for chunk in chunks:
            feed(session, chunk)


@settings(max_examples=50)
@given(st.lists(frames, max_size=5))
def test_any_frames_in_any_order_are_survived(said: list[object]) -> None:
    for session in sessions():
        for frame in said:
            feed(session, encode(frame))  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(8))
def test_mutated_lines_are_survived(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(40):
        for session in sessions():
            lines = [mutated(chance.choice(LINES[session.side]), chance) for _ in range(3)]
            feed(session, b"".join(lines))
