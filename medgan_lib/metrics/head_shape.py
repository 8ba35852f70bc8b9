"""Judging images of the head without a reference: where its outline runs, and how deep below it it is bright.

Images are (n, 1, h, w) in [-1, 1], one head on a dark background each. For translations without pairs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def head_mask(x: Tensor, threshold: float = -0.75) -> Tensor:
    """The filled outline of the head, bool (n, 1, h, w): empty where nothing is above ``threshold``.

    The largest region above ``threshold`` once lines of one pixel are cut away (head holders, frames), its gaps of up
    to four pixels closed and its holes filled. The default is an eighth of the window above black. ValueError for
    images of another shape.
    """
    if x.ndim != 4 or x.shape[1] != 1:
        raise ValueError(f"images must be (n, 1, h, w), not {tuple(x.shape)}")
    return torch.from_numpy(np.stack([_outline(image > threshold) for image in _array(x)]))[:, None].to(x.device)


def _outline(bright: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    regions, count = ndimage.label(ndimage.binary_opening(np.pad(bright, 3)))
    if not count:
        return np.zeros_like(bright)
    largest = regions == 1 + np.bincount(regions.ravel())[1:].argmax()
    return ndimage.binary_fill_holes(ndimage.binary_closing(largest, iterations=2))[3:-3, 3:-3]



def bright_by_depth(x: Tensor, mask: Tensor, threshold: float, bins: int = 16) -> Tensor:
    """Which share of the pixels at each depth below the outline ``mask`` is above ``threshold``, float32 (n, bins).

    The first bin is the outline itself, the last one ends at the pixel furthest from it, so heads of other sizes
    compare. NaN where a head has no pixel at that depth. ValueError where ``mask`` isn't bool of the shape of ``x``.
    """
    from scipy import ndimage

    if mask.shape != x.shape or mask.dtype != torch.bool:
        raise ValueError(f"mask must be bool {tuple(x.shape)}, not {mask.dtype} {tuple(mask.shape)}")
    found = []
    for image, inside in zip(_array(x), _array(mask), strict=True):
        below = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1][inside] - 1
        place = np.minimum(below / max(below.max(initial=0), 1) * bins, bins - 1).astype(int)
        count = np.bincount(place, minlength=bins)
        bright = np.bincount(place, weights=image[inside] > threshold, minlength=bins)
        found.append(np.where(count > 0, bright / np.maximum(count, 1), np.nan))
    return torch.tensor(np.array(found), dtype=torch.float32, device=x.device)


def _array(x: Tensor) -> np.ndarray:
    return x[:, 0].detach().cpu().numpy()
