"""Opening the file: every fault that it can have gets its own sentence, and an old one is brought up to date."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import apsw

from supervisor.errors import AgentdError, DatabaseTooNew, Failed, Invalid
from supervisor.records.schema import APPLICATION_ID, STEPS

BUSY_S = 5.0
"""How long a commit waits for another program that writes to the file, in seconds."""

_FROM_BACKUP = "move it away (agentd then begins with an empty one), or put a backup in its place"


def open_for_writing(path: Path, *, busy_s: float = BUSY_S, steps: Sequence[str] = STEPS) -> apsw.Connection:
    """Open the database, made if there is none and migrated if it is old. Blocks.

    A migration first leaves a copy of the file as it was beside it: ``agentd.db.v1``.

    Raises:
        DatabaseTooNew: a newer program wrote it.
        Invalid: it is no database of ours, or a damaged one.
        Failed: it cannot be read or written.
    """
    if path.is_dir():
        raise Invalid(f"{path} is a folder; agentd's database belongs there", remedy="move the folder away")
    try:
        _make(path)
        conn = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    except (OSError, apsw.Error) as error:
        raise _unusable(path, error) from error
    try:
        prepare(conn, path, busy_s=busy_s, steps=steps)
    except AgentdError:
        conn.close(force=True)
        raise
    except (OSError, apsw.Error) as error:
        conn.close(force=True)
        raise _unusable(path, error) from error
    return conn


def open_for_reading(path: Path, *, busy_s: float = BUSY_S) -> apsw.Connection:
    """Open the database, which exists, for reading only."""
    conn = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    conn.set_busy_timeout(round(busy_s * 1000))
    return conn


def prepare(
    conn: apsw.Connection, path: Path | None, *, busy_s: float = BUSY_S, steps: Sequence[str] = STEPS
) -> None:
    """Check whose database it is, set it up for durable writes and take the ``steps`` that it lacks."""
    conn.set_busy_timeout(round(busy_s * 1000))
    version = int(conn.pragma("user_version"))
    application = int(conn.pragma("application_id"))
    if application not in (0, APPLICATION_ID) or (application == 0 and _holds_anything(conn)):
        raise Invalid(f"{path} is the database of some other program", remedy="move it away")
    if version > len(steps):
        raise DatabaseTooNew(
            f"{path} was written by a newer agentd (version {version}; this one knows {len(steps)})",
            remedy="install that agentd again, or set AGENTD_HOME to another folder",
        )
    if conn.readonly("main"):
        raise Failed(f"{path} is read-only", remedy=f"chmod u+w {path}")
    if path is not None and conn.pragma("journal_mode", "wal") != "wal":
        raise Failed(
            f"{path}: its file system cannot hold a database in WAL mode", remedy="move it to a local disk"
        )
    conn.pragma("synchronous", "full")
    conn.pragma("fullfsync", True)
    conn.pragma("checkpoint_fullfsync", True)
    conn.pragma("foreign_keys", True)
    conn.pragma("journal_size_limit", 64 * 1_048_576)
    conn.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
    conn.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)
    conn.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    if path is not None and 0 < version < len(steps):
        _keep_copy(conn, path.with_name(f"{path.name}.v{version}"))
    _migrate(conn, version, steps)


def _make(path: Path) -> None:
    """Make the file, if it is not there, readable by its owner alone; SQLite gives its other files the same mode."""
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _holds_anything(conn: apsw.Connection) -> bool:
    return bool(conn.execute("SELECT count(*) FROM sqlite_schema").get)


def _migrate(conn: apsw.Connection, version: int, steps: Sequence[str]) -> None:
    for number, step in enumerate(steps[version:], version + 1):
        conn.execute("BEGIN IMMEDIATE")
        try:
            conn.execute(step)
            conn.pragma("application_id", APPLICATION_ID)
            conn.pragma("user_version", number)
            conn.execute("COMMIT")
        except BaseException:
            if conn.in_transaction:
                conn.execute("ROLLBACK")
            raise


def _keep_copy(conn: apsw.Connection, target: Path) -> None:
    """Copy the database as it is to ``target``: whole, or not at all."""
    unfinished = target.with_name(target.name + ".new")
    unfinished.unlink(missing_ok=True)
    _make(unfinished)
    copy = apsw.Connection(str(unfinished))
    try:
        with copy.backup("main", conn, "main") as backup:
            while not backup.done:
                backup.step(1000)
        copy.pragma("journal_mode", "delete")
    finally:
        copy.close()
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.replace(target)


def _unusable(path: Path, error: OSError | apsw.Error) -> AgentdError:
    if isinstance(error, apsw.NotADBError):
        return Invalid(f"{path} is not a database", remedy=_FROM_BACKUP)
    if isinstance(error, apsw.CorruptError):
        return Invalid(f"{path} is damaged: {error}", remedy=_FROM_BACKUP)
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return Failed(f"{path} is held by another program", remedy="close what writes to it (sqlite3?)")
    if isinstance(error, apsw.ReadOnlyError):
        return Failed(f"{path} or its folder is read-only", remedy=f"chmod u+w {path.parent} {path}")
    what = error.strerror if isinstance(error, OSError) else error
    return Failed(
        f"{path} cannot be opened: {what}", remedy=f"make {path.parent} a folder of yours with room in it"
    )
