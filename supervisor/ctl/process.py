"""Verbs on processes: ``pid`` and ``signal``."""

from __future__ import annotations

import signal as signals

from supervisor.ctl.invocation import Args, Invocation, Row
from supervisor.errors import Invalid, NoSuchAgent, NotRunning

USAGE = {
    "pid": """
The process id of the supervisor, or of an agent's runner; "all" prints every runner's.

Usage: agentctl pid [options] [NAME]""",
    "signal": """
Send a signal to the runners of agents.

Usage: agentctl signal [options] SIGNAL NAME...

SIGNAL is a name such as HUP or SIGHUP, or a number.""",
}


def pid(args: Args, ctl: Invocation) -> int:
    """Print process ids."""
    name = args["NAME"]
    with ctl.connect() as client:
        if name is None:
            supervisor = client.call("system.status")["pid"]
            ctl.show({"pid": supervisor})
            ctl.say(str(supervisor))
            return 0
        rows: list[Row] = client.call("agent.list")["agents"]
    found = [row for row in rows if row["name"] == name] or (rows if name == "all" else [])
    if not found and name != "all":
        raise NoSuchAgent(f"no agent is called {name}", remedy="agentctl status lists them")
    living = [row for row in found if row["pid"]]
    if not living and name != "all":
        raise NotRunning(f"agent {name} is not running ({found[0]['state']})")
    ctl.show({"pids": {row["name"]: row["pid"] for row in living}})
    for row in living:
        ctl.say(str(row["pid"]))
    return 0


def signal(args: Args, ctl: Invocation) -> int:
    """Send a signal."""
    number = signal_number(args["SIGNAL"])
    with ctl.connect() as client:

        def send(name: str) -> None:
            ctl.show(client.call("agent.signal", name=name, signal=number))
            ctl.say(f"{name}: signalled")

        return ctl.each(args["NAME"], send)


def signal_number(text: str) -> int:
    """Read a signal's name or number. Raises `Invalid`."""
    name = text.upper().removeprefix("SIG")
    for known in signals.Signals:
        if known.name == f"SIG{name}" or str(known.value) == text:
            return known.value
    raise Invalid(f"SIGNAL: there is no signal {text!r}", remedy="kill -l lists them")
