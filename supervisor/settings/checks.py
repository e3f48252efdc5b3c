"""What a setting's value may be: small checks, each of which notes its faults and returns the value as it is kept."""

import math
import re
import shlex
from collections.abc import Callable, Mapping
from typing import TypeAlias

from supervisor.settings.durations import seconds
from supervisor.settings.faults import Faults, joined

Check: TypeAlias = Callable[[str, object, Faults], object]
"""Takes the path, the value and the faults found so far; what it returns for a faulty value is not used."""

MOST = 1_000_000_000_000
"""No count and no cap is larger."""

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
OWN_VARIABLES = "AGENTD_"

CAPPED = ("cost_usd", "tokens", "iterations", "wall_s")
"""What a budget can cap."""


def shown(value: object) -> str:
    """``value`` for a sentence: as TOML would have it, never long."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and abs(value) > MOST * MOST:
        return "a huge number"  # Python refuses to write out the hugest
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def text(path: str, value: object, faults: Faults) -> object:
    """Text with something in it and without NUL, which no process could be given."""
    if not isinstance(value, str):
        faults.add(path, f"wanted text, got {shown(value)}")
    elif not value.strip():
        faults.add(path, "is empty", "leave it out")
    elif "\0" in value:
        faults.add(path, "holds a NUL")
    return value


def flag(path: str, value: object, faults: Faults) -> object:
    """True or false; not the text "false", which would be true."""
    if not isinstance(value, bool):
        faults.add(path, f"wanted true or false, got {shown(value)}")
    return value


def choice(*names: str) -> Check:
    """One of ``names``."""

    def check(path: str, value: object, faults: Faults) -> object:
        if not isinstance(value, str):
            faults.add(path, f"wanted text, got {shown(value)}")
        elif value not in names:
            wanted = ", ".join(names)
            faults.add(path, f"wanted one of {wanted}, got {shown(value)}")
        return value

    return check


def whole(least: int, most: int = MOST) -> Check:
    """A whole number from ``least`` to ``most``."""

    def check(path: str, value: object, faults: Faults) -> object:
        if not isinstance(value, int) or isinstance(value, bool):
            faults.add(path, f"wanted a whole number, got {shown(value)}")
        elif not least <= value <= most:
            faults.add(path, f"wanted {least} to {most}, got {shown(value)}")
        return value

    return check


def amount(path: str, value: object, faults: Faults) -> object:
    """A finite number from 0 on; kept as a float."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        faults.add(path, f"wanted a number, got {shown(value)}")
    elif not math.isfinite(value) or not 0 <= value <= MOST:
        faults.add(path, f"wanted 0 to {MOST}, got {shown(value)}")
    else:
        return float(value)
    return value


def duration(*, zero: bool) -> Check:
    """A span of time, kept in seconds; ``zero`` says whether it may be none at all."""

    def check(path: str, value: object, faults: Faults) -> object:
        try:
            span = seconds(value)
        except ValueError as error:
            faults.add(path, f"{error}, got {shown(value)}" if not isinstance(value, str) else str(error))
            return value
        if not zero and span == 0:
            faults.add(path, "must be longer than 0")
        return span

    return check


def texts(path: str, value: object, faults: Faults) -> object:
    """A list of texts, which may be empty ones; a bare text is a list of one. Kept as a tuple."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        faults.add(path, f"wanted a list of texts, got {shown(value)}")
        return value
    for number, item in enumerate(items):
        if not isinstance(item, str):
            faults.add(f"{path}[{number}]", f"wanted text, got {shown(item)}")
        elif "\0" in item:
            faults.add(f"{path}[{number}]", "holds a NUL")
    return tuple(items)


def command(path: str, value: object, faults: Faults) -> object:
    """A program and its arguments: a list, or text that is split as a shell splits it (and nothing else is done)."""
    if isinstance(value, str):
        try:
            value = shlex.split(value)
        except ValueError as error:
            faults.add(path, f"cannot be split into words: {error}", "write it as a list")
            return value
    words = texts(path, value, faults)
    if isinstance(words, tuple) and (not words or words[0] == ""):
        faults.add(path, "names no program")
    return words


def environment(path: str, value: object, faults: Faults) -> object:
    """Variables for the agent's processes: names to pass on, or a table of values. Kept as name to value or None.

    None means: as it is in the supervisor's environment. No fault repeats a value, which may be a secret.
    """
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list | tuple):
        pairs: list[tuple[object, object]] = [(name, None) for name in value]
    elif isinstance(value, Mapping):
        pairs = list(value.items())
    else:
        faults.add(path, f"wanted a list of names or a table, got {shown(value)}")
        return value
    for name, content in pairs:
        if not isinstance(name, str) or not VARIABLE.fullmatch(name):
            before, equals, _ = name.partition("=") if isinstance(name, str) else (name, "", "")
            if equals:
                faults.add(path, f"{shown(before)} is no name of a variable alone", "give a value in a table")
            else:
                faults.add(path, f"{shown(name)} is no name of a variable")
        elif name.startswith(OWN_VARIABLES):
            faults.add(joined(path, name), "is set by agentd itself")
        elif content is not None and not isinstance(content, str):
            faults.add(joined(path, name), "wanted text", "write numbers in quotes")
        elif content is not None and "\0" in content:
            faults.add(joined(path, name), "holds a NUL")
    return {name: content for name, content in pairs if isinstance(name, str)}


CAP_CHECKS: dict[str, Check] = {
    "cost_usd": amount,
    "tokens": whole(0),
    "iterations": whole(0),
    "wall_s": duration(zero=True),
}


def budgets(path: str, value: object, faults: Faults) -> object:
    """Caps for a run, and in the table ``agent`` caps for the agent for good."""
    if not isinstance(value, Mapping):
        faults.add(path, f"wanted a table, got {shown(value)}")
        return value
    kept: dict[str, object] = {}
    known = CAPPED if path.endswith(".budgets.agent") else (*CAPPED, "agent")
    for key, content in value.items():
        if key == "agent" and key in known:
            kept[key] = budgets(joined(path, key), content, faults)
        elif key in CAP_CHECKS:
            kept[key] = CAP_CHECKS[key](joined(path, key), content, faults)
        else:
            faults.unknown(path, str(key), known)
    return kept
