"""From the keeper to a runner: the pipes, the fork, and everything the child does before it is one."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import resource
import signal
import sys
import traceback
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NoReturn

from setproctitle import setproctitle

from ipc.keeper import Spawn
from runner.descendants import become_subreaper

FORKS = sys.platform != "darwin"
"""macOS forbids its own libraries after a fork; there the child executes a fresh interpreter."""

RUNNER = "runner.__main__"
PRELOAD = ("orjson", "trio", RUNNER)
REHEARSAL = "runner.rehearsal"
COMMAND = ("-P", "-m", "runner", "--pipe")
HANDLED = frozenset({signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGTERM})
"""The signals that the keeper does not leave as it found them; to convert all 64 at each fork costs a quarter of it."""
STDERR = "stderr"
DESCRIPTORS = 65_536
"""As many as the keeper asks for, where the hard limit allows it."""


@dataclass(frozen=True, slots=True)
class Born:
    """A new runner, and our ends of its pipes: to keep, and copies to hand out."""

    pid: int
    stdin: int
    stdout: int
    copies: list[int]


@dataclass(frozen=True, slots=True)
class Limit:
    """The descriptor limit: what we found, which children get back, and what we raised it to."""

    found: tuple[int, int]
    raised: int

    @classmethod
    def raise_it(cls) -> Limit:
        """Raise the soft limit as far as is useful and allowed."""
        soft, hard = found = resource.getrlimit(resource.RLIMIT_NOFILE)
        raised = DESCRIPTORS if hard == resource.RLIM_INFINITY else max(soft, min(hard, DESCRIPTORS))
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        return cls(found, raised)


def preload() -> None:
    """Import what every runner needs, and rehearse until the interpreter has adapted the code to itself.

    Done before the forks, that costs no runner its time nor memory of its own: what a runner only reads stays shared.
    """
    if FORKS:
        for name in PRELOAD:
            importlib.import_module(name)
        importlib.import_module(REHEARSAL).rehearse()
    gc.collect()


def bear(plan: Spawn, limit: Limit) -> Born:
    """Start the runner that ``plan`` describes; what goes wrong in the child stands in its ``stderr`` file.

    Raises:
        ValueError: the environment or the command is none.
        OSError: no descriptors or processes are left, or the folder cannot be written; nothing was started.
    """
    _check(plan)
    with ExitStack() as ours, ExitStack() as its:
        stdin, keep_stdin = os.pipe()
        its.callback(os.close, stdin)
        ours.callback(os.close, keep_stdin)
        keep_stdout, stdout = os.pipe()
        its.callback(os.close, stdout)
        ours.callback(os.close, keep_stdout)
        copies = []
        for fd in (keep_stdin, keep_stdout):
            copies.append(os.dup(fd))
            ours.callback(os.close, copies[-1])
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        stderr = os.open(os.path.join(plan.folder, STDERR), append, 0o600)
        its.callback(os.close, stderr)
        # A signal between the fork and the reset of the handlers would run the keeper's handlers in the child.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        try:
            gc.freeze()
            pid = os.fork()
            if pid == 0:
                live(plan, (stdin, stdout, stderr), limit)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        ours.pop_all()
    return Born(pid, keep_stdin, keep_stdout, copies)


def _check(plan: Spawn) -> None:
    if any("\0" in text for text in (plan.cwd, plan.title, *plan.launch, *plan.env, *plan.env.values())):
        raise ValueError("a NUL in the environment, the title, the folder or the command")
    for name in plan.env:
        if not name or "=" in name:
            raise ValueError(f"env: {name!r} is no name of a variable")


def live(plan: Spawn, stdio: tuple[int, int, int], limit: Limit) -> NoReturn:
    """Be the child: leave everything of the keeper behind, then run; ends the process.

    The frames above stay on the stack, and with them the keeper's sockets: closing their numbers here is safe
    because nothing is unwound before the process ends.
    """
    code = 1
    try:
        os.setsid()
        for number, fd in enumerate(stdio):
            os.dup2(fd, number)
        os.closerange(3, limit.raised)
        _forget_signals()
        become_subreaper()
        resource.setrlimit(resource.RLIMIT_NOFILE, limit.found)
        os.chdir(plan.cwd)
        if plan.launch or not FORKS:
            code = 127
            _execute(plan)
        os.environ.clear()
        os.environ.update(plan.env)
        setproctitle(plan.title)
        code = importlib.import_module(RUNNER).run_pipe()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _forget_signals() -> None:
    """Back to what a fresh interpreter has; random seeds need no such care, the standard library renews its own."""
    signal.set_wakeup_fd(-1)
    for number in HANDLED - {signal.SIGINT}:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _execute(plan: Spawn) -> NoReturn:
    """Become the launch command, or a fresh interpreter, with our packages where this process has them."""
    env = dict(plan.env)
    if ours := os.environ.get("PYTHONPATH"):
        env.setdefault("PYTHONPATH", ours)
    env["PATH"] = os.pathsep.join(filter(None, (os.path.dirname(sys.executable), env.get("PATH"))))
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    command = [*plan.launch, "python", *COMMAND] if plan.launch else [sys.executable, *COMMAND]
    os.execvpe(command[0], command, env)  # noqa: S606 - there is no shell on purpose
