"""Numbered commands to a runner: stored before they are sent, and read again by whoever takes the runner over."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import apsw

from ipc.codec import decode, encode
from ipc.frames import Message, SupervisorFrame
from supervisor.errors import Conflict, NoSuchRun
from supervisor.records.rows import one, rows
from supervisor.records.transaction import Tx
from supervisor.records.values import to_text

C = TypeVar("C", bound=SupervisorFrame)


def add_command(tx: Tx, run_id: int, frame: C) -> C:
    """Store ``frame`` as the next command of a run and return it with its number, ready to be sent.

    Raises:
        NoSuchRun: there is none of this number.
        Conflict: it has ended.
        LocalError: the frame does not fit a line.
    """
    row = one(tx.conn, "SELECT last_cmd, ended_at FROM agent_runs WHERE run_id = ?", (run_id,))
    if row is None:
        raise NoSuchRun(f"there is no run {run_id}")
    if row["ended_at"] is not None:
        raise Conflict(f"run {run_id} has ended; it takes no command")
    cmd: int = row["last_cmd"] + 1
    numbered = replace(frame, cmd=cmd)  # type: ignore[type-var]
    line = encode(numbered).decode()
    tx.conn.execute("UPDATE agent_runs SET last_cmd = ? WHERE run_id = ?", (cmd, run_id))
    tx.conn.execute(
        "INSERT INTO commands (run_id, cmd, op, frame, created_at) VALUES (?, ?, ?, ?, ?)",
        (run_id, cmd, frame.op, to_text(line), tx.now),
    )
    return numbered


def commands_after(conn: apsw.Connection, run_id: int, cmd: int) -> list[SupervisorFrame]:
    """Return the commands of a run with numbers above ``cmd``, in order."""
    query = "SELECT frame FROM commands WHERE run_id = ? AND cmd > ? ORDER BY cmd"
    return [_frame(row["frame"]) for row in rows(conn, query, (run_id, cmd))]


def pause_is_pending(conn: apsw.Connection, run_id: int) -> bool:
    """Whether the last that a run was told of pausing is that it shall."""
    query = "SELECT op FROM commands WHERE run_id = ? AND op IN ('pause', 'resume') ORDER BY cmd DESC LIMIT 1"
    last = one(conn, query, (run_id,))
    return last is not None and last["op"] == "pause"


def carry_messages(tx: Tx, agent: str, run_id: int) -> list[Message]:
    """Make commands of ``run_id`` out of the messages that no turn of the agent's ended runs had in its prompt.

    Returns them numbered, oldest first; each is carried once.
    """
    left = rows(
        tx.conn,
        """SELECT run_id, cmd, frame FROM commands JOIN agent_runs USING (run_id)
        WHERE agent = ? AND op = 'message' AND ended_at IS NOT NULL
            AND commands.iteration IS NULL AND carried_to IS NULL ORDER BY run_id, cmd""",
        (agent,),
    )
    carried = []
    for row in left:
        message = _frame(row["frame"])
        assert isinstance(message, Message)
        carried.append(add_command(tx, run_id, message))
        tx.conn.execute(
            "UPDATE commands SET carried_to = ? WHERE run_id = ? AND cmd = ?",
            (run_id, row["run_id"], row["cmd"]),
        )
    return carried


def _frame(line: str) -> SupervisorFrame:
    frame = decode(line.encode())
    assert isinstance(frame, SupervisorFrame)
    return frame
