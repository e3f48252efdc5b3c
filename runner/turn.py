"""One turn as its adapter sees it: the prompt, and every way to say something while it lasts."""

from dataclasses import dataclass
from typing import Any, Literal

from ipc.codec import digest
from ipc.frames import (
    Log,
    Message,
    Notify,
    PermissionApplied,
    PermissionRequest,
    PermissionWithdrawn,
    RunnerFrame,
    Stream,
    Usage,
)
from runner.clock import WorkClock
from runner.control import Control, Question
from runner.inputs import LargeInputs
from runner.speaker import Speaker

MODEL_LIMIT = 200
"""Most characters of the name of a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer to a question. ``input`` is what was decided upon: it may differ from what was asked.

    ``request_id`` is None where nobody had to be asked.
    """

    granted: bool
    input: dict[str, Any]
    reason: str = ""
    request_id: str | None = None


class Turn:
    """The turn of one iteration; its methods are the only way in which an adapter speaks."""

    def __init__(
        self,
        *,
        iteration: int,
        attempt: int,
        prompt: str,
        messages: list[Message],
        session: str | None,
        control: Control,
        speaker: Speaker,
        clock: WorkClock,
        inputs: LargeInputs,
        auto_approve: bool,
    ) -> None:
        self.iteration = iteration
        self.attempt = attempt
        self.prompt = prompt
        self.messages = messages
        self.session = session
        self.clock = clock
        """Limits of the adapter's own are set on this clock: it stands still while a person is waited for."""
        self.usages: dict[str, Usage] = {}
        self.unchanged = False
        self.summary: str | None = None
        self.cooldown_s: float | None = None
        self._control = control
        self._speaker = speaker
        self._inputs = inputs
        self._auto_approve = auto_approve
        self._asked = 0

    @property
    def asking(self) -> bool:
        """Whether a question is open or its answer not yet handed over."""
        return bool(self._control.questions)

    def term_grace(self) -> float:
        """Seconds that a program of this turn gets between TERM and KILL."""
        return self._control.term_grace()

    async def say(self, *frames: RunnerFrame) -> None:
        """Say ``frames`` together, as built by the functions below."""
        await self._speaker.say(*frames)

    def notice(self, text: str, bridge: str = "*") -> Notify:
        """Return a frame with a text for people."""
        return Notify(text=self._inputs.fit_text(text), bridge=self._inputs.fit_text(bridge))

    def entry(self, level: Literal["info", "warning", "error"], msg: str) -> Log:
        """Return a frame with a text for operators."""
        return Log(level=level, msg=self._inputs.fit_text(msg))

    def usage(
        self,
        model: str,
        *,
        tokens_in: int = 0,
        tokens_out: int = 0,
        cache_read_tokens: int = 0,
        cache_write_tokens: int = 0,
        cost_usd: float | None = None,
    ) -> Usage:
        """Count what ``model`` has used in this iteration so far and return the frame that says so.

        Totals, never deltas; one that is lower than what was said before is taken for the older. Reaching a cap ends
        the turn.
        """
        model = model[:MODEL_LIMIT]
        before = self.usages.get(model) or Usage(iteration=self.iteration, attempt=self.attempt)
        costs = [cost for cost in (before.cost_usd, cost_usd) if cost is not None]
        now = Usage(
            iteration=self.iteration,
            attempt=self.attempt,
            model=model,
            tokens_in=max(before.tokens_in, tokens_in),
            tokens_out=max(before.tokens_out, tokens_out),
            cache_read_tokens=max(before.cache_read_tokens, cache_read_tokens),
            cache_write_tokens=max(before.cache_write_tokens, cache_write_tokens),
            cost_usd=max(costs, default=None),
        )
        self.usages[model] = now
        self._control.wake()
        return now

    def show(self, stream: Literal["assistant", "tool", "lifecycle"], data: dict[str, Any]) -> None:
        """Show something in the live view; it may be dropped."""
        self._speaker.show(Stream(stream=stream, data=data))

    async def ask(self, tool: str, given: dict[str, Any], rationale: str) -> Decision:
        """Ask whether ``tool`` may be used with ``given`` and wait for the answer, however long it takes.

        Whoever gets the decision hands it to the agent and then awaits ``applied``. When the turn ends before that,
        the question is withdrawn.

        Raises:
            OSError: a large input could not be kept.
            ValueError: the input holds what JSON cannot.
        """
        shown = self._inputs.fit(given)
        tool = self._inputs.fit_text(tool)
        if self._auto_approve:
            await self.say(self.entry("info", f"approved without asking: {tool}: {rationale}"))
            return Decision(granted=True, input=given, reason="approved without asking")
        self._asked += 1
        question = Question(
            request_id=f"{self.iteration}.{self.attempt}.{self._asked}",
            tool=tool,
            input=shown,
            digest=digest(tool, shown),
        )
        self._control.questions[question.request_id] = question
        with self.clock.waiting():
            await self.say(
                PermissionRequest(
                    request_id=question.request_id,
                    tool=question.tool,
                    input=shown,
                    rationale=self._inputs.fit_text(rationale),
                    digest=question.digest,
                )
            )
            answer = await self._control.until(lambda: question.answer)
        return Decision(
            granted=answer.granted,
            input=given if answer.updated_input is None else answer.updated_input,
            reason=answer.reason or "",
            request_id=question.request_id,
        )

    async def applied(self, decision: Decision) -> None:
        """The agent has the decision: from now on it is not withdrawn."""
        if decision.request_id in self._control.questions:
            del self._control.questions[decision.request_id]
            await self.say(PermissionApplied(request_id=decision.request_id, granted=decision.granted))

    async def withdraw(self, reason: str) -> None:
        """The agent no longer waits for anything it asked."""
        open_ones = list(self._control.questions)
        self._control.questions.clear()
        await self.say(*(PermissionWithdrawn(request_id=one, reason=reason) for one in open_ones))
