import os
from pathlib import Path

import pytest

from tests.templates.harness import Agent


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "app.log"
    path.write_text("error: old\n")
    return path


@pytest.fixture
def agent(tmp_path: Path, log: Path) -> Agent:
    (tmp_path / "home").mkdir()
    return Agent("log-watch", tmp_path, tmp_path / "home", (str(log),))


def append(path: Path, text: str | bytes) -> None:
    with path.open("ab") as file:
        file.write(text.encode() if isinstance(text, str) else text)


def new_lines(agent: Agent) -> list[str]:
    done = agent.turn()
    assert done.code == 0, done.printed
    assert done.unchanged == (not done.printed)
    return done.printed.splitlines()


@pytest.mark.slow
def test_after_fifty_quiet_iterations_the_one_new_line_is_told(agent: Agent, log: Path) -> None:
    for number in range(50):
        assert new_lines(agent) == []
        append(log, f"info: {number}\n")
    append(log, "ERROR: the one\n")
    done = agent.turn()
    assert done.texts("notify") == [f"1 new line in {log}:\nERROR: the one"]
    assert new_lines(agent) == []


def test_the_old_lines_of_the_file_are_not_told(agent: Agent) -> None:
    assert new_lines(agent) == []


def test_an_unfinished_line_waits_for_its_end(agent: Agent, log: Path) -> None:
    append(log, "err")
    assert new_lines(agent) == []
    append(log, "or: half")
    assert new_lines(agent) == []
    append(log, " and whole\n")
    assert new_lines(agent) == ["error: half and whole"]


def test_a_rotation_loses_no_line_of_either_file(agent: Agent, log: Path) -> None:
    new_lines(agent)
    append(log, "error: last of the old\n")
    log.rename(log.with_suffix(".log.1"))
    log.write_text("error: first of the new\n")
    assert new_lines(agent) == ["error: last of the old", "error: first of the new"]
    assert new_lines(agent) == []


def test_between_the_files_of_a_rotation_it_is_quiet(agent: Agent, log: Path) -> None:
    new_lines(agent)
    append(log, "error: late\n")
    log.rename(log.with_suffix(".log.1"))
    assert new_lines(agent) == []
    log.write_text("error: new\n")
    assert new_lines(agent) == ["error: late", "error: new"]


def test_a_truncated_file_is_read_from_its_beginning(agent: Agent, log: Path) -> None:
    append(log, "x" * 1000 + "\n")
    new_lines(agent)
    os.truncate(log, 0)
    append(log, "error: after\n")
    assert new_lines(agent) == ["error: after"]


def test_a_file_truncated_and_grown_longer_than_before_is_noticed(agent: Agent, log: Path) -> None:
    new_lines(agent)
    os.truncate(log, 0)
    append(log, "fatal: one\n" * 3)
    assert new_lines(agent) == ["fatal: one"] * 3


def test_a_link_that_is_moved_to_the_next_file_is_followed(agent: Agent, log: Path, tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(log)
    agent.args = (str(link),)
    new_lines(agent)
    append(log, "error: a\n")
    (tmp_path / "next.log").write_text("error: b\n")
    link.unlink()
    link.symlink_to(tmp_path / "next.log")
    assert new_lines(agent) == ["error: a", "error: b"]


def test_bytes_that_are_no_text_are_shown_harmless(agent: Agent, log: Path) -> None:
    new_lines(agent)
    append(log, b"error: \xff\x1b[31m\x00 \xe2\x80\xae end\r\n")
    assert new_lines(agent) == ["error: \\xff\\x1b[31m\\x00 \\u202e end"]


def test_a_line_of_many_megabytes_is_told_cut(agent: Agent, log: Path) -> None:
    new_lines(agent)
    append(log, b"error: " + b"x" * 5_000_000 + b"\nerror: next\n")
    lines = new_lines(agent)
    assert [len(line) for line in lines] == [2000, 11]


def test_a_thousand_lines_are_counted_and_the_first_told(agent: Agent, log: Path) -> None:
    new_lines(agent)
    append(log, "error\n" * 1000)
    done = agent.turn()
    (told,) = done.texts("notify")
    assert told.startswith("1000 new lines in ")
    assert told.endswith("and 995 more")


def test_the_second_argument_is_the_pattern(agent: Agent, log: Path) -> None:
    agent.args = (str(log), r"panic\d+")
    new_lines(agent)
    append(log, "error\nPANIC7\n")
    assert new_lines(agent) == ["PANIC7"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "wanted the file"),
        (("/no/such.log",), "there is no file /no/such.log"),
        (("/dev/null",), "/dev/null is no plain file"),
        (("/etc/passwd", "("), "the pattern '(' is no regular expression"),
    ],
)
def test_what_it_cannot_do_is_told_and_fails(agent: Agent, args: tuple[str, ...], said: str) -> None:
    agent.args = args
    done = agent.turn()
    assert done.code == 1
    assert said in done.printed
