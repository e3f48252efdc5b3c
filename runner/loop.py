"""The loop of a run: gate, iteration, gate, iteration … until something says that it is enough.

Between iterations everything is decided in ``_gate``, within one in ``_turn``; both wait only through ``Control``, so
that whatever the supervisor wants is seen at every await.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import trio

from ipc.frames import (
    InitPayload,
    IterationDone,
    IterationStart,
    Message,
    PausedBudget,
    Reserve,
    Reserved,
    Resumed,
    Stream,
    Usage,
)
from runner import prompt as prompts
from runner.adapters.base import Adapter, Outcome
from runner.budgets import Spent, describe, reached, work_left
from runner.clock import WorkClock
from runner.config import Config
from runner.control import Control
from runner.guards import Guards, Verdict, cooldown_in
from runner.inputs import LargeInputs
from runner.speaker import Speaker
from runner.turn import Turn


@dataclass(frozen=True, slots=True)
class End:
    """The run is over: ``reason`` for the exit frame, ``text`` for people."""

    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """How an iteration ended, as it is said and as the guards see it."""

    status: str
    outcome: Outcome
    verdict: Verdict | None = None


class Loop:
    """Runs the iterations of one agent."""

    def __init__(
        self,
        payload: InitPayload,
        config: Config,
        *,
        control: Control,
        speaker: Speaker,
        adapter: Adapter,
        prompt: str,
        auto_approve: bool,
    ) -> None:
        self._payload = payload
        self._config = config
        self._control = control
        self._speaker = speaker
        self._adapter = adapter
        self._prompt = prompt
        self._auto_approve = auto_approve
        self._inputs = LargeInputs(adapter.agent.folder)
        self._guards = Guards(
            same_failure_limit=config.same_failure_limit,
            failure_limit=config.failure_limit,
            stagnation_limit=config.stagnation_limit,
        )
        self._number = payload.start_iteration
        self._attempt = payload.attempt
        self._session = payload.session
        self._spent = Spent()
        self._due = -math.inf
        self._reserving = False
        self._turn_now: Turn | None = None
        self._failure = ""
        self.begun = 0
        """The number of the last iteration that began."""

    @property
    def finished(self) -> int:
        """Iterations that ended in this run."""
        return self._spent.iterations

    @property
    def status(self) -> str:
        """What the run does now, in a word."""
        if self._control.ending is not None:
            return "stopping"
        if self._control.paused is not None:
            return "paused"
        if self._turn_now is not None:
            return "waiting_permission" if self._turn_now.asking else "running"
        return "reserving" if self._reserving else "idle"

    async def run(self) -> End:
        """Run until the end and say why it came. Not made to be cancelled: ``Control.end`` ends it."""
        while (end := await self._gate()) is None:
            done = await self._iterate()
            if done.status == "permission" and self._config.on_denied == "stop":
                return End("failed", f"denied: {done.outcome.summary}")
            if done.verdict is not None:
                return End(done.verdict.reason, done.verdict.text)
        return end

    # Before an iteration

    async def _gate(self) -> End | None:
        """Return None as soon as the next iteration may begin, or the reason why none will."""
        control = self._control
        while True:
            if control.ending is not None:
                return End(control.ending.reason, control.ending.text)
            if self._payload.max_iterations is not None and self._number > self._payload.max_iterations:
                return self._all_done(self._payload.max_iterations)
            if control.pause is not None:
                wanted, control.pause = control.pause, None
                await self._pause("operator", wanted.reason or "paused by the operator")
            elif (cap := reached(control.budgets, self._spent)) is not None:
                await self._pause("budget", describe(cap, self._spent))
            elif trio.current_time() < self._due:
                with trio.move_on_at(self._due):
                    await control.until(self._wanted)
            elif not self._config.reserve or await self._reserve():
                return None

    def _all_done(self, iterations: int) -> End:
        """Ended is not succeeded: the last iteration says which."""
        if self._failure:
            return End("failed", f"the last of {iterations} iterations: {self._failure}")
        return End("completed", f"{iterations} iterations are done")

    def _wanted(self) -> bool | None:
        """Whether something wants the loop between two iterations."""
        control = self._control
        wanted = control.ending or control.pause or reached(control.budgets, self._spent)
        return True if wanted else None

    async def _pause(self, kind: str, reason: str, resume_at: float | None = None) -> None:
        control = self._control
        control.resume = None
        control.paused = PausedBudget(reason=reason[:300], kind=kind, resume_at=resume_at)
        await self._speaker.say(control.paused)
        await control.until(lambda: control.resume or control.ending)
        control.paused = None
        if control.ending is None:
            await self._speaker.say(Resumed())

    async def _reserve(self) -> bool:
        """Ask for the next iteration; False when something else came between, or a pause was the answer."""
        control = self._control

        def answer() -> Reserved | None:
            found = control.reserved
            return found if found is not None and found.iteration == self._number else None

        await self._speaker.say(Reserve(iteration=self._number, attempt=self._attempt))
        self._reserving = True
        await control.until(lambda: answer() or control.ending or control.pause)
        self._reserving = False
        found = answer()
        if found is None:
            return False
        control.reserved = None
        if found.budgets is not None:
            control.budgets = found.budgets
        if not found.granted:
            await self._pause(found.kind or "budget", found.reason or "not granted", found.resume_at)
        return found.granted and control.ending is None

    # One iteration

    async def _iterate(self) -> Done:
        """Run one iteration, which is said to begin before it begins, and to end once."""
        iteration, attempt = self._number, self._attempt
        messages, self._control.messages = self._control.messages, []
        start = IterationStart(
            iteration=iteration,
            attempt=attempt,
            messages=[message.cmd for message in messages if message.cmd is not None],
        )
        await self._speaker.say(start)
        self.begun = iteration
        self._show("start", iteration)
        clock = WorkClock()
        turn = Turn(
            iteration=iteration,
            attempt=attempt,
            prompt="",
            messages=messages,
            session=self._session,
            control=self._control,
            speaker=self._speaker,
            clock=clock,
            inputs=self._inputs,
            auto_approve=self._auto_approve,
        )
        self._turn_now = turn
        try:
            turn.prompt = self._rendered(turn, messages)
        except prompts.PromptError as error:
            status, outcome = "error", Outcome(status="error", error=str(error))
        else:
            status, outcome = await self._turn(turn)
        await turn.withdraw(outcome.error or "the turn is over")
        self._turn_now = None
        if status == "cancelled" and self._control.deaf:
            # Nobody decided this: without its end on record, the iteration counts as interrupted.
            return Done(status, outcome)
        done = self._account(status, outcome, turn)
        await self._speaker.say(self._done_frame(done, turn))
        self._show("error" if done.outcome.error else "end", iteration)
        return done

    async def _turn(self, turn: Turn) -> tuple[str, Outcome]:
        """Let the adapter do the turn; end it when it is no longer wanted, too long, or too dear."""
        if (unwanted := self._unwanted(turn)) is not None:
            return "cancelled", Outcome(status="error", error=unwanted)
        ended: list[Outcome] = []
        why: list[str] = []
        limit = self._payload.iteration_timeout_s or None
        with turn.clock.limit(limit) as overtime, turn.clock.limit(None) as overwork:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, turn, nursery.cancel_scope, overwork, why)
                ended.append(await self._adapter.turn(turn))
                nursery.cancel_scope.cancel()
        if ended:
            return ended[0].status, ended[0]
        if overtime.cancelled_caught:
            return "timed_out", Outcome(status="error", error=f"took longer than {limit:g} s")
        text = why[0] if why else self._exhausted(turn) or "the working time is used up"
        return "cancelled", Outcome(status="error", error=text)

    async def _watch(
        self, turn: Turn, scope: trio.CancelScope, overwork: trio.CancelScope, why: list[str]
    ) -> None:
        control = self._control
        while True:
            if (unwanted := self._unwanted(turn)) is not None:
                why.append(unwanted)
                scope.cancel()
                return
            turn.clock.renew(overwork, work_left(control.budgets, self._spent_with(turn)))
            await control.changed()

    def _unwanted(self, turn: Turn) -> str | None:
        """Why the turn shall not go on, if it shall not."""
        control = self._control
        if control.ending is not None:
            return control.ending.text
        if control.cancel is not None and control.cancel.iteration == turn.iteration:
            return control.cancel.reason or "cancelled by the operator"
        return self._exhausted(turn)

    def _exhausted(self, turn: Turn) -> str | None:
        spent = self._spent_with(turn)
        cap = reached(self._control.budgets, spent)
        return None if cap is None else describe(cap, spent)

    def _spent_with(self, turn: Turn) -> Spent:
        """What the run has used, this unfinished turn included."""
        used = turn.usages.values()
        return Spent(
            cost_usd=self._spent.cost_usd + math.fsum(one.cost_usd or 0 for one in used),
            tokens=self._spent.tokens + sum(map(tokens_of, used)),
            iterations=self._spent.iterations,
            wall_s=self._spent.wall_s + turn.clock.worked(),
        )

    def _rendered(self, turn: Turn, messages: Iterable[Message]) -> str:
        if not self._adapter.prompted:
            return ""
        first = self._number == 1 and self._config.bootstrap_prompt is not None
        what = "bootstrap_prompt" if first else "prompt"
        text = (self._config.bootstrap_prompt or "") if first else self._prompt
        filled = prompts.render(text, variables(self._adapter, turn), what=what)
        return prompts.with_messages(filled, (message.text for message in messages))

    # After an iteration

    def _account(self, status: str, outcome: Outcome, turn: Turn) -> Done:
        """Add up what was used, and let the guards judge."""
        spent = self._spent_with(turn)
        self._spent = Spent(
            cost_usd=spent.cost_usd, tokens=spent.tokens, iterations=spent.iterations + 1, wall_s=spent.wall_s
        )
        self._session = outcome.session or self._session
        self._number += 1
        self._attempt = 1
        asked = turn.cooldown_s or cooldown_in(outcome.error or "") or cooldown_in(outcome.summary)
        cooldown = min(asked or 0.0, self._config.cooldown_limit)
        self._due = trio.current_time() + max(self._payload.interval, cooldown)
        verdict: Verdict | None = None
        self._failure = (outcome.error or "it failed") if status in ("error", "timed_out") else ""
        if status in ("error", "timed_out"):
            if not asked:
                verdict = self._guards.failed(outcome.error or "it failed without a word")
        elif status == "ok":
            verdict = self._guards.succeeded(outcome.summary if outcome.claimed else "")
        elif status == "no_change":
            self._guards.unchanged()
        return Done(status, outcome, verdict)

    def _done_frame(self, done: Done, turn: Turn) -> IterationDone:
        used = turn.usages.values()
        costs = [one.cost_usd for one in used if one.cost_usd is not None]
        return IterationDone(
            iteration=turn.iteration,
            attempt=turn.attempt,
            status=done.status,
            duration_s=round(turn.clock.worked(), 3),
            summary=sendable(done.outcome.summary)[:500],
            tokens_in=sum(one.tokens_in for one in used),
            tokens_out=sum(one.tokens_out for one in used),
            cache_read_tokens=sum(one.cache_read_tokens for one in used),
            cache_write_tokens=sum(one.cache_write_tokens for one in used),
            cost_usd=math.fsum(costs) if costs else None,
            session=done.outcome.session,
            error=None if done.outcome.error is None else self._inputs.fit_text(done.outcome.error),
        )

    def _show(self, phase: str, iteration: int) -> None:
        self._speaker.show(Stream(stream="lifecycle", data={"phase": phase, "iteration": iteration}))


def tokens_of(usage: Usage) -> int:
    """Return the tokens that count against a cap: what a cache gave or took is recorded, and not counted."""
    return usage.tokens_in + usage.tokens_out


def sendable(text: str) -> str:
    """Return ``text`` without what UTF-8 cannot say, such as half a surrogate pair out of a file name."""
    return text.encode("utf-8", "replace").decode()


def variables(adapter: Adapter, turn: Turn | None = None) -> dict[str, str | None]:
    """Return what prompts may name. Before the first turn what belongs to a turn has no value."""
    agent = adapter.agent
    return {
        "agent.name": agent.name,
        "agent.folder": str(agent.cwd),
        "agent.output": str(agent.output) if agent.output else None,
        "agent.model": agent.model,
        "agent.template": agent.template,
        "run.id": agent.run_id,
        "run.iteration": str(turn.iteration) if turn else None,
        "run.attempt": str(turn.attempt) if turn else None,
        "args": " ".join(agent.args),
        "session.id": turn.session if turn else None,
    }
