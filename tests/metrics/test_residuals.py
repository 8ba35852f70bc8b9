"""A number for an image: what a mean loses a large value keeps, and neither gain nor grain decides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from medgan_lib.metrics import auc, grain, largest, mean_residual, smoothed


def noise(n, scale=1.0, seed=0):
    return scale * torch.randn(n, 1, 32, 64, generator=torch.Generator().manual_seed(seed))


def test_against_scipy_and_by_hand():
    r, x = noise(3), noise(3, 0.1, 1)
    inside = smoothed(r)[:, 0, 1:-1, 1:-1].numpy()
    wanted = np.stack([uniform_filter(image, 3)[1:-1, 1:-1] for image in r[:, 0].double().numpy()])
    assert np.allclose(inside, wanted, atol=1e-6)
    assert torch.allclose(smoothed(torch.ones(1, 1, 4, 4)), torch.ones(1, 1, 4, 4))  # at the border, too
    steps = (x[0, 0, :, 1:] - x[0, 0, :, :-1]).abs()
    assert grain(x)[0] == pytest.approx(steps.mean().item())
    values = np.sort(np.abs(smoothed(r)[0].numpy()).ravel())
    assert largest(r, x)[0].item() == pytest.approx(values[int(0.99 * 2048)] / grain(x)[0].item(), rel=1e-5)
    assert largest(r, x, share=1.0)[0].item() == pytest.approx(values[-1] / grain(x)[0].item(), rel=1e-5)
    assert mean_residual(-r)[1].item() == pytest.approx(r[1].abs().mean().item())
    assert torch.allclose(largest(r), largest(r, x) * grain(x))
    with pytest.raises(ValueError, match="of images"):
        largest(r[:2], x)


def test_layers_along_the_rows_are_no_grain():
    layers = torch.linspace(-1, 1, 32)[:, None].expand(1, 1, 32, 64)
    assert grain(layers) == 0 and largest(layers, layers).isfinite().all()
    assert grain(layers.mT) > 0


def test_contrast_of_the_scan_does_not_decide():
    """A lesion that lies as far above its own grain scores alike, at whatever contrast, and flips no sign."""
    x = noise(2)
    r = x.clone()
    r[:, :, 10:16, 20:26] += 3
    assert torch.allclose(largest(5 * r, 5 * x), largest(r, x), rtol=1e-5)
    assert torch.allclose(largest(-r, -x), largest(r, x), rtol=1e-5)


def test_a_lesion_in_few_pixels_is_found_where_the_mean_measures_grain():
    """Healthy and sick images of varying grain: the mean is near guessing, the large value nearly perfect."""
    scale = 0.3 + 1.4 * torch.rand(200, 1, 1, 1, generator=torch.Generator().manual_seed(2))
    x = noise(200, seed=3) * scale
    r, ill = x.clone(), torch.arange(200) % 2 == 0
    r[ill, :, 4:10, 4:10] += 2 * scale[ill]  # 36 of 2,048 pixels
    assert auc(mean_residual(r), ill) < 0.6
    assert auc(largest(r, x), ill) > 0.99
    assert auc(largest(r), ill) < 0.95  # grain must be divided by


def test_it_is_smoothed_with_signs():
    board = (torch.arange(32)[:, None] + torch.arange(64)) % 2 * 2.0 - 1
    x = noise(1)
    assert largest(board[None, None], x) < 0.4 * largest(board[None, None].abs(), x)


def test_a_speck_is_no_lesion():
    x = noise(20)
    r = x.clone()
    r[:10, 0, 5, 5] += 8
    assert largest(r, x).allclose(largest(x, x), rtol=0.1)
