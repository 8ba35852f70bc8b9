"""Read PNG, JPEG and TIFF, of 8 and 16 bits, and float or signed TIFF."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from .image import MAX_VALUES, UNITS, Image, guess_units, too_large

# The key of the text in a PNG or TIFF written here that says what a stored number means, see `writing`.
MEANING = "medgan_lib"
DEPTHS = {np.dtype(np.uint8): "intensity 0-255", np.dtype(np.uint16): "intensity 0-65535"}
ORIENTATION = 274  # EXIF tag


def read(path: Path) -> Image:
    """A picture, or a TIFF stack as a volume. ValueError: the reason why it can't be used."""
    if not path.stat().st_size:
        raise ValueError("the file is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Pillow.DecompressionBombWarning)
            with Pillow.open(path, formats=("PNG", "JPEG", "TIFF")) as picture:
                kind, notes = picture.format.lower(), []
                shape = (getattr(picture, "n_frames", 1), picture.height, picture.width, len(picture.getbands()))
                if math.prod(shape) > MAX_VALUES:
                    raise too_large(shape)
                if deep_colour(picture):
                    if kind == "png":
                        raise ValueError("colours or transparency of 16 bits in a PNG can't be read; save it as TIFF")
                    pages = by_tifffile(path)
                else:
                    pages = by_pillow(picture, notes)
                meaning = meant(picture, notes)
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as error:
        raise ValueError(f"it would unpack to too many pixels ({error})") from error
    except UnidentifiedImageError as error:
        if path.suffix.lower() not in (".tif", ".tiff"):
            raise ValueError("not a PNG, JPEG or TIFF picture, whatever its name says") from error
        kind, notes, meaning, pages = "tiff", [], None, by_tifffile(path)
    colour = pages.ndim == 4
    units = DEPTHS.get(pages.dtype)
    values = np.moveaxis(pages, -1, 0) if colour else pages[None]
    if colour and (values == values[:1]).all():
        values = values[:1]
    if len(pages) == 1:
        values = values[:, 0]
    if meaning:
        units, per_unit, low = meaning
        values = values.astype(np.float64) / per_unit + low
    values = np.ascontiguousarray(values, dtype=np.float32)
    if units is None:
        units = guess_units(values) if np.isfinite(values).any() else "signal"
    return Image(values, None, units, path, kind, colour=colour, notes=tuple(notes))


def deep_colour(picture: Pillow.Image) -> bool:
    """Whether Pillow would cut 16-bit channels down to 8."""
    if picture.format == "PNG":
        with open(picture.filename, "rb") as file:
            head = file.read(26)
        return head[24] == 16 and head[25] != 0  # bit depth, and any type of colour but grey
    bits = getattr(picture, "tag_v2", {}).get(258, (8,))
    return len(bits) > 1 and max(bits) > 8


def by_pillow(picture: Pillow.Image, notes: list[str]) -> np.ndarray:
    """(pages, h, w) or (pages, h, w, 3) of a picture that Pillow decodes as it is."""
    if picture.getexif().get(ORIENTATION, 1) != 1:
        notes.append("the camera's note of how it was held (EXIF orientation) is not applied")
    pages = []
    for number in range(getattr(picture, "n_frames", 1)):
        picture.seek(number)
        page = picture
        if page.mode in ("RGBA", "LA", "PA") or "transparency" in page.info:
            notes.append("its transparency is left out")
        if page.mode in ("RGBA", "P", "PA", "CMYK", "YCbCr"):
            page = page.convert("RGB")
        elif page.mode in ("LA", "1"):
            page = page.convert("L")
        elif page.mode not in ("L", "RGB", "I", "F") and not page.mode.startswith("I;16"):
            raise ValueError(f"its colours are stored as {page.mode}, which can't be read")
        array = np.array(page)
        if picture.format == "PNG" and array.dtype == np.int32:
            array = array.astype(np.uint16)  # how older versions of Pillow hold 16 bits
        pages.append(array.astype(array.dtype.newbyteorder("=")))
    return stacked(pages, notes)


def by_tifffile(path: Path) -> np.ndarray:
    """(pages, h, w) or (pages, h, w, 3) of a TIFF that Pillow can't decode, or not at its full depth."""
    try:
        with tifffile.TiffFile(path) as file:
            claimed = (len(file.pages), *file.pages[0].shape)
            if math.prod(claimed) > MAX_VALUES:
                raise too_large(claimed)
            pages = []
            for page in file.pages:
                array = page.asarray()
                if page.axes == "SYX":
                    array = np.moveaxis(array, 0, -1)
                if array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)) or array.dtype.kind not in "iuf":
                    raise ValueError(f"a page has {page.axes} {array.shape} of {array.dtype}, which can't be read")
                pages.append(array)
    except (tifffile.TiffFileError, IndexError, KeyError) as error:
        raise ValueError("not a TIFF picture, whatever its name says") from error
    return stacked(pages, [])


def stacked(pages: list[np.ndarray], notes: list[str]) -> np.ndarray:
    if len({(page.shape, page.dtype) for page in pages}) > 1:
        raise ValueError(f"its {len(pages)} pages have different sizes or types; save them one by one")
    notes[:] = dict.fromkeys(notes)
    return np.stack(pages)


def meant(picture: Pillow.Image, notes: list[str]) -> tuple[str, float, float] | None:
    """Units, steps per unit and the value of 0 that `writing` left in a picture of its own; None in any other."""
    text = picture.info.get(MEANING) if picture.format == "PNG" else getattr(picture, "tag_v2", {}).get(270)
    if not isinstance(text, str) or (picture.format != "PNG" and not text.startswith('{"' + MEANING)):
        return None
    try:
        found = json.loads(text)[MEANING]
        units, per_unit, low = str(found["units"]), float(found["per_unit"]), float(found["low"])
    except (ValueError, KeyError, TypeError, RecursionError):
        units = ""
    if units not in UNITS or not (math.isfinite(per_unit) and per_unit > 0 and math.isfinite(low)):
        notes.append("its note on units can't be read and was left out")
        return None
    return units, per_unit, low
