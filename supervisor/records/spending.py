"""Rows of the ledger: totals for each model within an iteration, of which the highest ever heard counts.

What an iteration's end says beyond what was heard of its models is kept under the model `UNNAMED`, so that the
rows of an iteration add up to the most that is known of it, in whatever order it was heard.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ipc.frames import Usage
from supervisor.records.transaction import Tx
from supervisor.records.values import amount, count, to_text

UNNAMED = ""
"""The model of what no model was named for by ``usage``."""

UNKNOWN = "?"
"""The model of a ``usage`` that does not say which."""

Key = tuple[int, int, str]
"""Iteration, attempt, model."""

Spent = tuple[int, int, int, int, float | None]
"""Tokens in, out, read from the cache, written to it; dollars, ``None`` if unknown."""


def spent(frame: Usage) -> tuple[Key, Spent]:
    """Return what a ``usage`` says, within what a row can hold."""
    return (frame.iteration, frame.attempt, to_text(frame.model) or UNKNOWN), (
        count(frame.tokens_in),
        count(frame.tokens_out),
        count(frame.cache_read_tokens),
        count(frame.cache_write_tokens),
        amount(frame.cost_usd),
    )


def highest(one: Spent, other: Spent) -> Spent:
    """Return the higher of two totals, field by field; a known cost is higher than an unknown one."""
    costs = [cost for cost in (one[4], other[4]) if cost is not None]
    return (
        max(one[0], other[0]),
        max(one[1], other[1]),
        max(one[2], other[2]),
        max(one[3], other[3]),
        max(costs, default=None),
    )


def rests(whole: Mapping[tuple[int, int], Spent], models: Mapping[Key, Spent]) -> dict[Key, Spent]:
    """Return what `UNNAMED` holds for iterations of which ``whole`` is all that was said, and ``models`` all usage."""
    heard: dict[tuple[int, int], list[Spent]] = {}
    for (iteration, attempt, _), found in models.items():
        heard.setdefault((iteration, attempt), []).append(found)
    return {
        (*key, UNNAMED): _rest(total, heard[key]) if key in heard else total for key, total in whole.items()
    }


def _rest(total: Spent, heard: list[Spent]) -> Spent:
    known = sum(found[4] for found in heard if found[4] is not None)
    return (
        max(0, total[0] - sum(found[0] for found in heard)),
        max(0, total[1] - sum(found[1] for found in heard)),
        max(0, total[2] - sum(found[2] for found in heard)),
        max(0, total[3] - sum(found[3] for found in heard)),
        0.0 if total[4] is None else max(0.0, total[4] - known),
    )


def put_usage(tx: Tx, run_id: int, agent: str, lineage: int, totals: Iterable[tuple[Key, Spent]]) -> None:
    """Store totals of models; where there are some, the highest stay."""
    tx.conn.executemany(
        """INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (run_id, iteration, attempt, model) DO UPDATE SET
            tokens_in = max(tokens_in, excluded.tokens_in),
            tokens_out = max(tokens_out, excluded.tokens_out),
            cache_read_tokens = max(cache_read_tokens, excluded.cache_read_tokens),
            cache_write_tokens = max(cache_write_tokens, excluded.cache_write_tokens),
            cost_usd = coalesce(max(cost_usd, excluded.cost_usd), cost_usd, excluded.cost_usd),
            at = excluded.at""",
        ((run_id, *key, agent, lineage, *values, tx.now) for key, values in totals),
    )


def settle(tx: Tx, run_id: int, agent: str, lineage: int, ended: Iterable[tuple[int, int]]) -> None:
    """Set what `UNNAMED` holds for iterations that have ended, of which usage may have been stored before."""
    tx.conn.executemany(
        """INSERT INTO ledger
        SELECT i.run_id, i.iteration, i.attempt, :unnamed, :agent, :lineage,
            max(0, i.tokens_in - CAST(total(l.tokens_in) AS INTEGER)),
            max(0, i.tokens_out - CAST(total(l.tokens_out) AS INTEGER)),
            max(0, i.cache_read_tokens - CAST(total(l.cache_read_tokens) AS INTEGER)),
            max(0, i.cache_write_tokens - CAST(total(l.cache_write_tokens) AS INTEGER)),
            CASE WHEN i.cost_usd IS NOT NULL THEN max(0.0, i.cost_usd - total(l.cost_usd))
                WHEN count(l.model) > 0 THEN 0.0 END,
            :now
        FROM iterations i LEFT JOIN ledger l
            ON l.run_id = i.run_id AND l.iteration = i.iteration AND l.attempt = i.attempt AND l.model <> :unnamed
        WHERE i.run_id = :run_id AND i.iteration = :iteration AND i.attempt = :attempt
            AND i.status NOT IN ('running', 'interrupted')
        GROUP BY i.run_id, i.iteration, i.attempt
        ON CONFLICT (run_id, iteration, attempt, model) DO UPDATE SET
            tokens_in = excluded.tokens_in,
            tokens_out = excluded.tokens_out,
            cache_read_tokens = excluded.cache_read_tokens,
            cache_write_tokens = excluded.cache_write_tokens,
            cost_usd = excluded.cost_usd""",
        (
            {
                "run_id": run_id,
                "iteration": iteration,
                "attempt": attempt,
                "agent": agent,
                "lineage": lineage,
                "now": tx.now,
                "unnamed": UNNAMED,
            }
            for iteration, attempt in ended
        ),
    )
