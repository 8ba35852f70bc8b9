"""Image files as tests of files and of a reader's folder need them: NIfTI, pictures, DICOM series."""

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pydicom
import pydicom.data
from PIL import Image as Pillow

RNG = np.random.default_rng(0)
AFFINE = np.diag([1.5, 2.5, 4.0, 1.0])


def affines():
    """All orders and directions of the axes, 48 of them."""
    for axes in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            affine = np.eye(4)
            affine[:3, :3] = 0
            for column, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
                affine[axis, column] = sign * (1.5 + column)
            affine[:3, 3] = (3, -7, 11)
            yield affine


def ct(shape):
    values = RNG.integers(-1000, 2000, shape).astype(np.int16)
    values.flat[0] = -1024
    return values


def save_nifti(path, values, affine=AFFINE, **header):
    image = nib.Nifti1Image(values, affine)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


def png(path, values):
    Pillow.fromarray(values).save(path)
    return path


def slice_at(
    folder, number, z, values, uid="1.2.3", orientation=(1, 0, 0, 0, 1, 0), position=(-50.0, -60.0), **changes
):
    data = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
    data.Rows, data.Columns = values.shape
    data.PixelData = (values.astype(np.int32) + 1024).astype("<i2").tobytes()
    data.RescaleIntercept, data.RescaleSlope, data.PixelSpacing = -1024, 1, [0.8, 0.6]
    data.ImageOrientationPatient = list(orientation)
    data.ImagePositionPatient = [*position, z]
    data.SeriesInstanceUID, data.InstanceNumber = uid, number
    for key, value in changes.items():
        setattr(data, key, value)
    folder.mkdir(parents=True, exist_ok=True)
    data.save_as(folder / f"{number:03}.dcm")
    return folder / f"{number:03}.dcm"


def series(folder, slices=4, gap=2.5, **how):
    values = ct((slices, 6, 5))
    for number in range(slices):  # the file names run against the positions
        slice_at(folder, slices - number, 100 + gap * number, values[number], **how)
    return values


def add_a_series(folder):
    slice_at(folder, 9, 110, ct((6, 5)), uid="1.2.4")
