"""Read TIFF: what its axes, samples and numbers mean by its tags, ImageJ's and OME's descriptions."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from .image import MAX_VALUES, UNITS, Image, guess_units, inexact, too_large

# The key of the text in a PNG or TIFF written here that says what a stored number means, see `writing`.
MEANING = "medgan_lib"
DEPTHS = {np.dtype(np.uint8): "intensity 0-255", np.dtype(np.uint16): "intensity 0-65535"}
PLAIN = ("NONE", "DEFLATE", "ADOBE_DEFLATE", "PACKBITS", "LZMA")  # what tifffile unpacks without imagecodecs
WHOLE = (1, 2)  # predictors: none, and differences of whole numbers
PAGES, SLICES = "IQ", "ZIQ"  # axes that nothing names, and those that may be slices
SAMPLES = {"MINISBLACK": 1, "MINISWHITE": 1, "PALETTE": 1, "RGB": 3, "YCBCR": 3, "CIELAB": 3, "SEPARATED": 4}
ORIENTATION, DESCRIPTION, NODATA = 274, 270, 42113
ASSOCIATED = 1  # transparency by which the colours have been multiplied


def read(path: Path) -> Image:
    """A TIFF of one picture, or of slices as a volume. ValueError: the reason why it can't be used."""
    notes: list[str] = []
    try:
        with tifffile.TiffFile(path) as file:
            series = chosen(file, notes)
            page = series.keyframe
            colour = samples(page, notes)
            calibrated = calibration(file, notes)
            stored = decoded(path, series, page, calibrated is not None, notes)
            meaning, empty = meant(page, notes), nodata(page)
    except (tifffile.TiffFileError, IndexError, KeyError) as error:
        raise ValueError("not a TIFF picture, whatever its name says") from error
    notes += inexact(stored)
    units = DEPTHS.get(stored.dtype)
    values = np.moveaxis(stored, -1, 0) if colour else stored[None]
    if colour and (values == values[:1]).all():
        values = values[:1]
    if len(stored) == 1:
        values = values[:, 0]
    if meaning:
        units, per_unit, low = meaning
        values = values.astype(np.float64) / per_unit + low
    elif calibrated:
        units, values = None, values.astype(np.float64) * calibrated[1] + calibrated[0]
    values = np.ascontiguousarray(values, dtype=np.float32)
    if empty is not None:
        values[values == np.float32(empty)] = np.nan
    if units is None:
        units = guess_units(values, notes)
    return Image(values, None, units, path, "tiff", colour=colour, notes=tuple(dict.fromkeys(notes)))


def chosen(file: tifffile.TiffFile, notes: list[str]) -> tifffile.TiffPageSeries:
    """The one image or stack of slices in a file; smaller copies of it are left out."""
    found = [series for series in file.series if not series.keyframe.is_reduced] or list(file.series)
    if len(found) > 1:
        shapes = "; ".join(" x ".join(map(str, series.shape)) for series in found[:4])
        raise ValueError(f"it holds {len(found)} images of different sizes or kinds ({shapes}); save them one by one")
    series = found[0]
    if len(file.series) > 1 or len(series.levels) > 1:
        notes.append("smaller copies of the image (a thumbnail or pyramid) are left out")
    if series.is_multifile or any(page is None for page in series.pages):
        raise ValueError("it does not hold all of its image, which lies in several files; save the image as one file")
    if min(series.shape) < 1:
        raise ValueError(f"it holds no pixels ({' x '.join(map(str, series.shape))})")
    if not re.fullmatch("[^YXS]*S?YXS?", series.axes):
        raise ValueError(f"its axes are in the order {series.axes}; save it with rows and columns last (ZYX)")
    if len({orientation(page) for page in series.pages}) > 1:
        raise ValueError("its pages have different orientations; save them one by one")
    if math.prod(series.shape) > MAX_VALUES:
        raise too_large(series.shape)
    layers = [(axis, n) for axis, n in zip(series.axes, series.shape, strict=True) if axis not in "YXS" and n > 1]
    if any(axis not in SLICES for axis, _ in layers) or len(layers) > 1:
        told = ", ".join(f"{n} {tifffile.TIFF.AXES_NAMES.get(axis, axis)}s" for axis, n in layers)
        raise ValueError(f"its axes are {series.axes} ({told}): save each channel, time point or stack as its own file")
    if layers and layers[0][0] in PAGES:
        notes.append(f"its {layers[0][1]} pages are taken as slices, as nothing says what they are")
    return series


def name(value: int) -> str:
    """Name of a tag's value; its number where TIFF has none for it."""
    return getattr(value, "name", str(value))


def orientation(page: tifffile.TiffPage) -> int:
    """1 to 8, how a page is to be turned; 1 where a tag makes no sense."""
    found = getattr(page, "tags", {}).get(ORIENTATION)  # frames of a stack share the tags of its first page
    return int(found.value) if found is not None and found.value in range(1, 9) else 1


def samples(page: tifffile.TiffPage, notes: list[str]) -> bool:
    """Whether a page has colours. ValueError where it has channels of which nothing says what they are."""
    kind, count, extra = name(page.photometric), page.samplesperpixel, tuple(map(int, page.extrasamples))
    own = SAMPLES.get(kind)
    if own is None:
        raise ValueError(f"its kind of colour ({kind.lower()}) can't be read; save it as grey or RGB")
    planes = int(page.planarconfig or 1) == 2 and count > 1
    if own > 1 and (page.dtype is None or page.dtype.kind != "u"):
        raise ValueError(f"its colours are {page.dtype}; if they are slices or channels, save each as its own file")
    if kind == "YCBCR" and not name(page.compression).endswith("JPEG"):
        raise ValueError("its colours (YCbCr) are stored unpacked, which can't be read; save it as RGB")
    if kind == "PALETTE" and page.colormap is not None and 0 < page.colormap.max() < 256:
        raise ValueError("its palette has 8 bits where TIFF asks for 16, so its colours can't be told; save it as RGB")
    if count == own:
        if kind == "SEPARATED":
            notes.append("its printing colours (CMYK) are turned into RGB")
        if planes:
            notes.append("its three planes are taken as colours, as its header says")
        return own >= 3 or kind == "PALETTE"
    if count == own + 1 and not planes and (extra in ((ASSOCIATED,), (2,)) or (extra == () and own == 3)) and own != 4:
        notes.append("its transparency is left out")
        return own == 3 or kind == "PALETTE"
    raise ValueError(f"it has {count} samples a pixel ({kind.lower()}): save each channel as a file of its own")


def decoded(
    path: Path, series: tifffile.TiffPageSeries, page: tifffile.TiffPage, calibrated: bool, notes: list[str]
) -> np.ndarray:
    """(pages, h, w) or (pages, h, w, 3): stored numbers, bright for high ones unless ``calibrated``, upright."""
    bits, kind = page.bitspersample, name(page.photometric)
    if page.dtype is None or page.dtype.kind not in "iufb":
        raise ValueError(f"its numbers are {page.dtype or f'of {bits} bits'}; only real numbers can be read")
    turn, packed = orientation(page), name(page.compression)
    simple = kind in ("MINISBLACK", "MINISWHITE", "RGB") and packed in PLAIN and int(page.predictor) in WHOLE
    simple = simple and bits in (8, 16, 32, 64) and page.samplesperpixel != 2
    simple = simple and tuple(map(int, page.extrasamples)) != (ASSOCIATED,)
    if simple:
        stored = upright(layered(series)[..., : 3 if page.samplesperpixel >= 3 else None], turn)
    else:
        if page.parent.byteorder == ">" and bits > 8 and (page.dtype.kind, bits) != ("u", 16):
            raise ValueError(f"big-endian numbers packed as {packed} can't be read; save it unpacked")
        if page.samplesperpixel > 1 and bits > 8:
            raise ValueError(f"colours or transparency of {bits} bits ({packed.lower()}) can't be read; leave it out")
        stored = by_pillow(path, page, [one.index for one in series.pages])
    layers = math.prod(n for axis, n in zip(series.axes, series.shape, strict=True) if axis not in "YXS")
    if len(stored) != layers:
        raise ValueError(f"it says that it holds {layers} pages, but has {len(stored)}")
    if turn != 1:
        notes.append("turned upright as its orientation tag asks")
    if kind == "MINISWHITE" and calibrated:
        notes.append("meant to be shown with dark as high (min-is-white); calibrated numbers stay as they are")
        if not simple and bits <= 8:
            raise ValueError("its calibrated numbers are packed with dark as high; save it unpacked")
    elif kind == "MINISWHITE":
        notes.append("stored with dark as high (min-is-white): inverted")
        if simple or bits > 8:  # Pillow has inverted up to 8 bits by itself
            if stored.dtype.kind != "u":
                raise ValueError(f"dark is stored as high (min-is-white) as {stored.dtype}; invert it when you save it")
            stored = (2**bits - 1 - stored.astype(np.int64)).astype(stored.dtype)
    if bits < 8:
        notes.append(f"{bits} bits are stretched to 0-255")
    return stored


def layered(series: tifffile.TiffPageSeries) -> np.ndarray:
    """(pages, h, w) or (pages, h, w, samples) of what tifffile unpacks."""
    axes, array = series.axes, series.asarray()
    kept = [n for n, axis in enumerate(axes) if axis in "YXS" or array.shape[n] > 1]
    array = array.reshape([array.shape[n] for n in kept])
    axes = "".join(axes[n] for n in kept)
    if "S" in axes:
        array = np.moveaxis(array, axes.index("S"), -1)
    one = array[None] if not set(axes) & set(SLICES) else array
    return np.ascontiguousarray(one).astype(one.dtype.newbyteorder("="))


def by_pillow(path: Path, page: tifffile.TiffPage, pages: Sequence[int]) -> np.ndarray:
    """The same by Pillow, which unpacks more. It turns pages upright."""
    found = []
    try:
        with Pillow.open(path, formats=("TIFF",)) as picture:
            for number in pages:
                picture.seek(number)
                if picture.mode in ("LA", "1"):
                    found.append(np.array(picture.convert("L")))
                elif picture.mode in ("RGBA", "P", "PA", "CMYK", "YCbCr", "LAB"):
                    found.append(np.array(picture.convert("RGB")))
                elif picture.mode in ("L", "RGB", "I", "F") or picture.mode.startswith("I;16"):
                    found.append(np.array(picture))
                else:
                    raise ValueError(picture.mode)
    except (UnidentifiedImageError, ValueError, TypeError) as error:
        kind = f"{page.bitspersample} bits ({name(page.photometric).lower()})"
        raise ValueError(f"{kind} packed as {name(page.compression)} can't be read; save it unpacked") from error
    stored = np.stack(found)
    whole, wanted = stored.dtype.kind in "iu", page.dtype.newbyteorder("=")
    # Pillow holds 8 signed bits as unsigned, and 32 unsigned ones as signed.
    if whole and wanted.kind in "iu" and stored.dtype.itemsize == wanted.itemsize:
        return stored.view(wanted)
    return stored.astype(wanted) if whole and page.bitspersample >= 8 else stored


def upright(stored: np.ndarray, turn: int) -> np.ndarray:
    """(pages, h, w, …) turned as TIFF's orientation tag, 1 to 8, says."""
    if turn >= 5:
        stored = stored.swapaxes(1, 2)
    mirrored, reversed_ = turn in (2, 3, 6, 7), turn in (3, 4, 7, 8)
    return np.ascontiguousarray(stored[:, :: -1 if reversed_ else 1, :: -1 if mirrored else 1])


def calibration(file: tifffile.TiffFile, notes: list[str]) -> tuple[float, float] | None:
    """Value of 0 and of a step that ImageJ gave to stored numbers. ValueError for a curve.

    It keeps 16 signed bits as unsigned ones and a line that takes 32768 off (ij.measure.Calibration).
    """
    found = (file.imagej_metadata or {}) if file.is_imagej else {}
    function = str(found.get("cf", 20))
    if function == "20":  # none
        return None
    if function != "0":
        raise ValueError(f"ImageJ gave it a curve of calibration (cf={function}); save it as 32 bits, with its values")
    base, step = float(found.get("c0", 0)), float(found.get("c1", 1))
    notes.append(f"ImageJ's calibration is applied: {base:g} + {step:g} x the stored number")
    return base, step


def nodata(page: tifffile.TiffPage) -> float | None:
    """The number that stands for no measurement; None where there is none, or no number."""
    found = page.tags.get(NODATA)
    try:
        return None if found is None else float(str(found.value).strip("\0 "))
    except ValueError:
        return None


def meant(page: tifffile.TiffPage, notes: list[str]) -> tuple[str, float, float] | None:
    """What `writing` left in a TIFF of its own about its numbers, see `meaning`; None in any other."""
    found = page.tags.get(DESCRIPTION)
    text = found.value if found is not None and isinstance(found.value, str) else ""
    return meaning(text, notes) if text.startswith('{"' + MEANING) else None


def meaning(text: str, notes: list[str]) -> tuple[str, float, float] | None:
    """Units, steps per unit and the value of 0 in a text of `writing`; None, and a note, if it makes no sense."""
    try:
        found = json.loads(text)[MEANING]
        units, per_unit, low = str(found["units"]), float(found["per_unit"]), float(found["low"])
    except (ValueError, KeyError, TypeError, RecursionError):
        units = ""
    if units not in UNITS or not (math.isfinite(per_unit) and per_unit > 0 and math.isfinite(low)):
        notes.append("its note on units can't be read and was left out")
        return None
    return units, per_unit, low
