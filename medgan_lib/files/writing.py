"""`write`: a result with the geometry of its input, whole or not at all, and never over another file."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import tifffile
from PIL import Image as Pillow
from PIL import PngImagePlugin

from .atomic import atomic
from .image import UNITS, Grid, Image
from .pictures import MEANING

HU_STEPS, HU_LOW = 16, -1024  # a 16-bit picture holds -1024..3071 HU in steps of 1/16


def write(target: str | Path, values: np.ndarray, like: Image, *, units: str | None = None) -> Path:
    """Write ``values`` (channels, *size) in ``units`` (None: those of ``like``) with the geometry of ``like``.

    ``target`` is a file with the suffix of its kind, or a folder, which is made where it is missing: the file is then
    called <name of like><suffix>. NIfTI and DICOM give .nii.gz (or .nii) with the input's affine and order of voxels,
    HU as int16, all else as float32. A grey PNG, JPEG or TIFF gives a 16-bit .png, whose text says what its steps
    mean, so that `read` gives back the units; 8-bit colours give an 8-bit .png, 16-bit colours and stacks a .tif; npz
    gives .npz. Returns the file written.

    ValueError: values of another size than ``like`` has, or not finite; a suffix of another kind. FileExistsError: the
    file is there already, so no input is ever overwritten.
    """
    values, units = np.asarray(values, dtype=np.float32), units or like.units
    if units not in UNITS:
        raise ValueError(f"units must be one of {', '.join(UNITS)}, they are {units!r}")
    if values.ndim != len(like.size) + 1 or values.shape[1:] != like.size or values.shape[0] not in (1, 3):
        raise ValueError(
            f"{like.path.name} has size {like.size}, the values to write {values.shape}: they must be (channels, "
            "*size) with one or three channels, and padding cropped off"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"the values to write for {like.path.name} are not all finite")
    suffixes, encoded = encode(values, like, units)
    target = Path(target).expanduser()
    suffix = next((known for known in suffixes if target.name.lower().endswith(known)), None)
    if target.is_dir() or (suffix is None and not target.suffix):
        target, suffix = target / f"{like.name}{suffixes[0]}", suffixes[0]
    if suffix is None:
        raise ValueError(f"{target.name}: an output for {like.path.name} is a {' or '.join(suffixes)} file")
    if target.exists():
        raise FileExistsError(f"{target} is there already and is not overwritten; choose another name or folder")
    with atomic(target) as file:
        file.write(encoded if suffix != ".nii.gz" else gzip.compress(encoded, mtime=0))
    return target


def encode(values: np.ndarray, like: Image, units: str) -> tuple[tuple[str, ...], bytes]:
    """Suffixes that a file of this kind may have, the usual one first, and its bytes (before gzip)."""
    if like.kind in ("nifti", "dicom"):
        return (".nii.gz", ".nii"), nifti(values, like, units)
    file = io.BytesIO()
    if like.kind == "npz":
        array = values[0] if len(values) == 1 else np.moveaxis(values, 0, -1)
        spacing = {} if like.spacing is None else {"spacing": np.array(like.spacing)}
        np.savez_compressed(file, values=array, units=np.array(units), **spacing)
        return (".npz",), file.getvalue()
    colour, flat = len(values) == 3, len(like.size) == 2
    if colour and flat and units == "intensity 0-255":
        pixels = np.moveaxis(values, 0, -1).round().clip(0, 255).astype(np.uint8)
        Pillow.fromarray(pixels).save(file, "PNG")
        return (".png",), file.getvalue()
    per_unit, low = steps(values, units)
    stored = ((values.astype(np.float64) - low) * per_unit).round().clip(0, 65535).astype(np.uint16)
    meaning = {"units": units, "per_unit": per_unit, "low": low}
    if flat and not colour:
        text = PngImagePlugin.PngInfo()
        text.add_text(MEANING, json.dumps({MEANING: meaning}))
        Pillow.fromarray(stored[0]).save(file, "PNG", pnginfo=text)
        return (".png",), file.getvalue()
    pages = np.moveaxis(stored, 0, -1) if colour else stored[0]
    kind = "rgb" if colour else "minisblack"
    tifffile.imwrite(file, pages, photometric=kind, description=json.dumps({MEANING: meaning}), metadata=None)
    return (".tif", ".tiff"), file.getvalue()


def steps(values: np.ndarray, units: str) -> tuple[float, float]:
    """How many of 65,535 steps a unit gets, and the value of step 0."""
    low, high = float(values.min()), float(values.max())
    if units == "HU":
        return (HU_STEPS, HU_LOW) if low >= HU_LOW and high <= HU_LOW + 65535 / HU_STEPS else (1, -32768)
    if units == "intensity 0-65535":
        return 1, 0
    if units == "intensity 0-255":
        return 257, 0  # 255 of 8 bits is 65535 of 16
    return (65535 / (high - low) if high > low else 1.0), low


def nifti(values: np.ndarray, like: Image, units: str) -> bytes:
    """A NIfTI with the voxels of ``like`` where they were. Free text of the input's header is not carried on."""
    if len(values) != 1 or like.grid is None:
        raise ValueError(f"{like.path.name}: colours can't be written as NIfTI")
    place: Grid = like.grid
    voxels = place.to_file(values)[0]
    if units == "HU" and abs(values).max() < 2**15 - 1:
        voxels = voxels.round().astype(np.int16)
    if place.header is None:
        image = nib.Nifti1Image(voxels, place.affine)
        image.header.set_xyzt_units("mm")
        image.set_qform(place.affine, code="scanner")  # a sheared affine has no qform; the sform is exact
        image.set_sform(place.affine, code="scanner")
        return image.to_bytes()
    header = place.header.copy()
    for text in {"descrip", "aux_file", "db_name", "intent_name"} & set(header.keys()):
        header[text] = b""
    header["cal_min"] = header["cal_max"] = 0  # a display window of the input's contrast
    header["intent_code"] = 0
    if "glmin" in header.keys():  # noqa: SIM118, the header itself has no "in"
        header["glmin"] = header["glmax"] = 0
    header.set_data_dtype(voxels.dtype)
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    return kind(voxels.reshape(place.shape), place.affine, header).to_bytes()
