"""Outlines and depth profiles of heads drawn for the purpose."""

import pytest
import torch

from medgan_lib import metrics


def disc(radius: float, size: int = 32, centre: float | None = None) -> torch.Tensor:
    place = torch.arange(size) - (size / 2 if centre is None else centre)
    return (place[:, None].square() + place[None].square() <= radius**2)[None, None]


def test_the_outline_is_filled_and_holders_are_left_out():
    inside = disc(11)
    x = torch.where(inside, 0.5, -1.0)
    x[disc(5)] = -1.0  # a dark ventricle
    x[0, 0, 30] = 1.0  # a head holder, one pixel thin
    found = metrics.head_mask(x)
    assert found.dtype == torch.bool and found.shape == x.shape
    assert float(metrics.dice(found, inside)) > 0.97
    assert not found[0, 0, 30].any()
    assert found[disc(5)].all()


def test_an_empty_image_has_no_outline():
    assert not metrics.head_mask(torch.full((2, 1, 32, 32), -1.0)).any()


def test_a_bright_rim_is_found_at_the_rim_only():
    inside = disc(12)
    x = torch.where(inside & ~disc(10), 1.0, -0.5)
    share = metrics.bright_by_depth(x, inside, threshold=0.0, bins=6)
    assert share.shape == (1, 6) and share[0, 0] > 0.6 and (share[0, 2:] == 0).all()
    inverted = metrics.bright_by_depth(-x, inside, threshold=0.0, bins=6)
    torch.testing.assert_close(share + inverted, torch.ones(1, 6))


@pytest.mark.parametrize("x", [torch.zeros(2, 32, 32), torch.zeros(2, 3, 32, 32)])
def test_only_grey_images_have_an_outline(x):
    with pytest.raises(ValueError, match="must be"):
        metrics.head_mask(x)
    with pytest.raises(ValueError, match="mask must be bool"):
        metrics.bright_by_depth(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8), 0.0)
