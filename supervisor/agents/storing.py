"""Storing what must be stored, however long the database refuses."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import trio

from supervisor.records.db import Database
from supervisor.records.transaction import StorageFailed, Tx

RETRY = 0.5
"""Seconds between attempts; nothing is acknowledged or told meanwhile."""

T = TypeVar("T")
log = logging.getLogger("agentd.storing")


async def store(db: Database, whose: str, work: Callable[[Tx], T]) -> T:
    """Return what ``work`` returned once it is committed; raise what it raised. ``whose``: for the log.

    Cancelled, it may have been stored or not.
    """
    told = False
    while True:
        try:
            return await db.write(work)
        except StorageFailed as error:
            if not told:
                log.warning("%s waits for the database: %s", whose, error)
                told = True
            await trio.sleep(RETRY)
