"""Bytes into lines."""

import time
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ipc.lines import LINE_LIMIT, LineSplitter, Overlong

LIMIT = 16


def cut(chunks: list[bytes], limit: int = LIMIT) -> tuple[list[bytes | Overlong], bytes]:
    splitter = LineSplitter(limit)
    found = [line for chunk in chunks for line in splitter.feed(chunk)]
    return found, splitter.pending


@st.composite
def chunked(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Some bytes rich in newlines, and the same bytes in pieces."""
    pieces = st.one_of(st.just(b"\n"), st.binary(max_size=2 * LIMIT + 3), st.just(b"a" * (LIMIT - 1) + b"\n"))
    data = b"".join(draw(st.lists(pieces, max_size=12)))
    ends = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return data, [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


def expected(data: bytes) -> list[bytes | Overlong]:
    """The definition, written down naively."""
    *lines, rest = data.split(b"\n")
    found = [line if len(line) + 1 <= LIMIT else Overlong(line[:LIMIT]) for line in lines]
    return [*found, Overlong(rest[:LIMIT])] if len(rest) >= LIMIT else found


@given(chunked())
@example((b"a" * 40 + b"\nb\n", [b"a" * 5, b"a" * 35 + b"\n", b"b\n"]))
def test_any_chunking_gives_the_same_lines(case: tuple[bytes, list[bytes]]) -> None:
    data, chunks = case
    assert cut(chunks) == cut([data])
    assert cut([data[i : i + 1] for i in range(len(data))]) == cut([data])
    assert cut([data])[0] == expected(data)


@pytest.mark.parametrize("size", [LIMIT - 2, LIMIT - 1])
def test_a_line_up_to_the_limit_newline_included_is_whole(size: int) -> None:
    assert cut([b"x" * size + b"\n"]) == ([b"x" * size], b"")


def test_a_line_one_byte_over_the_limit_is_overlong() -> None:
    assert cut([b"x" * LIMIT + b"\n"]) == ([Overlong(b"x" * LIMIT)], b"")


def test_a_line_at_the_real_limit_passes_and_one_over_does_not() -> None:
    assert cut([b"x" * (LINE_LIMIT - 1) + b"\n"], LINE_LIMIT)[0] == [b"x" * (LINE_LIMIT - 1)]
    assert cut([b"x" * LINE_LIMIT + b"\n"], LINE_LIMIT)[0] == [Overlong(b"x" * 200)]


def test_an_overlong_line_is_reported_before_its_newline_comes_and_once_only() -> None:
    splitter = LineSplitter(LIMIT)
    assert splitter.feed(b"x" * LIMIT) == [Overlong(b"x" * LIMIT)]
    assert splitter.feed(b"x" * 100) == []
    assert splitter.feed(b"xx\nnext\n") == [b"next"]


def test_an_unended_line_is_pending() -> None:
    splitter = LineSplitter(LIMIT)
    assert splitter.feed(b"a\nbc") == [b"a"]
    assert splitter.pending == b"bc"


def test_two_megabytes_without_a_newline_keep_memory_bounded() -> None:
    splitter = LineSplitter()
    chunk = b"x" * 65_536
    tracemalloc.start()
    try:
        found = [line for _ in range(32) for line in splitter.feed(chunk)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == [Overlong(b"x" * 200)]
    assert splitter.pending == b""
    assert peak < 3 * LINE_LIMIT


def test_a_line_in_single_bytes_takes_linear_time() -> None:
    def seconds(size: int) -> float:
        splitter = LineSplitter(2**30)
        begun = time.process_time()
        for _ in range(size):
            splitter.feed(b"x")
        return time.process_time() - begun

    assert min(seconds(200_000) for _ in range(3)) < 40 * min(seconds(20_000) for _ in range(3))


def test_many_lines_in_one_chunk_take_linear_time() -> None:
    def seconds(lines: int) -> float:
        data = b"0123456789\n" * lines
        begun = time.process_time()
        assert len(LineSplitter().feed(data)) == lines
        return time.process_time() - begun

    assert min(seconds(200_000) for _ in range(3)) < 40 * min(seconds(20_000) for _ in range(3)) + 0.01
