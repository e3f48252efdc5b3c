from pathlib import Path

import pytest

from supervisor.paths import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with the folder for the user's templates and two of these: a runbook, and a prompt."""
    folder = tmp_path / "home"
    (folder / "templates").mkdir(parents=True)
    (folder / "templates" / "steps.md").write_text("+++\ninterval = 5\n+++\n```sh id=one\ntrue\n```\n")
    (folder / "templates" / "words.md").write_text('+++\nadapter = "process"\n+++\nSay hello.\n')
    return Home(folder, folder, folder)
