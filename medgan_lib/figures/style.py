"""Colours, sizes and fonts that every figure shares."""

from __future__ import annotations

# Okabe and Ito's colours, which colour-blind readers can tell apart, without their yellow (too pale on white).
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)), (0, (1, 1)), (0, (9, 3)), "-")
WIDTH = 672  # px a picture aims at: the width of the book's column
DPI = 110
TEXT = 20  # px of text drawn into pictures: about 12 px where a page is 400 px wide
GAP = 3  # px between the tiles of a grid
STYLE = {
    "font.size": 13,
    "axes.titlesize": 14,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "lines.linewidth": 2.0,
    "legend.frameon": False,
    "figure.facecolor": "white",
}
CARD = "display:block;max-width:100%;height:auto;margin:0 auto;background:#fff;border-radius:4px"
