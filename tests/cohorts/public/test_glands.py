"""Colon glands: reading the prepared form, splits by patient, and making it of originals with known glands."""

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
from medgan_lib.cohorts.public import glands
from medgan_lib.cohorts.registry import entry, registry

NAME = "glands"
HEAD = "name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)"


@pytest.fixture(autouse=True)
def few(monkeypatch, request):
    """10 + 4 + 2 images instead of 85 + 60 + 20, but for the test of the copy."""
    if "copy" not in request.node.name:
        monkeypatch.setattr(glands, "PARTS", {"train": 10, "testA": 4, "testB": 2})


def table() -> bytes:
    """Patients 1 to 16 in the order of the names; lines end as on an old Macintosh, as at the origin."""
    grades = list(glands.GRADES)
    rows = [f"{name},{k + 1}, {glands.LABELS[k % 2]}, {grades[k % 5]}" for k, name in enumerate(sorted(glands.names()))]
    return "\r".join([HEAD, *rows]).encode()


def small() -> dict[str, dict[str, np.ndarray] | bytes]:
    rng, names = np.random.default_rng(0), glands.names()
    arrays = {
        "images": rng.integers(0, 256, (len(names), 176, 256, 3)).astype(np.uint8),
        "gland_instances": rng.integers(0, 40, (len(names), 176, 256)).astype(np.uint8),
        "names": np.array(names, "<U8"),
    }
    return {"glands.npz": arrays, "grades.csv": table()}


def place(root, files):
    (root / NAME).mkdir(parents=True, exist_ok=True)
    np.savez(root / NAME / "glands.npz", **files["glands.npz"])
    (root / NAME / "grades.csv").write_bytes(files["grades.csv"])


def test_pixels_glands_and_grades_are_kept_and_no_patient_is_in_two_splits(root):
    files = small()
    place(root, files)
    stored = files["glands.npz"]
    parts = [cohorts.load(NAME, split) for split in ("train", "val", "test")]
    people = [set(part.subjects.tolist()) for part in parts]
    assert people[1:] == [{4, 13, 15}, {7, 9, 11}] and len(set().union(*people)) == sum(map(len, people)) == 16
    for part in parts:
        for item, patient in enumerate(part.subjects.tolist()):
            k = patient - 1
            rgb = part.to_units(part.x[item]).round().to(torch.uint8).permute(1, 2, 0).numpy()
            assert np.array_equal(rgb, stored["images"][k])
            assert np.array_equal(part["instance"][item, 0].numpy(), stored["gland_instances"][k])
            assert (int(part["label"][item]), int(part["grade"][item])) == (k % 2, k % 5)
        assert torch.equal(part["mask"], (part["instance"] > 0).long()) and part["mask"].shape[1:] == (1, 176, 256)


def test_the_split_of_the_challenge_on_request(root):
    place(root, small())
    names = sorted(glands.names())
    of = {
        split: {names[patient - 1] for patient in cohorts.load(NAME, split, official=True).subjects.tolist()}
        for split in ("train", "val", "test")
    }
    assert of["val"] == {"train_5", "train_10"} and of["test"] == {name for name in names if name.startswith("test")}
    assert of["train"] == set(names) - of["val"] - of["test"]


@pytest.mark.parametrize("size, width", [(44, 64), (88, 128), (132, 192)])
def test_a_smaller_size_keeps_the_aspect_and_every_number_of_a_gland(root, size, width):
    files = small()
    instances = files["glands.npz"]["gland_instances"]
    instances[:] = 0
    instances[:, :, 64:128], instances[:, 88:, 192:] = 1, 30
    files["glands.npz"]["images"][:] = 8 * instances[..., None]
    place(root, files)
    made = cohorts.load(NAME, "val", size=size)
    assert made.x.shape[1:] == (3, size, width) and made["instance"].shape[1:] == (1, size, width)
    assert set(made["instance"].unique().tolist()) == {0, 1, 30}
    counts = [int((made["instance"][0] == k).sum()) for k in (1, 30)]
    assert counts == [size * width // 4, size * width // 8]
    grey = made.to_units(made.x)[:, :1]
    inside = made["instance"] == 30
    assert float((grey[inside] > 200).float().mean()) > 0.9 and float(grey[~inside].max()) < 200


@pytest.mark.parametrize("size", [33, 64, 100, 187])
def test_a_wrong_size_says_what_is_possible(root, size):
    place(root, small())
    with pytest.raises(ValueError, match=f"a multiple of 11 from 44 to 176 .* it is {size}"):
        cohorts.load(NAME, size=size)


BAD = {
    "stranger": ("glands.npz", r"names images that are not in the table: \['train_99'\]"),
    "fewer": ("glands.npz", "images, gland_instances and names are not equally many"),
    "float": ("glands.npz", "'gland_instances' has type float32, expected uint8"),
    "label": ("grades.csv", "it says of 'testA_1': patient '1', 'benignant', 'healthy'"),
    "patient": ("grades.csv", "it says of 'testA_1': patient '-1', 'benign', 'healthy'"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_cannot_be_used_is_refused(root, kind):
    files, (file, message) = small(), BAD[kind]
    arrays = files["glands.npz"]
    match kind:
        case "stranger":
            arrays["names"][0] = "train_99"
        case "fewer":
            arrays["gland_instances"] = arrays["gland_instances"][1:]
        case "float":
            arrays["gland_instances"] = arrays["gland_instances"][:4].astype(np.float32)
        case "label":
            files[file] = table().replace(b"1, benign", b"1, benignant", 1)
        case "patient":
            files[file] = table().replace(b",1, benign", b",-1, benign", 1)
    place(root, files)
    with pytest.raises(ValueError, match=message) as error:
        cohorts.load(NAME)
    assert str(error.value).startswith(f"{root / NAME / file} is not usable: ") and "\n" not in str(error.value)


@needs_copy(NAME)
def test_the_prepared_copy_loads(monkeypatch):
    monkeypatch.setenv("MEDGAN_DATA", str(PREPARED))
    parts = [cohorts.load(NAME, split, size=44) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [89, 24, 52]
    assert len({image.numpy().tobytes() for part in parts for image in part.x}) == 165
    assert all(len(part["label"].unique()) == 2 for part in parts)
    assert set(parts[0]["grade"].tolist()) == set(parts[2]["grade"].tolist()) == set(range(5))
    official = [cohorts.load(NAME, split, size=44, official=True) for split in ("train", "val", "test")]
    assert [len(part) for part in official] == [68, 17, 80]
    training, test = (
        set(torch.cat([part.subjects for part in some]).tolist()) for some in (official[:2], official[2:])
    )
    assert len(training & test) == 11 and len(training | test) == 16
    for part in parts:  # every image shows a gland, and something between
        share = part["mask"].float().mean((1, 2, 3))
        assert float(share.min()) > 0.01 and float(share.max()) < 0.99


# ---------------------------------------------------------------- converter, on originals made here


def encoded(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "BMP")
    return buffer.getvalue()


def originals() -> dict[str, bytes]:
    """Image k is of grey k, and its left half is gland k."""
    files = {"Grade.csv": table()}
    for k, name in enumerate(glands.names(), start=1):
        height, width = ((522, 775), (430, 567))[k % 2]
        gland = np.zeros((height, width), np.uint8)
        gland[:, : width // 2] = k
        files |= {f"{name}.bmp": encoded(np.full((height, width, 3), k, np.uint8)), f"{name}_anno.bmp": encoded(gland)}
    return files


def test_the_converter_makes_what_the_loader_reads(root, tmp_path, monkeypatch):
    path, files = tmp_path / "glas.tar.gz", originals()
    more = {".DS_Store": b"x", "../../escaped.bmp": b"y"}
    path.write_bytes(packed("glas_seg-acd4d571/GlaS", {**files, **more}))
    about = dict(entry(NAME)) | {"manifest_sha256": fetch.manifest(files)}
    monkeypatch.setitem(registry(), NAME, about)
    monkeypatch.setattr(fetch, "_download", lambda *_: path)
    assert fetch.fetch(NAME, root) == (root / NAME, True) and not list(tmp_path.rglob("escaped*"))
    assert (root / NAME / "grades.csv").read_bytes() == table()
    for split in ("train", "val", "test"):
        part = cohorts.load(NAME, split)
        assert (part.to_units(part.x).round().amax((1, 2, 3)).long() == part.subjects).all()
        left, right = part["instance"][..., :127].flatten(1), part["instance"][..., 129:].flatten(1)
        assert bool((left == part.subjects[:, None]).all()) and not right.any()
    monkeypatch.setitem(registry(), NAME, about | {"manifest_sha256": "0" * 64})
    (root / NAME / "grades.csv").unlink()
    with pytest.raises(ValueError, match=r"\(wrong SHA-256\)"):
        fetch.fetch(NAME, root)
    assert (root / NAME / "glands.npz").is_file(), "what was there is not lost"


@pytest.mark.parametrize(
    "data, message",
    [
        (encoded(np.zeros((500, 500), np.uint8)), r"train_2.bmp is L \(500, 500\), not RGB of 400 to 800 pixels"),
        (encoded(np.zeros((200, 500, 3), np.uint8)), r"train_2.bmp is RGB \(500, 200\)"),
        (b"BM nothing", "train_2.bmp can't be read as a BMP"),
    ],
)
def test_an_original_that_cannot_be_used_is_named(data, message):
    with pytest.raises(ValueError, match=message):
        glands.convert(originals() | {"train_2.bmp": data})


def test_the_registry_has_the_size_of_the_challenge(request, monkeypatch):
    monkeypatch.undo()
    assert len(glands.names()) == 165 == entry(NAME)["arrays"]["glands.npz"]["images"]["shape"][0]
