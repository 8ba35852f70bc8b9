"""A reader's own folder as a cohort: pairs, domains, labels, masks, volumes."""

import nibabel as nib
import numpy as np
import pytest
import torch
from image_files import save_nifti, series
from own_folders import AFFINE, RNG, all_splits, nifti, pair_set, png

from medgan_lib import cohorts, files
from medgan_lib.cohorts.problems import translation
from medgan_lib.own_images import inspect_folder, load_folder, tensors, unpad
from medgan_lib.own_images.padding import pad


def test_pairs_of_niftis(tmp_path, capsys):
    root = pair_set(tmp_path / "mine")
    train = cohorts.load(str(root))
    assert set(train.tensors) == {"x", "y", "crop"}
    assert train.x.shape == train["y"].shape == (4 * 4, 1, 16, 8) and train.x.dtype == torch.float32
    assert train.units == {"y": "signal", "x": "HU"} and train.origin == "real" and train.name == "mine"
    assert train.spacing == (2, 1)
    found = inspect_folder(root)
    assert found.kind == "paired" and train.window == {"y": found.sides["A"].window, "x": found.sides["B"].window}
    low, high = found.sides["B"].window
    assert low == -1024 and 1900 < high < 2000
    for row, (subject, entry) in enumerate((s, e) for s, e in zip(range(4), [
        e for e in found.sides["B"].entries if found.splits[e.name] == "train"], strict=True)):  # fmt: skip
        values = files.read(entry.path).values[0]
        for k in range(4):
            item = row * 4 + k
            back = unpad(train.to_units(train.x[item]), train["crop"][item])
            assert torch.allclose(back[0], torch.from_numpy(values[k]), atol=1e-3)
        assert subject == row
    assert translation.pairs(str(root), "val").x.shape[0] == 4


def test_unpaired_domains(tmp_path):
    for k in range(5):
        png(tmp_path / "A" / f"he{k}.png", (12, 20))
        png(tmp_path / "B" / f"ihc{k}.png", (16, 16), np.uint16)
    a, b = load_folder(tmp_path, domain="A"), load_folder(tmp_path, domain="B")
    assert a.x.shape == b.x.shape == (3, 1, 16, 24)
    assert a.units["x"] == "intensity 0-255" and b.units["x"] == "intensity 0-65535"
    assert a.window["x"] == (0, 255) and not set(a.subjects.tolist()) & set(b.subjects.tolist())
    assert len(translation.unpaired(a, b)["x"]) == 3
    with pytest.raises(ValueError, match=r"is unpaired .* load each domain by domain='A' and domain='B'"):
        cohorts.load(str(tmp_path))
    with pytest.raises(ValueError, match="domain is 'A' or 'B'"):
        cohorts.load(str(tmp_path), domain="C")
    with pytest.raises(ValueError, match="has no switch contrast; it has domain, whole"):
        cohorts.load(str(tmp_path), contrast="t1")
    found = inspect_folder(tmp_path)
    assert found.splits["A/he0"] in ("train", "val", "test") and found.kind == "unpaired"


def test_a_plain_folder_with_labels_and_subjects(tmp_path):
    for k in range(12):
        png(tmp_path / f"image{k}.png")
    rows = "".join(f"image{k}.png;{['benign', 'malignant'][k % 2]};patient{k // 3}\n" for k in range(12))
    (tmp_path / "labels.csv").write_text("\ufeffName;Label;Subject\n" + rows + "\n", encoding="utf-8")
    parts = all_splits(tmp_path)
    assert parts["train"].classes["label"] == ("benign", "malignant")
    people = [set(part.subjects.tolist()) for part in parts.values()]
    assert sum(map(len, people)) == 4 and len(set.union(*people)) == 4
    assert [len(part) for part in parts.values()] == [6, 3, 3]
    found = inspect_folder(tmp_path)
    names = [entry.name for entry in found.sides["A"].entries if found.splits[entry.name] == "train"]
    assert parts["train"]["label"].tolist() == [int(name[5:]) % 2 for name in names]


def test_masks(tmp_path):
    for k in range(4):
        png(tmp_path / f"{k}.png", (10, 14))
        mask = np.zeros((10, 14), np.uint8)
        mask[2:5, 3:9] = 255
        png(tmp_path / "masks" / f"{k}.png", values=mask)
    train = cohorts.load(str(tmp_path))
    assert train["mask"].dtype == torch.bool and train["mask"].shape == (2, 1, 16, 16)
    assert unpad(train["mask"][0], train["crop"][0])[0].numpy().sum() == 18 and train["mask"][0].sum() == 18
    png(tmp_path / "masks" / "0.png", values=np.full((10, 14), 7, np.uint8))
    found = inspect_folder(tmp_path)
    assert found.mask_values == (0, 7, 255)
    train = load_folder(tmp_path)
    assert train["mask"].dtype == torch.int64 and train.classes["mask"] == ("0", "7", "255")
    assert train["mask"].max() <= 2 and load_folder(tmp_path, size=8)["mask"].shape == (2, 1, 8, 8)
    assert any("taken as a label map" in line for line in found.notes)


def test_masks_of_pairs_and_whole_volumes(tmp_path):
    root = pair_set(tmp_path, 3, (8, 8, 5))
    for k in range(3):
        save_to = root / "masks" / f"case{k}.nii.gz"
        save_to.parent.mkdir(exist_ok=True)
        save_nifti(save_to, RNG.integers(0, 3, (8, 8, 5)).astype(np.uint8), AFFINE)
    whole = load_folder(root, whole=True)
    assert whole.x.shape == whole["y"].shape == whole["mask"].shape == (1, 1, 8, 8, 8)
    assert whole.spacing == (3, 2, 1) and whole["crop"].tolist() == [[1, 6, 0, 8, 0, 8]]
    slices = load_folder(root)
    assert torch.equal(whole.x[0, 0, 1:6], slices.x[:, 0]) and torch.equal(
        whole["mask"][0, 0, 1:6], slices["mask"][:, 0]
    )
    with pytest.raises(ValueError, match="whole volumes keep their size"):
        load_folder(root, whole=True, size=16)
    png(tmp_path / "flat" / "a.png")
    with pytest.raises(ValueError, match="only volumes can be loaded whole"):
        load_folder(tmp_path / "flat", whole=True)


def test_dicom_series_beside_niftis(tmp_path):
    for k in range(3):
        series(tmp_path / "A" / f"case{k}")  # 6 rows, 5 columns, 4 slices
        nifti(tmp_path / "B" / f"case{k}.nii", (5, 6, 4))
    found = inspect_folder(tmp_path)
    assert found.kind == "paired" and found.sides["A"].units == "HU"
    assert any("lie at different places" in line for line in found.notes)
    assert load_folder(tmp_path).x.shape == (4, 1, 8, 8)


def test_one_series_or_one_file_is_a_data_set(tmp_path):
    values = series(tmp_path / "ct")
    train = cohorts.load(str(tmp_path / "ct"))
    assert len(train) == 4 and train.name == "ct" and train.units["x"] == "HU"
    back = unpad(train.to_units(train.x[2]), train["crop"][2])
    assert torch.allclose(back[0], torch.from_numpy(values[2]).float(), atol=1e-3)
    nifti(tmp_path / "mr.nii")
    assert len(cohorts.load(str(tmp_path / "mr.nii"))) == 4


def test_names_and_paths(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"missing/folder: no such file or folder"):
        cohorts.load("missing/folder")
    with pytest.raises(ValueError, match=r"unknown cohort 'nodule'; there are .* paths of folders with"):
        cohorts.load("nodule")
    monkeypatch.chdir(tmp_path)
    png(tmp_path / "nodules" / "a.png")
    png(tmp_path / "scans" / "a.png")
    assert cohorts.load("scans").name == cohorts.load("./scans").name == "scans"
    assert cohorts.load(tmp_path / "scans").name == "scans"
    assert cohorts.load("nodules", n=2).origin == "embedded"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(cohorts.load("~/scans")) == 1
    with pytest.raises(ValueError, match="size must be at least 8"):
        cohorts.load("scans", size=4)
    with pytest.raises(ValueError, match="unknown split 'tset'"):
        load_folder("scans", "tset")


def test_too_much_for_the_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    pair_set(tmp_path)
    inspect_folder(tmp_path)
    monkeypatch.setattr(tensors, "MOST_BYTES", 1000)
    monkeypatch.setattr(files, "read", None)
    with pytest.raises(ValueError, match=r"16 images of 16 x 8 .* ask for fewer by n, or for a smaller size"):
        load_folder(tmp_path)


def test_a_network_can_learn_from_a_folder_and_write_its_result(tmp_path):
    """The way of a reader: load pairs, scale, translate an image of odd size, write it with the input's geometry."""
    root = pair_set(tmp_path / "own", 3, (9, 11, 3))
    found, train = inspect_folder(root), cohorts.load(str(root))
    image = files.read(found.sides["A"].entries[0].path)
    padded, crop = pad(torch.from_numpy(image.values).transpose(0, 1), (8, 8))
    y = train.window["y"].scale(padded)
    values = train.to_units(-y)[crop].transpose(0, 1).numpy()
    out = files.write(tmp_path / "out", values, image, units=found.sides["B"].units)
    assert nib.load(out).shape == (9, 11, 3) and files.read(out).units in ("HU", "signal")


def test_loading_by_path_says_each_note_once_and_load_folder_says_nothing(tmp_path, capsys):
    root = pair_set(tmp_path / "mine")
    load_folder(root)
    assert capsys.readouterr().out == ""
    cohorts.load(str(root))
    printed = capsys.readouterr().out
    assert printed.splitlines() == [f"mine: {note}" for note in inspect_folder(root).notes]
    assert "mine: subjects: 4 train, 1 val, 1 test" in printed and "window" in printed and "padded to 16 x 8" in printed
    cohorts.load(str(root), "test")
    for k in range(5):  # more folders than are kept in memory
        png(tmp_path / f"{k}" / "a.png")
        load_folder(tmp_path / f"{k}")
    cohorts.load(root, "val")
    assert capsys.readouterr().out == ""
    (root / "notes.txt").write_text("x")
    cohorts.load(root)
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == ["mine"]  # the new file only
    pair_set(tmp_path / "other" / "mine")  # of the same name, elsewhere
    cohorts.load(tmp_path / "other" / "mine")
    assert "mine: subjects: 4 train, 1 val, 1 test" in capsys.readouterr().out


def test_images_come_out_as_they_are_of_each_side(tmp_path):
    """A side scales to [-1, 1] what `load_folder` gives, and back."""
    root = pair_set(tmp_path)
    train, sides = load_folder(root), inspect_folder(root).sides
    first = next(e for e in sides["B"].entries if inspect_folder(root).splits[e.name] == "train")
    seen = sides["B"].scaled(sides["B"].values(files.read(first.path)))
    assert torch.equal(unpad(train.x[0], train["crop"][0]), seen[:, 0])
    assert torch.allclose(sides["B"].in_units(seen), train.window["x"].units(seen.double()))
