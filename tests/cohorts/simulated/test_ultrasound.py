"""Simulated ultrasound: equal brightness, grain that differs, and scans of one person that share their anatomy only."""

import pytest
import torch

from medgan_lib import cohorts
from medgan_lib.cohorts.simulated import ultrasound

NAME = "ultrasound"


@pytest.fixture(scope="module")
def made():
    return cohorts.load(NAME, n=120, scans=2)


def in_decibels(made, name):
    k = ultrasound.TISSUES.index(name)
    grey, where = made.to_units(made.x), made["labels"] == k
    return torch.stack([g[w].mean() for g, w in zip(grey, where, strict=True) if w.sum() > 200])


def smoothness(images, inside, axis):
    """Correlation of neighbours along an axis (2: depth, 3: width) within a tissue."""
    n = images.shape[axis] - 1
    first, second = images.narrow(axis, 0, n), images.narrow(axis, 1, n)
    both = inside.narrow(axis, 0, n) & inside.narrow(axis, 1, n)
    return torch.corrcoef(torch.stack([first[both], second[both]]))[0, 1].item()


def test_four_tissues_are_equally_bright_and_vessels_are_dark(made):
    means = {name: in_decibels(made, name) for name in ultrasound.TISSUES[1:5]}
    overall = torch.stack([m.mean() for m in means.values()])
    assert overall.max() - overall.min() < 1.5  # dB; fat lies at the top, where the depth is compensated otherwise
    assert all(m.std() > 2 for m in means.values())  # the gain of a scan hides what difference there is
    blood = made.to_units(made.x)[made["labels"] == 5].mean()
    assert blood < overall.mean() - 12


def test_the_grain_is_that_of_the_tissue(made):
    x = made.x.double()
    found = {
        name: [smoothness(x, made["labels"] == k, axis) for axis in (2, 3)]
        for k, name in enumerate(ultrasound.TISSUES[1:5], 1)
    }
    assert min(found["fat"]) > max(found["liver"]) + 0.15
    assert found["muscle"][1] > found["muscle"][0] + 0.15  # streaks along the width
    assert found["kidney"][0] > found["kidney"][1] + 0.15  # and along the depth


def test_two_scans_share_the_section_and_not_the_speckle(made):
    first, second = made["scans"].double().unbind(1)
    liver = made["labels"][:, 0] == 3
    apart = [torch.corrcoef(torch.stack([a[w], b[w]]))[0, 1] for a, b, w in zip(first, second, liver, strict=True)]
    assert torch.stack(apart).mean().abs() < 0.1
    assert torch.equal(made.x[:, 0], made["scans"][:, 0])


def test_a_mass_is_in_the_image_and_not_in_the_labels():
    ill, well = (cohorts.load(NAME, n=40, lesion=share) for share in (1.0, 0.0))
    assert torch.equal(ill["labels"], well["labels"]) and not well["mask"].any()
    mass = ill["mask"] > 0
    assert mass.flatten(1).any(1).float().mean() > 0.8
    assert (ill["labels"][mass] == 3).all()
    inside, before = (part.to_units(part.x)[mass].mean() for part in (ill, well))
    assert -10 < inside - before < -5
    assert torch.equal(ill.x[~mass], well.x[~mass])


def test_the_same_person_for_any_number_and_others_for_another_seed():
    few, many, other = cohorts.load(NAME, n=3), cohorts.load(NAME, n=9, scans=2), cohorts.load(NAME, n=3, seed=1)
    assert torch.equal(few.x, many.x[:3]) and torch.equal(few["labels"], many["labels"][:3])
    assert not torch.equal(few["labels"], other["labels"])
    held = cohorts.load(NAME, "test", n=3)
    assert not set(few.subjects.tolist()) & set(held.subjects.tolist()) and not torch.equal(few.x, held.x)


@pytest.mark.parametrize(
    "switches, message",
    [({"size": 16}, "32 at least"), ({"scans": 0}, "1 at least"), ({"lesion": 1.5}, "share from 0")],
)
def test_what_cannot_be_made_is_refused(switches, message):
    with pytest.raises(ValueError, match=message):
        cohorts.load(NAME, n=2, **switches)
