"""The verb on caps: ``budget``."""

from __future__ import annotations

from supervisor.ctl.invocation import Args, Invocation, Row
from supervisor.ctl.look import count
from supervisor.ctl.settings import caps
from supervisor.ctl.tables import table
from supervisor.errors import Invalid

USAGE = {
    "budget": """
What agents may spend and have spent; --set gives an agent new caps, at once.

Usage: agentctl budget [options] [--set WHAT=CAP]... [NAME]

Options:
  --set WHAT=CAP     cost_usd, tokens, iterations or wall_s of a run; agent.WHAT for good; may be repeated""",
}


def budget(args: Args, ctl: Invocation) -> int:
    """Print budgets, after setting them if asked."""
    name, given = args["NAME"], caps(args["--set"])
    if given and name is None:
        raise Invalid("budget: --set needs a NAME")
    with ctl.connect() as client:
        if given:
            client.call("budget.set", agent=name, budgets=given)
        rows: list[Row] = client.call("budget.show", agent=name)["budgets"]
    ctl.show({"budgets": rows})
    if ctl.json:
        return 0
    if not rows:
        ctl.say(f"{name or 'no agent'} has no caps" if name else "no agent has caps")
        return 0
    body = [
        [
            row["agent"],
            row["scope"],
            row["what"],
            amount(row["what"], row["spent"]),
            amount(row["what"], row["cap"]),
            "spent" if row["spent"] >= row["cap"] else f"{100 * row['spent'] / row['cap']:.0f}%",
        ]
        for row in rows
    ]
    for line in table(
        ["AGENT", "PER", "WHAT", "SPENT", "CAP", "USED"], body, width=ctl.width, drop=("USED",)
    ):
        ctl.say(line)
    return 0


def amount(what: str, number: float) -> str:
    """Write an amount of what is capped."""
    if what == "cost_usd":
        return f"${number:.4f}".rstrip("0").rstrip(".")
    return f"{number:.0f}s" if what == "wall_s" else count(number)
