import os
from pathlib import Path

import pytest

from supervisor.errors import Invalid
from supervisor.paths import Home
from supervisor.settings.keys import SUPERVISOR_KEYS
from supervisor.settings.toml import SIZE_LIMIT, SupervisorSettings, check, load


def faults_of(path: Path) -> list[str]:
    with pytest.raises(Invalid) as caught:
        load(path)
    return str(caught.value).splitlines()


def test_a_missing_file_says_nothing(tmp_path: Path) -> None:
    config = load(tmp_path / "agentd.toml")
    assert config.agents == {}
    assert config.supervisor == SupervisorSettings()


def test_agents_are_kept_as_written(tmp_path: Path) -> None:
    path = tmp_path / "agentd.toml"
    path.write_text(
        '[supervisor]\nbackoff_limit = "1m"\n[agent.bob]\ninterval = "1m"\n[agent.bob.process]\ncommand = "cat"\n'
    )
    config = load(path)
    assert config.supervisor.backoff_limit == 60.0
    assert config.agents == {"bob": {"interval": "1m", "process": {"command": "cat"}}}


def test_every_fault_of_the_file_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "agentd.toml"
    path.write_text(
        "[suprvisor]\n[supervisor]\nrestart_limit = -1\nbackof_limit = 3\n"
        '[agent.bob]\ngrase = 3\nadapter = 3\n["agent"."../x"]\n["agent"."Eve"]\n[agent]\nann = 3\n'
    )
    assert faults_of(path) == [
        "suprvisor: no such section (supervisor?)",
        "supervisor.restart_limit: wanted 0 to 1000, got -1",
        "supervisor.backof_limit: no such setting (backoff_limit?)",
        "agent.'../x': is no name for an agent (a name has 1 to 64 of a-z 0-9 _ . - and begins with a letter or digit)",
        "agent.Eve: is no name for an agent (a name has 1 to 64 of a-z 0-9 _ . - and begins with a letter or digit)",
        "agent.ann: wanted a table [agent.ann], got 3",
        "agent.bob.grase: no such setting (grace?)",
        "agent.bob.adapter: wanted text, got 3",
    ]


@pytest.mark.parametrize("section", ["adapter", "budget", "notify", "rule", "extends"])
def test_a_section_that_means_nothing_yet_is_refused(tmp_path: Path, section: str) -> None:
    path = tmp_path / "agentd.toml"
    path.write_text(f'{section} = "x"\n')
    (fault,) = faults_of(path)
    assert fault.startswith(f"{section}: no such section")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a = \n", "is no TOML"),
        (b"a = " + b"9" * 5000, "is no TOML"),
        (b"a = " + b"[" * 50_000, "is no TOML"),
        (b"supervisor = 0x" + b"f" * 9000, "got a huge number"),
        (b"\xff", "is not UTF-8 (byte 0)"),
        (b"agent = 3\n", "wanted tables [agent.NAME]"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "agentd.toml"
    path.write_bytes(content)
    (fault,) = faults_of(path)
    assert said in fault


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path)
    assert fault.startswith(f"{tmp_path}: ")


def test_check_looks_at_templates_and_folders_too(home: Home) -> None:
    home.config_file.write_text(
        '[agent.a]\ntemplate = "steps"\n[agent.b]\ntemplate = "nope"\ninterval = -1\n[agent.c]\ntemplate = "steps"\n'
        'cwd = "/no/such"\n'
    )
    faults = check(home.config_file, home, {"PATH": "/bin"})
    assert [fault.split(":")[0] for fault in faults] == [
        "agent.b.interval",
        "agent.b.template",
        "agent.c.cwd",
    ]


def test_the_defaults_of_the_supervisor_are_those_of_its_table() -> None:
    assert SupervisorSettings() == SupervisorSettings(
        **{name: key.default for name, key in SUPERVISOR_KEYS.items()}
    )


def test_what_is_no_ordinary_file_is_neither_read_nor_waited_for(tmp_path: Path) -> None:
    waiting = tmp_path / "agentd.toml"
    os.mkfifo(waiting)
    assert faults_of(waiting) == [f"{waiting}: is no ordinary file"]
    assert faults_of(Path("/dev/zero")) == ["/dev/zero: is no ordinary file"]


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "agentd.toml"
    with path.open("wb") as file:
        file.truncate(SIZE_LIMIT + 1)
    assert faults_of(path) == [f"{path}: has more than {SIZE_LIMIT} bytes"]
