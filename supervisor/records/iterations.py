"""Rows of iterations: each begun once, ended once, and numbered on over the runs of a lineage."""

from __future__ import annotations

import apsw

from supervisor.records.rows import Row, one, rows
from supervisor.records.transaction import Tx

UNFINISHED = ("running", "interrupted")
"""The status of an iteration that did not come to its end; all others did."""


def iterations_of(conn: apsw.Connection, run_id: int) -> list[Row]:
    """Return the iterations of a run in order."""
    return rows(conn, "SELECT * FROM iterations WHERE run_id = ? ORDER BY iteration, attempt", (run_id,))


def running_iterations(conn: apsw.Connection, run_id: int) -> set[tuple[int, int]]:
    """Return (iteration, attempt) of what is running in a run: one, or none."""
    found = conn.execute(
        "SELECT iteration, attempt FROM iterations WHERE run_id = ? AND status = 'running'", (run_id,)
    )
    return set(found)


def highest_iteration(conn: apsw.Connection, run_id: int) -> int:
    """Return the highest iteration that a run has begun, 0 if none."""
    return int(
        conn.execute("SELECT ifnull(max(iteration), 0) FROM iterations WHERE run_id = ?", (run_id,)).get
    )


def was_begun(conn: apsw.Connection, run_id: int, iteration: int, attempt: int) -> bool:
    """Return whether a run has a row of that iteration and attempt."""
    query = "SELECT count(*) FROM iterations WHERE run_id = ? AND iteration = ? AND attempt = ?"
    return bool(conn.execute(query, (run_id, iteration, attempt)).get)


def lineage_position(conn: apsw.Connection, lineage: int) -> tuple[int, int]:
    """Return (iteration, attempt) with which the next run of a lineage begins.

    That is the iteration after the last one, or that one again, as a further attempt, if it was interrupted.
    """
    last = one(
        conn,
        """SELECT i.iteration, i.attempt, i.status FROM iterations i JOIN agent_runs USING (run_id) WHERE lineage = ?
        ORDER BY run_id DESC, i.iteration DESC, i.attempt DESC LIMIT 1""",
        (lineage,),
    )
    if last is None:
        return 1, 1
    if last["status"] in UNFINISHED:
        return last["iteration"], last["attempt"] + 1
    return last["iteration"] + 1, 1


def interrupt_iterations(tx: Tx, run_id: int, agent: str) -> None:
    """Record that what is running in a run was not finished, with the longest that it can have worked."""
    for iteration, attempt in sorted(running_iterations(tx.conn, run_id)):
        tx.conn.execute(
            """UPDATE iterations SET status = 'interrupted', ended_at = :now,
                duration_s = max(0.0, :now - started_at - :waited)
            WHERE run_id = :run AND iteration = :iteration AND attempt = :attempt""",
            {
                "now": tx.now,
                "waited": _waited_for_people(tx, run_id, iteration, attempt),
                "run": run_id,
                "iteration": iteration,
                "attempt": attempt,
            },
        )
        tx.emit("iteration.interrupted", agent=agent, run_id=run_id, iteration=iteration, attempt=attempt)


def _waited_for_people(tx: Tx, run_id: int, iteration: int, attempt: int) -> float:
    """Seconds in which a question of a running iteration was open, as far as known; not counted twice."""
    asked = tx.conn.execute(
        """SELECT asked_at, ifnull(decided_at, :now) FROM permissions JOIN iterations USING (run_id)
        WHERE run_id = :run AND iteration = :iteration AND attempt = :attempt AND asked_at >= started_at
            AND (permissions.state = 'open' OR decided_at IS NOT NULL)
        ORDER BY asked_at""",
        {"now": tx.now, "run": run_id, "iteration": iteration, "attempt": attempt},
    )
    waited = until = 0.0
    for began, ended in asked:
        waited += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return waited
