"""A log is read line by line, over rotation, without a gap."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.ctl.runlog import RunLog, last_lines


class Writer:
    """Writes as a runner does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0

    def write(self, text: str, stream: str = "stdout", **more: bool) -> None:
        with (self.folder / "log.ndjson").open("ab") as file:
            file.write(orjson.dumps({"t": 1.0, "stream": stream, "text": text, **more}) + b"\n")

    def rotate(self) -> None:
        self.number += 1
        (self.folder / "log.ndjson").rename(self.folder / f"log-{self.number:06}.ndjson")


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[RunLog]:
    with RunLog(tmp_path) as log:
        yield log


def texts(log: RunLog) -> list[str]:
    return [line.text for line in log.read()]


def test_records_are_shown_as_single_lines(writer: Writer, log: RunLog) -> None:
    assert texts(log) == []
    writer.write("a\nb\n\nc")
    assert texts(log) == ["a", "b", "", "c"]
    assert texts(log) == []
    writer.write("d")
    assert texts(log) == ["d"]


def test_pieces_of_a_line_are_put_together_for_each_stream(writer: Writer, log: RunLog) -> None:
    writer.write("one ", more=True)
    writer.write("other", "stderr")
    writer.write("line\nnext")
    assert [(line.stream, line.text) for line in log.read()] == [
        ("stderr", "other"),
        ("stdout", "one line"),
        ("stdout", "next"),
    ]


def test_a_record_is_not_read_before_it_is_whole_and_garbage_is_passed_over(
    tmp_path: Path, log: RunLog
) -> None:
    path = tmp_path / "log.ndjson"
    path.write_bytes(b'garbage\n[]\n{"t":1,"stream":"stdout","text":"a"}\n{"t":1,"stream":"std')
    assert texts(log) == ["a"]
    with path.open("ab") as file:
        file.write(b'out","text":"b"}\n')
    assert texts(log) == ["b"]


def test_only_the_wanted_streams_are_shown(writer: Writer) -> None:
    writer.write("a")
    writer.write("b", "stderr")
    with RunLog(writer.folder, ["stderr"]) as log:
        assert texts(log) == ["b"]


def test_reading_goes_on_over_several_rotations_at_once(writer: Writer, log: RunLog) -> None:
    writer.write("a")
    assert texts(log) == ["a"]
    writer.write("b")
    writer.rotate()
    assert texts(log) == ["b"]
    writer.write("c")
    writer.rotate()
    writer.write("d")
    writer.rotate()
    writer.write("e")
    assert texts(log) == ["c", "d", "e"]
    log.close()
    log.close()


def test_the_last_lines_are_found_without_reading_older_files(writer: Writer, log: RunLog) -> None:
    for part in range(4):
        writer.write("\n".join(f"{part}.{line}" for line in range(10)))
        writer.rotate()
    writer.write("end")
    (writer.folder / "log-000001.ndjson").write_bytes(b"never read")
    expected = ["2.9", *(f"3.{line}" for line in range(10)), "end"]
    assert [line.text for line in last_lines(log, 12)] == expected
    writer.write("new")
    assert texts(log) == ["new"]


def test_a_folder_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert texts(RunLog(tmp_path / "none")) == []
    assert list(last_lines(RunLog(tmp_path / "none"), 5)) == []


@given(st.lists(st.sampled_from(["write", "rotate", "read"]), max_size=40))
def test_whatever_the_order_nothing_is_lost_or_shown_twice(
    tmp_path_factory: object, steps: list[str]
) -> None:
    folder = Path(tmp_path_factory.mktemp("log"))  # type: ignore[attr-defined]
    writer, log = Writer(folder), RunLog(folder)
    seen: list[str] = []
    written = 0
    for step in steps:
        if step == "write":
            writer.write(str(written))
            written += 1
        elif step == "rotate" and (folder / "log.ndjson").exists():
            writer.rotate()
        elif step == "read":
            seen += texts(log)
    writer.write("last")
    seen += texts(log)
    log.close()
    assert seen == [*map(str, range(written)), "last"]
