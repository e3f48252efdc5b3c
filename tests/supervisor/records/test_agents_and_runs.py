"""Rows of agents and runs: what is wanted, what is, and that an end is an end."""

from typing import Any

import apsw
import pytest

from ipc.frames import IterationDone, IterationStart, Log, Message, PausedBudget, PermissionRequest
from supervisor.consent.permissions import answer
from supervisor.errors import Conflict, NoSuchAgent, NoSuchRun
from supervisor.principals import Principal
from supervisor.records import agents, runs
from supervisor.records.commands import add_command, carry_messages, commands_after
from supervisor.records.db import Tx, memory_tx
from supervisor.records.frames import apply_frames
from supervisor.records.iterations import lineage_position
from supervisor.records.schema import LIVE, TERMINAL
from supervisor.records.sessions import get_session, put_session

from .making import a_run, kinds, numbered, say, table


@pytest.fixture
def tx() -> Tx:
    return memory_tx(now=100.0)


def test_an_agent_is_stored_with_what_is_wanted_and_changed_in_place(tx: Tx) -> None:
    agents.put_agent(tx, "bob", {"template": "t"}, "adhoc", "anna", "up")
    tx.now = 200.0
    agents.put_agent(tx, "bob", {"template": "u"}, "file", "carl", "down")
    row = agents.get_agent(tx.conn, "bob")
    assert row is not None
    assert (row["definition"], row["origin"], row["originator"], row["wanted"]) == (
        {"template": "u"},
        "file",
        "carl",
        "down",
    )
    assert (row["created_at"], row["updated_at"]) == (100.0, 200.0)
    assert kinds(tx) == ["agent.added", "agent.changed"]


def test_what_changes_nothing_is_no_event(tx: Tx) -> None:
    agents.put_agent(tx, "bob", {}, "adhoc", "anna", "up")
    agents.set_wanted(tx, "bob", "up")
    agents.set_held(tx, "bob", None)
    agents.set_backoff(tx, "bob", None, 0)
    assert kinds(tx) == ["agent.added"]


def test_holding_backing_off_and_restarts_are_kept(tx: Tx) -> None:
    agents.put_agent(tx, "bob", {}, "adhoc", "anna", "up")
    agents.set_held(tx, "bob", "six crashes \ud800")
    agents.set_backoff(tx, "bob", 130.0, 3)
    agents.set_caps(tx, "bob", {"cost_usd": 2.0})
    assert [agents.count_restart(tx, "bob") for _ in range(2)] == [1, 2]
    row = agents.get_agent(tx.conn, "bob")
    assert row is not None
    assert (row["held"], row["backoff_until"], row["crash_count"], row["restarts"], row["caps"]) == (
        "six crashes \ud800",
        130.0,
        3,
        2,
        {"cost_usd": 2.0},
    )
    agents.set_held(tx, "bob", None)
    assert kinds(tx)[-1] == "agent.released"


def test_a_removed_agent_is_gone_until_it_is_put_again(tx: Tx) -> None:
    agents.put_agent(tx, "bob", {}, "adhoc", "anna", "up")
    agents.remove_agent(tx, "bob")
    assert agents.all_agents(tx.conn) == []
    assert agents.get_agent(tx.conn, "bob") is None
    with pytest.raises(NoSuchAgent):
        agents.remove_agent(tx, "bob")
    agents.put_agent(tx, "bob", {}, "adhoc", "anna", "up")
    assert [row["name"] for row in agents.all_agents(tx.conn)] == ["bob"]
    assert kinds(tx) == ["agent.added", "agent.removed", "agent.added"]


@pytest.mark.parametrize(
    "change",
    [
        lambda tx: agents.set_wanted(tx, "eve", "up"),
        lambda tx: agents.set_held(tx, "eve", "why"),
        lambda tx: agents.set_backoff(tx, "eve", None, 0),
        lambda tx: agents.set_caps(tx, "eve", {}),
        lambda tx: agents.count_restart(tx, "eve"),
        lambda tx: agents.remove_agent(tx, "eve"),
    ],
)
def test_an_agent_that_is_not_there_is_named(tx: Tx, change: Any) -> None:
    with pytest.raises(NoSuchAgent, match="eve"):
        change(tx)


def test_a_run_begins_its_own_lineage_or_continues_one(tx: Tx) -> None:
    first = a_run(tx)
    second = a_run(tx, after=first)
    assert runs.get_run(tx.conn, first.run_id)["lineage"] == first.run_id
    row = runs.get_run(tx.conn, second.run_id)
    assert (row["lineage"], row["predecessor"], row["settings"]) == (
        first.run_id,
        first.run_id,
        {"args": ["x"]},
    )


def test_a_change_of_state_is_an_event_and_a_repeated_one_is_none(tx: Tx) -> None:
    run = a_run(tx)
    runs.set_state(tx, run.run_id, "starting", pid=7, start_time=1.5, boot_id="b", started_at=100.0)
    runs.set_state(tx, run.run_id, "starting")
    runs.set_state(tx, run.run_id, "running")
    row = runs.get_run(tx.conn, run.run_id)
    assert (row["state"], row["pid"], row["start_time"]) == ("running", 7, 1.5)
    assert kinds(tx) == ["run.starting", "run.running"]


@pytest.mark.parametrize("state", TERMINAL)
def test_a_run_that_has_ended_never_changes(tx: Tx, state: str) -> None:
    run = a_run(tx)
    runs.close_run(tx, run.run_id, state, "so it was", exit_code=0, stderr_tail="bye\0\ud800")
    before = runs.get_run(tx.conn, run.run_id)
    assert (before["state"], before["reason"], before["ended_at"]) == (state, "so it was", 100.0)
    assert before["stderr_tail"] == "bye\0\ud800"
    for end in TERMINAL:
        with pytest.raises(Conflict, match=state):
            runs.close_run(tx, run.run_id, end, None)
    for live in LIVE:
        with pytest.raises(Conflict, match=state):
            runs.set_state(tx, run.run_id, live)
    with pytest.raises(Conflict):
        runs.note_stall(tx, run.run_id)
    with pytest.raises(Conflict):
        add_command(tx, run.run_id, Message(text="too late"))
    assert apply_frames(tx, run, [Log(msg="late", seq=1), IterationStart(iteration=1, seq=2)]).fresh == 0
    for change in ("reason = 'x'", "state = 'running', ended_at = NULL", "last_seq = 9", "exit_code = 1"):
        with pytest.raises(apsw.ConstraintError, match="never changes"):
            tx.conn.execute(f"UPDATE agent_runs SET {change}")
    assert runs.get_run(tx.conn, run.run_id) == before


def test_ended_without_a_time_and_a_time_without_an_end_are_refused_by_the_table(tx: Tx) -> None:
    a_run(tx)
    for change in ("state = 'failed'", "ended_at = 1.0", "state = 'asleep'"):
        with pytest.raises(apsw.ConstraintError):
            tx.conn.execute(f"UPDATE agent_runs SET {change}")


def test_states_and_columns_are_checked(tx: Tx) -> None:
    run = a_run(tx)
    with pytest.raises(ValueError, match="failed"):
        runs.set_state(tx, run.run_id, "failed")
    with pytest.raises(ValueError, match="running"):
        runs.close_run(tx, run.run_id, "running", None)
    with pytest.raises(ValueError, match="last_seq"):
        runs.set_state(tx, run.run_id, "running", last_seq=5)
    with pytest.raises(NoSuchRun, match="99"):
        runs.set_state(tx, 99, "running")


def test_closing_ends_all_that_was_going_on(tx: Tx) -> None:
    run = a_run(tx)
    ask = [PermissionRequest(request_id=name, tool="sh", input={}) for name in ("open", "decided")]
    say(tx, run, *numbered([IterationStart(iteration=1), *ask, PausedBudget(reason="dear")]))
    answer(tx, 2, granted=True, principal=Principal("anna"))
    tx.now = 150.0
    tx.drafts.clear()
    runs.close_run(tx, run.run_id, "crashed", "signal 9", exit_signal=9)
    shown = runs.show_run(tx.conn, run.run_id)
    assert [(row["status"], row["ended_at"]) for row in shown["iterations"]] == [("interrupted", 150.0)]
    assert [(row["state"], row["granted"]) for row in shown["permissions"]] == [
        ("void", None),
        ("in_doubt", True),
    ]
    assert shown["run"]["pause_kind"] is None
    assert kinds(tx) == ["iteration.interrupted", "permission.void", "permission.in_doubt", "run.crashed"]


def test_runs_are_listed_newest_first_and_in_pages(tx: Tx) -> None:
    made = [a_run(tx, agent).run_id for agent in ("bob", "eve", "bob", "bob")]
    runs.close_run(tx, made[0], "succeeded", None)
    assert [row["run_id"] for row in runs.list_runs(tx.conn)] == made[::-1]
    assert [row["run_id"] for row in runs.list_runs(tx.conn, "bob", limit=2)] == [made[3], made[2]]
    assert [row["run_id"] for row in runs.list_runs(tx.conn, "bob", before=made[2])] == [made[0]]
    assert [row["run_id"] for row in runs.unfinished_runs(tx.conn)] == made[1:]
    assert {name: row["run_id"] for name, row in runs.last_runs(tx.conn).items()} == {
        "bob": made[3],
        "eve": made[1],
    }


def test_a_stall_is_noted_once_and_ended_by_the_next_frame(tx: Tx) -> None:
    run = a_run(tx)
    runs.note_stall(tx, run.run_id)
    assert runs.get_run(tx.conn, run.run_id)["stalled_since"] == 100.0
    say(tx, run, Log(msg="here I am", seq=1))
    assert runs.get_run(tx.conn, run.run_id)["stalled_since"] is None
    assert kinds(tx) == ["run.stalled", "log", "run.stirred"]


@pytest.mark.parametrize(
    ("past", "position"),
    [
        ([], (1, 1)),
        ([["ok"]], (2, 1)),
        ([["ok", "error", "ok"]], (4, 1)),
        ([[None]], (1, 2)),
        ([[None], [None]], (1, 3)),
        ([["ok", None], ["ok"]], (3, 1)),
        ([["ok", None], []], (2, 2)),
        ([["ok"], []], (2, 1)),
        ([["ok", "cancelled"]], (3, 1)),
    ],
)
def test_a_lineage_goes_on_where_it_ended(
    tx: Tx, past: list[list[str | None]], position: tuple[int, int]
) -> None:
    """``past``: for each run the ends of its iterations, None for one that was interrupted."""
    run = None
    for ends in past:
        run = a_run(tx, after=run)
        iteration, attempt = lineage_position(tx.conn, run.lineage)
        frames: list[Any] = []
        for end in ends:
            frames.append(IterationStart(iteration=iteration, attempt=attempt))
            if end is not None:
                frames.append(IterationDone(iteration=iteration, attempt=attempt, status=end))
            iteration, attempt = iteration + 1, 1
        say(tx, run, *numbered(frames))
        runs.close_run(tx, run.run_id, "crashed", None)
    run = run or a_run(tx)
    assert lineage_position(tx.conn, run.lineage) == position


def test_commands_are_numbered_stored_and_read_again(tx: Tx) -> None:
    run = a_run(tx)
    first = add_command(tx, run.run_id, Message(text="one"))
    second = add_command(tx, run.run_id, Message(text="two\0"))
    assert (first.cmd, second.cmd) == (1, 2)
    assert commands_after(tx.conn, run.run_id, 0) == [first, second]
    assert commands_after(tx.conn, run.run_id, 1) == [second]
    assert runs.get_run(tx.conn, run.run_id)["last_cmd"] == 2
    with pytest.raises(NoSuchRun):
        add_command(tx, 99, Message(text="nobody"))


def test_a_message_that_no_prompt_contained_is_carried_to_the_next_run_once(tx: Tx) -> None:
    first = a_run(tx)
    for text in ("read", "unread", "unread too"):
        add_command(tx, first.run_id, Message(text=text))
    say(tx, first, IterationStart(iteration=1, messages=[1], seq=1))
    runs.close_run(tx, first.run_id, "crashed", None)
    second = a_run(tx, after=first)
    carried = carry_messages(tx, "bob", second.run_id)
    assert [(frame.text, frame.cmd) for frame in carried] == [("unread", 1), ("unread too", 2)]
    assert carry_messages(tx, "bob", second.run_id) == []
    runs.close_run(tx, second.run_id, "crashed", None)
    third = a_run(tx)
    assert [frame.text for frame in carry_messages(tx, "bob", third.run_id)] == ["unread", "unread too"]
    assert len(table(tx, "commands")) == 7


def test_the_latest_session_is_kept_for_each_agent_task_and_adapter(tx: Tx) -> None:
    put_session(tx, "bob", "claude", "s1")
    put_session(tx, "bob", "claude", "s2")
    put_session(tx, "bob", "codex", "s3", "task")
    assert get_session(tx.conn, "bob", "claude") == "s2"
    assert get_session(tx.conn, "bob", "codex", "task") == "s3"
    assert get_session(tx.conn, "bob", "codex") is None
