"""Digits on photographs: Ganin's construction, splits that share neither a digit nor a pixel, no download."""

from __future__ import annotations

import os
from importlib.metadata import files

import numpy as np
import pytest
import torch

from medgan_lib import cohorts
from medgan_lib.cohorts.simulated import digits_on_photos


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MEDGAN_PROGRESS", os.devnull)
        yield


def grey(x: torch.Tensor) -> np.ndarray:
    return ((x + 1) * 127.5).round().to(torch.int16).numpy()


def patches(x: np.ndarray, digit: np.ndarray, tiles: np.ndarray) -> list[np.ndarray]:
    """The patches (3, s, s) within one of the tiles for which x is |digit - patch|; the digit has empty corners."""
    size = x.shape[-1]
    windows = np.lib.stride_tricks.sliding_window_view(tiles, (size, size), (1, 2))
    match = np.ones(windows.shape[:3], bool)
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert digit[0, row, column] == 0
        match &= (windows[..., row, column] == x[:, row, column]).all(-1)
    found = [windows[tuple(at)].astype(np.int16) for at in np.argwhere(match)]
    return [patch for patch in found if np.array_equal(np.abs(digit - patch), x)]


def is_blend(x: np.ndarray, digit: np.ndarray, tiles: np.ndarray) -> bool:
    return bool(patches(x, digit, tiles))


@pytest.mark.parametrize("split, size", [("train", 28), ("val", 32), ("test", 28), ("test", 64)])
def test_a_pixel_is_the_difference_of_digit_and_photograph(split, size):
    made, single = (cohorts.load(name, split, size=size, n=8, seed=7) for name in ("digits_on_photos", "digits"))
    assert made.x.shape == (8, 3, size, size) and made.origin == "embedded" and made.window == {"x": (0.0, 255.0)}
    assert torch.equal(made.subjects, single.subjects) and torch.equal(made["label"], single["label"])
    tiles = digits_on_photos._tiles()[split]
    for x, digit in zip(grey(made.x), grey(single.x), strict=True):
        assert is_blend(x, digit, tiles)
        assert not is_blend(x, np.roll(digit, 3, 1), tiles)


def spread(patch: np.ndarray) -> float:
    return float(patch.mean(0).std())


@pytest.mark.parametrize("split, size", [("train", 28), ("val", 32), ("test", 28), ("test", 64)])
def test_textured_patches_are_textured_and_of_their_split(split, size):
    made, single = (
        cohorts.load(name, split, size=size, n=12, seed=7, **more)
        for name, more in (("digits_on_photos", {"textured": True}), ("digits", {}))
    )
    assert torch.equal(made.subjects, single.subjects) and torch.equal(made["label"], single["label"])
    every = digits_on_photos._tiles(True)
    for x, digit in zip(grey(made.x), grey(single.x), strict=True):
        found = patches(x, digit, every[split])
        assert found and all(spread(patch) >= digits_on_photos.TEXTURE for patch in found)
        assert not any(is_blend(x, digit, tiles) for other, tiles in every.items() if other != split)


@pytest.mark.parametrize("textured", [False, True])
def test_patches_without_digits_put_any_digit_on_a_photograph(textured):
    found = digits_on_photos.patches("test", 6, seed=3, textured=textured)
    digit = cohorts.load("digits", "test", n=6).x
    assert found.shape == (6, 3, 28, 28) and -1 <= found.min() < -0.5 < 0.5 < found.max() <= 1
    for split, tiles in digits_on_photos._tiles(textured).items():
        on = grey((digit - found).abs() - 1)
        same = [is_blend(x, single, tiles) for x, single in zip(on, grey(digit), strict=True)]
        assert all(same) if split == "test" else not (textured and any(same))  # black sky is in every split
    if textured:
        assert all(spread(patch) >= digits_on_photos.TEXTURE for patch in grey(found))
    assert torch.equal(found, digits_on_photos.patches("test", 6, seed=3, textured=textured))
    assert not torch.equal(found, digits_on_photos.patches("test", 6, seed=4, textured=textured))


def test_without_the_switch_many_patches_are_flat_and_nothing_has_changed():
    made, single = (cohorts.load(name, "test", n=60) for name in ("digits_on_photos", "digits"))
    tiles = digits_on_photos._tiles()["test"]
    found = [spread(patches(*pair, tiles)[0]) for pair in zip(grey(made.x), grey(single.x), strict=True)]
    assert np.mean(np.array(found) < digits_on_photos.TEXTURE) > 0.4
    assert grey(made.x[:3]).sum((1, 2, 3)) == pytest.approx([216296, 110255, 369902], rel=1e-3)
    assert grey(made.x[:3])[:, :, 0, 0] == pytest.approx(np.array([[52, 61, 56], [0, 0, 0], [180, 84, 37]]), abs=1)


def test_a_digit_keeps_its_textured_patch_and_they_use_many_tiles():
    every = cohorts.load("digits_on_photos", "val", textured=True)
    drawn = cohorts.load("digits_on_photos", "val", n=20, seed=3, textured=True)
    where = {int(subject): k for k, subject in enumerate(every.subjects)}
    assert torch.equal(drawn.x, every.x[[where[int(subject)] for subject in drawn.subjects]])
    for split, least in (("train", 130), ("val", 15), ("test", 38)):
        used = digits_on_photos._textured(split, 28)[:, 0]
        assert least < len(np.unique(used)) < len(digits_on_photos._tiles(True)[split])


@pytest.mark.parametrize("name", ["digits_on_photos", "mnist_on_photos"])
@pytest.mark.parametrize("wrong", [1, 20.0, None, "yes"])
def test_textured_is_true_or_false(name, wrong):
    with pytest.raises(ValueError, match=f"textured of '{name}' must be True or False, it is {wrong!r}"):
        cohorts.load(name, textured=wrong)


@pytest.mark.parametrize(
    "textured, photos, counts",
    [(False, digits_on_photos.PHOTOS, [144, 21, 41]), (True, digits_on_photos.TEXTURED_PHOTOS, [190, 25, 55])],
)
def test_no_tile_is_in_two_splits_and_every_photograph_is_in_each(textured, photos, counts):
    import skimage.data

    tiles = digits_on_photos._tiles(textured)
    assert [len(part) for part in tiles.values()] == counts
    owner = {tile.tobytes(): split for split, part in tiles.items() for tile in part}
    assert len(owner) == sum(counts)
    for photo in photos:
        image = getattr(skimage.data, photo)()
        splits = [
            owner[image[row : row + 64, column : column + 64].tobytes()]
            for row in range(0, image.shape[0] - 63, 64)
            for column in range(0, image.shape[1] - 63, 64)
        ]
        assert set(splits) == {"train", "val", "test"}, photo


def test_no_digit_is_in_two_splits():
    people = [set(cohorts.load("digits_on_photos", split).subjects.tolist()) for split in ("train", "val", "test")]
    assert [len(found) for found in people] == [3500, 500, 1000] and len(set().union(*people)) == 5000


def test_the_photographs_come_with_the_wheel():
    shipped = {str(file) for file in files("scikit-image")}
    for photo in digits_on_photos.TEXTURED_PHOTOS:
        file = {"immunohistochemistry": "ihc"}.get(photo, photo)
        assert {f"skimage/data/{file}.png", f"skimage/data/{file}.jpg"} & shipped, photo


def test_a_digit_keeps_its_patch_whatever_else_is_drawn():
    every = cohorts.load("digits_on_photos", "val")
    where = {int(subject): k for k, subject in enumerate(every.subjects)}
    drawn = cohorts.load("digits_on_photos", "val", n=20, seed=3)
    assert torch.equal(drawn.x, every.x[[where[int(subject)] for subject in drawn.subjects]])
    first, again, other = (cohorts.load("digits_on_photos", n=20, seed=seed).digest() for seed in (5, 5, 6))
    assert first == again != other


@pytest.mark.parametrize("name", ["digits_on_photos", "mnist_on_photos"])
@pytest.mark.parametrize("size", [16, 65])
def test_a_wrong_size_says_what_is_possible(name, size):
    with pytest.raises(ValueError, match=f"size of '{name}' must be from 28 to 64, it is {size}"):
        cohorts.load(name, size=size)


def test_the_same_from_mnist(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGAN_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="make data NAMES=mnist"):
        cohorts.load("mnist_on_photos")
    rng = np.random.default_rng(0)
    arrays = {}
    for part in ("train", "test"):
        arrays[f"{part}_images"] = np.pad(rng.integers(0, 256, (30, 20, 20)), ((0, 0), (4, 4), (4, 4))).astype(np.uint8)
        arrays[f"{part}_labels"] = rng.integers(0, 10, 30).astype(np.uint8)
    (tmp_path / "mnist").mkdir()
    np.savez(tmp_path / "mnist" / "mnist.npz", **arrays)
    parts = {split: cohorts.load("mnist_on_photos", split) for split in ("train", "val", "test")}
    assert [len(part) for part in parts.values()] == [27, 3, 30]
    assert len({int(subject) for part in parts.values() for subject in part.subjects}) == 60
    for split, part in parts.items():
        single = cohorts.load("mnist", split)
        tiles = digits_on_photos._tiles()[split]
        assert part.origin == "real" and torch.equal(part["label"], single["label"])
        assert all(is_blend(x, digit, tiles) for x, digit in zip(grey(part.x[:3]), grey(single.x[:3]), strict=True))
        rough, rough_tiles = cohorts.load("mnist_on_photos", split, textured=True), digits_on_photos._tiles(True)[split]
        assert torch.equal(rough["label"], single["label"]) and not torch.equal(rough.x, part.x)
        for x, digit in zip(grey(rough.x[:3]), grey(single.x[:3]), strict=True):
            assert max(map(spread, patches(x, digit, rough_tiles))) >= digits_on_photos.TEXTURE
