"""The database with its real threads, on the real clock."""

import threading
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import apsw
import pytest
import trio

from supervisor.records.db import Database, MemoryDatabase, StorageFailed, Tx, open_database
from supervisor.records.events import Event

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
async def db(tmp_path: Path, told: list[Event]) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "a.db", told.extend, busy_s=0.05) as database:
        yield database


def note(tx: Tx, key: str) -> str:
    tx.conn.execute("INSERT INTO meta VALUES (?, '')", (key,))
    tx.emit("noted", key=key)
    return key


def count(conn: apsw.Connection) -> int:
    return int(conn.execute("SELECT count(*) FROM meta").get)


async def test_what_was_written_is_read_and_told(db: Database, told: list[Event]) -> None:
    assert await db.write(lambda tx: note(tx, "a")) == "a"
    assert [event.id for event in told] == [1]
    assert await db.read(count) == 1


async def test_events_are_told_in_order_and_before_any_waiter_runs(tmp_path: Path) -> None:
    told: list[int] = []

    def publish(events: Sequence[Event]) -> None:
        told.extend(event.id for event in events)

    async def writer(number: int) -> None:
        def work(tx: Tx) -> int:
            note(tx, str(number))
            return int(tx.conn.execute("SELECT count(*) FROM meta").get)

        mine = await database.write(work)
        assert len(told) >= mine

    async with open_database(tmp_path / "a.db", publish) as database, trio.open_nursery() as nursery:
        for number in range(300):
            nursery.start_soon(writer, number)
    assert told == list(range(1, 301))


async def test_what_waits_together_is_committed_together(db: Database, tmp_path: Path) -> None:
    started, go = threading.Event(), threading.Event()

    def hold(tx: Tx) -> int:
        started.set()
        go.wait(10)
        return tx.conn.total_changes()

    commits: list[int] = []

    def committed() -> bool:
        commits.append(1)
        return False

    def work(tx: Tx) -> None:
        tx.conn.set_commit_hook(committed)
        note(tx, str(time.monotonic_ns()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(db.write, hold)
        await trio.to_thread.run_sync(started.wait, 10)
        for _ in range(50):
            nursery.start_soon(db.write, work)
        await trio.testing.wait_all_tasks_blocked()
        go.set()
    assert len(commits) <= 2


async def test_a_job_that_raises_raises_to_its_caller_alone(db: Database) -> None:
    failed = []

    def fails(tx: Tx) -> None:
        note(tx, "never")
        raise LookupError("no")

    async def one(number: int) -> None:
        try:
            await db.write(fails if number % 2 else lambda tx: note(tx, str(number)))
        except LookupError:
            failed.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(one, number)
    assert len(failed) == 20
    assert await db.read(count) == 20


async def test_a_write_is_carried_through_although_its_caller_is_cancelled(db: Database) -> None:
    done = []
    with trio.CancelScope() as scope:
        scope.cancel()
        done.append(await db.write(lambda tx: note(tx, "a")))
        await trio.lowlevel.checkpoint()
        done.append("never")
    assert done == ["a"]
    assert await db.read(count) == 1


async def test_readers_do_not_wait_for_the_writer_and_do_not_see_its_work(db: Database) -> None:
    started, go = threading.Event(), threading.Event()

    def slow(tx: Tx) -> None:
        note(tx, "a")
        started.set()
        go.wait(10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(db.write, slow)
        await trio.to_thread.run_sync(started.wait, 10)
        assert await db.read(count) == 0
        go.set()
    assert await db.read(count) == 1


async def test_a_reader_cannot_write(db: Database) -> None:
    with pytest.raises(StorageFailed):
        await db.read(lambda conn: conn.execute("DELETE FROM meta"))


async def test_a_read_sees_one_moment(db: Database) -> None:
    first, second = threading.Event(), threading.Event()

    def twice(conn: apsw.Connection) -> tuple[int, int]:
        before = count(conn)
        first.set()
        second.wait(10)
        return before, count(conn)

    async with trio.open_nursery() as nursery:

        async def reader() -> None:
            assert await db.read(twice) == (0, 0)

        nursery.start_soon(reader)
        await trio.to_thread.run_sync(first.wait, 10)
        await db.write(lambda tx: note(tx, "a"))
        second.set()
    assert await db.read(count) == 1


async def test_a_cancelled_read_interrupts_its_query(db: Database) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with trio.move_on_after(0.2) as scope:
        await db.read(lambda conn: conn.execute(endless).get)
    assert scope.cancelled_caught
    assert await db.read(count) == 0


async def test_a_busy_file_is_told_to_all_and_nothing_is_published(
    db: Database, tmp_path: Path, told: list[Event]
) -> None:
    other = apsw.Connection(str(tmp_path / "a.db"))
    other.execute("BEGIN IMMEDIATE")
    failed = []

    async def one(number: int) -> None:
        try:
            await db.write(lambda tx: note(tx, str(number)))
        except StorageFailed as error:
            failed.append(error)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(one, number)
    assert len(failed) == 20
    assert len({id(error) for error in failed}) == 20
    assert told == []
    assert db.degraded
    assert failed[0].exit_code == 1
    assert failed[0].remedy
    other.execute("ROLLBACK")
    other.close()
    await db.write(lambda tx: note(tx, "a"))
    assert not db.degraded
    assert [event.id for event in told] == [1]


async def test_closing_carries_through_what_waits_then_refuses_and_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    async with (
        open_database(tmp_path / "a.db", lambda events: None) as database,
        trio.open_nursery() as nursery,
    ):
        for number in range(100):
            nursery.start_soon(database.write, lambda tx, number=number: note(tx, str(number)))
        await trio.testing.wait_all_tasks_blocked()
        await database.read(count)
    assert not [thread for thread in threading.enumerate() if thread.name == "agentd-writer"]
    assert threading.active_count() <= before + 3  # trio's own idle workers
    with pytest.raises(trio.ClosedResourceError):
        await database.write(lambda tx: note(tx, "late"))
    with pytest.raises(trio.ClosedResourceError):
        await database.read(count)
    conn = apsw.Connection(str(tmp_path / "a.db"))
    assert count(conn) == 100
    conn.close()


async def test_it_closes_when_the_block_is_cancelled(tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        async with open_database(tmp_path / "a.db", lambda events: None) as database:
            await database.write(lambda tx: note(tx, "a"))
            scope.cancel()
            await trio.sleep_forever()
    assert not [thread for thread in threading.enumerate() if thread.name == "agentd-writer"]


async def test_nobody_waits_for_ever_whatever_breaks_in_the_thread_that_writes(db: Database) -> None:
    def broken() -> bool:
        raise MemoryError

    def breaks(tx: Tx) -> None:
        note(tx, "a")
        tx.conn.set_commit_hook(broken)

    with pytest.raises(StorageFailed):
        await db.write(breaks)
    with pytest.raises(StorageFailed):
        await db.write(lambda tx: note(tx, "b"))
    await db.write(lambda tx: tx.conn.set_commit_hook(None))
    assert await db.write(lambda tx: note(tx, "c")) == "c"
    assert await db.read(count) == 1


async def test_opening_and_closing_fifty_times_leaks_no_descriptor(tmp_path: Path) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    for number in range(50):
        async with open_database(tmp_path / "a.db", lambda events: None) as database:
            await database.read(count)
        if number == 5:
            before = descriptors()
    assert descriptors() <= before


async def test_an_idle_database_uses_no_processor(db: Database) -> None:
    await db.write(lambda tx: note(tx, "a"))
    before = time.process_time()
    await trio.sleep(0.5)
    assert time.process_time() - before < 0.05


async def test_the_one_in_memory_behaves_alike(autojump_clock: trio.testing.MockClock) -> None:
    told: list[Event] = []
    database = MemoryDatabase(told.extend)
    with trio.move_on_after(60):
        await database.write(lambda tx: note(tx, "a"))
        with pytest.raises(apsw.ConstraintError):
            await database.write(lambda tx: note(tx, "a"))
    assert [event.id for event in told] == [1]
    assert await database.read(count) == 1
    assert database.degraded is None
