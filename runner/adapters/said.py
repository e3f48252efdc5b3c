"""What a program says beside its output: JSON lines on the descriptor AGENTD_FD, answers on AGENTD_ANSWER_FD.

What is malformed is logged as stray and has no other effect; nothing said here is taken for a frame as it is.
"""

import os
from contextlib import ExitStack
from typing import Any, ClassVar

import orjson
import trio

from ipc.channel import READ_SIZE, read_some
from ipc.fields import AMOUNT, COUNT, OBJECT, TEXT, Kind, build, fielded, optional, required
from ipc.frames import RunnerFrame
from ipc.lines import LineSplitter, Overlong
from runner.adapters.base import Agent
from runner.adapters.pipes import make_pipe
from runner.turn import Decision, Turn

DRAIN_LIMIT = 4 * 1_048_576
"""Most bytes read after the program has ended."""

SHOWN = 500
"""How many characters of a stray line the log keeps."""

Plan = tuple[tuple[str, Kind, bool, bool], ...]


@fielded
class NotifySaid:
    """A text for people."""

    PLAN: ClassVar[Plan]
    text: str = required(TEXT)
    bridge: str = optional(TEXT, default="*")


@fielded
class UsageSaid:
    """What a model has used in this iteration so far."""

    PLAN: ClassVar[Plan]
    model: str = optional(TEXT, default="")
    tokens_in: int = optional(COUNT, default=0)
    tokens_out: int = optional(COUNT, default=0)
    cache_read_tokens: int = optional(COUNT, default=0)
    cache_write_tokens: int = optional(COUNT, default=0)
    cost_usd: float | None = optional(AMOUNT, default=None)


@fielded
class NoChangeSaid:
    """There was nothing to do."""

    PLAN: ClassVar[Plan]


@fielded
class SummarySaid:
    """What the iteration achieved."""

    PLAN: ClassVar[Plan]
    text: str = required(TEXT)


@fielded
class PermissionSaid:
    """May I? ``id`` comes back with the answer."""

    PLAN: ClassVar[Plan]
    tool: str = required(TEXT)
    input: dict[str, Any] = optional(OBJECT, default={})
    rationale: str = optional(TEXT, default="")
    id: str = optional(TEXT, default="")


@fielded
class CooldownSaid:
    """Wait before the next iteration."""

    PLAN: ClassVar[Plan]
    seconds: float = required(AMOUNT)


SAID: dict[str, type] = {
    "notify": NotifySaid,
    "usage": UsageSaid,
    "no_change": NoChangeSaid,
    "summary": SummarySaid,
    "permission": PermissionSaid,
    "cooldown": CooldownSaid,
}


class Said:
    """The two pipes between a program and its turn."""

    def __init__(self, held: ExitStack, turn: Turn, agent: Agent) -> None:
        self._ours, voice = make_pipe(held)
        ear, self._answers = make_pipe(held)
        self.theirs = agent.low
        """The numbers of the descriptors that the program inherits, ours only until ``close_theirs``."""
        for end, number in zip((voice, ear), self.theirs, strict=True):
            os.dup2(end.fd, number, inheritable=False)
            end.close()
        held.callback(self.close_theirs)
        os.set_blocking(self._ours.fd, False)
        os.set_blocking(self._answers.fd, False)
        self._turn = turn
        self._log = agent.log
        self._lines = LineSplitter()
        self._answering = trio.Lock()

    def names(self) -> dict[str, str]:
        """Return the environment that tells the program of them."""
        return dict(zip(("AGENTD_FD", "AGENTD_ANSWER_FD"), map(str, self.theirs), strict=True))

    def close_theirs(self) -> None:
        """Close the program's ends, which it has its own copies of, and keep their numbers; again, it does nothing."""
        for number in self.theirs:
            os.dup2(0, number, inheritable=False)

    async def run(self, nursery: trio.Nursery) -> None:
        """Take what is said until the end; each question waits in a task of ``nursery``."""
        while data := await read_some(self._ours.fd):
            for question in await self._take(data):
                nursery.start_soon(self._ask, question)
            await trio.lowlevel.checkpoint()

    async def drain(self) -> None:
        """Take what was said last by a program that has ended; its questions are void."""
        taken = 0
        try:
            while taken < DRAIN_LIMIT and (data := os.read(self._ours.fd, READ_SIZE)):
                taken += len(data)
                await self._take(data)
        except BlockingIOError:
            pass
        if rest := self._lines.pending:
            self._stray(rest, "it has no end")

    async def _take(self, data: bytes) -> list[PermissionSaid]:
        """Say at once what ``data`` completes; return the questions, which have to wait."""
        frames: list[RunnerFrame] = []
        questions: list[PermissionSaid] = []
        turn = self._turn
        for line in self._lines.feed(data):
            match self._read(line):
                case NotifySaid(text=text, bridge=bridge):
                    frames.append(turn.notice(text, bridge))
                case UsageSaid() as used:
                    frames.append(
                        turn.usage(
                            used.model,
                            tokens_in=used.tokens_in,
                            tokens_out=used.tokens_out,
                            cache_read_tokens=used.cache_read_tokens,
                            cache_write_tokens=used.cache_write_tokens,
                            cost_usd=used.cost_usd,
                        )
                    )
                case NoChangeSaid():
                    turn.unchanged = True
                case SummarySaid(text=text):
                    turn.summary = text
                case CooldownSaid(seconds=seconds):
                    turn.cooldown_s = seconds
                case PermissionSaid() as question:
                    questions.append(question)
        await turn.say(*frames)
        return questions

    def _read(self, line: bytes | Overlong) -> object:
        """Return what a line says, or None for one that says nothing or is malformed, which is logged."""
        if isinstance(line, Overlong):
            self._stray(line.beginning, "it is too long")
            return None
        if not line.strip():
            return None
        try:
            return _understood(line)
        except ValueError as error:
            self._stray(line, str(error))
            return None

    def _stray(self, line: bytes, why: str) -> None:
        shown = line[: 4 * SHOWN].decode("utf-8", "backslashreplace")[:SHOWN]
        self._log.note(f"stray line on AGENTD_FD ({why}): {shown}")

    async def _ask(self, question: PermissionSaid) -> None:
        try:
            decision = await self._turn.ask(question.tool, question.input, question.rationale)
        except (OSError, ValueError) as error:
            self._log.note(f"the question {question.id!r} could not be asked: {error}")
            decision = Decision(granted=False, input=question.input, reason=f"could not be asked: {error}")
        answer: dict[str, Any] = {"id": question.id, "granted": decision.granted, "reason": decision.reason}
        if decision.granted and decision.input != question.input:
            answer["input"] = decision.input
        try:
            async with self._answering:
                await self._write(orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE))
        except BrokenPipeError:
            self._log.note(
                f"nobody reads the answer to {question.id!r}: the program has closed AGENTD_ANSWER_FD"
            )
            return
        await self._turn.applied(decision)

    async def _write(self, data: bytes) -> None:
        while data:
            await trio.lowlevel.wait_writable(self._answers.fd)
            data = data[os.write(self._answers.fd, data) :]


def _understood(line: bytes) -> object:
    """Return one of the classes above; raises ValueError that says what is wrong."""
    try:
        raw = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise ValueError("no JSON") from None
    said = raw.get("type") if isinstance(raw, dict) else None
    if not isinstance(said, str) or said not in SAID:
        raise ValueError(f"wanted an object whose type is one of {', '.join(SAID)}")
    return build(SAID[said], raw)
