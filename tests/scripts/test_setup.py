import os
import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = ("bash", "cat", "dirname", "id")


@pytest.fixture
def machine(tmp_path: Path, tree: Path) -> Path:
    """A checkout that was never set up, beside a folder ``bin`` with the few programs that the machine has."""
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or "")
    (tmp_path / "checkout" / "scripts").mkdir(parents=True)
    shutil.copy(tree / "scripts" / "setup", tmp_path / "checkout" / "scripts")
    shutil.copy(tree / "pyproject.toml", tmp_path / "checkout")
    return tmp_path


def program(machine: Path, name: str, body: str) -> None:
    path = machine / "bin" / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def set_up(machine: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [machine / "checkout" / "scripts" / "setup", *arguments],
        env={"PATH": str(machine / "bin"), "HOME": str(machine)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def commands(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The commands that were named as the remedy, without what differs between machines."""
    assert done.returncode == 1
    lines = [line.partition("    ")[2].strip() for line in done.stderr.splitlines() if "    " in line]
    return [line.replace("sudo ", "").removeprefix("apt-get update && ") for line in lines]


def test_without_python_the_one_command_is_named(machine: Path) -> None:
    program(machine, "apt-get", "exit 1")
    done = set_up(machine)
    assert commands(done) == ["apt-get install -y python3-venv"]
    assert "here is no python3" in done.stderr


def test_a_python_too_old_is_named_with_the_newest_that_can_be_installed(machine: Path) -> None:
    program(machine, "python3", 'if [ "$1" = --version ]; then echo Python 3.9.2; fi; exit 1')
    program(machine, "apt-get", "exit 1")
    program(machine, "apt-cache", '[ "$2" = python3.12-venv ]')
    done = set_up(machine)
    assert commands(done) == ["apt-get install -y python3.12-venv"]
    assert "here is Python 3.9.2" in done.stderr


def test_a_python_without_venv_is_told_what_it_lacks(machine: Path) -> None:
    body = 'case "$3" in *ensurepip*) exit 1 ;; *version_info*print*|*print*) echo python3.11-venv ;; esac'
    program(machine, "python3", body)
    program(machine, "apt-get", "exit 1")
    assert commands(set_up(machine)) == ["apt-get install -y python3.11-venv"]


def test_nothing_is_left_where_nothing_could_be_set_up(machine: Path) -> None:
    before = sorted(os.listdir(machine / "checkout"))
    set_up(machine)
    assert sorted(os.listdir(machine / "checkout")) == before


def test_an_unknown_argument_is_answered_with_the_usage(machine: Path) -> None:
    done = set_up(machine, "--tests")
    assert done.returncode == 2
    assert done.stderr == "usage: scripts/setup [--test | --check]\n"
