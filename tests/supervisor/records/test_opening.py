"""Each fault that the file can have is refused in its own words, and nothing is changed."""

import os
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

import supervisor
from supervisor.errors import DatabaseTooNew, Failed, Invalid
from supervisor.records.opening import open_for_reading, open_for_writing
from supervisor.records.schema import APPLICATION_ID, STEPS

NOBODY = 65534
LATER = (*STEPS, "CREATE TABLE later (it TEXT) STRICT")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agentd.db"


def made(path: Path) -> Path:
    open_for_writing(path).close()
    return path


def test_a_new_file_is_private_durable_and_of_the_newest_version(path: Path) -> None:
    conn = open_for_writing(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert conn.pragma("journal_mode") == "wal"
    assert conn.pragma("synchronous") == 2
    assert conn.pragma("foreign_keys") == 1
    assert conn.pragma("user_version") == len(STEPS)
    assert conn.pragma("application_id") == APPLICATION_ID
    assert conn.pragma("integrity_check") == "ok"
    not_strict = conn.execute(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite_%' AND NOT strict"
    ).fetchall()
    assert not_strict == []
    conn.close()


def test_a_zero_byte_file_is_a_new_one(path: Path) -> None:
    path.touch()
    conn = open_for_writing(path)
    assert conn.pragma("user_version") == len(STEPS)
    conn.close()


def test_a_newer_file_is_refused_and_left_as_it_is(path: Path) -> None:
    conn = open_for_writing(path, steps=LATER)
    conn.close()
    before = path.read_bytes()
    with pytest.raises(DatabaseTooNew, match="newer") as caught:
        open_for_writing(path)
    assert caught.value.exit_code == 78
    assert path.read_bytes() == before


def test_an_older_file_is_copied_then_brought_up_to_date(path: Path) -> None:
    conn = open_for_writing(path)
    conn.execute("INSERT INTO meta VALUES ('a', 'b')")
    conn.close()
    conn = open_for_writing(path, steps=LATER)
    assert conn.pragma("user_version") == len(LATER)
    assert conn.execute("SELECT value FROM meta").get == "b"
    assert conn.execute("SELECT count(*) FROM later").get == 0
    conn.close()
    copy = path.with_name(f"agentd.db.v{len(STEPS)}")
    assert copy.stat().st_mode & 0o777 == 0o600
    old = open_for_writing(copy)
    assert old.pragma("user_version") == len(STEPS)
    assert old.execute("SELECT value FROM meta").get == "b"
    old.close()
    assert not list(path.parent.glob("*.new*"))


def test_a_step_that_fails_leaves_the_old_version(path: Path) -> None:
    made(path)
    with pytest.raises(Failed):
        open_for_writing(
            path, steps=(*STEPS, "CREATE TABLE later (it TEXT) STRICT; CREATE TABLE meta (it TEXT)")
        )
    conn = open_for_writing(path)
    assert conn.pragma("user_version") == len(STEPS)
    assert conn.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'later'").get == 0
    conn.close()


def test_a_folder_in_its_place_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(Invalid, match="is a folder"):
        open_for_writing(path)


def test_what_is_no_database_is_refused_and_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"these are my holiday notes, not a database\n" * 100)
    before = path.read_bytes()
    with pytest.raises(Invalid, match="not a database") as caught:
        open_for_writing(path)
    assert caught.value.remedy
    assert path.read_bytes() == before


def test_a_damaged_file_is_refused(path: Path) -> None:
    made(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"\xff" * 4000 + whole[4100:])
    with pytest.raises(Invalid, match="damaged"):
        open_for_writing(path)


def test_another_programs_database_is_refused_and_left_as_it_is(path: Path) -> None:
    conn = apsw.Connection(str(path))
    conn.execute("CREATE TABLE places (url TEXT)")
    conn.close()
    before = path.read_bytes()
    with pytest.raises(Invalid, match="some other program"):
        open_for_writing(path)
    assert path.read_bytes() == before


def test_a_file_that_is_held_by_another_program_is_refused(path: Path) -> None:
    other = apsw.Connection(str(path))
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Failed, match="held by another program"):
        open_for_writing(path, busy_s=0.01)
    other.close()


def test_a_missing_folder_is_told(path: Path) -> None:
    with pytest.raises(Failed, match="No such file"):
        open_for_writing(path.parent / "nowhere" / "agentd.db")


OPEN = """
import os, sys
from pathlib import Path
path = Path(sys.argv[1])
sys.path.insert(0, sys.argv[2])
from supervisor.errors import Failed
from supervisor.records.opening import open_for_writing
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    open_for_writing(path)
except Failed as error:
    print(error, "|", error.remedy)
"""


def open_without_privileges(path: Path) -> str:
    """Open it as one whom permissions bind, also where root runs the tests."""
    tree = Path(supervisor.__file__ or "").parent.parent
    done = subprocess.run(
        [sys.executable, "-c", OPEN, str(path), str(tree)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


@pytest.fixture
def theirs(path: Path) -> Path:
    """A database of the user who opens it in a subprocess, in a folder that they can reach."""
    made(path)
    if os.geteuid() == 0:
        for parent in path.parents[:3]:
            parent.chmod(0o755)
        for one in (path, path.parent):
            os.chown(one, NOBODY, NOBODY)
    return path


def test_a_read_only_file_is_refused(theirs: Path) -> None:
    theirs.chmod(0o400)
    assert "read-only | chmod u+w" in open_without_privileges(theirs)


def test_a_read_only_folder_is_refused(theirs: Path) -> None:
    theirs.parent.chmod(0o500)
    told = open_without_privileges(theirs)
    theirs.parent.chmod(0o700)
    assert str(theirs) in told
    assert "|" in told


def test_an_unreadable_file_is_refused(theirs: Path) -> None:
    theirs.chmod(0)
    assert "Permission denied" in open_without_privileges(theirs)


def test_a_reader_cannot_write(path: Path) -> None:
    made(path)
    conn = open_for_reading(path)
    with pytest.raises(apsw.ReadOnlyError):
        conn.execute("DELETE FROM meta")
    conn.close()
