"""Read PNG and JPEG, of 8 and 16 bits; a TIFF of any name goes to `tiff`."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from . import tiff
from .image import MAX_VALUES, Image, too_large
from .tiff import DEPTHS, MEANING, meaning

ORIENTATION = 274  # EXIF tag


def read(path: Path) -> Image:
    """A picture, or a TIFF stack as a volume. ValueError: the reason why it can't be used."""
    if not path.stat().st_size:
        raise ValueError("the file is empty (0 bytes)")
    with open(path, "rb") as file:
        if file.read(2) in (b"II", b"MM"):
            return tiff.read(path)
    notes: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Pillow.DecompressionBombWarning)
            with Pillow.open(path, formats=("PNG", "JPEG")) as picture:
                shape = (picture.height, picture.width, len(picture.getbands()))
                if math.prod(shape) > MAX_VALUES:
                    raise too_large(shape)
                kind = "png" if picture.format == "PNG" else "jpeg"
                stored = decoded(picture, notes)
                text = picture.info.get(MEANING)
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as error:
        raise ValueError(f"it would unpack to too many pixels ({error})") from error
    except UnidentifiedImageError as error:
        named = "TIFF" if path.suffix.lower() in (".tif", ".tiff") else "PNG, JPEG or TIFF"
        raise ValueError(f"not a {named} picture, whatever its name says") from error
    colour = stored.ndim == 3
    values, units = (np.moveaxis(stored, -1, 0) if colour else stored[None]), DEPTHS[stored.dtype]
    if colour and (values == values[:1]).all():
        values = values[:1]
    if isinstance(text, str) and (known := meaning(text, notes)):
        units, per_unit, low = known
        values = values.astype(np.float64) / per_unit + low
    values = np.ascontiguousarray(values, dtype=np.float32)
    return Image(values, None, units, path, kind, colour=colour, notes=tuple(notes))


def decoded(picture: Pillow.Image, notes: list[str]) -> np.ndarray:
    """(h, w) or (h, w, 3), uint8 or uint16, of the first or only frame."""
    count = getattr(picture, "n_frames", 1)
    if count > 1 and picture.format == "PNG":
        raise ValueError(f"an animation of {count} frames; save those you want as pictures")
    if count > 1:
        notes.append(f"the first of its {count} photos is used")
    if picture.format == "PNG":
        depth, kind = header(picture)
        if depth == 16 and kind != 0:
            raise ValueError("colours or transparency of 16 bits in a PNG can't be read; save it as TIFF")
        if depth < 8 and kind == 0:
            notes.append(f"{depth} bits are stretched to 0-255")
    if picture.getexif().get(ORIENTATION, 1) in range(2, 9):
        notes.append("turned upright as the camera's note of how it was held (EXIF orientation) asks")
        picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        notes.append("its transparency is left out")
    if picture.mode == "CMYK":
        notes.append("its printing colours (CMYK) are turned into RGB")
    if picture.mode in ("RGBA", "P", "PA", "CMYK", "YCbCr"):
        picture = picture.convert("RGB")
    elif picture.mode in ("LA", "1"):
        picture = picture.convert("L")
    elif picture.mode not in ("L", "RGB", "I") and not picture.mode.startswith("I;16"):
        raise ValueError(f"its colours are stored as {picture.mode}, which can't be read")
    array = np.array(picture)
    # Older versions of Pillow hold 16 bits in 32.
    return array.astype(np.uint8 if array.dtype.itemsize == 1 else np.uint16)


def header(picture: Pillow.Image) -> tuple[int, int]:
    """Bits a sample and type of colour (0: grey) of a PNG, which Pillow does not tell."""
    with open(picture.filename, "rb") as file:
        head = file.read(26)
    return head[24], head[25]
