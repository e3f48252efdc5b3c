"""Settings and caps as they stand on the command line."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from supervisor.ctl.invocation import Args
from supervisor.errors import Invalid

COUNTED = ("tokens", "iterations")
"""Caps on what there is only in whole numbers."""


def own_settings(args: Args) -> dict[str, Any]:
    """What ``--template``, ``--cwd``, ``--adapter``, ``--arg`` and ``--set`` say, as parameters of ``agent.start``.

    Paths are made absolute, since the supervisor has another folder; an agent that is made here works here, unless
    it is said otherwise. Raises `Invalid`.
    """
    own: dict[str, Any] = {}
    if template := args["--template"]:
        own["template"] = template_name(template)
    if args["--adapter"]:
        own["adapter"] = args["--adapter"]
    if args["--arg"]:
        own["args"] = args["--arg"]
    if settings := assignments(args["--set"]):
        own["settings"] = settings
    if (own and "cwd" not in settings) or args["--cwd"]:
        own["cwd"] = str(Path(args["--cwd"] or ".").absolute())
    return own


def template_name(text: str) -> str:
    """A template's name as it is, a path absolute."""
    return str(Path(text).absolute()) if "/" in text or text.endswith(".md") else text


def caps(texts: Iterable[str]) -> dict[str, Any]:
    """Read ``WHAT=CAP`` texts. Raises `Invalid` for no number, or no whole one where things are counted."""
    found = assignments(texts)
    for_good = found.get("agent", {})
    if not isinstance(for_good, dict):
        raise Invalid(f"agent: wanted agent.WHAT=CAP, got {for_good!r}")
    for name, value in [*found.items(), *for_good.items()]:
        if name != "agent" and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise Invalid(f"{name}: wanted a number, got {value!r}")
        if name in COUNTED and not isinstance(value, int):
            raise Invalid(f"{name}: wanted a whole number, got {value!r}")
    return found


def assignments(texts: Iterable[str]) -> dict[str, Any]:
    """Read ``KEY=VALUE`` texts; dots lead into tables, a value is TOML or, if it is none, plain text.

    Raises `Invalid` for a text without ``=`` and for a key that is set twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        *path, last = key.split(".")
        if not equals or not all((*path, last)):
            raise Invalid(f"{text!r}: wanted KEY=VALUE")
        table = found
        for name in path:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise Invalid(f"{key}: set twice")
        if last in table:
            raise Invalid(f"{key}: set twice")
        table[last] = value_of(value)
    return found


def value_of(text: str) -> object:
    """Read a value: TOML if it is, else the text itself, so that only odd texts need quotes."""
    try:
        value: object = tomllib.loads(f"value = {text}")["value"]
    except ValueError:  # no TOML, or a number of more digits than Python reads
        return text
    return value if isinstance(value, str | int | float | bool | list | dict) else text
