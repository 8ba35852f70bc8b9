"""Scores that count objects instead of pixels, as defined by the gland segmentation challenge.

Sirinukunwattana et al., Med Image Anal 35:489 (2017). A map of objects is int64 (h, w): 0 between, and every object of
an image another number. Sets of objects are pooled over images, never compared across them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Detection(NamedTuple):
    """F1 and the counts that it is made of."""

    f1: float
    true_positives: int
    false_positives: int
    false_negatives: int


def components(mask: Tensor, smallest: int = 1) -> Tensor:
    """Connected regions (edges touch) of masks bool (n, 1, h, w), int64 of the same shape, numbered in each image.

    Regions of fewer than ``smallest`` pixels are left out. ValueError for masks of another shape or type.
    """
    from scipy import ndimage

    if mask.ndim != 4 or mask.shape[1] != 1 or mask.dtype != torch.bool:
        raise ValueError(f"masks must be bool (n, 1, h, w), they are {mask.dtype} {tuple(mask.shape)}")
    found = []
    for image in mask[:, 0].cpu().numpy():
        regions, _ = ndimage.label(image)
        sizes = np.bincount(regions.ravel())
        kept = sizes >= smallest
        kept[0] = False
        found.append((np.cumsum(kept) * kept)[regions])
    return torch.from_numpy(np.stack(found)).long()[:, None].to(mask.device)


def detection(segmented: Tensor, truth: Tensor) -> Detection:
    """Which objects of maps int64 (n, 1, h, w) were found, and the F1 score over all images.

    A segmented object is a true positive if it covers at least half of the true object that it overlaps most, else a
    false positive; a true object that is not so covered is a false negative. As a true object is found once, two
    segmented objects that halve it exactly count as one found and one false. F1 is 1 where there is nothing to find and
    nothing was found.
    """
    true_positives = false_positives = false_negatives = 0
    for shared, ours, theirs in _overlaps(segmented, truth):
        found = set()
        if shared.size:
            best = shared.argmax(1)
            for i, j in enumerate(best):
                if shared[i, j] > 0 and 2 * shared[i, j] >= theirs[j]:
                    found.add(int(j))
        true_positives += len(found)
        false_positives += len(ours) - len(found)
        false_negatives += len(theirs) - len(found)
    total = 2 * true_positives + false_positives + false_negatives
    return Detection(2 * true_positives / total if total else 1.0, true_positives, false_positives, false_negatives)


def object_dice(segmented: Tensor, truth: Tensor) -> float:
    """Object-level Dice index of maps int64 (n, 1, h, w), over all images, from 0 to 1.

    Every segmented object is compared with the true object that it overlaps most, every true one with the segmented
    object that overlaps it most; Dice is averaged with the areas as weights, and the mean of both averages is taken.
    An object without a partner scores 0. Where neither map holds anything it is 1, where one does, 0.
    """
    weighted, areas = np.zeros(2), np.zeros(2)
    for shared, ours, theirs in _overlaps(segmented, truth):
        areas += ours.sum(), theirs.sum()
        if not shared.size:
            continue
        score = 2 * shared / (ours[:, None] + theirs[None])
        weighted[0] += (ours * score[np.arange(len(ours)), shared.argmax(1)]).sum()
        weighted[1] += (theirs * score[shared.argmax(0), np.arange(len(theirs))]).sum()
    if not areas.any():
        return 1.0
    return float((weighted / np.maximum(areas, 1)).mean())


def _overlaps(segmented: Tensor, truth: Tensor):
    """For each image: shared pixels (ours, theirs), and the pixels of our and of their objects."""
    if segmented.shape != truth.shape or segmented.ndim != 4 or segmented.shape[1] != 1:
        raise ValueError(f"maps {tuple(segmented.shape)} and {tuple(truth.shape)} must be alike, (n, 1, h, w)")
    for pair in zip(segmented[:, 0].cpu().numpy(), truth[:, 0].cpu().numpy(), strict=True):
        # numbers may have gaps
        ours, theirs = (np.unique(np.append(0, image), return_inverse=True)[1][1:] for image in pair)
        count = ours.max(initial=0) + 1, theirs.max(initial=0) + 1
        table = np.bincount(ours * count[1] + theirs, minlength=count[0] * count[1]).reshape(count)
        yield table[1:, 1:], table[1:].sum(1), table[:, 1:].sum(0)


def dice(a: Tensor, b: Tensor) -> Tensor:
    """Dice overlap of masks bool (n, 1, h, w), float32 (n,): 2 |a and b| / (|a| + |b|), and 1 where both are empty."""
    if a.shape != b.shape:
        raise ValueError(f"masks {tuple(a.shape)} and {tuple(b.shape)} must have the same shape")
    both, sizes = (a & b).flatten(1).sum(1), a.flatten(1).sum(1) + b.flatten(1).sum(1)
    return torch.where(sizes > 0, 2 * both / sizes.clamp(min=1), 1.0)


def contrast_to_noise(x: Tensor, mask: Tensor, gap: int = 1, wide: int = 3) -> Tensor:
    """How much what masks bool (n, 1, h, w) mark stands out of its surroundings in images (n, 1, h, w): float64 (n,).

    (mean inside - mean of the surroundings) / standard deviation of the surroundings, which are a rim of ``wide``
    pixels that begins ``gap`` pixels outside the mask, as its edge is a mixture of both. nan where the mask or its rim
    has fewer than two pixels, or the rim is of one value. ValueError for other shapes or masks that are not bool.
    """
    if x.shape != mask.shape or x.ndim != 4 or x.shape[1] != 1 or mask.dtype != torch.bool:
        raise ValueError(
            f"images {tuple(x.shape)} and masks {tuple(mask.shape)}, {mask.dtype}, must be alike, (n, 1, h, w) and bool"
        )
    near, far = grown(mask, gap), grown(mask, gap + wide)
    inside, rim = mask.double(), (far & ~near).double()
    values, sizes = x.double(), [part.flatten(1).sum(1) for part in (inside, rim)]
    means = [(values * part).flatten(1).sum(1) / size for part, size in zip((inside, rim), sizes, strict=True)]
    off = (values - means[1].reshape(-1, 1, 1, 1)) * rim
    spread = (off.square().flatten(1).sum(1) / (sizes[1] - 1)).sqrt()
    told = (means[0] - means[1]) / spread
    return torch.where((torch.stack(sizes).amin(0) >= 2) & (spread > 0), told, torch.nan)


def rim(mask: Tensor) -> Tensor:
    """Pixels of masks bool (n, 1, h, w) whose 3 x 3 neighbourhood is partly in the mask: two pixels wide."""
    return grown(mask) & grown(~mask)


def interior(mask: Tensor, pixels: int = 1) -> Tensor:
    """What is left of masks bool (n, 1, h, w) without a border of so many pixels. The image's edge is no border."""
    for _ in range(pixels):
        mask = ~grown(~mask)
    return mask


def grown(mask: Tensor, pixels: int = 1) -> Tensor:
    """Masks bool (n, 1, h, w) with all within so many ``pixels`` of them, along an axis or diagonally."""
    return torch.nn.functional.max_pool2d(mask.float(), 2 * pixels + 1, stride=1, padding=pixels) > 0
