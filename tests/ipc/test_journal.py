"""Reading what a runner has written down."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from ipc.codec import encode
from ipc.frames import Log
from ipc.journal import JOURNAL, files, full_name, read_after
from ipc.lines import LINE_LIMIT


def lines(first: int, last: int) -> bytes:
    return b"".join(encode(Log(msg=f"line {seq}", seq=seq)) for seq in range(first, last + 1))


def numbers(folder: Path, seq: int = 0) -> list[int]:
    return [number for number, _ in read_after(folder, seq)]


@pytest.fixture
def three_files(tmp_path: Path) -> Path:
    """1 to 10 and 11 to 20 in full files, 21 to 25 in the one being written."""
    (tmp_path / full_name(1)).write_bytes(lines(1, 10))
    (tmp_path / full_name(11)).write_bytes(lines(11, 20))
    (tmp_path / JOURNAL).write_bytes(lines(21, 25))
    return tmp_path


def test_a_missing_folder_yields_nothing(tmp_path: Path) -> None:
    assert numbers(tmp_path / "none") == []
    assert files(tmp_path / "none") == []


def test_an_empty_folder_or_file_yields_nothing(tmp_path: Path) -> None:
    assert numbers(tmp_path) == []
    (tmp_path / JOURNAL).write_bytes(b"")
    assert numbers(tmp_path) == []


def test_each_frame_comes_with_its_number_and_its_line_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_bytes(lines(1, 3))
    assert list(read_after(tmp_path, 1)) == [(2, lines(2, 2)), (3, lines(3, 3))]


def test_several_files_are_read_in_order(three_files: Path) -> None:
    assert files(three_files) == [three_files / name for name in (full_name(1), full_name(11), JOURNAL)]
    assert numbers(three_files) == list(range(1, 26))


@pytest.mark.parametrize("seq", [0, 1, 9, 10, 11, 19, 20, 21, 24, 25, 99])
def test_reading_begins_behind_any_number(three_files: Path, seq: int) -> None:
    assert numbers(three_files, seq) == list(range(seq + 1, 26))


@pytest.mark.parametrize(("seq", "skipped"), [(9, []), (10, [1]), (19, [1]), (20, [1])])
def test_full_files_that_hold_nothing_new_are_not_even_opened(
    three_files: Path, seq: int, skipped: list[int]
) -> None:
    for first in skipped:
        (three_files / full_name(first)).write_bytes(b"not looked at\n")
    assert numbers(three_files, seq) == list(range(seq + 1, 26))


def test_full_files_without_a_file_being_written_are_read(three_files: Path) -> None:
    (three_files / JOURNAL).unlink()
    assert numbers(three_files, 5) == list(range(6, 21))


def test_files_that_were_acknowledged_and_deleted_are_not_missed(three_files: Path) -> None:
    (three_files / full_name(1)).unlink()
    assert numbers(three_files, 10) == list(range(11, 26))


@pytest.mark.parametrize("cut", range(1, len(lines(3, 3)) + 1))
def test_a_torn_tail_was_never_said(tmp_path: Path, cut: int) -> None:
    (tmp_path / JOURNAL).write_bytes(lines(1, 3)[:-cut])
    assert numbers(tmp_path) == [1, 2]


@pytest.mark.parametrize(
    "garbage",
    [
        b"garbage\n",
        b"\n",
        b"\0" * 100 + b"\n",
        b"[]\n",
        b'{"op":"log","msg":"a"}\n',
        b'{"op":"log","msg":"a","seq":"3"}\n',
        b'{"op":"log","msg":"a","seq":true}\n',
        b'{"op":"log","msg":"a","seq":3\n',
        b"[" * 5000 + b"\n",
        b'{"op":"log","msg":"' + b"x" * LINE_LIMIT + b'","seq":3}\n',
    ],
    ids=lambda line: repr(line[:30]),
)
def test_a_line_that_is_no_frame_ends_the_reading(tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / JOURNAL).write_bytes(lines(1, 2) + garbage + lines(3, 4))
    assert numbers(tmp_path) == [1, 2]


def test_garbage_in_a_full_file_hides_the_files_behind_it(three_files: Path) -> None:
    (three_files / full_name(11)).write_bytes(lines(11, 14) + b"?\n" + lines(15, 20))
    assert numbers(three_files) == list(range(1, 15))


def test_a_line_as_long_as_the_limit_is_read(tmp_path: Path) -> None:
    longest = encode(Log(msg="x" * (LINE_LIMIT - len(encode(Log(msg="", seq=1)))), seq=1))
    assert len(longest) == LINE_LIMIT
    (tmp_path / JOURNAL).write_bytes(longest + lines(2, 2))
    assert list(read_after(tmp_path, 0)) == [(1, longest), (2, lines(2, 2))]


def test_a_frame_written_twice_comes_once(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_bytes(lines(1, 2) + lines(2, 3))
    assert numbers(tmp_path) == [1, 2, 3]


def test_no_frame_is_skipped_when_the_file_is_renamed_between_two_frames(three_files: Path) -> None:
    reading = read_after(three_files, 0)
    seen = [next(reading)[0]]
    (three_files / JOURNAL).rename(three_files / full_name(21))
    (three_files / JOURNAL).write_bytes(lines(26, 30))
    seen += [number for number, _ in reading]
    assert seen == list(range(1, 21))
    assert numbers(three_files, seen[-1]) == list(range(21, 31))


def test_a_file_that_is_deleted_while_another_is_read_does_no_harm(three_files: Path) -> None:
    reading = read_after(three_files, 0)
    next(reading)
    (three_files / full_name(11)).unlink()
    assert [number for number, _ in reading] == list(range(2, 11))


@pytest.mark.parametrize(
    "name", ["frames-old.jsonl", "frames-.jsonl", "frames-1.jsonl.bak", "frames-²34.jsonl"]
)
def test_files_of_other_names_are_not_ours(three_files: Path, name: str) -> None:
    (three_files / name).write_bytes(b"?\n")
    assert numbers(three_files) == list(range(1, 26))


def test_a_journal_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).mkdir()
    with pytest.raises(OSError, match="directory"):
        numbers(tmp_path)


def test_a_reader_that_is_given_up_leaves_no_file_open(three_files: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    reading = read_after(three_files, 0)
    assert isinstance(reading, Generator)
    next(reading)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    reading.close()
    assert len(os.listdir("/proc/self/fd")) == before
