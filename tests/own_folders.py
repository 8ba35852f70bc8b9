"""Folders of images as readers have them."""

import numpy as np
from image_files import save_nifti
from PIL import Image as Pillow

from medgan_lib.own_images import load_folder

RNG = np.random.default_rng(1)
AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])


def png(path, shape=(16, 16), dtype=np.uint8, values=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = RNG.integers(1, np.iinfo(dtype).max, shape).astype(dtype) if values is None else values
    Pillow.fromarray(values).save(path)
    return values


def nifti(path, shape=(8, 10, 4), low=0, high=1000, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = RNG.integers(low, high, shape).astype(np.int16)
    values.flat[0] = low
    save_nifti(path, values, affine)
    return values


def pair_set(root, subjects=6, shape=(8, 10, 4)):
    for k in range(subjects):
        nifti(root / "A" / f"case{k}.nii.gz", shape)
        nifti(root / "B" / f"case{k}.nii.gz", shape, -1024, 2000)
    return root


def all_splits(root, **how):
    return {split: load_folder(root, split, **how) for split in ("train", "val", "test")}
