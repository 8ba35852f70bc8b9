"""Positron emission tomography of amyloid (florbetapir) from a label map: uptake, the scanner's blur, counts.

Uptake is relative to white matter, whose median over subjects is 1. The tracer binds to white matter in everybody; to
grey matter it binds where there is amyloid. So the image of somebody without shows bright white matter and a dark
cortex, that of somebody with much of it the reverse, and brightness alone does not tell which is which.

Images and labels are (n, 1, h, w), labels index `UPTAKE` as the cohort `heads` numbers them; lengths are in mm, pixels
square. What is random comes from a generator on the device of the result: the same generator state, shapes and device
give the same numbers. The checks for numbers that are not finite read one bit back from the device.

Simplified: a slice is its own world (nothing blurs in from the slices beside it), tissues are uniform within a
subject, noise is independent from pixel to pixel and not shaped by a reconstruction.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# By label, in the order of `heads.LABELS`, of somebody without amyloid. Schematic: white matter above grey matter, as
# florbetapir has it in healthy people; little in fluid, bone and scalp.
UPTAKE = {"background": 0.0, "scalp": 0.4, "bone": 0.3, "csf": 0.15, "grey matter": 0.7, "white matter": 1.0}
GREY, WHITE = (list(UPTAKE).index(name) for name in ("grey matter", "white matter"))
POSITIVE = 1.45  # uptake of grey matter with much amyloid, schematic

# Spread between subjects, as the standard deviation of a logarithm, schematic: of all tissues together (dose, weight),
# and of each by itself, with which grey matter is at 0.6 to 0.8 of white matter, and with amyloid at 1.25 to 1.7.
COMMON, OWN = 0.12, 0.05

FWHM = 5.0  # mm, schematic: about what a clinical scanner resolves


def draw_uptake(
    n: int, generator: torch.Generator, *, positive: Tensor | None = None, common: float = COMMON, own: float = OWN
) -> Tensor:
    """Uptake of `n` subjects: float32 (n, 6) by label, on the generator's device.

    `UPTAKE` · exp(common · z + own · z_label) with standard normal z: `UPTAKE` holds the medians, and the ratio of grey
    to white matter has a spread of own · √2 in its logarithm. Grey matter of the subjects that ``positive``, bool (n,),
    names has `POSITIVE` in its place.

    Raises:
        ValueError: n below 1, ``positive`` of another shape or type, a spread that is negative or not finite.
    """
    if n < 1:
        raise ValueError(f"n is {n}: draw at least one subject")
    if not all(math.isfinite(spread) and spread >= 0 for spread in (common, own)):
        raise ValueError(f"the spreads are {common} and {own}: give finite numbers, none negative")
    if positive is not None and (positive.shape != (n,) or positive.dtype != torch.bool):
        raise ValueError(f"positive is {positive.dtype} of shape {tuple(positive.shape)}: give bool of ({n},)")
    z = torch.randn(n, 1 + len(UPTAKE), generator=generator, device=generator.device)
    medians = torch.tensor(list(UPTAKE.values()), device=generator.device).repeat(n, 1)
    if positive is not None:
        medians[positive, GREY] = POSITIVE
    return medians * torch.exp(common * z[:, :1] + own * z[:, 1:])


def activity(labels: Tensor, uptake: Tensor) -> Tensor:
    """What a perfect scanner would see: labels (n, 1, h, w) of integers, uptake (n, k) by label → (n, 1, h, w).

    Raises:
        ValueError: labels of another shape, not integers, or outside 0 … k-1; uptake of another shape, negative or not
            finite.
    """
    _check_labels(labels)
    if uptake.ndim != 2 or len(uptake) != len(labels):
        raise ValueError(f"uptake has shape {tuple(uptake.shape)}: give ({len(labels)}, k), a value for each label")
    _check_image(uptake, "uptake", negative=False)
    if bool((labels < 0).any() | (labels >= uptake.shape[1]).any()):
        raise ValueError(f"there are labels outside 0 … {uptake.shape[1] - 1}, for which no uptake is given")
    return uptake.gather(1, labels.flatten(1).long()).reshape(labels.shape)


def blur(image: Tensor, spacing: float, fwhm: float) -> Tensor:
    """(n, c, h, w) as a scanner with a Gaussian response of ``fwhm`` mm sees it, of the same shape; 0 mm: unchanged.

    At the border the image is mirrored, so that the mean (and a constant) stays what it was up to rounding. The
    Gaussian is sampled at pixel centres, which makes it narrow where pixels are coarse: its standard deviation is right
    to 2e-5 where ``fwhm`` is two pixels or more, short by 0.5 % at 1.5 pixels, by a fifth at one pixel.

    Raises:
        ValueError: not (n, c, h, w) of float32 or float64, or not finite; spacing not positive, fwhm negative.
    """
    if image.ndim != 4 or 0 in image.shape:
        raise ValueError(f"blur needs images (n, c, h, w), not a tensor of shape {tuple(image.shape)}")
    _check_image(image, "the image")
    _check_lengths(spacing, fwhm)
    if fwhm == 0:
        return image
    down, right = (_response(size, fwhm / spacing).to(image) for size in image.shape[2:])
    return down @ image @ right.mT


def count(image: Tensor, level: float, generator: torch.Generator) -> Tensor:
    """Poisson noise: the image (any shape, not negative) from ``level`` expected counts per pixel where it is 1.

    N ~ Poisson(level · image), shown as N / level: the mean stays, the variance is image / level. The generator has to
    be on the image's device.

    Raises:
        ValueError: image not float32 or float64, negative or not finite; level not positive.
    """
    _check_image(image, "the image", negative=False)
    if not (math.isfinite(level) and level > 0):
        raise ValueError(f"level is {level}: give the expected counts in a pixel of uptake 1, a positive number")
    return torch.poisson(image * level, generator=generator) / level


def scan(
    labels: Tensor, uptake: Tensor, spacing: float, *, level: float, generator: torch.Generator, fwhm: float = FWHM
) -> Tensor:
    """PET slices (n, 1, h, w) of label maps (n, 1, h, w) in units of uptake: `activity`, `blur`, `count`.

    Raises:
        ValueError: what these three refuse.
    """
    return count(blur(activity(labels, uptake), spacing, fwhm).clamp(min=0), level, generator)


def uptake_ratio(image: Tensor, labels: Tensor, *, over: int = GREY, under: int = WHITE) -> Tensor:
    """(n,) mean uptake with label ``over`` by that with label ``under``, nan where a slice lacks one of the two.

    Of grey to white matter it is the SUVR that a reader reports, here with white matter as the reference. Not corrected
    for blur, which brings it nearer to 1.

    Raises:
        ValueError: image not (n, 1, h, w) of float32 or float64, or not finite; labels not integers of the same shape;
            no uptake below the line where there is that label.
    """
    _check_labels(labels)
    if image.shape != labels.shape:
        raise ValueError(f"the image has shape {tuple(image.shape)}, its labels {tuple(labels.shape)}: give one shape")
    _check_image(image, "the image")
    mean, reference = (
        (image * part).flatten(1).sum(1) / part.flatten(1).sum(1) for part in (labels == over, labels == under)
    )
    if bool((reference <= 0).any()):
        raise ValueError(f"a slice has no uptake where the label is {under}: a ratio to it is not defined")
    return mean / reference


def _response(size: int, fwhm: float) -> Tensor:
    """Blur along an axis as a matrix: float64 (size, size), rows and columns summing to 1; ``fwhm`` in pixels."""
    sigma = fwhm / math.sqrt(8 * math.log(2))
    reach = math.ceil(6 * sigma)
    offsets = torch.arange(-reach, reach + 1)
    weight = torch.exp(-(offsets.double() ** 2) / (2 * sigma**2))
    at = (torch.arange(size)[:, None] + offsets) % (2 * size)  # mirrored at both ends, as often as it takes
    at = torch.where(at < size, at, 2 * size - 1 - at)
    return torch.zeros(size, size, dtype=torch.float64).scatter_add_(1, at, (weight / weight.sum()).expand(size, -1))


def _check_labels(labels: Tensor) -> None:
    if labels.ndim != 4 or labels.shape[1] != 1 or 0 in labels.shape:
        raise ValueError(f"labels have shape {tuple(labels.shape)}: give (n, 1, h, w)")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels have to be integers, not {labels.dtype}")


def _check_image(x: Tensor, name: str, *, negative: bool = True) -> None:
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"{name} has to be float32 or float64, not {x.dtype}")
    if not bool(torch.isfinite(x).all()):
        raise ValueError(f"{name} holds values that are not finite")
    if not negative and bool((x < 0).any()):
        raise ValueError(f"{name} holds negative values")


def _check_lengths(spacing: float, fwhm: float) -> None:
    if not (math.isfinite(spacing) and spacing > 0):
        raise ValueError(f"spacing is {spacing}: give the edge of a pixel in mm, a positive number")
    if not (math.isfinite(fwhm) and fwhm >= 0):
        raise ValueError(f"fwhm is {fwhm}: give mm, zero or more")
