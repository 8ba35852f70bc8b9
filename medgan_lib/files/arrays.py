"""Read an image from an npz file."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from . import npz
from .image import MAX_VALUES, UNITS, Image, guess_units, inexact, too_large

PREFERRED = ("values", "image", "x")


def read(path: Path) -> Image:
    """One array: (h, w), (slices, h, w), or either with a last axis of 3 colours; ``spacing`` and ``units`` if there.

    The array is called values, image or x, or is the only one. ValueError: the reason why it can't be used.
    """
    with npz.opened(path) as archive:
        names = npz.names(archive)
        arrays = [name for name in names if name not in ("spacing", "units")]
        name = next((name for name in PREFERRED if name in arrays), arrays[0] if len(arrays) == 1 else None)
        if name is None:
            raise ValueError(f"it holds {len(arrays)} arrays ({', '.join(arrays[:8])}); call the image 'values'")
        array = npz.array(archive, name, _at_most(MAX_VALUES))
        spacing = npz.array(archive, "spacing", _at_most(3)) if "spacing" in names else None
        units = npz.array(archive, "units", _at_most(1)) if "units" in names else None
    if array.dtype.kind not in "iufb":
        raise ValueError(f"its array {name!r} is {array.dtype}; only real numbers can be read")
    if array.ndim in (3, 4) and array.shape[-1] == 1:
        array = array[..., 0]  # one channel, as networks have it
    elif array.ndim in (3, 4) and array.shape[-1] in (2, 4) and min(array.shape[:-1]) > 4:
        raise ValueError(
            f"its array {name!r} has shape {array.shape}: a last axis of {array.shape[-1]} may be channels; save each "
            "as a file, or colours as (h, w, 3)"
        )
    colour = array.ndim in (3, 4) and array.shape[-1] == 3
    size = array.shape[:-1] if colour else array.shape
    if len(size) not in (2, 3) or not all(size):
        raise ValueError(f"its array {name!r} has shape {array.shape}; (h, w) or (slices, h, w) can be read")
    values = np.ascontiguousarray(np.moveaxis(array, -1, 0) if colour else array[None], dtype=np.float32)
    if spacing is not None and (spacing.dtype.kind not in "iuf" or spacing.shape != (len(size),)):
        raise ValueError(f"its spacing must be {len(size)} numbers, in mm")
    if spacing is not None and not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ValueError(f"its spacing must be {len(size)} positive numbers, in mm")
    notes = inexact(array)
    if units is None:
        depths = {np.dtype(np.uint8): "intensity 0-255", np.dtype(np.uint16): "intensity 0-65535"}
        unit = depths.get(array.dtype.newbyteorder("=")) or guess_units(values, notes)
    else:
        unit = str(units)
        if unit not in UNITS:
            raise ValueError(f"its units must be one of {', '.join(UNITS)}, they are {unit[:40]!r}")
    if not colour and array.ndim == 3 and len(array) in (3, 4):
        notes.append(f"its {len(array)} layers that come first are taken as slices; colours would come last")
    mm = spacing if spacing is None else tuple(map(float, spacing))
    return Image(values, mm, unit, path, "npz", colour=colour, notes=tuple(notes))


def _at_most(most: int) -> Callable[[tuple[int, ...], np.dtype], None]:
    def check(shape: tuple[int, ...], dtype: np.dtype) -> None:
        if math.prod(shape) > most or dtype.itemsize > 256:
            raise too_large(shape)

    return check
