"""The verb ``doctor``: look at everything that can be looked at, and say how to mend what is wrong."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

from supervisor.ctl.invocation import Args, Invocation
from supervisor.ctl.system import own_version
from supervisor.ctl.visible import visible
from supervisor.errors import AgentdError, Failed, NoSupervisor
from supervisor.paths import Home, check_socket_path

USAGE = {
    "doctor": """
Check the installation, the home and what runs, and say how to mend it.

Usage: agentctl doctor [options]

Exit code 1 if something is wrong.""",
}

PACKAGES = ("trio", "orjson", "psutil", "apsw", "docopt", "platformdirs", "setproctitle")
"""Modules that the program needs."""
PROGRAMS = ("git", "sh", "python3")
"""Programs that the built-in templates use."""
OLDEST_PYTHON = (3, 11)
DISK_WANTED = 1 << 30
"""Bytes; logs and the database need room."""
DESCRIPTORS_WANTED = 1024


class Finding(NamedTuple):
    """What one check found. ``remedy`` is empty where nothing is wrong."""

    what: str
    told: str
    remedy: str = ""


def doctor(args: Args, ctl: Invocation) -> int:
    """Print what each check finds."""
    checks: tuple[Callable[[Invocation], Iterator[Finding]], ...] = (
        check_python,
        check_name_clash,
        check_programs,
        check_home,
        check_disk,
        check_limits,
        check_database,
        check_settings,
        check_supervisor,
    )
    found = [finding for check in checks for finding in check(ctl)]
    ctl.show({"findings": [{**finding._asdict(), "ok": not finding.remedy} for finding in found]})
    for finding in found:
        mark = ctl.paint("wrong", "red") if finding.remedy else ctl.paint("ok   ", "green")
        ctl.say(f"{mark}  {finding.what}: {visible(finding.told)}")
        if finding.remedy:
            ctl.say(f"       mend it: {visible(finding.remedy)}")
    return Failed.exit_code if any(finding.remedy for finding in found) else 0


def check_python(ctl: Invocation) -> Iterator[Finding]:
    """The interpreter, and the packages it has."""
    told = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < OLDEST_PYTHON
    yield Finding("python", told, "install Python 3.11 or newer, then agentd again" if old else "")
    missing = []
    for name in PACKAGES:
        try:
            import_module(name)
        except ImportError as error:
            missing.append(f"{name} ({error})")
    yield Finding(
        "packages",
        f"not importable: {', '.join(missing)}" if missing else f"{len(PACKAGES)} importable",
        f"{sys.executable} -m pip install --force-reinstall agentd" if missing else "",
    )


def check_name_clash(ctl: Invocation) -> Iterator[Finding]:
    """PyPI's ``supervisor`` has our import name."""
    try:
        other = distribution("supervisor")
    except PackageNotFoundError:
        yield Finding("environment", "not shared with PyPI's supervisor")
        return
    yield Finding(
        "environment",
        f"PyPI's supervisor {other.version} is installed in it and has our import name",
        f"{sys.executable} -m pip uninstall supervisor, then install agentd again; or use an environment of its own",
    )


def check_programs(ctl: Invocation) -> Iterator[Finding]:
    """What the built-in templates run."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    yield Finding(
        "programs",
        f"not on PATH: {', '.join(missing)}" if missing else f"{', '.join(PROGRAMS)} are on PATH",
        f"install {' and '.join(missing)}" if missing else "",
    )


def check_home(ctl: Invocation) -> Iterator[Finding]:
    """The home's folders, their modes, and the socket's path."""
    home = ctl.home
    for name, folder in (("config", home.config), ("state", home.state), ("runtime", home.runtime)):
        yield _folder(f"{name} folder", folder)
    for path in (home.socket, home.keeper_socket):
        try:
            check_socket_path(path)
        except AgentdError as error:
            yield Finding("socket path", str(error), error.remedy)
            return
    yield Finding("socket path", f"{len(os.fsencode(home.socket))} bytes")


def _folder(what: str, folder: Path) -> Finding:
    try:
        found = folder.stat()
    except FileNotFoundError:
        parent = next(above for above in folder.parents if above.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            return Finding(what, f"{folder} will be made when it is needed")
        return Finding(what, f"{folder} is missing", f"make {parent} writable, or set AGENTD_HOME")
    except OSError as error:
        return Finding(
            what, f"{folder}: {error.strerror}", f"make {folder} a folder of yours, or set AGENTD_HOME"
        )
    if not folder.is_dir():
        return Finding(what, f"{folder} is no folder", f"move {folder} away")
    if found.st_uid != os.geteuid() and os.geteuid() != 0:
        return Finding(what, f"{folder} belongs to user {found.st_uid}", f"chown {os.geteuid()} {folder}")
    if found.st_mode & 0o077:
        return Finding(
            what, f"{folder} can be read by others ({found.st_mode & 0o777:o})", f"chmod 700 {folder}"
        )
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return Finding(what, f"{folder} is not writable", f"chmod 700 {folder}")
    return Finding(what, str(folder))


def check_disk(ctl: Invocation) -> Iterator[Finding]:
    """Room where the database and the logs are."""
    folder = next(path for path in (ctl.home.state, *ctl.home.state.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    yield Finding(
        "free disk",
        f"{free / 1e9:.1f} GB",
        f"make room on the disk of {folder}" if free < DISK_WANTED else "",
    )


def check_limits(ctl: Invocation) -> Iterator[Finding]:
    """How many descriptors a supervisor may have: two for each agent, and one for each client."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = hard != resource.RLIM_INFINITY and hard < DESCRIPTORS_WANTED
    told = "no limit" if hard == resource.RLIM_INFINITY else str(hard)
    yield Finding("descriptors", told, "raise the hard limit: ulimit -Hn 65536" if low else "")


def check_database(ctl: Invocation) -> Iterator[Finding]:
    """The database's version, and whether it is whole."""
    path = ctl.home.db
    if not path.exists():
        yield Finding("database", f"{path} will be made when it is needed")
        return
    try:
        import apsw

        from supervisor.records.schema import STEPS
    except ImportError as error:
        yield Finding("database", str(error), f"{sys.executable} -m pip install --force-reinstall agentd")
        return
    restore = f"agentctl shutdown, move {path} away, and put a backup in its place"
    try:
        conn = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            version: int = conn.pragma("user_version")
            state = " ".join(str(conn.pragma("quick_check")).split())
        finally:
            conn.close()
    except apsw.Error as error:
        yield Finding("database", f"{path}: {error}", restore)
        return
    if version > len(STEPS):
        told = f"{path} has version {version}, this program knows {len(STEPS)}"
        yield Finding("database", told, "install the newer agentd again")
    elif state != "ok":
        yield Finding("database", f"{path} is damaged: {state[:200]}", restore)
    else:
        yield Finding("database", f"version {version}, whole")


def check_settings(ctl: Invocation) -> Iterator[Finding]:
    """What ``agentctl check`` says."""
    from supervisor.settings import toml

    path = ctl.home.config_file
    if not path.exists():
        yield Finding("settings", f"{path} does not exist; nothing is wrong with that")
        return
    faults = toml.check(path, ctl.home)
    told = f"{len(faults)} faults in {path}" if faults else str(path)
    yield Finding("settings", told, "agentctl check names them" if faults else "")


def check_supervisor(ctl: Invocation) -> Iterator[Finding]:
    """Whether the supervisor answers, is of our version and can work, and whether the keeper answers."""
    try:
        with ctl.connect() as client:
            status = client.call("system.status")
    except NoSupervisor:
        yield Finding("supervisor", "none runs; agentctl start begins one")
        if keeper_version(ctl.home.keeper_socket) is not None:
            yield Finding("keeper", "runs; the next supervisor ends the agents that it keeps")
        return
    except AgentdError as error:
        remedy = f"see {ctl.home.log}; then kill it and run agentd again: that ends what is running"
        yield Finding("supervisor", str(error), remedy)
        return
    own, running = own_version(), status["version"]
    told = f"pid {status['pid']}, version {running or 'of a checkout'}"
    remedy = "" if own == running else f"this is {own}: agentctl shutdown, then start it again"
    yield Finding("supervisor", told, remedy)
    yield from keeper_findings(ctl.home)
    for why in status["degraded"]:
        yield Finding("degraded", why, f"see {ctl.home.log}")


def keeper_findings(home: Home) -> Iterator[Finding]:
    """What there is to say of the keeper of a supervisor that runs: it starts with it."""
    from ipc.keeper import VERSION

    version = keeper_version(home.keeper_socket)
    if version is not None:
        remedy = "" if version == VERSION else "agentctl shutdown, then start the agents again"
        yield Finding("keeper", f"answers, version {version}", remedy)
    else:
        yield Finding("keeper", "does not answer", "agentctl shutdown, then start the agents again")


def keeper_version(path: Path) -> int | None:
    """The version that the keeper at ``path`` speaks, `None` if none answers within two seconds."""
    import socket

    import orjson

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as keeper:
        keeper.settimeout(2.0)
        try:
            keeper.connect(os.fspath(path))
            keeper.sendall(b'{"id":1,"verb":"hello","version":1}\n')
            with keeper.makefile("rb") as lines:
                return int(orjson.loads(lines.readline(4096))["version"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
