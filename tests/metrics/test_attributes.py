"""Attributes measured in strokes and heads that were drawn for the purpose."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medgan_lib import cohorts, metrics

WINDOW = (0.0, 0.72)


def stroke(angle: float, width: float, size: int = 28) -> Tensor:
    """A straight stroke of 16 pixels' height with ``angle`` degrees from the vertical, edges soft over a pixel."""
    y, x = torch.meshgrid(*(torch.arange(size) - (size - 1) / 2,) * 2, indexing="ij")
    radians = math.radians(angle)
    across = (x + math.tan(radians) * y).abs() * math.cos(radians)
    ink = (width / 2 + 0.5 - across).clamp(0, 1) * (8.5 - y.abs()).clamp(0, 1)
    return 2 * ink[None, None] - 1


@pytest.mark.parametrize("angle", [-40.0, -15.0, 0.0, 10.0, 30.0])
@pytest.mark.parametrize("width", [2.0, 3.5])
def test_slant_and_thickness_of_a_known_stroke(angle, width):
    x = stroke(angle, width)
    assert metrics.slant(x).item() == pytest.approx(angle, abs=1.5)
    straight = stroke(0, width)
    assert metrics.thickness(straight).item() == pytest.approx(width * 16.0 / (16.0 + width), rel=0.08)  # with its ends
    assert metrics.thickness(x).item() == pytest.approx(metrics.thickness(straight).item(), rel=0.12)
    torch.testing.assert_close(metrics.slant(x.roll((2, -1), (2, 3))), metrics.slant(x), atol=0.01, rtol=0)


def test_blank_images_have_no_slant():
    assert metrics.slant(-torch.ones(2, 1, 28, 28)).isnan().all()
    assert metrics.thickness(-torch.ones(2, 1, 28, 28)).isnan().all()


def nodule(
    diameter: float, centre: tuple[float, float] = (0.0, 0.0), spacing: float = 1.0, contrast: float = 1.0
) -> Tensor:
    """A bright disc in a patch of 32 x 32 mm, its edge soft over a pixel, with a thin vessel across a corner."""
    size = round(32 / spacing)
    y, x = torch.meshgrid(*((torch.arange(size) - (size - 1) / 2) * spacing,) * 2, indexing="ij")
    away = torch.hypot(y - centre[0], x - centre[1])
    disc = ((diameter / 2 - away) / spacing + 0.5).clamp(0, 1)
    vessel = ((0.8 - (x + y - 20).abs() / 2**0.5) / spacing + 0.5).clamp(0, 1)
    return (contrast * torch.maximum(disc, vessel) - 0.9)[None, None]


@pytest.mark.parametrize("spacing", [0.5, 1.0])
@pytest.mark.parametrize("diameter", [4.0, 7.0, 11.0, 17.0])
def test_diameter_of_a_known_disc(diameter, spacing):
    x = nodule(diameter, spacing=spacing)
    plain = metrics.disc_diameter(x, spacing).item()
    assert diameter - 0.51 <= plain <= 1.13 * diameter + 0.7, "somewhat too wide, and never narrower"
    moved = metrics.disc_diameter(nodule(diameter, (2.0, -1.5), spacing), spacing).item()
    assert moved == pytest.approx(plain, abs=0.51)
    assert metrics.disc_diameter(0.2 * x - 0.5, spacing).item() == plain, "the contrast is no part of a size"
    noisy = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    assert metrics.disc_diameter(noisy, spacing).item() == pytest.approx(plain, abs=1.01)


def test_a_disc_far_from_the_middle_is_no_nodule_of_this_image():
    both = torch.maximum(nodule(5.0), nodule(6.0, (10.0, -10.0), contrast=1.5))
    assert metrics.disc_diameter(both, 1.0) == metrics.disc_diameter(nodule(5.0), 1.0)


def test_discs_measure_simulated_nodules():
    held = cohorts.load("nodules", "val", n=400)
    found = metrics.disc_diameter(held.x, held.spacing[0])
    assert torch.corrcoef(torch.stack([found, held["diameter"]]))[0, 1] > 0.85
    with pytest.raises(ValueError, match="must be"):
        metrics.disc_diameter(held.x[:, 0], 1.0)


def head(ventricle: float, brain: float = 0.35, size: int = 64) -> Tensor:
    """A disc of brain of 70 mm radius off centre with a square ventricle of so many mm² in the middle."""
    mm = 240 / size
    y, x = torch.meshgrid(*((torch.arange(size) - (size - 1) / 2) * mm,) * 2, indexing="ij")
    x, y = x - 5, y + 4
    side = math.sqrt(ventricle)
    signal = torch.where(x.square() + y.square() < 70**2, brain, 0.0)
    edge = ((side / 2 - x.abs()) / mm + 0.5).clamp(0, 1) * ((side / 2 - y.abs()) / mm + 0.5).clamp(0, 1)
    signal = signal + edge * (metrics.FLUID - signal)
    return (2 * signal / 0.72 - 1)[None, None].float()


@pytest.mark.parametrize("size", [32, 64])
def test_ventricle_area_and_brain_signal_of_a_known_head(size):
    for area, brain in ((200.0, 0.35), (800.0, 0.25)):
        x = head(area, brain, size)
        assert metrics.ventricle_area(x, WINDOW, 240 / size).item() == pytest.approx(area, rel=0.08)
        assert metrics.brain_signal(x, WINDOW, 240 / size).item() == pytest.approx(brain, rel=0.01)


def test_ventricle_area_follows_the_labels_of_simulated_heads():
    heads = cohorts.load("heads", "test", size=32, n=60, seed=3)
    fine = cohorts.load("heads", "test", size=128, n=60, seed=3)
    inside = torch.stack(torch.meshgrid(*(torch.arange(128.0),) * 2, indexing="ij"))
    mask = (fine["labels"] > 0).float()
    centre = (mask * inside).sum((2, 3)) / mask.sum((2, 3))
    near = (inside - centre[:, :, None, None]).square().sum(1).sqrt() * 240 / 128 < metrics.VENTRICLES_MM
    truth = ((fine["labels"][:, 0] == 3) & near).sum((1, 2)) * (240 / 128) ** 2
    area = metrics.ventricle_area(heads.x, heads.window["x"], heads.spacing[0])
    assert torch.stack([area, truth.float()]).corrcoef()[0, 1] > 0.9
