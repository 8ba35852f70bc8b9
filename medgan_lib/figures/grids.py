"""Grids of images: samples, and rows to compare, with a scale bar where the spacing is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from medgan_lib.figures.pictures import Picture, as_bytes, as_images, caption_text, check_alt, png_bytes
from medgan_lib.figures.style import GAP, TEXT, WIDTH

if TYPE_CHECKING:
    from PIL.Image import Image


def samples(
    x: Any,
    *,
    alt: str,
    cohort: Any = None,
    columns: int = 8,
    window: tuple[float, float] | None = None,
    title: str | None = None,
    caption: str | None = None,
    scale_mm: float | None = None,
) -> Picture:
    """A grid of images, with a scale bar where ``cohort.spacing`` is known, which the caption of the cohort follows.

    ``x``: (n, h, w), (n, 1 or 3, h, w), or volumes (n, 1, d, h, w), whose middle slice is shown. ``window``: the
    values shown black and white, (-1, 1) by default. ``scale_mm``: length of the scale bar, by default a round number
    near a quarter of an image. Raises ValueError for other shapes, no image, values that are not finite, empty alt.
    """
    check_alt(alt)
    spacing = getattr(cohort, "spacing", None)
    image = grid_image(as_images(x), columns, window, spacing[-1] if spacing else None, scale_mm)
    return Picture(png_bytes(image), alt, caption_text(caption, cohort, title))


def compare(
    rows: Mapping[str, Any],
    *,
    alt: str,
    columns: Sequence[str] = (),
    cohort: Any = None,
    window: tuple[float, float] | Mapping[str, tuple[float, float]] | None = None,
    caption: str | None = None,
) -> Picture:
    """Rows of images under each other: ``{"row label": images}``, each (n, h, w) or (n, channels, h, w), n equal.

    ``columns`` labels the columns. ``window`` is one for all rows or one for each row label (error maps).
    """
    check_alt(alt)
    from PIL import Image

    groups = {name: as_images(images) for name, images in rows.items()}
    counts = {len(images) for images in groups.values()}
    if len(counts) != 1:
        raise ValueError(f"rows need equally many images, got { {k: len(v) for k, v in groups.items()} }")
    count = counts.pop()
    if columns and len(columns) != count:
        raise ValueError(f"{len(columns)} column labels for {count} columns")
    strips = []
    for name, images in groups.items():
        limits = window.get(name) if isinstance(window, Mapping) else window
        strip = grid_image(images, count, limits)
        width = strip.width
        if columns and not strips:
            strips.append(text_strip(list(columns), width))
        strips += [text_strip([name], width, left=True), strip]
    spacing = getattr(cohort, "spacing", None)
    if spacing:
        strips.append(scale_bar(width, spacing[-1] * images.shape[-1] * count / width, images.shape[-1] * spacing[-1]))
    sheet = Image.new("RGB", (max(s.width for s in strips), sum(s.height for s in strips)), "white")
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return Picture(png_bytes(sheet), alt, caption_text(caption, cohort))


def grid_image(
    images: np.ndarray,
    columns: int,
    window: tuple[float, float] | None,
    spacing: float | None = None,
    scale_mm: float | None = None,
) -> Image:
    """Tiles, enlarged by a whole number so that every pixel stays a square, on white, with a scale bar below."""
    from PIL import Image

    n, channels, height, width = images.shape
    columns = max(1, min(columns, n))
    rows = math.ceil(n / columns)
    zoom = max(1, round((WIDTH / columns - GAP) / width))
    tiles = as_bytes(images, window).repeat(zoom, 2).repeat(zoom, 3)
    h, w = height * zoom + GAP, width * zoom + GAP
    sheet = np.full((channels, rows * h - GAP, columns * w - GAP), 255, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // columns * h, i % columns * w
        sheet[:, top : top + h - GAP, left : left + w - GAP] = tile
    image = Image.fromarray(sheet[0] if channels == 1 else sheet.transpose(1, 2, 0))
    if spacing is None:
        return image
    bar = scale_bar(image.width, spacing / zoom, width * spacing, scale_mm)
    whole = Image.new(image.mode, (image.width, image.height + bar.height), "white")
    whole.paste(image, (0, 0))
    whole.paste(bar, (0, image.height))
    return whole


def scale_bar(width: int, mm_per_px: float, tile_mm: float, scale_mm: float | None = None) -> Image:
    """A white strip with a black bar of ``scale_mm``, or of a round number of mm near a quarter of a tile."""
    from PIL import Image, ImageDraw

    if scale_mm is None:
        exponent = 10.0 ** math.floor(math.log10(tile_mm / 4))
        scale_mm = max(m * exponent for m in (1, 2, 5) if m * exponent <= tile_mm / 4)
    strip = Image.new("L", (width, TEXT + 12), 255)
    draw, length = ImageDraw.Draw(strip), scale_mm / mm_per_px
    draw.rectangle((4, strip.height // 2 - 3, 4 + length, strip.height // 2 + 3), fill=0)
    draw.text((length + 14, strip.height // 2), f"{scale_mm:g} mm", fill=0, font=_font(), anchor="lm")
    return strip


def text_strip(texts: Sequence[str], width: int, *, left: bool = False) -> Image:
    from PIL import Image, ImageDraw

    strip = Image.new("L", (width, TEXT + 12), 255)
    draw = ImageDraw.Draw(strip)
    for i, text in enumerate(texts):
        place = (2, strip.height // 2) if left else ((i + 0.5) * width / len(texts), strip.height // 2)
        draw.text(place, text, fill=0, font=_font(), anchor="lm" if left else "mm")
    return strip


def _font() -> Any:
    from pathlib import Path

    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", TEXT)
