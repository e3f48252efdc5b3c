"""Any prefix of a runner's frames, replayed any number of times, leaves the same rows."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ipc.frames import (
    IterationDone,
    IterationStart,
    Log,
    PausedBudget,
    PermissionRequest,
    PermissionWithdrawn,
    Ready,
    Resumed,
    Usage,
)
from supervisor.records.db import memory_tx
from supervisor.records.frames import apply_frames
from supervisor.records.rows import rows

from .making import a_run

TABLES = ("agent_runs", "iterations", "permissions", "ledger", "events")
CENTS = st.integers(0, 400).map(lambda cents: cents / 64)  # sums of these are exact
TOKENS = st.integers(0, 50)


class Replay(RuleBasedStateMachine):
    """A runner speaks; its frames reach one database once each, and another in pieces, again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.once, self.often = memory_tx(now=1.0), memory_tx(now=1.0)
        self.run, self.same = a_run(self.once, protocol=None), a_run(self.often, protocol=None)
        self.said: list[Any] = []
        self.iteration = 0
        self.open: list[str] = []
        self.turn = self.paused = False
        self.heard = 0
        self.say(Ready(protocol=1))

    def say(self, frame: Any) -> None:
        frame.seq = len(self.said) + 1
        self.said.append(frame)
        assert apply_frames(self.once, self.run, [frame]).fault is None
        self.once.number(self.numbered(self.once))

    def numbered(self, tx: Any) -> int:
        return int(tx.conn.execute("SELECT ifnull(max(id), 0) FROM events").get)

    def idle(self) -> bool:
        return not self.turn and not self.paused

    def in_turn(self) -> bool:
        return self.turn

    @precondition(idle)
    @rule()
    def begin(self) -> None:
        self.iteration += 1
        self.turn = True
        self.say(IterationStart(iteration=self.iteration))

    @precondition(in_turn)
    @rule(model=st.sampled_from(["a", "b", ""]), tokens=TOKENS, cost=st.none() | CENTS)
    def spend(self, model: str, tokens: int, cost: float | None) -> None:
        self.say(Usage(iteration=self.iteration, model=model, tokens_in=tokens, cost_usd=cost))

    @precondition(in_turn)
    @rule(status=st.sampled_from(["ok", "error"]), tokens=TOKENS, cost=st.none() | CENTS)
    def end(self, status: str, tokens: int, cost: float | None) -> None:
        self.turn = False
        self.say(IterationDone(iteration=self.iteration, status=status, tokens_in=tokens, cost_usd=cost))

    @precondition(in_turn)
    @rule()
    def ask(self) -> None:
        self.open.append(f"r{len(self.said)}")
        self.say(PermissionRequest(request_id=self.open[-1], tool="sh", input={"n": len(self.said)}))

    @precondition(lambda self: self.open)
    @rule()
    def withdraw(self) -> None:
        self.say(PermissionWithdrawn(request_id=self.open.pop(), reason="enough"))

    @precondition(idle)
    @rule()
    def pause(self) -> None:
        self.paused = True
        self.say(PausedBudget(reason="spent"))

    @precondition(lambda self: self.paused)
    @rule()
    def resume(self) -> None:
        self.paused = False
        self.say(Resumed())

    @rule(count=st.integers(1, 5))
    def log(self, count: int) -> None:
        for _ in range(count):
            self.say(Log(msg="x"))

    @rule(data=st.data())
    def hear(self, data: st.DataObject) -> None:
        """Some stretch that begins no later than what was not heard yet, as after ``attach`` or from the journal."""
        start = data.draw(st.integers(0, self.heard))
        end = data.draw(st.integers(start, len(self.said)))
        applied = apply_frames(self.often, self.same, self.said[start:end])
        self.often.number(self.numbered(self.often))
        assert applied.fault is None
        assert applied.fresh == max(0, end - self.heard)
        self.heard = max(self.heard, end)
        assert applied.last_seq == self.heard

    @invariant()
    def rows_are_the_same_once_all_is_heard(self) -> None:
        if self.heard == len(self.said):
            for name in TABLES:
                query = f"SELECT * FROM {name} ORDER BY 1, 2, 3, 4"
                assert rows(self.often.conn, query) == rows(self.once.conn, query), name

    def teardown(self) -> None:
        apply_frames(self.often, self.same, self.said)
        self.often.number(self.numbered(self.often))
        self.heard = len(self.said)
        self.rows_are_the_same_once_all_is_heard()
        self.once.conn.close()
        self.often.conn.close()


Replay.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestReplay = Replay.TestCase
