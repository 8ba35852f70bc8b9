"""Stacked digits: three known digits an image, none of them in two splits."""

from __future__ import annotations

import os

import pytest
import torch

from medgan_lib import cohorts


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MEDGAN_PROGRESS", os.devnull)
        yield


def of_subject(subject: int) -> list[int]:
    return [subject >> 40, (subject >> 20) % (1 << 20), subject % (1 << 20)]


def test_the_label_is_the_three_digits():
    made, single = cohorts.load("stacked_digits", n=50, seed=3), cohorts.load("digits", size=32)
    where = {int(s): i for i, s in enumerate(single.subjects)}
    assert made.x.shape == (50, 3, 32, 32) and made.truth == {"modes": 1000} and len(made.classes["label"]) == 1000
    for item in range(50):
        found = [where[s] for s in of_subject(int(made.subjects[item]))]
        assert torch.equal(made.x[item], single.x[found, 0])
        assert made.classes["label"][made["label"][item]] == "".join(str(int(single["label"][i])) for i in found)


def test_no_digit_is_in_two_splits():
    digits = [
        {digit for s in cohorts.load("stacked_digits", split, n=300).subjects.tolist() for digit in of_subject(s)}
        for split in ("train", "val", "test")
    ]
    assert not digits[0] & digits[1] and not digits[0] & digits[2] and not digits[1] & digits[2]


def test_modes_are_drawn_evenly_and_the_number_is_free():
    made = cohorts.load("stacked_digits", "test", size=28, n=12_000)
    assert made.x.shape[1:] == (3, 28, 28)
    counts = made["label"].bincount(minlength=1000)
    assert (counts - 12.0).square().mean() < 1.3 * 12  # Poisson
    assert len(cohorts.load("stacked_digits")) == 10_000


def test_a_seed_decides_the_draw():
    first, again, other = (cohorts.load("stacked_digits", n=40, seed=seed).digest() for seed in (5, 5, 6))
    assert first == again != other


def test_wrong_size_says_so():
    with pytest.raises(ValueError, match="size must be at least 28, it is 16"):
        cohorts.load("stacked_digits", size=16)
