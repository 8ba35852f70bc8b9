"""OCT of one eye and of others: reading the prepared form, splits with gaps, and making it of originals."""

from __future__ import annotations

import gzip
import io

import nibabel
import numpy as np
import pytest
import torch
from archives import packed
from PIL import Image
from prepared_arrays import PREPARED, needs_copy

from medgan_lib import cohorts
from medgan_lib.cohorts import fetch
from medgan_lib.cohorts.public import retina_oct
from medgan_lib.cohorts.registry import entry, registry

NAME = "retina_oct"


def scan(k: int) -> np.ndarray:
    """Number k everywhere but in the rows that are dropped."""
    image = np.full((496, 512, 3), 255, np.uint8)
    image[137:329] = k
    return image


def nifti(grey: np.ndarray, channels_first: bool) -> bytes:
    """Upright (h, w) as the origin has it: right first, down second, three channels before or after."""
    volume = np.repeat((grey.T / 255).astype(np.float32)[..., None], 3, -1)
    if channels_first:
        volume = np.moveaxis(volume, -1, 0)
    return gzip.compress(nibabel.Nifti1Image(volume, np.eye(4)).to_bytes(), 1)


def picture(k: int, size: int) -> np.ndarray:
    """Dark above, a bright band of 20 + k rows of 256, grey below, the left half brighter; black to 240."""
    image = np.zeros((256, 256))
    image[100 : 120 + k] = 240
    image[120 + k :] = 80
    image[120 + k :, :128] += 20
    return np.kron(image, np.ones((size // 256, size // 256)))


@pytest.fixture(scope="module")
def originals() -> dict[str, bytes]:
    files = {}
    for k in range(1, 146):
        buffer = io.BytesIO()
        Image.fromarray(scan(k)).save(buffer, "TIFF", compression="tiff_lzw")
        files[f"{k}-Input.tif"] = buffer.getvalue()
    amd, mh = "no_aug/nnunet_amd_no_aug", "with_aug/nnunet_mh_with_aug"
    return files | {
        f"{amd}/imagesTr/AMD_0129_0000.nii.gz": nifti(picture(0, 512), True),
        f"{amd}/imagesTs/AMD_0801_0000.nii.gz": nifti(picture(5, 512), True),
        f"{amd}/imagesTs/AMD_0802_0000.nii.gz": nifti(picture(5, 512), True),  # the same again
        f"{amd}/imagesTr/AMD_0779_0000.nii.gz": b"\n",
        f"{mh}/imagesTr/case0001_0000.nii.gz": nifti(picture(9, 512), False),
        f"{mh}/imagesTs/case0805_0000.nii.gz": nifti(picture(12, 256), False),
    }


@pytest.fixture(scope="module")
def made(originals):
    return retina_oct.convert(originals)


def place(root, files):
    (root / NAME).mkdir(parents=True, exist_ok=True)
    for file, arrays in files.items():
        np.savez(root / NAME / file, **arrays)


def test_the_converter_crops_the_volume_and_puts_the_others_upright(made):
    volume, other = (made[file] for file in retina_oct.FILES)
    assert volume["images"].shape == (145, 192, 512) and int(volume["row_offset"]) == 137
    assert all((image == k).all() for k, image in enumerate(volume["images"], start=1))
    assert [name[:8] for name in other["names"]] == ["AMD_0129", "AMD_0801", "case0001", "case0805"]
    assert other["kind"].tolist() == ["amd", "amd", "mh", "mh"]
    for image, k in zip(other["images"].astype(int), (0, 5, 9, 12), strict=True):
        assert image[:95].max() <= 2 and image[105 : 115 + k].min() > 245
        left, right = image[130 + k :, 5:120].mean(), image[130 + k :, 140:].mean()
        assert left == pytest.approx(100 / 240 * 255, abs=2) and right == pytest.approx(80 / 240 * 255, abs=2)
    for file, spec in entry(NAME)["arrays"].items():
        assert all(made[file][key].dtype == np.dtype(about["dtype"]) for key, about in spec.items())


def test_the_volume_is_split_by_position_with_gaps(root, made):
    place(root, made)
    parts = [cohorts.load(NAME, split, size=192) for split in ("train", "val", "test")]
    numbers = [part["scan"].tolist() for part in parts]
    assert numbers == [list(range(1, 91)), list(range(96, 111)), list(range(116, 146))]
    for part in parts:
        assert torch.equal(part.to_units(part.x).round().long()[:, 0, 50, 100], part["scan"])
        assert part.spacing == pytest.approx((1.920512 / 496, 5.80352 / 192))
    small = cohorts.load(NAME, "val", size=64)
    assert small.x.shape == (15, 1, 64, 64) and small.spacing[0] == pytest.approx(192 / 64 * 1.920512 / 496)
    assert len(set().union(*(part.subjects.tolist() for part in parts))) == 135


def test_the_pathological_are_for_test_alone(root, made):
    place(root, made)
    part = cohorts.load(NAME, "test", part="pathological", size=256)
    assert part["label"].tolist() == [0, 0, 1, 1] and part.spacing is None
    grey = part.to_units(part.x).round().to(torch.uint8)[:, 0].numpy()
    assert np.array_equal(grey, made[retina_oct.FILES[1]]["images"])
    assert set(part.subjects.tolist()).isdisjoint(range(145))
    for split in ("train", "val"):
        with pytest.raises(ValueError, match=f"no '{split}', only 'test': who is in which scan is unknown"):
            cohorts.load(NAME, split, part="pathological")


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"size": 200}, "size of the volume .* a multiple of 8 from 32 to 192, it is 200"),
        ({"size": 36}, "a multiple of 8 from 32 to 192, it is 36"),
        ({"part": "healthy"}, "unknown part 'healthy' .* volume, pathological"),
        ({"n": 91}, "has 90 such items, 91 were asked for"),
    ],
)
def test_a_wrong_request_says_what_is_possible(root, made, wrong, message):
    place(root, made)
    with pytest.raises(ValueError, match=message):
        cohorts.load(NAME, **wrong)


def test_a_file_that_cannot_be_used_is_refused(root, made):
    volume, other = (dict(made[file]) for file in retina_oct.FILES)
    volume["images"] = volume["images"][:100]
    other["kind"] = np.array(["amd", "amd", "mh", "ok"], "<U3")
    place(root, {retina_oct.FILES[0]: volume, retina_oct.FILES[1]: other})
    with pytest.raises(ValueError, match=r"145.npz is not usable: it holds 100 B-scans, not 145. Delete it"):
        cohorts.load(NAME)
    with pytest.raises(ValueError, match=r"256.npz is not usable: it has kinds \['ok'\], there are amd, mh"):
        cohorts.load(NAME, "test", part="pathological")
    place(root, {retina_oct.FILES[1]: other | {"names": other["names"][1:]}})
    with pytest.raises(ValueError, match="images, names and kind are not equally many"):
        cohorts.load(NAME, "test", part="pathological")


@needs_copy(NAME)
def test_the_prepared_copy_loads(monkeypatch):
    monkeypatch.setenv("MEDGAN_DATA", str(PREPARED))
    parts = [cohorts.load(NAME, split) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [90, 15, 30]
    for part in parts:  # the retina is in the picture: bright in the middle, dark at the top
        assert part.x[:, :, 10:40].mean() > part.x[:, :, :5].mean() + 0.4
    other = cohorts.load(NAME, "test", part="pathological")
    assert len(other) in (74, 77) and other["label"].bincount().tolist()[0] == 50
    assert len({image.numpy().tobytes() for image in other.x}) == len(other)


def test_fetching_verifies_and_makes_what_the_loader_reads(root, tmp_path, monkeypatch, originals):
    for name, folder, ending in (
        ("DrusenSegmentation-ModifiedChen.tar.gz", "D-e1a4a40f/sample-scan/volume1", ".tif"),
        ("OCT-Biomarker-Segmentation.tar.gz", "O-be3508c8/code/nnunet", ".nii.gz"),
    ):
        more = {"no_aug/nnunet_amd_no_aug/labelsTr/AMD_0001.nii.gz": b"x", "../../escaped_0000.nii.gz": b"y"}
        files = {path: data for path, data in originals.items() if path.endswith(ending)}
        (tmp_path / name).write_bytes(packed(folder, files | more))
    about = dict(entry(NAME)) | {"manifest_sha256": fetch.manifest(originals)}
    monkeypatch.setitem(registry(), NAME, about)
    monkeypatch.setattr(fetch, "_download", lambda file, _: tmp_path / file["name"])
    assert fetch.fetch(NAME, root) == (root / NAME, True) and not list(tmp_path.rglob("escaped*"))
    assert len(cohorts.load(NAME)) == 90 and len(cohorts.load(NAME, "test", part="pathological")) == 4
    monkeypatch.setitem(registry(), NAME, about | {"manifest_sha256": "0" * 64})
    (root / NAME / retina_oct.FILES[0]).unlink()
    with pytest.raises(ValueError, match=r"\(wrong SHA-256\)"):
        fetch.fetch(NAME, root)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize(
    "path, data, message",
    [
        ("7-Input.tif", b"II*\0nothing", "7-Input.tif can't be read as a TIFF"),
        (
            "no_aug/x/AMD_0001_0000.nii.gz", gzip.compress(bytes(500), mtime=0),
            "AMD_0001_0000.nii.gz can't be read as NIfTI",
        ),
        ("no_aug/x/AMD_0001_0000.nii.gz", nifti(np.zeros((256, 256)), True), "AMD_0001_0000.nii.gz is empty"),
        ("no_aug/x/AMD_0001_0000.nii.gz", nifti(np.eye(64), True), r"AMD_0001_0000.nii.gz has shape \(64, 64, 3\)"),
    ],
)
def test_an_original_that_cannot_be_used_is_named(originals, path, data, message):
    if path.startswith("no_aug"):
        data = data + bytes(200)  # short files hold a place and are passed over
    with pytest.raises(ValueError, match=message):
        retina_oct.convert(originals | {path: data})
