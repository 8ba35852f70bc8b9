"""What gates measure: whether networks are trained well enough that their numbers say something about a method.

The bounds are in ``gates.yml`` (`medgan_lib.ledger.gates`). Each measure is made so that real images pass, and so that
a Gaussian with their mean and covariance and an untrained network fail.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medgan_lib.metrics.modes import modes_covered
from medgan_lib.metrics.yardstick import Yardstick
from medgan_lib.networks import batched


def gaussian_like(train: Tensor, count: int, seed: int = 0) -> Tensor:
    """Samples of the Gaussian with the mean and covariance of ``train``: the best guess of who knows nothing else.

    Args:
        train: images (n, channels, *size) in [-1, 1], or points (n, d), at least two.
        count: how many samples.

    Returns:
        float32 (count, ...) on the device of ``train``; images are cut to [-1, 1].

    Raises:
        ValueError: fewer than two samples, or values that are not finite.
    """
    if len(train) < 2 or not train.isfinite().all():
        raise ValueError(f"a Gaussian needs at least two finite samples, not {tuple(train.shape)}")
    flat = train.flatten(1).double()
    mean = flat.mean(0)
    _, spread, directions = torch.linalg.svd(flat - mean, full_matrices=False)
    z = torch.randn(count, len(spread), generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(mean)
    samples = (mean + z * (spread / (len(flat) - 1) ** 0.5) @ directions).float().view(count, *train.shape[1:])
    return samples.clamp(-1, 1) if train.ndim > 2 else samples


def over_a_gaussian(yardstick: Yardstick, train: Tensor, held_out: Tensor, samples: Tensor) -> float:
    """Distance of samples to held-out images, over that of a Gaussian of the training images (`gaussian_like`).

    0 for a perfect generator, 1 for the Gaussian. All are cut to equal numbers, and the floor, the distance of other
    real images (of ``train``) to the held-out ones, is taken off both.

    Args:
        yardstick: made for these images.
        train, held_out, samples: (n, channels, *size) in [-1, 1], some hundred of each.

    Raises:
        ValueError: as `Yardstick.distance`, and where the Gaussian is no farther than real images are: such a judge
            cannot tell.
    """
    count = min(len(train), len(held_out), len(samples))
    floor = yardstick.distance(held_out[:count], train[:count])
    gaussian = yardstick.distance(held_out[:count], gaussian_like(train, count))
    if gaussian <= 2 * floor:
        raise ValueError(
            f"{yardstick.name} cannot tell a Gaussian ({gaussian:.3g}) from real images ({floor:.3g}): it is no judge"
        )
    return max(0.0, yardstick.distance(held_out[:count], samples[:count]) - floor) / (gaussian - floor)


def legible(classifier: nn.Module, samples: Tensor, real: Tensor, sure: float = 0.9) -> float:
    """Whether a classifier can read samples and finds every class among them, over the same for real images.

    The share of images that it is sure of, times the effective number of classes over all (the exponential of the
    entropy of their mean prediction). A generator of noise fails by the first factor, a collapsed one by the second.

    Args:
        classifier: images (n, channels, *size) -> logits (n, classes), taught on real training images.
        samples, real: images; ``real`` are held out.
        sure: from which probability it is.

    Returns:
        1 where samples are as legible as real images, and as many classes.

    Raises:
        ValueError: the classifier is sure of less than half of the real images.
    """

    def read(x: Tensor) -> tuple[float, float]:
        p = batched(classifier, x).double().softmax(1)
        mean = p.mean(0)
        classes = torch.special.entr(mean).sum().exp().item() / len(mean)
        return (p.amax(1) > sure).double().mean().item(), classes

    share, classes = read(real)
    if share < 0.5:
        raise ValueError(f"the classifier is sure of {share:.0%} of the real images only: train it longer")
    made, found = read(samples)
    return made * found / (share * classes)


def near_modes(samples: Tensor, modes: Tensor, sigma: float) -> float:
    """Share of samples within three standard deviations of a mode (`modes_covered`): 98.9 % of real ones in 2-D."""
    return modes_covered(samples, modes, sigma).high_quality


def beyond_guessing(accuracy: float, chance: float) -> float:
    """(accuracy − chance) / (1 − chance): 0 for who guesses, 1 for who is always right."""
    return (accuracy - chance) / (1 - chance)
