"""Followers get every event once and in order, and none of them holds up another."""

from collections.abc import Sequence

import apsw
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from supervisor.records import events as module
from supervisor.records.db import MemoryDatabase, Tx, memory_tx
from supervisor.records.events import BATCH, Event, Events, last_event, read_events


def emit(tx: Tx, count: int, agent: str = "bob", text: str = "x") -> None:
    for number in range(count):
        tx.emit("log", agent=agent, number=number, text=text)


class Told:
    """A database whose events are told, and a count of reads from it."""

    def __init__(self) -> None:
        self.database = MemoryDatabase(self.publish)
        self.reads = 0
        self.events = Events(self.read, 0)

    def publish(self, events: Sequence[Event]) -> None:
        self.events.publish(events)

    async def read(self, after: int, limit: int) -> Sequence[Event]:
        self.reads += 1
        return await self.database.read(lambda conn: read_events(conn, after, limit))


@pytest.fixture
def told() -> Told:
    return Told()


async def take(told: Told, after: int, upto: int, agent: str | None = None) -> list[int]:
    found: list[int] = []
    subscription = told.events.subscribe(after, agent)
    with trio.fail_after(5):
        while subscription.position < upto:
            found += [event.id for event in await subscription.batch()]
    return found


async def test_a_follower_gets_what_was_and_what_comes(
    told: Told, autojump_clock: trio.testing.MockClock
) -> None:
    await told.database.write(lambda tx: emit(tx, 3))
    found: list[int] = []

    async def follow() -> None:
        async for batch in told.events.subscribe(1):
            found.extend(event.id for event in batch)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        assert found == [2, 3]
        await told.database.write(lambda tx: emit(tx, 2))
        await trio.testing.wait_all_tasks_blocked()
        assert found == [2, 3, 4, 5]
        told.events.close()
        told.events.close()


async def test_a_follower_far_behind_reads_from_the_database_then_catches_up(told: Told) -> None:
    count = module.KEPT + 3 * BATCH
    await told.database.write(lambda tx: emit(tx, count))
    assert await take(told, 0, count) == list(range(1, count + 1))
    assert told.reads == 3
    assert await take(told, count - 10, count) == list(range(count - 9, count + 1))
    assert told.reads == 3


async def test_events_from_before_the_start_are_read_from_the_database(told: Told) -> None:
    await told.database.write(lambda tx: emit(tx, 5))
    told.events = Events(told.read, await told.database.read(last_event))
    assert await take(told, 0, 5) == [1, 2, 3, 4, 5]
    assert told.events.last == 5


async def test_long_texts_are_not_kept_in_memory(told: Told) -> None:
    text = "x" * (module.KEPT_CHARACTERS // 4)
    await told.database.write(lambda tx: emit(tx, 20, text=text))
    assert len(told.events._kept) <= 4
    assert await take(told, 0, 20) == list(range(1, 21))


async def test_one_agents_events_are_picked_out(told: Told) -> None:
    def work(tx: Tx) -> None:
        for _ in range(10):
            emit(tx, 1, "bob")
            emit(tx, 1, "eve")

    await told.database.write(work)
    with trio.fail_after(5):
        batch = await told.events.subscribe(0, "eve").batch()
    assert [event.id for event in batch] == list(range(2, 21, 2))


async def test_a_follower_waits_through_others_events(
    told: Told, autojump_clock: trio.testing.MockClock
) -> None:
    with trio.move_on_after(10) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(told.events.subscribe(0, "eve").batch)
            await trio.testing.wait_all_tasks_blocked()
            await told.database.write(lambda tx: emit(tx, 5, "bob"))
    assert scope.cancelled_caught


async def test_the_end_comes_after_the_last_event(told: Told) -> None:
    await told.database.write(lambda tx: emit(tx, 1))
    told.events.close()
    subscription = told.events.subscribe(0)
    assert len(await subscription.batch()) == 1
    with pytest.raises(trio.EndOfChannel):
        await subscription.batch()


@given(st.integers(0, 30), st.integers(1, 40), st.sampled_from([None, "bob", "eve"]))
def test_reading_returns_what_follows_and_no_more_than_asked(
    after: int, limit: int, agent: str | None
) -> None:
    tx = memory_tx(7.0)
    for number in range(25):
        emit(tx, 1, "bob" if number % 3 else "eve")
    expected = [event for event in tx.number(0) if event.id > after and agent in (None, event.agent)]
    assert read_events(tx.conn, after, limit, agent) == expected[:limit]


def test_reading_long_texts_is_bounded_and_always_gets_on() -> None:
    tx = memory_tx()
    emit(tx, 4, text="x" * (module.KEPT_CHARACTERS - 100))
    tx.number(0)
    assert [event.id for event in read_events(tx.conn, 0, 10)] == [1]
    assert [event.id for event in read_events(tx.conn, 1, 10)] == [2]


def test_texts_that_are_no_unicode_come_back_in_events() -> None:
    tx = memory_tx()
    tx.emit("log", agent="bob", run_id=3, msg="a\0b\ud800")
    told = tx.number(0)
    assert read_events(tx.conn, 0) == told == [Event(1, 0.0, "log", "bob", 3, {"msg": "a\0b\ud800"})]


def test_events_cannot_be_numbered_twice() -> None:
    tx = memory_tx()
    emit(tx, 1)
    tx.number(0)
    emit(tx, 1)
    with pytest.raises(apsw.ConstraintError):
        tx.number(0)
