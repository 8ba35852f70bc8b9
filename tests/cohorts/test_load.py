"""`load` and what it refuses."""

import math

import numpy as np
import pytest
import torch

from medgan_lib import cohorts

SIMULATED = ("ring", "grid", "lines", "nodules")


EMBEDDED = (*SIMULATED, "digits")


def test_names_lists_the_embedded_first():
    embedded = (
        *("ring", "grid", "lines", "digits", "stacked_digits", "digits_on_photos", "heads", "nodules"),
        *("vessels", "chests", "retinas"),
    )
    embedded += ("glands_simulated", "ultrasound")
    assert cohorts.names()[: len(embedded)] == embedded
    assert set(cohorts.names()[len(embedded) :]) == {
        *("mnist", "stacked_mnist", "mnist_on_photos", "lung_nodules", "brain_mr_contrasts", "brain_mr_ct"),
        *("pneumonia_mnist", "blood_cells", "glands", "carotid_arteries", "retina_oct", "retina_vessels"),
    }


@pytest.mark.parametrize(
    "arguments, switches, message",
    [
        (("nodule",), {}, "unknown cohort 'nodule'; there are ring, grid, .*lung_nodules"),
        (("/etc/passwd",), {}, "passwd: not an image"),
        (("digits", "validation"), {}, "unknown split 'validation' of 'digits'; there are train, val, test"),
        (("digits",), {"n": 3501}, "has 3500 such items, 3501 were asked for"),
        (("digits",), {"n": 0}, "n of 'digits' must be a positive whole number, it is 0"),
        (("digits",), {"n": 10.0}, "positive whole number"),
        (("digits",), {"size": 16}, "28 x 28: size must be at least 28, it is 16"),
        (("nodules",), {"size": 8}, "at least 16 pixels"),
        (("ring",), {"size": 32}, "size must be left out"),
        (("ring",), {"seed": -1}, "seed must be a whole number"),
        (("ring",), {"sigma": 0}, "sigma of 'ring' must be positive"),
        (("lines",), {"theta": math.inf}, "finite"),
        (("lines",), {"thta": 1.0}, "'lines' has no switch thta; it has theta"),
        (("digits",), {"contrast": "t1"}, "has no switch contrast; it has none"),
    ],
)
def test_a_wrong_request_says_what_exists(arguments, switches, message):
    with pytest.raises(ValueError, match=message) as error:
        cohorts.load(*arguments, **switches)
    if "passwd" not in message:  # a folder's files are named one a line
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", EMBEDDED)
def test_splits_share_no_subject_and_no_item(name):
    parts = [cohorts.load(name, split, n=64) for split in ("train", "val", "test")]
    assert len(set().union(*(part.subjects.tolist() for part in parts))) == 3 * 64
    assert len({item.numpy().tobytes() for part in parts for item in part.x}) == 3 * 64


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_seed_decides_the_draw(name):
    first, again, other = (cohorts.load(name, n=40, seed=seed).digest() for seed in (5, 5, 6))
    assert first == again != other


@pytest.mark.parametrize("name", SIMULATED)
def test_seeds_of_a_simulation_share_no_subject(name):
    a, b = (set(cohorts.load(name, n=40, seed=seed).subjects.tolist()) for seed in (0, 1))
    assert not a & b


def test_loading_leaves_the_callers_random_state_alone():
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1]
    cohorts.load("nodules", n=5, seed=123)
    cohorts.load("ring", n=5).split_by_subject((0.4, 0.6))
    assert torch.equal(before[0], torch.get_rng_state()) and (before[1] == np.random.get_state()[1]).all()
