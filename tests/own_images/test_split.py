"""Splits by subject."""

import pytest
import torch
from own_folders import all_splits, pair_set, png

from medgan_lib import cohorts
from medgan_lib.cohorts.problems import translation
from medgan_lib.own_images import inspect_folder, load_folder


def test_splits_are_disjoint_by_subject_and_the_same_for_every_seed(tmp_path):
    root = pair_set(tmp_path, 20, (4, 4, 2))
    parts = all_splits(root)
    people = {split: set(part.subjects.tolist()) for split, part in parts.items()}
    assert [len(people[split]) for split in ("train", "val", "test")] == [14, 3, 3]
    assert len(set.union(*people.values())) == 20
    assert parts["val"].window == parts["train"].window
    for split, part in all_splits(root, seed=5, n=3).items():
        assert set(part.subjects.tolist()) <= people[split] and len(part) == 3
    assert not torch.equal(load_folder(root, n=3, seed=1).x, load_folder(root, n=3, seed=2).x)


def test_a_domain_of_pairs_shares_no_subject_with_the_other(tmp_path):
    root = pair_set(tmp_path, 6)
    a, b = (cohorts.load(str(root), domain=domain) for domain in "AB")
    assert len(set(a.subjects.tolist())) == len(set(b.subjects.tolist())) == 2
    translation.unpaired(a, b)
    with pytest.raises(ValueError, match="too few subjects in 'test' to give A of one and B of another"):
        cohorts.load(str(root), "test", domain="B")


def test_few_images(tmp_path):
    png(tmp_path / "a.png")
    assert len(load_folder(tmp_path)) == 1
    assert any("there is one image" in line for line in inspect_folder(tmp_path).notes)
    with pytest.raises(ValueError, match="has no 'val' images: it holds 1 subject, and 3 are needed"):
        load_folder(tmp_path, "val")
    png(tmp_path / "b.png")
    assert len(load_folder(tmp_path, "test")) == len(load_folder(tmp_path, "train")) == 1
    with pytest.raises(ValueError, match="it holds 2 subjects, and 3 are needed"):
        load_folder(tmp_path, "val")
    with pytest.raises(ValueError, match="has 1 such items, 5 were asked for"):
        load_folder(tmp_path, n=5)
