"""Reading beside the writer: a few connections that cannot write, used in trio's worker threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import apsw
import trio

from supervisor.records.transaction import STORAGE_ERRORS, storage_failed

AT_ONCE = 2
"""Reads that run at the same time; further ones wait for one of these, and never for the writer."""

STEPS_UNDISTURBED = 50_000
"""SQLite's machine steps between two looks whether the caller has been cancelled: about a millisecond."""

T = TypeVar("T")


class Readers:
    """Connections opened as they are first needed, and closed together."""

    def __init__(self, connect: Callable[[], apsw.Connection]) -> None:
        self._connect = connect
        self._idle: list[apsw.Connection] = []
        self._limiter = trio.CapacityLimiter(AT_ONCE)
        self._closed = False

    async def read(self, work: Callable[[apsw.Connection], T]) -> T:
        """See `Database.read`."""
        if self._closed:
            raise trio.ClosedResourceError("the database is closed")
        return await trio.to_thread.run_sync(lambda: self._run(work), limiter=self._limiter)

    async def aclose(self) -> None:
        """Wait for the reads that run, then close all connections."""
        self._closed = True
        for _ in range(AT_ONCE):
            await self._limiter.acquire_on_behalf_of(object())
        while self._idle:
            self._idle.pop().close()

    def _run(self, work: Callable[[apsw.Connection], T]) -> T:
        try:
            conn = self._take()
            try:
                conn.execute("BEGIN")
                return work(conn)
            finally:
                if conn.in_transaction:
                    conn.execute("ROLLBACK")
                self._idle.append(conn)
        except STORAGE_ERRORS as error:
            raise storage_failed(error) from error

    def _take(self) -> apsw.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            conn = self._connect()
            conn.set_progress_handler(_stop_if_cancelled, STEPS_UNDISTURBED)
            return conn


def _stop_if_cancelled() -> bool:
    trio.from_thread.check_cancelled()
    return False
