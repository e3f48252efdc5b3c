"""Where a home's files lie."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from supervisor.errors import Failed, Invalid
from supervisor.paths import SOCKET_PATH_LIMIT, Home, check_socket_path, runtime_folder, socket_path


def test_agentd_home_moves_everything(tmp_path: Path) -> None:
    home = Home.from_environ({"AGENTD_HOME": str(tmp_path)})
    assert {home.config, home.state, home.runtime} == {tmp_path}
    for path in (home.db, home.lock, home.log, home.runs, home.output, home.socket, home.keeper_socket):
        assert path.parent == tmp_path
    assert home.identity == str(tmp_path.resolve())


def test_a_relative_home_is_refused_with_the_absolute_one() -> None:
    for find in (Home.from_environ, socket_path):
        with pytest.raises(Invalid) as refused:
            find({"AGENTD_HOME": "here"})
        assert refused.value.remedy == f"AGENTD_HOME={Path('here').absolute()}"


@pytest.mark.parametrize("own", ["/srv/x", ""])
def test_the_short_way_to_the_socket_leads_to_the_same_place(own: str) -> None:
    environ = {"AGENTD_HOME": own}
    assert socket_path(environ) == os.fspath(Home.from_environ(environ).socket)


def test_without_agentd_home_files_follow_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    home = Home.from_environ({"XDG_RUNTIME_DIR": str(tmp_path)})
    assert home == Home(tmp_path / "CONFIG/agentd", tmp_path / "STATE/agentd", tmp_path / "agentd")


def test_sockets_never_go_where_somebody_else_could_put_them(tmp_path: Path) -> None:
    missing, foreign = tmp_path / "missing", Path("/proc/1")
    for folder in (missing, foreign, Path("relative")):
        if folder == foreign and os.geteuid() == 0:
            continue
        assert runtime_folder({"XDG_RUNTIME_DIR": str(folder)}, tmp_path) == tmp_path / "run"


def test_folders_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    Home(folder, folder, folder).make_folders()
    for made in (folder, folder / "runs", folder / "output"):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
    Home(folder, folder, folder).make_folders()


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.touch()
    with pytest.raises(Failed, match="a: ") as refused:
        Home(file, file, file).make_folders()
    assert "AGENTD_HOME" in refused.value.remedy


def test_a_socket_path_may_have_what_the_kernel_takes_and_no_byte_more() -> None:
    check_socket_path("/" + "x" * (SOCKET_PATH_LIMIT - 1))
    with pytest.raises(Invalid, match="has 108"):
        check_socket_path("/" + "x" * SOCKET_PATH_LIMIT)
    with pytest.raises(Invalid):
        check_socket_path("/" + "é" * 60)
