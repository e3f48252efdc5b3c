"""Rows of agents: what is wanted of each, and what keeps it from running."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import apsw

from supervisor.errors import NoSuchAgent
from supervisor.records.rows import Row, one, rows
from supervisor.records.transaction import Tx
from supervisor.records.values import to_json, to_text


def put_agent(
    tx: Tx, name: str, definition: Mapping[str, Any], origin: str, originator: str, wanted: str
) -> None:
    """Store a definition (without secrets) under ``name``, in place of an older one, and what is wanted.

    ``origin`` is ``file`` or ``adhoc``, ``wanted`` ``up`` or ``down``. The counts of restarts and crashes
    stay, as do the caps that an operator has set.
    """
    before = one(tx.conn, "SELECT removed_at FROM agents WHERE name = ?", (name,))
    tx.conn.execute(
        """INSERT INTO agents (name, definition, origin, originator, wanted, created_at, updated_at)
        VALUES (:name, :definition, :origin, :originator, :wanted, :now, :now)
        ON CONFLICT (name) DO UPDATE SET definition = excluded.definition, origin = excluded.origin,
            originator = excluded.originator, wanted = excluded.wanted, updated_at = excluded.updated_at,
            removed_at = NULL""",
        {
            "name": name,
            "definition": to_json(dict(definition)),
            "origin": origin,
            "originator": to_text(originator),
            "wanted": wanted,
            "now": tx.now,
        },
    )
    added = before is None or before["removed_at"] is not None
    tx.emit("agent.added" if added else "agent.changed", agent=name, wanted=wanted, originator=originator)


def set_wanted(tx: Tx, name: str, wanted: str) -> None:
    """Store that the agent is wanted ``up`` or ``down``. Raises `NoSuchAgent`."""
    if _agent(tx.conn, name)["wanted"] != wanted:
        _update(tx, name, "wanted = ?", wanted)
        tx.emit("agent.wanted", agent=name, wanted=wanted)


def set_held(tx: Tx, name: str, reason: str | None) -> None:
    """Store why the agent is not started again, or with ``None`` that nothing holds it. Raises `NoSuchAgent`."""
    if _agent(tx.conn, name)["held"] == reason:
        return
    _update(tx, name, "held = ?", None if reason is None else to_text(reason))
    if reason is None:
        tx.emit("agent.released", agent=name)
    else:
        tx.emit("agent.held", agent=name, reason=reason)


def set_backoff(tx: Tx, name: str, until: float | None, crash_count: int) -> None:
    """Store when (wall time) the agent is tried again, and its crashes in a row. Raises `NoSuchAgent`."""
    _agent(tx.conn, name)
    _update(tx, name, "backoff_until = ?, crash_count = ?", until, crash_count)
    if until is not None:
        tx.emit("agent.backoff", agent=name, until=until, crash_count=crash_count)


def set_caps(tx: Tx, name: str, caps: Mapping[str, Any]) -> None:
    """Store the budgets that an operator has set since the agent was defined. Raises `NoSuchAgent`."""
    _agent(tx.conn, name)
    _update(tx, name, "caps = ?", to_json(dict(caps)))
    tx.emit("budget.set", agent=name, caps=dict(caps))


def count_restart(tx: Tx, name: str) -> int:
    """Count one more restart by policy and return how many there were. Raises `NoSuchAgent`."""
    restarts = int(_agent(tx.conn, name)["restarts"]) + 1
    _update(tx, name, "restarts = ?", restarts)
    return restarts


def remove_agent(tx: Tx, name: str) -> None:
    """Forget the agent, want it down and keep its history. Raises `NoSuchAgent`."""
    _agent(tx.conn, name)
    _update(
        tx,
        name,
        """removed_at = ?, wanted = 'down', held = NULL, caps = NULL, backoff_until = NULL, crash_count = 0,
            restarts = 0""",
        tx.now,
    )
    tx.emit("agent.removed", agent=name)


def all_agents(conn: apsw.Connection) -> list[Row]:
    """Return the rows of all agents that have not been removed, by name; ``definition`` and ``caps`` are objects."""
    return rows(
        conn, "SELECT * FROM agents WHERE removed_at IS NULL ORDER BY name", json=("definition", "caps")
    )


def get_agent(conn: apsw.Connection, name: str) -> Row | None:
    """Return the row of one agent, ``None`` if there is none or it has been removed."""
    query = "SELECT * FROM agents WHERE name = ? AND removed_at IS NULL"
    return one(conn, query, (name,), json=("definition", "caps"))


def _agent(conn: apsw.Connection, name: str) -> Row:
    found = get_agent(conn, name)
    if found is None:
        raise NoSuchAgent(f"no agent is called {name}", remedy="agentctl status lists them")
    return found


def _update(tx: Tx, name: str, what: str, *values: Any) -> None:
    tx.conn.execute(f"UPDATE agents SET {what}, updated_at = ? WHERE name = ?", (*values, tx.now, name))
