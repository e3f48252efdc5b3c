"""Verbs on permissions: ``permissions``, ``allow``, ``deny``. What is asked is always shown whole."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from supervisor.ctl.client import Client
from supervisor.ctl.invocation import LINES, Args, Invocation, Row
from supervisor.ctl.times import ago
from supervisor.ctl.visible import visible
from supervisor.errors import Invalid

USAGE = {
    "permissions": """
What agents ask to be allowed, whole, with who asks and why.

Usage: agentctl permissions [options] [NAME]

Options:
  --state STATE      open, decided, applied, in_doubt, void or all [default: open]""",
    "allow": """
Answer a permission request with yes.

Usage: agentctl allow [options] ID...

Options:
  --reason TEXT      kept with the decision""",
    "deny": """
Answer a permission request with no.

Usage: agentctl deny [options] ID...

Options:
  --reason TEXT      told to the agent, and kept with the decision""",
}

LARGE = frozenset({"path", "size", "sha256", "beginning"})
"""Keys of an input that was too large for the wire and lies in a file of the run's folder."""


def permissions(args: Args, ctl: Invocation) -> int:
    """Print the permissions in a state."""
    with ctl.connect() as client:
        found: list[Row] = client.call("permission.list", state=args["--state"], agent=args["NAME"])[
            "permissions"
        ]
    for row in found:
        row["input"] = whole_input(row, ctl.home.runs)
    ctl.show({"permissions": found})
    now = time.time()
    for number, row in enumerate(found):
        if number:
            ctl.say()
        for line in permission_lines(row, now):
            ctl.say(line)
    if not found:
        ctl.say("nobody asks" if args["--state"] == "open" else f"none is {args['--state']}")
    return 0


def allow(args: Args, ctl: Invocation) -> int:
    """Grant permissions."""
    return _answer(args, ctl, granted=True)


def deny(args: Args, ctl: Invocation) -> int:
    """Refuse permissions."""
    return _answer(args, ctl, granted=False)


def _answer(args: Args, ctl: Invocation, *, granted: bool) -> int:
    for text in args["ID"]:
        if not (text.isascii() and text.isdigit()):
            raise Invalid(
                f"ID: wanted a permission's number, got {text!r}", remedy="agentctl permissions lists them"
            )

    with ctl.connect() as client:

        def answer_one(text: str) -> None:
            answer = decide(client, int(text), granted=granted, reason=args["--reason"])
            ctl.show(answer)
            ctl.say(f"permission {answer['id']}: {'allowed' if granted else 'denied'}")

        return ctl.each(args["ID"], answer_one)


def decide(client: Client, permission_id: int, *, granted: bool, reason: str | None = None) -> dict[str, Any]:
    """Answer one permission. Raises `Conflict` when someone was faster, `NotPermitted`."""
    return client.call("permission.answer", id=permission_id, granted=granted, reason=reason)


def permission_lines(row: Row, now: float) -> Iterator[str]:
    """Yield one permission as lines: who asks what, why, since when, what became of it, and the whole input."""
    yield f"permission {row['id']}: agent {row['agent']} (run {row['run_id']}) asks to use {visible(row['tool'])}"
    yield f"  why    {visible(row.get('rationale') or 'no reason given', keep=LINES)}"
    yield f"  asked  {ago(row.get('asked_at'), now)}; {outcome(row, now)}"
    yield "  input"
    for name, value in row["input"].items():
        text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
        lines = visible(text, keep=LINES).split("\n")
        if len(lines) == 1:
            yield f"    {visible(name)}: {lines[0]}"
        else:
            yield f"    {visible(name)}:"
            yield from (f"    | {line}" for line in lines)
    if row["state"] == "open":
        yield f"  answer with: agentctl allow {row['id']}   or: agentctl deny {row['id']} --reason TEXT"


def outcome(row: Row, now: float) -> str:
    """What became of a permission."""
    if row["state"] == "open":
        return "open"
    decided = ""
    if row.get("granted") is not None:
        word, by = "allowed" if row["granted"] else "denied", visible(str(row.get("decided_by")))
        decided = f"{word} by {by} {ago(row.get('decided_at'), now)}"
        if row.get("how") == "auto_approve":
            decided += " (automatically)"
        if row.get("reason"):
            decided += f": {visible(row['reason'])}"
    closed = visible(row.get("closed_reason") or "")
    return ", ".join(part for part in (row["state"].replace("_", " "), decided, closed) if part)


def whole_input(row: Row, runs: Path) -> dict[str, Any]:
    """Return a permission's input, also where the wire carried only its beginning, its file's name and digest.

    ``runs`` is the folder of the runs. A file that is missing, lies elsewhere or is not what was asked about is said,
    above the beginning.
    """
    given: dict[str, Any] = row.get("input") or {}
    folder = runs / str(row["run_id"]) / "inputs"
    if given.keys() != LARGE or Path(str(given["path"])).parent != folder:
        return given
    import hashlib

    try:
        data = Path(given["path"]).read_bytes()
    except OSError as error:
        return {"NOT SHOWN WHOLE": f"{given['path']}: {error.strerror}", **given}
    if hashlib.sha256(data).hexdigest() != given["sha256"]:
        return {"NOT SHOWN WHOLE": f"{given['path']} is not the input that was asked about", **given}
    value = orjson.loads(data)
    return value if isinstance(value, dict) else {"input": value}
