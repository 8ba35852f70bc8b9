"""Two domains for adaptation: labels stay with their images, and what cannot be adapted is refused."""

from __future__ import annotations

import pytest
import torch

from medgan_lib.cohorts import Cohort
from medgan_lib.cohorts.problems.adaptation import labels, two_domains


def cohort(label, name: str = "a", first: int = 0, shape=(3, 4, 4), key: str = "label", classes=None) -> Cohort:
    n = len(label)
    x = torch.arange(first, first + n).float().view(-1, *[1] * len(shape)).expand(n, *shape) / 1000
    return Cohort(
        name=name, tensors={"x": x.clone(), key: torch.as_tensor(label)}, subjects=torch.arange(first, first + n),
        units={}, window={}, origin="embedded", split="train", classes={} if classes is None else {key: classes},
    )  # fmt: skip


def test_two_domains_keep_labels_with_their_images_and_repeat_the_shorter_one():
    S, T = cohort([0, 1, 2, 0, 1]), cohort([2] * 13, first=100)
    data = two_domains(S, T, seed=3)
    assert {k: len(v) for k, v in data.items()} == {"x": 13, "label": 13, "target": 13}
    number = (data["x"][:, 0, 0, 0] * 1000).round().long()
    assert torch.equal(data["label"], S["label"][number])
    assert sorted(number.bincount().tolist()) == [2, 2, 3, 3, 3]
    assert sorted((data["target"][:, 0, 0, 0] * 1000).round().long().tolist()) == list(range(100, 113))
    assert torch.equal(two_domains(S, T, seed=3)["x"], data["x"])
    assert not torch.equal(two_domains(S, T, seed=4)["target"], data["target"])
    few = two_domains(cohort([0, 1] * 10), cohort([0, 1, 1], first=100))["target"]
    assert sorted((few[:, 0, 0, 0] * 1000).round().long().bincount()[100:].tolist()) == [6, 7, 7]


def test_masks_come_without_their_channel():
    mask = torch.zeros(4, 1, 4, 4, dtype=torch.int64)
    mask[:, :, 2:] = 1
    S, T = (cohort(mask, first=f, key="mask", classes=("ground", "cell")) for f in (0, 50))
    data = two_domains(S, T, "mask")
    assert data["label"].shape == (4, 4, 4) and data["label"].dtype == torch.int64
    assert torch.equal(labels(cohort(mask.bool(), key="mask"), "mask"), mask[:, 0])


def test_what_cannot_be_adapted_is_refused():
    S, T = cohort([0, 1, 2]), cohort([0, 1, 2], first=100)

    def refused(message, *given, **more):
        with pytest.raises(ValueError, match=message):
            two_domains(*given, **more)

    refused(r"the target domain \(a\) is empty", S, T.subset([]))
    refused(r"the source domain \(a\) is empty", S.subset([]), T)
    refused("the source has a single class in 'label', class 1", cohort([1, 1]), T)
    refused("the target has class 3 in 'label', the source hasn't", S, cohort([3, 1], first=100))
    named = cohort([0, 2], first=100, classes=("a", "b", "basophil"))
    refused("the target has basophil in 'label'", cohort([0, 1], classes=("a", "b", "basophil")), named)
    grey = cohort([0, 1, 2], "b", shape=(1, 4, 4))
    refused(r"source are \(3, 4, 4\), those of the target \(1, 4, 4\)", S, grey)
    refused(r"source are \(3, 4, 4\), those of the target \(3, 4, 5\)", S, cohort([0, 1], "b", shape=(3, 4, 5)))
    refused("3 subjects are in both domains", S, S)
    refused("has no tensor 'mask'", S, T, label="mask")
    refused("must be int64 or bool, not torch.float32", cohort([0.0, 1.0]), T)
    refused(r"holds \[-1, 0\], but its classes are numbers from 0", cohort([-1, 0]), T)
    small = torch.zeros(2, 1, 3, 3, dtype=torch.int64)
    refused(r"'label' of a is \(2, 1, 3, 3\), its images", cohort(small), T)


def test_a_mask_with_an_unknown_value_is_refused():
    mask = torch.zeros(2, 1, 4, 4, dtype=torch.int64)
    mask[0, 0, 0, 0], mask[1, 0, 0, 0] = 1, 255
    with pytest.raises(ValueError, match=r"'label' of a holds \[0, 1, 255\]: it must be 0, 1, ... without a gap"):
        two_domains(cohort(mask), cohort(mask, first=10))
    with pytest.raises(ValueError, match=r"label 'label' must be int64 in 0..1"):  # a cohort that names its classes
        cohort(mask, classes=("ground", "cell"))
    named = cohort(mask.clamp(max=1), classes=("ground", "cell"))
    named.tensors["label"][0, 0, 0, 0] = 2  # as after a resampling that went wrong
    with pytest.raises(ValueError, match=r"holds \[0, 1, 2\], but its classes are 0 to 1"):
        two_domains(named, cohort(mask.clamp(max=1), first=10))


def test_a_class_that_only_the_source_has_is_no_obstacle():
    assert len(two_domains(cohort([0, 1, 2]), cohort([0, 0], first=100))["x"]) == 3


def test_digits_on_photographs_of_other_digits_make_two_domains():
    from dataclasses import replace

    from medgan_lib import cohorts

    a, b = cohorts.load("digits", "val", size=32).split_by_subject((0.5, 0.5), seed=100)
    photos = cohorts.load("digits_on_photos", "val", size=32)
    with pytest.raises(ValueError, match="both need the same channels and size"):
        two_domains(a, photos)
    a = replace(a, tensors=a.tensors | {"x": a.x.repeat(1, 3, 1, 1)})
    photos = photos.subset(torch.isin(photos.subjects, b.subjects))
    data = two_domains(a, photos.subset(slice(0, 31)))
    assert data["x"].shape == data["target"].shape == (len(a), 3, 32, 32)
    assert not set(a.subjects.tolist()) & set(photos.subjects.tolist())
