"""Rows of permissions as a runner moves them: asked, applied, withdrawn. Deciding is `consent.permissions`."""

from __future__ import annotations

import apsw

from ipc.codec import digest
from ipc.errors import RemoteError
from ipc.frames import PermissionApplied, PermissionRequest, PermissionWithdrawn
from supervisor.records.rows import Row, one, rows
from supervisor.records.transaction import Tx
from supervisor.records.values import to_json, to_text


def questions_of(conn: apsw.Connection, run_id: int) -> list[Row]:
    """Return the permissions that a run asked for, in order."""
    query = "SELECT * FROM permissions WHERE run_id = ? ORDER BY id"
    return [legible(row) for row in rows(conn, query, (run_id,), json=("input",))]


def legible(row: Row) -> Row:
    """Return a row of ``permissions`` with ``granted`` as true, false or ``None``."""
    row["granted"] = None if row["granted"] is None else bool(row["granted"])
    return row


def ask(tx: Tx, run_id: int, agent: str, frame: PermissionRequest) -> int | None:
    """Store a question as open and return its number; ``None`` if it is the very question that waits already.

    Raises:
        RemoteError: its digest is wrong, its input is no JSON of ours, or its ``request_id`` was used before.
    """
    try:
        given, found = to_json(frame.input), digest(frame.tool, frame.input)
    except (TypeError, ValueError, RecursionError) as error:
        raise RemoteError(f"permission_request.input: {error}", field="permission_request.input") from None
    if frame.digest is not None and frame.digest != found:
        raise RemoteError(
            "permission_request.digest is not that of its input", field="permission_request.digest"
        )
    request_id = to_text(frame.request_id)
    before = one(
        tx.conn,
        "SELECT state, digest FROM permissions WHERE run_id = ? AND request_id = ?",
        (run_id, request_id),
    )
    if before is not None:
        if before["state"] in ("open", "decided") and before["digest"] == found:
            return None
        raise RemoteError(
            f"permission_request.request_id {frame.request_id!r} was used before",
            field="permission_request.request_id",
        )
    tx.conn.execute(
        """INSERT INTO permissions (run_id, agent, request_id, tool, input, digest, rationale, state, asked_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, 'open', ?)""",
        (run_id, agent, request_id, to_text(frame.tool), given, found, to_text(frame.rationale), tx.now),
    )
    permission_id = tx.conn.last_insert_rowid()
    tx.emit(
        "permission.asked",
        agent=agent,
        run_id=run_id,
        permission_id=permission_id,
        tool=frame.tool,
        rationale=frame.rationale,
    )
    return permission_id


def apply(tx: Tx, run_id: int, agent: str, frame: PermissionApplied) -> int | None:
    """Record that the agent has been handed the decision. Returns its number, ``None`` if it is withdrawn by now.

    Raises:
        RemoteError: nobody has decided so.
    """
    row = _named(tx.conn, run_id, frame.request_id)
    if row is None or row["state"] == "open" or bool(row["granted"]) is not frame.granted:
        field = "permission_applied.request_id"
        raise RemoteError(f"{field} {frame.request_id!r} was not decided so", field=field)
    if row["state"] != "decided":
        return None
    _applied(tx, agent, run_id, row)
    return int(row["id"])


def apply_decided(tx: Tx, run_id: int, agent: str) -> list[int]:
    """Record that a plain runner, which says so by going on, has handed over every decision. Returns their numbers."""
    query = "SELECT id, granted FROM permissions WHERE run_id = ? AND state = 'decided' ORDER BY id"
    decided = rows(tx.conn, query, (run_id,))
    for row in decided:
        _applied(tx, agent, run_id, row)
    return [int(row["id"]) for row in decided]


def withdraw(tx: Tx, run_id: int, agent: str, frame: PermissionWithdrawn) -> int | None:
    """Record that the agent no longer asks, whether it had been decided or not. Returns its number.

    A question that is closed already, or was never asked, stays as it is: ``None``.
    """
    row = _named(tx.conn, run_id, frame.request_id)
    if row is None or row["state"] not in ("open", "decided"):
        return None
    _close(tx, agent, run_id, row["id"], "void", frame.reason)
    return int(row["id"])


def waiting_questions(conn: apsw.Connection, run_id: int) -> int:
    """Return how many open questions a run has."""
    return int(
        conn.execute("SELECT count(*) FROM permissions WHERE run_id = ? AND state = 'open'", (run_id,)).get
    )


def close_questions(tx: Tx, run_id: int, agent: str, reason: str) -> None:
    """At the end of a run: open questions are void, decided ones ``in_doubt``."""
    query = "SELECT id, state FROM permissions WHERE run_id = ? AND state IN ('open', 'decided') ORDER BY id"
    for row in rows(tx.conn, query, (run_id,)):
        _close(tx, agent, run_id, row["id"], "void" if row["state"] == "open" else "in_doubt", reason)


def _named(conn: apsw.Connection, run_id: int, request_id: str) -> Row | None:
    query = "SELECT id, state, granted FROM permissions WHERE run_id = ? AND request_id = ?"
    return one(conn, query, (run_id, to_text(request_id)))


def _applied(tx: Tx, agent: str, run_id: int, row: Row) -> None:
    tx.conn.execute(
        "UPDATE permissions SET state = 'applied', applied_at = ? WHERE id = ?", (tx.now, row["id"])
    )
    tx.emit(
        "permission.applied",
        agent=agent,
        run_id=run_id,
        permission_id=row["id"],
        granted=bool(row["granted"]),
    )


def _close(tx: Tx, agent: str, run_id: int, permission_id: int, state: str, reason: str) -> None:
    tx.conn.execute(
        "UPDATE permissions SET state = ?, closed_reason = ? WHERE id = ?",
        (state, to_text(reason), permission_id),
    )
    tx.emit(f"permission.{state}", agent=agent, run_id=run_id, permission_id=permission_id, reason=reason)
