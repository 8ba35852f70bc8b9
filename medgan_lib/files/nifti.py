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

from .image import MAX_VALUES, Grid, Image, grid, guess_units, inexact, sheared, too_large

SMALLEST, LARGEST = 0.01, 50.0  # mm, voxels beyond which a unit is doubted
STATISTICS = range(2, 25)  # intent codes of NIfTI-1.1
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
            start = int(header["vox_offset"]) if np.isfinite(header["vox_offset"]) else -1
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
    try:
        slope, intercept = header.get_slope_inter()
    except nib.spatialimages.HeaderDataError as error:
        raise ValueError(
            f"its slope is {header['scl_slope']:g} and its intercept {header['scl_inter']:g}: its values have no scale"
        ) from error
    notes = inexact(raw) if slope in (None, 1) else []
    if slope is not None:
        raw = raw.astype(np.float64) * slope + intercept
    place = grid(header.get_best_affine(), shape, header)
    notes += [*where(header, shape), *odd(header, place), *sheared(place)]
    with np.errstate(over="ignore"):
        values = place.from_file(raw.reshape(1, *(*shape, 1, 1)[:3]).astype(np.float32))
    units = guess_units(values, notes)
    return Image(values, place.spacing, units, path, "nifti", grid=place, notes=tuple(notes))


def where(header: nib.Nifti1Header, shape: tuple[int, ...]) -> list[str]:
    """Notes where a header's two positions differ, or it has none."""
    if not (header["sform_code"] > 0 or header["qform_code"] > 0):
        return ["it has no position (qform and sform codes are 0): that its first axis goes left is a guess"]
    if not (header["sform_code"] > 0 and header["qform_code"] > 0):
        return []
    try:
        qform = header.get_qform()
    except ValueError as error:  # a quaternion that is none
        return [f"its qform can't be read ({error}); the sform is used"]
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * [*(*shape, 1, 1)[:3], 1]
    moved = np.linalg.norm(corners @ (header.get_sform() - qform).T, axis=1).max()
    if moved <= nib.affines.voxel_sizes(header.get_sform()).min() / 2:
        return []
    return [f"its two positions (sform and qform) are up to {moved:.3g} apart; the sform is used"]


def odd(header: nib.Nifti1Header, place: Grid) -> list[str]:
    """Notes on voxel sizes that contradict each other or are no person's, and on numbers that are statistics."""
    notes = []
    sizes, told = nib.affines.voxel_sizes(place.affine), np.array([*header.get_zooms(), 1, 1])[:3]
    axes = sorted(place.order)
    if not np.allclose(sizes[axes], told[axes], rtol=0.01):
        shown = [" x ".join(f"{one:.4g}" for one in some[axes]) for some in (told, sizes)]
        notes.append(f"its voxels are {shown[0]} by pixdim and {shown[1]} by its affine, which is used")
    if min(place.spacing) < SMALLEST or max(place.spacing) > LARGEST:
        shown = " x ".join(f"{one:.4g}" for one in place.spacing)
        notes.append(f"its voxels are {shown} mm, if its header names the right unit (xyzt_units)")
    if int(header["intent_code"]) in STATISTICS:
        notes.append(f"its numbers are statistics by its header (intent: {header.get_intent()[0]})")
    return notes


def parsed(head: bytes) -> nib.Nifti1Header:
    """The header at the beginning of a file. Extensions are left alone: results don't carry them on."""
    sizes = {int.from_bytes(head[:4], order) for order in ("little", "big")}
    for kind, length, magic in ((nib.Nifti1Header, 348, slice(344, 347)), (nib.Nifti2Header, 540, slice(4, 7))):
        if length in sizes and len(head) >= length:
            if head[magic] in (b"ni1", b"ni2"):
                raise ValueError("header and voxels are in two files (.hdr, .img); save it as one .nii")
            if head[magic] not in (b"n+1", b"n+2"):
                raise ValueError("not a NIfTI file (its header has no magic number)")
            try:
                return kind(head[:length])
            except nib.spatialimages.HeaderDataError as error:
                raise ValueError(f"its header makes no sense ({error})") from error
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
