"""Read NIfTI files, after their header has been compared with what the file holds.

nibabel interprets the header, but reads no voxels here: of a packed file it stops before the checksum, so a flipped bit
mostly gives other voxels and no error, and it holds extensions as large as a file claims them to be.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np

from .image import MAX_VALUES, Image, grid, guess_units, too_large

MOST_EXTRA = 2**24  # bytes that may come before the voxels (header extensions) or, uncompressed, after them


def read(path: Path) -> Image:
    """A 2-D or 3-D NIfTI, packed or not. ValueError: the reason why it can't be used, without the file's name."""
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path, "rb") if packed else open(path, "rb") as file:
            head = file.read(544)
            header = parsed(head)
            shape, dtype = checked(header)
            start = int(header["vox_offset"])
            if not len(header.binaryblock) <= start <= MOST_EXTRA:
                raise ValueError(f"its header says that the voxels begin at byte {start}")
            need = start + math.prod(shape) * dtype.itemsize
            if not packed and os.path.getsize(path) < need:
                raise ValueError(f"truncated: its header asks for {need} bytes, the file has {os.path.getsize(path)}")
            data = head + file.read(max(need - len(head), 0))
            if len(data) < need:
                raise ValueError(f"truncated: its header asks for {need} bytes, there are {len(data)}")
            # To the end, since only there the checksum of a gzip file is verified.
            if packed and len(file.read(MOST_EXTRA + 1)) > MOST_EXTRA:
                raise ValueError("it holds much more than its header says")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"truncated or damaged ({error})") from error
    raw = np.frombuffer(data, dtype, count=math.prod(shape), offset=start).reshape(shape, order="F")
    slope, intercept = header.get_slope_inter()
    if slope is not None:
        raw = raw.astype(np.float64) * slope + intercept
    place = grid(header.get_best_affine(), shape, header)
    with np.errstate(over="ignore"):
        values = place.from_file(raw.reshape(1, *(*shape, 1, 1)[:3]).astype(np.float32))
    units = guess_units(values) if np.isfinite(values).any() else "signal"
    return Image(values, place.spacing, units, path, "nifti", grid=place)


def parsed(head: bytes) -> nib.Nifti1Header:
    """The header at the beginning of a file. Extensions are left alone: results don't carry them on."""
    sizes = {int.from_bytes(head[:4], order) for order in ("little", "big")}
    for kind, length, magic in ((nib.Nifti1Header, 348, slice(344, 347)), (nib.Nifti2Header, 540, slice(4, 7))):
        if length in sizes and len(head) >= length:
            if head[magic] in (b"ni1", b"ni2"):
                raise ValueError("header and voxels are in two files (.hdr, .img); save it as one .nii")
            if head[magic] not in (b"n+1", b"n+2"):
                raise ValueError("not a NIfTI file (its header has no magic number)")
            return kind(head[:length])
    raise ValueError("not a NIfTI file" if head else "the file is empty (0 bytes)")


def checked(header: nib.Nifti1Header) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of the voxels, if they are those of a single grey image of a size that can be held."""
    shape, dtype = tuple(int(n) for n in header.get_data_shape()), header.get_data_dtype()
    if any(n < 1 for n in shape):
        raise ValueError(f"its shape {shape} has no voxels")
    if any(n > 1 for n in shape[3:]):
        raise ValueError(
            f"it is {len(shape)}-D, {' x '.join(map(str, shape))}: save each time point, echo or contrast as a file of "
            "its own (nibabel.four_to_three)"
        )
    if dtype.names or dtype.kind not in "iufb":
        raise ValueError(f"its voxels are {'colours' if dtype.names else dtype}; only real numbers can be read")
    if math.prod(shape) > MAX_VALUES:
        raise too_large(shape)
    return shape, dtype
