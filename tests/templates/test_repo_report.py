import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.templates.harness import Agent

GIT_ENV = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
}


def git(folder: Path, *arguments: str, given: bytes | None = None) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        input=given,
        env=os.environ | GIT_ENV,
        capture_output=True,
        timeout=120,
        check=True,
    )
    return done.stdout.decode().strip()


def commit(folder: Path, message: str = "more") -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", message)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "a repository"
    folder.mkdir()
    git(folder, "init", "--quiet")
    return folder


@pytest.fixture
def agent(tmp_path: Path, repository: Path) -> Agent:
    (tmp_path / "home").mkdir()
    return Agent("repo-report", repository, tmp_path / "home")


def report(agent: Agent, **limits: float) -> str:
    """The report after one iteration that had to ask for it."""
    done = agent.turn(**limits)  # type: ignore[arg-type]
    assert done.code == 0, done.printed
    assert done.asked == ["write REPORT.md into the agent's output folder"]
    return (agent.output / "REPORT.md").read_text()


def test_the_first_report_tells_languages_churn_todos_and_the_largest(agent: Agent, repository: Path) -> None:
    (repository / "main.py").write_text("# TODO: one\nx = 'MASTODON TODOS'\n    # FIXME(bob) two\n")
    (repository / "big.json").write_text("[" + "1," * 5000 + "1]")
    commit(repository, "first `commit`")
    (repository / "main.py").write_text("# TODO: one\n")
    commit(repository, "second")
    text = report(agent)
    assert "# Report on `a repository`" in text
    assert "| JSON | 1 | 10.0 kB | 99.9% |" in text
    assert "| Python | 1 | 12 B | 0.1% |" in text
    assert "- `main.py`: 2 commits, +3 -2" in text
    assert "- `big.json`: 10.0 kB" in text
    assert "## TODO and FIXME: 1\n\n- `main.py:1`: `TODO: one`" in text
    assert "2 files touched" in text


def test_scripts_without_an_ending_are_known_by_their_first_line(agent: Agent, repository: Path) -> None:
    (repository / "a").write_text("#!/usr/bin/env python3\n")
    (repository / "b").write_text("#!/bin/bash -e\n")
    (repository / "c").write_text("#! /usr/bin/perl\n")
    (repository / "LICENSE").write_text("All rights.\n")
    commit(repository)
    text = report(agent)
    assert {"Python", "Shell", "Perl", "other"} == {
        row.split("|")[1].strip()
        for row in text.splitlines()
        if row.startswith("| ") and "language" not in row
    }


def test_where_nothing_changed_nobody_is_asked(agent: Agent, repository: Path) -> None:
    commit(repository)
    report(agent)
    done = agent.turn()
    assert done.unchanged
    assert done.asked == []


def test_a_later_report_begins_with_what_changed(agent: Agent, repository: Path) -> None:
    (repository / "a.py").write_text("# TODO: old\n")
    commit(repository, "first")
    report(agent)
    (repository / "a.py").write_text("\n# FIXME: new\n")
    (repository / "b.sh").write_text("true\n")
    commit(repository, "second")
    text = report(agent)
    head = git(repository, "rev-parse", "--short", "HEAD")
    changed = text.split("## Changed since the last report")[1].split("\n## ")[0]
    assert f"- `commit {head} second`" in changed
    assert "- `new: a.py:2: FIXME: new`" in changed
    assert "- `gone: a.py:1: TODO: old`" in changed
    assert "- `Shell: +1 files, +5 bytes`" in changed


def test_a_report_that_was_denied_is_asked_for_again(agent: Agent, repository: Path) -> None:
    commit(repository)
    assert agent.turn(grant=False).asked
    assert not (agent.output / "REPORT.md").exists()
    assert "# Report" in report(agent)


def test_a_rewritten_history_is_told(agent: Agent, repository: Path) -> None:
    commit(repository, "first")
    commit(repository, "second")
    report(agent)
    git(repository, "commit", "--quiet", "--amend", "--allow-empty", "-m", "other")
    assert "history was rewritten" in report(agent)


def test_an_empty_repository_has_a_report(agent: Agent, repository: Path) -> None:
    assert "There is no commit yet." in report(agent)
    commit(repository, "first")
    assert "- `the first commit is there`" in report(agent)


def test_outside_a_repository_the_step_fails_and_names_the_folder(agent: Agent, tmp_path: Path) -> None:
    agent.cwd = tmp_path / "home"
    done = agent.turn()
    assert done.code == 1
    assert f"{agent.cwd} is no git repository (git init makes one)" in done.printed
    assert done.asked == []


def test_a_bare_repository_is_refused(agent: Agent, tmp_path: Path) -> None:
    agent.cwd = tmp_path / "bare.git"
    agent.cwd.mkdir()
    git(agent.cwd, "init", "--quiet", "--bare")
    assert "is a bare repository" in agent.turn().printed


def test_names_and_texts_that_would_deceive_are_shown_for_what_they_are(
    agent: Agent, repository: Path
) -> None:
    names = [
        b"with space.py",
        b"new\nline.py",
        b"\xff\xfe.py",
        "ümläut.py".encode(),
        b"`tick`.py",
        b"\x1b[2J.py",
        b"-n.py",
        "\u202egpj.py".encode(),
        b"tab\t.py",
    ]
    for name in names:
        with open(os.fsencode(repository) + b"/" + name, "wb") as file:
            file.write(b"# TODO: \x1b[31mred\xff ``` <script>\n")
    commit(repository)
    text = report(agent)
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "## TODO and FIXME: 9" in text
    for shown in (
        "with space.py:1",
        "new\\nline.py:1",
        "\\xff\\xfe.py:1",
        "ümläut.py:1",
        "\\x1b[2J.py:1",
        "\\u202egpj.py:1",
    ):
        assert f"- `{shown}`: " in text
    assert "- `` `tick`.py:1 ``: " in text
    assert agent.turn().unchanged


def test_binary_files_and_links_hold_no_todo(agent: Agent, repository: Path) -> None:
    (repository / "blob.bin").write_bytes(b"\0TODO: no\n")
    (repository / "link").symlink_to("/etc/passwd")
    (repository / "dangling").symlink_to("nowhere")
    commit(repository)
    text = report(agent)
    assert "## TODO and FIXME: 0" in text
    assert "1 files, 10 B; 2 symbolic links" in text


def test_a_line_of_megabytes_is_cut(agent: Agent, repository: Path) -> None:
    (repository / "min.js").write_text("x" * 3_000_000 + " TODO: " + "y" * 3_000_000)
    commit(repository)
    assert len(report(agent)) < 5_000


def test_submodules_are_counted_and_not_entered(agent: Agent, repository: Path, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    git(inner, "init", "--quiet")
    (inner / "a.py").write_text("# TODO: theirs\n")
    commit(inner)
    git(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "sub")
    git(repository, "config", "submodule.recurse", "true")
    commit(repository)
    text = report(agent)
    assert "1 submodules are not counted" in text
    assert "## TODO and FIXME: 0" in text


def test_the_oldest_commit_of_a_shallow_clone_does_not_count_as_churn(
    agent: Agent, repository: Path, tmp_path: Path
) -> None:
    for number in range(3):
        (repository / f"{number}.py").write_text("x\n")
        commit(repository)
    git(tmp_path, "clone", "--quiet", "--depth=2", repository.as_uri(), "shallow")
    agent.cwd = tmp_path / "shallow"
    text = report(agent)
    assert "the clone is shallow" in text
    assert "1 files touched, 1 lines added" in text


def test_a_subfolder_is_reported_on_by_itself(agent: Agent, repository: Path) -> None:
    (repository / "sub").mkdir()
    (repository / "sub" / "a.py").write_text("# TODO: in\n")
    (repository / "b.py").write_text("# TODO: out\n")
    commit(repository)
    agent.cwd = repository / "sub"
    text = report(agent)
    assert "- `a.py`: 1 commit, +1 -0" in text
    assert "## TODO and FIXME: 1" in text


def test_nothing_that_the_repository_configures_is_run(
    agent: Agent, repository: Path, tmp_path: Path
) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch '{tmp_path}/sprung'\ncat\n")
    trap.chmod(0o755)
    (repository / "a.py").write_text("# TODO\n")
    (repository / ".gitattributes").write_text("*.py diff=evil filter=evil\n")
    commit(repository)
    for name in (
        "core.fsmonitor",
        "core.pager",
        "diff.evil.textconv",
        "diff.evil.command",
        "diff.external",
        "gpg.program",
    ):
        git(repository, "config", name, str(trap))
    git(repository, "config", "log.showSignature", "true")
    report(agent)
    assert not (tmp_path / "sprung").exists()


def test_the_repository_is_left_as_it_was(agent: Agent, repository: Path) -> None:
    (repository / "a.py").write_text("x\n")
    commit(repository)
    os.utime(repository / "a.py", (1, 1))  # stat data is stale, which tempts git to refresh the index
    before = {path: path.stat().st_mtime_ns for path in repository.rglob("*")}
    report(agent)
    assert {path: path.stat().st_mtime_ns for path in repository.rglob("*")} == before


@pytest.mark.slow
def test_a_hundred_thousand_files_take_seconds(agent: Agent, repository: Path) -> None:
    stream = [b"commit refs/heads/big\ncommitter a <a@example.org> 1 +0000\ndata 3\nbig\n"]
    for number in range(100_000):
        body = b"# TODO: %d\n" % number if number % 1000 == 0 else b"x = %d\n" % number
        stream.append(b"M 100644 inline d%d/f%d.py\ndata %d\n%s\n" % (number // 500, number, len(body), body))
    git(repository, "fast-import", "--quiet", given=b"".join(stream))
    git(repository, "checkout", "--quiet", "big")
    began = time.monotonic()
    text = report(agent, seconds=90)
    assert time.monotonic() - began < 30
    assert "100000 files" in text
    assert "## TODO and FIXME: 100" in text
    assert "touches 100000 files: its lines are not counted" in text
