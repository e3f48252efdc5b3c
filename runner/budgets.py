"""Whether a cap is reached: numbers in, the cap out. No clock and no I/O."""

from collections.abc import Iterable
from dataclasses import dataclass

from ipc.frames import Budget

ROUNDING = 1e-9
"""Ten times ten cents are a dollar, also in binary."""

_NAMES = {"cost_usd": "cost", "tokens": "tokens", "iterations": "iterations", "wall_s": "working time"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What this run has used so far: US dollars, tokens of every kind, iterations, seconds of work."""

    cost_usd: float = 0.0
    tokens: int = 0
    iterations: int = 0
    wall_s: float = 0.0

    def of(self, what: str) -> float:
        """Return the total that a budget's ``what`` names."""
        return float(getattr(self, what))


def reached(budgets: Iterable[Budget], spent: Spent) -> Budget | None:
    """Return the first cap that is used up: base + own ≥ cap."""
    return next((one for one in budgets if one.base + spent.of(one.what) >= one.cap - ROUNDING), None)


def work_left(budgets: Iterable[Budget], spent: Spent) -> float:
    """Return the seconds of work that the caps on time leave; infinite without such a cap, never below zero."""
    left = (one.cap - one.base - spent.wall_s for one in budgets if one.what == "wall_s")
    return max(0.0, min(left, default=float("inf")))


def describe(budget: Budget, spent: Spent) -> str:
    """Say in one line which cap is used up, and by how much."""
    used = budget.base + spent.of(budget.what)
    return f"{_NAMES[budget.what]} per {budget.scope}: {_shown(budget.what, used)} of {_shown(budget.what, budget.cap)}"


def _shown(what: str, value: float) -> str:
    if what == "cost_usd":
        return f"${value:,.4f}".rstrip("0").rstrip(".") if value % 1 else f"${value:,.0f}"
    return f"{value:,.1f} s" if what == "wall_s" else f"{value:,.0f}"
