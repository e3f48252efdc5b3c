"""Tables fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor.ctl.tables import columns, fit, table

HEAD = ["NAME", "STATE", "DOES"]


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table(HEAD, [["bob", "running", "x"], ["eve-12345", "idle", ""]]) == [
        "NAME       STATE    DOES",
        "bob        running  x",
        "eve-12345  idle",
    ]


def test_empty_columns_are_left_out() -> None:
    assert table(HEAD, [["bob", "", "x"]]) == ["NAME  DOES", "bob   x"]
    assert table(HEAD, []) == ["NAME  STATE  DOES"]


def test_columns_go_in_the_order_named_until_it_fits() -> None:
    rows = [["bob", "running", "something long"]]
    assert table(HEAD, rows, width=20, drop=("DOES", "STATE")) == ["NAME  STATE", "bob   running"]
    assert table(HEAD, rows, width=40, drop=("DOES", "STATE"))[0] == "NAME  STATE    DOES"


def test_the_widest_cells_are_shortened_at_last() -> None:
    assert table(HEAD, [["a-very-long-name", "running", "x"]], width=22)[1] == "a-very…  running  x"


def test_wide_characters_count_twice_and_combining_ones_not() -> None:
    assert columns("日本") == 4
    assert columns("e\u0301") == 1
    assert fit("日本語", 4) == "日… "


@given(
    st.lists(st.lists(st.text("abc日é", max_size=30), min_size=3, max_size=3), max_size=5),
    st.integers(20, 60),
)
def test_no_line_is_wider_than_the_terminal(rows: list[list[str]], width: int) -> None:
    assert all(columns(line) <= width for line in table(HEAD, rows, width=width))
