"""One end of the wire: numbers, faults, taking over, and who may say what."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.codec import encode
from ipc.errors import LocalError
from ipc.frames import (
    CATALOGUE,
    Ack,
    Attach,
    Attached,
    Cancel,
    Exit,
    Init,
    InitPayload,
    IterationDone,
    IterationStart,
    Log,
    Message,
    Pause,
    PausedBudget,
    PermissionRequest,
    PermissionResponse,
    Ping,
    Pong,
    Ready,
    Resume,
    Resumed,
    Side,
    Stop,
    StrayLine,
    Stream,
    UnknownFrame,
    Usage,
)
from ipc.session import UNDO_LIMIT, Fault, Session
from ipc.talk import COMMANDS, PLAIN_COMMANDS, PLAIN_STEPS, STEPS, Talk
from tests.ipc.pairs import greeting, pair, sample

RUNNER_OPS = [op for op, cls in CATALOGUE.items() if cls.sender is Side.RUNNER]
SUPERVISOR_OPS = [op for op, cls in CATALOGUE.items() if cls.sender is Side.SUPERVISOR]
BOTH_WAYS = pytest.mark.parametrize("protocol", [1, 0], ids=["protocol 1", "plain"])
EVERY_TALK = pytest.mark.parametrize("talk", Talk, ids=lambda talk: talk.value)


def said(**raw: Any) -> bytes:
    return json.dumps(raw).encode() + b"\n"


def fault(session: Session, data: bytes) -> Fault:
    *before, last = session.receive(data)
    assert not any(isinstance(item, Fault) for item in before)
    assert isinstance(last, Fault)
    return last


# Who may say what


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


# Agreeing how to speak


@pytest.mark.parametrize("offered", [0, 1, 2])
@pytest.mark.parametrize("accepted", [0, 1, 2])
def test_protocol_one_is_spoken_only_if_both_sides_offer_it(offered: int, accepted: int) -> None:
    supervisor, runner = Session(Side.SUPERVISOR), Session(Side.RUNNER)
    runner.receive(supervisor.send(greeting(offered)))
    assert (supervisor.protocol, runner.protocol) == (0, 0)
    supervisor.receive(runner.send(Ready(protocol=accepted)))
    assert supervisor.protocol == runner.protocol == (1 if offered and accepted else 0)
    assert runner.last_seq == supervisor.last_seq == runner.protocol


def test_a_plain_supervisor_sees_nothing_of_ours() -> None:
    runner = Session(Side.RUNNER)
    runner.receive(said(op="init", payload={"name": "a", "run_id": "1", "template": "/t"}))
    assert runner.send(Ready(protocol=1, pid=3, capabilities={})) == b'{"op":"ready"}\n'
    assert json.loads(runner.send(IterationStart(iteration=1, attempt=2))) == {
        "op": "iteration_start",
        "iteration": 1,
    }
    done = json.loads(runner.send(IterationDone(iteration=1, status="timed_out", session="s")))
    assert done["status"] == "error"
    assert not {"seq", "attempt", "session"} & set(done)
    for frame in (Usage(iteration=1), Stream(stream="tool"), Pong(id="p")):
        with pytest.raises(LocalError, match="plain supervisor"):
            runner.send(frame)
    assert json.loads(runner.send(Exit(reason="stopped", iterations=1)))["reason"] == "completed"


def test_a_plain_runner_is_told_nothing_of_ours_but_in_init() -> None:
    supervisor = Session(Side.SUPERVISOR)
    assert json.loads(supervisor.send(greeting()))["payload"]["protocol"] == 1
    supervisor.receive(said(op="ready"))
    response = supervisor.send(
        PermissionResponse(request_id="r", granted=True, digest="d", reason="ok", cmd=3)
    )
    assert json.loads(response) == {"op": "permission_response", "request_id": "r", "granted": True}
    assert supervisor.send(Resume(pause_seq=3)) == b'{"op":"resume"}\n'
    for frame in (
        Ack(seq=1),
        Ping(id="p"),
        Cancel(iteration=1, cmd=4),
        Pause(cmd=5),
        Message(text="", cmd=6),
    ):
        with pytest.raises(LocalError, match="plain runner"):
            supervisor.send(frame)


def test_a_plain_runner_may_leave_out_starts_and_ends_of_pauses() -> None:
    supervisor = Session(Side.SUPERVISOR)
    supervisor.send(greeting())
    words = ["ready", "iteration_done", "paused_budget", "iteration_start", "resumed", "iteration_done"]
    words += ["permission_request", "paused_budget", "resumed", "resumed", "permission_request", "exit"]
    whole: dict[str, dict[str, Any]] = {
        "iteration_start": {"iteration": 1},
        "iteration_done": {"iteration": 1, "status": "ok"},
        "permission_request": {"request_id": "r", "tool": "t", "input": {}, "rationale": ""},
        "exit": {"reason": "completed", "iterations": 2},
    }
    received = supervisor.receive(b"".join(said(op=word, **whole.get(word, {})) for word in words))
    assert [item.op for item in received if not isinstance(item, Fault | StrayLine)] == words
    assert supervisor.last_seq == 0


def test_a_stop_before_ready_still_says_its_deadline_to_a_runner_that_may_speak_as_we_do() -> None:
    supervisor = Session(Side.SUPERVISOR)
    supervisor.send(greeting())
    assert b"deadline_s" in supervisor.send(Stop(deadline_s=6.0))


def test_an_iteration_done_that_never_began_is_a_fault_in_protocol_one() -> None:
    supervisor, _ = pair(Talk.IDLE)
    assert (
        fault(supervisor, said(op="iteration_done", iteration=1, status="ok", seq=2)).error.field
        == "iteration_done"
    )


# Numbers


def test_runner_frames_are_numbered_from_one_without_gaps_and_the_rest_are_not() -> None:
    supervisor, runner = pair(Talk.TURN)
    frames = [Log(msg="a"), Stream(stream="tool"), Usage(iteration=1), Pong(id="p"), Log(msg="b")]
    lines = [json.loads(runner.send(frame)) for frame in frames]
    assert [line.get("seq") for line in lines] == [3, None, 4, None, 5]
    assert runner.last_seq == 5
    assert supervisor.last_seq == 2


def test_a_gap_is_a_fault() -> None:
    supervisor, _ = pair(Talk.TURN)
    assert fault(supervisor, said(op="log", msg="a", seq=4)).error.field == "log.seq"


def test_a_missing_number_is_a_fault_on_both_sides() -> None:
    supervisor, runner = pair(Talk.TURN)
    assert fault(supervisor, said(op="log", msg="a")).error.field == "log.seq"
    assert fault(runner, said(op="pause")).error.field == "pause.cmd"


def test_a_frame_seen_twice_is_left_out_and_changes_nothing() -> None:
    supervisor, runner = pair(Talk.IDLE)
    start, done = (
        runner.send(IterationStart(iteration=1)),
        runner.send(IterationDone(iteration=1, status="ok")),
    )
    assert len(supervisor.receive(start + start + done + start + done)) == 2
    assert supervisor.talk is Talk.IDLE
    assert supervisor.last_seq == 3


def test_a_command_seen_twice_is_left_out_and_numbers_may_leap() -> None:
    supervisor, runner = pair(Talk.TURN)
    pause, message = supervisor.send(Pause(cmd=2)), supervisor.send(Message(text="a", cmd=7))
    assert [type(item) for item in runner.receive(pause + pause + message + pause + message)] == [
        Pause,
        Message,
    ]
    assert runner.last_cmd == 7


@pytest.mark.parametrize("cmd", [None, 0, 3])
def test_a_supervisor_does_not_say_a_command_without_a_higher_number(cmd: int | None) -> None:
    supervisor, _ = pair(Talk.TURN)
    supervisor.send(Pause(cmd=3))
    with pytest.raises(LocalError, match="cmd"):
        supervisor.send(Pause(cmd=cmd))


def test_stop_may_be_repeated_and_needs_no_number() -> None:
    supervisor, runner = pair(Talk.TURN)
    assert len(runner.receive(supervisor.send(Stop()) * 3)) == 3


def test_the_number_of_an_unknown_frame_counts() -> None:
    supervisor, runner = pair(Talk.TURN)
    song = said(op="sing", seq=3)
    received = supervisor.receive(song + song + said(op="log", msg="a", seq=4))
    assert [type(item) for item in received] == [UnknownFrame, Log]
    assert supervisor.last_seq == 4
    assert fault(supervisor, said(op="sing", seq=6)).error.field == "sing.seq"
    dance = said(op="dance", cmd=9)
    assert len(runner.receive(dance + dance)) == 1
    assert runner.last_cmd == 9


def test_an_unknown_frame_without_a_number_is_handed_on() -> None:
    for session in pair(Talk.TURN):
        assert session.receive(said(op="sing")) == [UnknownFrame("sing", {"op": "sing"})]


def test_a_frame_that_could_not_be_written_was_never_said() -> None:
    supervisor, runner = pair(Talk.IDLE)
    runner.send(IterationStart(iteration=1))
    runner.send(Log(msg="lost"))
    runner.unsend()
    runner.unsend()
    assert (runner.talk, runner.last_seq) == (Talk.IDLE, 1)
    assert len(supervisor.receive(runner.send(IterationStart(iteration=1)))) == 1


def test_ready_itself_can_be_taken_back() -> None:
    _, runner = pair(Talk.GREETED)
    runner.send(Ready(protocol=1))
    runner.unsend()
    assert (runner.talk, runner.last_seq, runner.protocol) == (Talk.GREETED, 0, 0)


def test_only_so_many_frames_can_be_taken_back() -> None:
    _, runner = pair(Talk.TURN)
    for _ in range(UNDO_LIMIT + 10):
        runner.send(Log(msg=""))
    for _ in range(UNDO_LIMIT):
        runner.unsend()
    with pytest.raises(LocalError):
        runner.unsend()
    with pytest.raises(LocalError):
        Session(Side.RUNNER).unsend()


def test_a_frame_that_cannot_be_written_takes_no_number() -> None:
    _, runner = pair(Talk.TURN)
    for frame in (Log(msg="\ud800"), Log(msg="x" * 1_048_576), IterationDone(iteration=1, status="bored")):
        with pytest.raises(LocalError):
            runner.send(frame)
    assert (runner.talk, runner.last_seq) == (Talk.TURN, 2)


# Faults and strays


def test_what_came_before_a_fault_is_handed_out_and_nothing_after_it() -> None:
    supervisor, _ = pair(Talk.TURN)
    good, bad = said(op="log", msg="a", seq=3), said(op="log", msg=7, seq=4)
    received = supervisor.receive(good + b"stray\n" + bad + said(op="log", msg="b", seq=4))
    assert [type(item) for item in received] == [Log, StrayLine, Fault]
    assert supervisor.receive(said(op="log", msg="b", seq=4)) == []
    assert supervisor.receive(b"\n") == []
    assert supervisor.last_seq == 3


def test_a_field_of_the_wrong_kind_is_a_fault_by_its_name() -> None:
    supervisor, runner = pair(Talk.TURN)
    assert fault(supervisor, said(op="usage", iteration="1", seq=3)).error.field == "usage.iteration"
    assert (
        fault(runner, said(op="resume", budgets=[{"scope": "run"}], cmd=1)).error.field
        == "resume.budgets.what"
    )


def test_the_text_false_is_an_error_and_not_true() -> None:
    payload = {"name": "a", "run_id": "1", "template": "/t", "auto_approve": "false"}
    assert (
        fault(Session(Side.RUNNER), said(op="init", payload=payload)).error.field
        == "init.payload.auto_approve"
    )


def test_a_line_over_the_limit_is_a_fault_before_its_newline_comes() -> None:
    session = Session(Side.RUNNER, limit=100)
    assert "100" in str(fault(session, b"x" * 100).error)


def test_empty_lines_are_nothing() -> None:
    for session in pair(Talk.TURN):
        assert session.receive(b"\n \n\t\r\n") == []


def test_stray_lines_never_end_a_conversation() -> None:
    supervisor, _ = pair(Talk.TURN)
    strays = [b"hello", b"{", b"null", b'{"op":3}', b"\xff\xfe"]
    received = supervisor.receive(b"\n".join(strays) + b"\n")
    assert [type(item) for item in received] == [StrayLine] * len(strays)
    assert [type(item) for item in supervisor.receive(said(op="log", msg="a", seq=3))] == [Log]


@given(st.lists(st.integers(0, 400), max_size=8))
def test_frames_arrive_alike_however_the_bytes_are_cut(cuts: list[int]) -> None:
    supervisor, runner = pair(Talk.IDLE)
    frames = [
        IterationStart(iteration=1),
        Log(msg="ü\n"),
        PermissionRequest(request_id="r", tool="t"),
        PausedBudget(),
    ]
    data = b"".join(runner.send(frame) for frame in frames[:3]) + b"stray\n"
    ends = sorted(min(end, len(data)) for end in cuts)
    pieces = [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]
    assert [item for piece in pieces for item in supervisor.receive(piece)] == [
        *frames[:3],
        StrayLine("stray"),
    ]


# Taking over


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
    assert [type(item) for item in new.receive(runner.send(Log(msg="a")))] == [Log]
    assert len(runner.receive(new.send(Pause(cmd=7)))) == 1


@pytest.mark.parametrize(
    "torn", [b'{"op":"pau', b"{", b'{"op":"permission_response","granted":true,"re', b"\xff"]
)
def test_the_line_that_the_last_supervisor_left_torn_is_dropped_silently(torn: bytes) -> None:
    _, runner, data = taken_over()
    assert runner.receive(torn) == []
    assert [type(item) for item in runner.receive(data)] == [Attach]


def test_a_stray_command_line_that_no_attach_follows_is_reported_in_its_place() -> None:
    _, runner, _ = taken_over()
    assert runner.receive(b"garbage\n\n") == []
    assert runner.receive(b"more\n") == [StrayLine("garbage")]
    assert runner.receive(encode(Stop())) == [StrayLine("more"), Stop()]


def test_a_stray_line_before_a_fault_is_reported_before_it() -> None:
    _, runner, _ = taken_over()
    received = runner.receive(b"garbage\n" + said(op="pause", reason=1, cmd=1))
    assert [type(item) for item in received] == [StrayLine, Fault]


def test_a_command_whose_newline_alone_was_lost_still_counts() -> None:
    _, runner, data = taken_over()
    received = runner.receive(said(op="pause", cmd=1).rstrip() + data)
    assert [type(item) for item in received] == [Pause, Attach]
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
    assert [type(item) for item in received] == [Attached, Ready, IterationStart, Exit]
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


def test_nothing_is_said_before_init_and_init_only_once() -> None:
    supervisor = Session(Side.SUPERVISOR)
    with pytest.raises(LocalError, match="new"):
        supervisor.send(Resume())
    supervisor.send(greeting())
    with pytest.raises(LocalError, match="init"):
        supervisor.send(Init(payload=InitPayload(name="a", run_id="1", template="/t")))


def test_a_runner_waits_for_its_resume_and_says_so() -> None:
    supervisor, runner = pair(Talk.PAUSED)
    runner.receive(supervisor.send(Resume(pause_seq=2, cmd=1)))
    assert supervisor.receive(runner.send(Resumed())) == [Resumed(seq=3)]
    assert supervisor.talk is runner.talk is Talk.IDLE
