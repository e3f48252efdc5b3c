"""agentd is started when a verb needs it, and whatever keeps it from starting is told."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from supervisor.ctl import daemon
from supervisor.ctl.daemon import connect_or_start, start_supervisor
from supervisor.ctl.invocation import Invocation
from supervisor.errors import AgentdError, Conflict, DatabaseTooNew, Failed, WaitTimedOut

pytestmark = pytest.mark.timeout(60)

GOOD = """
import os, socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(os.environ["AGENTD_HOME"] + "/agentd.sock")
listener.listen()
assert os.getsid(0) == os.getpid()
assert os.read(0, 1) == b""
print("I listen", flush=True)
fd = int(sys.argv[1].removeprefix("--ready-fd="))
os.write(fd, b"x")
os.close(fd)
time.sleep(60)
"""


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Start this in place of agentd, and end it afterwards."""
    before = set(psutil.Process().children())
    yield lambda code: monkeypatch.setattr(daemon, "COMMAND", (sys.executable, "-c", code))
    for process in set(psutil.Process().children()) - before:
        process.kill()
        os.waitpid(process.pid, 0)


def test_it_is_started_said_so_and_outlives_us(
    program: Callable[[str], None], home: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    program(GOOD)
    ctl = Invocation(os.environ)
    with connect_or_start(ctl):
        pass
    assert f"for {home.state}" in capsys.readouterr().err
    assert "I listen" in home.log.read_text()
    assert home.log.stat().st_mode & 0o777 == 0o600
    with connect_or_start(ctl):
        pass
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("code", "kind"), [(5, Conflict), (78, DatabaseTooNew), (1, Failed), (9, Failed)])
def test_why_it_did_not_start_is_told_with_its_exit_code(
    program: Callable[[str], None], home: Any, code: int, kind: type[AgentdError]
) -> None:
    home.log.write_text("from another day\n")
    program(f"import sys; sys.stderr.write('the reason\\n'); sys.exit({code})")
    with pytest.raises(kind, match="the reason") as refused:
        start_supervisor(Invocation(os.environ))
    assert "another day" not in str(refused.value)
    assert str(home.log) in refused.value.remedy


def test_one_that_is_killed_at_the_start_is_told(program: Callable[[str], None], home: Any) -> None:
    program("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(Failed, match="-9"):
        start_supervisor(Invocation(os.environ))


def test_one_that_never_listens_is_given_up_and_ended(
    program: Callable[[str], None], home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "READY_WITHIN", 0.3)
    program("import time; time.sleep(60)")
    with pytest.raises(WaitTimedOut, match="did not listen"):
        start_supervisor(Invocation(os.environ))
    (left,) = psutil.Process().children()
    assert os.waitpid(left.pid, 0)[1] == signal.SIGTERM


def test_no_descriptor_is_left_open(program: Callable[[str], None], home: Any) -> None:
    before = psutil.Process().num_fds()
    program("import sys; sys.exit(1)")
    for _ in range(3):
        with pytest.raises(Failed):
            start_supervisor(Invocation(os.environ))
    assert psutil.Process().num_fds() == before
