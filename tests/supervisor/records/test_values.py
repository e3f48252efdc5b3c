"""Every text, JSON value and number that may come in comes back, or is refused."""

import math
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.records.values import LARGEST, MOST, amount, count, from_json, from_text, to_json, to_text

ANY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=30)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=10,
)


def through_sqlite(stored: str) -> str:
    conn = apsw.Connection(":memory:")
    conn.execute("CREATE TABLE t (it TEXT) STRICT")
    conn.execute("INSERT INTO t VALUES (?)", (stored,))
    found: str = conn.execute("SELECT it FROM t").get
    conn.close()
    return found


@given(ANY_TEXT)
def test_any_text_comes_back(text: str) -> None:
    assert from_text(through_sqlite(to_text(text))) == text


@pytest.mark.parametrize(
    "text", ["", "a\0b", "\ud800", "\udcff.txt", "\U0010fffd", "\U0010fffd00d800", "ä\ud83d"]
)
def test_awkward_texts_come_back(text: str) -> None:
    assert from_text(through_sqlite(to_text(text))) == text


@given(JSON)
def test_any_json_comes_back(value: Any) -> None:
    assert from_json(through_sqlite(to_json(value))) == value


def test_ordinary_text_is_stored_as_it_is() -> None:
    assert to_text("größer 🙂") == "größer 🙂"


def test_an_integer_that_no_machine_holds_comes_back_as_the_nearest_number() -> None:
    assert from_json(to_json(10**30)) == 1e30


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError):
        to_json({"a": object()})


@pytest.mark.parametrize(
    ("given_", "kept"), [(0, 0), (7, 7), (-1, 0), (2**63 - 1, LARGEST), (2**63, LARGEST), (2**200, LARGEST)]
)
def test_counts_are_brought_into_a_column(given_: int, kept: int) -> None:
    assert count(given_) == kept


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        (None, None),
        (math.nan, None),
        (math.inf, MOST),
        (-math.inf, 0.0),
        (-0.5, 0.0),
        (0.25, 0.25),
        (10**400, MOST),
    ],
)
def test_amounts_are_brought_into_a_column(given_: float | None, kept: float | None) -> None:
    assert amount(given_) == kept
