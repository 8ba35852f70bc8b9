"""Plots with axes: matplotlib in the style of the book, and training curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from medgan_lib.figures.pictures import Picture, as_array, caption_text, check_alt, png_bytes, rendered
from medgan_lib.figures.style import DASHES, DPI, PALETTE, STYLE
from medgan_lib.figures.thumbnails import add_thumbnails, told

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def subplots(rows: int = 1, columns: int = 1, *, size: tuple[float, float] | None = None, **keywords: Any):
    """``matplotlib.pyplot.subplots`` in the book's style: fonts for small screens, safe colours; ``size`` in inches.

    The figure is not registered anywhere: show it with `picture`.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({**STYLE, "axes.prop_cycle": mpl.cycler(color=PALETTE)}):
        figure = Figure(figsize=size or (6.4, 3.8 * rows), dpi=DPI, layout="constrained")
        axes = figure.subplots(rows, columns, **keywords)
    return figure, axes


def picture(fig: Figure, *, alt: str, caption: str | None = None, cohort: Any = None) -> Picture:
    """A matplotlib figure as a `Picture`; closes it, so that a notebook does not show it twice."""
    check_alt(alt)
    image = rendered(fig, tight=True)
    return Picture(png_bytes(image), alt, caption_text(caption, cohort))


def curves(
    histories: Mapping[str, Any],
    *,
    alt: str,
    keys: Iterable[str] | None = None,
    labels: Mapping[str, str] | None = None,
    x: Any = None,
    smooth: int = 1,
    xlabel: str = "training step",
    ylabel: str = "",
    title: str = "",
    yscale: str = "linear",
    thumbnails: Mapping[float, Any] | None = None,
    window: tuple[float, float] | None = None,
    caption: str | None = None,
    cohort: Any = None,
) -> Picture:
    """One line for each history: (steps,), or (seeds, steps) as the mean with a band from lowest to highest seed.

    ``keys`` picks and orders the histories, ``labels`` renames them, ``x`` (steps,) replaces the step number,
    ``smooth`` is the length of a moving average. ``thumbnails``: up to 6 small pictures by their place on the x axis,
    each an image (h, w) or (1 or 3, h, w), or a batch (n, h, w) or (n, 1 or 3, h, w) that becomes a small grid;
    ``window``: their values shown black and white, (-1, 1) by default. The alternative text then ends with how many
    there are and where. Raises ValueError for an unknown key, another shape and a thumbnail beside the curves.
    """
    check_alt(alt)
    keys = list(histories) if keys is None else list(keys)
    if unknown := [key for key in keys if key not in histories]:
        raise ValueError(f"no history {', '.join(unknown)}; there are: {', '.join(histories)}")
    figure, axis = subplots()
    for i, key in enumerate(keys):
        values = np.atleast_2d(as_array(histories[key]).astype(float))
        if values.ndim != 2 or values.size == 0:
            raise ValueError(f"{key}: expected (steps,) or (seeds, steps), got {tuple(as_array(histories[key]).shape)}")
        values = np.stack([_moving_average(row, smooth) for row in values])
        steps = np.arange(values.shape[1]) if x is None else as_array(x)
        colour = PALETTE[i % len(PALETTE)]
        axis.plot(steps, values.mean(0), color=colour, ls=DASHES[i % len(DASHES)], label=(labels or {}).get(key, key))
        if len(values) > 1:
            axis.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.2, lw=0)
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title, yscale=yscale)
    if len(keys) > 1:
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.18), "ncols": min(3, len(keys))}
        axis.legend(**below, frameon=False, fontsize=13)
    if thumbnails is not None:
        add_thumbnails(axis, thumbnails, window)
        alt = f"{alt.rstrip().rstrip('.')}. {told(list(thumbnails), xlabel)}"
    return picture(figure, alt=alt, caption=caption, cohort=cohort)


def _moving_average(values: np.ndarray, length: int) -> np.ndarray:
    if length <= 1 or len(values) < length:
        return values
    window = np.ones(length)
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")
