"""Where templates are found: a path, the user's own folder, or those that came with agentd."""

import difflib
from pathlib import Path

import supervisor
from supervisor.errors import Invalid
from supervisor.paths import Home
from supervisor.settings.names import is_name


def builtin_folder() -> Path:
    """The folder of the templates that came with agentd: beside the installed package, or in the checkout."""
    package = Path(next(iter(supervisor.__path__)))
    installed = package / "templates"
    return installed if installed.is_dir() else package.parent / "templates"


def available(home: Home) -> dict[str, Path]:
    """All templates that can be named, the user's own in place of built-in ones of the same name."""
    found: dict[str, Path] = {}
    for folder in (builtin_folder(), home.user_templates):
        if folder.is_dir():
            found |= {path.stem: path for path in sorted(folder.glob("*.md")) if is_name(path.stem)}
    return dict(sorted(found.items()))


def is_path(template: str) -> bool:
    """Whether ``template`` is a path and not a name."""
    return "/" in template or template.endswith(".md")


def find(template: str, home: Home) -> Path:
    """The absolute path of ``template``. A relative path starts at agentd.toml's folder, ``~`` at the user's.

    Raises `Invalid` when there is none.
    """
    if is_path(template):
        path = home.config / Path(template).expanduser()
        if not path.is_file():
            raise Invalid(f"no template at {path}", remedy="a path must lead to a Markdown file")
        return path.resolve()
    names = available(home)
    if template in names:
        return names[template].resolve()
    near = difflib.get_close_matches(template, names, n=1)
    raise Invalid(
        f"no template named {template!r} in {home.user_templates} or among the built-in ones",
        remedy=f"{near[0]}?" if near else f"there are {', '.join(names)}; a path works too",
    )
