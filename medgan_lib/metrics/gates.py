"""What gates measure: whether networks are trained well enough that their numbers say something about a method.

The bounds are in ``gates.yml`` (`medgan_lib.ledger.gates`). Each measure is made so that real images pass, and so that
a Gaussian with their mean and covariance and an untrained network fail. None of them sees copies of training images:
`memorisation` does.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from medgan_lib.metrics.baselines import PCA
from medgan_lib.metrics.modes import modes_by_chance, modes_covered
from medgan_lib.metrics.samples import choose
from medgan_lib.metrics.sets import prdc
from medgan_lib.metrics.yardstick import Yardstick
from medgan_lib.networks import batched


def over_a_gaussian(yardstick: Yardstick, train: Tensor, held_out: Tensor, samples: Tensor) -> float:
    """Distance of samples to held-out images, over that of a Gaussian of the training images (`PCA`, all of it).

    0 for a perfect generator, 1 for the Gaussian. All are cut to equal numbers, at random and always alike, as cohorts
    may be sorted; the floor, the distance of other real images (of ``train``) to the held-out ones, is taken off both.

    Args:
        yardstick: made for these images.
        train, held_out, samples: (n, channels, *size) in [-1, 1], some hundred of each.

    Raises:
        ValueError: as `Yardstick.distance`, and where the Gaussian is no farther than real images are: such a judge
            cannot tell.
    """
    count = min(len(train), len(held_out), len(samples))
    held_out, some, samples = (choose(x, count, seed) for seed, x in enumerate((held_out, train, samples)))
    floor = yardstick.distance(held_out, some)
    noise = PCA.fit(train, len(train)).sample(count, torch.Generator().manual_seed(0))
    gaussian = yardstick.distance(held_out, noise.to(held_out.device))
    if gaussian <= 2 * floor:
        raise ValueError(
            f"{yardstick.name} cannot tell a Gaussian ({gaussian:.3g}) from real images ({floor:.3g}): it is no judge"
        )
    return max(0.0, yardstick.distance(held_out, samples) - floor) / (gaussian - floor)


def variety(yardstick: Yardstick, train: Tensor, held_out: Tensor, samples: Tensor) -> float:
    """Coverage of held-out images by samples, over that by other real images (of ``train``); at most about 1.

    Coverage is the share of held-out images that have a sample among their five nearest neighbours' distance (`prdc`),
    in the features of the yardstick: a generator that repeats itself, or leaves out what is rare, covers few.

    Args:
        yardstick: made for these images.
        train, held_out, samples: (n, channels, *size) in [-1, 1], some hundred of each, cut to equal numbers.

    Raises:
        ValueError: as `prdc`, and where other real images cover less than half of the held-out ones.
    """
    count = min(len(train), len(held_out), len(samples))
    held_out, some, samples = (
        yardstick.features(choose(x, count, seed)) for seed, x in enumerate((held_out, train, samples))
    )
    real = prdc(held_out, some).coverage
    if real < 0.5:
        raise ValueError(f"other real images cover {real:.0%} of the held-out ones only: these are too few, or too far")
    return prdc(held_out, samples).coverage / real


def variety_within(
    yardstick: Yardstick, train: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor], samples: tuple[Tensor, Tensor]
) -> float:
    """`variety` in each class by itself, mean over classes: whether images of one class differ as real ones do.

    A conditional generator that knows one good image of each class is never misread, and its images as a whole are
    still of all classes; here it scores near 0. Rubbish does not raise it, as it would raise a variance.

    Args:
        yardstick: made for these images.
        train, held_out, samples: images (n, channels, *size) in [-1, 1] and their classes int64 (n,), for samples the
            classes that were asked for; some dozens at least of each class of ``held_out``.

    Raises:
        ValueError: as `variety`, with the class, and where a class of ``held_out`` has no image elsewhere.
    """
    found = []
    for k in held_out[1].unique().tolist():
        parts = [x[label == k] for x, label in (train, held_out, samples)]
        if any(len(part) == 0 for part in parts):
            raise ValueError(f"class {k} has no images among the training images or the samples")
        try:
            found.append(variety(yardstick, *parts))
        except ValueError as error:
            raise ValueError(f"class {k}: {error}") from error
    return sum(found) / len(found)


def legible(classifier: nn.Module, samples: Tensor, real: Tensor, sure: float = 0.9) -> float:
    """Whether a classifier can read samples and finds every class among them, over the same for real images.

    The share of images that it is sure of, and the effective number of classes over all (the exponential of the
    entropy of their mean prediction), each over that of real images and at most 1, multiplied. A generator of noise
    fails by the first, one that leaves classes out by the second. It does not see whether all images of a class are
    alike: `variety` does.

    Args:
        classifier: images (n, channels, *size) -> logits (n, classes), taught on real training images.
        samples, real: images; ``real`` are held out.
        sure: from which probability it is.

    Returns:
        1 where samples are as legible as real images, and of as many classes.

    Raises:
        ValueError: the classifier is sure of less than half of the real images, or these are not of all classes, or
            some values are not finite.
    """

    def read(x: Tensor) -> tuple[float, float]:
        p = batched(classifier, x).double().softmax(1)
        if not p.isfinite().all():
            raise ValueError("the classifier gives numbers that are not finite: look for such in the images")
        mean = p.mean(0)
        classes = torch.special.entr(mean).sum().exp().item() / len(mean)
        return (p.amax(1) > sure).double().mean().item(), classes

    share, classes = read(real)
    if share < 0.5:
        raise ValueError(f"the classifier is sure of {share:.0%} of the real images only: train it longer")
    if classes < 0.8:
        raise ValueError(f"the real images show {classes:.0%} of the classes only: take them from all of these")
    made, found = read(samples)
    return min(1.0, made / share) * min(1.0, found / classes)


def near_modes(samples: Tensor, modes: Tensor, sigma: float) -> float:
    """Share of samples within three standard deviations of a mode (`modes_covered`): 98.9 % of real ones in 2-D.

    One mode is enough: how many are covered is what claims about mode collapse ask.
    """
    return modes_covered(samples, modes, sigma).high_quality


def over_chance(samples: Tensor, data: Tensor, modes: Tensor, sigma: float) -> float:
    """Share of samples near a mode times the effective number of these modes, over that of a Gaussian of the data.

    1 for a cloud that knows nothing of the modes (`modes_by_chance`). The effective number is the exponential of the
    entropy: without it samples that all lie on one mode, by chance in the middle of the data, would pass. ``samples``
    (n, d) and ``data`` (m, d) are points, ``modes`` (k, d) and ``sigma`` as in `modes_covered`. Raises ValueError as
    that does, and where no sample of the Gaussian is near a mode, so that there is nothing to compare with.
    """
    made, chance = modes_covered(samples, modes, sigma), modes_by_chance(data, modes, sigma).gaussian
    if not chance.high_quality:
        raise ValueError("no sample of a Gaussian lies near a mode: ask for near_modes instead")
    return made.high_quality / chance.high_quality * math.exp(chance.kl - made.kl)


def over_a_circle(samples: Tensor, data: Tensor, modes: Tensor, within: float) -> float:
    """Share of samples within a distance of a mode, over that of an even circle through the modes of a ring.

    1 for a generator that found the ring and not its modes (`modes_by_chance`), in how many places its samples lie: one
    mode is enough to pass. ``samples`` (n, 2) and ``data`` (m, 2) are points, ``modes`` (k, 2) as in `modes_covered`.
    Raises ValueError as that does, and where no point of the circle is near a mode.
    """
    circle = modes_by_chance(data, modes, within / 3).circle.high_quality
    if not circle:
        raise ValueError("no point of a circle lies near a mode: is this a ring?")
    return modes_covered(samples, modes, within / 3).high_quality / circle


def beyond_guessing(accuracy: float, chance: float) -> float:
    """(accuracy − chance) / (1 − chance): 0 for who guesses, 1 for who is always right. ``chance`` is below 1."""
    return (accuracy - chance) / (1 - chance)


def or_failed(failed: float, measure: Callable[..., float], *of: object) -> float:
    """``measure(*of)``; where the judge is none (after a very short training, say) ``failed``, with the reason printed.

    A gate then fails and says why, and the chapter goes on. ``failed`` is the worst value that the gate can have. Only
    ValueError, with which measures refuse a judge or images, is taken so; everything else is raised.
    """
    try:
        return measure(*of)
    except ValueError as reason:
        print(reason)
        return failed
