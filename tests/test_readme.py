"""What the README says is so."""

import os
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

from ipc.program import parse
from supervisor import errors
from supervisor.paths import Home
from supervisor.records.db import memory_tx
from supervisor.settings.environment import PASS_ON, PASS_ON_PREFIXES
from supervisor.settings.faults import Faults
from supervisor.settings.keys import ADAPTER_KEYS, AGENT_KEYS, SUPERVISOR_KEYS, Key, check_agent
from supervisor.settings.templates import available
from supervisor.settings.toml import load


@pytest.fixture(scope="session")
def readme(tree: Path) -> str:
    return (tree / "README.md").read_text(encoding="utf-8")


def table(readme: str, head: str) -> dict[str, list[str]]:
    """The rows of the table whose first column is called ``head``, by their first cell without backticks."""
    rows = readme.partition(f"| {head} |")[2].partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]
    return {first.strip("`"): rest for first, *rest in cells}


def fenced(readme: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)


def documented_default(key: Key) -> str:
    match key.default:
        case None:
            return ""
        case bool():
            return f"`{str(key.default).lower()}`"
        case float():
            return f"`{key.default:g}`"
        case str():
            return f'`"{key.default}"`'
        case tuple():
            return "`[]`"
        case _:
            return f"`{key.default}`"


SAID_IN_WORDS = {"template", "cwd", "prompt"}


@pytest.mark.parametrize(
    ("head", "keys"), [("key of `[agent.NAME]`", AGENT_KEYS), ("key of `[supervisor]`", SUPERVISOR_KEYS)]
)
def test_every_setting_is_documented_with_its_default(readme: str, head: str, keys: dict[str, Key]) -> None:
    rows = table(readme, head)
    assert list(rows) == list(keys)
    for name, (default, _) in rows.items():
        assert name in SAID_IN_WORDS or default == documented_default(keys[name]), name


def test_the_adapters_and_their_options_are_documented(readme: str) -> None:
    for adapter, keys in ADAPTER_KEYS.items():
        assert f"`{adapter}`" in readme
        for option in keys:
            assert f"`{option}`" in readme


def test_every_exit_code_is_documented(readme: str) -> None:
    codes = {"0", str(errors.INTERRUPTED), *(str(kind.exit_code) for kind in errors.KINDS.values())}
    assert set(table(readme, "code")) == codes


def test_every_verb_is_documented(readme: str) -> None:
    from supervisor.ctl.main import VERBS

    cells = " ".join(cell for row in table(readme, "to").values() for cell in row)
    assert sorted(re.findall(r"`([a-z]+)`", cells)) == sorted({*VERBS} - {"status"} | {"status"})


def test_the_commands_shown_are_commands(readme: str, tree: Path) -> None:
    from supervisor.ctl.main import find, parse

    first, *_ = consoles = fenced(readme, "console")
    assert first.count("$ agentctl") == 3
    shown = [shlex.split(line[2:], comments=True) for line in "".join(consoles).splitlines()]
    shown += [shlex.split(code) for code in re.findall(r"`((?:agentctl|scripts/)[^`\n]*)`", readme)]
    assert ["agentctl", "budget"] in shown
    for program, *words in shown:
        if program == "agentctl" and words and words[0] != "help":
            verb, *rest = words
            parse(verb, find(verb)[0], rest)
        elif program.startswith("scripts/"):
            assert os.access(tree / program, os.X_OK), program


def test_every_variable_of_a_step_is_documented(readme: str, tree: Path) -> None:
    given = {
        name
        for path in (tree / "runner" / "adapters").glob("*.py")
        for name in re.findall(r"\bAGENTD_[A-Z_]+", path.read_text(encoding="utf-8"))
    }
    assert {"AGENTD_MESSAGES", "AGENTD_STEP"} <= given
    assert sorted(name for name in given if f"`{name}`" not in readme) == []


def test_every_script_is_told_of(readme: str, tree: Path) -> None:
    changelog = (tree / "CHANGELOG.md").read_text(encoding="utf-8")
    for path in (tree / "scripts").iterdir():
        if path.is_file() and not path.suffix:
            assert f"`scripts/{path.name}`" in changelog
            assert f"scripts/{path.name}" in readme


def test_every_built_in_template_is_documented(readme: str, tmp_path: Path) -> None:
    assert set(table(readme, "template")) == set(available(Home(tmp_path, tmp_path, tmp_path)))


def test_every_variable_that_is_passed_on_is_documented(readme: str) -> None:
    told = readme.partition("Children get ")[2].partition("nothing else.")[0]
    for name in PASS_ON - {"LANGUAGE"}:
        assert f"`{name}`" in told or "proxy" in name.lower(), name
    for prefix in PASS_ON_PREFIXES:
        assert f"`{prefix}*`" in told


def test_the_settings_shown_are_settings(readme: str, tmp_path: Path) -> None:
    examples = fenced(readme, "toml")
    assert len(examples) == 3
    for example in examples:
        path = tmp_path / "agentd.toml"
        path.write_text(example, encoding="utf-8")
        assert load(path).agents


def test_the_template_shown_is_a_template(readme: str) -> None:
    (example,) = re.findall(r"^````markdown\n(.*?)^````$", readme, re.DOTALL | re.MULTILINE)
    program = parse(example, name="README.md")
    faults = Faults()
    front: dict[str, Any] = check_agent("", program.front, faults)
    assert not faults
    assert front["interval"] == 600.0
    assert [(step.id, step.ask) for step in program.steps] == [
        ("look", None),
        ("clean", "the disk is over 90 % full"),
    ]


def test_the_queries_shown_run_on_the_schema(readme: str) -> None:
    (example,) = fenced(readme, "sql")
    queries = [query for query in re.sub(r"--.*", "", example).split(";") if query.strip()]
    assert len(queries) == 4
    conn = memory_tx().conn
    for query in [*queries, *re.findall(r"agentd\.db '(SELECT [^']*)'", readme)]:
        assert list(conn.execute(query)) == []


def test_links_within_the_page_lead_somewhere(readme: str) -> None:
    titles = re.findall(r"^#+ (.*)$", readme, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
    assert set(re.findall(r"\]\(#([^)]*)\)", readme)) <= anchors


def test_the_version_and_the_changelog_belong_together(tree: Path) -> None:
    project = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (tree / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in changelog or f"## [{project['version']}]" in changelog
