"""The verb on tokens: ``token``."""

from __future__ import annotations

import time

from supervisor.ctl.invocation import Args, Invocation, Row, duration
from supervisor.ctl.tables import table
from supervisor.ctl.times import ago, ahead
from supervisor.ctl.visible import visible

USAGE = {
    "token": """
Make, list and end tokens, with which a program acts as somebody else than its Unix user.

Usage: agentctl token [options] list
       agentctl token [options] add NAME
       agentctl token [options] remove NAME

A new token is printed this once; keep it in a file of mode 0600.

Options:
  --principal P      who its owner is; NAME if left out
  --expires D        when it ends, such as 30d; never if left out""",
}


def token(args: Args, ctl: Invocation) -> int:
    """Make, list or end tokens."""
    name = args["NAME"]
    with ctl.connect() as client:
        if args["add"]:
            made = client.call(
                "token.add", name=name, principal=args["--principal"], expires_s=duration(args, "--expires")
            )
            ctl.show(made)
            ctl.say(made["token"])
            return 0
        if args["remove"]:
            client.call("token.remove", name=name)
            ctl.show({"name": name})
            ctl.say(f"{name}: removed")
            return 0
        rows: list[Row] = client.call("token.list")["tokens"]
    ctl.show({"tokens": rows})
    now = time.time()
    body = [
        [
            visible(row["name"]),
            visible(row["principal"]),
            ago(row.get("created_at"), now),
            "removed" if row.get("revoked_at") else _ends(row.get("expires_at"), now),
        ]
        for row in rows
    ]
    for line in table(["TOKEN", "PRINCIPAL", "MADE", "ENDS"], body, width=ctl.width, drop=("MADE",)):
        ctl.say(line)
    return 0


def _ends(at: float | None, now: float) -> str:
    if at is None:
        return "never"
    return ahead(at, now) if at > now else f"ended {ago(at, now)}"
