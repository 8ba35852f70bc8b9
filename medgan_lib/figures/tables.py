"""Tables of numbers: rounded, the best of a column marked; HTML in the page, plain text elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

MISSING = "–"
SHORT = 10  # seconds


@dataclass(frozen=True, repr=False)
class Table:
    """Names of rows and columns, and a text for each cell; ``best`` are the cells (row, column) to mark."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    best: frozenset[tuple[int, int]] = frozenset()
    caption: str = ""

    def _repr_html_(self) -> str:
        def cell(i: int, k: int, text: str) -> str:
            shown = f"<strong>{escape(text)}</strong>" if (i, k) in self.best else escape(text)
            return f'<td style="text-align:right">{shown}</td>'

        head = "".join(f'<th scope="col" style="text-align:right">{escape(name)}</th>' for name in self.heads)
        body = "".join(
            f'<tr><th scope="row" style="text-align:left;font-weight:normal">{escape(name)}</th>'
            + "".join(cell(i, k, text) for k, text in enumerate(texts)) + "</tr>"
            for i, (name, texts) in enumerate(self.rows)
        )
        # before what scrolls: as part of a wide table it would be as wide and be cut
        above = f'<p style="text-align:left;margin:1em 0 .4em;opacity:.8">{escape(self.caption)}</p>'
        return (above if self.caption else "") + (
            f'<div role="region" aria-label="{escape(self.caption or "Table", quote=True)}" tabindex="0"'
            f' style="overflow-x:auto"><table class="medgan-table">'
            f"<thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )

    def __repr__(self) -> str:
        marked = [
            [text + "*" * ((i, k) in self.best) for k, text in enumerate(texts)]
            for i, (_, texts) in enumerate(self.rows)
        ]
        first = max((len(name) for name, _ in self.rows), default=0)
        widths = [max(len(row[k]) for row in [self.heads, *marked]) + 2 for k in range(len(self.heads))]
        lines = [" " * first + "".join(name.rjust(width) for name, width in zip(self.heads, widths, strict=True))]
        lines += [
            name.ljust(first) + "".join(text.rjust(width) for text, width in zip(row, widths, strict=True))
            for (name, _), row in zip(self.rows, marked, strict=True)
        ]
        return "\n".join([*([self.caption] if self.caption else []), *lines])


def rounded(value: float) -> str:
    """Three significant digits, and all digits of a larger whole number: 0.0123, 84, 12345."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"


def table(
    rows: Mapping[str, Mapping[str, Any]],
    *,
    formats: Mapping[str, str] | None = None,
    best: Mapping[str, str] | None = None,
    caption: str = "",
) -> Table:
    """A table of ``rows``: for each name of a row its values by column, ``{"L1": {"error (HU)": 64.2, "Dice": 0.91}}``.

    Args:
        rows: values are numbers, texts, or None for what was not measured (a dash). Columns come in the order in which
            they first appear; the unit belongs into the name of a column.
        formats: how to write the numbers of a column, as in ``format``: ``{"Dice": ".2f", "share": ".0%"}``; three
            significant digits for all others. Below ten, "seconds" only say so: at that length they tell how busy the
            machine was.
        best: "low" or "high" for columns whose best value is to be marked (bold, in plain text by a star); equal
            values as they are shown are marked together.
        caption: a line above.

    Raises:
        ValueError: no row, a format or a best for a column that isn't there, or a best that is neither.
    """
    columns = list(dict.fromkeys(column for values in rows.values() for column in values))
    formats, best = formats or {}, best or {}
    if not columns:
        raise ValueError("a table needs a row with a value")
    if unknown := [name for name in [*formats, *best] if name not in columns]:
        raise ValueError(f"no column {', '.join(unknown)}; there are {', '.join(columns)}")
    if wrong := [name for name, way in best.items() if way not in ("low", "high")]:
        raise ValueError(f"best of {', '.join(wrong)} must be 'low' or 'high'")

    def text(column: str, value: Any) -> str:
        if isinstance(value, str):
            return value
        if value is None or math.isnan(float(value)):
            return MISSING
        if column == "seconds" and 0 <= float(value) < SHORT:
            return f"< {SHORT}"
        shown = format(float(value), formats[column]) if column in formats else rounded(float(value))
        return shown.removeprefix("-") if not shown.strip("-0.%") else shown  # no minus before a zero

    shown = [(name, tuple(text(column, values.get(column)) for column in columns)) for name, values in rows.items()]
    marked = set()
    for column, way in best.items():
        k, numbers = columns.index(column), {}
        for i, values in enumerate(rows.values()):
            value = values.get(column)
            if value is not None and not isinstance(value, str) and not math.isnan(float(value)):
                numbers[i] = float(value)
        if numbers:
            top = (min if way == "low" else max)(numbers, key=numbers.__getitem__)
            marked |= {(i, k) for i in numbers if shown[i][1][k] == shown[top][1][k]}
    return Table(tuple(columns), tuple(shown), frozenset(marked), caption)
