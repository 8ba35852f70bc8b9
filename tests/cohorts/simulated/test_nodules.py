"""Simulated nodules: exact truth."""

import math

import pytest
import torch

from medgan_lib import cohorts
from medgan_lib.cohorts.simulated import nodules


@pytest.fixture(scope="module")
def patches(own_cache):
    return cohorts.load("nodules", n=400, size=32)


def measured(made):
    """(area mm², centroid (n, 2) mm) of the masks."""
    mm = made.spacing[0]
    at = (torch.arange(made.x.shape[-1]) + 0.5) * mm - nodules.FIELD / 2
    mask = made["mask"][:, 0].float()
    pixels = mask.sum((1, 2))
    centroid = torch.stack([(mask.sum(2) * at).sum(1), (mask.sum(1) * at).sum(1)], 1) / pixels[:, None]
    return pixels * mm**2, centroid


@pytest.mark.parametrize("size", [16, 32, 64])
def test_centre_and_diameter_are_those_of_the_mask(size, patches):
    made = patches if size == 32 else cohorts.load("nodules", n=200, size=size)
    area, centroid = measured(made)
    assert float((centroid - made["centre"]).abs().max()) / made.spacing[0] < 0.5
    error = 2 * (area / math.pi).sqrt() - made["diameter"]
    assert float(error.abs().mean()) < 0.15 * made.spacing[0] and abs(float(error.mean())) < 0.05 * made.spacing[0]


def test_the_nodule_is_where_the_image_is_dense():
    """In the isolated, solid, uncalcified ones, the half-density area of the image is the stated area."""
    made = cohorts.load("nodules", n=200, size=64)
    hu, mask = made.to_units(made.x)[:, 0], made["mask"][:, 0]
    near = torch.nn.functional.max_pool2d(mask[:, None].float(), 9, 1, 4)[:, 0] > 0
    rim = near & ~(torch.nn.functional.max_pool2d(mask[:, None].float(), 5, 1, 2)[:, 0] > 0)
    around = (hu * rim).sum((1, 2)) / rim.sum((1, 2))
    clear = (hu.where(rim, -1000).amax((1, 2)) < -500) & (made["part_solid"] == 0) & (made["diameter"] > 5)
    assert clear.sum() > 15
    inside = (hu * mask).sum((1, 2)) / mask.sum((1, 2))
    dense = (hu > ((inside + around) / 2)[:, None, None]) & near
    found = 2 * (dense.sum((1, 2)) * made.spacing[0] ** 2 / math.pi).sqrt()
    error = (found - made["diameter"])[clear]
    assert float(error.abs().mean()) < 0.6, "mm"
    assert float(torch.corrcoef(torch.stack([found, made["diameter"]])[:, clear])[0, 1]) > 0.97


def test_a_spiculated_outline_is_longer_than_a_smooth_one(patches):
    mask = torch.nn.functional.pad(cohorts.load("nodules", n=200, size=64)["mask"][:, 0].int(), (1, 1, 1, 1))
    edges = mask.diff(dim=1).abs().sum((1, 2)) + mask.diff(dim=2).abs().sum((1, 2))
    roughness = edges / mask.sum((1, 2)).sqrt()  # scale-free
    margin = patches["margin"][:200]
    assert float(torch.corrcoef(torch.stack([roughness, margin]))[0, 1]) > 0.6
    assert roughness[margin > 0.8].mean() > 1.15 * roughness[margin < 0.2].mean()


def test_labels_follow_the_stated_rule():
    draws = cohorts.load("nodules", n=400)
    p = nodules.malignancy(draws["diameter"], draws["margin"])
    excess = (draws["label"] - p).sum() / (p * (1 - p)).sum().sqrt()
    assert abs(float(excess)) < 3.5
    assert float(nodules.malignancy(torch.tensor(9.0), torch.tensor(0.5))) == 0.5
    # as good as the rule allows, and much better than chance
    accuracy = ((p > 0.5) == (draws["label"] == 1)).float().mean()
    assert float(accuracy) == pytest.approx(float(torch.maximum(p, 1 - p).mean()), abs=0.07) and accuracy > 0.75
    assert 0.3 < float(draws["label"].float().mean()) < 0.7


def test_tissues_have_the_hounsfield_values_of_lung_and_soft_tissue(patches):
    hu = patches.to_units(patches.x)[:, 0]
    assert -900 < float(hu.flatten(1).median(1).values.median()) < -780
    solid = (patches["part_solid"] == 0) & (patches["diameter"] > 8)
    core = torch.hypot(*[(torch.arange(32) + 0.5 - 16).expand(32, 32).T, (torch.arange(32) + 0.5 - 16).expand(32, 32)])
    assert -60 < float(hu[solid][:, core < 2].median()) < 150
    assert float(hu.min()) >= -1000 and float(hu.max()) <= 400


def test_a_subject_does_not_depend_on_how_many_there_are(patches):
    few = cohorts.load("nodules", n=37, size=32)
    for key in few.tensors:
        torch.testing.assert_close(few[key], patches[key][:37], rtol=1e-4, atol=1e-4)


def test_factors_do_not_depend_on_the_size(patches):
    fine = cohorts.load("nodules", n=20, size=48)
    for key in ("centre", "diameter", "margin", "label", "part_solid"):
        torch.testing.assert_close(fine[key], patches[key][:20])
    assert fine.spacing == (32 / 48, 32 / 48)
