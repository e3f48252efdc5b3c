"""What a run's frames say about it."""

from __future__ import annotations

import pytest

from ipc.frames import (
    Exit,
    IterationDone,
    IterationStart,
    Log,
    PausedBudget,
    PermissionApplied,
    PermissionRequest,
    PermissionWithdrawn,
    Ready,
    Resumed,
    RunnerFrame,
)
from supervisor.agents.facts import Facts, Pause
from supervisor.agents.lifecycle import Life

READY = Ready(protocol=1, seq=1)
START = IterationStart(iteration=1, seq=2)
ASK = PermissionRequest(request_id="a", tool="shell", seq=3)


def told(*frames: RunnerFrame) -> Facts:
    return Facts(Life.STARTING, 0.0).after(frames, 5.0)


LIVES: list[tuple[tuple[RunnerFrame, ...], Life]] = [
    ((READY,), Life.RUNNING),
    ((READY, START), Life.RUNNING),
    ((READY, START, ASK), Life.WAITING),
    ((READY, START, ASK, PermissionApplied(request_id="a", granted=True)), Life.RUNNING),
    ((READY, START, ASK, PermissionWithdrawn(request_id="a")), Life.RUNNING),
    ((READY, START, ASK, PermissionApplied(request_id="b", granted=True)), Life.WAITING),
    ((READY, START, ASK, IterationDone(iteration=1, status="cancelled")), Life.RUNNING),
    ((READY, PausedBudget(reason="cap")), Life.PAUSED),
    ((READY, PausedBudget(reason="cap"), Resumed()), Life.RUNNING),
    ((READY, PausedBudget(reason="cap"), START), Life.RUNNING),
    ((READY, PausedBudget(reason="cap"), ASK), Life.WAITING),
]


@pytest.mark.parametrize(("frames", "life"), LIVES)
def test_frames_move_the_life(frames: tuple[RunnerFrame, ...], life: Life) -> None:
    assert told(*frames).life is life


def test_two_questions_need_two_answers() -> None:
    facts = told(READY, START, ASK, PermissionRequest(request_id="b", tool="write"))
    assert facts.after([PermissionApplied(request_id="a", granted=False)], 6.0).life is Life.WAITING
    facts = facts.after([PermissionApplied(request_id="a", granted=False)], 6.0)
    assert facts.after([PermissionApplied(request_id="b", granted=True)], 7.0).life is Life.RUNNING


def test_the_facts_before_stay_as_they_were() -> None:
    before = told(READY, START, ASK)
    before.after([PermissionApplied(request_id="a", granted=True)], 9.0)
    assert before.questions == {"a": "shell"}
    assert before.life is Life.WAITING


def test_since_is_the_time_of_the_last_change_of_life() -> None:
    facts = told(READY)
    assert facts.after([START], 9.0).since == 5.0
    assert facts.after([START, ASK], 9.0).since == 9.0


def test_a_pause_keeps_its_words() -> None:
    paused = told(READY, PausedBudget(reason="run cost_usd 1", kind="budget", resume_at=7.0, seq=2))
    assert paused.pause == Pause("budget", "run cost_usd 1", 7.0, 2)
    assert paused.activity == "run cost_usd 1"


@pytest.mark.parametrize("status", ["ok", "no_change"])
def test_a_good_iteration_is_health(status: str) -> None:
    assert told(READY, START, IterationDone(iteration=1, status=status)).healthy
    assert not told(READY, START, IterationDone(iteration=1, status="error")).healthy


def test_the_last_word_about_why_is_kept() -> None:
    facts = told(
        READY, START, IterationDone(iteration=1, status="error", error="step x"), Exit(reason="failed")
    )
    assert (facts.said, facts.detail) == ("failed", "step x")
    assert told(READY, Log(level="error", msg="no program")).detail == "no program"
    assert told(READY, Log(level="info", msg="hello")).detail == ""
