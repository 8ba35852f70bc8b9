"""White blood cells of two sites: reading the prepared form, and making it of originals with known masks."""

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
from medgan_lib.cohorts.public import blood_cells as blood
from medgan_lib.cohorts.registry import entry, registry

NAME = "blood_cells"
COUNT = (20, 10)


@pytest.fixture(autouse=True)
def few(monkeypatch, request):
    """20 + 10 cells instead of 300 + 100, but for the test of the copy."""
    if "copy" not in request.node.name:
        monkeypatch.setattr(blood, "COUNT", COUNT)
        monkeypatch.setattr(blood, "SAME", {("Tecom", 20): 19})


def classes(site: int) -> list[int]:
    """1 to 5 of every image of a site (0, 1): in ten images, six, three and one."""
    return [(1, 1, 2, 1, 2, 1, 1, 2, 1, 5)[k % 10] for k in range(COUNT[site])]


def table(site: int) -> bytes:
    lines = [f"image ID,{blood.COLUMNS[site]}", *(f"{k},{kind}" for k, kind in enumerate(classes(site), start=1))]
    return "\r\n".join([*lines, ""]).encode()


def small() -> dict[str, dict[str, np.ndarray] | bytes]:
    """A valid prepared data set."""
    rng = np.random.default_rng(0)
    made = {}
    for site, (count, size) in enumerate(zip(COUNT, blood.NATIVE, strict=True)):
        made[f"site{site + 1}.npz"] = {
            "images": rng.integers(0, 256, (count, size, size, 3)).astype(np.uint8),
            "masks": rng.integers(0, 3, (count, size, size)).astype(np.uint8),
            "names": np.array([f"{k:03d}" for k in range(1, count + 1)], "<U3"),
        }
        made[f"site{site + 1}_classes.csv"] = table(site)
    return made


def place(root, files):
    folder = root / NAME
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        if isinstance(content, bytes):
            (folder / file).write_bytes(content)
        else:
            np.savez(folder / file, **content)


# ---------------------------------------------------------------- loading


def test_pixels_masks_and_classes_are_kept_and_splits_are_disjoint(root):
    files = small()
    place(root, files)
    stored = files["site1.npz"]
    parts = [cohorts.load(NAME, split, sites="Tecom") for split in ("train", "val", "test")]
    assert sum(map(len, parts)) == 20
    cells = [set(part.subjects.tolist()) for part in parts]
    assert len(set().union(*cells)) == sum(map(len, cells))
    for part in parts:
        assert part.x.shape[1:] == (3, 120, 120) and part["mask"].shape[1:] == (1, 120, 120)
        for item, subject in enumerate(part.subjects.tolist()):
            if subject == 18:  # two pictures of one cell
                continue
            rgb = part.to_units(part.x[item]).round().to(torch.uint8).permute(1, 2, 0).numpy()
            assert np.array_equal(rgb, stored["images"][subject])
            assert np.array_equal(part["mask"][item, 0].numpy(), stored["masks"][subject])
            assert part["label"][item] == classes(0)[subject] - 1
    # of 12 neutrophils 7, 2, 3, of 6 lymphocytes 4, 0, 2, in the order of their numbers
    neutrophils = [part.subjects[part["label"] == 0].tolist() for part in parts]
    numbers = [number for found in neutrophils for number in found]
    assert [len(found) for found in neutrophils] == [7, 2, 3] and numbers == sorted(numbers)


def test_two_pictures_of_one_cell_are_one_subject(root):
    place(root, small())
    every = [part.subjects for part in (cohorts.load(NAME, s, sites="Tecom") for s in ("train", "val", "test"))]
    assert int(torch.cat(every).eq(18).sum()) == 2 and int(torch.cat(every).eq(19).sum()) == 0


def test_the_two_sites_come_together_or_alone(root):
    place(root, small())
    both = cohorts.load(NAME)
    alone = [cohorts.load(NAME, sites=site) for site in blood.SITES]
    assert torch.equal(both.x, torch.cat([part.x for part in alone]))
    assert both["site"].tolist() == [0] * len(alone[0]) + [1] * len(alone[1])
    assert set(alone[0].subjects.tolist()).isdisjoint(alone[1].subjects.tolist())
    assert both.classes == {"mask": blood.TISSUE, "label": blood.CLASSES, "site": blood.SITES}


def test_with_fewer_cells_the_splits_are_the_same(root):
    files = small()
    place(root, files)
    every = cohorts.load(NAME, "test", sites="Tecom").subjects.tolist()
    files["site1.npz"] = {key: array[5:] for key, array in files["site1.npz"].items()}
    place(root, files)
    assert cohorts.load(NAME, "test", sites="Tecom").subjects.tolist() == [k for k in every if k >= 5]


@pytest.mark.parametrize("size", [40, 60])
def test_a_smaller_size_keeps_image_and_mask_together(root, size):
    files = small()
    for site in (1, 2):
        stored = files[f"site{site}.npz"]
        stored["masks"][:] = 0
        stored["masks"][:, 60:] = 2  # the middle of either is not the same line, the share is
        stored["images"][:] = 100 * stored["masks"][..., None]
    place(root, files)
    made = cohorts.load(NAME, size=size)
    grey = made.to_units(made.x).mean(1, keepdim=True)
    assert made["mask"].dtype == torch.int64 and set(made["mask"].unique().tolist()) == {0, 2}
    assert float(((grey > 100) == (made["mask"] == 2)).float().mean()) > 1 - 1.5 / size


def test_n_cells_are_drawn_by_the_seed(root):
    place(root, small())
    a, b, c = (cohorts.load(NAME, n=5, size=16, seed=seed) for seed in (1, 1, 2))
    assert a.digest() == b.digest() != c.digest() and len(a) == 5


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"sites": "Motic"}, "unknown site 'Motic'; give one or both, each once, of Tecom, CellaVision"),
        ({"sites": ()}, r"sites are \(\)"),
        ({"sites": ("Tecom", "Tecom")}, r"sites are \('Tecom', 'Tecom'\)"),
        ({"size": 128}, "size must be from 8 to 120, it is 128"),
        ({"size": 4}, "size must be from 8 to 120, it is 4"),
        ({"n": 100}, "has 19 such items, 100 were asked for"),
    ],
)
def test_a_wrong_request_says_what_exists(root, wrong, message):
    place(root, small())
    with pytest.raises(ValueError, match=message) as error:
        cohorts.load(NAME, **wrong)
    assert NAME in str(error.value) and "\n" not in str(error.value)


BAD = {
    "mask": ("site1.npz", r"'masks' has values outside 0\.\.2"),
    "fewer masks": ("site1.npz", "images, masks and names are not equally many"),
    "stranger": ("site2.npz", r"names images that this data set does not have: \['999'\]"),
    "class": ("site1_classes.csv", r"it has classes \['6'\], there are 1, 2, 3, 4, 5"),
    "columns": ("site2_classes.csv", r"its columns are \['image ID', 'kind'\], expected \['image ID', 'class'\]"),
    "short": ("site2_classes.csv", "its image IDs are not 1 to 10"),
    "ragged": ("site2_classes.csv", "its rows have different numbers of cells"),
    "no text": ("site1_classes.csv", "it is not text in UTF-8"),
    "huge": ("site1_classes.csv", "it is larger than 100000 bytes"),
    "empty": ("site1_classes.csv", "its columns are"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_cannot_be_used_is_refused(root, kind):
    files, (file, message) = small(), BAD[kind]
    first, second = files["site1.npz"], files["site2.npz"]
    match kind:
        case "mask":
            first["masks"][3, 5, 5] = 7
        case "fewer masks":
            first["masks"] = first["masks"][:-1]
        case "stranger":
            second["names"][2] = "999"
        case "class":
            files[file] = table(0).replace(b"\r\n7,1", b"\r\n7,6")
        case "columns":
            files[file] = table(1).replace(b"class", b"kind")
        case "short":
            files[file] = table(1).replace(b"\r\n10,5", b"")
        case "ragged":
            files[file] = table(1) + b"11,2,3\r\n"
        case "no text":
            files[file] = b"\xff\xfe" + table(0)
        case "huge":
            files[file] = table(0) + b"1,1\r\n" * 50_000
        case "empty":
            files[file] = b""
    place(root, files)
    with pytest.raises(ValueError, match=message) as error:
        cohorts.load(NAME)
    assert str(error.value).startswith(f"{root / NAME / file} is not usable: ")
    assert f"make data NAMES={NAME}" in str(error.value) and "\n" not in str(error.value)


@needs_copy(NAME)
def test_the_prepared_copy_loads(monkeypatch):
    monkeypatch.setenv("MEDGAN_DATA", str(PREPARED))
    parts = [cohorts.load(NAME, split, size=60) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [241, 59, 100]
    assert [len(part.subjects.unique()) for part in parts] == [241, 59, 99]
    assert sum(part["label"].bincount(minlength=5) for part in parts).tolist() == [209, 90, 63, 34, 4]
    for part in parts:
        for site in (
            0,
            1,
        ):  # nuclei are stained darker than the cytoplasm around them, and this is darker than the rest
            mine = part["site"] == site
            green = part.x[mine, 1:2]
            means = [float(green[part["mask"][mine] == tissue].mean()) for tissue in (0, 1, 2)]
            assert means[0] > means[1] > means[2]
        assert all(bool((mask == tissue).any()) for mask in part["mask"] for tissue in (1, 2))


# ---------------------------------------------------------------- converter, on originals made here


def encoded(array: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


def originals() -> dict[str, bytes]:
    """Cells whose nucleus is the right half of the image, cytoplasm the upper left quarter; sizes as they come."""
    files = {}
    for site, count in enumerate(COUNT, start=1):
        for k in range(1, count + 1):
            height, width = (300, 300) if site == 2 else ((120, 120), (88, 104))[k % 2]
            mask = np.zeros((height, width), np.uint8)
            mask[: height // 2, : width // 2], mask[:, width // 2 :] = 128, 255
            files[f"Dataset {site}/{k:03d}.bmp"] = encoded(np.repeat(mask[..., None], 3, 2) // 2 + k, "BMP")
            mask[-1, 0] = 7 if k == 3 else 0  # a speck
            files[f"Dataset {site}/{k:03d}.png"] = encoded(mask, "PNG")
        files[f"Class Labels of Dataset {site}.csv"] = table(site - 1)
    return files


def pack(path, files):
    more = {"../../escaped.bmp": b"x", "Dataset 1/notes.txt": b"y", "LICENSE": b"z"}
    path.write_bytes(packed("segmentation_WBC-fa9c0162", {**files, **more}))


@pytest.fixture
def archive(tmp_path, monkeypatch):
    path, files = tmp_path / "cells.tar.gz", originals()
    pack(path, files)
    about = dict(entry(NAME)) | {"manifest_sha256": fetch.manifest(files)}
    monkeypatch.setitem(registry(), NAME, about)
    monkeypatch.setattr(fetch, "_download", lambda *_: path)
    return path


def test_the_converter_makes_what_the_loader_reads(archive, root, tmp_path, capsys):
    assert fetch.main([NAME]) == 0
    assert f"{NAME}: ready, {root / NAME} (" in capsys.readouterr().out and not list(tmp_path.rglob("escaped*"))
    names = ["site1.npz", "site1_classes.csv", "site2.npz", "site2_classes.csv"]
    assert sorted(file.name for file in (root / NAME).iterdir()) == names
    assert fetch.fetch(NAME, root) == (root / NAME, False)
    for site in blood.SITES:
        part = cohorts.load(NAME, sites=site)
        quarters = part["mask"][:, 0, ::119, ::119]
        assert quarters.tolist() == [[[1, 2], [0, 2]]] * len(part)
        shown = part.to_units(part.x)[:, :, [10, 10, -10], [10, -10, 10]]
        k = torch.from_numpy(np.array([s % 20 + 1 for s in part.subjects.tolist()]))[:, None, None]
        torch.testing.assert_close(shown, torch.tensor([64.0, 127, 0]) + k.float().expand_as(shown), rtol=0, atol=1)


def test_a_part_of_the_files_is_completed_and_nothing_half_written_stays(archive, root, monkeypatch):
    fetch.fetch(NAME, root)
    (root / NAME / "site2.npz").unlink()
    assert fetch.fetch(NAME, root) == (root / NAME, True) and (root / NAME / "site2.npz").is_file()
    (root / NAME / "site2.npz").unlink()

    def full(file, **arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space left"):
        fetch.fetch(NAME, root)
    assert not (root / NAME).exists()


def test_an_archive_that_is_not_as_described_leaves_nothing(archive, root):
    files = originals()
    pack(archive, {name: data for name, data in files.items() if name != "Dataset 2/004.png"})
    with pytest.raises(ValueError, match=r"lacks 1 files, such as Dataset 2/004\.png"):
        fetch.fetch(NAME, root)
    pack(archive, files | {"Dataset 2/004.png": files["Dataset 2/003.png"]})
    with pytest.raises(ValueError, match=r"cells.tar.gz .* \(wrong SHA-256\)"):
        fetch.fetch(NAME, root)
    assert not (root / NAME).exists()


@pytest.mark.parametrize(
    "name, data, message",
    [
        ("Dataset 1/002.png", encoded(np.full((120, 120), 77, np.uint8), "PNG"), r"has the values \[77\], it may only"),
        ("Dataset 1/002.png", encoded(np.zeros((120, 120, 3), np.uint8), "PNG"), r"is RGB \(120, 120\), not L of 88"),
        ("Dataset 2/002.bmp", encoded(np.zeros((120, 120, 3), np.uint8), "BMP"), "not RGB of 300 to 300 pixels"),
        ("Dataset 2/002.bmp", b"BM nothing", "can't be read as BMP"),
    ],
)
def test_an_original_that_cannot_be_used_is_named(name, data, message):
    with pytest.raises(ValueError, match=message) as error:
        blood.convert(originals() | {name: data})
    assert name in str(error.value)
