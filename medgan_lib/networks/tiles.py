"""A network that has learnt from crops, on images that are larger than these."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from medgan_lib.networks.batched import batched


def tiled(
    net: Callable[..., Tensor], x: Tensor, tile: int | None, step: int | None = None, batch_size: int = 64
) -> Tensor:
    """``net(x)`` of images x (n, channels, h, w), put together from overlapping tiles of ``tile`` pixels a side.

    Neighbouring tiles begin ``step`` pixels apart (by default half a tile; the last one ends with the image). Where
    they overlap, each weighs by how far the pixel is from its border, so that no seam is seen. Networks with instance
    norm need it: they normalise with the statistics of what they are shown, and know those of crops. With ``tile`` None
    the images are shown whole. As for `batched`, net is in evaluation mode and without a graph.

    Raises ValueError for a tile larger than the images, or a step that isn't between 1 and ``tile``.
    """
    if tile is None:
        return batched(net, x, batch_size)
    step = max(tile // 2, 1) if step is None else step
    height, width = x.shape[2:]
    if not 1 <= tile <= min(height, width):
        raise ValueError(f"tiles of {tile} pixels do not fit into images of {height} x {width}")
    if not 1 <= step <= tile:
        raise ValueError(f"step is {step}: tiles of {tile} pixels begin between 1 and {tile} pixels apart")
    ramp = torch.minimum(torch.arange(tile) + 1, torch.arange(tile, 0, -1)).to(x)
    weight = ramp[:, None] * ramp
    total, made = torch.zeros(height, width).to(x), None
    for top in begins(height, tile, step):
        for left in begins(width, tile, step):
            place = (..., slice(top, top + tile), slice(left, left + tile))
            part = batched(net, x[place].contiguous(), batch_size)
            made = x.new_zeros(len(x), part.shape[1], height, width) if made is None else made
            made[place] += part * weight
            total[place] += weight
    return made / total


def begins(size: int, tile: int, step: int) -> list[int]:
    """Where tiles begin along an axis: ``step`` apart, and the last one where it ends with the image."""
    return sorted({*range(0, size - tile + 1, step), size - tile})
