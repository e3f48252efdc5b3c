"""One end of the wire: how it agrees to speak, its numbers, and what is stray or a fault."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.errors import LocalError
from ipc.frames import (
    Ack,
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
from ipc.talk import Talk
from tests.ipc.pairs import fault, greeting, kinds, pair, said

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
    received = runner.receive(pause + pause + message + pause + message)
    assert [item.op for item in received if isinstance(item, Pause | Message)] == ["pause", "message"]
    assert len(received) == 2
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
    assert kinds(received) == [UnknownFrame, Log]
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
    assert kinds(received) == [Log, StrayLine, Fault]
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
    assert kinds(received) == [StrayLine] * len(strays)
    assert kinds(supervisor.receive(said(op="log", msg="a", seq=3))) == [Log]


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
