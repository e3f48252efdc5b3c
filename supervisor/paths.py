"""Where a home's files lie. ``AGENTD_HOME`` moves them all; otherwise they follow XDG.

``agentctl status`` needs the socket alone, and pays for `pathlib` only where there is no ``AGENTD_HOME``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from supervisor.errors import Failed, Invalid

if TYPE_CHECKING:
    from pathlib import Path

SOCKET = "agentd.sock"
"""Name of the supervisor's socket in the runtime folder."""
SOCKET_PATH_LIMIT = 107
"""Bytes that fit in a Unix socket's address on Linux, its ending NUL not counted."""


@dataclass(frozen=True, slots=True)
class Home:
    """One supervisor's files: what a person writes (config), what must last (state), sockets (runtime)."""

    config: Path
    state: Path
    runtime: Path

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Home:
        """Find the home that ``environ`` means.

        Raises `Invalid` for an ``AGENTD_HOME`` that is not an absolute path.
        """
        from pathlib import Path

        if own := own_folder(environ):
            folder = Path(own)
            return cls(folder, folder, folder)
        import platformdirs

        state = platformdirs.user_state_path("agentd", appauthor=False)
        return cls(
            platformdirs.user_config_path("agentd", appauthor=False), state, runtime_folder(environ, state)
        )

    @property
    def config_file(self) -> Path:
        """Settings of the supervisor and its agents."""
        return self.config / "agentd.toml"

    @property
    def user_templates(self) -> Path:
        """Templates of the user; they win over the built-in ones."""
        return self.config / "templates"

    @property
    def db(self) -> Path:
        """The one SQLite file."""
        return self.state / "agentd.db"

    @property
    def lock(self) -> Path:
        """Held (flock) by the one supervisor of this home."""
        return self.state / "agentd.lock"

    @property
    def log(self) -> Path:
        """What a detached supervisor prints."""
        return self.state / "agentd.log"

    @property
    def runs(self) -> Path:
        """Folder of the runs' own folders, named by number."""
        return self.state / "runs"

    @property
    def output(self) -> Path:
        """Folder of the agents' output folders, named by agent."""
        return self.state / "output"

    @property
    def socket(self) -> Path:
        """Where the supervisor listens."""
        return self.runtime / SOCKET

    @property
    def keeper_socket(self) -> Path:
        """Where the keeper listens."""
        return self.runtime / "keeper.sock"

    @property
    def identity(self) -> str:
        """What tells this home from every other: the state folder with symbolic links resolved."""
        return _resolved(self.state)

    def mark(self, run_id: int) -> str:
        """What everything that a run of this home starts carries in its environment."""
        return f"{self.identity}:{run_id}"

    def make_folders(self) -> None:
        """Make what is missing, readable by the owner alone (0700).

        Raises `Failed` when a folder cannot be made or is another user's, and `Invalid` when a socket's path is
        too long for the kernel.
        """
        for path in (self.socket, self.keeper_socket):
            check_socket_path(path)
        for folder in dict.fromkeys((self.config, self.state, self.runtime, self.runs, self.output)):
            remedy = "make it a folder of yours, or set AGENTD_HOME"
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                owner = folder.stat().st_uid
            except OSError as error:
                raise Failed(f"{folder}: {error.strerror}", remedy=remedy) from error
            if owner != os.geteuid() != 0:
                raise Failed(f"{folder} belongs to another user (uid {owner})", remedy=remedy)


def own_folder(environ: Mapping[str, str]) -> str:
    """What ``AGENTD_HOME`` says, or nothing. Raises `Invalid` unless it is an absolute path."""
    own = environ.get("AGENTD_HOME", "")
    if own and not os.path.isabs(own):
        raise Invalid(
            f"AGENTD_HOME: {own!r} is not an absolute path", remedy=f"AGENTD_HOME={os.path.abspath(own)}"
        )
    return own


def socket_path(environ: Mapping[str, str]) -> str:
    """Where the supervisor of the home that ``environ`` means listens: the same as `Home.socket`."""
    own = own_folder(environ)
    return os.path.join(own, SOCKET) if own else os.fspath(Home.from_environ(environ).socket)


@lru_cache(maxsize=8)
def _resolved(folder: Path) -> str:
    return str(folder.resolve())


def runtime_folder(environ: Mapping[str, str], state: Path) -> Path:
    """Where the sockets go: the user's own runtime folder, also for callers without a session such as cron.

    Without one they go below ``state`` and not below ``/tmp``, where the name could be taken by someone else
    and would depend on ``TMPDIR``.
    """
    from pathlib import Path

    user = os.geteuid()
    own = Path(environ.get("XDG_RUNTIME_DIR") or f"/run/user/{user}")
    try:
        mine = own.is_absolute() and own.lstat().st_uid == user
    except OSError:
        mine = False
    return own / "agentd" if mine else state / "run"


def check_socket_path(path: str | os.PathLike[str]) -> None:
    """Raise `Invalid` when the kernel would not take ``path`` as a Unix socket's address."""
    length = len(os.fsencode(path))
    if length > SOCKET_PATH_LIMIT:
        raise Invalid(
            f"{path}: a socket's path may have {SOCKET_PATH_LIMIT} bytes, this one has {length}",
            remedy="set AGENTD_HOME to a shorter path",
        )
