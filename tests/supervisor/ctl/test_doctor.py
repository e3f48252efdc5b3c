"""The doctor finds what is wrong and says how to mend it."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from ipc.keeper import VERSION
from supervisor.ctl import doctor as module
from supervisor.ctl.system import own_version
from supervisor.errors import AgentdError
from supervisor.records.schema import STEPS

pytestmark = pytest.mark.timeout(60)
Agentctl = Callable[..., Any]


def wrong(done: Any) -> dict[str, str]:
    """What is wrong, by name, with its remedy."""
    return {found["what"]: found["remedy"] for found in done.json["findings"] if not found["ok"]}


@pytest.fixture
def keeper(home: Any) -> Iterator[None]:
    """Somebody who answers as a keeper does."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(home.keeper_socket))
        listener.listen()

        def answer() -> None:
            try:
                while True:
                    with listener.accept()[0] as asking:
                        asking.recv(4096)
                        asking.sendall(b'{"id": 1, "ok": true, "version": %d}\n' % VERSION)
            except OSError:
                return

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_nothing_is_wrong_with_a_home_that_was_never_used(agentctl: Agentctl, home: Any) -> None:
    done = agentctl("doctor", "--json")
    assert wrong(done) == {}
    assert done.code == 0
    for what in (
        "python",
        "packages",
        "environment",
        "programs",
        "free disk",
        "descriptors",
        "database",
        "supervisor",
    ):
        assert f"{what}: " in agentctl("doctor").out


def test_folders_that_others_can_read_are_found(agentctl: Agentctl, home: Any) -> None:
    home.state.chmod(0o755)
    done = agentctl("doctor", "--json")
    assert done.code == 1
    assert f"chmod 700 {home.state}" in wrong(done)["state folder"]


def test_a_file_where_the_folder_should_be_is_found(
    agentctl: Agentctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("AGENTD_HOME", str(file))
    assert "state folder" in wrong(agentctl("doctor", "--json"))


def test_a_socket_path_that_is_too_long_is_found(
    agentctl: Agentctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTD_HOME", str(tmp_path / ("x" * 100)))
    assert "AGENTD_HOME" in wrong(agentctl("doctor", "--json"))["socket path"]


def test_missing_programs_are_found(agentctl: Agentctl, home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert wrong(agentctl("doctor", "--json"))["programs"] == "install git and sh and python3"


def test_missing_packages_are_found(agentctl: Agentctl, home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGES", ("orjson", "no_such_package"))
    assert "pip install" in wrong(agentctl("doctor", "--json"))["packages"]


def test_the_other_supervisor_from_pypi_is_found(
    agentctl: Agentctl, home: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "supervisor-4.3.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: supervisor\nVersion: 4.3.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "uninstall supervisor" in wrong(agentctl("doctor", "--json"))["environment"]


def test_little_room_is_found(agentctl: Agentctl, home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DISK_WANTED", shutil.disk_usage("/").total * 1000)
    assert "make room" in wrong(agentctl("doctor", "--json"))["free disk"]


def database(path: Path, version: int) -> None:
    conn = apsw.Connection(str(path))
    conn.execute("CREATE TABLE t (x); CREATE INDEX i ON t (x)")
    conn.execute(
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 5000) INSERT INTO t SELECT x FROM n"
    )
    conn.pragma("user_version", version)
    conn.close()


def test_a_whole_database_is_found_so_and_not_changed(agentctl: Agentctl, home: Any) -> None:
    database(home.db, len(STEPS))
    before = home.db.read_bytes()
    assert wrong(agentctl("doctor", "--json")) == {}
    assert home.db.read_bytes() == before


def test_a_database_of_a_newer_program_is_found(agentctl: Agentctl, home: Any) -> None:
    database(home.db, len(STEPS) + 1)
    assert "newer agentd" in wrong(agentctl("doctor", "--json"))["database"]


@pytest.mark.parametrize("offset", [0, 3 * 4096])
def test_a_damaged_database_is_found(agentctl: Agentctl, home: Any, offset: int) -> None:
    database(home.db, len(STEPS))
    with home.db.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 4096)
    assert "backup" in wrong(agentctl("doctor", "--json"))["database"]


def test_faulty_settings_are_found(agentctl: Agentctl, home: Any) -> None:
    home.config_file.write_text("[agent.bob]\ngrase = 3\n")
    assert wrong(agentctl("doctor", "--json"))["settings"] == "agentctl check names them"
    done = agentctl("check")
    assert done.code == 2
    assert "grase" in done.out


@pytest.mark.usefixtures("keeper")
def test_a_supervisor_of_another_version_is_found(agentctl: Agentctl, fake: Any) -> None:
    assert wrong(agentctl("doctor", "--json")).keys() == {"supervisor"}
    fake.answers["system.status"] = {"pid": 42, "version": own_version(), "degraded": [], "agents": {}}
    assert wrong(agentctl("doctor", "--json")) == {}


def test_a_supervisor_without_a_keeper_is_found_even_when_no_agent_runs(
    agentctl: Agentctl, fake: Any
) -> None:
    fake.answers["system.status"] = {"pid": 42, "version": own_version(), "degraded": [], "agents": {}}
    assert wrong(agentctl("doctor", "--json")).keys() == {"keeper"}


@pytest.mark.usefixtures("keeper")
def test_nobody_is_told_that_agents_survive_the_next_supervisor(agentctl: Agentctl, fake: Any) -> None:
    fake.answers["system.status"] = AgentdError("it is ill")
    assert "that ends what is running" in wrong(agentctl("doctor", "--json"))["supervisor"]
    fake.close()
    assert "the next supervisor ends the agents" in agentctl("doctor").out


def test_a_supervisor_that_cannot_store_and_a_keeper_that_is_gone_are_found(
    agentctl: Agentctl, fake: Any
) -> None:
    fake.answers["system.status"] = {
        "pid": 42,
        "version": own_version(),
        "degraded": ["disk full"],
        "agents": {"running": 1},
    }
    found = wrong(agentctl("doctor", "--json"))
    assert found.keys() == {"degraded", "keeper"}


def test_a_socket_nobody_listens_on_is_no_trouble(agentctl: Agentctl, home: Any) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(os.fspath(home.socket))
    assert wrong(agentctl("doctor", "--json")) == {}


def test_templates_are_listed_with_their_faults(agentctl: Agentctl, home: Any) -> None:
    home.user_templates.mkdir()
    (home.user_templates / "mine.md").write_text('+++\ndescription = "does it"\n+++\n```sh\nls\n```\n')
    (home.user_templates / "broken.md").write_text("+++\nx = \n+++\n")
    rows = {found["name"]: found for found in agentctl("templates", "--json").json["templates"]}
    assert rows["mine"]["description"] == "does it"
    assert rows["broken"]["fault"]
    assert "repo-report" in rows
    assert "does it" in agentctl("templates").out


def test_shutdown_waits_until_the_supervisor_is_gone(agentctl: Agentctl, fake: Any, home: Any) -> None:
    home.lock.touch()
    done = agentctl("shutdown")
    assert (done.code, done.out) == (0, "agentd (pid 42) has stopped\n")


def test_version_says_what_runs(agentctl: Agentctl, fake: Any) -> None:
    assert agentctl("version", "--json").json["agentd"] == "0"
    assert agentctl("--version").code == 0
