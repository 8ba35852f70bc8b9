"""Axial lung CT crops at nodules and other candidates (LUNA16)."""

from __future__ import annotations

import numpy as np
import torch

from medgan_lib.cohorts.cohort import Cohort, draw
from medgan_lib.cohorts.public.prepared import prepared


def load(
    split: str, *, size: int | None = None, n: int | None = None, seed: int = 0, nodules_only: bool = False
) -> Cohort:
    """Axial lung CT crops at LUNA16 candidates: ``x`` (n, 1, size, size), HU clipped to -1000..400.

    ``label`` 1 is a nodule, 0 another candidate; ``nodules_only`` leaves the others out. The crops have 50 x 50 pixels
    in 8 bit, at the scans' own spacing (not recorded, roughly 0.5-0.9 mm); a smaller ``size`` (default 32) is
    resampled with antialiasing, so the field of view stays. Subjects are candidates, **not patients**: crops of one
    patient may be in two splits. Setio et al., Med Image Anal 42 (2017); Armato et al., Med Phys 38 (2011).
    """
    native, size = 50, size or 32
    if not 8 <= size <= native:
        raise ValueError(f"'lung_nodules' crops are {native} x {native}: size must be from 8 to {native}, it is {size}")
    arrays = prepared("lung_nodules")
    images, label, ids = (arrays[f"{split}_{what}"] for what in ("images", "labels", "candidate_ids"))
    index = draw("lung_nodules", np.flatnonzero(label == 1) if nodules_only else np.arange(len(label)), n, seed)
    x = torch.from_numpy(images[index])[:, None].float() / 127.5 - 1
    if size != native:
        x = torch.nn.functional.interpolate(x, (size, size), mode="bilinear", antialias=True).clamp(-1, 1)
    return Cohort(
        name="lung_nodules",
        tensors={"x": x, "label": torch.from_numpy(label[index].astype(np.int64))},
        subjects=torch.from_numpy(ids[index]),
        units={"x": "HU"},
        window={"x": (-1000.0, 400.0)},
        origin="real",
        split=split,
        classes={"label": ("other candidate", "nodule")},
        note="real lung CT crops (LUNA16 candidates), window -1000..400 HU, split by candidate, not by patient",
    )
