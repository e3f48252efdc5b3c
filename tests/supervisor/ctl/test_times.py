"""Times for people and for programs."""

from __future__ import annotations

import pytest

from supervisor.ctl.times import ago, ahead, iso, short_span, span, with_iso_times


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-5, "0s"),
        (0, "0s"),
        (0.25, "0.2s"),
        (7, "7s"),
        (9.94, "9.9s"),
        (59.9, "59s"),
        (60, "1m"),
        (185, "3m 5s"),
        (3600, "1h"),
        (8040, "2h 14m"),
        (86399, "23h 59m"),
        (86400, "1d"),
        (273600, "3d 4h"),
        (31_536_000, "365d"),
    ],
)
def test_a_span_has_its_two_widest_units(seconds: float, told: str) -> None:
    assert span(seconds) == told


@pytest.mark.parametrize(
    ("seconds", "told"), [(-1, "0s"), (59.9, "59s"), (60, "1m"), (3599, "59m"), (86399, "23h"), (1e6, "11d")]
)
def test_a_short_span_has_one(seconds: float, told: str) -> None:
    assert short_span(seconds) == told


def test_no_time_is_nothing() -> None:
    assert ago(None, 5.0) == ahead(None, 5.0) == ""
    assert ago(5.0, 65.0) == "1m ago"
    assert ahead(65.0, 5.0) == "in 1m"


def test_times_are_utc_to_the_millisecond() -> None:
    assert iso(0.0005) == "1970-01-01T00:00:00.000Z"
    assert iso(1_800_000_000.25) == "2027-01-15T08:00:00.250Z"


def test_only_times_of_ours_are_rewritten() -> None:
    given = {
        "since": 0,
        "at": 1.0,
        "ended_at": None,
        "run_id": 7,
        "rows": [{"started_at": 2, "input": {"created_at": 3, "at": 4}}],
        "settings": {"since": 5},
        "flag_at": True,
    }
    assert with_iso_times(given) == {
        "since": "1970-01-01T00:00:00.000Z",
        "at": "1970-01-01T00:00:01.000Z",
        "ended_at": None,
        "run_id": 7,
        "rows": [{"started_at": "1970-01-01T00:00:02.000Z", "input": {"created_at": 3, "at": 4}}],
        "settings": {"since": 5},
        "flag_at": True,
    }
