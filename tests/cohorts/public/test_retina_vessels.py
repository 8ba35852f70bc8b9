"""Fundus photographs: reading the prepared form, sizes, and making it of originals with known vessels."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from archives import packed
from PIL import Image
from prepared_arrays import PREPARED, needs_copy

from medgan_lib import cohorts
from medgan_lib.cohorts import fetch
from medgan_lib.cohorts.public import retina_vessels
from medgan_lib.cohorts.registry import entry, registry

NAME = "retina_vessels"


def photograph(k: int) -> np.ndarray:
    """Green rises downwards, red is the number, blue falls to the right."""
    down, right = np.mgrid[:584, :565]
    return np.stack([np.full((584, 565), 5 * k), down * 250 // 583, 250 - right * 250 // 564], -1).astype(np.uint8)


def outline(k: int) -> np.ndarray:
    """One vessel down the middle, 20 + k pixels wide, and a thin one."""
    image = np.zeros((584, 565), np.uint8)
    image[:, 282 - 10 : 282 + 10 + k] = 255
    image[:, 100] = 255
    return image


def encode(image: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def originals() -> dict[str, bytes]:
    return {
        path: encode(image, kind)
        for listed in retina_vessels.originals().values()
        for name, *pair in listed
        for path, image, kind in (
            (pair[0], photograph(int(name)), "TIFF"),
            (pair[1], outline(int(name)), "GIF"),
        )
    }


@pytest.fixture(scope="module")
def made(originals):
    return retina_vessels.convert(originals)


def place(root, files):
    (root / NAME).mkdir(parents=True, exist_ok=True)
    for file, arrays in files.items():
        np.savez(root / NAME / file, **arrays)


def test_the_converter_keeps_green_and_vessels_and_halves_colour(made):
    for file, first in (("drive_train.npz", 21), ("drive_test.npz", 1)):
        arrays, spec = made[file], entry(NAME)["arrays"][file]
        assert arrays["ids"].tolist() == [f"{k:02d}" for k in range(first, first + 20)]
        assert np.array_equal(arrays["green"][3], photograph(first + 3)[..., 1])
        assert np.array_equal(arrays["vessels"][3], outline(first + 3) > 0)
        assert (arrays["rgb_half"][3, ..., 0] == 5 * (first + 3)).all()
        for key in spec:
            assert arrays[key].dtype == np.dtype(spec[key]["dtype"]) and list(arrays[key].shape) == spec[key]["shape"]


def test_splits_are_those_of_the_challenge_and_images_stay_with_their_vessels(root, made):
    place(root, made)
    parts = {split: cohorts.load(NAME, split, size=576) for split in ("train", "val", "test")}
    assert {split: part.subjects.tolist() for split, part in parts.items()} == {
        "train": list(range(21, 37)),
        "val": list(range(37, 41)),
        "test": list(range(1, 21)),
    }
    for part in parts.values():
        assert part.x.shape[1:] == part["mask"].shape[1:] == part["share"].shape[1:] == (1, 576, 576)
        width = part["mask"][:, 0, 300, 200:].sum(1)
        assert ((width - (20 + part.subjects) * 576 / 584).abs() <= 1).all()
    colour = cohorts.load(NAME, "val", size=64, colour=True)
    assert (colour.to_units(colour.x)[:, 0, 32, 32].round().long() == 5 * colour.subjects).all()


def test_a_smaller_size_keeps_the_whole_and_thin_vessels(root, made):
    place(root, made)
    part = cohorts.load(NAME, "test", size=64, n=5)
    green = part.to_units(part.x)[:, 0]
    expected = ((torch.arange(64) + 0.5) * 584 / 64 - 0.5) * 250 / 583
    torch.testing.assert_close(green[0, 2:-2, 32], expected[2:-2], rtol=0, atol=1.0)
    assert float(green[:, :, 0].max()) < float(green[:, :, 1].max())  # black columns make it square
    share = part.to_units(part["share"], "share")[:, 0, 5:-5].mean(1)
    area = share.sum(1) * 584 / 64
    torch.testing.assert_close(area, 21.0 + part.subjects, rtol=0.01, atol=0)
    column = int((100 + 9.5) * 64 / 584)
    assert (share[:, column - 1 : column + 2].sum(1) > 0.1).all()


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"size": 100}, "must be a multiple of 16 from 64 to 576, it is 100"),
        ({"size": 584}, "must be a multiple of 16 from 64 to 576, it is 584"),
        ({"size": 304, "colour": True}, "in colour must be a multiple of 16 from 64 to 288"),
        ({"colour": 1}, "colour of 'retina_vessels' is True or False"),
        ({"n": 17}, "has 16 such items, 17 were asked for"),
    ],
)
def test_a_wrong_request_says_what_is_possible(root, made, wrong, message):
    place(root, made)
    with pytest.raises(ValueError, match=message):
        cohorts.load(NAME, **wrong)


@pytest.mark.parametrize(
    "kind, message",
    [
        ("stranger", r"it has images \['07'\], which are not of this part"),
        ("fewer", "green, rgb_half, vessels and ids are not equally many"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(root, made, kind, message):
    arrays = dict(made["drive_train.npz"])
    match kind:
        case "stranger":
            arrays["ids"] = np.array(["07", *arrays["ids"][1:]], "<U2")
        case "fewer":
            arrays["vessels"] = arrays["vessels"][1:]
    place(root, made | {"drive_train.npz": arrays})
    with pytest.raises(ValueError, match=message) as error:
        cohorts.load(NAME)
    assert str(error.value).startswith(f"{root / NAME / 'drive_train.npz'} is not usable: ")


@needs_copy(NAME)
def test_the_prepared_copy_loads(monkeypatch):
    monkeypatch.setenv("MEDGAN_DATA", str(PREPARED))
    for split, count in (("train", 16), ("val", 4), ("test", 20)):
        part = cohorts.load(NAME, split, size=128)
        assert len(part) == count
        share = part.to_units(part["share"], "share").mean((1, 2, 3))
        assert float(share.min()) > 0.04 and float(share.max()) < 0.15
        # vessels are darker than what surrounds them
        vessel = part.to_units(part["share"], "share") > 0.7
        around = (
            torch.nn.functional.max_pool2d(vessel.float(), 7, 1, 3).bool() & (part["share"] == -1) & (part.x > -0.8)
        )
        for image, inside, outside in zip(part.x, vessel, around, strict=True):
            assert image[inside].mean() < image[outside].mean()


def test_fetching_verifies_and_makes_what_the_loader_reads(root, tmp_path, monkeypatch, originals):
    archive = tmp_path / "data.tar.gz"
    more = {"training/mask/21_training_mask.gif": b"x", "../../escaped_1.gif": b"y"}
    archive.write_bytes(packed("data-92b9449a/DRIVE/datasets", {**originals, **more}))
    about = dict(entry(NAME)) | {"manifest_sha256": fetch.manifest(originals)}
    monkeypatch.setitem(registry(), NAME, about)
    monkeypatch.setattr(fetch, "_download", lambda *_: archive)
    assert fetch.fetch(NAME, root) == (root / NAME, True) and not list(tmp_path.rglob("escaped*"))
    assert len(cohorts.load(NAME, "test", size=64)) == 20
    monkeypatch.setitem(registry(), NAME, about | {"manifest_sha256": "0" * 64})
    (root / NAME / "drive_test.npz").unlink()
    with pytest.raises(ValueError, match=r"\(wrong SHA-256\)"):
        fetch.fetch(NAME, root)


@pytest.mark.parametrize(
    "path, data, message",
    [
        ("training/images/21_training.tif", encode(np.zeros((50, 60, 3), np.uint8), "TIFF"), r"\(60, 50\) pixels, not"),
        ("testing/1st_manual/01_manual1.gif", b"GIF nothing", "can't be read as GIF"),
        ("testing/1st_manual/01_manual1.gif", encode(outline(1) // 2, "GIF"), "other values than 0 and 255"),
    ],
)
def test_an_original_that_cannot_be_used_is_named(originals, path, data, message):
    with pytest.raises(ValueError, match=rf"{path}.* .*{message}"):
        retina_vessels.convert(originals | {path: data})
