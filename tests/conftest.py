"""What holds for every test: it runs against what it should, and leaves no process behind."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import supervisor

INSTALLED = "AGENTD_TEST_INSTALLED"
"""Set by scripts/test: the environment whose installed wheel is tested."""
TREE = Path(os.environ.get("AGENTD_TEST_TREE") or Path(__file__).parent.parent)


def pytest_sessionstart() -> None:
    """Refuse to test the tree where the wheel was meant."""
    if (environment := os.environ.get(INSTALLED)) is not None:
        found = Path(supervisor.__file__ or "")
        if not found.is_relative_to(environment) or "site-packages" not in found.parts:
            pytest.exit(f"supervisor was imported from {found}, not from {environment}", returncode=4)


@pytest.fixture(scope="session")
def tree() -> Path:
    """The checkout."""
    return TREE


def children() -> dict[int, float]:
    """Pid and start time of each process that this one has begun, or adopted, and not yet reaped."""
    found: dict[int, float] = {}
    for listed in Path("/proc/self/task").glob("*/children"):
        try:
            pids = [int(pid) for pid in listed.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue  # that thread has ended, and its children are another's now
        for pid in pids:
            try:
                found[pid] = psutil.Process(pid).create_time()
            except psutil.NoSuchProcess:
                continue
    return found


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    """Fail a test that leaves a child process, a zombie included, and end what it left."""
    before = children()
    yield
    left = {pid: started for pid, started in children().items() if before.get(pid) != started}
    told = []
    for pid in left:
        process = psutil.Process(pid)
        told.append(
            f"{pid} ({process.status()}): {' '.join(process.cmdline()) if process.is_running() else ''}"
        )
        for one in [*process.children(recursive=True), process]:
            try:
                one.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            continue
    assert not told, "the test left behind: " + "; ".join(told)
