"""Answers that nobody has to train: what a network must beat before its error or its images mean anything.

Images are (n, channels, *size) in [-1, 1], paired by index. For translation there are a line, the mean image, a table
of grey values and the nearest training image; for generation there is a Gaussian of principal components.
`perfect_regression` is no rival but a limit: what the best possible regression answers where the truth is ambiguous.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from medgan_lib.metrics.copies import nearest
from medgan_lib.metrics.samples import in_double


class Affine(NamedTuple):
    """One slope and one offset for every voxel: ``affine(y)`` is slope * y + offset, clipped to [-1, 1]."""

    slope: float
    offset: float

    def __call__(self, y: Tensor) -> Tensor:
        return (self.slope * y + self.offset).clamp(-1, 1)


def affine_map(y: Tensor, x: Tensor) -> Affine:
    """The input itself in the target's units: the map of least squared error, fitted to training pairs (y, x).

    A negative slope is a negative of the picture. For a constant ``y`` it is the mean of ``x``. ValueError for
    different shapes or no voxel.
    """
    if y.shape != x.shape or not y.numel():
        raise ValueError(f"inputs {tuple(y.shape)} and references {tuple(x.shape)} must be pairs of the same shape")
    y, x = y.double(), x.double()
    centred = y - y.mean()
    slope = float((centred * x).sum() / centred.square().sum().clamp_min(torch.finfo(y.dtype).tiny))
    return Affine(slope, float(x.mean()) - slope * float(y.mean()))


def mean_image(x: Tensor, like: Tensor) -> Tensor:
    """The mean of the training references ``x`` in answer to every image of ``like``, which is not looked at.

    On the device of ``like``. ValueError where their images differ in shape, or without any reference.
    """
    if not len(x) or x.shape[1:] != like.shape[1:]:
        raise ValueError(f"{len(x)} references of shape {tuple(x.shape[1:])} for images of {tuple(like.shape[1:])}")
    return x.mean(0, keepdim=True).expand(len(like), *x.shape[1:]).to(like.device)


class GreyTable(NamedTuple):
    """A value for each of equal intervals of grey between -1 and 1: ``table(y)`` looks every voxel of y up."""

    values: Tensor

    def __call__(self, y: Tensor) -> Tensor:
        return self.values.to(y.device)[_interval(y, len(self.values))]


def grey_table(y: Tensor, x: Tensor, bins: int = 64) -> GreyTable:
    """The median of ``x`` at each grey value of ``y``, fitted to training pairs: a translation blind to neighbours.

    It has the least absolute error of all maps of grey values of that resolution. Intervals that no voxel falls into
    get the median of all. One channel each. ValueError for different shapes, more channels, or no voxel.
    """
    if y.shape != x.shape or not y.numel() or y.ndim < 3 or y.shape[1] != 1:
        raise ValueError(f"inputs {tuple(y.shape)} and references {tuple(x.shape)} must be pairs (n, 1, *size)")
    if bins < 1:
        raise ValueError(f"a table needs at least one interval, not {bins}")
    place, value = _interval(y, bins).flatten().cpu(), x.detach().flatten().cpu()
    # sorted by interval and, within each, by value: the median of an interval is its middle entry, the lower of two
    order = value.argsort(stable=True)
    order = order[place[order].argsort(stable=True)]
    count = torch.bincount(place, minlength=bins)
    middle = count.cumsum(0) - count + (count - 1).clamp_min(0) // 2
    found = value[order[middle.clamp_max(len(order) - 1)]]
    return GreyTable(torch.where(count > 0, found, value.median()).to(y.device))


def _interval(y: Tensor, bins: int) -> Tensor:
    return ((y + 1) / 2 * bins).long().clamp(0, bins - 1)


def look_up(y: Tensor, train_y: Tensor, train_x: Tensor) -> Tensor:
    """For each image of ``y`` the partner of the nearest training input: memory without any understanding.

    Nearest by Euclidean distance. A translator with a smaller error has learnt more than its training pairs; a sharp
    image alone proves nothing, for these are sharp, and of other people. ``train_y``, ``train_x`` are the training
    pairs. On the device of ``y``. ValueError for inputs of other shapes, or where training inputs and references are
    not pairs.
    """
    if len(train_y) != len(train_x) or y.shape[1:] != train_y.shape[1:]:
        raise ValueError(
            f"inputs of {tuple(y.shape[1:])} for {len(train_y)} training inputs of {tuple(train_y.shape[1:])} with "
            f"{len(train_x)} references"
        )
    index = nearest(y, train_y)[1]
    return train_x[index.to(train_x.device)].to(y.device)


def perfect_regression(possible: Tensor, loss: str = "l1") -> Tensor:
    """What a regression without any error of learning answers where several references are equally probable.

    For each voxel the number of least expected loss: the median of what the references have there for the absolute
    error, their mean for the squared one. What it loses, no network, data or time brings back. An example: references
    moved by d mm in all directions, for training pairs that are misaligned by d mm.

    Args:
        possible: the equally probable references (k, n, channels, *size) of each of n images, k >= 1. Of an even
            number the lower of the two middle values is taken, which is a median as well; an odd k avoids the choice.
        loss: "l1" or "l2".

    Returns:
        (n, channels, *size). ValueError for another loss, or no references.
    """
    if possible.ndim < 3 or not len(possible):
        raise ValueError(f"references must be (k, n, channels, *size) with k >= 1, not {tuple(possible.shape)}")
    if loss not in ("l1", "l2"):
        raise ValueError(f"loss must be 'l1' or 'l2', not {loss!r}")
    return possible.median(0).values if loss == "l1" else possible.mean(0)


@dataclass(frozen=True)
class PCA:
    """A Gaussian of the ``k`` principal components of training images: the generator that a GAN must beat.

    ``mean`` (*shape), orthonormal ``components`` (k, *shape) from the widest to the narrowest, ``spread`` (k,) the
    standard deviations along them; float32.
    """

    mean: Tensor
    components: Tensor
    spread: Tensor

    @classmethod
    def fit(cls, x: Tensor, components: int = 64) -> Self:
        """The components of images (n, *shape), computed in float64; fewer where n - 1 or the pixels are fewer.

        ValueError for fewer than 2 images or 1 component, or values that are not finite.
        """
        if len(x) < 2 or components < 1:
            raise ValueError(f"{len(x)} images and {components} components: at least 2 and 1 are needed")
        flat = in_double(x, "images").flatten(1)
        mean = flat.mean(0)
        flat = flat - mean
        n, pixels = flat.shape
        # the smaller of the two matrices of products has the same eigenvalues
        power, vectors = torch.linalg.eigh(flat @ flat.T if n <= pixels else flat.T @ flat)
        kept = min(components, n - 1, pixels)
        power, vectors = power.flip(0)[:kept].clamp_min(0), vectors.flip(1)[:, :kept]
        if n <= pixels:
            vectors = torch.linalg.qr(flat.T @ vectors).Q  # orthonormal, also where no power is left
        shape, home = x.shape[1:], x.device
        spread = (power / (n - 1)).sqrt()
        return cls(*(t.float().to(home) for t in (mean.view(shape), vectors.T.reshape(-1, *shape), spread)))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """``n`` images of the Gaussian, clipped to [-1, 1], on the CPU."""
        device = "cpu" if generator is None else generator.device
        code = torch.randn(n, len(self.spread), generator=generator, device=device).cpu() * self.spread.cpu()
        images = self.mean.cpu().flatten() + code @ self.components.cpu().flatten(1)
        return images.view(n, *self.mean.shape).clamp(-1, 1)

    def reconstruct(self, x: Tensor) -> Tensor:
        """The nearest images in the space of the components, (n, *shape) on their device, not clipped.

        ValueError for images of another shape.
        """
        if x.shape[1:] != self.mean.shape:
            raise ValueError(f"images of shape {tuple(x.shape[1:])} for components of {tuple(self.mean.shape)}")
        mean, components = self.mean.to(x.device), self.components.to(x.device).flatten(1)
        code = (x - mean).flatten(1) @ components.T
        return mean + (code @ components).view(x.shape)

    def residual(self, x: Tensor) -> Tensor:
        """Root mean square of what the components cannot show, (n,) in [-1, 1] a pixel: a score of anomaly."""
        return (x - self.reconstruct(x)).square().flatten(1).mean(1).sqrt()


def first_components(pca: PCA, k: int) -> PCA:
    """``pca`` with its widest ``k`` components only, as if no more had been asked for; at most those there are."""
    return PCA(pca.mean, pca.components[:k], pca.spread[:k])
