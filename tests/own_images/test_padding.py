"""Padding and sizes, there and back."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from own_folders import RNG, all_splits, nifti, png

from medgan_lib import files
from medgan_lib.own_images import inspect_folder, load_folder, unpad
from medgan_lib.own_images.padding import pad


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 30)), min_size=1, max_size=3))
def test_padding_is_undone_exactly(edges):
    size, least = zip(*edges, strict=True)
    values = torch.from_numpy(RNG.normal(size=(3, 2, *size)).astype(np.float32))
    padded, crop = pad(values, least)
    for edge, old, at_least in zip(padded.shape[2:], size, least, strict=True):
        assert edge == max(8 * ((old + 7) // 8), at_least)
    assert torch.equal(padded[crop], values)
    padded[crop] = values.min()
    assert (padded == values.min()).all()


def test_sizes_are_padded_with_the_smallest_value_to_multiples_of_8(tmp_path):
    shapes = [(13, 21), (8, 8), (17, 9)]
    for k, shape in enumerate(shapes):
        png(tmp_path / f"{k}.png", shape)
    parts = all_splits(tmp_path)
    found = inspect_folder(tmp_path)
    for entry in found.sides["A"].entries:
        item = parts[found.splits[entry.name]]
        values = files.read(entry.path).values
        assert item.x.shape == (1, 1, 24, 24)
        shown = item.to_units(item.x[0])
        assert torch.allclose(unpad(shown, item["crop"][0]), torch.from_numpy(values), atol=1e-3)
        outside = torch.ones_like(shown, dtype=torch.bool)
        unpad(outside, item["crop"][0])[...] = False
        assert outside.sum() == 24 * 24 - values.size
        assert torch.allclose(shown[outside], torch.tensor(float(values.min())), atol=1e-3)
    assert any("images have 3 sizes, from 8 x 8 to 17 x 9" in line for line in found.notes)


def test_size_keeps_the_aspect_in_mm(tmp_path):
    # 20 columns of 1 mm, 10 rows of 4 mm: taller than wide
    nifti(tmp_path / "a.nii", (20, 10, 3), affine=np.diag([1.0, 4.0, 3.0, 1.0]))
    train = load_folder(tmp_path, size=32)
    assert train.x.shape == (3, 1, 32, 32)
    assert train["crop"][0].tolist() == [0, 32, 8, 24] and np.allclose(train.spacing, (1.25, 1.25))
    half = np.zeros((64, 64), np.uint8)
    half[:, ::2] = 255  # finer than the result can show: antialiasing gives grey
    png(tmp_path / "p" / "a.png", values=half)
    assert load_folder(tmp_path / "p", size=16).x.abs().max() < 0.1
