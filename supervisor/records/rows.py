"""Asking for rows: each a dictionary, with JSON columns read and times as seconds since the epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import apsw

from supervisor.records.values import from_json, from_text

Row = dict[str, Any]
"""Columns by name."""

Given = Sequence[Any] | Mapping[str, Any]
"""Values bound to ``?`` in order, or to ``:name``."""


def rows(conn: apsw.Connection, sql: str, given: Given = (), *, json: tuple[str, ...] = ()) -> list[Row]:
    """Return all rows of a query. The columns named in ``json`` hold JSON and come back as what it says."""
    found: list[Row] = []
    names: list[str] = []
    cursor = conn.execute(sql, given)
    for values in cursor:
        if not names:
            names = [column[0] for column in cursor.get_description()]
        row = {
            name: from_text(value) if isinstance(value, str) else value
            for name, value in zip(names, values, strict=True)
            if name not in json
        }
        for name, value in zip(names, values, strict=True):
            if name in json:
                row[name] = None if value is None else from_json(value)
        found.append(row)
    return found


def one(conn: apsw.Connection, sql: str, given: Given = (), *, json: tuple[str, ...] = ()) -> Row | None:
    """Return the only row of a query, or ``None``."""
    found = rows(conn, sql, given, json=json)
    return found[0] if found else None
