"""Small pictures above a plot, each joined by a thin line to its place on the x axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from medgan_lib.figures.pictures import as_array, as_bytes, as_images

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 6  # with more, none would be large enough to see on a phone
SIDE = 1.15  # inches of a picture at most
SPACE = 0.1  # inches between two pictures
RISE = 0.3  # inches between the axes and the pictures, for their lines
LINE = "#666666"


def add_thumbnails(axis: Axes, pictures: Mapping[float, Any], window: tuple[float, float] | None) -> None:
    """Put ``pictures``, by their place on the x axis, in a strip above ``axis``, the only axes of its figure.

    A picture is an image (h, w) or (1 or 3, h, w), or a batch (n, h, w) or (n, 1 or 3, h, w), laid out as a small
    grid; ``window``: the values shown black and white, (-1, 1) by default. The axes keep their size, the figure grows.
    Raises ValueError for no picture, more than 6, places that are not on the axis, and what is no picture.
    """
    places = checked(axis, pictures)
    tiles = [tile(pictures[place], window) for place in places]
    figure = axis.figure
    wide, high = figure.get_size_inches()
    figure.draw_without_rendering()  # settles where the axes stand
    figure.set_layout_engine("none")
    box = axis.get_position()
    title = axis.title.get_text()
    left, right = box.x0 * wide, box.x1 * wide
    side = min(SIDE, (right - left - SPACE * (MOST - 1)) / max(len(places), 4))
    middles = spread([_fraction(axis, place) * (right - left) + left for place in places], side + SPACE, left, right)
    bottom, top = box.y0 * high, box.y1 * high
    taller = top + RISE + side + 0.35 + (0.3 if title else 0.0)
    axis.set_position((box.x0, bottom / taller, box.width, (top - bottom) / taller))
    figure.set_size_inches(wide, taller)
    if title:
        axis.set_title("")
        figure.text((left + right) / 2 / wide, 1 - 0.05 / taller, title, ha="center", va="top", fontsize=14)
    for place, image, middle in zip(places, tiles, middles, strict=True):
        _join(axis, place, middle / wide, (top + RISE) / taller)
        corner = ((middle - side / 2) / wide, (top + RISE) / taller, side / wide, side / taller)
        spot = figure.add_axes(corner)
        spot.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="antialiased", interpolation_stage="data")
        spot.set(xticks=[], yticks=[], anchor="S")  # flat pictures stand on their lines
        spot.spines[:].set(visible=True, color=LINE, linewidth=0.8)
        spot.set_title(f"{place:g}", fontsize=13, pad=4)


def checked(axis: Axes, pictures: Mapping[float, Any]) -> list[float]:
    """The places in their order."""
    if not 1 <= len(pictures) <= MOST:
        raise ValueError(f"between 1 and {MOST} thumbnails can be seen, got {len(pictures)}")
    lines = np.concatenate([line.get_xdata() for line in axis.lines])
    low, high = float(np.min(lines)), float(np.max(lines))
    if outside := [place for place in pictures if not low <= place <= high]:
        raise ValueError(f"thumbnails at {', '.join(map(str, outside))}, but the curves run from {low:g} to {high:g}")
    return sorted(pictures)


def tile(picture: Any, window: tuple[float, float] | None) -> np.ndarray:
    """(h, w) or (h, w, 3) of bytes: an image, or a batch on a grid as square as it can be, with white between."""
    values = as_array(picture)
    if values.ndim == 2 or (values.ndim == 3 and len(values) in (1, 3)):
        values = values.reshape(1, -1, *values.shape[-2:])
    images = as_bytes(as_images(values), window)
    n, channels, high, wide = images.shape
    columns = math.ceil(math.sqrt(n))
    rows, gap = math.ceil(n / columns), max(1, max(high, wide) // 16) if n > 1 else 0
    sheet = np.full((rows * (high + gap) - gap, columns * (wide + gap) - gap, channels), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * (high + gap), i % columns * (wide + gap)
        sheet[top : top + high, left : left + wide] = image.transpose(1, 2, 0)
    return sheet[..., 0] if channels == 1 else sheet


def spread(wanted: Sequence[float], apart: float, left: float, right: float) -> list[float]:
    """Middles as near to ``wanted`` (rising) as they can be, ``apart`` from each other, all between the two ends."""
    last = right - apart / 2
    found = list(wanted)
    for i in range(len(found)):
        found[i] = max(found[i], left + apart / 2 if i == 0 else found[i - 1] + apart)
    for i in reversed(range(len(found))):
        found[i] = min(found[i], last if i == len(found) - 1 else found[i + 1] - apart)
    return found


def _fraction(axis: Axes, place: float) -> float:
    """Where a place of the x axis is, 0 at the left end of the axes and 1 at the right one."""
    return float(axis.transAxes.inverted().transform(axis.transData.transform((place, axis.get_ylim()[0])))[0])


def _join(axis: Axes, place: float, x: float, y: float) -> None:
    """A line from the x axis at ``place`` straight up through the axes, and on to (x, y) of the figure."""
    from matplotlib.patches import ConnectionPatch

    axis.axvline(place, color=LINE, linewidth=0.8, zorder=1)
    axis.add_artist(ConnectionPatch(
        (place, 1), (x, y), axis.get_xaxis_transform(), axis.figure.transFigure,
        color=LINE, linewidth=0.8, clip_on=False,
    ))


def told(places: Sequence[float], xlabel: str) -> str:
    """The sentence that alternative text needs: how many pictures there are, and where."""
    names = [f"{place:g}" for place in sorted(places)]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    at = f"at {xlabel} {listed}" if xlabel else f"at {listed}"
    return f"Above the curves, {len(names)} small picture{'s' if len(names) > 1 else ''} {at}."
