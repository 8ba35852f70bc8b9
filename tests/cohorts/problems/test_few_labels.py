"""Few labels, drawn and repeated."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medgan_lib.cohorts.problems.few_labels import draw_labelled, repeated


def test_a_draw_is_balanced_nested_and_decided_by_its_seed() -> None:
    label = torch.arange(300) % 10
    small, large, other = (draw_labelled(label, n, 10, seed) for n, seed in ((20, 1), (50, 1), (20, 2)))
    assert torch.bincount(label[small]).tolist() == [2] * 10 and len(set(large.tolist())) == 50
    assert set(small.tolist()) < set(large.tolist()) and set(small.tolist()) != set(other.tolist())
    assert torch.equal(small, draw_labelled(label, 20, 10, 1))


@pytest.mark.parametrize("n, m", [(3, 10), (10, 3), (4, 4)])
def test_the_smaller_set_is_repeated_in_whole_passes(n: int, m: int) -> None:
    x = torch.arange(n).float().view(n, 1, 1, 1).expand(n, 1, 2, 2)
    u = 100 + torch.arange(m).float().view(m, 1, 1, 1).expand(m, 1, 2, 2)
    made = repeated({"x": x, "label": torch.arange(n)}, u, classes=n, seed=4)
    assert len(made["x"]) == len(made["u"]) == len(made["label"]) == max(n, m)
    assert torch.equal(made["x"][:, 0, 0, 0].long(), made["label"])
    for part, count, first in ((made["x"], n, 0), (made["u"], m, 100)):
        seen = part[:, 0, 0, 0].long() - first
        assert all(len(set(block.tolist())) == len(block) for block in seen.split(count))
        counts = torch.bincount(seen, minlength=count)
        assert int(counts.max() - counts.min()) <= 1
    assert torch.equal(made["u"], repeated({"x": x, "label": torch.arange(n)}, u, classes=n, seed=4)["u"])


IMAGES, LABELS = torch.zeros(6, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize("labelled, u, message", [
    ({"label": torch.tensor([0, 1, 1, 0, 1, 0])}, IMAGES, "no labelled item of class 2"),
    ({"label": torch.ones(6, dtype=torch.long)}, IMAGES, "all 6 labels are 1: there is nothing to tell apart"),
    ({"label": LABELS + 1}, IMAGES, "labels must be from 0 to 2, they are from 1 to 3"),
    ({"label": LABELS - 1}, IMAGES, "labels must be from 0 to 2, they are from -1 to 1"),
    ({"label": LABELS.float()}, IMAGES, r"labels must be int64 of shape \(n,\), they are torch.float32"),
    ({"mask": IMAGES + 255}, IMAGES, "masks must be 0 or 1, there are also 255.0"),
    ({"mask": IMAGES[:, :, :3]}, IMAGES, r"masks \(6, 1, 3, 4\) do not fit images \(6, 1, 4, 4\)"),
    ({"mask": IMAGES * torch.nan}, IMAGES, "masks must be 0 or 1, there are also nan"),
    ({"x": IMAGES * torch.nan, "label": LABELS}, IMAGES, "labelled images have values that are not finite"),
    ({"label": LABELS}, IMAGES / 0, "unlabelled images have values that are not finite"),
    ({"label": LABELS}, IMAGES[:0], "6 labelled and 0 unlabelled images: there must be some of both"),
    ({"x": IMAGES[:0], "label": LABELS[:0]}, IMAGES, "0 labelled and 6 unlabelled images"),
    ({"label": LABELS}, IMAGES[:, :, :3], "differ in shape"),
])  # fmt: skip
def test_sets_that_cannot_be_learned_from_are_refused(labelled: dict, u: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        repeated({"x": IMAGES} | labelled, u, classes=3)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("n, message", [
    (12, "12 labels need 4 items of every class, class 2 has 3"),
    (4, "4 labels can't be dealt out evenly to 3 classes: choose a multiple of 3"),
    (0, "0 labels can't be dealt out evenly"),
])  # fmt: skip
def test_more_labels_than_there_are_cannot_be_drawn(n: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_labelled(torch.tensor([0] * 5 + [1] * 5 + [2] * 3), n, 3)
