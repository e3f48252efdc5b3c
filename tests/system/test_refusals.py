"""Bad input gets one clear error with the name of the thing and the remedy, and leaves no row behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.home import Done, Home
from tests.system.rpc import PATIENCE

FRONT = {
    "unclosed": ('+++\nadapter = "runbook"\n```sh\ntrue\n```\n', "+++"),
    "no TOML": ("+++\nadapter = runbook\n+++\n```sh\ntrue\n```\n", "front matter"),
    "unknown key": ("+++\ncolour = 1\n+++\n```sh\ntrue\n```\n", "colour"),
    "wrong type": ("+++\ninterval = true\n+++\n```sh\ntrue\n```\n", "interval"),
    "says what it cannot": ("+++\nautostart = true\n+++\n```sh\ntrue\n```\n", "autostart"),
}


def refused(home: Home, *words: str) -> Done:
    """Start what must be refused: exit 2, and neither run nor agent nor event."""
    before = (
        home.rows("SELECT (SELECT count(*) FROM agent_runs) r, (SELECT count(*) FROM agents) a"),
        home.now,
    )
    done = home.ctl("start", "new", *words)
    assert done.code == 2, str(done)
    after = home.rows("SELECT (SELECT count(*) FROM agent_runs) r, (SELECT count(*) FROM agents) a"), home.now
    assert after == before
    assert not home.output("new").exists()
    return done


@pytest.fixture
def unwritable(tmp_path: Path) -> Iterator[Path]:
    """A folder in which we may not write; for root only a read-only file system has one."""
    folder = tmp_path / "sealed"
    folder.mkdir()
    folder.chmod(0o500)
    for candidate in (folder, Path("/proc/sys"), Path("/sys/fs")):
        if candidate.is_dir() and not os.access(candidate, os.W_OK):
            yield candidate
            break
    else:
        pytest.skip("this user may write everywhere")
    folder.chmod(0o700)


def test_a_template_that_is_missing(standing: Home) -> None:
    done = refused(standing, "--template", "nowhere")
    assert "nowhere" in done.err
    assert "agentctl templates" in done.err or "templates" in done.err


def test_a_template_by_a_path_that_leads_nowhere(standing: Home, tmp_path: Path) -> None:
    assert "gone.md" in refused(standing, "--template", str(tmp_path / "gone.md")).err


def test_a_template_that_is_not_utf8(standing: Home, tmp_path: Path) -> None:
    path = tmp_path / "latin.md"
    path.write_bytes("```sh\necho grüß\n```\n".encode("latin-1"))
    done = refused(standing, "--template", str(path))
    assert "UTF-8" in done.err
    assert "latin.md" in done.err


def test_a_template_without_program(standing: Home, tmp_path: Path) -> None:
    path = tmp_path / "prose.md"
    path.write_text("# Only words\n\n```json\n{}\n```\n")
    done = refused(standing, "--template", str(path))
    assert "without program" in done.err
    assert "```sh" in done.err


@pytest.mark.parametrize("name", FRONT)
def test_a_template_with_bad_front_matter(standing: Home, tmp_path: Path, name: str) -> None:
    text, named = FRONT[name]
    path = tmp_path / "front.md"
    path.write_text(text)
    done = refused(standing, "--template", str(path))
    assert named in done.err
    assert "front.md" in done.err


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../b", "..", "/etc/passwd", "UPPER", "-x", "a" * 65, "a\nb"]
)
def test_an_agent_name_that_is_no_name(standing: Home, name: str) -> None:
    before = standing.now
    done = standing.ctl("start", "--template", "any", "--", name)
    assert done.code == 2, str(done)
    assert standing.now == before
    assert not (standing.folder.parent / "evil").exists()


def test_a_folder_that_is_missing(standing: Home, tmp_path: Path) -> None:
    done = refused(standing, "--template", "any", "--cwd", str(tmp_path / "none"))
    assert str(tmp_path / "none") in done.err
    assert "mkdir" in done.err


def test_a_folder_that_is_a_file(standing: Home, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "no folder" in refused(standing, "--template", "any", "--cwd", str(tmp_path / "file")).err


def test_a_folder_that_is_not_writable(standing: Home, unwritable: Path) -> None:
    assert "not writable" in refused(standing, "--template", "any", "--cwd", str(unwritable)).err


def test_a_command_that_is_not_on_path(standing: Home) -> None:
    done = refused(
        standing, "--template", "any", "--adapter", "process", "--set", "process.command=no-such-program"
    )
    assert "no-such-program" in done.err
    assert "PATH" in done.err


def test_all_faults_are_told_at_once(standing: Home, tmp_path: Path) -> None:
    done = refused(
        standing, "--template", "any", "--cwd", str(tmp_path / "none"), "--set", "launch=['no-such-launcher']"
    )
    assert str(tmp_path / "none") in done.err
    assert "no-such-launcher" in done.err


def test_an_environment_variable_that_is_not_set(standing: Home) -> None:
    assert (
        "NOT_SET_ANYWHERE" in refused(standing, "--template", "any", "--set", "env=['NOT_SET_ANYWHERE']").err
    )


def test_a_folder_with_modules_called_like_ours_is_worked_in_and_nothing_of_it_is_run(
    standing: Home, tmp_path: Path
) -> None:
    for name in ("runner", "ipc", "supervisor"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(
            f"open({str(tmp_path / 'RAN')!r}, 'a').write('{name}')\n"
        )
        (tmp_path / name / "__main__.py").write_text("raise SystemExit(9)\n")
    for name in ("trio", "orjson", "json", "signal", "sitecustomize", "usercustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'RAN')!r}, 'a').write('{name}')\n")
    standing.template("inside", "+++\nmax_iterations = 2\ninterval = 0\n+++\n```sh\nls\n```\n")
    started = standing.ctl("start", "inside", "--template", "inside", "--cwd", str(tmp_path))
    assert started.code == 0, str(started)
    waited = standing.call("agent.wait", name="inside", timeout_s=PATIENCE - 5)
    assert waited["state"] == "succeeded", waited
    standing.ok("tail", "inside")
    assert not (tmp_path / "RAN").exists()


def test_the_command_line_runs_nothing_of_the_folder_it_is_called_in(standing: Home, tmp_path: Path) -> None:
    for name in ("orjson.py", "docopt.py", "supervisor.py"):
        (standing.folder / name).write_text("raise SystemExit(77)\n")
    try:
        standing.ok("status")
    finally:
        for name in ("orjson.py", "docopt.py", "supervisor.py"):
            (standing.folder / name).unlink()


def test_a_definition_too_large_for_the_first_line(standing: Home) -> None:
    text = "p" * 1_040_000
    (standing.folder / "large.md").write_text(f"```sh\ntrue\n```\n{text}\n")
    done = refused(
        standing,
        "--template",
        str(standing.folder / "large.md"),
        "--adapter",
        "process",
        "--set",
        "process.command=cat",
    )
    assert "bytes" in done.err
