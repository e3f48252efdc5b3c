"""Whether and when a run is followed by another."""

from __future__ import annotations

import pytest

from supervisor.agents.lifecycle import RESTARTABLE, TERMINAL, Life, Verdict
from supervisor.agents.restart import JITTER, Again, Decision, Held, Idle, Limits, backoff, decide

CRASH = Verdict(Life.CRASHED, "killed by SIGKILL")


def after(policy: str, verdict: Verdict = CRASH, **known: object) -> Decision:
    given: dict[str, object] = {
        "wanted": True, "crashes": 0, "healthy": False, "chance": 0.0, "limits": Limits(),
    }  # fmt: skip
    return decide(policy, verdict, **(given | known))  # type: ignore[arg-type]


@pytest.mark.parametrize("state", sorted(TERMINAL, key=lambda state: state.value))
@pytest.mark.parametrize("policy", ["never", "on-crash", "always"])
def test_the_policy_says_which_ends_are_followed(policy: str, state: Life) -> None:
    followed = isinstance(after(policy, Verdict(state, "")), Again)
    assert followed == (policy == "always" or (policy == "on-crash" and state in RESTARTABLE))


@pytest.mark.parametrize("policy", ["never", "on-crash", "always"])
def test_what_is_not_wanted_is_never_followed(policy: str) -> None:
    assert after(policy, wanted=False) == Idle()


def test_crashes_in_a_row_are_spaced_and_the_sixth_is_held() -> None:
    delays, crashes = [], 0
    while isinstance(decision := after("on-crash", crashes=crashes), Again):
        delays.append(decision.delay)
        crashes = decision.crashes
    assert delays == [0.0, 1.0, 2.0, 4.0, 8.0]
    assert isinstance(decision, Held)
    assert decision.crashes == 6
    assert "killed by SIGKILL" in decision.reason


def test_health_clears_the_count() -> None:
    assert after("on-crash", crashes=5, healthy=True) == Again(delay=0.0, crashes=1)


def test_an_uncounted_crash_leaves_the_count() -> None:
    lost = Verdict(Life.CRASHED, "it lost its supervisor", counted=False)
    assert after("on-crash", lost, crashes=5) == Again(delay=backoff(5, 0.0, 300.0), crashes=5)


@pytest.mark.parametrize("policy", ["never", "on-crash", "always"])
def test_a_run_that_must_be_looked_at_is_held_whatever_the_policy(policy: str) -> None:
    assert after(policy, held="it died while paused") == Held("it died while paused", 0)
    assert not isinstance(after(policy, Verdict(Life.SUCCEEDED, ""), held="it was paused"), Held)


def test_success_under_always_begins_a_lineage_of_its_own_and_never_spins() -> None:
    decision = after("always", Verdict(Life.SUCCEEDED, "completed"))
    assert isinstance(decision, Again)
    assert decision.fresh
    assert decision.delay >= 1.0


@pytest.mark.parametrize("crashes", range(40))
def test_a_delay_has_bounds(crashes: int) -> None:
    for chance in (0.0, 0.5, 0.999):
        delay = backoff(crashes, chance, 300.0)
        assert 0.0 <= delay <= 300.0
        assert delay <= backoff(crashes, 0.0, 300.0) * (1 + JITTER)
