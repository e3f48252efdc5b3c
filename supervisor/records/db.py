"""The database as the rest of the program sees it: jobs go in, and come back when they are durable.

One thread writes and owns its connection; a few threads read through their own, each read seeing one moment. Nobody
is told of an event before it is stored, and nobody who waits for a write runs before it was told.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import apsw
import trio

from supervisor.records.events import Event
from supervisor.records.opening import BUSY_S, open_for_reading, open_for_writing, prepare
from supervisor.records.readers import Readers
from supervisor.records.transaction import Committer, Job, StorageFailed, Tx

__all__ = ["Database", "MemoryDatabase", "StorageFailed", "Tx", "memory_tx", "open_database"]

T = TypeVar("T")
Publish = Callable[[Sequence[Event]], None]
"""Is handed each commit's events, in the order of their numbers, on the loop's thread."""

BATCH_S = 0.05
"""A transaction takes no further job after this time, so that who came first is answered, in seconds."""


class Database(Protocol):
    """Where everything that happened is kept."""

    @property
    def degraded(self) -> str | None:
        """Why the last attempt to store something failed; ``None`` again as soon as one works."""

    async def write(self, work: Callable[[Tx], T]) -> T:
        """Run ``work`` in a transaction, shared with whatever else waits; return its result when that is durable.

        ``work`` runs in another thread. If it raises, its own changes alone are undone and the exception comes out
        here. Once called it is carried through: a write never raises ``Cancelled``.

        Raises:
            StorageFailed: nothing of it is stored, and nobody was told anything.
            trio.ClosedResourceError: the database is closed.
        """

    async def read(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run ``work`` on a connection that only reads and sees one moment throughout. Never behind a writer.

        ``work`` runs in another thread. Cancelled, a query that runs is interrupted.

        Raises:
            StorageFailed: the file could not be read.
            trio.ClosedResourceError: the database is closed.
        """


class _Waiting(Job):
    __slots__ = ("task",)

    def __init__(self, work: Callable[[Tx], Any], task: trio.lowlevel.Task) -> None:
        super().__init__(work)
        self.task = task


class _ThreadedDatabase:
    def __init__(self, committer: Committer, readers: Readers, publish: Publish) -> None:
        self.degraded: str | None = None
        self._committer = committer
        self._readers = readers
        self._publish = publish
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._token = trio.lowlevel.current_trio_token()
        self._closed = False
        self._closing = False  # the thread's own: it has met the end of the queue
        self._ended = trio.Event()
        self._thread = threading.Thread(target=self._work, name="agentd-writer", daemon=True)
        self._thread.start()

    async def write(self, work: Callable[[Tx], T]) -> T:
        if self._closed:
            raise trio.ClosedResourceError("the database is closed")
        job = _Waiting(work, trio.lowlevel.current_task())
        self._queue.put(job)
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
        assert job.outcome is not None
        result: T = job.outcome.unwrap()
        return result

    async def read(self, work: Callable[[apsw.Connection], T]) -> T:
        return await self._readers.read(work)

    async def aclose(self) -> None:
        """Carry through what waits, then end every thread. Shielded; bounded by the jobs that wait."""
        self._closed = True
        with trio.CancelScope(shield=True):
            await self._readers.aclose()
            self._queue.put(None)
            await self._ended.wait()
            self._thread.join()

    def _work(self) -> None:
        try:
            while not self._closing:
                self._commit_what_waits()
            self._committer.conn.close()
        finally:
            self._tell(self._ended.set)

    def _commit_what_waits(self) -> None:
        first = self._queue.get()
        if first is None:
            self._closing = True
            return
        jobs: list[_Waiting] = []
        events = self._committer.commit(self._take(first, jobs))
        self._tell(self._deliver, jobs, events, self._committer.degraded)

    def _take(self, first: _Waiting, jobs: list[_Waiting]) -> Iterator[_Waiting]:
        """Yield ``first`` and what is queued behind it, and note it in ``jobs``."""
        until = time.monotonic() + BATCH_S
        job: _Waiting | None = first
        while job is not None:
            jobs.append(job)
            yield job
            if time.monotonic() > until:
                return
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return
        self._closing = True

    def _tell(self, call: Callable[..., object], *args: object) -> None:
        try:
            self._token.run_sync_soon(call, *args)
        except trio.RunFinishedError:
            pass  # nobody is left to tell

    def _deliver(self, jobs: Sequence[_Waiting], events: Sequence[Event], degraded: str | None) -> None:
        self.degraded = degraded
        try:
            if events:
                self._publish(events)
        finally:
            for job in jobs:
                trio.lowlevel.reschedule(job.task)


@asynccontextmanager
async def open_database(path: Path, publish: Publish, *, busy_s: float = BUSY_S) -> AsyncIterator[Database]:
    """Open the database at ``path``, made or migrated if need be, and close it in the end.

    Raises:
        DatabaseTooNew, Invalid, Failed: see `open_for_writing`.
    """
    conn = await trio.to_thread.run_sync(lambda: open_for_writing(path, busy_s=busy_s))
    database = _ThreadedDatabase(
        Committer(conn), Readers(lambda: open_for_reading(path, busy_s=busy_s)), publish
    )
    try:
        yield database
    finally:
        await database.aclose()


class MemoryDatabase:
    """The same without file and thread, for what is tested in virtual time against the real SQL."""

    def __init__(
        self, publish: Publish = lambda events: None, clock: Callable[[], float] = time.time
    ) -> None:
        self.conn = _in_memory()
        self._committer = Committer(self.conn, clock)
        self._publish = publish

    @property
    def degraded(self) -> str | None:
        """See `Database`."""
        return self._committer.degraded

    async def write(self, work: Callable[[Tx], T]) -> T:
        """See `Database`."""
        job = Job(work)
        if events := self._committer.commit([job]):
            self._publish(events)
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()
        assert job.outcome is not None
        result: T = job.outcome.unwrap()
        return result

    async def read(self, work: Callable[[apsw.Connection], T]) -> T:
        """See `Database`."""
        await trio.lowlevel.checkpoint()
        return work(self.conn)


def memory_tx(now: float = 0.0) -> Tx:
    """Return a transaction on an empty database in memory; its events stay in ``tx.drafts`` until numbered."""
    return Tx(_in_memory(), now)


def _in_memory() -> apsw.Connection:
    conn = apsw.Connection(":memory:")
    prepare(conn, None)
    return conn
