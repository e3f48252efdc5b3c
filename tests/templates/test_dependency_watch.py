import json
from pathlib import Path

import pytest

from tests.templates.harness import Agent


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


@pytest.fixture
def agent(tmp_path: Path, project: Path) -> Agent:
    (tmp_path / "home").mkdir()
    return Agent("dependency-watch", project, tmp_path / "home")


def report(agent: Agent) -> str:
    done = agent.turn()
    assert done.code == 0, done.printed
    assert not done.unchanged
    return (agent.output / "DEPENDENCIES.md").read_text()


def section(text: str, title: str) -> list[str]:
    lines = text.partition(f"## {title}\n")[2].partition("\n## ")[0].splitlines()
    return [line[3:-1] for line in lines if line.startswith("- `")]


def test_what_is_not_pinned_is_listed_for_each_kind_of_manifest(agent: Agent, project: Path) -> None:
    (project / "requirements.txt").write_text(
        "# tools\ntrio==0.35.0\norjson>=3 ; python_version > '3'\npsutil\n"
        "-r other.txt\napsw[x]~=3.54 \\\n  --hash=sha256:aa\n"
    )
    (project / "pyproject.toml").write_text('[project]\ndependencies = ["attrs", "idna==3.20"]\n')
    (project / "package.json").write_text(
        '{"dependencies": {"left-pad": "^1.0.0", "exact": "1.2.3", "any": "*"}}'
    )
    (project / "Cargo.toml").write_text(
        '[dependencies]\nserde = "1.0"\nrand = "=0.8.5"\nown = { path = "../own" }\n'
    )
    (project / "go.mod").write_text(
        "module m\nrequire (\n\texample.org/x v1.2.3 // indirect\n)\nrequire example.org/y v0.1.0\n"
    )
    assert section(report(agent), "Not pinned") == [
        "Cargo.toml: serde 1.0",
        "package.json: any *",
        "package.json: left-pad ^1.0.0",
        "pyproject.toml: attrs (any version)",
        "requirements.txt: apsw ~=3.54",
        "requirements.txt: orjson >=3",
        "requirements.txt: psutil (any version)",
    ]


def test_a_lock_file_beside_or_above_pins(agent: Agent, project: Path) -> None:
    (project / "sub").mkdir()
    (project / "sub" / "package.json").write_text('{"dependencies": {"a": "^1.0.0"}}')
    (project / "package-lock.json").write_text(
        '{"packages": {"": {}, "node_modules/a": {"version": "1.0.1"}}}'
    )
    assert "Everything declared is pinned or locked." in report(agent)


def test_what_changed_since_the_last_time_is_told_also_inside_a_lock_file(
    agent: Agent, project: Path
) -> None:
    (project / "requirements.txt").write_text("a==1\nb==1\n")
    (project / "Cargo.lock").write_text('[[package]]\nname = "serde"\nversion = "1.0.1"\n')
    report(agent)
    (project / "requirements.txt").write_text("a==2\nc==1\n")
    (project / "Cargo.lock").write_text('[[package]]\nname = "serde"\nversion = "1.0.2"\n')
    done = agent.turn()
    assert done.printed.splitlines() == [
        "Cargo.lock: serde 1.0.1 -> 1.0.2",
        "requirements.txt: a ==1 -> ==2",
        "requirements.txt: b ==1 removed",
        "requirements.txt: c ==1 added",
    ]
    assert done.texts("notify")
    assert agent.turn().unchanged


def test_what_is_installed_is_compared_with_what_is_declared(agent: Agent, project: Path) -> None:
    packages = project / ".venv" / "lib" / "python3.11" / "site-packages"
    for name in ("Some_Package-1.0", "other-2.1"):
        (packages / f"{name}.dist-info").mkdir(parents=True)
    (project / ".venv" / "pyvenv.cfg").touch()
    (project / "requirements.txt").write_text("some-package==1.0.0\nother>=2.2\nmissing==1\n")
    assert section(report(agent), "Declared and installed") == [
        "requirements.txt: missing ==1 is not installed",
        "requirements.txt: other >=2.2 is declared, 2.1 is installed",
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("package.json", b"{"),
        ("package.json", b"[]"),
        ("package.json", b'{"dependencies": 3}'),
        ("package.json", b"[" * 100_000),
        ("pyproject.toml", b"\xff"),
        ("pyproject.toml", b"project = 3"),
        ("Cargo.lock", b"package = [3]"),
        ("Pipfile.lock", b'{"default": []}'),
    ],
)
def test_a_file_that_is_not_understood_is_named_and_the_rest_goes_on(
    agent: Agent, project: Path, name: str, content: bytes
) -> None:
    (project / name).write_bytes(content)
    (project / "requirements.txt").write_text("a\n")
    text = report(agent)
    assert section(text, "Not pinned") == ["requirements.txt: a (any version)"]
    assert section(text, "Not understood")[0].startswith(f"{name}: not understood: ")


def test_links_and_strange_names_do_no_harm(agent: Agent, project: Path) -> None:
    (project / "package.json").symlink_to("/dev/zero")
    strange = project / "a`\x1b[2J\n"
    strange.mkdir()
    (strange / "requirements.txt").write_bytes(b"\xff\xfe==\x00\nok==1\n")
    (project / "node_modules").mkdir()
    (project / "node_modules" / "package.json").write_text(json.dumps({"dependencies": {"hidden": "*"}}))
    text = report(agent)
    assert "hidden" not in text
    assert all(character.isprintable() or character == "\n" for character in text)


def test_a_folder_without_manifests_has_a_report_and_then_rest(agent: Agent) -> None:
    assert "0 manifests and 0 lock files" in report(agent)
    assert agent.turn().unchanged
