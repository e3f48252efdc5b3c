"""Verbs on the whole: ``shutdown``, ``version``, ``templates``, ``check``."""

from __future__ import annotations

import contextlib
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path

from supervisor.ctl.invocation import Args, Invocation
from supervisor.ctl.tables import table
from supervisor.ctl.visible import visible
from supervisor.errors import AgentdError, Invalid, NoSupervisor, WaitTimedOut

USAGE = {
    "shutdown": """
Stop every agent, then the supervisor; returns when it is gone.

Usage: agentctl shutdown [options]

Options:
  --wait SECONDS     how long to wait for that [default: 60]""",
    "version": """
The version of agentctl, and of the supervisor that runs.

Usage: agentctl version [options]""",
    "templates": """
The templates that can be named, your own in place of built-in ones.

Usage: agentctl templates [options]""",
    "check": """
Check agentd.toml and everything it names; nothing is started.

Usage: agentctl check [options] [FILE]

Exit code 2 if something is wrong.""",
}


def shutdown(args: Args, ctl: Invocation) -> int:
    """Stop everything."""
    from supervisor.ctl.invocation import duration

    patience = duration(args, "--wait") or 0.0
    with ctl.connect() as client:
        pid = client.call("system.status")["pid"]
        client.call("system.shutdown")
        if not client.wait_for_end(patience):
            raise WaitTimedOut(
                f"agentd (pid {pid}) still stops its agents after {patience:g} s", remedy="agentctl status"
            )
    if not _is_free(ctl.home.lock, patience):
        raise WaitTimedOut(f"agentd (pid {pid}) still runs", remedy=f"see {ctl.home.log}")
    ctl.show({"pid": pid})
    ctl.say(f"agentd (pid {pid}) has stopped")
    return 0


def _is_free(lock: Path, patience: float) -> bool:
    """Whether the supervisor lets go of its home's lock in time, which it does when it ends."""
    import fcntl
    import time

    deadline = time.monotonic() + patience
    with lock.open() as file:
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)


def own_version() -> str:
    """The version that is installed; empty for a checkout that is not."""
    try:
        return version_of("agentd")
    except PackageNotFoundError:
        return ""


def version(args: Args, ctl: Invocation) -> int:
    """Print versions."""
    own, running = own_version(), None
    try:
        with ctl.connect() as client:
            running = client.call("system.status")["version"]
    except NoSupervisor:
        pass  # there is none to tell of
    except AgentdError as error:
        ctl.note(str(error))
    ctl.show({"agentctl": own, "agentd": running})
    ctl.say(f"agentctl {own or 'from a checkout'}")
    if running is not None and running != own:
        ctl.say(f"agentd {running} is running; agentctl shutdown, then start it again")
    return 0


def templates(args: Args, ctl: Invocation) -> int:
    """Print the templates there are."""
    from ipc.program import ProgramError, read
    from supervisor.settings.templates import available

    rows = []
    for name, path in available(ctl.home).items():
        try:
            about, fault = str(read(path).front.get("description") or ""), None
        except ProgramError as error:
            about, fault = "", str(error)
        rows.append({"name": name, "description": about, "path": str(path), "fault": fault})
    ctl.show({"templates": rows})
    body = [
        [
            visible(str(row["name"])),
            visible(str(row["description"] or row["fault"] or "")),
            visible(str(row["path"])),
        ]
        for row in rows
    ]
    if not ctl.json:
        for line in table(["TEMPLATE", "DOES", "FILE"], body, width=ctl.width, drop=("FILE",)):
            ctl.say(line)
    return 0


def check(args: Args, ctl: Invocation) -> int:
    """Check the settings."""
    from supervisor.settings import toml

    path = Path(args["FILE"]).absolute() if args["FILE"] else ctl.home.config_file
    if args["FILE"] and not path.exists():
        raise Invalid(f"{path}: no such file")
    faults = toml.check(path, ctl.home)
    ctl.show({"path": str(path), "faults": faults})
    for fault in faults:
        ctl.say(visible(fault))
    if not faults:
        ctl.say(f"{path}: nothing is wrong" if path.exists() else f"{path} does not exist; nothing is wrong")
    return Invalid.exit_code if faults else 0
