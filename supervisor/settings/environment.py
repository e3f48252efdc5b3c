"""What of the supervisor's environment its children get: an allow-list, and what an agent names besides."""

from collections.abc import Mapping
from typing import Protocol

PASS_ON = frozenset(
    {
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "TERM",
        "http_proxy",
        "https_proxy",
        "ftp_proxy",
        "all_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "FTP_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "AGENTD_HOME",
    }
)
"""Variables that say where things are; only a proxy's may hold a secret, and without it nothing would work."""

PASS_ON_PREFIXES = ("LC_", "XDG_")

FALLBACK_PATH = "/usr/local/bin:/usr/bin:/bin"
"""For a supervisor that was started without any PATH."""


class HasEnvironment(Protocol):
    """What names variables: name to value, or to None for the supervisor's own value."""

    @property
    def env(self) -> Mapping[str, str | None]:
        """The variables."""


def allowed(environ: Mapping[str, str]) -> dict[str, str]:
    """What of ``environ`` any child may have. The keeper gets just this: agents can read their parent's environment."""
    kept = {
        name: value for name, value in environ.items() if name in PASS_ON or name.startswith(PASS_ON_PREFIXES)
    }
    kept.setdefault("PATH", FALLBACK_PATH)
    return kept


def child_environment(definition: HasEnvironment, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of an agent's processes: the allow-list, then what its definition names.

    A variable that is to be passed on and is not there is left out; `resolve` has refused it for a new start.
    """
    env = allowed(environ)
    for name, value in definition.env.items():
        if value is not None:
            env[name] = value
        elif name in environ:
            env[name] = environ[name]
    return env
