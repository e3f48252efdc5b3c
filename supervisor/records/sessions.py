"""Rows of sessions: by which name an adapter finds a conversation again."""

from __future__ import annotations

import apsw

from supervisor.records.transaction import Tx
from supervisor.records.values import from_text, to_text


def put_session(tx: Tx, agent: str, adapter: str, session: str, task_key: str = "") -> None:
    """Keep ``session`` as the latest of that agent, adapter and task (empty: no task)."""
    tx.conn.execute(
        """INSERT INTO sessions (agent, task_key, adapter, session, updated_at) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (agent, task_key, adapter) DO UPDATE SET session = excluded.session,
            updated_at = excluded.updated_at""",
        (agent, task_key, adapter, to_text(session), tx.now),
    )


def get_session(conn: apsw.Connection, agent: str, adapter: str, task_key: str = "") -> str | None:
    """Return the latest session of that agent, adapter and task, ``None`` if there was none."""
    query = "SELECT session FROM sessions WHERE agent = ? AND task_key = ? AND adapter = ?"
    found = conn.execute(query, (agent, task_key, adapter)).get
    return None if found is None else from_text(found)
