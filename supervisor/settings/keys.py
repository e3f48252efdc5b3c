"""The table of all settings: what they are called, what they may hold, and what holds when nobody says anything."""

from collections.abc import Mapping
from dataclasses import dataclass

from supervisor.settings.checks import (
    Check,
    budgets,
    choice,
    command,
    duration,
    environment,
    flag,
    shown,
    text,
    texts,
    whole,
)
from supervisor.settings.faults import Faults, joined


@dataclass(frozen=True, slots=True)
class Key:
    """One setting; ``default`` is in the form in which values are kept, durations in seconds."""

    check: Check
    default: object
    help: str
    required: bool = False


AGENT_KEYS: dict[str, Key] = {
    "template": Key(text, None, "name or path of the program; the agent's own name if left out"),
    "description": Key(text, None, "one line for people"),
    "adapter": Key(text, "runbook", "how a turn gets done: runbook or process"),
    "args": Key(texts, (), "arguments of the program"),
    "cwd": Key(text, None, "folder the agent works in; its output folder if left out"),
    "interval": Key(duration(zero=True), 2.0, "from the end of an iteration to the next"),
    "max_iterations": Key(whole(1), None, "end as done after so many, counted over restarts"),
    "iteration_timeout": Key(
        duration(zero=False), 600.0, "longest iteration, waiting for people not counted"
    ),
    "grace": Key(duration(zero=False), 10.0, "from being told to stop to the last kill"),
    "bootstrap_prompt": Key(text, None, "prompt of the first turn"),
    "prompt": Key(text, None, "prompt of the later turns, and of the first without a bootstrap_prompt"),
    "model": Key(text, None, "for adapters that know models"),
    "env": Key(environment, {}, "variables passed on, or set, besides the allow-listed ones"),
    "extra_args": Key(texts, (), "further arguments of the adapter's program"),
    "auto_approve": Key(flag, False, "answer every permission request with yes, and record that"),
    "restart": Key(choice("never", "on-crash", "always"), "on-crash", "what follows the end of a run"),
    "launch": Key(texts, (), "command put before the runner's own, such as ssh and a host"),
    "autostart": Key(flag, True, "start when the supervisor starts"),
    "stagnation_limit": Key(whole(0, 1000), 3, "end after so many equal summaries in a row; 0 never"),
    "failure_limit": Key(whole(1, 1000), 4, "end after so many failed iterations in a row"),
    "same_failure_limit": Key(whole(1, 1000), 3, "end after so many equal failures in a row"),
    "cooldown_limit": Key(duration(zero=True), 300.0, "longest cool-down that is waited out"),
    "on_denied": Key(choice("stop", "continue"), "stop", "what a denied permission does to the run"),
    "on_interrupted": Key(
        choice("retry", "hold"), "retry", "what a run does about an iteration that a crash cut off"
    ),
    "stall_after": Key(duration(zero=False), None, "show the agent as stalled after so much silence"),
    "budgets": Key(budgets, {}, "caps: cost_usd, tokens, iterations, wall_s; for good in a table agent"),
}
"""Keys of ``[agent.NAME]`` and, but for those in `FILE_ONLY`, of a template's front matter."""

FILE_ONLY = frozenset({"template", "autostart"})
"""What a template cannot say about itself."""

ADAPTER_KEYS: dict[str, dict[str, Key]] = {
    "runbook": {},
    "process": {"command": Key(command, None, "the program and its arguments", required=True)},
}
"""Keys of ``[agent.NAME.ADAPTER]``, for each adapter there is."""

SUPERVISOR_KEYS: dict[str, Key] = {
    "restart_limit": Key(
        whole(0, 1000), 5, "crashes in a row after which an agent is restarted; one more holds it"
    ),
    "backoff_limit": Key(duration(zero=False), 300.0, "longest pause between two restarts"),
    "healthy_after": Key(duration(zero=False), 60.0, "time without a crash after which they are forgotten"),
}
"""Keys of ``[supervisor]``."""


def check_keys(
    path: str, given: Mapping[str, object], keys: Mapping[str, Key], faults: Faults
) -> dict[str, object]:
    """Check each value of ``given`` against ``keys``; returns what was given and known, in the form that is kept."""
    kept: dict[str, object] = {}
    for name, value in given.items():
        if name in keys:
            kept[name] = keys[name].check(joined(path, name), value, faults)
        else:
            faults.unknown(path, name, keys)
    return kept


def check_agent(
    path: str, given: Mapping[str, object], faults: Faults, *, excluded: frozenset[str] = frozenset()
) -> dict[str, object]:
    """Check the keys of an agent or of a front matter, the adapters' tables included.

    Returns them in the form that is kept. A null, which only JSON can hold, is as good as nothing. What holds only
    for all keys together is not looked at here.
    """
    kept: dict[str, object] = {}
    for name, value in given.items():
        where = joined(path, name)
        if value is None:
            continue
        if name in excluded:
            faults.add(where, "a template cannot say this", "set it in agentd.toml or on the command line")
        elif name in AGENT_KEYS:
            kept[name] = AGENT_KEYS[name].check(where, value, faults)
        elif name not in ADAPTER_KEYS:
            faults.unknown(path, name, (*AGENT_KEYS, *ADAPTER_KEYS))
        elif isinstance(value, Mapping):
            kept[name] = check_keys(where, value, ADAPTER_KEYS[name], faults)
        else:
            faults.add(where, f"wanted a table, got {shown(value)}")
    return kept
