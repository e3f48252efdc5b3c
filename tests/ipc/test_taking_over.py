"""A supervisor takes over what another one began."""

import pytest

from ipc.codec import encode
from ipc.errors import LocalError
from ipc.frames import (
    Ack,
    Attach,
    Attached,
    Exit,
    IterationStart,
    Log,
    Pause,
    Ready,
    Side,
    Stop,
    StrayLine,
)
from ipc.session import Fault, Session
from ipc.talk import Talk
from tests.ipc.pairs import fault, greeting, kinds, pair, said


def taken_over(talk: Talk = Talk.TURN) -> tuple[Session, Session, bytes]:
    """A runner in a turn, a new supervisor that knows it up to its last frame, and the new one's first bytes."""
    old, runner = pair(talk)
    new = Session(Side.SUPERVISOR)
    return new, runner, new.attach("a-1", old.last_seq, old.talk)


def test_attach_begins_with_a_newline_and_is_answered() -> None:
    new, runner, data = taken_over()
    assert data.startswith(b"\n{")
    assert runner.receive(data) == [Attach(id="a-1", last_seq=2)]
    attached = Attached(id="a-1", last_seq=2, last_cmd=6, iteration=1, status="turn")
    assert new.receive(runner.send(attached)) == [attached]
    assert (new.protocol, new.last_seq, new.last_cmd, new.talk) == (1, 2, 6, Talk.TURN)
    assert kinds(new.receive(runner.send(Log(msg="a")))) == [Log]
    assert len(runner.receive(new.send(Pause(cmd=7)))) == 1


@pytest.mark.parametrize(
    "torn", [b'{"op":"pau', b"{", b'{"op":"permission_response","granted":true,"re', b"\xff"]
)
def test_the_line_that_the_last_supervisor_left_torn_is_dropped_silently(torn: bytes) -> None:
    _, runner, data = taken_over()
    assert runner.receive(torn) == []
    assert kinds(runner.receive(data)) == [Attach]


def test_a_stray_command_line_that_no_attach_follows_is_reported_in_its_place() -> None:
    _, runner, _ = taken_over()
    assert runner.receive(b"garbage\n\n") == []
    assert runner.receive(b"more\n") == [StrayLine("garbage")]
    assert runner.receive(encode(Stop())) == [StrayLine("more"), Stop()]


def test_a_stray_line_before_a_fault_is_reported_before_it() -> None:
    _, runner, _ = taken_over()
    received = runner.receive(b"garbage\n" + said(op="pause", reason=1, cmd=1))
    assert kinds(received) == [StrayLine, Fault]


def test_a_command_whose_newline_alone_was_lost_still_counts() -> None:
    _, runner, data = taken_over()
    received = runner.receive(said(op="pause", cmd=1).rstrip() + data)
    first, second = received
    assert isinstance(first, Pause)
    assert isinstance(second, Attach)
    assert runner.last_cmd == 1


def test_everything_before_the_right_attached_is_thrown_away() -> None:
    new, _, _ = taken_over()
    other = Attached(id="a-0", last_seq=2, last_cmd=0, iteration=1, status="turn")
    rubbish = [
        b'g","seq":2}\n',
        b"stray\n\n",
        said(op="log", msg="a", seq=9),
        said(op="log", msg=7, seq=3),
        said(op="ready"),
        said(op="pause"),
        said(op="sing", seq=40),
        encode(other),
        said(op="attached", id="a-1"),
        b"x" * 1_500_000 + b"\n",
    ]
    for data in rubbish:
        assert new.receive(data) == []
    mine = Attached(id="a-1", last_seq=3, last_cmd=0, iteration=1, status="turn")
    assert new.receive(encode(mine) + said(op="log", msg="a", seq=3)) == [mine, Log(msg="a", seq=3)]
    assert fault(new, said(op="log", msg="a", seq=5)).error.field == "log.seq"


def test_a_take_over_from_nothing_reads_the_whole_run_again() -> None:
    (
        new,
        runner,
    ) = Session(Side.SUPERVISOR), Session(Side.RUNNER)
    runner.receive(pair(Talk.NEW)[0].send(greeting()))
    journal = [
        runner.send(frame)
        for frame in (Ready(protocol=1), IterationStart(iteration=1), Exit(reason="stopped"))
    ]
    runner.receive(new.attach("a-1", 0, Talk.GREETED))
    answer = runner.send(Attached(id="a-1", last_seq=3, last_cmd=0, iteration=1, status="ended"))
    received = new.receive(answer + b"".join(journal))
    assert kinds(received) == [Attached, Ready, IterationStart, Exit]
    assert (new.talk, new.last_seq) == (Talk.ENDED, 3)
    assert runner.receive(new.send(Ack(seq=3))) == [Ack(seq=3)]


def test_a_runner_that_has_forgotten_what_it_said_is_at_fault() -> None:
    new, _, _ = taken_over()
    attached = Attached(id="a-1", last_seq=1, last_cmd=0, iteration=1, status="turn")
    assert fault(new, encode(attached)).error.field == "attached.last_seq"


def test_no_numbered_command_overtakes_what_the_runner_has_missed() -> None:
    new, runner, _ = taken_over()
    with pytest.raises(LocalError, match="overtake"):
        new.send(Pause(cmd=9))
    assert new.send(Stop())
    new.receive(runner.send(Attached(id="a-1", last_seq=2, last_cmd=4, iteration=1, status="turn")))
    with pytest.raises(LocalError, match="cmd"):
        new.send(Pause(cmd=4))
    assert new.send(Pause(cmd=5))


def test_only_a_supervisor_attaches_and_only_at_the_beginning() -> None:
    supervisor, runner = pair(Talk.IDLE)
    for session in (supervisor, runner, Session(Side.RUNNER)):
        with pytest.raises(LocalError, match="attaches"):
            session.attach("a", 0, Talk.IDLE)
    with pytest.raises(LocalError):
        supervisor.send(Attach(id="a", last_seq=1))
