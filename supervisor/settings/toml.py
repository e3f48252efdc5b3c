"""The file agentd.toml: read whole, checked whole."""

import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supervisor.paths import Home
from supervisor.settings.checks import shown
from supervisor.settings.faults import Faults, joined
from supervisor.settings.keys import SUPERVISOR_KEYS, check_agent, check_keys
from supervisor.settings.names import RULE, is_name
from supervisor.settings.resolve import examine

SIZE_LIMIT = 4 * 1_048_576
"""Bytes that a file of settings may have."""

SECTIONS = ("supervisor", "agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorSettings:
    """Settings of the supervisor itself; spans of time in seconds."""

    restart_limit: int = 5
    backoff_limit: float = 300.0
    healthy_after: float = 60.0


@dataclass(frozen=True, slots=True)
class Config:
    """What agentd.toml says: the supervisor's settings, and each agent's own ones as they were written."""

    supervisor: SupervisorSettings = SupervisorSettings()
    agents: dict[str, dict[str, Any]] = field(default_factory=dict)


def load(path: Path) -> Config:
    """Read agentd.toml; a missing file says nothing. Templates and folders are looked at by `resolve`, not here.

    Raises `Invalid` with every fault, one a line.
    """
    faults = Faults()
    config = _parsed(path, faults)
    for name, own in config.agents.items():
        check_agent(joined("agent", name), own, faults)
    faults.raise_if_any()
    return config


def check(path: Path, home: Home, environ: Mapping[str, str] | None = None) -> list[str]:
    """Every fault of agentd.toml and of what its agents need, as ``path: what (remedy)``; empty when all is well."""
    faults = Faults()
    config = _parsed(path, faults)
    for name, own in config.agents.items():
        examine(name, own, home, os.environ if environ is None else environ, faults)
    return list(faults)


def _parsed(path: Path, faults: Faults) -> Config:
    """The file's sections; what is wrong with an agent's keys is left to the caller."""
    document = _document(path, faults)
    for section in document.keys() - set(SECTIONS):
        faults.unknown("", section, SECTIONS, what="no such section")
    settings: dict[str, Any] = {}
    if isinstance(own := document.get("supervisor", {}), dict):
        settings = check_keys("supervisor", own, SUPERVISOR_KEYS, faults)
    else:
        faults.add("supervisor", f"wanted a table, got {shown(own)}")
    agents = document.get("agent", {})
    if not isinstance(agents, dict):
        faults.add("agent", f"wanted tables [agent.NAME], got {shown(agents)}")
        agents = {}
    kept: dict[str, dict[str, Any]] = {}
    for name, own in agents.items():
        if not is_name(name):
            faults.add(joined("agent", name), "is no name for an agent", RULE)
        elif not isinstance(own, dict):
            faults.add(joined("agent", name), f"wanted a table [agent.{name}], got {shown(own)}")
        else:
            kept[name] = own
    return Config(SupervisorSettings(**settings) if not faults else SupervisorSettings(), kept)


def _read(path: Path) -> bytes:
    """The bytes of an ordinary file of a bearable size, whatever ``path`` is; never waits for a writer."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError("is no ordinary file")
        content = file.read(SIZE_LIMIT + 1)
    if len(content) > SIZE_LIMIT:
        raise OSError(f"has more than {SIZE_LIMIT} bytes")
    return content


def _document(path: Path, faults: Faults) -> dict[str, Any]:
    try:
        return tomllib.loads(_read(path).decode())
    except FileNotFoundError:
        return {}
    except OSError as error:
        faults.add(str(path), str(error.strerror or error))
    except UnicodeDecodeError as error:
        faults.add(str(path), f"is not UTF-8 (byte {error.start})")
    except (
        ValueError,
        RecursionError,
    ) as error:  # besides its own error, what huge numbers and deep nesting raise
        faults.add(str(path), f"is no TOML: {error}")
    return {}
