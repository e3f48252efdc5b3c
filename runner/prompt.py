"""Prompts: variables are filled in, an operator's messages are put behind. Nothing in a prompt is executed."""

import difflib
import re
from collections.abc import Container, Iterable, Mapping

_VARIABLE = re.compile(r"(?P<escaped>\\)?\{\{\s*(?P<name>[A-Za-z_][A-Za-z0-9_.]*)\s*\}\}")


class PromptError(Exception):
    """A prompt names a variable that does not exist, or has no value yet; the text names it."""


def check(text: str, known: Container[str], *, what: str = "prompt") -> None:
    """Refuse ``text`` if it names a variable that is not ``known``; raises :exc:`PromptError`."""
    for found in _VARIABLE.finditer(text):
        if not found["escaped"] and found["name"] not in known:
            raise PromptError(_unknown(found["name"], known, what))


def render(text: str, variables: Mapping[str, str | None], *, what: str = "prompt") -> str:
    """Return ``text`` with every ``{{name}}`` replaced; ``\\{{name}}`` stays as ``{{name}}``.

    A value is put in as it is: braces inside it mean nothing. Raises :exc:`PromptError` for a variable that is
    missing, or whose value is None.
    """

    def value(found: re.Match[str]) -> str:
        if found["escaped"]:
            return found[0][1:]
        name = found["name"]
        if name not in variables:
            raise PromptError(_unknown(name, variables, what))
        filled = variables[name]
        if filled is None:
            raise PromptError(f"{what}: {{{{{name}}}}} has no value yet")
        return filled

    return _VARIABLE.sub(value, text)


def with_messages(prompt: str, messages: Iterable[str]) -> str:
    """Return ``prompt`` with what the operator said since the last turn behind it."""
    said = "".join(f"\n\nMessage from the operator:\n{text}" for text in messages)
    return (prompt + said).lstrip("\n") if said else prompt


def _unknown(name: str, known: Container[str], what: str) -> str:
    names = sorted(known) if isinstance(known, Iterable) else []
    near = difflib.get_close_matches(name, names, 1)
    hint = f"{near[0]}?" if near else f"known: {', '.join(names)}"
    return f"{what}: {{{{{name}}}}}: no such variable ({hint}; write \\{{{{{name}}}}} to keep it as it is)"
