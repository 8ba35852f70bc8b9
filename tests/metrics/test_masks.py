"""Scores of objects against their definitions, one pair of objects after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from medgan_lib import metrics


def by_pairs(segmented: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """(F1, object Dice) of maps (n, h, w), from the definitions, one pair of objects after the other."""
    tp = fp = fn = 0
    parts, areas = [0.0, 0.0], [0, 0]
    for s_map, g_map in zip(segmented, truth, strict=True):
        S, G = ([m == k for k in np.unique(m) if k] for m in (s_map, g_map))
        found = set()
        for s in S:
            shared = [int((s & g).sum()) for g in G]
            if shared and max(shared) and max(shared) >= 0.5 * G[shared.index(max(shared))].sum():
                found.add(shared.index(max(shared)))
        tp, fp, fn = tp + len(found), fp + len(S) - len(found), fn + len(G) - len(found)
        for side, (own, other) in enumerate(((S, G), (G, S))):
            for a in own:
                areas[side] += int(a.sum())
                if other:
                    b = max(other, key=lambda o: int((a & o).sum()))
                    parts[side] += a.sum() * 2 * (a & b).sum() / (a.sum() + b.sum())
    total = 2 * tp + fp + fn
    dice = sum(p / max(area, 1) for p, area in zip(parts, areas, strict=True)) / 2
    return (2 * tp / total if total else 1.0), (dice if any(areas) else 1.0)


def test_objects_by_hand() -> None:
    truth, found = torch.zeros(2, 1, 1, 12, 12, dtype=torch.long)
    truth[..., :4, :4], truth[..., 8:, 8:] = 3, 7  # 16 pixels each; numbers have gaps
    found[..., :4, :2], found[..., :4, 10:] = 1, 2  # exactly half of the first, and a false alarm
    assert metrics.detection(found, truth) == (0.5, 1, 1, 1)
    half = 2 * 8 / (8 + 16)
    assert metrics.object_dice(found, truth) == pytest.approx((8 * half / 16 + 16 * half / 32) / 2)
    found[0, 0, 0, 0] = 0  # less than half is no longer found
    assert metrics.detection(found, truth).true_positives == 0
    merged = (truth > 0).long()
    merged[..., 4:8, 4:8] = 1  # one object over both
    assert metrics.detection(merged, truth) == (pytest.approx(2 / 3), 1, 0, 1)


def test_objects_against_the_definitions() -> None:
    rng = np.random.default_rng(0)
    smooth = [F.avg_pool2d(torch.from_numpy(rng.standard_normal((12, 1, 24, 24))), 5, 1, 2) for _ in range(2)]
    pairs = [metrics.components(field > 0.12) for field in (smooth[0], smooth[0] + 0.5 * smooth[1])]
    for images in (slice(0, 12), slice(0, 1), slice(5, 7)):
        a, b = (maps[images] for maps in pairs)
        f1, dice = by_pairs(a[:, 0].numpy(), b[:, 0].numpy())
        assert metrics.detection(a, b).f1 == pytest.approx(f1, abs=1e-12) and 0 < f1 < 1
        assert metrics.object_dice(a, b) == pytest.approx(dice, abs=1e-12)
        assert metrics.object_dice(b, a) == pytest.approx(dice, abs=1e-12)


def test_nothing_to_find_and_perfect_answers() -> None:
    empty, full = torch.zeros(1, 1, 6, 6, dtype=torch.long), torch.zeros(1, 1, 6, 6, dtype=torch.long)
    full[..., 1:3, 1:3], full[..., 4:, 4:] = 1, 2
    assert (metrics.detection(empty, empty).f1, metrics.object_dice(empty, empty)) == (1.0, 1.0)
    assert (metrics.detection(full, full).f1, metrics.object_dice(full, full)) == (1.0, 1.0)
    for a, b in ((empty, full), (full, empty)):
        assert (metrics.detection(a, b).f1, metrics.object_dice(a, b)) == (0.0, 0.0)
    with pytest.raises(ValueError, match="must be alike"):
        metrics.object_dice(full, full[0])


def test_components_are_numbered_in_each_image_and_small_ones_are_left_out() -> None:
    mask = torch.zeros(2, 1, 6, 6, dtype=torch.bool)
    mask[0, 0, 0, 0], mask[0, 0, 1, 1], mask[1, 0, 2:4, 2:4] = True, True, True  # corners do not connect
    found = metrics.components(mask)
    assert found[0].unique().tolist() == [0, 1, 2] and found[1].unique().tolist() == [0, 1]
    assert metrics.components(mask, smallest=2)[0].sum() == 0 and metrics.components(mask, smallest=2)[1].max() == 1
    with pytest.raises(ValueError, match="masks must be bool"):
        metrics.components(mask.long())


def test_dice_against_counts():
    a, b = torch.zeros(3, 1, 4, 4, dtype=torch.bool), torch.zeros(3, 1, 4, 4, dtype=torch.bool)
    a[0, 0, :2], b[0, 0, 1:3] = True, True  # 8 and 8 pixels, 4 in common
    a[1, 0, 0] = True
    assert metrics.dice(a, b).tolist() == [0.5, 0.0, 1.0]
    with pytest.raises(ValueError, match="same shape"):
        metrics.dice(a, b[:1])


def test_contrast_to_noise_of_a_square_is_that_of_its_rim() -> None:
    draw = torch.Generator().manual_seed(0)
    mask = torch.zeros(3, 1, 40, 40, dtype=torch.bool)
    mask[:2, :, 15:25, 15:25] = True
    x = 0.1 * torch.randn(3, 1, 40, 40, generator=draw)
    x[:, :, 0] = 99  # far away: does not count
    x[0][mask[0]] += 0.5
    x[:, :, 14, 14:26] = 7  # the edge: does not count
    found = metrics.contrast_to_noise(x, mask)
    assert found[0].item() == pytest.approx(5, abs=0.8)
    assert abs(found[1].item()) < 0.4
    assert found[2].isnan(), "nothing marked"
    assert torch.allclose(metrics.contrast_to_noise(3 * x + 1, mask)[:2], found[:2]), "a matter of units"
    with pytest.raises(ValueError, match="bool"):
        metrics.contrast_to_noise(x, mask.float())


def test_a_rim_is_two_pixels_wide_and_an_interior_is_what_it_leaves():
    mask = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    mask[..., 2:7, 2:7] = True
    inner = metrics.interior(mask)
    assert inner.sum() == 9 and inner[..., 3:6, 3:6].all()
    assert metrics.grown(mask).sum() == 49
    assert torch.equal(metrics.rim(mask), metrics.grown(mask) & ~inner)
    assert metrics.interior(mask, 2).sum() == 1 and not metrics.interior(mask, 3).any()
    whole = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    assert metrics.interior(whole).all() and not metrics.rim(whole).any()
