"""Odd NIfTI and npz, see `odd_files`.

Values of a file (i, j, k) come as (k, j, i), turned by the affine; with the axes of `LPS` nothing is reversed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from odd_files import TALL, VOLUME, case

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def nifti(folder: Path, values: np.ndarray | None = None, affine: np.ndarray = LPS, codes=(0, 2), **header) -> Path:
    stored = VOLUME.T.astype(np.int16) if values is None else values
    image = nib.Nifti1Image(stored, affine)
    image.set_sform(affine, codes[1])
    image.set_qform(affine, codes[0])
    raw = bytearray(image.to_bytes())
    head = nib.Nifti1Header(bytes(raw[:348]), check=False)
    for key, value in header.items():
        head[key] = value
    raw[:348] = head.binaryblock
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.nii").write_bytes(raw)
    return folder / "a.nii"


@case("NIfTI", "scl_slope, scl_inter", values=VOLUME[None] * 2 + 3, units="signal", notes=0)
def nifti_with_slope(folder):
    return nifti(folder, scl_slope=2, scl_inter=3)


@case("NIfTI", "scl_slope, scl_inter", values=VOLUME[None], units="signal", notes=0)
def nifti_with_slope_of_zero(folder):
    return nifti(folder, scl_slope=0, scl_inter=3)


@case("NIfTI", "scl_slope, scl_inter", refused="its slope is 2 and its intercept nan")
def nifti_with_half_a_scale(folder):
    return nifti(folder, scl_slope=2, scl_inter=np.nan)


@case("NIfTI", "datatype", refused="only real numbers can be read")
def nifti_of_complex_numbers(folder):
    return nifti(folder, VOLUME.T.astype(np.complex64))


@case("NIfTI", "dim[4] and above", refused="5-D, 5 x 4 x 3 x 1 x 3: save each time point")
def nifti_of_vectors(folder):
    return nifti(folder, np.zeros((5, 4, 3, 1, 3), np.float32))


@case("NIfTI", "qform against sform", values=VOLUME[None], note=r"sform and qform\) are up to 10 apart", units="signal")
def two_positions(folder):
    path = nifti(folder)
    image = nib.load(path)
    turned = nib.Nifti1Image(image.get_fdata().astype(np.int16), None, image.header)
    turned.set_sform(LPS, 2)
    turned.set_qform(np.diag([-1.0, 1.0, -1.0, 1.0]), 1)
    nib.save(turned, path)
    return path


@case("NIfTI", "qform against sform", values=VOLUME[None], units="signal", notes=0)
def two_equal_positions(folder):
    return nifti(folder, codes=(1, 2))


@case("NIfTI", "qform against sform", values=VOLUME[None], units="signal", note="qform can't be read")
def a_quaternion_that_is_none(folder):
    return nifti(folder, codes=(1, 2), quatern_b=5)


@case("NIfTI", "datatype", refused="header makes no sense .data code 77")
def nifti_of_no_type(folder):
    return nifti(folder, datatype=77)


@case("NIfTI", "qform_code and sform_code 0", note="that its first axis goes left is a guess", units="signal")
def no_position(folder):
    return nifti(folder, codes=(0, 0))


@case("NIfTI", "pixdim against affine", note="1 x 1 x 1 by pixdim and 1 x 1 x 3 by its affine", units="signal")
def two_voxel_sizes(folder):
    return nifti(folder, affine=np.diag([-1.0, -1, 3, 1]), pixdim=[1, 1, 1, 1, 1, 1, 1, 1])


@case("NIfTI", "shear in the affine", values=VOLUME[None], note="degrees from right angles", units="signal")
def sheared_nifti(folder):
    affine = LPS.copy()
    affine[1, 2] = 0.25
    return nifti(folder, affine=affine)


@case("NIfTI", "xyzt_units", values=VOLUME[None], spacing=(1, 1, 1), units="signal", notes=0)
def nifti_in_metres(folder):
    return nifti(folder, affine=LPS * [1e-3, 1e-3, 1e-3, 1], xyzt_units=1)


@case("NIfTI", "xyzt_units", note="voxels are 1000 x 1000 x 1000 mm, if its header names the right", units="signal")
def microns_called_mm(folder):
    return nifti(folder, affine=LPS * [1000, 1000, 1000, 1], xyzt_units=2)


@case("NIfTI", "intent_code", values=VOLUME[None], note="statistics by its header .*z score", units="signal")
def a_map_of_z(folder):
    return nifti(folder, intent_code=5)


@case("all", "values at or below -500 without units", values=VOLUME[None] - 1000, units="HU", note="HU only by")
def nifti_of_ct(folder):
    return nifti(folder, (VOLUME.T - 1000).astype(np.int16))


@case("all", "NaN, Inf", values=[[[59, 59], [1, 1]]], note="2 values are not finite", units="signal")
def nifti_with_holes(folder):
    return nifti(folder, np.array([[59, np.inf], [1, np.nan]], np.float32).T[:, :, None])


@case("all", "whole numbers beyond 2^24", note="neighbours can't be told apart", units="signal")
def atlas_of_large_numbers(folder):
    return nifti(folder, (VOLUME.T + 614454277).astype(np.int32))


# npz


def npz(folder: Path, **arrays: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "a.npz", **arrays)
    return folder / "a.npz"


@case("npz", "units, spacing", values=TALL[None], units="Gy", spacing=(3, 2, 1), notes=0)
def npz_with_units(folder):
    return npz(folder, values=TALL, units="Gy", spacing=[3, 2, 1])


@case("npz", "units, spacing", refused="units must be one of")
def npz_with_other_units(folder):
    return npz(folder, values=VOLUME, units="stone")


@case("npz", "shape", values=TALL[None], units="signal", notes=0)
def npz_with_one_channel(folder):
    return npz(folder, values=TALL[..., None])


@case("npz", "shape", refused="a last axis of 4 may be channels")
def npz_with_four_channels(folder):
    return npz(folder, values=np.zeros((16, 12, 4), np.uint8))


@case("npz", "units, spacing", values=TALL[None], units="intensity 0-65535", notes=0)
def npz_of_big_endian_numbers(folder):
    return npz(folder, values=TALL.astype(">u2"))


@case("npz", "shape", values=VOLUME[None], units="signal", note="3 layers that come first are taken as slices")
def npz_with_three_layers(folder):
    return npz(folder, values=VOLUME)
