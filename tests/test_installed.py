"""What only the built wheel can show; scripts/test runs the tests against it."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import ipc
import runner
import supervisor
from supervisor.settings.templates import builtin_folder

ENVIRONMENT = os.environ.get("AGENTD_TEST_INSTALLED")
pytestmark = pytest.mark.skipif(ENVIRONMENT is None, reason="this is the tree, not an installed wheel")


def test_the_packages_under_test_are_the_installed_ones() -> None:
    for package in (supervisor, runner, ipc):
        folder = Path(package.__file__ or "").parent
        assert folder.parent.name == "site-packages"
        assert folder.is_relative_to(str(ENVIRONMENT))


def test_the_templates_are_in_the_wheel(tree: Path) -> None:
    assert builtin_folder() == Path(supervisor.__file__ or "").parent / "templates"
    expected = {path.name: path.read_bytes() for path in (tree / "templates").glob("*.md")}
    assert {path.name: path.read_bytes() for path in builtin_folder().iterdir()} == expected


def test_nothing_else_came_with_the_wheel() -> None:
    found = {path.name for path in Path(supervisor.__file__ or "").parent.parent.iterdir()}
    assert not found & {"tests", "scripts", "templates"}


@pytest.mark.parametrize("name", ["agentctl", "agentd"])
def test_the_commands_are_there_and_can_be_loaded(name: str) -> None:
    (entry,) = entry_points(group="console_scripts", name=name)
    assert callable(entry.load())
    assert (Path(sys.executable).parent / name).is_file()


def test_the_runner_starts_from_the_wheel_wherever_one_is(tmp_path: Path) -> None:
    (tmp_path / "runner").mkdir()
    (tmp_path / "runner" / "__init__.py").write_text("raise SystemExit(99)")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "runner", "--pipe"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2  # no init
