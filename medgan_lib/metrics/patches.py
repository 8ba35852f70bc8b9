"""A judge that nobody trains: the sliced Wasserstein distance of small patches, scale by scale."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from medgan_lib.metrics.samples import choose, in_double, permutation

EDGE = 7  # pixels, of a patch
COARSEST = 16  # pixels, of the edge at which the pyramid ends
PATCHES = 64  # of every image at every scale
DIRECTIONS = 128
_TAPS = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=torch.float64) / 16


def sliced_wasserstein(real: Tensor, fake: Tensor, seed: int = 0) -> float:
    """The mean over scales of `sliced_wasserstein_by_scale`, one number for `with_floor`.

    A fault that one scale alone shows is diluted here: look at the scales where it matters.
    """
    found = sliced_wasserstein_by_scale(real, fake, seed)
    return sum(found.values()) / len(found)


def sliced_wasserstein_by_scale(real: Tensor, fake: Tensor, seed: int = 0) -> dict[int, float]:
    """How far the patches of generated images are from those of real ones, for every scale by its edge in pixels.

    Images are taken apart into a Laplacian pyramid (Burt and Adelson 1983): each scale holds what the next, half as
    large, does not, and the coarsest, which is less than 32 pixels wide, holds the rest. At each scale patches of 7 x 7
    pixels are vectors, and their distributions are compared along random directions, where the Wasserstein-1 distance
    is the mean difference of sorted values (Rabin et al. 2011). Blur, noise and meshes show at the finest scale,
    shape and contrast at the coarsest. No training, no features: it sees what patches show, not whether they fit.

    After Karras et al. 2018, Sec. 5, with these differences. Patches are normalised by mean and standard deviation
    of the real ones alone, by channel; theirs are each by their own, which hides a difference in contrast. Patches
    are cut at the same places in all images, so that the order of the images has no part in the result, and 64 of an
    image instead of 128; there are 128 directions instead of 512. Values are not multiplied by 1000: the unit is the
    spread of real patches.

    Args:
        real, fake: images (n, channels, h, w) and (m, channels, h, w), of 16 pixels an edge or more; the larger
            set is cut at random, always alike. The fewer images, the larger the distance: see `with_floor`.
        seed: of the places and the directions; the same for all values that are compared.

    Returns:
        The distance at each scale from fine to coarse; 0 for identical sets.

    Raises:
        ValueError: other shapes, images that are too small, no images, or values that are not finite.
    """
    real, fake = in_double(real, "the first samples"), in_double(fake, "the second samples")
    if real.ndim != 4 or real.shape[1:] != fake.shape[1:] or min(real.shape[2:]) < COARSEST:
        raise ValueError(
            f"images must be (n, channels, h, w) of {COARSEST} pixels an edge or more, and of one shape, not "
            f"{tuple(real.shape)} and {tuple(fake.shape)}"
        )
    count = min(len(real), len(fake))
    if not count:
        raise ValueError(f"too few samples: {len(real)} and {len(fake)}; at least 1 of each is needed")
    pyramids = zip(*(laplacian_pyramid(choose(x, count)) for x in (real, fake.to(real.device))), strict=True)
    return {min(a.shape[2:]): _at_one_scale(a, b, seed) for a, b in pyramids}


def laplacian_pyramid(x: Tensor) -> list[Tensor]:
    """The Laplacian pyramid of images (n, channels, h, w), from fine to coarse; the coarsest scale is a smooth image.

    Halved as long as no edge gets shorter than 16 pixels. Nothing is lost: each scale plus the enlarged next coarser
    image gives the image at that scale.
    """
    scales = []
    while min(x.shape[2:]) >= 2 * COARSEST:
        small = _filtered(x)[:, :, ::2, ::2]
        scales.append(x - _enlarged(small, x))
        x = small
    return [*scales, x]


def _enlarged(small: Tensor, like: Tensor) -> Tensor:
    wide = torch.zeros_like(like)
    wide[:, :, ::2, ::2] = small
    return 4 * _filtered(wide)


def _filtered(x: Tensor) -> Tensor:
    """Five binomial taps along both axes, mirrored at the border."""
    taps, (h, w) = _TAPS.to(x), x.shape[2:]
    rows = F.conv2d(F.pad(x.reshape(-1, 1, h, w), (2, 2, 2, 2), mode="reflect"), taps.view(1, 1, 5, 1))
    return F.conv2d(rows, taps.view(1, 1, 1, 5)).reshape(x.shape)


def _at_one_scale(real: Tensor, fake: Tensor, seed: int) -> float:
    windows = [x.unfold(2, EDGE, 1).unfold(3, EDGE, 1) for x in (real, fake)]
    rows, columns = windows[0].shape[2:4]
    chosen = permutation(rows * columns, seed)[:PATCHES].to(real.device)
    real, fake = (x[:, :, chosen // columns, chosen % columns] for x in windows)  # (n, channels, patches, 7, 7)
    axes = (0, 2, 3, 4)
    mean, spread = real.mean(axes, keepdim=True), real.std(axes, keepdim=True, correction=0)
    spread = spread.clamp_min(torch.finfo(spread.dtype).eps)
    real, fake = (((x - mean) / spread).movedim(2, 1).flatten(0, 1).flatten(1) for x in (real, fake))
    draw = torch.Generator().manual_seed(seed)
    directions = torch.randn(real.shape[1], DIRECTIONS, generator=draw, dtype=torch.float64).to(real.device)
    directions = directions / directions.norm(dim=0)
    # some directions at a time: all values along one are sorted at once, and memory stays bounded
    apart = [
        ((d @ real.T).sort(1).values - (d @ fake.T).sort(1).values).abs().mean() for d in directions.T.split(16)
    ]
    return float(torch.stack(apart).mean())
