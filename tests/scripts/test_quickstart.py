"""The main job, as a stranger runs it, but for the installation: scripts/test has done that."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.skipif("AGENTD_TEST_INSTALLED" not in os.environ, reason="needs agentctl, installed")

GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org")


class Stage:
    """A repository, a checkout whose ``.venv`` is that of the tests, and the tours given there."""

    def __init__(self, folder: Path, tree: Path) -> None:
        self.root = folder / "checkout"
        self.root.mkdir()
        (self.root / ".venv").symlink_to(Path(sys.executable).parent.parent)
        self.script = tree / "scripts" / "quickstart.py"
        self.repository = folder / "some repository"
        self.repository.mkdir()
        (self.repository / "main.py").write_text("# TODO: more\n")
        for words in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "-m", "first")):
            subprocess.run([*GIT, *words], cwd=self.repository, check=True, timeout=30)
        self.homes: list[Path] = []

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a tour, ready to be answered."""
        return subprocess.Popen(
            [sys.executable, "-I", self.script, self.root, self.repository, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def tour(self, *arguments: str, answer: str = "") -> tuple[int, str]:
        """Give a whole tour; returns its exit code and what was printed."""
        with self.begin(*arguments) as tour:
            told, _ = tour.communicate(answer, timeout=100)
            self.remember(told)
            return tour.returncode, told

    def remember(self, told: str) -> None:
        self.homes += [Path(found) for found in re.findall(r"supervisor's home is (\S+)\.", told)]

    @property
    def report(self) -> Path:
        return self.homes[-1] / "output" / "repo-report" / "REPORT.md"

    def left(self) -> list[psutil.Process]:
        """Processes of the tours' homes."""
        found = []
        for process in psutil.process_iter():
            try:
                if Path(process.environ().get("AGENTD_HOME", "/")) in self.homes:
                    found.append(process)
            except psutil.Error:
                continue
        return found


@pytest.fixture
def stage(tmp_path: Path, tree: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path, tree)
    yield stage
    for process in stage.left():
        process.kill()
    for home in stage.homes:
        shutil.rmtree(home, ignore_errors=True)


def test_with_yes_the_report_is_written_and_then_nothing_has_changed(stage: Stage) -> None:
    code, told = stage.tour("--yes")
    assert code == 0, told
    assert "main.py:1`: `TODO: more" in stage.report.read_text()
    assert "iteration 1: ok" in told
    assert "iteration 2: no_change" in told
    assert told.count("$ agentctl permissions") == 1
    assert stage.left() == []


def test_it_can_be_given_again(stage: Stage) -> None:
    assert [stage.tour("--yes")[0], stage.tour("--yes")[0]] == [0, 0]
    assert len(set(stage.homes)) == 2


def test_the_person_at_the_terminal_answers(stage: Stage) -> None:
    code, told = stage.tour(answer="what?\ny\n")
    assert code == 0, told
    assert 'cp "$AGENTD_STATE/draft.md" "$AGENTD_OUTPUT/REPORT.md.new"' in told
    assert stage.report.exists()


@pytest.mark.parametrize(("answer", "said"), [("n\n", "was denied"), ("", "nobody is there to answer")])
def test_without_a_yes_nothing_is_written_and_nothing_is_left(stage: Stage, answer: str, said: str) -> None:
    code, told = stage.tour(answer=answer)
    assert code == 1
    assert said in told
    assert not stage.report.exists()
    assert stage.left() == []


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_at_the_question_it_leaves_nothing(stage: Stage, signum: signal.Signals) -> None:
    with stage.begin() as tour:
        assert tour.stdout is not None
        told = ""
        while "May it?" not in told:
            told += (character := tour.stdout.read(1))
            assert character, told
        stage.remember(told)
        # Between the prompt and the read a signal would only be seen once there is an answer.
        while psutil.Process(tour.pid).status() != psutil.STATUS_SLEEPING:
            assert tour.poll() is None
        tour.send_signal(signum)
        told = tour.stdout.read()
        assert tour.wait(timeout=100) == 130
    assert "interrupted" in told
    assert stage.left() == []


def test_with_keep_the_supervisor_stays_until_it_is_told_to_go(stage: Stage) -> None:
    code, told = stage.tour("--yes", "--keep")
    assert code == 0, told
    assert stage.left()
    agentctl = stage.root / ".venv" / "bin" / "agentctl"
    env = os.environ | {"AGENTD_HOME": str(stage.homes[-1])}
    subprocess.run([agentctl, "shutdown"], env=env, check=True, timeout=60, stdout=subprocess.DEVNULL)
    psutil.wait_procs(stage.left(), timeout=10)
    assert stage.left() == []


@pytest.mark.parametrize(
    ("folder", "said"), [("none", "No such file"), ("file", "is no folder"), ("empty", "is no git")]
)
def test_a_folder_that_will_not_do_is_refused_before_anything_starts(
    stage: Stage, tmp_path: Path, folder: str, said: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    stage.repository = tmp_path / folder
    code, told = stage.tour("--yes")
    assert code == 2
    assert said in told
    assert stage.homes == []
