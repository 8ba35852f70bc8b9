"""Read an image from an npz file: no pickles, and no more bytes than its headers say."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path

import numpy as np

from .image import MAX_VALUES, UNITS, Image, guess_units, too_large

PREFERRED = ("values", "image", "x")


def read(path: Path) -> Image:
    """One array: (h, w), (slices, h, w), or either with a last axis of 3 colours; ``spacing`` and ``units`` if there.

    The array is called values, image or x, or is the only one. ValueError: the reason why it can't be used.
    """
    if not path.stat().st_size:
        raise ValueError("the file is empty (0 bytes)")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            arrays = [name for name in names if name not in ("spacing", "units")]
            name = next((name for name in PREFERRED if name in arrays), arrays[0] if len(arrays) == 1 else None)
            if name is None:
                raise ValueError(f"it holds {len(arrays)} arrays ({', '.join(arrays[:8])}); call the image 'values'")
            array = member(archive, name)
            spacing = member(archive, "spacing", most=3) if "spacing" in names else None
            units = member(archive, "units", most=1) if "units" in names else None
    except zipfile.BadZipFile as error:
        raise ValueError(f"truncated, damaged or not an npz file ({error})") from error
    except (EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"truncated or damaged ({error})") from error
    if array.dtype.kind not in "iufb":
        raise ValueError(f"its array {name!r} is {array.dtype}; only real numbers can be read")
    colour = array.ndim in (3, 4) and array.shape[-1] == 3
    size = array.shape[:-1] if colour else array.shape
    if len(size) not in (2, 3) or not all(size):
        raise ValueError(f"its array {name!r} has shape {array.shape}; (h, w) or (slices, h, w) can be read")
    values = np.ascontiguousarray(np.moveaxis(array, -1, 0) if colour else array[None], dtype=np.float32)
    if spacing is not None and (spacing.dtype.kind not in "iuf" or spacing.shape != (len(size),)):
        raise ValueError(f"its spacing must be {len(size)} numbers, in mm")
    if spacing is not None and not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ValueError(f"its spacing must be {len(size)} positive numbers, in mm")
    if units is None:
        depths = {np.dtype(np.uint8): "intensity 0-255", np.dtype(np.uint16): "intensity 0-65535"}
        unit = depths.get(array.dtype) or (guess_units(values) if np.isfinite(values).any() else "signal")
    else:
        unit = str(units)
        if unit not in UNITS:
            raise ValueError(f"its units must be one of {', '.join(UNITS)}, they are {unit[:40]!r}")
    return Image(values, spacing if spacing is None else tuple(map(float, spacing)), unit, path, "npz", colour=colour)


def member(archive: zipfile.ZipFile, name: str, most: int = MAX_VALUES) -> np.ndarray:
    """The array ``name`` of at most ``most`` values; what it declares is checked before it is unpacked."""
    with archive.open(f"{name}.npy") as file:
        try:
            version = np.lib.format.read_magic(file)
            header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, fortran, dtype = header(file)
        except Exception as error:  # NumPy parses it as a Python literal, and lets through what the tokenizer raises
            raise ValueError(f"its array {name!r} has a header that can't be read") from error
        if dtype.hasobject:
            raise ValueError(f"its array {name!r} holds Python objects (pickle), which are never loaded")
        if math.prod(shape) > most or dtype.itemsize > 256:
            raise too_large(shape)
        need = math.prod(shape) * dtype.itemsize
        data = file.read(need + 1)  # to the end, which also verifies the checksum
    if len(data) != need:
        raise ValueError(f"its array {name!r} has another number of bytes than its shape {shape} needs")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
