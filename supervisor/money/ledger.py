"""Adding up the ledger: what was spent, and the caps that a runner is sent.

``tokens`` are those in and out; what was read from or written to a cache is recorded and not counted. An iteration
counts once it has ended. Wall time is that of iterations as their runner measured it: it stood still while a person
was asked. An interrupted attempt is no iteration, but costs the longest that it can have worked: else a program that
dies in every turn would never reach a cap on ``wall_s``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import apsw

from ipc.frames import CAPPED, Budget
from supervisor.records.rows import Row, rows

SCOPES = ("run", "agent")
"""A cap counts over the lineage of a run, or over all runs of an agent, for good."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What was spent: US dollars, tokens, iterations, seconds.

    ``cost_unknown``: something of it has a cost that nobody said, so that ``cost_usd`` is the least it can be.
    """

    cost_usd: float = 0.0
    tokens: int = 0
    iterations: int = 0
    wall_s: float = 0.0
    cost_unknown: bool = False

    def of(self, what: str) -> float:
        """Return the total that a cap on ``what`` is held against."""
        totals: dict[str, float] = {
            "cost_usd": self.cost_usd,
            "tokens": self.tokens,
            "iterations": self.iterations,
            "wall_s": self.wall_s,
        }
        return totals[what]


def run_totals(conn: apsw.Connection, run_id: int) -> Totals:
    """Return what one run has spent."""
    return _single(conn, "run_id = :run", {"run": run_id})


def lineage_totals(conn: apsw.Connection, lineage: int, *, besides: int | None = None) -> Totals:
    """Return what the runs of a lineage have spent, all or all but one."""
    return _single(
        conn,
        "agent_runs.lineage = :lineage AND run_id IS NOT :besides",
        {"lineage": lineage, "besides": besides},
    )


def agent_totals(conn: apsw.Connection, agent: str, *, besides: int | None = None) -> Totals:
    """Return what all runs of an agent have spent, all or all but one."""
    return _single(
        conn, "agent_runs.agent = :agent AND run_id IS NOT :besides", {"agent": agent, "besides": besides}
    )


def totals_since(conn: apsw.Connection, since: float) -> dict[str, Totals]:
    """Return what each agent has spent since a moment (seconds since the epoch); who spent nothing is left out."""
    recent = "(agent_runs.ended_at IS NULL OR agent_runs.ended_at >= :since)"
    return _add_up(conn, recent, {"since": since})


def budgets_for(
    conn: apsw.Connection, caps: Mapping[str, Any], agent: str, lineage: int, run_id: int
) -> list[Budget]:
    """Return the caps to send to a run, each with what counts against it besides that run itself.

    ``caps`` is the ``budgets`` of a definition: caps of a run (its lineage) by name, and under ``agent`` those of the
    agent for good. What is ``None`` is not capped.
    """
    spent = {
        "run": lineage_totals(conn, lineage, besides=run_id),
        "agent": agent_totals(conn, agent, besides=run_id),
    }
    return [
        Budget(scope=scope, what=what, cap=cap, base=spent[scope].of(what))
        for scope, what, cap in _caps(caps)
    ]


def budget_table(
    conn: apsw.Connection, caps: Mapping[str, Any], agent: str, lineage: int | None
) -> list[Row]:
    """Return rows of ``{scope, what, cap, spent, unknown}``; without a ``lineage`` a run has spent nothing yet."""
    spent = {
        "run": Totals() if lineage is None else lineage_totals(conn, lineage),
        "agent": agent_totals(conn, agent),
    }
    return [
        {
            "scope": scope,
            "what": what,
            "cap": cap,
            "spent": spent[scope].of(what),
            "unknown": what == "cost_usd" and spent[scope].cost_unknown,
        }
        for scope, what, cap in _caps(caps)
    ]


def _caps(caps: Mapping[str, Any]) -> list[tuple[str, str, float]]:
    by_scope = {"run": caps, "agent": caps.get("agent") or {}}
    return [
        (scope, what, by_scope[scope][what])
        for scope in SCOPES
        for what in CAPPED
        if by_scope[scope].get(what) is not None
    ]


def _single(conn: apsw.Connection, runs: str, given: dict[str, Any]) -> Totals:
    totals = _add_up(conn, runs, given | {"since": None}, by_agent=False)
    return totals.get("", Totals())


_TOKENS = "(ledger.tokens_in + 0.0 + ledger.tokens_out)"
_ANY_TOKENS = f"({_TOKENS} + ledger.cache_read_tokens + ledger.cache_write_tokens > 0)"
"""Where no token was used, a cost that nobody said is nothing."""


def _add_up(
    conn: apsw.Connection, runs: str, given: dict[str, Any], *, by_agent: bool = True
) -> dict[str, Totals]:
    """Add up over the ``runs`` that a condition names; sums are floating, so that no number of tokens overflows."""
    group = "agent_runs.agent" if by_agent else "''"
    spent = rows(
        conn,
        f"""SELECT {group} AS agent, total(ledger.cost_usd) AS cost_usd, total({_TOKENS}) AS tokens,
            max(ledger.cost_usd IS NULL AND iterations.cost_usd IS NULL AND {_ANY_TOKENS}) AS unknown
        FROM agent_runs JOIN ledger USING (run_id) LEFT JOIN iterations USING (run_id, iteration, attempt)
        WHERE {runs} AND ledger.at >= ifnull(:since, 0) GROUP BY 1""",
        given,
    )
    worked = rows(
        conn,
        f"""SELECT {group} AS agent, sum(iterations.status != 'interrupted') AS iterations,
            total(iterations.duration_s) AS wall_s
        FROM agent_runs JOIN iterations USING (run_id)
        WHERE {runs} AND iterations.status != 'running'
            AND iterations.ended_at >= ifnull(:since, 0) GROUP BY 1""",
        given,
    )
    found: dict[str, dict[str, Any]] = {}
    for row in spent:
        found[row["agent"]] = {
            "cost_usd": row["cost_usd"],
            "tokens": int(row["tokens"]),
            "cost_unknown": bool(row["unknown"]),
        }
    for row in worked:
        work = {"iterations": row["iterations"], "wall_s": row["wall_s"]}
        found[row["agent"]] = found.get(row["agent"], {}) | work
    return {agent: Totals(**values) for agent, values in found.items()}
