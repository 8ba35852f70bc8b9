"""Pairs that do not fit: by how much, in which direction, and that nothing else moves."""

import math

import pytest
import torch

from medgan_lib.cohorts.cohort import Cohort, Window
from medgan_lib.cohorts.problems import misaligned as problem


def blobs(n=12, size=40, spacing=2.0):
    """Pairs with a Gaussian blob in the middle, two of each subject; 2 mm a pixel."""
    line = (torch.arange(size) - (size - 1) / 2) ** 2
    blob = 2 * torch.exp(-(line[:, None] + line) / 18) - 1
    images = blob.expand(n, 1, size, size)
    return Cohort(name="blobs", tensors={"x": images.clone(), "y": images},
                  subjects=torch.arange(n) // 2, units={"x": "HU", "y": "signal"}, spacing=(spacing, spacing),
                  window={"x": Window(-1000, 2000), "y": Window(0, 1)}, origin="embedded", split="train")


def centre(images):
    """(n, 2) in pixels from the middle: down and right."""
    mass = (images[:, 0] + 1).double()
    line = torch.arange(images.shape[-1]).double() - (images.shape[-1] - 1) / 2
    whole = mass.sum((1, 2))
    return torch.stack([(mass * line[:, None]).sum((1, 2)) / whole, (mass * line).sum((1, 2)) / whole], 1)


@pytest.mark.parametrize("mm", [1.0, 4.0, 7.3])
def test_a_pair_is_apart_by_what_was_asked_in_a_direction_of_its_own(mm):
    found = problem.misaligned(blobs(400), mm)
    by = centre(found.x)
    torch.testing.assert_close(by.norm(dim=1), torch.full((400,), mm / 2).double(), rtol=0.02, atol=0.05)
    assert torch.equal(by[0::2], by[1::2]), "the slices of a person are moved alike"
    assert by[0::2].mean(0).norm() < 4 * mm / 2 / math.sqrt(2 * 200), "no direction is preferred"
    assert torch.equal(found["y"], blobs(400)["y"])
    assert torch.equal(problem.misaligned(blobs(400), mm).x, found.x)
    assert not torch.equal(problem.misaligned(blobs(400), mm, seed=2).x, found.x)


def test_nothing_to_do_at_0_mm():
    cohort = blobs()
    assert problem.misaligned(cohort, 0) is cohort


def test_whole_pixels_are_a_roll_and_the_border_is_repeated():
    x = torch.rand(2, 1, 9, 11, generator=torch.Generator().manual_seed(0))
    moved = problem.moved(x, 2, -3)
    torch.testing.assert_close(moved[..., :6, 2:], x[..., 3:, :9], rtol=0, atol=1e-5)
    torch.testing.assert_close(moved[..., 6:, 2:], x[..., -1:, :9].expand(2, 1, 3, 9), rtol=0, atol=1e-5)
    each = problem.moved(x, torch.tensor([0.0, 1.0]), torch.tensor([0.0, 0.0]))
    torch.testing.assert_close(each[0], x[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(each[1, :, :, 1:], x[1, :, :, :-1], rtol=0, atol=1e-5)


def test_everywhere_goes_round_once():
    x = blobs(1).x
    places = torch.cat([centre(one) for one in problem.everywhere(x, 3.0, directions=8)])
    angles = torch.atan2(places[:, 0], places[:, 1]).remainder(2 * math.pi)
    torch.testing.assert_close(places.norm(dim=1), torch.full((8,), 3.0).double(), rtol=0.02, atol=0)
    torch.testing.assert_close(angles.sort().values, torch.arange(8).double() * math.pi / 4, rtol=0, atol=0.02)


def test_a_pixel_without_a_size_counts_as_1_mm():
    assert problem.pixel_mm(blobs()) == 2.0
    assert problem.pixel_mm(Cohort(**{**vars(blobs()), "spacing": None})) == 1.0
