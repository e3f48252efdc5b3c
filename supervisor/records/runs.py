"""Rows of runs: opened, moved from state to state, closed once and for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import apsw

from supervisor.errors import Conflict, NoSuchRun
from supervisor.records.iterations import interrupt_iterations, iterations_of
from supervisor.records.questions import close_questions, questions_of
from supervisor.records.rows import Row, one, rows
from supervisor.records.schema import LIVE, TERMINAL
from supervisor.records.transaction import Tx
from supervisor.records.values import to_json, to_text

SETTABLE = frozenset(
    {
        "pid",
        "start_time",
        "boot_id",
        "protocol",
        "started_at",
        "ready_at",
        "exit_reason",
        "exit_code",
        "exit_signal",
        "stderr_tail",
        "stdout_tail",
        "pause_kind",
        "pause_reason",
        "pause_seq",
        "resume_at",
        "stalled_since",
    }
)
"""Columns that may be set along with a state."""


def open_run(
    tx: Tx,
    *,
    agent: str,
    lineage: int | None,
    predecessor: int | None,
    template: str,
    template_digest: str,
    adapter: str,
    originator: str,
    settings: Mapping[str, Any],
) -> int:
    """Open a run in state ``queued`` and return its number. Without a ``lineage`` it begins its own.

    ``settings`` (JSON, without secrets) are those that it runs with.
    """
    tx.conn.execute(
        """INSERT INTO agent_runs (agent, lineage, predecessor, template, template_digest, adapter, originator,
            state, settings, queued_at) VALUES (?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?)""",
        (
            agent,
            lineage or 0,
            predecessor,
            to_text(template),
            template_digest,
            adapter,
            to_text(originator),
            to_json(dict(settings)),
            tx.now,
        ),
    )
    run_id = tx.conn.last_insert_rowid()
    if lineage is None:
        tx.conn.execute("UPDATE agent_runs SET lineage = run_id WHERE run_id = ?", (run_id,))
    tx.emit("run.queued", agent=agent, run_id=run_id, lineage=lineage or run_id, predecessor=predecessor)
    return run_id


def set_state(tx: Tx, run_id: int, state: str, *, reason: str | None = None, **columns: Any) -> None:
    """Move a run to a live ``state`` and set ``columns`` (see `SETTABLE`). A state it has already is no event.

    Raises:
        NoSuchRun: there is none of this number.
        Conflict: it has ended; such a row never changes.
        ValueError: the state is terminal (`close_run`), or a column is not to be set.
    """
    if state not in LIVE:
        raise ValueError(f"{state} is not the state of a living run")
    row = _living(tx.conn, run_id)
    _update(tx, run_id, {"state": state, "reason": reason} | columns)
    if state != row["state"]:
        tx.emit(f"run.{state}", agent=row["agent"], run_id=run_id, was=row["state"], reason=reason)


def note_process(tx: Tx, run_id: int, pid: int, start_time: float, boot_id: str) -> None:
    """Store that a run has a process, and which (start time after boot). Raises as `set_state` does."""
    set_state(tx, run_id, "starting", pid=pid, start_time=start_time, boot_id=boot_id, started_at=tx.now)


def note_stall(tx: Tx, run_id: int) -> None:
    """Record that nothing has been heard of a run for too long; the next frame ends that.

    Raises:
        NoSuchRun: there is none of this number.
        Conflict: it has ended.
    """
    row = _living(tx.conn, run_id)
    if row["stalled_since"] is None:
        tx.conn.execute("UPDATE agent_runs SET stalled_since = ? WHERE run_id = ?", (tx.now, run_id))
        tx.emit("run.stalled", agent=row["agent"], run_id=run_id)


def close_run(tx: Tx, run_id: int, state: str, reason: str | None, **columns: Any) -> None:
    """End a run in a terminal ``state``. What was still going on in it ends with it.

    Its running iteration becomes ``interrupted``; an open question is void, and one whose answer may or may not have
    reached the agent is ``in_doubt``.

    Raises:
        NoSuchRun: there is none of this number.
        Conflict: it has ended before.
        ValueError: the state is not terminal, or a column is not to be set.
    """
    if state not in TERMINAL:
        raise ValueError(f"{state} is not the state of a run that has ended")
    row = _living(tx.conn, run_id)
    interrupt_iterations(tx, run_id, row["agent"])
    close_questions(tx, run_id, row["agent"], f"the run ended: {state}")
    over: dict[str, Any] = dict.fromkeys(
        ("pause_kind", "pause_reason", "pause_seq", "resume_at", "stalled_since")
    )
    _update(tx, run_id, over | {"state": state, "reason": reason} | columns, ended_at=tx.now)
    tx.emit(f"run.{state}", agent=row["agent"], run_id=run_id, was=row["state"], reason=reason)


def unfinished_runs(conn: apsw.Connection) -> list[Row]:
    """Return the rows of all runs that have not ended, oldest first."""
    return rows(conn, "SELECT * FROM agent_runs WHERE ended_at IS NULL ORDER BY run_id", json=("settings",))


def last_runs(conn: apsw.Connection) -> dict[str, Row]:
    """Return the row of each agent's last run, by the agent's name."""
    query = "SELECT * FROM agent_runs WHERE run_id IN (SELECT max(run_id) FROM agent_runs GROUP BY agent)"
    return {row["agent"]: row for row in rows(conn, query, json=("settings",))}


def list_runs(
    conn: apsw.Connection, agent: str | None = None, limit: int = 50, before: int | None = None
) -> list[Row]:
    """Return the latest runs, newest first, of one agent or of all, with numbers below ``before``."""
    query = f"""SELECT * FROM agent_runs
        WHERE run_id < ifnull(:before, 9223372036854775807) {"AND agent = :agent" if agent is not None else ""}
        ORDER BY run_id DESC LIMIT :limit"""
    return rows(conn, query, {"agent": agent, "before": before, "limit": limit}, json=("settings",))


def get_run(conn: apsw.Connection, run_id: int) -> Row:
    """Return the row of one run. Raises `NoSuchRun`."""
    found = one(conn, "SELECT * FROM agent_runs WHERE run_id = ?", (run_id,), json=("settings",))
    if found is None:
        raise NoSuchRun(f"there is no run {run_id}", remedy="agentctl runs lists them")
    return found


def show_run(conn: apsw.Connection, run_id: int) -> Row:
    """Return ``{"run", "iterations", "permissions"}`` of one run. Raises `NoSuchRun`."""
    return {
        "run": get_run(conn, run_id),
        "iterations": iterations_of(conn, run_id),
        "permissions": questions_of(conn, run_id),
    }


def _living(conn: apsw.Connection, run_id: int) -> Row:
    row = get_run(conn, run_id)
    if row["ended_at"] is not None:
        raise Conflict(f"run {run_id} has ended ({row['state']}); that never changes")
    return row


def _update(tx: Tx, run_id: int, columns: Mapping[str, Any], *, ended_at: float | None = None) -> None:
    if unknown := columns.keys() - SETTABLE - {"state", "reason"}:
        raise ValueError(f"not to be set with a state: {', '.join(sorted(unknown))}")
    values = {name: to_text(value) if isinstance(value, str) else value for name, value in columns.items()}
    if ended_at is not None:
        values["ended_at"] = ended_at
    changes = ", ".join(f"{name} = :{name}" for name in values)
    tx.conn.execute(f"UPDATE agent_runs SET {changes} WHERE run_id = :run_id", values | {"run_id": run_id})
