"""Rows as a person reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from benchmarks.measuring import Of, Row, Samples, Yardstick

HEAD = ("", "MEDIAN", "MIN - MAX", "P95", "RATIO", "GOAL", "")


def lines(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the lines of the table: each measure, its yardsticks below it."""
    body: list[Sequence[str]] = [HEAD]
    for row in rows:
        body.append((row.name, *_cells(row.ours), "", _goal(row), _verdict(row)))
        body += (_beside(row, one) for one in row.yardsticks)
    widths = [max(len(cells[column]) for cells in body) for column in range(len(HEAD))]
    for line in body:
        first, *others = line
        yield "  ".join(
            [
                first.ljust(widths[0]),
                *_aligned(others[:4], widths[1:5]),
                others[4].ljust(widths[5]),
                others[5],
            ]
        ).rstrip()


def explained(rows: Iterable[Row]) -> Iterator[str]:
    """Yield a line on what each row is."""
    found = list(rows)
    width = max((len(row.name) for row in found), default=0)
    for row in found:
        yield f"{row.name.ljust(width)}  {row.what}"


def number(value: float, unit: str) -> str:
    """Write a number with three digits, or as it is where there are more before the point."""
    short = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    return f"{short} {unit}"


def _beside(row: Row, yardstick: Yardstick) -> Sequence[str]:
    name = f"  {yardstick.name}"
    ratio = row.ratio(yardstick)
    if yardstick.samples is not None:
        return name, *_cells(yardstick.samples), "" if ratio is None else f"{ratio:.3g}", "", ""
    if yardstick.left_out:
        return name, "left out", "", "", "", "", ""
    return name, "NOT MEASURED", "", "", "", "", yardstick.why


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]


def _cells(samples: Samples) -> tuple[str, str, str]:
    unit = samples.unit
    if len(samples.values) == 1:
        return number(samples.median, unit), "", ""
    spread = f"{number(min(samples.values), '').strip()} - {number(max(samples.values), unit)}"
    return number(samples.median, unit), spread, number(samples.p95, unit)


def _goal(row: Row) -> str:
    if row.goal is None:
        return ""
    sign = ">=" if row.goal.at_least else "<="
    match row.goal.of:
        case Of.MEDIAN:
            return f"{sign} {number(row.goal.bound, row.ours.unit)}"
        case Of.RATIO:
            return f"ratio {sign} {row.goal.bound:g}"
        case Of.EXCESS:
            return f"{sign} yardstick + {number(row.goal.bound, row.ours.unit)}"


def _verdict(row: Row) -> str:
    value, goal = row.judged(), row.goal
    if goal is None:
        return ""
    if value is None:
        return "unknown"
    if row.met():
        return "met"
    if goal.of is Of.EXCESS or not goal.bound:
        return f"missed by {number(value - goal.bound, row.ours.unit)}"
    return f"missed by {abs(value / goal.bound - 1):.0%}"
