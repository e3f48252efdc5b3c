"""The supervisor and the runner write into a run's folder at the same time and lose nothing of each other's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runner.log import Log
from supervisor.agents import leavings as module
from supervisor.agents.leavings import LOG, STRAY, Leavings
from supervisor.ctl.runlog import RunLog


def test_stray_output_and_the_runners_log_do_not_overwrite_each_other(tmp_path: Path) -> None:
    leavings, log = Leavings(tmp_path), Log(tmp_path)
    for number in range(40):
        leavings.add_strays([f"stray {number}"])
        log.note(f"note {number}")
    log.close()
    with RunLog(tmp_path) as read:
        lines = list(read.read())
    for stream, word in (("stray", "stray"), ("agentd", "note")):
        kept = [line.text for line in lines if line.stream == stream]
        assert kept == [f"{word} {number}" for number in range(40)]
    assert sorted(line.t for line in lines) == [line.t for line in lines]


def test_a_run_that_only_prints_strays_is_kept_within_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STRAY_LIMIT", 1_000)
    leavings = Leavings(tmp_path)
    for _ in range(100):
        leavings.add_strays(["x" * 100])
    assert leavings.strays == 100
    assert 1_000 < (tmp_path / STRAY).stat().st_size < 1_200
    assert not (tmp_path / LOG).exists()


@pytest.mark.parametrize("fresh", [LOG, STRAY])
def test_a_log_is_as_old_as_the_newer_of_its_two_files(tmp_path: Path, fresh: str) -> None:
    leavings = Leavings(tmp_path)
    assert leavings.log_age() == float("inf")
    for name in (LOG, STRAY):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    assert leavings.log_age() > 1e6
    os.utime(tmp_path / fresh)
    assert leavings.log_age() < 60
