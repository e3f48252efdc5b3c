"""The yardstick for what is stored: plain APSW with the settings that agentd's database has."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from benchmarks.measuring import Bench

TABLE = """
CREATE TABLE events (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, agent TEXT, run_id INTEGER, data TEXT NOT NULL
) STRICT
"""
INSERT = "INSERT INTO events (at, kind, agent, run_id, data) VALUES (?, ?, ?, ?, ?)"
DATA = '{"level":"info","msg":"a line such as a program prints, of some eighty characters, so that it has a size"}'


class Plain:
    """A database with one table like that of the events."""

    def __init__(self, path: Path) -> None:
        self._conn = apsw.Connection(str(path))
        self._conn.pragma("journal_mode", "wal")
        self._conn.pragma("synchronous", "full")
        self._conn.execute(TABLE)

    def commit(self, rows: int) -> None:
        """Store so many rows in one transaction."""
        with self._conn:
            self._conn.executemany(INSERT, [(time.time(), "log", "flood-0", 1, DATA)] * rows)

    def rate(self, rows: int, each: int = 100) -> float:
        """Store so many rows, ``each`` in a transaction, and return how many a second that was."""
        began = time.perf_counter()
        for _ in range(rows // each):
            self.commit(each)
        return rows / (time.perf_counter() - began)

    def two_commits(self) -> float:
        """Store one row and another, each in its own transaction, and return the seconds that took."""
        began = time.perf_counter()
        self.commit(1)
        self.commit(1)
        return time.perf_counter() - began

    def close(self) -> None:
        """Close the file."""
        self._conn.close()


@contextmanager
def database(bench: Bench) -> Iterator[Plain]:
    """A database for the block, on the disk on which agentd's is."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        plain = Plain(Path(folder) / "plain.db")
        try:
            yield plain
        finally:
            plain.close()
