"""Verbs that only look: ``status``, ``runs``, ``show``, ``events``."""

from __future__ import annotations

import time
from collections.abc import Sequence

from supervisor.ctl.client import Client
from supervisor.ctl.invocation import Args, Invocation, Row, is_up, whole_number
from supervisor.ctl.tables import table
from supervisor.ctl.times import ahead, short_span, span
from supervisor.ctl.visible import visible
from supervisor.errors import NoSuchAgent, NoSuchRun, NotRunning

USAGE = {
    "status": """
What every agent does now.

Usage: agentctl status [options] [NAME...]

Exit code 3 if a named agent does not run.

Options:
  -l, --long         also the process, and CPU and memory of everything it started""",
    "runs": """
The latest runs, newest first.

Usage: agentctl runs [options] [NAME]

Options:
  -n, --lines N      at most so many [default: 20]""",
    "show": """
One run: how it began and ended, its iterations and permissions.

Usage: agentctl show [options] RUN

RUN is a run's number, or an agent's name for its latest run.""",
    "events": """
What happened, numbered; with -f also what happens next.

Usage: agentctl events [options] [NAME]

Options:
  -f, --follow       go on as events come, over restarts of the supervisor
  -n, --lines N      the last so many [default: 20]
  --after NUMBER     everything after this number instead""",
}

COLOUR = {
    "running": "green",
    "waiting_permission": "yellow",
    "paused": "yellow",
    "backoff": "yellow",
    "held": "red",
    "failed": "red",
    "crashed": "red",
    "lost": "red",
    "timed_out": "red",
}


def status(args: Args, ctl: Invocation) -> int:
    """Print a row for each agent."""
    with ctl.connect() as client:
        rows: list[Row] = client.call("agent.list", long=args["--long"])["agents"]
        degraded = client.call("system.status").get("degraded") or []
    names: Sequence[str] = args["NAME"]
    known = {row["name"] for row in rows}
    for name in names:
        if name not in known:
            raise NoSuchAgent(f"no agent is called {name}", remedy="agentctl status lists them")
    rows = [row for row in rows if not names or row["name"] in names]
    ctl.show({"agents": rows, "degraded": degraded})
    for what in degraded:
        ctl.note(f"degraded: {visible(str(what))}")
    if not rows and not ctl.json:
        ctl.say("no agents yet; agentctl run repo-report starts one on this folder")
    elif not ctl.json:
        print_status(rows, ctl, long=args["--long"])
    return NotRunning.exit_code if names and any(not is_up(row) for row in rows) else 0


def print_status(rows: Sequence[Row], ctl: Invocation, *, long: bool) -> None:
    """Print the table of agents."""
    now = time.time()
    head = ["AGENT", "STATE", "SINCE", "ITER", "DOES", "WAITS FOR", "RESTARTS", "TOKENS", "COST"]
    body = [[visible(cell) for cell in status_row(row, now)] for row in rows]
    if long:
        head += ["RUN", "PID", "CPU", "MEM", "PROCS"]
        for cells, row in zip(body, rows, strict=True):
            cells.extend(long_cells(row))
    drop = ("PROCS", "RUN", "RESTARTS", "TOKENS", "ITER", "COST", "SINCE", "DOES")
    lines = table(head, body, width=ctl.width, drop=drop)
    ctl.say(ctl.paint(lines[0], "bold"))
    for line, row in zip(lines[1:], rows, strict=True):
        colour = COLOUR.get(row["state"])
        ctl.say(ctl.paint(line, colour) if colour else line)


def status_row(row: Row, now: float) -> list[str]:
    """The cells of one agent."""
    flags = [str(flag) for flag in row.get("flags") or ()]
    pause = row.get("pause") or {}
    does = row.get("activity") or row.get("reason") or ""
    if row.get("backoff_until"):
        does = f"again {ahead(row['backoff_until'], now)}; {does}".rstrip("; ")
    elif pause:
        again = f", goes on {ahead(pause['resume_at'], now)}" if pause.get("resume_at") else ""
        does = f"{pause.get('kind') or 'paused'}: {pause.get('reason') or ''}{again}"
    iteration = str(row.get("iteration") or "")
    if (row.get("attempt") or 1) > 1:
        iteration += f".{row['attempt']}"
    cost, tokens = row.get("cost_today"), row.get("tokens_today")
    since = row.get("since")
    return [
        row["name"],
        " ".join([str(row["state"]).replace("_", " "), *(f"({flag})" for flag in flags)]),
        short_span(now - since) if since else "",
        iteration,
        " ".join(str(does).split()),
        " ".join(str(row.get("waiting_for") or "").split()),
        str(row.get("restarts") or ""),
        count(tokens) if tokens else "",
        f"${cost:.2f}" if cost else "",
    ]


def long_cells(row: Row) -> list[str]:
    """What ``-l`` adds for one agent."""
    cpu, memory = row.get("cpu_percent"), row.get("memory_bytes")
    return [
        str(row.get("run_id") or ""),
        str(row.get("pid") or ""),
        "" if cpu is None else f"{cpu:.0f}%",
        "" if memory is None else f"{memory / 1e6:.1f}M",
        str(row.get("processes") or ""),
    ]


def count(number: float) -> str:
    """Write a number with three digits: ``950``, ``12.3k``, ``4.56M``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def runs(args: Args, ctl: Invocation) -> int:
    """Print the latest runs."""
    with ctl.connect() as client:
        found: list[Row] = client.call("run.list", agent=args["NAME"], limit=whole_number(args, "--lines"))[
            "runs"
        ]
    if args["NAME"] and not found:
        raise NoSuchRun(f"agent {args['NAME']} has had no run", remedy="agentctl runs lists all runs")
    ctl.show({"runs": found})
    if ctl.json:
        return 0
    now = time.time()
    body = [
        [
            str(row["run_id"]),
            row["agent"],
            row["state"],
            _since(row, now),
            _took(row, now),
            str(row.get("iterations") or ""),
            visible(" ".join(str(row.get("reason") or "").split())),
        ]
        for row in found
    ]
    head = ["RUN", "AGENT", "STATE", "BEGAN", "TOOK", "ITERATIONS", "WHY"]
    for line in table(head, body, width=ctl.width, drop=("ITERATIONS", "TOOK", "BEGAN")):
        ctl.say(line)
    return 0


def _since(row: Row, now: float) -> str:
    at = row.get("started_at") or row.get("queued_at")
    return f"{short_span(now - at)} ago" if at else ""


def _took(row: Row, now: float) -> str:
    at = row.get("started_at")
    return span((row.get("ended_at") or now) - at) if at else ""


def show(args: Args, ctl: Invocation) -> int:
    """Print one run."""
    with ctl.connect() as client:
        run_id = run_number(client, args["RUN"])
        found = client.call("run.show", run_id=run_id)
    ctl.show(found)
    if not ctl.json:
        from supervisor.ctl.report import run_report

        for line in run_report(found, time.time(), ctl.width):
            ctl.say(line)
    return 0


def run_number(client: Client, text: str) -> int:
    """Read a run's number, or find an agent's latest run. Raises `NoSuchRun`, `Invalid`."""
    if text.isascii() and text.isdigit():
        number = whole_number({"RUN": text}, "RUN")
        assert number is not None
        return number
    rows: list[Row] = client.call("run.list", agent=text, limit=1)["runs"]
    if not rows:
        raise NoSuchRun(f"agent {text} has had no run", remedy="agentctl runs lists all runs")
    return int(rows[0]["run_id"])


def events(args: Args, ctl: Invocation) -> int:
    """Print events, and follow them if asked."""
    from supervisor.ctl.eventlog import print_events

    after, lines = whole_number(args, "--after"), whole_number(args, "--lines") or 0
    print_events(ctl, agent=args["NAME"], after=after, lines=lines, follow=args["--follow"])
    return 0
