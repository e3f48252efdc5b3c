"""What was spent is what is known at most, and what nobody knows is never taken for nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.frames import (
    Budget,
    IterationDone,
    IterationStart,
    PermissionRequest,
    PermissionWithdrawn,
    Ready,
    Usage,
)
from supervisor.consent.permissions import answer
from supervisor.money.ledger import (
    Totals,
    agent_totals,
    budget_table,
    budgets_for,
    lineage_totals,
    run_totals,
    totals_since,
)
from supervisor.principals import Principal
from supervisor.records.db import Tx, memory_tx
from supervisor.records.frames import RunRef, apply_frames
from supervisor.records.runs import close_run, open_run


def a_run(tx: Tx, agent: str = "bob", after: RunRef | None = None) -> RunRef:
    lineage = after.lineage if after else None
    run_id = open_run(
        tx,
        agent=agent,
        lineage=lineage,
        predecessor=after.run_id if after else None,
        template="t",
        template_digest="d",
        adapter="runbook",
        originator="anna",
        settings={},
    )
    run = RunRef(run_id, agent, lineage or run_id)
    say(tx, run, Ready(protocol=1))
    return run


def say(tx: Tx, run: RunRef, *frames: Any) -> None:
    assert apply_frames(tx, run, frames).fault is None


def worked(tx: Tx, run: RunRef, number: int = 1, **done: Any) -> None:
    say(tx, run, IterationStart(iteration=number), IterationDone(iteration=number, status="ok", **done))


@pytest.fixture
def tx() -> Tx:
    return memory_tx(now=1000.0)


@pytest.mark.parametrize(
    ("usage", "done", "totals"),
    [
        ([], {"cost_usd": 0.0}, Totals(iterations=1)),
        ([], {"tokens_in": 3, "tokens_out": 4, "cost_usd": 0.5}, Totals(0.5, 7, 1)),
        ([], {"tokens_in": 3}, Totals(tokens=3, iterations=1, cost_unknown=True)),
        ([], {}, Totals(iterations=1)),
        ([{"tokens_in": 5, "cost_usd": 0.25}], {"cost_usd": 0.0}, Totals(0.25, 5, 1)),
        ([{"tokens_in": 5, "cost_usd": 0.25}, {"tokens_in": 9, "cost_usd": 0.5}], {}, Totals(0.5, 9, 1)),
        ([{"tokens_in": 9, "cost_usd": 0.5}, {"tokens_in": 5, "cost_usd": 0.25}], {}, Totals(0.5, 9, 1)),
        ([{"tokens_in": 9}, {"tokens_in": 5, "cost_usd": 0.25}], {}, Totals(0.25, 9, 1)),
        ([{"tokens_in": 9}], {}, Totals(0.0, 9, 1, cost_unknown=True)),
        ([{"tokens_in": 9}], {"tokens_in": 9, "cost_usd": 0.75}, Totals(0.75, 9, 1)),
        (
            [{"model": "a", "tokens_in": 2}, {"model": "b", "tokens_out": 3}],
            {"tokens_in": 8},
            Totals(0, 11, 1, 0, True),
        ),
        (
            [{"model": "a", "cost_usd": 1.0}, {"model": "b", "cost_usd": 2.0}],
            {"cost_usd": 4.0},
            Totals(4.0, 0, 1),
        ),
        (
            [{"model": "a", "cost_usd": 1.0}, {"model": "b", "cost_usd": 2.0}],
            {"cost_usd": 0.5},
            Totals(3.0, 0, 1),
        ),
        ([{"cache_read_tokens": 10**6, "cost_usd": 0.5}], {}, Totals(0.5, 0, 1)),
        ([{"tokens_in": 2**63 - 1, "tokens_out": 2**63 - 1, "cost_usd": 0.0}], {}, Totals(0.0, 2**64, 1)),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_an_iteration_costs_the_most_that_was_heard_of_it(
    tx: Tx, usage: list[Any], done: dict[str, Any], totals: Totals, together: bool
) -> None:
    run = a_run(tx)
    frames = [
        IterationStart(iteration=1),
        *(Usage(iteration=1, **{"model": "m"} | one) for one in usage),
        IterationDone(iteration=1, status="ok", **done),
    ]
    for batch in [frames] if together else [[frame] for frame in frames]:
        say(tx, run, *batch)
    assert run_totals(tx.conn, run.run_id) == totals
    assert lineage_totals(tx.conn, run.lineage) == totals
    assert agent_totals(tx.conn, "bob") == totals


def test_an_interrupted_iteration_has_spent_and_does_not_count(tx: Tx) -> None:
    run = a_run(tx)
    say(tx, run, IterationStart(iteration=1), Usage(iteration=1, model="m", tokens_in=5, cost_usd=0.5))
    assert run_totals(tx.conn, run.run_id) == Totals(0.5, 5)
    close_run(tx, run.run_id, "crashed", None)
    assert run_totals(tx.conn, run.run_id) == Totals(0.5, 5)


def test_interrupted_attempts_are_charged_their_time_and_reach_a_cap(tx: Tx) -> None:
    run = a_run(tx)
    for attempt in (1, 2, 3):
        run = run if attempt == 1 else a_run(tx, after=run)
        say(tx, run, IterationStart(iteration=1, attempt=attempt))
        tx.now += 0.75
        close_run(tx, run.run_id, "crashed", None)
        assert run_totals(tx.conn, run.run_id) == Totals(wall_s=0.75)
    spent = Totals(wall_s=2.25)
    assert lineage_totals(tx.conn, run.lineage) == agent_totals(tx.conn, "bob") == spent
    assert totals_since(tx.conn, 0.0) == {"bob": spent}
    again = a_run(tx, after=run)
    assert budgets_for(tx.conn, {"wall_s": 2.0}, "bob", again.lineage, again.run_id) == [
        Budget(scope="run", what="wall_s", cap=2.0, base=2.25)
    ]


def test_what_an_interrupted_attempt_waited_for_people_is_not_charged(tx: Tx) -> None:
    run = a_run(tx)

    def after(seconds: float, *frames: Any) -> None:
        tx.now += seconds
        say(tx, run, *frames)

    def ask(name: str) -> PermissionRequest:
        return PermissionRequest(request_id=name, tool="sh", input={})

    after(0, IterationStart(iteration=1))
    after(1, ask("answered"))
    after(100, ask("open at the same time"))
    tx.now += 10
    answer(tx, 1, granted=True, principal=Principal("anna"))
    tx.now += 1000
    answer(tx, 2, granted=True, principal=Principal("anna"))
    after(2, ask("withdrawn"))
    after(4, PermissionWithdrawn(request_id="withdrawn", reason="late"))
    after(8, ask("never answered"))
    tx.now += 5000
    close_run(tx, run.run_id, "crashed", None)
    assert run_totals(tx.conn, run.run_id) == Totals(wall_s=1 + 2 + 4 + 8)


def test_nothing_spent_is_known_to_be_nothing(tx: Tx) -> None:
    assert run_totals(tx.conn, a_run(tx).run_id) == agent_totals(tx.conn, "eve") == Totals()
    assert totals_since(tx.conn, 0) == {}


def test_base_is_what_others_of_the_lineage_and_of_the_agent_spent(tx: Tx) -> None:
    other = a_run(tx)
    worked(tx, other, cost_usd=4.0, tokens_in=100, duration_s=60)
    first = a_run(tx)
    worked(tx, first, cost_usd=1.0, tokens_in=10, duration_s=30)
    second = a_run(tx, after=first)
    worked(tx, second, 2, cost_usd=0.5)
    worked(tx, a_run(tx, "eve"), cost_usd=64.0)
    caps = {
        "cost_usd": 5.0,
        "iterations": 10,
        "tokens": None,
        "wall_s": 90.0,
        "agent": {"tokens": 1000, "cost_usd": 9},
    }
    assert budgets_for(tx.conn, caps, "bob", second.lineage, second.run_id) == [
        Budget(scope="run", what="cost_usd", cap=5.0, base=1.0),
        Budget(scope="run", what="iterations", cap=10, base=1),
        Budget(scope="run", what="wall_s", cap=90.0, base=30.0),
        Budget(scope="agent", what="cost_usd", cap=9, base=5.0),
        Budget(scope="agent", what="tokens", cap=1000, base=110),
    ]
    assert [
        (row["scope"], row["what"], row["spent"])
        for row in budget_table(tx.conn, caps, "bob", second.lineage)
    ] == [
        ("run", "cost_usd", 1.5),
        ("run", "iterations", 2),
        ("run", "wall_s", 30.0),
        ("agent", "cost_usd", 5.5),
        ("agent", "tokens", 110),
    ]
    assert budgets_for(tx.conn, {}, "bob", second.lineage, second.run_id) == []
    assert {row["spent"] for row in budget_table(tx.conn, {"cost_usd": 1.0}, "bob", None)} == {0.0}


def test_an_unknown_cost_is_shown_as_unknown(tx: Tx) -> None:
    run = a_run(tx)
    worked(tx, run, tokens_in=5)
    rows = budget_table(tx.conn, {"cost_usd": 1.0, "tokens": 10}, "bob", run.lineage)
    assert [(row["what"], row["unknown"]) for row in rows] == [("cost_usd", True), ("tokens", False)]


def test_today_counts_from_its_beginning_for_each_agent(tx: Tx) -> None:
    run = a_run(tx)
    worked(tx, run, 1, cost_usd=1.0, duration_s=5)
    ended = a_run(tx, "old")
    worked(tx, ended, cost_usd=8.0)
    close_run(tx, ended.run_id, "succeeded", None)
    tx.now = 2000.0
    worked(tx, run, 2, cost_usd=0.5, tokens_out=3, duration_s=7)
    assert totals_since(tx.conn, 1500.0) == {"bob": Totals(0.5, 3, 1, 7.0)}
    assert set(totals_since(tx.conn, 0.0)) == {"bob", "old"}


def test_iterations_without_cost_are_counted_today(tx: Tx) -> None:
    worked(tx, a_run(tx), cost_usd=0.0, duration_s=2)
    assert totals_since(tx.conn, 0.0) == {"bob": Totals(iterations=1, wall_s=2.0)}


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.integers(0, 99), st.none() | st.integers(0, 640).map(lambda n: n / 64)
        ),
        max_size=12,
    ),
    st.integers(0, 300),
    st.none() | st.integers(0, 2000).map(lambda n: n / 64),
)
def test_models_add_up_to_the_most_that_is_known(
    heard: list[tuple[str, int, float | None]], tokens: int, cost: float | None
) -> None:
    tx = memory_tx()
    run = a_run(tx)
    usage = [Usage(iteration=1, model=model, tokens_in=count, cost_usd=paid) for model, count, paid in heard]
    done = IterationDone(iteration=1, status="ok", tokens_in=tokens, cost_usd=cost)
    say(tx, run, IterationStart(iteration=1), *usage, done)
    models = {model for model, _, _ in heard}
    count = sum(max(n for m, n, _ in heard if m == model) for model in models)
    costs = [max((c for m, _, c in heard if m == model and c is not None), default=None) for model in models]
    known = sum(paid for paid in costs if paid is not None)
    found = run_totals(tx.conn, run.run_id)
    assert found.tokens == max(count, tokens)
    assert found.cost_usd == max(known, cost or 0.0)
    used = [max(n for m, n, _ in heard if m == model) for model in models]
    unpaid = any(paid is None and tokens_used > 0 for paid, tokens_used in zip(costs, used, strict=True))
    assert found.cost_unknown == (cost is None and (unpaid or (not heard and tokens > 0)))
    tx.conn.close()
