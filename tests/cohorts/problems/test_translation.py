"""Pairs and domains."""

from __future__ import annotations

import pytest
import torch

from medgan_lib import cohorts
from medgan_lib.cohorts.problems.translation import domains, pairs, unpaired


def test_domains_share_no_subject_and_show_one_side_each():
    paired = pairs("heads", size=32, n=12)
    heads = cohorts.load("heads", size=32, n=12, contrasts=("t1", "ct"))
    assert torch.equal(paired.x, heads["ct"]) and torch.equal(paired["y"], heads["t1"])
    assert paired.units["x"] == "HU" != paired.units["y"]
    a, b = domains(paired)
    assert len(a) + len(b) == 12 and not set(a.subjects.tolist()) & set(b.subjects.tolist())
    assert set(a.tensors) == set(b.tensors) == {"x"}
    for part, side in ((a, "y"), (b, "x")):
        assert part.units["x"] == paired.units[side] and part.window["x"] == paired.window[side]
        for subject, image in zip(part.subjects, part.x, strict=True):
            assert torch.equal(paired[side][paired.subjects == subject][0], image)
    data = unpaired(a[:4], b, seed=1)
    assert len(data["x"]) == len(data["y"]) == 6
    assert {one.numpy().tobytes() for one in data["y"]} == {one.numpy().tobytes() for one in a[:4].x}
    again, other = unpaired(a[:4], b, seed=1), unpaired(a[:4], b, seed=2)
    assert torch.equal(again["y"], data["y"]) and not torch.equal(other["x"], data["x"])
    with pytest.raises(ValueError, match="12 subjects are in both domains; split them first"):
        unpaired(paired.select(x="y"), paired.select(x="x"))


def test_a_cohort_without_pairs_says_so():
    with pytest.raises(ValueError, match="'digits' has no pairs: give 'heads', "):
        pairs("digits", n=4)
