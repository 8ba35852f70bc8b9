"""Prepared data sets: read, or refused by name."""

import io
import os
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from prepared_arrays import PREPARED, needs_copy, small

from medgan_lib import cohorts
from medgan_lib.cohorts import fetch
from medgan_lib.cohorts.public import prepared


def place(root, name, arrays):
    path = root / name / f"{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    return path


def test_lung_nodules_keep_ids_labels_and_hounsfield_units(root):
    arrays = small("lung_nodules")
    place(root, "lung_nodules", arrays)
    made = cohorts.load("lung_nodules", "val", size=50)
    assert made.origin == "real" and made.subjects.tolist() == arrays["val_candidate_ids"].tolist()
    hu = made.to_units(made.x)[:, 0]
    torch.testing.assert_close(hu, torch.from_numpy(arrays["val_images"]) / 255 * 1400 - 1000, rtol=0, atol=1e-3)
    assert made["label"].tolist() == arrays["val_labels"].tolist()
    only = cohorts.load("lung_nodules", "val", nodules_only=True)
    assert only.subjects.tolist() == arrays["val_candidate_ids"][arrays["val_labels"] == 1].tolist()
    with pytest.raises(ValueError, match="has 30 such items, 31 were asked for"):
        cohorts.load("lung_nodules", n=31)
    for size in (4, 64):
        with pytest.raises(ValueError, match=f"size must be from 8 to 50, it is {size}"):
            cohorts.load("lung_nodules", size=size)


def test_resampling_keeps_the_field_of_view_and_does_not_alias(root):
    arrays = small("lung_nodules", items=2)
    row = np.arange(50)
    arrays["test_images"][0] = 4 * row[:, None]  # a ramp
    arrays["test_images"][1] = 255 * ((row[:, None] + row) % 2)  # finer than 32 pixels can show
    place(root, "lung_nodules", arrays)
    x = cohorts.load("lung_nodules", "test", size=32).x
    grey = (x + 1) * 127.5
    expected = 4 * ((torch.arange(32) + 0.5) * 50 / 32 - 0.5)
    torch.testing.assert_close(grey[0, 0, 2:-2, 7], expected[2:-2], rtol=0, atol=0.6)
    assert float((grey[1] - 127.5).abs().max()) < 30


def test_mnist_is_split_in_the_same_way_whether_complete_or_not(root):
    arrays = small("mnist", 100)
    place(root, "mnist", arrays)
    whole = {split: cohorts.load("mnist", split) for split in ("train", "val", "test")}
    assert [len(part) for part in whole.values()] == [90, 10, 100]
    assert len(set().union(*(part.subjects.tolist() for part in whole.values()))) == 200
    place(root, "mnist", {key: array[:50] for key, array in arrays.items()})
    for split, part in whole.items():
        fewer = cohorts.load("mnist", split)
        assert set(fewer.subjects.tolist()) <= set(part.subjects.tolist())
    assert cohorts.load("mnist", size=32).x.shape == (45, 1, 32, 32)


def test_n_of_a_fixed_set_is_drawn_by_the_seed_without_repetition(root):
    place(root, "mnist", small("mnist", 100))
    a, b, c = (cohorts.load("mnist", n=20, seed=seed) for seed in (1, 1, 2))
    assert a.digest() == b.digest() != c.digest() and len(set(a.subjects.tolist())) == 20


@needs_copy("mnist")
def test_the_prepared_mnist_loads(monkeypatch):
    monkeypatch.setenv("MEDGAN_DATA", str(PREPARED))
    made = cohorts.load("mnist", "test")
    assert made.x.shape == (10_000, 1, 28, 28) and made["label"].bincount().tolist()[:3] == [980, 1135, 1032]


@needs_copy("lung_nodules")
def test_the_prepared_lung_nodules_load(monkeypatch):
    monkeypatch.setenv("MEDGAN_DATA", str(PREPARED))
    parts = [cohorts.load("lung_nodules", split, nodules_only=True) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [845, 224, 282]
    assert len(set().union(*(part.subjects.tolist() for part in parts))) == 1351


class Trap:
    """Unpickling this makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def npy(array, **header):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, np.lib.format.header_data_from_array_1_0(array) | header)
    return buffer.getvalue() + array.tobytes()


def replace_member(path, key, data):
    """The npz again, with other bytes for one array."""
    with zipfile.ZipFile(path) as old:
        members = {info.filename: old.read(info) for info in old.infolist()}
    members[f"{key}.npy"] = data
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for member, content in members.items():
            new.writestr(member, content)


def corrupt(path, kind, tmp_path):
    images = small("lung_nodules")["train_images"]
    arrays = small("lung_nodules")
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-500])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "html":
        path.write_text("<html>404</html>")
    elif kind == "flipped":  # one bit of the stored pixels: found by the checksum
        np.savez(path, **arrays)
        data = bytearray(path.read_bytes())
        data[40_000] ^= 1
        path.write_bytes(data)
    elif kind == "pickle":
        np.savez(path, **(arrays | {"train_labels": np.array([Trap(str(tmp_path / "sprung"))] * 30, dtype=object)}))
    elif kind == "bomb":  # 40 MB of zeros in 40 kB, behind a header that promises little
        replace_member(path, "train_images", npy(images) + bytes(MANY))
    elif kind == "endless header":
        replace_member(path, "train_images", b"\x93NUMPY\x02\x00" + MANY.to_bytes(4, "little") + bytes(MANY))
    elif kind == "giant header":  # a small member that claims to be large
        replace_member(path, "train_images", npy(images, shape=(10**9, 50, 50)))
    elif kind == "short data":
        replace_member(path, "train_images", npy(images)[:-100])
    elif kind == "surplus data":
        replace_member(path, "train_images", npy(images) + b"x")
    elif kind == "garbage":
        replace_member(path, "train_images", b"\x93NUMPY\x01\x00\x10\x00{'descr': evil()}")
    elif kind == "missing":
        del arrays["val_labels"]
        np.savez(path, **arrays)
    elif kind == "dtype":
        np.savez(path, **(arrays | {"train_images": images.astype(np.float32)}))
    elif kind == "shape":
        np.savez(path, **(arrays | {"train_images": images[:, :49]}))
    elif kind == "none":
        np.savez(path, **(arrays | {"train_images": images[:0]}))
    elif kind == "lengths":
        np.savez(path, **(arrays | {"train_labels": arrays["train_labels"][:-1]}))
    elif kind == "label":
        np.savez(path, **(arrays | {"train_labels": arrays["train_labels"] + 7}))


MANY = 40_000_000  # bytes


BAD = {
    "truncated": "truncated, damaged or not an npz file",
    "empty": r"the file is empty \(0 bytes\)",
    "html": "truncated, damaged or not an npz file",
    "flipped": "Bad CRC-32",
    "pickle": "'train_labels' holds Python objects",
    "bomb": "'train_images' has another number of bytes",
    "endless header": "'train_images' has a header that can't be read",
    "giant header": r"'train_images' has shape \(1000000000, 50, 50\)",
    "short data": "another number of bytes",
    "surplus data": "another number of bytes",
    "garbage": "'train_images' has a header that can't be read",
    "missing": "array 'val_labels' is missing",
    "dtype": "'train_images' has type float32, expected uint8",
    "shape": r"'train_images' has shape \(30, 49, 50\), expected \(5186, 50, 50\)",
    "none": r"'train_images' has shape \(0, 50, 50\)",
    "lengths": r"train_\* have different numbers of items: \[29, 30\]",
    "label": "'train_labels' has values outside 0..1",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_refused_by_name_with_what_to_do(root, tmp_path, kind):
    path = place(root, "lung_nodules", small("lung_nodules"))
    corrupt(path, kind, tmp_path)
    tracemalloc.start()
    with pytest.raises(ValueError, match=BAD[kind]) as error:
        cohorts.load("lung_nodules")
    assert tracemalloc.get_traced_memory()[1] < MANY / 10, "bytes in memory at once"
    tracemalloc.stop()
    message = str(error.value)
    assert message.startswith(f"{path} is not usable: ") and "make data NAMES=lung_nodules" in message
    assert "\n" not in message and not (tmp_path / "sprung").exists()
    with pytest.raises(ValueError, match="is not usable"):  # nor is it taken for a finished download
        fetch.fetch("lung_nodules", root)


def test_read_npz_takes_fortran_order_and_both_versions_of_the_header(tmp_path):
    array = np.arange(24, dtype=np.int64).reshape(2, 3, 4)
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for key, version in (("a_one", (1, 0)), ("a_two", (2, 0))):
            with archive.open(f"{key}.npy", "w") as member:
                np.lib.format.write_array(member, np.asfortranarray(array), version=version)
    spec = {"dtype": "int64", "shape": [5, 3, 4]}
    read = prepared.read_npz(path, {"a_one": spec, "a_two": spec}, "")
    assert all(np.array_equal(found, array) for found in read.values())
