"""MNIST, handwritten digits."""

from __future__ import annotations

import numpy as np
import torch

from medgan_lib.cohorts.cohort import Cohort, draw
from medgan_lib.cohorts.public.prepared import prepared
from medgan_lib.cohorts.registry import entry
from medgan_lib.cohorts.simulated import digits


def load(split: str, *, size: int | None = None, n: int | None = None, seed: int = 0) -> Cohort:
    """MNIST: ``x`` (n, 1, 28, 28) in [-1, 1] (intensity 0-255) and ``label`` (n,) 0-9; ``size`` as for `digits.load`.

    "test" is the official test set; every tenth training image is "val", the others are "train", so an image stays
    in its split whether the copy is complete or not. Writers are not known: every image is its own subject.
    LeCun, Bottou, Bengio, Haffner, Proc. IEEE 86 (1998).
    """
    arrays = prepared("mnist")
    source = "test" if split == "test" else "train"
    images, label = arrays[f"{source}_images"], arrays[f"{source}_labels"]
    index = np.arange(len(images))
    if source == "train":
        index = index[(index % 10 == 9) == (split == "val")]
    index = draw("mnist", index, n, seed)
    before = entry("mnist")["arrays"]["train_images"]["shape"][0] if source == "test" else 0
    return Cohort(
        name="mnist",
        tensors={
            "x": digits.to_x(images[index], size, "mnist"),
            "label": torch.from_numpy(label[index].astype(np.int64)),
        },
        subjects=torch.from_numpy(index + before),
        units={"x": digits.UNITS},
        window={"x": digits.WINDOW},
        origin="real",
        split=split,
        classes={"label": digits.CLASSES},
        note="MNIST, handwritten digits, 28 x 28 pixels",
    )
