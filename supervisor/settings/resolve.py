"""From what a person wrote to what will run, with everything checked that can be checked before a start."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ipc.lines import LINE_LIMIT
from ipc.program import Program, ProgramError, read
from supervisor.errors import Invalid
from supervisor.paths import Home
from supervisor.settings.definition import DEFAULTS, Definition
from supervisor.settings.environment import child_environment
from supervisor.settings.faults import Faults, joined
from supervisor.settings.keys import ADAPTER_KEYS, FILE_ONLY, check_agent
from supervisor.settings.names import RULE, is_name
from supervisor.settings.templates import find

SPARE = 16_384
"""Bytes of the runner's first line that are not the person's settings."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """An agent that may start: its definition, its template's path, and the SHA-256 (hex) of that file."""

    definition: Definition
    template_path: Path
    digest: str


def resolve(
    name: str, own: Mapping[str, Any], home: Home, environ: Mapping[str, str] | None = None
) -> Resolved:
    """Merge an agent's ``own`` settings with its template's (own ones win) and check them all.

    Raises `Invalid` with every fault, one a line: ``path: what (remedy)``. Changes nothing.
    """
    faults = Faults()
    resolved = examine(name, own, home, os.environ if environ is None else environ, faults)
    faults.raise_if_any()
    assert resolved is not None
    return resolved


def examine(
    name: str, own: Mapping[str, Any], home: Home, environ: Mapping[str, str], faults: Faults
) -> Resolved | None:
    """As `resolve`, but notes the faults in ``faults``; None when there are any."""
    before = len(faults)
    path = joined("agent", name)
    if not is_name(name):
        faults.add(path, "is no name for an agent", RULE)
    kept = check_agent(path, own, faults)
    template = kept.get("template", name)
    program = template_path = None
    if isinstance(template, str) and template.strip() and (is_name(name) or "template" in kept):
        program, template_path = _program(path, template, home, faults)
    front = check_agent(str(template_path), program.front, faults, excluded=FILE_ONLY) if program else {}
    merged = DEFAULTS | laid_over(front, kept) | {"template": template}
    _check_adapter(path, merged, kept, front, faults)
    if len(faults) > before or program is None or template_path is None:
        return None

    definition = _definition(name, merged, program, home)
    _check_together(path, definition, program, template_path, faults)
    _check_world(path, definition, home, environ, faults)
    if len(faults) > before:
        return None
    return Resolved(definition, template_path, hashlib.sha256(template_path.read_bytes()).hexdigest())


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``below`` with ``above`` laid over it; in a table that both have, key by key."""
    merged = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], Mapping) and isinstance(above[key], Mapping):
            merged[key] = laid_over(below[key], above[key])
    return merged


def _program(path: str, template: str, home: Home, faults: Faults) -> tuple[Program | None, Path | None]:
    try:
        found = find(template, home)
    except Invalid as error:
        faults.add(joined(path, "template"), str(error), error.remedy)
        return None, None
    try:
        return read(found), found
    except ProgramError as error:
        faults.add(joined(path, "template"), str(error))
        return None, found


def _check_adapter(
    path: str, merged: Mapping[str, Any], own: Mapping[str, Any], front: Mapping[str, Any], faults: Faults
) -> None:
    """The adapter is known, its table has what it needs, and no table is another adapter's."""
    adapter = merged["adapter"]
    if not isinstance(adapter, str) or not adapter.strip():
        return
    if adapter not in ADAPTER_KEYS:
        faults.add(joined(path, "adapter"), f"no adapter {adapter!r}", f"there are {', '.join(ADAPTER_KEYS)}")
        return
    for other in own.keys() & ADAPTER_KEYS.keys() - {adapter}:
        faults.add(joined(path, other), f"this agent's adapter is {adapter}", f'adapter = "{other}"?')
    given = {**front.get(adapter, {}), **own.get(adapter, {})}
    for option, key in ADAPTER_KEYS[adapter].items():
        if key.required and option not in given:
            faults.add(joined(path, adapter), f"{option} is missing", key.help)


def _definition(name: str, merged: Mapping[str, Any], program: Program, home: Home) -> Definition:
    adapter = merged["adapter"]
    # The prose of a template is what a program that takes prompts is told, where the settings say nothing else.
    prompt = merged["prompt"] or (program.body.strip() if adapter != "runbook" else None) or None
    caps = dict(merged["budgets"])
    agent_caps = caps.pop("agent", {})
    cwd = home.config / Path(merged["cwd"]).expanduser() if merged["cwd"] else home.output / name
    plain = {key: value for key, value in merged.items() if key not in ADAPTER_KEYS}
    options = {option: key.default for option, key in ADAPTER_KEYS[adapter].items()} | merged.get(adapter, {})
    return Definition(
        **plain | {"prompt": prompt, "budgets": caps, "cwd": str(cwd)},
        name=name,
        agent_budgets=agent_caps,
        options=options,
    )


def _check_together(
    path: str, definition: Definition, program: Program, template_path: Path, faults: Faults
) -> None:
    """What no setting shows by itself."""
    if definition.adapter == "runbook" and not program.steps:
        faults.add(
            joined(path, "template"),
            f"{template_path} is without program",
            "a runbook needs a fenced block that begins with ```sh or ```python",
        )
    if definition.stall_after is not None and definition.stall_after <= definition.interval:
        faults.add(
            joined(path, "stall_after"),
            "is not longer than interval, so that the agent would look stalled whenever it rests",
        )


def _check_world(
    path: str, definition: Definition, home: Home, environ: Mapping[str, str], faults: Faults
) -> None:
    """What must be there: folder, programs, variables; and that all of it fits in the runner's first line."""
    folder = Path(definition.cwd)
    # The agent's own output folder is made at its start.
    if folder != home.output / definition.name:
        _check_folder(joined(path, "cwd"), folder, faults)
    for variable, value in definition.env.items():
        if value is None and variable not in environ:
            faults.add(
                joined(joined(path, "env"), variable),
                "is not set in the environment",
                "set it before agentd starts",
            )
    env = child_environment(definition, environ)
    for setting, words in (
        ("process.command", definition.options.get("command")),
        ("launch", definition.launch),
    ):
        if words and words[0]:
            _check_program(joined(path, setting), words[0], env["PATH"], folder, faults)
    size = len(orjson.dumps([definition.public(), env]))
    if size > LINE_LIMIT - SPARE:
        faults.add(
            path, f"prompts, arguments and environment have {size} bytes", f"at most {LINE_LIMIT - SPARE} fit"
        )


def _check_folder(path: str, folder: Path, faults: Faults) -> None:
    if not folder.exists():
        faults.add(path, f"there is no folder {folder}", f"mkdir -p {folder}")
    elif not folder.is_dir():
        faults.add(path, f"{folder} is no folder")
    elif not os.access(folder, os.W_OK | os.X_OK):
        faults.add(path, f"{folder} is not writable", f"chmod u+wx {folder}")


def _check_program(path: str, word: str, search: str, folder: Path, faults: Faults) -> None:
    if "/" in word:
        program = folder / Path(word).expanduser()
        if not program.is_file():
            faults.add(path, f"there is no program {program}")
        elif not os.access(program, os.X_OK):
            faults.add(path, f"{program} cannot be executed", f"chmod +x {program}")
    elif shutil.which(word, path=search) is None:
        faults.add(path, f"no program {word!r} on PATH ({search})", "install it or give its whole path")
