"""The page of the protocol says what the catalogue says."""

import subprocess
import sys
from pathlib import Path

import pytest

from ipc import page
from ipc.frames import CATALOGUE
from ipc.talk import STEPS, Talk

PAGE = Path(page.__file__).with_name("PROTOCOL.md")


def test_the_page_is_what_the_catalogue_prints() -> None:
    assert PAGE.read_text("utf-8") == page.text(), "print it again: python -m ipc.page > ipc/PROTOCOL.md"


def test_the_command_prints_the_page() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ipc.page"],
        capture_output=True,
        check=True,
        timeout=30,
        cwd=PAGE.parent.parent,
        env={"PYTHONUTF8": "1"},
    )
    assert done.stdout == PAGE.read_bytes()
    assert done.stderr == b""


def test_every_frame_and_every_field_is_on_the_page() -> None:
    text = PAGE.read_text("utf-8")
    for op, cls in CATALOGUE.items():
        section = text.split(f"\n### `{op}`", 1)[1].split("\n#", 1)[0]
        for name, kind, *_ in cls.PLAN:
            assert f"| `{name}` | {kind.name.replace('|', chr(92) + '|')}" in section


def test_a_changed_table_changes_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STEPS[Talk.IDLE], "usage", Talk.IDLE)
    assert page.text() != PAGE.read_text("utf-8")


def test_a_frame_that_is_taken_out_changes_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(CATALOGUE, "notify")
    assert page.text() != PAGE.read_text("utf-8")


def test_every_state_is_explained() -> None:
    assert set(page.TALK) == set(Talk)


def test_no_line_of_prose_is_too_long() -> None:
    assert all(len(line) <= 120 for line in page.RULES.splitlines())
