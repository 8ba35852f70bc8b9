"""A visual Turing test with a trained observer in the radiologist's place (review Sec. 5.1).

Which images the observer learnt on is half of the result: it must not have learnt on the images that it judges.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from medgan_lib.networks import batched

GENERATED, REAL = 0, 1


class TuringTest(NamedTuple):
    """Share of right verdicts with its 95 % interval; shares of fakes called real and of real ones called fakes."""

    accuracy: float
    low: float
    high: float
    fooled: float
    doubted: float


def turing_lessons(real: Tensor, generated: Tensor) -> dict[str, Tensor]:
    """What `methods.Classifier` learns an observer from: ``x``, and ``label`` 1 where it is real, 0 where generated.

    Both are images (n, channels, *size), equally many, so that chance is 0.5; else ValueError.
    """
    _alike(real, generated)
    label = torch.tensor([REAL, GENERATED], device=real.device).repeat_interleave(len(real))
    return {"x": torch.cat([real, generated]), "label": label}


def turing_test(observer: nn.Module, real: Tensor, generated: Tensor, batch_size: int = 256) -> TuringTest:
    """What an ``observer``, images -> logits (n, 2) as in `turing_lessons`, says of images that it has not seen.

    The interval is that of Clopper and Pearson for independent images. 2 accuracy - 1 is on average at
    most the total variation between the two distributions, which only the best possible observer reaches: see Lopez-Paz
    and Oquab (2017). ValueError for unequal numbers of images, or other sizes.
    """
    from scipy.stats import binomtest

    _alike(real, generated)
    says_real = [(batched(observer, images, batch_size).argmax(1) == REAL).cpu() for images in (real, generated)]
    doubted, fooled = (~says_real[0]).double().mean().item(), says_real[1].double().mean().item()
    right, n = int(says_real[0].sum() + (~says_real[1]).sum()), 2 * len(real)
    interval = binomtest(right, n).proportion_ci(0.95, method="exact")
    return TuringTest(right / n, float(interval.low), float(interval.high), fooled, doubted)


def _alike(real: Tensor, generated: Tensor) -> None:
    if real.shape != generated.shape or not len(real):
        raise ValueError(
            f"real images {tuple(real.shape)} and generated ones {tuple(generated.shape)} must be equally many, of one "
            "size; cut the larger set"
        )
