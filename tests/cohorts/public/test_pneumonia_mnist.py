"""PneumoniaMNIST: disjoint splits in spite of repeats, the same order whatever order a file has, and the download."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from prepared_arrays import PREPARED, needs_copy

from medgan_lib import cohorts
from medgan_lib.cohorts import fetch
from medgan_lib.cohorts.registry import entry, registry

NAME = "pneumonia_mnist"


def small() -> dict[str, np.ndarray]:
    """A valid prepared file's arrays: 2 of 12 training images repeat another, 3 are in val, and test has a repeat."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 28, 28)).astype(np.uint8)
    of = {"train": [0, 1, 2, 3, 4, 5, 6, 1, 1, 10, 11, 10], "val": [10, 11, 12, 13], "test": [14, 15, 16, 15]}
    arrays = {}
    for split, numbers in of.items():
        arrays[f"{split}_images"] = images[numbers]
        arrays[f"{split}_labels"] = np.array(numbers, np.uint8)[:, None] % 2
    return arrays


def place(root, arrays):
    path = root / NAME / f"{NAME}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def seen(cohort) -> list[bytes]:
    return [image.numpy().tobytes() for image in cohort.x]


def test_no_image_is_in_two_splits_or_twice_in_train(root):
    arrays = small()
    place(root, arrays)
    parts = {split: cohorts.load(NAME, split) for split in ("train", "val", "test")}
    assert [len(part) for part in parts.values()] == [7, 4, 4]
    assert [len(set(seen(part))) for part in parts.values()] == [7, 4, 3]
    people = {split: set(part.subjects.tolist()) for split, part in parts.items()}
    assert [len(found) for found in people.values()] == [7, 4, 3] and len(set().union(*people.values())) == 14
    assert set(seen(parts["train"])).isdisjoint(seen(parts["val"]) + seen(parts["test"]))
    for split, part in parts.items():  # every image has kept its label
        rows = zip(arrays[f"{split}_images"], arrays[f"{split}_labels"], strict=True)
        label = {x.tobytes(): int(y.item()) for x, y in rows}
        grey = (part.to_units(part.x).round()[:, 0]).to(torch.uint8).numpy()
        assert part["label"].tolist() == [label[image.tobytes()] for image in grey]


def test_the_order_in_the_file_changes_nothing(root):
    arrays = small()
    place(root, arrays)
    before = [cohorts.load(NAME, split, n=n, seed=1).digest() for split in ("train", "val") for n in (None, 3)]
    order = np.random.default_rng(1).permutation(12)
    place(root, arrays | {f"train_{what}": arrays[f"train_{what}"][order] for what in ("images", "labels")})
    after = [cohorts.load(NAME, split, n=n, seed=1).digest() for split in ("train", "val") for n in (None, 3)]
    assert before == after and len(set(before)) == 4


def test_a_larger_size_adds_black_and_a_smaller_is_refused(root):
    place(root, small())
    made = cohorts.load(NAME, "val", size=32)
    assert made.x.shape == (4, 1, 32, 32) and bool((made.x[..., :2] == -1).all())
    assert torch.equal(made.x[..., 2:30, 2:30], cohorts.load(NAME, "val").x)
    with pytest.raises(ValueError, match=f"'{NAME}' images are 28 x 28: size must be at least 28, it is 24"):
        cohorts.load(NAME, size=24)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"val_labels": np.full((4, 1), 2, np.uint8)}, r"'val_labels' has values outside 0\.\.1"),
        ({"val_labels": np.zeros(4, np.uint8)}, r"'val_labels' has shape \(4,\)"),
        ({"train_images": small()["train_images"][:-1]}, "train_.* have different numbers of items"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(root, change, message):
    path = place(root, small() | change)
    with pytest.raises(ValueError, match=message) as error:
        cohorts.load(NAME)
    assert str(error.value).startswith(f"{path} is not usable: ")


def test_the_download_is_checked_by_its_md5(tmp_path, root, monkeypatch):
    import pooch

    origin = place(tmp_path / "origin", small())
    data = origin.read_bytes()
    about = entry(NAME) | {"files": [{**entry(NAME)["files"][0], "md5": hashlib.md5(data).hexdigest()}]}
    monkeypatch.setitem(registry(), NAME, about)

    def served(url, output, _):
        with open(output, "wb") as file:
            file.write(data)

    monkeypatch.setattr(pooch, "HTTPDownloader", lambda **_: served)
    path, made = fetch.fetch(NAME, root)
    assert made and path == root / NAME / f"{NAME}.npz" and fetch.fetch(NAME, root) == (path, False)
    with np.load(path) as stored:
        assert all(np.array_equal(stored[key], array) for key, array in small().items())
    path.unlink()
    about["files"][0]["md5"] = "0" * 32
    with pytest.raises(ValueError, match=r"\(wrong MD5\).*Nothing was kept"):
        fetch.fetch(NAME, root)
    assert not (root / NAME).exists()


@needs_copy(NAME)
def test_the_prepared_copy_loads(monkeypatch):
    monkeypatch.setenv("MEDGAN_DATA", str(PREPARED))
    parts = [cohorts.load(NAME, split) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [4682, 524, 624]
    assert [part["label"].bincount().tolist() for part in parts] == [[1213, 3469], [135, 389], [234, 390]]
    assert [len(set(seen(part))) for part in parts] == [4682, 524, 621]
    assert len({image for part in parts for image in seen(part)}) == 4682 + 524 + 621
    # a child with pneumonia has whiter lungs
    train = parts[0]
    assert float(train.x[train["label"] == 1].mean() - train.x[train["label"] == 0].mean()) > 0
