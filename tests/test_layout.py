"""The repository checks what it says about itself."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ("ipc", "runner", "supervisor")

MAY_IMPORT = {"ipc": {"ipc"}, "runner": {"runner", "ipc"}, "supervisor": {"supervisor", "ipc"}}

LAYERS = [
    {"errors", "paths"},
    {"descriptors", "settings"},
    {"records"},
    {"peers"},
    {"principals"},
    {"consent", "money"},
    {"agents"},
    {"faces"},
    {"app"},
    {"__main__"},
]
"""Rooms of ``supervisor``, lowest first: each may import itself and what is lower, but not its neighbours."""

CTL_MAY_IMPORT = {"ctl", "errors", "paths"}
CTL_MAY_IMPORT_LATE = CTL_MAY_IMPORT | {"settings"}
DOCTOR = Path("supervisor/ctl/doctor.py")
"""Late, it may import what it examines."""

LIGHT = ("supervisor/__init__.py", "supervisor/errors.py", "supervisor/paths.py", "ipc/__init__.py")
"""What every call of agentctl imports, besides supervisor/ctl."""

HEAVY = {"apsw", "asyncio", "inspect", "multiprocessing", "platformdirs", "psutil", "subprocess", "trio"}
STARTS_THE_SUPERVISOR = Path("supervisor/ctl/daemon.py")
"""May import what it needs for that; nobody else waits for it."""

DISTRIBUTIONS = {"docopt": "docopt-ng"}
"""Where a package has another name than what is installed for it."""

LONGEST = 400
"""Lines of a file."""


def modules(tree: Path, *folders: str) -> list[Path]:
    return sorted(path.relative_to(tree) for folder in folders for path in (tree / folder).rglob("*.py"))


def imported(tree: Path, path: Path, *, top: bool = False) -> Iterator[str]:
    """Dotted names that a file imports; with ``top`` only those which importing it imports."""
    nodes: list[ast.AST] = [ast.parse((tree / path).read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(level=0):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            case ast.ImportFrom():
                raise AssertionError(f"{path}:{node.lineno}: a relative import")
            case ast.FunctionDef() | ast.AsyncFunctionDef() if top:
                continue
            case ast.If(test=ast.Name(id="TYPE_CHECKING")) if top:
                nodes += node.orelse
            case _:
                nodes += ast.iter_child_nodes(node)


def layer(room: str) -> int:
    found = [number for number, rooms in enumerate(LAYERS) if room in rooms]
    assert found, f"supervisor/{room} has no layer; give it one in {Path(__file__).name}"
    return found[0]


def test_packages_import_one_way(tree: Path) -> None:
    for path in modules(tree, *PACKAGES):
        for name in imported(tree, path):
            other = name.split(".")[0]
            assert other not in PACKAGES or other in MAY_IMPORT[path.parts[0]], f"{path} imports {name}"


def test_the_rooms_of_the_supervisor_import_downwards(tree: Path) -> None:
    for path in modules(tree, "supervisor"):
        room = path.parts[1].removesuffix(".py")
        if room in ("ctl", "__init__"):
            continue
        for name in imported(tree, path):
            parts = name.split(".")
            if parts[0] == "supervisor" and len(parts) > 1 and parts[1] != room:
                assert parts[1] != "ctl", f"{path} imports {name}"
                assert layer(parts[1]) < layer(room) or {parts[1], room} == LAYERS[0], (
                    f"{path} imports {name}"
                )


def test_the_command_line_knows_only_names_errors_and_the_wire(tree: Path) -> None:
    for path in modules(tree, "supervisor/ctl"):
        late = CTL_MAY_IMPORT_LATE | ({"records"} if path == DOCTOR else set())
        for top, allowed in ((True, CTL_MAY_IMPORT), (False, late)):
            for name in imported(tree, path, top=top):
                parts = name.split(".")
                assert parts[0] != "supervisor" or len(parts) == 1 or parts[1] in allowed, (
                    f"{path} imports {name}"
                )


def test_what_every_command_imports_is_light(tree: Path) -> None:
    for path in [*modules(tree, "supervisor/ctl"), *map(Path, LIGHT)]:
        heavy = HEAVY & {name.split(".")[0] for name in imported(tree, path, top=True)}
        assert not heavy or path == STARTS_THE_SUPERVISOR, f"{path} imports {heavy}"


def test_asking_for_the_status_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, orjson, docopt; before = set(sys.modules); from supervisor.ctl.main import main; "
        f"code = main(['status']); print(code, sorted({HEAVY!r} & (sys.modules.keys() - before)))"
    )
    done = subprocess.run(
        [sys.executable, *(["-P"] if sys.flags.safe_path else []), "-c", code],
        env={"AGENTD_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "6 []\n", done.stderr


def test_of_the_wire_only_the_channel_knows_trio(tree: Path) -> None:
    for path in [*modules(tree, "ipc"), Path("runner/keeper.py")]:
        if path != Path("ipc/channel.py"):
            assert "trio" not in {name.split(".")[0] for name in imported(tree, path)}, path


def test_what_is_imported_is_required_and_what_is_required_is_imported(tree: Path) -> None:
    project = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = {re.split(r"[^A-Za-z0-9_-]", line)[0].lower() for line in project["dependencies"]}
    used = {
        name.split(".")[0]
        for path in modules(tree, *PACKAGES)
        for name in imported(tree, path)
        if name.split(".")[0] not in {*sys.stdlib_module_names, *PACKAGES}
    }
    assert {DISTRIBUTIONS.get(name, name) for name in used} == required


def test_no_file_is_longer_than_a_person_reads(tree: Path) -> None:
    scripts = [path.relative_to(tree) for path in (tree / "scripts").iterdir() if path.is_file()]
    for path in {*modules(tree, *PACKAGES, "scripts", "tests"), *scripts}:
        lines = len((tree / path).read_text(encoding="utf-8").splitlines())
        assert lines <= LONGEST, f"{path} has {lines} lines"


def test_nothing_is_called_after_having_no_purpose(tree: Path) -> None:
    for path in modules(tree, *PACKAGES, "scripts", "tests"):
        assert not re.search(r"(^|_)(utils?|misc|common)(_|$)", path.stem), path
        assert not {"utils", "util", "misc", "common"} & set(path.parts), path


def test_the_init_of_a_package_is_a_docstring(tree: Path) -> None:
    for path in modules(tree, *PACKAGES):
        if path.name == "__init__.py":
            body = ast.parse((tree / path).read_text(encoding="utf-8")).body
            assert len(body) == 1, path
            assert ast.get_docstring(ast.Module(body, [])), path


def test_every_module_class_and_function_of_ours_says_what_it_is_for(tree: Path) -> None:
    for path in modules(tree, *PACKAGES):
        module = ast.parse((tree / path).read_text(encoding="utf-8"))
        assert ast.get_docstring(module), path
        for node in module.body:
            if (
                isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and node.name[0] != "_"
            ):
                assert ast.get_docstring(node), f"{path}:{node.lineno}: {node.name}"


def texts(tree: Path) -> Iterator[tuple[Path, str]]:
    """Every text file of the repository that a person wrote."""
    for path in sorted(tree.rglob("*")):
        parts = path.relative_to(tree).parts
        if path.is_symlink() or not path.is_file() or "__pycache__" in parts:
            continue
        if parts[0].startswith(".") and parts[0] not in (".ci", ".editorconfig", ".gitignore"):
            continue
        try:
            yield path.relative_to(tree), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


# In pieces, so that this file does not name what it looks for.
REGISTRIES = [
    "pypi" + ".org",
    "python" + "hosted.org",
    "crates" + ".io",
    "registry" + ".npm",
    "npm" + "js.",
    "proxy.golang" + ".org",
    "docker" + ".io",
    "gh" + "cr.io",
    "quay" + ".io",
]


@pytest.mark.parametrize("host", REGISTRIES)
def test_no_registry_is_named(tree: Path, host: str) -> None:
    for path, text in texts(tree):
        assert host not in text.lower(), path


def test_scripts_can_be_run_and_stop_at_the_first_failure(tree: Path) -> None:
    scripts = [path for path in (tree / "scripts").iterdir() if path.is_file() and not path.suffix]
    for path in [*scripts, tree / ".ci" / "run"]:
        assert path.stat().st_mode & 0o111 == 0o111, path
        first, *rest = path.read_text(encoding="utf-8").splitlines()
        if "bash" in first:
            assert "set -euo pipefail" in rest, path
