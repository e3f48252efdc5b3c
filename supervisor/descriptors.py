"""How many descriptors this process may have: two for each agent, and one for each client."""

from __future__ import annotations

import resource

_found: tuple[int, int] | None = None


def raise_limit() -> None:
    """Raise the soft limit to the hard one, for this process alone: what it starts is to get ``restore_limit``."""
    global _found
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        _found = _found or (soft, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def restore_limit() -> None:
    """Go back to the limit that was found; for a child between its fork and its program."""
    if _found is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, _found)
