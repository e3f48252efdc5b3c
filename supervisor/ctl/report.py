"""One run as a page for people."""

from __future__ import annotations

from typing import Any

from supervisor.ctl.consent import permission_lines
from supervisor.ctl.invocation import LINES, Row
from supervisor.ctl.tables import table
from supervisor.ctl.times import ago, iso, span
from supervisor.ctl.visible import visible


def run_report(found: dict[str, Any], now: float, width: int | None) -> list[str]:
    """Lay out what ``run.show`` answers."""
    run: Row = found["run"]
    lines = [f"run {run['run_id']} of {run['agent']}: {run['state'].replace('_', ' ')}"]
    if run.get("reason"):
        lines.append(f"  why        {_one_line(run['reason'])}")
    for name, value in facts(run, now):
        lines.append(f"  {name:<10} {visible(value)}")
    for key in ("stderr_tail", "stdout_tail"):
        if run.get(key):
            lines += ["", f"{key.removesuffix('_tail')}, last lines:"]
            lines += [f"  {line}" for line in visible(run[key], keep=LINES).splitlines()]
    if found["iterations"]:
        lines.append("")
        body = [iteration_row(row) for row in found["iterations"]]
        head = ["ITERATION", "STATUS", "TOOK", "TOKENS", "COST", "SUMMARY"]
        lines += table(head, body, width=width, drop=("TOKENS", "COST", "TOOK"))
    for row in found["permissions"]:
        lines += ["", *permission_lines(row, now)]
    return lines


def facts(run: Row, now: float) -> list[tuple[str, str]]:
    """What is known of a run besides its state, as names and values."""
    told: list[tuple[str, Any]] = [
        ("template", run.get("template")),
        ("adapter", run.get("adapter")),
        ("started by", run.get("originator")),
        ("queued", _when(run.get("queued_at"), now)),
        ("started", _when(run.get("started_at"), now)),
        ("ready", _when(run.get("ready_at"), now)),
        ("ended", _when(run.get("ended_at"), now)),
        ("pid", run.get("pid")),
        ("exit", exit_words(run)),
        ("paused", " ".join(str(run[key]) for key in ("pause_kind", "pause_reason") if run.get(key))),
        ("continues", run.get("predecessor") and f"run {run['predecessor']}"),
    ]
    return [(name, _one_line(str(value))) for name, value in told if value]


def exit_words(run: Row) -> str:
    """How the process ended: its own reason, code and signal, as far as known."""
    code, signal = run.get("exit_code"), run.get("exit_signal")
    words = [
        run.get("exit_reason") or "",
        "" if code is None else f"code {code}",
        f"signal {signal}" if signal else "",
    ]
    return ", ".join(word for word in words if word)


def iteration_row(row: Row) -> list[str]:
    """The cells of one iteration."""
    number = str(row["iteration"]) + (f".{row['attempt']}" if row["attempt"] > 1 else "")
    tokens = (row.get("tokens_in") or 0) + (row.get("tokens_out") or 0)
    cost, took = row.get("cost_usd"), row.get("duration_s")
    return [
        number,
        row["status"].replace("_", " "),
        "" if took is None else span(took),
        str(tokens or ""),
        f"${cost:.4f}" if cost else "",
        visible(_one_line(row.get("error") or row.get("summary") or "")),
    ]


def _one_line(text: str) -> str:
    return visible(" ".join(text.split()))


def _when(at: float | None, now: float) -> str:
    return f"{ago(at, now)} ({iso(at)})" if at else ""
