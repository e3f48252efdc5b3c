"""Deciding what an agent asked: once, by whoever may, and for good."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import apsw

from supervisor.errors import Conflict, Invalid, NotPermitted
from supervisor.principals import Principal
from supervisor.records.questions import legible
from supervisor.records.rows import Row, one, rows
from supervisor.records.transaction import Tx
from supervisor.records.values import to_text

STATES = ("open", "decided", "applied", "in_doubt", "void")
"""What becomes of a permission; only an open one can be decided."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided of which question; ``digest`` binds it to the tool and input that were shown."""

    permission_id: int
    run_id: int
    agent: str
    request_id: str
    tool: str
    digest: str
    granted: bool
    how: str
    decided_by: str
    decided_at: float
    reason: str | None


def answer(
    tx: Tx,
    permission_id: int,
    *,
    granted: bool,
    principal: Principal,
    reason: str | None = None,
    how: str = "person",
) -> Decision:
    """Decide an open permission.

    ``how`` is ``person``, or ``auto_approve`` where the agent's definition says so.

    Raises:
        NotPermitted: the caller is an agent of this home, or neither the agent's originator nor an administrator.
        Invalid: there is no such permission.
        Conflict: it was decided before (by whom and when is said), or nobody asks any more.
    """
    principal.refuse_inside("answer a permission request")
    row = one(
        tx.conn,
        """SELECT permissions.*, originator FROM permissions JOIN agent_runs USING (run_id) WHERE id = ?""",
        (permission_id,),
    )
    if row is None:
        raise Invalid(f"there is no permission {permission_id}", remedy="agentctl permissions lists them")
    if not (principal.admin or principal.name == row["originator"]):
        raise NotPermitted(
            f"permission {permission_id} is for {row['originator']}, who started {row['agent']}, or an administrator",
            remedy=f"ask {row['originator']}",
        )
    if row["state"] != "open":
        raise _too_late(row)
    tx.conn.execute(
        """UPDATE permissions SET state = 'decided', granted = ?, how = ?, decided_by = ?, decided_at = ?, reason = ?
        WHERE id = ? AND state = 'open'""",
        (
            int(granted),
            how,
            to_text(principal.name),
            tx.now,
            None if reason is None else to_text(reason),
            permission_id,
        ),
    )
    tx.emit(
        "permission.decided",
        agent=row["agent"],
        run_id=row["run_id"],
        permission_id=permission_id,
        granted=granted,
        how=how,
        decided_by=principal.name,
        reason=reason,
    )
    return Decision(
        permission_id=permission_id,
        run_id=row["run_id"],
        agent=row["agent"],
        request_id=row["request_id"],
        tool=row["tool"],
        digest=row["digest"],
        granted=granted,
        how=how,
        decided_by=principal.name,
        decided_at=tx.now,
        reason=reason,
    )


def list_permissions(
    conn: apsw.Connection, state: str | None = "open", agent: str | None = None
) -> list[Row]:
    """Return permissions, oldest first, in one state or all (``None``), of one agent or all; ``input`` is an object.

    Each row has the ``originator`` who may answer. Raises `Invalid` for a state that there is not.
    """
    if state is not None and state not in STATES:
        raise Invalid(f"{state}: no state of a permission", remedy=f"one of {', '.join(STATES)}")
    query = """SELECT permissions.*, originator FROM permissions JOIN agent_runs USING (run_id)
        WHERE (:state IS NULL OR permissions.state = :state) AND (:agent IS NULL OR permissions.agent = :agent)
        ORDER BY id"""
    return [legible(row) for row in rows(conn, query, {"state": state, "agent": agent}, json=("input",))]


def get_permission(conn: apsw.Connection, permission_id: int) -> Row | None:
    """Return one permission as `list_permissions` does, ``None`` if there is none."""
    query = "SELECT permissions.*, originator FROM permissions JOIN agent_runs USING (run_id) WHERE id = ?"
    row = one(conn, query, (permission_id,), json=("input",))
    return None if row is None else legible(row)


def _too_late(row: Row) -> Conflict:
    if row["granted"] is None:
        return Conflict(f"permission {row['id']} is void: {row['closed_reason']}")
    word = "allowed" if row["granted"] else "denied"
    when = datetime.fromtimestamp(row["decided_at"], UTC).astimezone().isoformat(sep=" ", timespec="seconds")
    return Conflict(f"permission {row['id']} was {word} by {row['decided_by']} at {when}")
