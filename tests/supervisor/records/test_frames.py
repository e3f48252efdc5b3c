"""What a runner says becomes rows and events once, whatever it says and however often."""

from typing import Any

import pytest

from ipc.codec import digest
from ipc.frames import (
    Exit,
    IterationDone,
    IterationStart,
    Log,
    Message,
    Notify,
    PausedBudget,
    PermissionApplied,
    PermissionRequest,
    PermissionWithdrawn,
    Ready,
    Resumed,
    StrayLine,
    Stream,
    UnknownFrame,
    Usage,
)
from supervisor.consent.permissions import answer
from supervisor.errors import NoSuchRun
from supervisor.principals import Principal
from supervisor.records.commands import add_command
from supervisor.records.db import Tx, memory_tx
from supervisor.records.events import read_events
from supervisor.records.frames import RunRef, apply_frames
from supervisor.records.runs import get_run
from supervisor.records.sessions import get_session

from .making import a_run, kinds, numbered, say, table

ANNA = Principal("anna")


@pytest.fixture
def tx() -> Tx:
    return memory_tx(now=100.0)


def iteration(number: int, **done: Any) -> list[Any]:
    return [IterationStart(iteration=number), IterationDone(iteration=number, **{"status": "ok"} | done)]


def test_an_iteration_has_one_row_and_two_events(tx: Tx) -> None:
    run = a_run(tx)
    done = {
        "duration_s": 2,
        "summary": "did it",
        "tokens_in": 3,
        "tokens_out": 4,
        "cost_usd": 0.5,
        "session": "s",
    }
    applied = say(tx, run, *numbered(iteration(1, **done)))
    assert (applied.last_seq, applied.fresh, applied.begun, len(applied.finished)) == (2, 2, (1, 1), 1)
    (row,) = table(tx, "iterations")
    assert {name: row[name] for name in ("status", "started_at", "ended_at", *done)} == {
        "status": "ok",
        "started_at": 100.0,
        "ended_at": 100.0,
        **done,
    }
    assert get_session(tx.conn, "bob", "runbook") == "s"
    assert kinds(tx) == ["iteration.started", "iteration.done"]
    of_run = get_run(tx.conn, run.run_id)
    assert (of_run["last_seq"], of_run["iteration"], of_run["iterations"]) == (2, 1, 1)


@pytest.mark.parametrize("cut", range(6))
def test_it_does_not_matter_where_the_frames_are_cut(tx: Tx, cut: int) -> None:
    run = a_run(tx)
    frames = numbered(
        [
            IterationStart(iteration=1),
            Usage(iteration=1, model="m", tokens_in=5, cost_usd=0.25),
            Usage(iteration=1, model="n", tokens_in=1),
            IterationDone(iteration=1, status="ok", tokens_in=10, cost_usd=1.0),
            Log(msg="x"),
        ]
    )
    say(tx, run, *frames[:cut])
    say(tx, run, *frames[cut:])
    spent = [(row["model"], row["tokens_in"], row["cost_usd"]) for row in table(tx, "ledger")]
    assert sorted(spent, key=str) == [("", 4, 0.75), ("m", 5, 0.25), ("n", 1, None)]
    assert [row["status"] for row in table(tx, "iterations")] == ["ok"]


def test_a_frame_seen_twice_changes_nothing(tx: Tx) -> None:
    run = a_run(tx)
    frames = numbered([*iteration(1), Log(msg="x"), PermissionRequest(request_id="r", tool="sh")])
    say(tx, run, *frames)
    before = [table(tx, name) for name in ("agent_runs", "iterations", "permissions", "ledger")]
    tx.drafts.clear()
    applied = say(tx, run, *frames)
    assert (applied.fresh, applied.last_seq, applied.asked) == (0, 4, [])
    assert [table(tx, name) for name in ("agent_runs", "iterations", "permissions", "ledger")] == before
    assert kinds(tx) == []


def test_words_for_people_and_operators_are_events(tx: Tx) -> None:
    run = a_run(tx)
    say(tx, run, *numbered([Log(level="warning", msg="a\0b"), Notify(text="\ud800", bridge="mail")]))
    told = tx.number(0)
    assert [(event.kind, event.agent, event.run_id, event.data) for event in told] == [
        ("log", "bob", run.run_id, {"level": "warning", "msg": "a\0b"}),
        ("notify", "bob", run.run_id, {"text": "\ud800", "bridge": "mail"}),
    ]
    assert read_events(tx.conn, 0) == told


def test_what_is_no_record_leaves_none_but_its_number(tx: Tx) -> None:
    run = a_run(tx)
    stream = Stream(stream="tool", data={})
    applied = say(
        tx, run, stream, StrayLine("hm"), UnknownFrame("new", {"op": "new", "seq": 1}), Log(msg="x", seq=2)
    )
    assert applied.last_seq == 2
    assert kinds(tx) == ["log"]


def test_ready_says_who_speaks_how(tx: Tx) -> None:
    run = a_run(tx, protocol=None)
    assert get_run(tx.conn, run.run_id)["ready_at"] is None
    applied = say(tx, run, Ready(protocol=1, seq=1))
    assert applied.ready is not None
    row = get_run(tx.conn, run.run_id)
    assert (row["protocol"], row["ready_at"], row["last_seq"]) == (1, 100.0, 1)


def test_a_pause_and_its_end_are_in_the_row(tx: Tx) -> None:
    run = a_run(tx)
    pause = PausedBudget(reason="spent", kind="budget", resume_at=300.0, seq=1)
    applied = say(tx, run, pause)
    assert (applied.paused, applied.resumed) == (pause, False)
    row = get_run(tx.conn, run.run_id)
    assert (row["pause_kind"], row["pause_reason"], row["pause_seq"], row["resume_at"]) == (
        "budget",
        "spent",
        1,
        300,
    )
    applied = say(tx, run, Resumed(seq=2))
    assert (applied.paused, applied.resumed) == (None, True)
    assert get_run(tx.conn, run.run_id)["pause_kind"] is None
    assert kinds(tx) == ["pause.began", "pause.ended"]


def test_exit_is_kept_with_the_run(tx: Tx) -> None:
    run = a_run(tx)
    applied = say(tx, run, Exit(reason="completed", iterations=3, seq=1))
    assert applied.exit is not None
    assert get_run(tx.conn, run.run_id)["exit_reason"] == "completed"


def test_messages_in_a_prompt_are_marked(tx: Tx) -> None:
    run = a_run(tx)
    for _ in range(2):
        add_command(tx, run.run_id, Message(text="x"))
    say(tx, run, IterationStart(iteration=1, messages=[2, 77], seq=1))
    assert [row["iteration"] for row in table(tx, "commands")] == [None, 1]


def test_a_question_is_stored_whole_with_its_digest(tx: Tx) -> None:
    run = a_run(tx)
    given = {"command": "rm -rf /\0", "n": [1, 2.5, None]}
    applied = say(
        tx, run, PermissionRequest(request_id="r\0", tool="sh", input=given, rationale="why", seq=1)
    )
    assert applied.asked == [1]
    (row,) = table(tx, "permissions")
    assert (row["state"], row["digest"], row["asked_at"]) == ("open", digest("sh", given), 100.0)
    assert row["request_id"] == "r\0"
    assert kinds(tx) == ["permission.asked"]


def test_a_decision_is_applied_once(tx: Tx) -> None:
    run = a_run(tx)
    say(tx, run, PermissionRequest(request_id="r", tool="sh", seq=1))
    answer(tx, 1, granted=False, principal=ANNA)
    applied = say(tx, run, PermissionApplied(request_id="r", granted=False, seq=2))
    assert applied.settled == [1]
    assert table(tx, "permissions")[0]["state"] == "applied"
    assert say(tx, run, PermissionWithdrawn(request_id="r", seq=3)).settled == []
    assert table(tx, "permissions")[0]["state"] == "applied"


@pytest.mark.parametrize("decided", [False, True])
def test_a_withdrawn_question_is_void_also_when_it_was_decided(tx: Tx, decided: bool) -> None:
    run = a_run(tx)
    say(tx, run, PermissionRequest(request_id="r", tool="sh", seq=1))
    if decided:
        answer(tx, 1, granted=True, principal=ANNA)
    applied = say(tx, run, PermissionWithdrawn(request_id="r", reason="stopped", seq=2))
    assert applied.settled == [1]
    (row,) = table(tx, "permissions")
    assert (row["state"], row["closed_reason"]) == ("void", "stopped")


FAULTS: list[tuple[str, list[Any], str]] = [
    ("never begun", [IterationDone(iteration=1, status="ok")], "iteration_done.iteration"),
    (
        "another attempt",
        [IterationStart(iteration=1, attempt=2), IterationDone(iteration=1, status="ok")],
        "iteration_done",
    ),
    ("ended twice", [*iteration(1), IterationDone(iteration=1, status="ok")], "iteration_done.iteration"),
    ("begun twice", [IterationStart(iteration=1), IterationStart(iteration=1)], "iteration_start.iteration"),
    ("begun again after its end", [*iteration(1), IterationStart(iteration=1)], "iteration_start.iteration"),
    ("an absurd number", [IterationStart(iteration=2**63 - 1)], "iteration_start.iteration"),
    ("an absurd attempt", [IterationStart(iteration=1, attempt=2**60)], "iteration_start.attempt"),
    ("usage of nothing", [Usage(iteration=1, tokens_in=1)], "usage.iteration"),
    (
        "a wrong digest",
        [PermissionRequest(request_id="r", tool="sh", digest="0" * 64)],
        "permission_request.digest",
    ),
    (
        "one name for two questions",
        [PermissionRequest(request_id="r", tool="sh"), PermissionRequest(request_id="r", tool="rm")],
        "permission_request.request_id",
    ),
    (
        "the name of a closed question",
        [
            PermissionRequest(request_id="r", tool="sh"),
            PermissionWithdrawn(request_id="r"),
            PermissionRequest(request_id="r", tool="sh"),
        ],
        "permission_request.request_id",
    ),
    (
        "applied and never asked",
        [PermissionApplied(request_id="r", granted=True)],
        "permission_applied.request_id",
    ),
    (
        "applied and never decided",
        [PermissionRequest(request_id="r", tool="sh"), PermissionApplied(request_id="r", granted=True)],
        "permission_applied.request_id",
    ),
]


@pytest.mark.parametrize(("frames", "field"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS])
def test_a_contradiction_is_a_fault_and_what_came_before_it_stays(
    tx: Tx, frames: list[Any], field: str
) -> None:
    run = a_run(tx)
    good = [Log(msg="one"), Log(msg="two")]
    applied = apply_frames(tx, run, numbered([*good, *frames, Log(msg="behind")]))
    assert applied.fault is not None
    assert (applied.fault.field or "").startswith(field)
    assert applied.last_seq == applied.fresh == len(good) + len(frames) - 1
    assert get_run(tx.conn, run.run_id)["last_seq"] == applied.last_seq
    assert kinds(tx).count("log") == 2


def test_an_input_nested_too_deep_is_a_fault(tx: Tx) -> None:
    nested: dict[str, Any] = {}
    for _ in range(5000):
        nested = {"in": nested}
    applied = apply_frames(tx, a_run(tx), [PermissionRequest(request_id="r", tool="sh", input=nested, seq=1)])
    assert applied.fault is not None
    assert applied.fault.field == "permission_request.input"


def test_a_decision_applied_the_other_way_round_is_a_fault(tx: Tx) -> None:
    run = a_run(tx)
    say(tx, run, PermissionRequest(request_id="r", tool="sh", seq=1))
    answer(tx, 1, granted=False, principal=ANNA)
    assert apply_frames(tx, run, [PermissionApplied(request_id="r", granted=True, seq=2)]).fault is not None
    assert table(tx, "permissions")[0]["state"] == "decided"


def test_numbers_beyond_a_column_do_not_hurt(tx: Tx) -> None:
    run = a_run(tx)
    huge: dict[str, Any] = {"tokens_in": 2**70, "tokens_out": -5, "cost_usd": float("inf")}
    frames = [
        IterationStart(iteration=1),
        Usage(iteration=1, **huge),
        Usage(iteration=1, **huge | {"cost_usd": -1.0}),
    ]
    say(
        tx,
        run,
        *numbered([*frames, IterationDone(iteration=1, status="ok", duration_s=float("nan"), **huge)]),
    )
    say(tx, run, IterationStart(iteration=2, seq=5), IterationDone(iteration=2, status="ok", seq=6, **huge))
    assert {row["tokens_in"] for row in table(tx, "ledger")} <= {0, 2**63 - 1}
    assert tx.number(0)


def test_a_run_that_is_not_there_is_named(tx: Tx) -> None:
    with pytest.raises(NoSuchRun, match="99"):
        apply_frames(tx, RunRef(99, "bob", 99), [])


# Plain peers


def test_a_plain_runner_may_leave_out_the_beginning(tx: Tx) -> None:
    run = a_run(tx, protocol=0)
    say(tx, run, IterationDone(iteration=1, status="ok", duration_s=5.0))
    (row,) = table(tx, "iterations")
    assert (row["status"], row["started_at"], row["ended_at"]) == ("ok", 95.0, 100.0)


def test_a_plain_runner_that_repeats_itself_has_one_row(tx: Tx) -> None:
    run = a_run(tx, protocol=0)
    say(tx, run, *iteration(1), *iteration(1), IterationDone(iteration=1, status="error"))
    say(tx, run, *iteration(1, status="error"))
    assert [row["status"] for row in table(tx, "iterations")] == ["ok"]
    assert get_run(tx.conn, run.run_id)["iterations"] == 1


@pytest.mark.parametrize(
    "frame",
    [
        IterationDone(iteration=1, status="ok"),
        PermissionRequest(request_id="next", tool="sh"),
        Exit(reason="completed"),
    ],
    ids=lambda frame: frame.op,
)
def test_a_plain_runner_that_goes_on_has_applied_the_decision(tx: Tx, frame: Any) -> None:
    run = a_run(tx, protocol=0)
    say(tx, run, PermissionRequest(request_id="r", tool="sh"))
    say(tx, run, PermissionRequest(request_id="r", tool="sh"))
    answer(tx, 1, granted=True, principal=ANNA)
    assert say(tx, run, frame).settled == [1]
    assert table(tx, "permissions")[0]["state"] == "applied"


def test_a_plain_runner_that_works_again_is_not_paused(tx: Tx) -> None:
    run = a_run(tx, protocol=0)
    say(tx, run, PausedBudget(reason="spent"))
    assert say(tx, run, IterationStart(iteration=2)).resumed
    assert get_run(tx.conn, run.run_id)["pause_kind"] is None
