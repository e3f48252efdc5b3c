"""Start times are those of psutil, counted from the machine's start."""

from __future__ import annotations

import os
import subprocess

import psutil
import pytest

from ipc.identity import boot_id, start_time


def test_a_start_time_is_psutils_less_the_boot_time() -> None:
    process = psutil.Process()
    assert start_time(os.getpid()) == pytest.approx(process.create_time() - psutil.boot_time(), abs=0.01)


def test_a_zombie_has_its_start_time_and_a_reaped_process_has_none() -> None:
    child = subprocess.Popen(["true"])
    started = start_time(child.pid)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert start_time(child.pid) == started
    child.wait()
    with pytest.raises(ProcessLookupError, match=str(child.pid)):
        start_time(child.pid)


def test_the_boot_id_stays_the_same() -> None:
    assert boot_id() == boot_id() != ""
