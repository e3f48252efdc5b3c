"""Whoever was told that something is stored finds it there, although the writer was killed in the middle."""

import subprocess
import sys
from pathlib import Path

import pytest

import supervisor
from supervisor.records.events import read_events
from supervisor.records.opening import open_for_writing

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import trio
from supervisor.records.db import open_database

async def main():
    def told(events):
        for event in events:
            print("told", event.id, flush=True)

    async with open_database(Path(sys.argv[1]), told) as database, trio.open_nursery() as nursery:
        async def write(name):
            for number in range(10**6):
                def work(tx):
                    tx.conn.execute("INSERT INTO meta VALUES (?, '')", (f"{name}.{number}",))
                    tx.emit("noted", key=f"{name}.{number}")
                await database.write(work)
                print("done", f"{name}.{number}", flush=True)

        for name in range(8):
            nursery.start_soon(write, name)

trio.run(main)
"""


@pytest.mark.timeout(30)
@pytest.mark.parametrize("after", [1, 50, 400])
def test_what_was_told_survives_kill_9(tmp_path: Path, after: int) -> None:
    path, tree = tmp_path / "a.db", Path(supervisor.__file__ or "").parent.parent
    told: list[int] = []
    done: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(tree)], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        for number, line in enumerate(writer.stdout):
            if number == after:
                writer.kill()
            if line.endswith(b"\n"):
                word, what = line.decode().split()
                if word == "told":
                    told.append(int(what))
                else:
                    done.append(what)
    conn = open_for_writing(path)
    assert conn.pragma("integrity_check") == "ok"
    events = read_events(conn, 0, 10**6)
    stored = {key for (key,) in conn.execute("SELECT key FROM meta")}
    conn.close()
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    assert told == list(range(1, len(told) + 1))
    assert len(told) <= len(events)
    assert {event.data["key"] for event in events} == stored
    assert set(done) <= stored
