"""From a map of residuals to one number for an image: what a mean over many pixels loses, and a large value keeps."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def grain(x: Tensor) -> Tensor:
    """The fine grain of images (n, c, h, w), (n,): the mean absolute difference of neighbours in a row.

    Layers that run along the rows do not add to it, speckle and noise do.
    """
    return x.diff(dim=-1).abs().flatten(1).mean(1)


def smoothed(residual: Tensor, width: int = 3) -> Tensor:
    """The mean of each pixel and its neighbours in residuals (n, c, h, w); at the border, of those that there are.

    With signs: grain averages out, a lesion, which deviates to one side, stays.
    """
    return F.avg_pool2d(residual, width, 1, width // 2, count_include_pad=False)


def largest(residual: Tensor, x: Tensor | None = None, share: float = 0.99, width: int = 3) -> Tensor:
    """Score (n,) of anomaly: how far the `smoothed` residual reaches, in units of the `grain` of the images x.

    It is the ``share`` quantile of absolute values over an image's pixels, so a lesion counts that fills more than
    1 - ``share`` of them, however many healthy pixels lie around it. Without ``x`` it keeps the unit of the residual;
    where x has no grain, the score is that of a grain of a thousandth. ValueError for other shapes than x's.
    """
    if x is not None and residual.shape != x.shape:
        raise ValueError(f"residuals {tuple(residual.shape)} of images {tuple(x.shape)}")
    values = smoothed(residual, width).abs().flatten(1)
    rank = min(int(share * values.shape[1]), values.shape[1] - 1)
    reach = values.sort(1).values[:, rank]
    return reach if x is None else reach / grain(x).clamp_min(1e-3)


def mean_residual(residual: Tensor) -> Tensor:
    """R(x) of AnoGAN (n,): the mean absolute residual, over which a small lesion is one part in many."""
    return residual.abs().flatten(1).mean(1)
