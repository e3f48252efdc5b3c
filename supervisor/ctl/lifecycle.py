"""Verbs that change what runs: ``start``, ``stop``, ``restart``, ``resume``, ``pause``, ``cancel``, ``message``,
``add``, ``remove``, ``wait``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from supervisor.ctl.client import Client
from supervisor.ctl.invocation import Args, Invocation, Row, duration, is_up, whole_number
from supervisor.ctl.settings import caps, own_settings
from supervisor.ctl.visible import visible
from supervisor.errors import AgentdError, Conflict, Failed, Invalid, Paused, WaitTimedOut

SETTINGS = """  --template T       a template's name, or a path
  --cwd DIR          the folder it works in; the present one if left out
  --adapter A        how a turn gets done: runbook or process
  --arg A            an argument of the program; may be repeated
  --set KEY=VALUE    any other setting, such as interval=30s or budgets.cost_usd=2; may be repeated"""

USAGE = {
    "start": f"""
Start agents, and agentd if none runs; returns when they are ready, or says why not.

Usage: agentctl start [options] [--arg A]... [--set KEY=VALUE]... NAME...

With a template or settings, NAME becomes a new agent. "all" stands for every agent that does not run.

Options:
{SETTINGS}
  --wait SECONDS     how long to wait until it is ready [default: 30]
  --no-wait          return as soon as it is accepted""",
    "stop": """
Stop agents with everything they started; they stay stopped. "all" stands for every agent that runs.

Usage: agentctl stop [options] NAME...

Options:
  --reason TEXT      kept with the run
  --wait SECONDS     how long to wait for the end [default: 30]
  --no-wait          return as soon as it is accepted""",
    "restart": """
Stop agents and start them again. "all" stands for every agent that runs.

Usage: agentctl restart [options] NAME...

Options:
  --wait SECONDS     how long to wait until it is ready [default: 30]
  --no-wait          return as soon as it is accepted""",
    "resume": """
Let paused or held agents go on, with other caps if given.

Usage: agentctl resume [options] [--set WHAT=CAP]... NAME...

Options:
  --set WHAT=CAP     a new cap: cost_usd, tokens, iterations, wall_s; agent.WHAT for good; may be repeated""",
    "pause": """
Let agents stop before their next iteration, and wait.

Usage: agentctl pause [options] NAME...

Options:
  --reason TEXT      shown while it is paused""",
    "cancel": """
End the present iteration of agents, and only that.

Usage: agentctl cancel [options] NAME...

Options:
  --reason TEXT      kept with the iteration""",
    "message": """
Put a word into an agent's next turn.

Usage: agentctl message [options] NAME [--] TEXT...""",
    "add": f"""
Define an agent without starting it.

Usage: agentctl add [options] [--arg A]... [--set KEY=VALUE]... NAME

Options:
{SETTINGS}""",
    "remove": """
Forget agents that do not run; their history stays.

Usage: agentctl remove [options] NAME...""",
    "wait": """
Wait for the end of an agent's run, or until it is ready; exit code 0 only if that went well.

Usage: agentctl wait [options] NAME
       agentctl wait [options] --run RUN

Options:
  --run RUN          this run instead of an agent's latest
  --for WHAT         end or ready [default: end]
  --timeout SECONDS  give up then, with exit code 124 [default: 30]""",
}


def start(args: Args, ctl: Invocation) -> int:
    """Start agents and wait until they are ready."""
    from supervisor.ctl.daemon import connect_or_start

    own = own_settings(args)
    if own and len(args["NAME"]) > 1:
        raise Invalid("start: settings are for one NAME alone")
    patience = _patience(args)
    with connect_or_start(ctl) as client:

        def begin(name: str) -> Row:
            try:
                return client.call("agent.start", name=name, **own)
            except Conflict:
                if own or not client.is_first:
                    raise
            # It was wanted still, so the supervisor that was started for this has started it.
            (row,) = (row for row in client.call("agent.list")["agents"] if row["name"] == name)
            return {"agent": name, "run_id": row["run_id"], "accepted_at": row["since"]}

        def finish(accepted: Row) -> None:
            _until_ready(ctl, client, accepted, patience)

        return _together(ctl, _names(client, args["NAME"], lambda row: not is_up(row)), begin, finish)


def stop(args: Args, ctl: Invocation) -> int:
    """Stop agents, all at once, and wait for their ends."""
    patience = _patience(args)
    with ctl.connect() as client:

        def begin(name: str) -> Row:
            return client.call("agent.stop", name=name, reason=args["--reason"])

        def finish(accepted: Row) -> None:
            if patience is not None and accepted["run_id"] is not None:
                accepted = {**accepted, **_waited(client, accepted, "end", patience)}
                if accepted["status"] == "timeout":
                    raise WaitTimedOut(f"{accepted['agent']}: still {accepted['state']} after {patience:g} s")
            ctl.show(accepted)
            ctl.say(f"{accepted['agent']}: {accepted.get('state', 'stopping')}")

        return _together(ctl, _names(client, args["NAME"], is_up), begin, finish)


def restart(args: Args, ctl: Invocation) -> int:
    """Stop and start agents."""
    patience = _patience(args)
    with ctl.connect() as client:

        def begin(name: str) -> Row:
            return client.call("agent.restart", name=name)

        def finish(accepted: Row) -> None:
            _until_ready(ctl, client, accepted, patience)

        return _together(ctl, _names(client, args["NAME"], is_up), begin, finish)


def resume(args: Args, ctl: Invocation) -> int:
    """End pauses."""
    budgets = caps(args["--set"]) or None
    return _each_accepted(args, ctl, "resumed", "agent.resume", budgets=budgets)


def pause(args: Args, ctl: Invocation) -> int:
    """Pause agents before their next iteration."""
    return _each_accepted(
        args, ctl, "pauses before its next iteration", "agent.pause", reason=args["--reason"]
    )


def cancel(args: Args, ctl: Invocation) -> int:
    """End the present iterations."""
    return _each_accepted(args, ctl, "iteration cancelled", "agent.cancel", reason=args["--reason"])


def message(args: Args, ctl: Invocation) -> int:
    """Put a word into the next turn."""
    with ctl.connect() as client:
        accepted = client.call("agent.message", name=args["NAME"], text=" ".join(args["TEXT"]))
    ctl.show(accepted)
    ctl.say(f"{accepted['agent']}: will read it in its next turn")
    return 0


def add(args: Args, ctl: Invocation) -> int:
    """Define an agent."""
    with ctl.connect() as client:
        accepted = client.call("agent.add", name=args["NAME"], **own_settings(args))
    ctl.show(accepted)
    ctl.say(f"{accepted['agent']}: added; agentctl start {accepted['agent']} starts it")
    return 0


def remove(args: Args, ctl: Invocation) -> int:
    """Forget agents."""
    return _each_accepted(args, ctl, "removed; its history stays", "agent.remove")


def wait(args: Args, ctl: Invocation) -> int:
    """Wait for a run."""
    timeout = duration(args, "--timeout") or 0.0
    run_id = whole_number(args, "--run")
    with ctl.connect() as client:
        waited = client.call(
            "agent.wait", name=args["NAME"], run_id=run_id, until=args["--for"], timeout_s=timeout
        )
    ctl.show(waited)
    ctl.say(
        f"run {waited['run_id']}: {waited['state']}"
        + (f": {visible(waited['error'])}" if waited["error"] else "")
    )
    if waited["status"] == "timeout":
        return WaitTimedOut.exit_code
    return 0 if waited["status"] == "ok" else Failed.exit_code


def _together(
    ctl: Invocation, names: list[str], begin: Callable[[str], Row], finish: Callable[[Row], None]
) -> int:
    """Begin with every name before waiting for any; returns the first failure's code."""
    begun: dict[str, Row] = {}
    first = ctl.each(names, lambda name: begun.update({name: begin(name)}))
    second = ctl.each(list(begun), lambda name: finish(begun[name]))
    return first or second


def _each_accepted(args: Args, ctl: Invocation, told: str, method: str, **params: object) -> int:
    with ctl.connect() as client:

        def do(name: str) -> None:
            ctl.show(client.call(method, name=name, **params))
            ctl.say(f"{name}: {told}")

        return ctl.each(args["NAME"], do)


def _names(client: Client, given: list[str], wanted: Callable[[Row], bool]) -> list[str]:
    """Put the names of all agents that fit in place of ``all``, unless an agent is called so."""
    if "all" not in given:
        return list(dict.fromkeys(given))
    rows: list[Row] = client.call("agent.list")["agents"]
    if any(row["name"] == "all" for row in rows):
        return list(dict.fromkeys(given))
    every = [row["name"] for row in rows if wanted(row)]
    return list(dict.fromkeys(name for word in given for name in (every if word == "all" else [word])))


def _patience(args: Args) -> float | None:
    return None if args["--no-wait"] else duration(args, "--wait")


def _waited(client: Client, accepted: Row, until: str, patience: float) -> dict[str, Any]:
    return client.call("agent.wait", run_id=accepted["run_id"], until=until, timeout_s=patience)


def _until_ready(ctl: Invocation, client: Client, accepted: Row, patience: float | None) -> None:
    """Wait until a started run is ready; raises what became of it otherwise."""
    name, run_id = accepted["agent"], accepted["run_id"]
    if patience is None:
        ctl.show(accepted)
        ctl.say(f"{name}: accepted (run {run_id})")
        return
    waited = _waited(client, accepted, "ready", patience)
    if error := failure_of(name, waited, patience):
        raise error
    ctl.show({**accepted, **waited})
    ctl.say(f"{name}: {waited['state'].replace('_', ' ')} (run {run_id})")


def failure_of(name: str, waited: Row, patience: float) -> AgentdError | None:
    """The error that a wait for readiness means, or `None`."""
    why = f": {waited['error']}" if waited.get("error") else ""
    if waited["status"] == "timeout":
        return WaitTimedOut(f"{name}: not ready after {patience:g} s", remedy=f"agentctl status {name}")
    if waited["state"] == "paused":
        return Paused(f"{name}: paused{why}", remedy=f"agentctl resume {name} --set WHAT=CAP")
    if waited["status"] == "error":
        return Failed(f"{name}: {waited['state']}{why}", remedy=f"agentctl show {waited['run_id']}")
    return None
