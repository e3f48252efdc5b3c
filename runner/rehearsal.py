"""One run that does nothing, lived before the fork: what it makes at first use is then shared by all that follow.

Python specialises code, trio and orjson fill caches, allocators take pages. A runner forked after a rehearsal has
about a sixth less memory of its own.
"""

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import trio

from ipc.frames import PROTOCOL, Budget, Init, InitPayload, Side, Stop
from ipc.session import Session
from runner.descendants import children
from runner.pipe import serve
from runner.wire import Claimed

PROGRAM = """\
+++
description = "it does nothing"
interval = "1h"
stagnation_limit = 0

[budgets]
cost_usd = 0.5
+++
# Rehearsal

```sh id=nothing ask="why" timeout=1m
:
```
"""

TIMES = 12
"""Python specialises what runs more than once."""


def rehearse() -> None:
    """Live a few runs that pause at once and are stopped. For a process without children, before it handles signals.

    Raises:
        OSError: there is no room for a temporary folder, or no descriptor left.
        RuntimeError: this process has children, which a run would take for its own.
    """
    if children():
        raise RuntimeError("a rehearsal would end the children of this process")
    for _ in range(TIMES):
        with ExitStack() as held:
            folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="agentd-")))
            (folder / "program.md").write_text(PROGRAM, encoding="utf-8")
            fds = [*os.pipe(), *os.pipe()]
            for fd in fds:
                held.callback(os.close, fd)
                os.set_blocking(fd, False)
            os.write(fds[1], _script(folder))
            trio.run(serve, Claimed(fds[0], fds[3], low=(-1, -1), were_blocking=(True, True)))


def _script(folder: Path) -> bytes:
    session = Session(Side.SUPERVISOR)
    nothing_left = Budget(scope="run", what="iterations", cap=0)
    payload = InitPayload(
        name="rehearsal",
        run_id="0",
        template=str(folder / "program.md"),
        log_dir=str(folder),
        protocol=PROTOCOL,
        env={},
        budgets=[nothing_left],
    )
    return session.send(Init(payload=payload)) + session.send(Stop(reason="it was a rehearsal"))
