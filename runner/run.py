"""One run after its ``init``: make ready, run the loop, leave nothing behind."""

import os
import sys
import traceback
from pathlib import Path

import trio

from ipc.errors import RemoteError
from ipc.frames import (
    PROTOCOL,
    Ack,
    Attach,
    Attached,
    Exit,
    InitPayload,
    Ping,
    Pong,
    Ready,
    StrayLine,
    SupervisorFrame,
)
from ipc.frames import Log as LogFrame
from ipc.program import Program, ProgramError, read
from ipc.session import Fault
from runner import prompt as prompts
from runner.adapters.base import Adapter, AdapterError, Agent
from runner.adapters.registry import ADAPTERS
from runner.config import Config, read_config
from runner.control import Control
from runner.descendants import end_descendants
from runner.inputs import LargeInputs
from runner.journal import Journal, JournalInUse
from runner.log import Log
from runner.loop import End, Loop, variables
from runner.speaker import JournalSpeaker, PlainSpeaker, Speaker
from runner.wire import Claimed, Ear

CLOSE_WITHIN = 2.0
"""Most seconds that an adapter's ``close`` may take."""

DESCENDANTS_GRACE = 2.0
"""Of these seconds what an agent daemonised gets half between TERM and KILL, or of what is left of the run."""

LINGER = 1.0
"""Most seconds at the end for a slow reader: what it does not get, it finds in the journal."""


class BadInit(Exception):
    """The run cannot begin; the text says why."""


class Unusable(Exception):
    """The run has begun, but its template or adapter cannot be used; the text says why."""


class Run:
    """One run, from ``ready`` to ``exit``."""

    def __init__(self, payload: InitPayload, claimed: Claimed, ear: Ear, control: Control) -> None:
        """Check ``payload`` and enter the agent's folder; raises BadInit."""
        control.protocol = PROTOCOL if payload.protocol >= PROTOCOL else 0
        control.grace = payload.grace_s
        control.budgets = payload.budgets
        self._payload = payload
        self._low = claimed.low
        self._ear = ear
        self._control = control
        self._config = _checked_config(payload)
        self._folder, self._elsewhere = _run_folder(payload)
        _enter(payload)
        self._log = Log(self._folder)
        self._inputs = LargeInputs(self._folder)
        self._journal: Journal | None = None
        self._speaker: Speaker
        if control.protocol:
            self._journal = _journal(self._folder)
            self._speaker = JournalSpeaker(claimed.writing, ear.session, self._journal, control, self._log)
        else:
            self._speaker = PlainSpeaker(claimed.writing, ear.session, control)
        self._loop: Loop | None = None

    async def live(self) -> int:
        """Run to the end and return the exit code: 0 as told or by itself, 1 after an exception."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._speaker.run)
            nursery.start_soon(self._listen, nursery)
            end = await self._work()
            self._end_what_is_left()
            await self._say_goodbye(end)
            nursery.cancel_scope.cancel()
        self._log.close()
        if self._journal is not None:
            self._journal.close()
        return 1 if end.reason == "exception" else 0

    async def _work(self) -> End:
        ready = Ready(
            protocol=self._control.protocol, pid=os.getpid(), capabilities={"adapters": sorted(ADAPTERS)}
        )
        await self._speaker.say(ready)
        adapter: Adapter | None = None
        try:
            adapter = self._make_adapter()
            with self._control.cut_at_end():
                await adapter.prepare()
            self._loop = Loop(
                self._payload,
                self._config,
                control=self._control,
                speaker=self._speaker,
                adapter=adapter,
                prompt=_prompt(adapter, self._config),
                auto_approve=self._auto_approve(),
            )
            end = await self._loop.run()
        except (Unusable, AdapterError, prompts.PromptError) as error:
            print(f"runner: {error}", file=sys.stderr)  # noqa: T201 - stderr is the run's own file
            end = End("exception", str(error))
        except Exception as error:  # noqa: BLE001 - the border of the run: whatever it was is shown, then the run ends
            traceback.print_exc()
            end = End("exception", "".join(traceback.format_exception_only(_innermost(error))).strip())
        if adapter is not None:
            with trio.move_on_after(CLOSE_WITHIN, shield=True):
                await adapter.close()
        return end

    def _make_adapter(self) -> Adapter:
        payload, config = self._payload, self._config
        kind = ADAPTERS.get(payload.adapter)
        if kind is None:
            raise Unusable(f"{payload.adapter}: no such adapter (known: {', '.join(sorted(ADAPTERS))})")
        try:
            program = (
                read(Path(payload.template)) if payload.template else Program(front={}, body="", steps=())
            )
        except ProgramError as error:
            raise Unusable(str(error)) from None
        return kind(
            Agent(
                name=payload.name,
                run_id=payload.run_id,
                template=payload.template,
                program=program,
                args=tuple(payload.args),
                options=config.options,
                extra_args=tuple(config.extra_args),
                cwd=Path.cwd(),
                output=self._output(),
                folder=self._folder,
                log=self._log,
                model=config.model,
                low=self._low,
                env=dict(os.environ) if payload.env is None else payload.env,
            )
        )

    def _output(self) -> Path | None:
        """Return the agent's output folder, made if it was missing."""
        folder = (
            Path(self._config.output) if self._config.output else self._folder and self._folder / "output"
        )
        if folder is None:
            return None
        try:
            (folder / ".state").mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Unusable(f"{folder}: cannot be the output folder: {error.strerror}") from None
        return folder

    def _auto_approve(self) -> bool:
        """What the supervisor said; silence means yes in the plain dialect and no in ours."""
        said = self._payload.auto_approve
        return not self._control.protocol if said is None else said

    # What the supervisor says

    async def _listen(self, nursery: trio.Nursery) -> None:
        """Take what the supervisor says until the end of stdin."""
        while (heard := await self._ear.next()) is not None:
            if isinstance(heard, StrayLine):
                self._log.write("stray", heard.text)
            elif isinstance(heard, Fault):
                self._control.end("failed", f"the supervisor broke the protocol: {heard.error}")
            elif isinstance(heard, SupervisorFrame) and (self._control.protocol or not heard.ours):
                self._take(heard)
                refused, self._control.refusals = self._control.refusals, []
                for text in refused:
                    nursery.start_soon(self._complain, text)
        self._control.hang_up()

    def _take(self, frame: SupervisorFrame) -> None:
        if not isinstance(self._speaker, JournalSpeaker) or not isinstance(frame, Ack | Attach | Ping):
            self._control.take(frame)
        elif isinstance(frame, Ack):
            self._speaker.acknowledge(frame.seq)
        elif isinstance(frame, Ping):
            self._speaker.pong(Pong(id=frame.id))
        else:
            reply = Attached(
                id=frame.id,
                last_seq=self._ear.session.last_seq,
                last_cmd=self._ear.session.last_cmd,
                iteration=self._loop.begun if self._loop else 0,
                status=self._loop.status if self._loop else "starting",
            )
            self._speaker.attach(reply, frame.last_seq)

    async def _complain(self, text: str) -> None:
        self._log.note(text)
        await self._speaker.say(LogFrame(level="warning", msg=self._inputs.fit_text(text)))

    # The end

    def _end_what_is_left(self) -> None:
        """End whatever the agent daemonised; it came to us, as we are its subreaper. Blocks, but not for long."""
        if not end_descendants((), self._control.time_left(DESCENDANTS_GRACE) / 2):
            self._log.note("a process of the agent does not end, even when killed")

    async def _say_goodbye(self, end: End) -> None:
        self._log.note(f"{end.reason}: {end.text}")
        if end.reason in ("failed", "stagnant", "exception"):
            await self._speaker.say(LogFrame(level="error", msg=self._inputs.fit_text(end.text)))
        await self._speaker.say(Exit(reason=end.reason, iterations=self._loop.finished if self._loop else 0))
        if self._elsewhere:
            await self._speaker.settle(self._control.grace, acknowledged=True)
        else:
            await self._speaker.settle(self._control.time_left(LINGER), acknowledged=False)


def _checked_config(payload: InitPayload) -> Config:
    try:
        return read_config(payload.config)
    except RemoteError as error:
        raise BadInit(f"bad init: {error}") from None


def _run_folder(payload: InitPayload) -> tuple[Path | None, bool]:
    """Return the run's folder, and whether it is elsewhere: not one that our supervisor made and can read."""
    if not payload.log_dir:
        if payload.protocol >= PROTOCOL:
            raise BadInit("bad init: init.payload.log_dir: protocol 1 needs the run's folder")
        return None, False
    folder = Path(payload.log_dir).absolute()
    elsewhere = payload.protocol >= PROTOCOL and not folder.exists()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadInit(f"bad init: init.payload.log_dir: {folder}: {error.strerror}") from None
    return folder, elsewhere


def _enter(payload: InitPayload) -> None:
    if payload.cwd is not None:
        try:
            os.chdir(payload.cwd)
        except OSError as error:
            raise BadInit(f"bad init: init.payload.cwd: {payload.cwd}: {error.strerror}") from None


def _journal(folder: Path | None) -> Journal:
    assert folder is not None
    try:
        return Journal(folder)
    except JournalInUse as error:
        raise BadInit(f"bad init: init.payload.log_dir: {error}") from None
    except OSError as error:
        raise BadInit(f"bad init: init.payload.log_dir: {folder}: {error.strerror}") from None


def _prompt(adapter: Adapter, config: Config) -> str:
    """Return the prompt for later turns, having checked that both prompts name only what there is."""
    text = adapter.agent.program.body.strip() if config.prompt is None else config.prompt
    if adapter.prompted:
        known = variables(adapter).keys()
        prompts.check(text, known)
        prompts.check(config.bootstrap_prompt or "", known, what="bootstrap_prompt")
    return text


def _innermost(error: Exception) -> Exception:
    """Return what nurseries have wrapped, where that is one thing."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
