"""Three digits in the colour channels of one image: 1,000 modes that can be counted (review Sec. 2.1, mode collapse).

The benchmark of Metz et al. 2017 (unrolled GANs) and of Srivastava et al. 2017 (VEEGAN).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from medgan_lib.cohorts.cohort import SPLITS, Cohort

_CLASSES = tuple(f"{mode:03d}" for mode in range(1000))
_SINGLE = 1 << 20  # more than any of the sets has digits


def digits(split: str, *, size: int | None = None, n: int | None = None, seed: int = 0) -> Cohort:
    """``x`` (n, 3, size, size) in [-1, 1], three random digits of `digits.load`, and ``label`` (n,) 0-999.

    Mode 100 a + 10 b + c has the digits a, b and c in its channels. ``n`` (default 10,000) triples are drawn with
    repetition of their digits by ``seed``; a digit stays in its split, so no digit is in two splits. ``size`` is at
    least 28, and 32 if left out. ``truth``: "modes", 1000.
    """
    from medgan_lib.cohorts.simulated.digits import load

    return _stacked("digits", load, split, size, n, seed)


def mnist(split: str, *, size: int | None = None, n: int | None = None, seed: int = 0) -> Cohort:
    """The same from the digits of `real.mnist`."""
    from medgan_lib.cohorts.public.mnist import load as load

    return _stacked("mnist", load, split, size, n, seed)


def _stacked(
    name: str, load: Callable[..., Cohort], split: str, size: int | None, n: int | None, seed: int
) -> Cohort:
    single = load(split, size=size or 32)
    rng = np.random.default_rng([*f"stacked_{name}".encode(), SPLITS.index(split), seed])
    pick = torch.from_numpy(rng.integers(len(single), size=(n or 10_000, 3)))
    a, b, c = single["label"][pick].unbind(1)
    first, second, third = single.subjects[pick].unbind(1)
    return Cohort(
        name=f"stacked_{name}",
        tensors={"x": single.x[pick].squeeze(2), "label": 100 * a + 10 * b + c},
        subjects=(first * _SINGLE + second) * _SINGLE + third,
        units=single.units,
        window=single.window,
        origin=single.origin,
        split=split,
        classes={"label": _CLASSES},
        note=f"three handwritten digits of {name} as red, green and blue, 1,000 modes",
        truth={"modes": len(_CLASSES)},
    )
