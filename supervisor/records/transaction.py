"""Transactions: many jobs, one commit, and nobody is told of anything before it.

No thread and no trio in here: `Committer.commit` runs in whatever thread owns the connection.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import apsw
import outcome

from supervisor.errors import Degraded
from supervisor.records.events import Event, last_event
from supervisor.records.values import to_json

STORAGE_ERRORS = (
    apsw.FullError,
    apsw.IOError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.NoMemError,
    apsw.ReadOnlyError,
    apsw.PermissionsError,
    apsw.CantOpenError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.ProtocolError,
)
"""What is the file's or the disk's fault, and never that of the one who asked."""


class StorageFailed(Degraded):
    """The database did not take it: nothing of it is stored, nobody was told, and it may be tried again."""


def storage_failed(cause: BaseException | str) -> StorageFailed:
    """Return the error that says why nothing could be stored."""
    failure = StorageFailed(
        f"nothing can be stored now: {cause}",
        remedy="look for room on the disk, and for another program that holds agentd.db",
    )
    failure.__cause__ = cause if isinstance(cause, BaseException) else None
    return failure


class Draft(NamedTuple):
    """An event that has no number yet."""

    kind: str
    agent: str | None
    run_id: int | None
    data: dict[str, Any]


class Tx:
    """One job's view of the open transaction: ``conn`` for its SQL, ``now`` (seconds since the epoch) for its times.

    A job must not end the transaction itself, and must not keep ``conn``.
    """

    __slots__ = ("conn", "drafts", "now")

    def __init__(self, conn: apsw.Connection, now: float) -> None:
        self.conn = conn
        self.now = now
        self.drafts: list[Draft] = []

    def emit(self, kind: str, /, *, agent: str | None = None, run_id: int | None = None, **data: Any) -> None:
        """Note an event, numbered and told after the commit, if there is one."""
        self.drafts.append(Draft(kind, agent, run_id, data))

    def number(self, after: int) -> list[Event]:
        """Store the events noted so far under the numbers that follow ``after``, and return them."""
        if not self.drafts:
            return []
        now = self.now
        events = [
            Event(number, now, kind, agent, run_id, data)
            for number, (kind, agent, run_id, data) in enumerate(self.drafts, after + 1)
        ]
        self.drafts = []
        self.conn.executemany(
            "INSERT INTO events (id, at, kind, agent, run_id, data) VALUES (?, ?, ?, ?, ?, ?)",
            (
                (number, at, kind, agent, run_id, to_json(data))
                for number, at, kind, agent, run_id, data in events
            ),
        )
        return events


class Job:
    """Work that waits for a commit; ``outcome`` is its result afterwards."""

    __slots__ = ("outcome", "work")

    def __init__(self, work: Callable[[Tx], Any]) -> None:
        self.work = work
        self.outcome: outcome.Outcome[Any] | None = None


class Committer:
    """Runs jobs on the one connection that writes.

    ``degraded`` says why the last attempt to store something failed, until one works again. The numbers of events
    are handed out here: there is no other writer.
    """

    def __init__(self, conn: apsw.Connection, clock: Callable[[], float] = time.time) -> None:
        self.conn = conn
        self.degraded: str | None = None
        self._clock = clock
        self._last = last_event(conn)

    def commit(self, jobs: Iterable[Job]) -> list[Event]:
        """Run ``jobs`` in one transaction and commit it; return their events, which are stored then.

        A job that raises is undone alone. Where the database itself fails, what it took down with it fails with
        `StorageFailed`, and no number is used up. Never raises: each job's ``outcome`` says how it went.
        """
        begun: list[Job] = []
        events: list[Event] = []
        trouble: str | None = None
        remaining = iter(jobs)
        try:
            self.conn.execute("BEGIN IMMEDIATE")
            for job in remaining:
                begun.append(job)
                error = self._run(job, events)
                if error is not None and isinstance(error, STORAGE_ERRORS):
                    trouble = str(error)
                    job.outcome = outcome.Error(storage_failed(error))
                if not self.conn.in_transaction:
                    self._fail([*begun, *remaining], error or "a job ended the transaction")
                    return []
            self.conn.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            self._fail([*begun, *remaining], error)
            return []
        self._last += len(events)
        self.degraded = trouble
        return events

    def _run(self, job: Job, events: list[Event]) -> BaseException | None:
        """Run one job within its savepoint and append its events; return what it raised."""
        tx = Tx(self.conn, self._clock())
        self.conn.execute("SAVEPOINT job")
        result: outcome.Outcome[Any] = outcome.capture(job.work, tx)
        if isinstance(result, outcome.Value):
            numbered: outcome.Outcome[list[Event]] = outcome.capture(tx.number, self._last + len(events))
            if isinstance(numbered, outcome.Value):
                self.conn.execute("RELEASE job")
                events += numbered.value
                job.outcome = result
                return None
            result = numbered
        assert isinstance(result, outcome.Error)
        job.outcome = result
        if self.conn.in_transaction:
            self.conn.execute("ROLLBACK TO job")
            self.conn.execute("RELEASE job")
        return result.error

    def _fail(self, jobs: Iterable[Job], cause: BaseException | str) -> None:
        """Undo the whole transaction: every job fails, but for those that had failed by themselves."""
        self.degraded = str(cause)
        if self.conn.in_transaction:
            try:
                self.conn.execute("ROLLBACK")
            except apsw.Error:
                pass  # it has rolled itself back
        for job in jobs:
            if not isinstance(job.outcome, outcome.Error):
                job.outcome = outcome.Error(storage_failed(cause))
