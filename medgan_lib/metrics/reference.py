"""How near translated images are to their references, and how sharp they are.

Images are (n, channels, *size) in [-1, 1], paired by index. What is said in units needs the images' window: of a
`Cohort` ``c.window["x"]``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medgan_lib.cohorts import Window
from medgan_lib.metrics.spectra import spectrum


def mae(x: Tensor, reference: Tensor, window: tuple[float, float], mask: Tensor | None = None) -> float:
    """Mean absolute error in units. ``mask`` bool (n, 1, *size) says where; images without any of it don't count.

    Every image weighs the same, however large its mask is. ValueError for other shapes, or a mask that is empty in
    every image.
    """
    error = (x.double() - same(x, reference).double()).abs().mean(1, keepdim=True)
    mask = torch.ones_like(error, dtype=torch.bool) if mask is None else mask
    if mask.shape != error.shape or not mask.any():
        raise ValueError(f"mask must be bool {tuple(error.shape)} and hold something, it is {tuple(mask.shape)}")
    inside = mask.double().flatten(1)
    size = inside.sum(1)
    each = (error.flatten(1) * inside).sum(1)[size > 0] / size[size > 0]
    return float(each.mean() * Window(*window).span / 2)


def psnr(x: Tensor, reference: Tensor) -> float:
    """Peak signal-to-noise ratio in dB, data range that of the window: the mean over images of 10 log10(4 / MSE).

    Both are clipped to [-1, 1] first. Infinite where an image equals its reference. ValueError for other shapes.
    """
    x, reference = x.double().clamp(-1, 1), same(x, reference).double().clamp(-1, 1)
    return float((10 * (4 / (x - reference).square().flatten(1).mean(1)).log10()).mean())


def ssim(x: Tensor, reference: Tensor) -> float:
    """Structural similarity (Wang et al. 2004), data range that of the window: the mean over places and images.

    Gaussian window of 11 pixels with a standard deviation of 1.5, at all places where it lies inside of the image, as
    in the authors' code and in scikit-image. ValueError for other shapes, or images with less than 11 pixels a side.
    """
    from skimage.metrics import structural_similarity

    size = same(x, reference).shape[2:]
    if min(size) < 11:
        raise ValueError(f"images of {tuple(size)} pixels are smaller than the window of 11")
    # Filters each axis in turn, image by image: the convolution with 11 x 11 values takes 20 times as long, and GiB.
    images, truth = x.double().cpu().numpy(), reference.double().cpu().numpy()
    how = {"data_range": 2.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    each = [structural_similarity(a, b, channel_axis=0, **how) for a, b in zip(images, truth, strict=True)]
    return float(torch.tensor(each, dtype=torch.float64).mean())


def sharpness(x: Tensor, mask: Tensor | None = None) -> float:
    """Mean length of the gradient between neighbouring pixels, in [-1, 1] a pixel; with ``mask`` only there.

    Compare it with that of the references: noise raises it as well as edges do.
    """
    steps = [
        torch.diff(x.double(), dim=axis, append=x.double().narrow(axis, x.shape[axis] - 1, 1))
        for axis in range(2, x.ndim)
    ]
    length = torch.stack(steps).square().sum(0).sqrt().mean(1, keepdim=True)
    return float(length.mean() if mask is None else length[mask].mean())


def high_frequency_error(x: Tensor, reference: Tensor, lowest: float = 0.25) -> float:
    """How much power is missing (negative) or too much (positive) above ``lowest`` cycles a pixel, in dB.

    10 log10 of the power of ``x`` over that of ``reference``, both summed over the spectrum up to its corner.
    """
    ours, theirs = spectrum(x), spectrum(same(x, reference))
    high = ours.frequency >= lowest
    power = [(s.power * s.count)[high].sum() for s in (ours, theirs)]
    return float(10 * (power[0] / power[1]).log10())


def retrieval(x: Tensor, reference: Tensor) -> float:
    """Share of images whose nearest reference by L1 distance is their own; by chance it is 1 / n."""
    distance = torch.cdist(x.double().flatten(1), same(x, reference).double().flatten(1), p=1)
    return float((distance.argmin(1) == torch.arange(len(x), device=x.device)).double().mean())


def line_up(x: Tensor, reference: Tensor, people: int = 20) -> float:
    """Share of line-ups in which an image is nearest by L1 distance to its own reference; by chance 1 / ``people``.

    A line-up is the own reference among ``people - 1`` others, one image a person, all other choices being equally
    likely: with r others nearer, the own one stands first in C(n - 1 - r, people - 1) of C(n - 1, people - 1) of them.
    ValueError for other shapes, or fewer images than ``people``.
    """
    n, others = len(x), people - 1
    if not 1 <= others < n:
        raise ValueError(f"a line-up of {people} needs at least two people and as many images, not {n}")
    distance = torch.cdist(x.double().flatten(1), same(x, reference).double().flatten(1), p=1)
    nearer = (distance < distance.diagonal()[:, None]).sum(1).double()[:, None]
    drawn = torch.arange(others, device=x.device)
    return float(((n - 1 - nearer - drawn).clamp_min(0) / (n - 1 - drawn)).prod(1).mean())


def same(x: Tensor, reference: Tensor) -> Tensor:
    if x.shape != reference.shape:
        raise ValueError(f"images {tuple(x.shape)} and references {tuple(reference.shape)} must have the same shape")
    return reference
