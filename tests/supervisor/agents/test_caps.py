"""What may be set as a cap while an agent runs."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor.agents.steering import check_caps
from supervisor.errors import Invalid


def test_money_and_time_may_be_broken_numbers_and_what_is_counted_is_whole() -> None:
    check_caps({"cost_usd": 1.5, "wall_s": 0.5, "tokens": 0, "agent": {"iterations": 3, "cost_usd": 0}})


@pytest.mark.parametrize(
    ("caps", "said"),
    [
        ({"tokens": 1.5}, "budgets.tokens: wanted a whole number, got 1.5"),
        ({"iterations": 2.0}, "budgets.iterations: wanted a whole number, got 2.0"),
        ({"agent": {"tokens": 1.5}}, "budgets.tokens: wanted a whole number, got 1.5"),
        ({"tokens": 10**15}, "wanted a number from 0 to 1000000000000"),
        ({"cost_usd": -1}, "wanted a number from 0"),
        ({"cost_usd": float("nan")}, "wanted a number from 0"),
        ({"wall_s": float("inf")}, "wanted a number from 0"),
        ({"tokens": True}, "wanted a number from 0"),
        ({"cost_usd": None}, "wanted a number from 0"),
        ({"agent": 3}, "budgets.agent: wanted caps"),
        ({"beauty": 1}, "budgets.beauty: no such cap"),
    ],
)
def test_what_is_no_cap_is_refused(caps: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid) as raised:
        check_caps(caps)
    assert said in str(raised.value)
