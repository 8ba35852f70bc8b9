"""Scans are laid flat along the right line, patches fit together again, and a folder's normal images are learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import skimage.io
import torch

from medgan_lib import cohorts
from medgan_lib.cohorts.problems.anomalies import SPAN, cut, epithelium, flattened, joined, levelled, task


@pytest.fixture(scope="module")
def scans():
    return cohorts.load("retinas", "val", size=64, n=60, seed=100, abnormal=0.7)


def test_the_epithelium_is_found_and_drusen_do_not_take_it_along(scans):
    """Within two pixels of Bruch's membrane nearly everywhere; the two lie 15 µm, a pixel, apart."""
    membrane = scans["boundaries"][:, 9] / (960 / 64) - 0.5
    off = epithelium(scans.x) - membrane
    for label in range(3):
        part = off[scans["label"] == label]
        assert -1.3 < part.mean() < -0.3 and part.abs().quantile(0.98) < 2, label
    plain = scans.x[:, 0].argmax(1) - membrane  # the brightest row: nerve fibres, and drusen where they are
    assert plain.abs().quantile(0.98) > 5


def test_a_parabola_is_found_whatever_its_shape_and_a_bump_is_not_followed():
    t = torch.linspace(-1, 1, 64)
    line = torch.stack([40 + 5 * t - 6 * t**2, 30 - 8 * t, 45 + 0 * t])
    bumped = line.clone()
    bumped[:, 20:28] -= 8
    rows = torch.arange(64.0)[:, None]
    x = torch.exp(-((rows - bumped[:, None]) ** 2) / 4)[:, None] * 2 - 1
    assert (epithelium(x) - line).abs().max() < 0.7


def test_everything_moves_along_and_the_line_is_level(scans):
    flat = flattened(scans)
    known = {"x", "mask", "healthy", "layers", "label", "contrast", "offset", "thickness"}
    assert flat.x.shape == (60, 1, 32, 64) and set(flat.tensors) == known
    level = epithelium(scans.x).round().long()
    for i in (0, 7):
        for column in (0, 31, 63):
            bottom = int(level[i, column]) + 32 // 5
            for name in ("x", "mask", "healthy"):
                assert torch.equal(flat[name][i, :, :, column], scans[name][i, :, bottom - 31 : bottom + 1, column])
    membrane = flat["layers"][:, 0].eq(9).double().mean((0, 2))  # the pigment epithelium lies in the same rows
    assert membrane[22:28].sum() > 0.9 * membrane.sum()
    assert flat.window["x"] == scans.window["x"] and flat.spacing == scans.spacing
    assert flattened(scans, rows=40).x.shape[2] == 40


def test_patches_fit_together_again():
    x = torch.randn(5, 2, 8, 24)
    assert torch.equal(joined(cut(x), 5), x) and cut(x).shape == (15, 2, 8, 8)
    assert torch.equal(cut(x, 4)[2], x[0, :, :, 8:16]) and torch.equal(cut(x, 4)[5], x[1, :, :, :8])
    for wrong in (x[..., :6], x[..., :22]):
        with pytest.raises(ValueError, match="can't be cut"):
            cut(wrong)
    with pytest.raises(ValueError, match="every 5"):
        cut(x, 5)


def test_a_level_patch_does_not_depend_on_the_gain_and_keeps_its_contrast():
    x = 0.3 * torch.randn(4, 1, 8, 8).clamp(-1.5, 1.5)
    gain = torch.tensor([0.1, -0.2, 0.0, 0.3]).view(-1, 1, 1, 1)
    assert torch.allclose(levelled(x + gain), levelled(x), atol=1e-6)
    assert torch.allclose(levelled(x).flatten(1).std(1), x.flatten(1).std(1) / SPAN)
    assert torch.equal(levelled(9 * x).abs().amax(), torch.tensor(1.0))


@pytest.fixture
def folder(tmp_path):
    """120 pictures of noise, of which a third of the subjects have a bright square, with or without a table."""
    draw = np.random.default_rng(0)
    (tmp_path / "masks").mkdir()
    rows = ["name,label,subject"]
    for i in range(120):
        image, mask = draw.integers(0, 80, (32, 32), dtype=np.uint8), np.zeros((32, 32), np.uint8)
        if i % 3 == 0:
            image[8:16, 8:16], mask[8:16, 8:16] = 250, 1
        skimage.io.imsave(tmp_path / f"{i}.png", image, check_contrast=False)
        skimage.io.imsave(tmp_path / "masks" / f"{i}.png", mask, check_contrast=False)
        rows.append(f"{i}.png,{'healthy' if i % 3 else 'a square'},{i}")
    return tmp_path, "\n".join(rows)


def bright(x):
    return x.flatten(1).amax(1) > 0.9


def test_normal_is_learned_and_the_rest_judged(folder):
    path, table = folder
    by_mask = task(str(path), 32)
    (path / "labels.csv").write_text(table)
    by_label = task(str(path), 32)
    for found, note in ((by_mask, "empty mask"), (by_label, "class 'healthy' is taken for normal")):
        assert note in found.note and not bright(found.train).any() and len(found.train) > 20
        assert torch.equal(found.ill, bright(found.test.x)) and torch.equal(found.mask.flatten(1).any(1), found.ill)
    few = task(str(path), 32, n=5, seed=1)
    assert len(few.test) == len(few.ill) == len(few.mask) == 5
    (path / "labels.csv").write_text(table.replace("a square", "Normal"))
    assert "class 'Normal' is taken for normal" in task(str(path), 32).note
    (path / "labels.csv").unlink()
    for mask in (path / "masks").iterdir():
        mask.unlink()
    (path / "masks").rmdir()
    nobody_knows = task(str(path), 32)
    assert nobody_knows.ill is None and "only ranked" in nobody_knows.note


def test_scanner_and_class_of_real_scans_go_together(monkeypatch):
    from medgan_lib.cohorts.problems import anomalies

    raw = replace(cohorts.load("retinas", "test", size=64, n=9, seed=100), window={}, units={}, classes={})
    parts = []

    def load(name, split, *, size, part="volume"):
        parts.append((name, split, size, part))
        return raw if part == "volume" else raw[:4]

    monkeypatch.setattr(anomalies, "load", load)
    found = task("retina_oct", 64)
    assert [p[1:] for p in parts] == [("train", 64, "volume"), ("test", 64, "volume"), ("test", 64, "pathological")]
    assert found.ill.tolist() == [False] * 9 + [True] * 4 and found.train.shape == (9, 1, 32, 64)
    assert torch.equal(found.test.x[9:], found.test.x[:4]) and found.test.spacing is None
