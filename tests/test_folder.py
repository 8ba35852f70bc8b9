"""A reader's own folder as a cohort: layouts, splits, windows, padding, and what is wrong with broken folders."""

import gzip
import os
import unicodedata

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from test_files import add_a_series, save_nifti, series

from medgan_lib import cohorts, files
from medgan_lib.cohorts import folder
from medgan_lib.cohorts.problems import translation

RNG = np.random.default_rng(1)
AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])


def png(path, shape=(16, 16), dtype=np.uint8, values=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = RNG.integers(1, np.iinfo(dtype).max, shape).astype(dtype) if values is None else values
    Pillow.fromarray(values).save(path)
    return values


def nifti(path, shape=(8, 10, 4), low=0, high=1000, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = RNG.integers(low, high, shape).astype(np.int16)
    values.flat[0] = low
    save_nifti(path, values, affine)
    return values


def pair_set(root, subjects=6, shape=(8, 10, 4)):
    for k in range(subjects):
        nifti(root / "A" / f"case{k}.nii.gz", shape)
        nifti(root / "B" / f"case{k}.nii.gz", shape, -1024, 2000)
    return root


def all_splits(root, **how):
    return {split: folder.load(root, split, **how) for split in ("train", "val", "test")}


# ---------------------------------------------------------------- layouts


def test_pairs_of_niftis(tmp_path, capsys):
    root = pair_set(tmp_path / "mine")
    train = cohorts.load(str(root))
    assert set(train.tensors) == {"x", "y", "crop"}
    assert train.x.shape == train["y"].shape == (4 * 4, 1, 16, 8) and train.x.dtype == torch.float32
    assert train.units == {"y": "signal", "x": "HU"} and train.origin == "real" and train.name == "mine"
    assert train.spacing == (2, 1)
    found = folder.problem(root)
    assert found.kind == "paired" and train.window == {"y": found.window_A, "x": found.window_B}
    low, high = found.window_B
    assert low == -1024 and 1900 < high < 2000
    for row, (subject, entry) in enumerate((s, e) for s, e in zip(range(4), [
        e for e in found.B if found.splits[e.name] == "train"], strict=True)):  # fmt: skip
        values = files.read(entry.path).values[0]
        for k in range(4):
            item = row * 4 + k
            back = folder.unpad(train.to_units(train.x[item]), train["crop"][item])
            assert torch.allclose(back[0], torch.from_numpy(values[k]), atol=1e-3)
        assert subject == row
    printed = capsys.readouterr().out
    assert "mine: subjects: 4 train, 1 val, 1 test" in printed and "window" in printed and "padded to 16 x 8" in printed
    cohorts.load(str(root), "test")
    assert capsys.readouterr().out == ""
    assert translation.pairs(str(root), "val").x.shape[0] == 4


def test_splits_are_disjoint_by_subject_and_the_same_for_every_seed(tmp_path):
    root = pair_set(tmp_path, 20, (4, 4, 2))
    parts = all_splits(root)
    people = {split: set(part.subjects.tolist()) for split, part in parts.items()}
    assert [len(people[split]) for split in ("train", "val", "test")] == [14, 3, 3]
    assert len(set.union(*people.values())) == 20
    assert parts["val"].window == parts["train"].window
    for split, part in all_splits(root, seed=5, n=3).items():
        assert set(part.subjects.tolist()) <= people[split] and len(part) == 3
    assert not torch.equal(folder.load(root, n=3, seed=1).x, folder.load(root, n=3, seed=2).x)


def test_unpaired_domains(tmp_path):
    for k in range(5):
        png(tmp_path / "A" / f"he{k}.png", (12, 20))
        png(tmp_path / "B" / f"ihc{k}.png", (16, 16), np.uint16)
    a, b = folder.load(tmp_path, domain="A"), folder.load(tmp_path, domain="B")
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
    found = folder.problem(tmp_path)
    assert found.splits["A/he0"] in ("train", "val", "test") and found.kind == "unpaired"


def test_a_domain_of_pairs_shares_no_subject_with_the_other(tmp_path):
    root = pair_set(tmp_path, 6)
    a, b = (cohorts.load(str(root), domain=domain) for domain in "AB")
    assert len(set(a.subjects.tolist())) == len(set(b.subjects.tolist())) == 2
    translation.unpaired(a, b)
    with pytest.raises(ValueError, match="too few subjects in 'test' to give A of one and B of another"):
        cohorts.load(str(root), "test", domain="B")


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
    found = folder.problem(tmp_path)
    names = [entry.name for entry in found.A if found.splits[entry.name] == "train"]
    assert parts["train"]["label"].tolist() == [int(name[5:]) % 2 for name in names]


def test_masks(tmp_path):
    for k in range(4):
        png(tmp_path / f"{k}.png", (10, 14))
        mask = np.zeros((10, 14), np.uint8)
        mask[2:5, 3:9] = 255
        png(tmp_path / "masks" / f"{k}.png", values=mask)
    train = cohorts.load(str(tmp_path))
    assert train["mask"].dtype == torch.bool and train["mask"].shape == (2, 1, 16, 16)
    assert folder.unpad(train["mask"][0], train["crop"][0])[0].numpy().sum() == 18 and train["mask"][0].sum() == 18
    png(tmp_path / "masks" / "0.png", values=np.full((10, 14), 7, np.uint8))
    found = folder.problem(tmp_path)
    assert found.mask_values == (0, 7, 255)
    train = folder.load(tmp_path)
    assert train["mask"].dtype == torch.int64 and train.classes["mask"] == ("0", "7", "255")
    assert train["mask"].max() <= 2 and folder.load(tmp_path, size=8)["mask"].shape == (2, 1, 8, 8)
    assert any("taken as a label map" in line for line in found.problems)


def test_masks_of_pairs_and_whole_volumes(tmp_path):
    root = pair_set(tmp_path, 3, (8, 8, 5))
    for k in range(3):
        save_to = root / "masks" / f"case{k}.nii.gz"
        save_to.parent.mkdir(exist_ok=True)
        save_nifti(save_to, RNG.integers(0, 3, (8, 8, 5)).astype(np.uint8), AFFINE)
    whole = folder.load(root, whole=True)
    assert whole.x.shape == whole["y"].shape == whole["mask"].shape == (1, 1, 8, 8, 8)
    assert whole.spacing == (3, 2, 1) and whole["crop"].tolist() == [[1, 6, 0, 8, 0, 8]]
    slices = folder.load(root)
    assert torch.equal(whole.x[0, 0, 1:6], slices.x[:, 0]) and torch.equal(
        whole["mask"][0, 0, 1:6], slices["mask"][:, 0]
    )
    with pytest.raises(ValueError, match="whole volumes keep their size"):
        folder.load(root, whole=True, size=16)
    png(tmp_path / "flat" / "a.png")
    with pytest.raises(ValueError, match="only volumes can be loaded whole"):
        folder.load(tmp_path / "flat", whole=True)


def test_dicom_series_beside_niftis(tmp_path):
    for k in range(3):
        series(tmp_path / "A" / f"case{k}")  # 6 rows, 5 columns, 4 slices
        nifti(tmp_path / "B" / f"case{k}.nii", (5, 6, 4))
    found = folder.problem(tmp_path)
    assert found.kind == "paired" and found.units_A == "HU"
    assert any("lie at different places" in line for line in found.problems)
    assert folder.load(tmp_path).x.shape == (4, 1, 8, 8)


def test_one_series_or_one_file_is_a_data_set(tmp_path):
    values = series(tmp_path / "ct")
    train = cohorts.load(str(tmp_path / "ct"))
    assert len(train) == 4 and train.name == "ct" and train.units["x"] == "HU"
    back = folder.unpad(train.to_units(train.x[2]), train["crop"][2])
    assert torch.allclose(back[0], torch.from_numpy(values[2]).float(), atol=1e-3)
    nifti(tmp_path / "mr.nii")
    assert len(cohorts.load(str(tmp_path / "mr.nii"))) == 4


def test_few_images(tmp_path):
    png(tmp_path / "a.png")
    assert len(folder.load(tmp_path)) == 1
    assert any("there is one image" in line for line in folder.problem(tmp_path).problems)
    with pytest.raises(ValueError, match="has no 'val' images: it holds 1 subject, and 3 are needed"):
        folder.load(tmp_path, "val")
    png(tmp_path / "b.png")
    assert len(folder.load(tmp_path, "test")) == len(folder.load(tmp_path, "train")) == 1
    with pytest.raises(ValueError, match="it holds 2 subjects, and 3 are needed"):
        folder.load(tmp_path, "val")
    with pytest.raises(ValueError, match="has 1 such items, 5 were asked for"):
        folder.load(tmp_path, n=5)


# ---------------------------------------------------------------- size, window, units


def test_sizes_are_padded_with_the_smallest_value_to_multiples_of_8(tmp_path):
    shapes = [(13, 21), (8, 8), (17, 9)]
    for k, shape in enumerate(shapes):
        png(tmp_path / f"{k}.png", shape)
    parts = all_splits(tmp_path)
    found = folder.problem(tmp_path)
    for entry in found.A:
        item = parts[found.splits[entry.name]]
        values = files.read(entry.path).values
        assert item.x.shape == (1, 1, 24, 24)
        shown = item.to_units(item.x[0])
        assert torch.allclose(folder.unpad(shown, item["crop"][0]), torch.from_numpy(values), atol=1e-3)
        outside = torch.ones_like(shown, dtype=torch.bool)
        folder.unpad(outside, item["crop"][0])[...] = False
        assert outside.sum() == 24 * 24 - values.size
        assert torch.allclose(shown[outside], torch.tensor(float(values.min())), atol=1e-3)
    assert any("images have 3 sizes, from 8 x 8 to 17 x 9" in line for line in found.problems)


def test_size_keeps_the_aspect_in_mm(tmp_path):
    # 20 columns of 1 mm, 10 rows of 4 mm: taller than wide
    nifti(tmp_path / "a.nii", (20, 10, 3), affine=np.diag([1.0, 4.0, 3.0, 1.0]))
    train = folder.load(tmp_path, size=32)
    assert train.x.shape == (3, 1, 32, 32)
    assert train["crop"][0].tolist() == [0, 32, 8, 24] and np.allclose(train.spacing, (1.25, 1.25))
    half = np.zeros((64, 64), np.uint8)
    half[:, ::2] = 255  # finer than the result can show: antialiasing gives grey
    png(tmp_path / "p" / "a.png", values=half)
    assert folder.load(tmp_path / "p", size=16).x.abs().max() < 0.1


def test_the_window_comes_from_training_images_only(tmp_path):
    names = [f"{k}.npz" for k in range(7)]
    for name in names:
        np.savez(tmp_path / name, values=RNG.uniform(0, 1, (16, 16)))
    found = folder.problem(tmp_path)
    held_out = next(e for e in found.A if found.splits[e.name] == "test")
    np.savez(held_out.path, values=RNG.uniform(50, 100, (16, 16)))
    changed = folder.problem(tmp_path)
    assert changed.window_A == found.window_A and changed.window_A[1] < 1
    assert folder.load(tmp_path, "test").x.max() == 1  # clipped


def test_hu_windows_stay_in_what_ct_can_hold(tmp_path):
    nifti(tmp_path / "a.nii", low=-3024, high=20000)
    assert folder.problem(tmp_path).window_A == (-1024, 3071)


def test_soft_tissue_beside_ct_with_air_is_hu_and_noted(tmp_path):
    nifti(tmp_path / "air.nii", low=-1000)
    nifti(tmp_path / "soft.nii", low=-100)
    found = folder.problem(tmp_path)
    assert found.units_A == "HU" and any("soft: no value at or below -500" in line for line in found.problems)


def test_rgb_among_grey_becomes_grey_with_a_note(tmp_path):
    png(tmp_path / "colour.png", (8, 8, 3))
    assert folder.load(tmp_path).x.shape == (1, 3, 8, 8)
    png(tmp_path / "stored_as_rgb.png", values=np.full((8, 8, 3), 9, np.uint8))
    assert folder.load(tmp_path, "test").x.shape == (1, 3, 8, 8)  # a grey picture among colours keeps three channels
    png(tmp_path / "grey.png", (8, 8))
    found = folder.problem(tmp_path)
    assert found.channels_A == 1 and any("grey are grey and others have colours" in line for line in found.problems)
    red = folder.channelled(np.stack([np.full((2, 2), 100.0), np.zeros((2, 2)), np.zeros((2, 2))]), 1)
    assert np.allclose(red, 29.9)


def test_mixed_spacing_is_noted(tmp_path):
    nifti(tmp_path / "a.nii")
    nifti(tmp_path / "b.nii", affine=np.diag([0.5, 0.5, 3, 1]))
    nifti(tmp_path / "c.nii", affine=np.diag([0.5, 5, 3, 1]))
    png(tmp_path / "d.png", dtype=np.uint16)
    (tmp_path / "d.png").unlink()
    lines = folder.problem(tmp_path).problems
    assert any("the spacing varies from 0.5 to 5 mm; nothing is resampled" in line for line in lines)
    assert any("axial slices of a, c have long pixels" in line or "axial slices of c have" in line for line in lines)


def test_zeros_and_values_that_are_not_finite(tmp_path):
    nifti(tmp_path / "a.nii")
    save_nifti(tmp_path / "zero.nii", np.zeros((8, 8, 4), np.int16))
    values = RNG.uniform(0, 10, (8, 8, 4)).astype(np.float32)
    values[0, 0] = np.nan
    save_nifti(tmp_path / "nan.nii", values)
    lines = folder.problem(tmp_path).problems
    assert "zero.nii: all its values are 0; it is used as it is" in lines
    assert any(line.startswith("nan.nii: 4 values are not finite") for line in lines)
    (tmp_path / "only").mkdir()
    save_nifti(tmp_path / "only" / "zero.nii", np.zeros((8, 8, 4), np.int16))
    with pytest.raises(ValueError, match="all training images have the same single value"):
        folder.load(tmp_path / "only")


def test_names_match_however_the_system_writes_them(tmp_path):
    png(tmp_path / "A" / (unicodedata.normalize("NFC", "Schädel 頭") + ".png"))
    png(tmp_path / "B" / (unicodedata.normalize("NFD", "Schädel 頭") + ".png"))
    (tmp_path / "labels.csv").write_text("name,label\nSchädel 頭,müde\n", encoding="utf-8")
    train = cohorts.load(str(tmp_path))
    assert len(train) == 1 and train.classes["label"] == ("müde",)


def test_what_lies_beside_images_is_named(tmp_path):
    png(tmp_path / "a.png")
    for name in (".DS_Store", "README", "notes.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "more").mkdir()
    lines = folder.problem(tmp_path).problems
    for start in (
        ".DS_Store: hidden",
        "README: not an image",
        "notes.txt: ",
        "loop: a link to a folder that",
        "more: ",
    ):
        assert any(line.startswith(start) and line.endswith("left out") for line in lines), start
    png(tmp_path / "A" / "a.png")
    png(tmp_path / "B" / "a.png")
    assert any(line.startswith("a.png: left out") for line in folder.problem(tmp_path).problems)


def test_a_changed_file_is_read_anew(tmp_path):
    png(tmp_path / "a.png", (8, 8))
    assert folder.load(tmp_path).x.shape[-1] == 8
    png(tmp_path / "a.png", (24, 24))
    assert folder.load(tmp_path).x.shape[-1] == 24


# ---------------------------------------------------------------- refusals


def broken_files(root):
    pair_set(root)
    good = (root / "A" / "case0.nii.gz").read_bytes()
    (root / "A" / "case1.nii.gz").write_bytes(good[:-30])
    (root / "B" / "case2.nii.gz").write_bytes(b"")
    (root / "B" / "case4.nii.gz").write_bytes(gzip.compress(b"text" * 200, mtime=0))


def text_as_picture(root):
    png(root / "a.png")
    (root / "b.png").write_text("text")
    (root / "c.png").symlink_to(root / "nowhere.png")


def one_domain(root):
    png(root / "A" / "a.png")


def empty_domain(root):
    png(root / "A" / "a.png")
    (root / "B").mkdir()


def names_differ(root):
    for name in ("1", "2", "3"):
        png(root / "A" / f"{name}.png")
    for name in ("2", "3", "4"):
        png(root / "B" / f"{name}.png")


def sizes_differ(root):
    nifti(root / "A" / "a.nii", (8, 8, 4))
    nifti(root / "B" / "a.nii", (8, 8, 5))
    png(root / "A" / "b.png", (8, 8))
    png(root / "B" / "b.png", (8, 9))


def same_name_twice(root):
    png(root / "a.png")
    png(root / "a.tif")


def depths(root):
    png(root / "a.png")
    png(root / "b.png", dtype=np.uint16)


def two_series(root):
    series(root)
    add_a_series(root)
    add_a_series(root / "..")


def four_d(root):
    root.mkdir(exist_ok=True)
    save_nifti(root / "fmri.nii.gz", np.zeros((4, 4, 4, 3), np.int16))


def csv(content, names="ab"):
    def make(root):
        for name in names:
            png(root / f"{name}.png")
        (root / "labels.csv").write_bytes(content if isinstance(content, bytes) else content.encode())

    return make


def masked(**masks):
    def make(root):
        png(root / "a.png")
        png(root / "b.png")
        for name, values in masks.items():
            png(root / "masks" / f"{name}.png", values=values)

    return make


def jpeg_masks(root):
    png(root / "a.png")
    png(root / "masks" / "a.jpg", (16, 16))


def unpaired_masks(root):
    png(root / "A" / "a.png")
    png(root / "B" / "b.png")
    png(root / "masks" / "a.png")


BLANK = np.zeros((16, 16), np.uint8)


@pytest.mark.parametrize(
    "make, messages",
    [
        (
            broken_files,
            [
                "3 of 12 images in own can't be used",
                "\n  A/case1.nii.gz: truncated",
                "\n  B/case2.nii.gz: ",
                "B/case4.nii",
            ],
        ),
        (text_as_picture, ["2 of 3 images", "b.png: not a PNG", "c.png: a link that leads nowhere"]),
        (lambda root: root.mkdir(exist_ok=True), ["holds no images", "it is empty"]),
        (lambda root: csv("x", ""), ["holds no images"]),
        (one_domain, ["has A/ and no B/"]),
        (empty_domain, ["B holds no images"]),
        (names_differ, ["2 names are in both", "in A/ only 1; in B/ only 4"]),
        (sizes_differ, ["2 pairs have different sizes", "a: A 4 x 8 x 8, B 5 x 8 x 8", "b: A 8 x 8, B 8 x 9"]),
        (same_name_twice, ["a.png and a.tif, two images called 'a'"]),
        (depths, ["different units or bit depths", "intensity 0-255: a; intensity 0-65535: b"]),
        (two_series, ["give each series a folder of its own"]),
        (four_d, ["fmri.nii.gz: it is 4-D, 4 x 4 x 4 x 3: save each"]),
        (csv("name,label\na,1\nc,2\n"), ["Rows without an image: c; images without a row: b"]),
        (csv("name,label\na,1\nb,2\na.png,2\n"), ["row 4: a has another label"]),
        (csv("file,class\na,1\n"), ["must begin with a line 'name,label'"]),
        (csv(""), ["must begin with"]),
        (csv("name,label\na,1\nb\n"), ["row 3: 2 values are needed, it is 'b'"]),
        (csv("name,label\na,\nb,1\n"), ["row 2"]),
        (csv(b"name,label\n\xff\xfe,1\n"), ["can't be read as CSV in UTF-8"]),
        (csv('name,label\n"a,1\n'), ["can't be read as CSV"]),
        (masked(a=BLANK), ["images without a mask: b"]),
        (masked(a=BLANK, b=BLANK, c=BLANK), ["Masks without an image: c"]),
        (masked(a=BLANK, b=np.zeros((8, 8), np.uint8)), ["b.png is 8 x 8, its image 16 x 16"]),
        (masked(a=BLANK, b=np.arange(256, dtype=np.uint8).reshape(16, 16)), ["b.png has 256 different values"]),
        (masked(a=BLANK, b=np.dstack([np.eye(16), BLANK, BLANK]).astype(np.uint8)), ["b.png has colours"]),
        (jpeg_masks, ["a.jpg is a JPEG, which changes values"]),
        (unpaired_masks, ["needs pairs or a plain folder"]),
    ],
)
def test_what_is_wrong_with_a_folder(tmp_path, make, messages):
    root = tmp_path / "own"
    root.mkdir()
    make(root)
    with pytest.raises(ValueError) as caught:
        cohorts.load(str(root))
    for message in messages:
        assert message in str(caught.value)


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
        folder.load("scans", "tset")


def test_too_much_for_the_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    pair_set(tmp_path)
    folder.problem(tmp_path)
    monkeypatch.setattr(folder, "MOST_BYTES", 1000)
    monkeypatch.setattr(files, "read", None)
    with pytest.raises(ValueError, match=r"16 images of 16 x 8 .* ask for fewer by n, or for a smaller size"):
        folder.load(tmp_path)


# ---------------------------------------------------------------- padding


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=3), st.integers(1, 16), st.booleans())
def test_padding_is_undone_exactly(size, multiple, as_tensor):
    values = RNG.normal(size=(2, *size)).astype(np.float32)
    padded, crop = folder.pad_to(torch.from_numpy(values) if as_tensor else values, multiple)
    assert all(edge % multiple == 0 and edge - old < multiple for edge, old in zip(padded.shape[1:], size, strict=True))
    assert np.array_equal(np.asarray(padded[crop]), values)
    assert padded.min() == values.min() and padded.dtype == (torch.float32 if as_tensor else np.float32)


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    png(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(ValueError, match=r"a\.png: .*Permission"):
        folder.load(tmp_path)


def test_a_network_can_learn_from_a_folder_and_write_its_result(tmp_path):
    """The way of a reader: load pairs, scale, translate an image of odd size, write it with the input's geometry."""
    root = pair_set(tmp_path / "own", 3, (9, 11, 3))
    found, train = folder.problem(root), cohorts.load(str(root))
    image = files.read(found.A[0].path)
    padded, crop = folder.pad_to(image.values.transpose(1, 0, 2, 3)[0], 8)
    y = train.from_units(torch.from_numpy(padded), "y").clamp(-1, 1)
    x = train.to_units(-y)[crop].numpy()
    values = np.repeat(x[:, None], 3, 1)
    out = files.write(tmp_path / "out", values, image, units=found.units_B)
    assert nib.load(out).shape == (9, 11, 3) and files.read(out).units in ("HU", "signal")
