"""Rows under a heading, in as many columns as fit."""

from __future__ import annotations

from collections.abc import Sequence

GAP = "  "


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None = None, drop: Sequence[str] = ()
) -> list[str]:
    """Lay out ``rows`` under ``head`` in lines of at most ``width`` columns; `None` is no limit.

    Columns that are empty everywhere are left out. When it is too wide, the columns named by ``drop`` go, first
    named first; then the widest cells are shortened. Cells hold no newlines.
    """
    shown = [i for i in range(len(head)) if any(row[i] for row in rows) or not rows]
    sizes = [max(columns(cell) for cell in (head[i], *(row[i] for row in rows))) for i in range(len(head))]
    if width is not None:
        for name in drop:
            if _total(sizes, shown) <= width:
                break
            shown = [i for i in shown if head[i] != name]
        while _total(sizes, shown) > width:
            widest = max(shown, key=lambda i: sizes[i])
            if sizes[widest] <= 4:
                break
            sizes[widest] -= 1
    return [GAP.join(fit(row[i], sizes[i]) for i in shown).rstrip() for row in (head, *rows)]


def _total(sizes: Sequence[int], shown: Sequence[int]) -> int:
    return sum(sizes[i] for i in shown) + len(GAP) * (len(shown) - 1)


def columns(text: str) -> int:
    """How many columns of a terminal ``text`` takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(
        0 if combining(character) else 2 if east_asian_width(character) in "WF" else 1 for character in text
    )


def fit(text: str, size: int) -> str:
    """Fill ``text`` up to ``size`` columns, or shorten it to them."""
    wide = columns(text)
    if wide > size:
        while wide > size - 1:
            text = text[:-1]
            wide = columns(text)
        text, wide = f"{text}…", wide + 1
    return text + " " * (size - wide)
