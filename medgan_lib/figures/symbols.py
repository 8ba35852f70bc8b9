"""Short formulas in SVG: ``p_data``, ``G(z)``, ``x_{AB}``; letters are italic, words and digits upright."""

from __future__ import annotations

import re
from html import escape

SIZE = 18  # units of a diagram
_SUBSCRIPT = re.compile(r"_(?:\{([^{}]*)\}|([^\W_]+))")
_LETTER = re.compile(r"[^\W\d_][\u0300-\u036f]*")  # with what stands above it, a hat
_RUN = re.compile(rf"{_LETTER.pattern}(?![^\W\d_])|[^\W\d_]+|[\W\d_]+")  # one letter, a word, what is between
_DROP = 5  # units that a subscript stands below the line


def width(text: str, size: float = SIZE) -> float:
    """About how wide ``text`` is in the fonts of browsers, in units, rather too wide than too narrow."""
    def one(letter: str) -> float:
        if letter in "iljtfrI.,;:'|()[] ":
            return 0.36
        return 0.94 if letter in "mwMW" else 0.7 if letter.isupper() else 0.6

    return size * sum(map(one, _SUBSCRIPT.sub(lambda found: found[1] or found[2], text)))


def spoken(text: str) -> str:
    """The symbol for alternative text: ``x_AB`` for ``x_{AB}``."""
    return _SUBSCRIPT.sub(lambda found: f"_{found[1] or found[2]}", text)


def tspans(text: str, size: float = SIZE) -> str:
    """The inside of an SVG ``<text>``: subscripts stand below the line, which then goes on where it was."""
    pieces, end = [], 0
    for found in _SUBSCRIPT.finditer(text):
        pieces += [(text[end : found.start()], size, 0), (found[1] or found[2], SIZE, _DROP)]
        end = found.end()
    parts, level = "", 0
    for piece, high, below in [*pieces, (text[end:], size, 0)]:
        if piece:
            parts += _tspan(piece, high, below - level)
            level = below
    return parts


def _tspan(text: str, size: float, down: int) -> str:
    # Attributes instead of baseline-shift, which not every browser knows.
    inside = "".join(
        f'<tspan font-style="italic">{run}</tspan>' if _LETTER.fullmatch(run) else escape(run)
        for run in _RUN.findall(text)
    )
    moved = f' dy="{down}"' if down else ""
    return f'<tspan font-size="{size:g}"{moved}>{inside}</tspan>'
