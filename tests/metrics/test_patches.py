"""Sliced Wasserstein distance of patches: zero where it must be, and each fault at the scale where it is."""

from __future__ import annotations

import math

import pytest
import torch

from medgan_lib import cohorts, metrics
from medgan_lib.metrics import patches


@pytest.fixture(scope="module")
def patients():
    return cohorts.load("nodules", "test", size=64, n=60).x.double()


def test_identical_sets_in_any_order_are_no_distance_apart(patients):
    order = torch.randperm(len(patients), generator=torch.Generator().manual_seed(1))
    found = metrics.sliced_wasserstein_by_scale(patients, patients[order])
    assert list(found) == [64, 32, 16] and max(found.values()) < 1e-12
    other = metrics.spoil(patients, "blur", 0.5)
    value = metrics.sliced_wasserstein(patients, other)
    assert metrics.sliced_wasserstein(patients[order], other) == pytest.approx(value, rel=1e-12)
    assert metrics.sliced_wasserstein(patients, other) == value
    assert metrics.sliced_wasserstein(patients, other, seed=1) == pytest.approx(value, rel=0.2)


def test_the_pyramid_loses_nothing_and_has_the_fine_things_first(patients):
    x = patients[:5]
    scales = patches.laplacian_pyramid(x)
    assert [s.shape[-1] for s in scales] == [64, 32, 16]
    image = scales[-1]
    for scale in reversed(scales[:-1]):
        image = scale + patches._enlarged(image, scale)
    torch.testing.assert_close(image, x)
    constant = patches.laplacian_pyramid(torch.full((1, 1, 64, 64), 0.3, dtype=torch.float64))
    assert constant[-1].sub(0.3).abs().max() < 1e-12
    assert constant[0][..., 4:-4, 4:-4].abs().max() < 1e-12
    odd = patches.laplacian_pyramid(torch.zeros(1, 2, 33, 50))
    assert [tuple(s.shape[1:]) for s in odd] == [(2, 33, 50), (2, 17, 25)]


def test_blur_shows_at_the_fine_scale(patients):
    first, second = patients[:30], patients[30:]
    floor = metrics.sliced_wasserstein_by_scale(first, second)
    values = [metrics.sliced_wasserstein_by_scale(first, metrics.spoil(second, "blur", s)) for s in (0.25, 0.5, 1.0)]
    fine = [found[64] for found in values]
    assert 1.5 * floor[64] < fine[0] < fine[1] < fine[2] and fine[1] > 2.5 * floor[64]
    assert values[1][16] < 1.5 * floor[16]  # nothing of it is coarse
    noise = metrics.sliced_wasserstein_by_scale(first, metrics.spoil(second, "noise", 0.25, torch.Generator()))
    assert noise[64] > 2 * floor[64] and noise[16] < 1.5 * floor[16]


def test_contrast_shows_at_the_coarse_scale(patients):
    spoilt = (metrics.spoil(patients, "contrast", s) for s in (0.25, 0.5, 1.0))
    coarse = [metrics.sliced_wasserstein_by_scale(patients, x)[16] for x in spoilt]
    assert 0.02 < coarse[0] < coarse[1] < coarse[2]
    raised = metrics.sliced_wasserstein_by_scale(patients, patients * 1.3)
    assert raised[16] > 0.05  # normalised by its own spread this would be hidden


def test_a_shift_of_gaussians_is_known_in_closed_form():
    """Patches of white noise moved by s along every pixel: the mean over directions is s |sum of 49 cosines|."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(200, 1, 16, 16, generator=draw, dtype=torch.float64)
    y = torch.randn(200, 1, 16, 16, generator=draw, dtype=torch.float64) + 0.5
    assert metrics.sliced_wasserstein(x, y) == pytest.approx(0.5 * math.sqrt(2 / math.pi), rel=0.2)


def test_unequal_numbers_are_cut_and_the_floor_is_beside(patients):
    draws = [metrics.sliced_wasserstein(patients[:20], patients[20 : 20 + n]) for n in (20, 30, 40, 40)]
    assert draws[2] == draws[3]
    assert max(draws) < 1.6 * min(draws)  # no trend with the size of one set
    perfect = metrics.with_floor(metrics.sliced_wasserstein, patients[:20], patients[20:40], patients[40:])
    assert perfect.value == pytest.approx(perfect.floor, rel=0.5)
    spoilt = metrics.spoil(patients[40:], "mesh", 0.5, torch.Generator().manual_seed(0))
    found = metrics.with_floor(metrics.sliced_wasserstein, patients[:20], patients[20:40], spoilt)
    assert found.value > 2 * found.floor == 2 * perfect.floor


def test_single_precision_and_colour_are_computed_in_double(patients):
    single, double = patients.float(), patients.float().double()
    blurred = metrics.spoil(single, "blur", 0.5)
    assert metrics.sliced_wasserstein(single, blurred) == metrics.sliced_wasserstein(double, blurred.double())
    colour = torch.cat([patients, 0.3 * patients.flip(0)], 1)
    one_off = colour.clone()
    one_off[:, 1] *= 0.5
    assert metrics.sliced_wasserstein(colour, one_off) > 0.03


@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (torch.zeros(4, 1, 16, 16), torch.zeros(4, 1, 16, 17), "of one shape"),
        (torch.zeros(4, 1, 12, 16), torch.zeros(4, 1, 12, 16), "16 pixels an edge"),
        (torch.zeros(4, 16, 16), torch.zeros(4, 16, 16), "images must be"),
        (torch.zeros(4, 1, 16, 16), torch.zeros(0, 1, 16, 16), "too few samples: 4 and 0"),
        (torch.zeros(4, 1, 16, 16), torch.full((4, 1, 16, 16), math.nan), "the second samples have values"),
    ],
)
def test_what_cannot_be_compared_says_so(real, fake, message):
    with pytest.raises(ValueError, match=message):
        metrics.sliced_wasserstein(real, fake)
