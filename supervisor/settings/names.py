"""Names of agents. They become folder names and arguments, so that nothing else may stand in them."""

import re

from supervisor.errors import Invalid

AGENT_NAME = r"[a-z0-9][a-z0-9_.-]{0,63}"

RULE = "a name has 1 to 64 of a-z 0-9 _ . - and begins with a letter or digit"


def is_name(name: object) -> bool:
    """Whether ``name`` may name an agent or a template."""
    return isinstance(name, str) and re.fullmatch(AGENT_NAME, name) is not None and ".." not in name


def check_name(name: object) -> str:
    """Return ``name`` if it may name an agent; raises `Invalid` otherwise."""
    if not is_name(name):
        raise Invalid(f"{name!r} is no name for an agent", remedy=RULE)
    return str(name)
