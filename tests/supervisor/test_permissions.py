"""A permission is decided once, by whoever may, and bound to what was asked."""

from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest
import trio

from ipc.codec import digest
from ipc.frames import PermissionRequest
from supervisor.consent.permissions import Decision, answer, get_permission, list_permissions
from supervisor.errors import Conflict, Invalid, NotPermitted
from supervisor.principals import Principal
from supervisor.records.agents import put_agent
from supervisor.records.db import Database, Tx, memory_tx, open_database
from supervisor.records.frames import RunRef, apply_frames
from supervisor.records.runs import close_run, open_run

ANNA, ROOT, CARL = Principal("anna"), Principal("root", admin=True), Principal("carl")
INPUT = {"command": "make clean", "folder": "/\0"}


def asked(tx: Tx, agent: str = "bob", originator: str = "anna") -> tuple[RunRef, int]:
    put_agent(tx, agent, {}, "adhoc", originator, "up")
    run_id = open_run(
        tx,
        agent=agent,
        lineage=None,
        predecessor=None,
        template="t",
        template_digest="d",
        adapter="runbook",
        originator=originator,
        settings={},
    )
    run = RunRef(run_id, agent, run_id)
    request = PermissionRequest(request_id="r", tool="sh", input=INPUT, rationale="to be clean")
    (permission_id,) = apply_frames(tx, run, [request]).asked
    return run, permission_id


@pytest.fixture
def tx() -> Tx:
    return memory_tx(now=1_700_000_000.0)


@pytest.mark.parametrize("principal", [ANNA, ROOT])
@pytest.mark.parametrize("granted", [True, False])
def test_the_originator_and_administrators_decide(tx: Tx, principal: Principal, granted: bool) -> None:
    run, permission_id = asked(tx)
    decision = answer(tx, permission_id, granted=granted, principal=principal, reason="because\ud800")
    assert decision == Decision(
        permission_id=permission_id,
        run_id=run.run_id,
        agent="bob",
        request_id="r",
        tool="sh",
        digest=digest("sh", INPUT),
        granted=granted,
        how="person",
        decided_by=principal.name,
        decided_at=tx.now,
        reason="because\ud800",
    )
    row = get_permission(tx.conn, permission_id)
    assert row is not None
    assert (row["state"], row["granted"], row["decided_by"], row["reason"], row["input"]) == (
        "decided",
        granted,
        principal.name,
        "because\ud800",
        INPUT,
    )
    assert tx.drafts[-1].kind == "permission.decided"


@pytest.mark.parametrize(
    "principal",
    [
        CARL,
        Principal("anna", inside="descends from process 7 of this home"),
        Principal("root", admin=True, inside="carries AGENTD_RUN of this home"),
    ],
    ids=["a stranger", "an agent", "an agent of root"],
)
def test_who_may_not_is_refused_and_nothing_changes(tx: Tx, principal: Principal) -> None:
    _, permission_id = asked(tx)
    before = get_permission(tx.conn, permission_id)
    for granted in (True, False):
        with pytest.raises(NotPermitted) as caught:
            answer(tx, permission_id, granted=granted, principal=principal)
    assert caught.value.exit_code == 4
    assert get_permission(tx.conn, permission_id) == before


def test_a_second_answer_names_who_was_first_and_when(tx: Tx) -> None:
    _, permission_id = asked(tx)
    answer(tx, permission_id, granted=True, principal=ANNA)
    with pytest.raises(Conflict, match=r"was allowed by anna at 2023-11-1\d ") as caught:
        answer(tx, permission_id, granted=False, principal=ROOT)
    assert caught.value.exit_code == 5
    row = get_permission(tx.conn, permission_id)
    assert row is not None
    assert row["granted"] is True


def test_what_nobody_asks_any_more_cannot_be_answered(tx: Tx) -> None:
    run, permission_id = asked(tx)
    close_run(tx, run.run_id, "stopped", None)
    with pytest.raises(Conflict, match="void: the run ended"):
        answer(tx, permission_id, granted=True, principal=ANNA)


def test_a_decision_in_doubt_is_not_taken_again(tx: Tx) -> None:
    run, permission_id = asked(tx)
    answer(tx, permission_id, granted=False, principal=ANNA)
    close_run(tx, run.run_id, "crashed", None)
    with pytest.raises(Conflict, match="was denied by anna"):
        answer(tx, permission_id, granted=True, principal=ANNA)


def test_a_permission_that_is_not_there_is_named(tx: Tx) -> None:
    with pytest.raises(Invalid, match="99"):
        answer(tx, 99, granted=True, principal=ROOT)
    assert get_permission(tx.conn, 99) is None


def test_an_automatic_approval_is_recorded_as_such(tx: Tx) -> None:
    _, permission_id = asked(tx)
    answer(tx, permission_id, granted=True, principal=ROOT, how="auto_approve")
    row = get_permission(tx.conn, permission_id)
    assert row is not None
    assert row["how"] == "auto_approve"


def test_the_table_itself_refuses_a_second_decision_and_another_question(tx: Tx) -> None:
    _, permission_id = asked(tx)
    answer(tx, permission_id, granted=False, principal=ANNA)
    for change in (
        "granted = 1",
        "granted = NULL, decided_at = NULL, decided_by = NULL",
        "decided_by = 'carl'",
    ):
        with pytest.raises(apsw.ConstraintError):
            tx.conn.execute(f"UPDATE permissions SET {change}")
    for change in ("input = '{}'", "digest = 'x'", "tool = 'rm'", "request_id = 'q'", "run_id = 2"):
        with pytest.raises(apsw.ConstraintError, match="never changes"):
            tx.conn.execute(f"UPDATE permissions SET {change}")


def test_questions_are_listed_by_state_and_agent(tx: Tx) -> None:
    asked(tx, "bob")
    asked(tx, "eve", "carl")
    answer(tx, 1, granted=True, principal=ANNA)
    assert [(row["id"], row["originator"]) for row in list_permissions(tx.conn)] == [(2, "carl")]
    assert [row["id"] for row in list_permissions(tx.conn, None)] == [1, 2]
    assert [row["id"] for row in list_permissions(tx.conn, "decided", "bob")] == [1]
    assert list_permissions(tx.conn, "open", "bob") == []
    with pytest.raises(Invalid, match="ajar"):
        list_permissions(tx.conn, "ajar")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "a.db", lambda events: None) as database:
        yield database


@pytest.mark.timeout(30)
async def test_of_fifty_answers_at_once_one_decides_and_all_others_learn_of_it(database: Database) -> None:
    _, permission_id = await database.write(asked)
    decided: list[Decision] = []
    refused: list[str] = []

    async def decide(number: int) -> None:
        principal = Principal(f"user{number}", admin=True)
        try:
            decided.append(
                await database.write(
                    lambda tx: answer(tx, permission_id, granted=bool(number % 2), principal=principal)
                )
            )
        except Conflict as error:
            refused.append(str(error))

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(decide, number)
    (decision,) = decided
    assert len(refused) == 49
    word = "allowed" if decision.granted else "denied"
    assert all(f"was {word} by {decision.decided_by} at " in text for text in refused)
    row = await database.read(lambda conn: get_permission(conn, permission_id))
    assert row is not None
    assert (row["granted"], row["decided_by"]) == (decision.granted, decision.decided_by)
