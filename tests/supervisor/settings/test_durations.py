import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.settings.durations import LONGEST, seconds


@pytest.mark.parametrize(
    ("written", "span"),
    [
        (0, 0.0),
        (2, 2.0),
        (0.25, 0.25),
        ("30s", 30.0),
        ("30m", 1800.0),
        ("1h30m", 5400.0),
        (" 1h 30m ", 5400.0),
        ("500ms", 0.5),
        ("1.5h", 5400.0),
        ("2d", 172800.0),
        ("366d", LONGEST),
    ],
)
def test_a_duration_is_read_as_seconds(written: object, span: float) -> None:
    assert seconds(written) == pytest.approx(span)


@pytest.mark.parametrize(
    "written",
    [
        True, None, [], {}, -1, -0.001, math.nan, math.inf, -math.inf, 10**400, LONGEST + 1, "367d", "9" * 400 + "d",
        "", "30", "m", "-5m", "5 minutes", "1h2h", "1e3s", "30m!", "٣m", "1..5s",
    ],
)  # fmt: skip
def test_what_is_no_duration_is_refused_with_a_sentence(written: object) -> None:
    with pytest.raises(ValueError, match=r"duration|unit"):
        seconds(written)


def test_a_bare_number_in_quotes_is_told_the_unit_it_may_have_meant() -> None:
    with pytest.raises(ValueError, match=r'"30s"\?'):
        seconds("30")


@given(st.text())
def test_no_text_does_more_than_be_refused(written: str) -> None:
    try:
        assert 0 <= seconds(written) <= LONGEST
    except ValueError:
        pass
