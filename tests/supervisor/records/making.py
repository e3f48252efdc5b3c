"""Runs and frames as these tests need them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ipc.frames import Ready
from supervisor.records.agents import put_agent
from supervisor.records.frames import Applied, Heard, RunRef, apply_frames
from supervisor.records.rows import Row, rows
from supervisor.records.runs import open_run
from supervisor.records.transaction import Tx


def a_run(
    tx: Tx,
    agent: str = "bob",
    *,
    originator: str = "anna",
    after: RunRef | None = None,
    protocol: int | None = 1,
) -> RunRef:
    """Open a run and, unless ``protocol`` is None, let it be ready without spending a number."""
    put_agent(tx, agent, {}, "adhoc", originator, "up")
    run_id = open_run(
        tx,
        agent=agent,
        lineage=after.lineage if after else None,
        predecessor=after.run_id if after else None,
        template="/t.md",
        template_digest="d",
        adapter="runbook",
        originator=originator,
        settings={"args": ["x"]},
    )
    run = RunRef(run_id, agent, after.lineage if after else run_id)
    if protocol is not None:
        apply_frames(tx, run, [Ready(protocol=protocol)])
    tx.drafts.clear()
    return run


def say(tx: Tx, run: RunRef, *frames: Heard) -> Applied:
    """Apply frames that must be without fault."""
    applied = apply_frames(tx, run, frames)
    assert applied.fault is None, applied.fault
    return applied


def table(tx: Tx, name: str) -> list[Row]:
    """All rows of a table in the order of their keys."""
    return rows(tx.conn, f"SELECT * FROM {name} ORDER BY 1, 2, 3")


def kinds(tx: Tx) -> list[str]:
    """The kinds of the events noted since the last look."""
    found = [draft.kind for draft in tx.drafts]
    tx.drafts.clear()
    return found


def numbered(frames: Sequence[Any]) -> list[Any]:
    """Give frames their numbers, from 1."""
    for seq, frame in enumerate(frames, 1):
        frame.seq = seq
    return list(frames)
