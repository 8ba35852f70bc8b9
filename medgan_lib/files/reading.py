"""`read`: any file with one of `SUFFIXES`, or a folder with a DICOM series, as an `Image`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

from . import arrays, dicom, nifti, pictures
from .image import PICTURE_SUFFIXES, SUFFIXES, Image, finite


def reader(path: Path) -> Callable[[Path], Image] | None:
    """The function that reads such a file, or None if it is no image by its name (or, for DICOM, its preamble)."""
    name = path.name.lower()
    if path.is_dir() or dicom.is_dicom(path):
        return dicom.read
    if name.endswith((".nii", ".nii.gz")):
        return nifti.read
    if name.endswith(PICTURE_SUFFIXES):
        return pictures.read
    return arrays.read if name.endswith(".npz") else None


def read(path: str | Path) -> Image:
    """The image in a file, or the series in a folder of DICOM slices.

    What a stored number means is in `meanings`. Units: CT from DICOM is HU unless its header says otherwise, dose Gy
    and PET Bq/ml; NIfTI, TIFF and npz without stated units are HU where a value is at or below -500; 8- and 16-bit
    pictures are "intensity 0-255" and "intensity 0-65535", everything else "signal". What was done to values, or is in
    doubt, is in ``notes``. FileNotFoundError, or ValueError "<path>: <what is wrong with it>".
    """
    path = Path(path).expanduser()
    try:
        if not path.exists():
            what = "a link that leads nowhere" if path.is_symlink() else "no such file or folder"
            raise FileNotFoundError(f"{path}: {what}")
        how = reader(path)
        if how is None:
            raise ValueError(f"not an image; {', '.join(SUFFIXES)} can be read, and DICOM of any name")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd header values are common; what concerns the image is an error
            return finite(how(path))
    except FileNotFoundError:
        raise
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # the parsers of all these formats raise anything on damaged files
        raise ValueError(f"{path}: it can't be read, truncated or damaged ({type(error).__name__}: {error})") from error
