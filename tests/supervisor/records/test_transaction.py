"""Many jobs, one commit: a job that fails hurts nobody, and a commit that fails tells nobody."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from supervisor.records.opening import open_for_writing
from supervisor.records.transaction import Committer, Job, StorageFailed, Tx


@pytest.fixture
def committer(tmp_path: Path) -> Iterator[Committer]:
    conn = open_for_writing(tmp_path / "a.db", busy_s=0.01)
    yield Committer(conn, clock=lambda: 5.0)
    conn.close()


def note(key: str, value: str = "") -> Callable[[Tx], str]:
    def work(tx: Tx) -> str:
        tx.conn.execute("INSERT INTO meta VALUES (?, ?)", (key, value))
        tx.emit("noted", agent="bob", key=key)
        return key

    return work


def results(jobs: list[Job]) -> list[Any]:
    found: list[Any] = []
    for job in jobs:
        assert job.outcome is not None
        try:
            found.append(job.outcome.unwrap())
        except Exception as error:  # noqa: BLE001
            found.append(type(error))
    return found


def keys(committer: Committer) -> list[str]:
    return [key for (key,) in committer.conn.execute("SELECT key FROM meta ORDER BY key")]


def stop_growing(conn: apsw.Connection) -> None:
    """From now on the disk is full."""
    conn.pragma("max_page_count", conn.pragma("page_count"))


def test_events_of_a_batch_are_numbered_in_order_and_stored_with_it(committer: Committer) -> None:
    jobs = [Job(note("a")), Job(note("b"))]
    events = committer.commit(jobs)
    assert results(jobs) == ["a", "b"]
    assert [(event.id, event.at, event.agent, event.data["key"]) for event in events] == [
        (1, 5.0, "bob", "a"),
        (2, 5.0, "bob", "b"),
    ]
    assert committer.conn.execute("SELECT count(*), max(id) FROM events").fetchall() == [(2, 2)]


def test_a_job_that_raises_is_undone_alone_and_burns_no_number(committer: Committer) -> None:
    def fails(tx: Tx) -> None:
        note("b")(tx)
        raise LookupError("no")

    jobs = [Job(note("a")), Job(fails), Job(note("c"))]
    events = committer.commit(jobs)
    assert results(jobs) == ["a", LookupError, "c"]
    assert [event.id for event in events] == [1, 2]
    assert keys(committer) == ["a", "c"]
    assert committer.degraded is None


def test_an_event_that_is_no_json_fails_its_job_alone(committer: Committer) -> None:
    def unspeakable(tx: Tx) -> None:
        note("b")(tx)
        tx.emit("bad", it=object())

    jobs = [Job(unspeakable), Job(note("a"))]
    assert [event.id for event in committer.commit(jobs)] == [1]
    assert results(jobs) == [TypeError, "a"]
    assert keys(committer) == ["a"]


def test_a_full_disk_is_told_to_the_one_whose_job_did_not_fit_and_clears_itself(committer: Committer) -> None:
    stop_growing(committer.conn)
    jobs = [Job(note("small")), Job(note("large", "x" * 100_000))]
    events = committer.commit(jobs)
    assert results(jobs)[1] is StorageFailed
    assert len(events) == len(keys(committer)) == (1 if results(jobs)[0] == "small" else 0)
    assert committer.degraded is not None
    assert "full" in committer.degraded
    committer.conn.pragma("max_page_count", 1_000_000)
    again = [Job(note("large", "x" * 100_000))]
    assert [event.id for event in committer.commit(again)] == [len(events) + 1]
    assert committer.degraded is None


def test_a_file_that_somebody_else_writes_to_fails_the_whole_batch_and_burns_no_number(
    committer: Committer, tmp_path: Path
) -> None:
    other = apsw.Connection(str(tmp_path / "a.db"))
    other.execute("BEGIN IMMEDIATE")
    jobs = [Job(note("a")), Job(note("b"))]
    assert committer.commit(jobs) == []
    assert results(jobs) == [StorageFailed, StorageFailed]
    assert committer.degraded is not None
    other.execute("ROLLBACK")
    other.close()
    again = [Job(note("a"))]
    assert [event.id for event in committer.commit(again)] == [1]
    assert committer.degraded is None


def test_a_commit_that_fails_fails_every_job_that_had_not_failed_by_itself(
    committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> bool:
        return True  # turns COMMIT into a rollback

    def fails(tx: Tx) -> None:
        raise LookupError

    committer.conn.set_commit_hook(refuse)
    jobs = [Job(note("a")), Job(fails), Job(note("b"))]
    assert committer.commit(jobs) == []
    assert results(jobs) == [StorageFailed, LookupError, StorageFailed]
    assert keys(committer) == []
    committer.conn.set_commit_hook(None)
    again = [Job(note("a"))]
    assert [event.id for event in committer.commit(again)] == [1]


def test_a_job_that_ends_the_transaction_is_not_believed(committer: Committer) -> None:
    def rolls_back(tx: Tx) -> None:
        tx.conn.execute("ROLLBACK")

    jobs = [Job(note("a")), Job(rolls_back), Job(note("b"))]
    assert committer.commit(jobs) == []
    assert results(jobs) == [StorageFailed] * 3
    assert keys(committer) == []


def test_numbers_go_on_after_reopening(committer: Committer) -> None:
    committer.commit([Job(note("a"))])
    later = Committer(committer.conn)
    assert [event.id for event in later.commit([Job(note("b"))])] == [2]


class FlakyFile(apsw.VFSFile):
    def __init__(self, vfs: str, name: Any, flags: list[int], broken: list[str]) -> None:
        super().__init__(vfs, name, flags)
        self.broken = broken

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802
        if "write" in self.broken:
            raise apsw.IOError("the disk is gone")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if "sync" in self.broken:
            raise apsw.IOError("the disk does not sync")
        super().xSync(flags)


class FlakyVFS(apsw.VFS):
    def __init__(self, broken: list[str]) -> None:
        self.broken = broken
        super().__init__("flaky", "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return FlakyFile("", name, flags, self.broken)


@pytest.mark.parametrize("call", ["write", "sync"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_io_error_at_any_write_fails_everybody_and_the_next_batch_works(tmp_path: Path, call: str) -> None:
    open_for_writing(tmp_path / "a.db").close()
    broken: list[str] = []
    vfs = FlakyVFS(broken)
    conn = apsw.Connection(str(tmp_path / "a.db"), vfs="flaky")
    conn.pragma("synchronous", "full")
    committer = Committer(conn)
    broken.append(call)
    jobs = [Job(note("a")), Job(note("b", "x" * 50_000))]
    assert committer.commit(jobs) == []
    assert results(jobs) == [StorageFailed, StorageFailed]
    assert committer.degraded
    broken.clear()
    again = [Job(note("a")), Job(note("b"))]
    assert [event.id for event in committer.commit(again)] == [1, 2]
    assert results(again) == ["a", "b"]
    assert not committer.degraded
    conn.close()
    vfs.unregister()
