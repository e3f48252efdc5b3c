"""Who may say what, and when: every op in every state."""

import pytest

from ipc.codec import encode
from ipc.errors import LocalError
from ipc.frames import (
    CATALOGUE,
    Side,
    UnknownFrame,
)
from ipc.session import Fault
from ipc.talk import COMMANDS, PLAIN_COMMANDS, PLAIN_STEPS, STEPS, Talk
from tests.ipc.pairs import fault, pair, sample

RUNNER_OPS = [op for op, cls in CATALOGUE.items() if cls.sender is Side.RUNNER]
SUPERVISOR_OPS = [op for op, cls in CATALOGUE.items() if cls.sender is Side.SUPERVISOR]
BOTH_WAYS = pytest.mark.parametrize("protocol", [1, 0], ids=["protocol 1", "plain"])
EVERY_TALK = pytest.mark.parametrize("talk", Talk, ids=lambda talk: talk.value)


@BOTH_WAYS
@EVERY_TALK
@pytest.mark.parametrize("op", RUNNER_OPS)
def test_what_a_runner_may_not_say_is_our_error_there_and_its_fault_here(
    op: str, talk: Talk, protocol: int
) -> None:
    supervisor, runner = pair(talk, protocol)
    frame = sample(op, protocol=protocol)
    agreed = protocol if talk not in (Talk.NEW, Talk.GREETED) or op == "ready" else 0
    step = (STEPS if agreed else PLAIN_STEPS)[talk].get(op)
    if step is not None and not (CATALOGUE[op].ours and not agreed):
        (received,) = supervisor.receive(runner.send(frame))
        assert type(received) is CATALOGUE[op]
        assert supervisor.talk is runner.talk is step
        return
    state = (runner.talk, runner.last_seq, runner.protocol)
    with pytest.raises(LocalError):
        runner.send(frame)
    assert (runner.talk, runner.last_seq, runner.protocol) == state
    if CATALOGUE[op].numbered:
        frame.seq = supervisor.last_seq + 1  # type: ignore[union-attr]
    (received,) = supervisor.receive(encode(frame))
    if CATALOGUE[op].ours and not agreed:
        assert isinstance(received, UnknownFrame)
    else:
        assert isinstance(received, Fault)
        assert received.error.field == op
    assert supervisor.talk is talk


@BOTH_WAYS
@EVERY_TALK
@pytest.mark.parametrize("op", SUPERVISOR_OPS)
def test_a_supervisor_says_what_the_table_allows_and_the_runner_takes_it(
    op: str, talk: Talk, protocol: int
) -> None:
    supervisor, runner = pair(talk, protocol)
    frame = sample(op, cmd=5, protocol=protocol)
    agreed = protocol if talk not in (Talk.NEW, Talk.GREETED) else 0
    if op not in COMMANDS[talk] or (not agreed and op not in PLAIN_COMMANDS):
        before = (supervisor.talk, supervisor.last_cmd)
        with pytest.raises(LocalError):
            supervisor.send(frame)
        assert (supervisor.talk, supervisor.last_cmd) == before
        return
    (received,) = runner.receive(supervisor.send(frame))
    assert type(received) is CATALOGUE[op]
    assert runner.talk is (Talk.GREETED if op == "init" else talk)


@BOTH_WAYS
@EVERY_TALK
@pytest.mark.parametrize("op", SUPERVISOR_OPS)
def test_a_runner_that_was_greeted_takes_every_command_in_every_state(
    op: str, talk: Talk, protocol: int
) -> None:
    _, runner = pair(talk, protocol)
    (received,) = runner.receive(encode(sample(op, cmd=5)))
    agreed = protocol if talk not in (Talk.NEW, Talk.GREETED) else 0
    if CATALOGUE[op].ours and not agreed:
        assert isinstance(received, UnknownFrame)
    elif op == "init" and talk is not Talk.NEW:
        assert isinstance(received, Fault)
        assert received.error.field == "init"
    elif talk is Talk.NEW and op not in ("init", "stop"):
        assert isinstance(received, Fault)
        assert received.error.field == op
    else:
        assert type(received) is CATALOGUE[op]


@pytest.mark.parametrize("op", CATALOGUE)
def test_nobody_says_the_others_words(op: str) -> None:
    for us, them in (pair(Talk.TURN), pair(Talk.TURN)[::-1]):
        if CATALOGUE[op].sender is us.side:
            assert fault(us, encode(sample(op, cmd=1))).error.field == op
        else:
            with pytest.raises(LocalError, match="not ours to say"):
                us.send(sample(op, cmd=1))
        assert them.talk is Talk.TURN


def test_the_tables_name_only_ops_of_the_right_side() -> None:
    assert set(STEPS) == set(PLAIN_STEPS) == set(COMMANDS) == set(Talk)
    assert {op for table in (STEPS, PLAIN_STEPS) for row in table.values() for op in row} == set(RUNNER_OPS)
    assert set().union(*COMMANDS.values()) == set(SUPERVISOR_OPS) - {"attach"}
    assert {op for row in PLAIN_STEPS.values() for op in row} == {
        op for op in RUNNER_OPS if not CATALOGUE[op].ours
    }
    assert {op for op in SUPERVISOR_OPS if not CATALOGUE[op].ours} == PLAIN_COMMANDS
