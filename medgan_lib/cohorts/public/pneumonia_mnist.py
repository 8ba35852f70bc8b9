"""Real chest radiographs of children, 28 x 28 pixels: PneumoniaMNIST, without the repeats that its splits share.

`load` reads the prepared form, which is the published file; a copy may hold its images in another order.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from medgan_lib.cohorts.cohort import SPLITS, Cohort, draw
from medgan_lib.cohorts.public.prepared import prepared
from medgan_lib.cohorts.simulated import digits

NAME = "pneumonia_mnist"
CLASSES = ("normal", "pneumonia")


def load(split: str, *, size: int | None = None, n: int | None = None, seed: int = 0) -> Cohort:
    """``x`` (n, 1, 28, 28) in [-1, 1], 8-bit grey 0-255, and ``label`` (n,): 0 normal, 1 pneumonia.

    The published splits, but for train: an image that is in val, too, is left out, and of equal ones one is kept. That
    drops 26 of the 4,708 (10 in val, 16 repeats) and leaves 4,682, and no image is in two splits. val and test are as
    published; test holds 3 repeats. Images come in the order of their SHA-256, whatever order the file has, and that
    number is the subject: equal images are one subject. **Patients are not recorded**; several radiographs of one
    child may be in two splits. ``size`` > 28 adds black all around (`digits.unpad` takes it off again).

    ValueError: a size or n it can't have, a file that can't be used; FileNotFoundError: no file.
    Yang et al., MedMNIST v2, Sci Data 10:41 (2023); Kermany et al., Cell 172 (2018).
    """
    arrays = prepared(NAME)
    numbers = {part: _numbers(arrays[f"{part}_images"]) for part in SPLITS}
    index = np.argsort(numbers[split], kind="stable")
    if split == "train":
        elsewhere = np.isin(numbers["train"], np.concatenate([numbers["val"], numbers["test"]]))
        _, first = np.unique(numbers["train"], return_index=True)  # in the order of the numbers
        index = first[~elsewhere[first]]
    index = draw(NAME, index, n, seed)
    return Cohort(
        name=NAME,
        tensors={
            "x": digits.to_x(arrays[f"{split}_images"][index], size, NAME),
            "label": torch.from_numpy(arrays[f"{split}_labels"][index, 0].astype(np.int64)),
        },
        subjects=torch.from_numpy(numbers[split][index]),
        units={"x": "8-bit grey"},
        window={"x": (0.0, 255.0)},
        origin="real",
        split=split,
        classes={"label": CLASSES},
        note="real chest radiographs of children (PneumoniaMNIST), 28 x 28 pixels, not split by patient",
    )


def _numbers(images: np.ndarray) -> np.ndarray:
    """int64 (n,) from 0: the first 63 bits of each image's SHA-256."""
    found = [int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:8], "big") >> 1 for image in images]
    return np.array(found, np.int64)
