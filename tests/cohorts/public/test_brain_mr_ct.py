"""CT and MR slices without pairs: reading the prepared form, and making it of originals drawn here."""

import io

import numpy as np
import pytest
import torch
from archives import packed
from PIL import Image
from prepared_arrays import PREPARED, needs_copy

from medgan_lib import cohorts
from medgan_lib.cohorts import fetch
from medgan_lib.cohorts.problems.translation import unpaired
from medgan_lib.cohorts.public import brain_mr_ct
from medgan_lib.cohorts.registry import entry, registry

NAME = "brain_mr_ct"


def small(items=40):
    """A valid prepared file's arrays, numbers 1 to 40 in both domains, those that end with 0, 8 and 9 in test."""
    rng, arrays = np.random.default_rng(0), {}
    for domain, end in (("ct", "png"), ("mr", "jpg")):
        for part in ("train", "test"):
            numbers = [k for k in range(1, items + 1) if (k % 10 in (0, 8, 9)) == (part == "test")]
            names = [f"{brain_mr_ct.PREFIXES[domain]}{k}.{end}" for k in numbers]
            spec = entry(NAME)["arrays"][f"{domain}_{part}_files"]
            arrays[f"{domain}_{part}"] = rng.integers(0, 256, (len(names), 128, 128)).astype(np.uint8)
            arrays[f"{domain}_{part}_files"] = np.array(names, spec["dtype"])
    return arrays


def place(root, arrays):
    path = root / NAME / f"{NAME}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


# ---------------------------------------------------------------- loading


def test_values_are_kept_and_nobody_is_in_two_parts(root):
    arrays, seen = small(), set()
    place(root, arrays)
    for domain in ("ct", "mr"):
        for split, digits in (("train", "123456"), ("val", "7"), ("test", "089")):
            made = cohorts.load(NAME, split, domain=domain)
            part = "test" if split == "test" else "train"
            names = arrays[f"{domain}_{part}_files"]
            mine = [k for k, name in enumerate(names) if name.split(".")[0][-1] in digits]
            grey = made.to_units(made.x).round().to(torch.uint8)[:, 0].numpy()
            np.testing.assert_array_equal(grey, arrays[f"{domain}_{part}"][mine])
            assert made.origin == "real" and made.split == split and domain.upper() in made.units["x"]
            assert not seen & set(made.subjects.tolist())
            seen |= set(made.subjects.tolist())
    assert len(seen) == 80
    assert torch.equal(cohorts.load(NAME).x, cohorts.load(NAME, domain="mr").x)


def test_an_image_stays_in_its_split_whether_the_copy_is_complete_or_not(root):
    arrays = small()
    place(root, arrays)
    whole = {split: set(cohorts.load(NAME, split).subjects.tolist()) for split in ("train", "val", "test")}
    place(root, {key: array[::2] for key, array in arrays.items()})
    for split, subjects in whole.items():
        fewer = set(cohorts.load(NAME, split).subjects.tolist())
        assert fewer and fewer <= subjects


def test_the_two_domains_make_an_unpaired_problem(root):
    place(root, small())
    mr, ct = (cohorts.load(NAME, domain=domain, size=32, n=n) for domain, n in (("mr", 10), ("ct", 20)))
    data = unpaired(mr, ct)
    assert data["y"].shape == data["x"].shape == (20, 1, 32, 32)
    a, b = (cohorts.load(NAME, n=10, seed=seed) for seed in (0, 1))
    assert torch.equal(mr.subjects, a.subjects) and not torch.equal(a.subjects, b.subjects)


def test_a_smaller_size_keeps_the_field_of_view(root):
    arrays = small()
    ramp = 2 * np.arange(128)
    arrays["mr_train"][0] = ramp[:, None]
    place(root, arrays)
    made = cohorts.load(NAME, size=32)
    expected = 2 * ((torch.arange(32) + 0.5) * 4 - 0.5)
    torch.testing.assert_close(made.to_units(made.x)[0, 0, 2:-2, 5], expected[2:-2], rtol=0, atol=0.5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"domain": "pet"}, "unknown domain 'pet'; there are mr, ct"),
        ({"size": 4}, "size must be from 8 to 128, it is 4"),
        ({"size": 256}, "size must be from 8 to 128, it is 256"),
        ({"n": 1000}, "has 24 such items, 1000 were asked for"),
        ({"contrasts": ("t1",)}, "has no switch contrasts; it has domain"),
    ],
)
def test_a_wrong_request_says_what_exists(root, wrong, message):
    place(root, small())
    with pytest.raises(ValueError, match=message) as error:
        cohorts.load(NAME, **wrong)
    assert NAME in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mr_train_files": np.array(["mri1.jpg"], "<U11")}, "different numbers of items"),
        ({"mr_train": np.zeros((24, 64, 64), np.uint8)}, r"'mr_train' has shape \(24, 64, 64\)"),
        ({"mr_train_files": np.array(["mri1.jpg"] * 27 + ["ct1.jpg"], "<U11")}, "are not file names of this data set"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(root, change, message):
    path = place(root, small() | change)
    with pytest.raises(ValueError, match=message) as error:
        cohorts.load(NAME)
    assert str(error.value).startswith(f"{path} is not usable: ") and f"make data NAMES={NAME}" in str(error.value)


@needs_copy(NAME)
def test_the_prepared_copy_loads(monkeypatch):
    monkeypatch.setenv("MEDGAN_DATA", str(PREPARED))
    parts = [cohorts.load(NAME, split, size=64, domain=d) for d in ("mr", "ct") for split in ("train", "val", "test")]
    total = sum(len(part) for part in parts)
    assert total >= 1500 and len({item.numpy().tobytes() for part in parts for item in part.x}) == total
    assert len(set().union(*(part.subjects.tolist() for part in parts))) == total
    for part in parts:
        assert (part.x.amax((1, 2, 3)) > 0).float().mean() > 0.9


# ---------------------------------------------------------------- converter


def encode(image, kind, mode="L"):
    buffer = io.BytesIO()
    Image.fromarray(image.astype(np.uint8)).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def wide(height, width):
    """A bright rectangle in the middle half of a dark image that is not square."""
    image = np.zeros((height, width))
    image[height // 4 : -(height // 4), width // 4 : -(width // 4)] = 200
    return image


@pytest.fixture
def originals():
    noise = np.random.default_rng(0).integers(0, 256, (3, 128, 128))
    return {
        "trainA/ct2.png": encode(noise[0], "PNG"),
        "trainA/ct10.png": encode(wide(256, 512), "PNG"),
        "testA/ct8.png": encode(noise[1], "PNG"),
        "trainB/mri1.jpg": encode(wide(300, 200), "JPEG", "RGB"),
        "trainB/mri2.jpg": encode(noise[2], "PNG", "RGBA"),  # the names don't say what is in the file
        "trainB/mri3.jpg": encode(noise[2], "PNG"),
        "testB/mri9.jpg": encode(noise[2], "PNG", "RGB"),
        "testB/mri10.jpg": encode(wide(200, 300), "JPEG"),
    }


def test_the_converter_pads_resamples_and_leaves_repeats_out(originals):
    made = brain_mr_ct.convert(originals)
    files = {key: array.tolist() for key, array in made.items() if key.endswith("_files")}
    assert files == {
        "ct_train_files": ["ct10.png", "ct2.png"],
        "ct_test_files": ["ct8.png"],
        "mr_train_files": ["mri1.jpg", "mri2.jpg"],
        "mr_test_files": ["mri10.jpg"],
    }
    noise = np.random.default_rng(0).integers(0, 256, (3, 128, 128))
    np.testing.assert_array_equal(made["ct_train"][1], noise[0])
    np.testing.assert_array_equal(made["mr_train"][1], noise[2])
    rows, columns = (made["ct_train"][0] > 100).nonzero()
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (48, 79, 32, 95)
    rows, columns = (made["mr_test"][0] > 100).nonzero()
    assert abs(np.array([rows.mean(), columns.mean()]) - 63.5).max() < 0.5
    assert (np.ptp(columns) + 1) / (np.ptp(rows) + 1) == pytest.approx(1.5, rel=0.03)
    expected = entry(NAME)["arrays"]
    assert set(made) == set(expected)
    assert all(made[key].dtype == np.dtype(spec["dtype"]) for key, spec in expected.items())


def pack(path, members):
    more = {"../../escaped.png": b"x", "trainA/notes.txt": b"y"}
    path.write_bytes(packed("main-74c5465/ct-to-mri-cgan/Dataset/images", {**members, **more}))


def test_fetching_verifies_converts_and_leaves_nothing_on_failure(originals, root, tmp_path, monkeypatch):
    archive = tmp_path / "archive.tar.gz"
    pack(archive, originals)
    about = dict(entry(NAME)) | {"manifest_sha256": fetch.manifest(originals)}
    monkeypatch.setitem(registry(), NAME, about)
    monkeypatch.setattr(fetch, "_download", lambda *_: archive)
    pack(archive, originals | {"testB/mri11.jpg": b"more"})
    with pytest.raises(ValueError, match=r"archive.tar.gz .* \(wrong SHA-256\)"):
        fetch.fetch(NAME, root)
    assert not (root / NAME).exists()
    pack(archive, originals)
    path, made = fetch.fetch(NAME, root)
    assert made and fetch.fetch(NAME, root) == (path, False) and not list(tmp_path.rglob("escaped*"))
    assert len(cohorts.load(NAME, "train")) == 2 and len(cohorts.load(NAME, "test", domain="ct")) == 1
    arrays = dict(np.load(path))
    np.savez(path, **arrays | {"ct_test_files": np.array(["ct8.png", "ct9.png"], "<U10")})
    with pytest.raises(ValueError, match=r"arrays ct_\* have different numbers of items"):
        fetch.fetch(NAME, root)


def test_originals_that_cannot_be_read_are_named(originals):
    with pytest.raises(ValueError, match=r"trainA/ct2.png can't be read as a PNG or JPEG"):
        brain_mr_ct.convert(originals | {"trainA/ct2.png": originals["trainA/ct2.png"][:60]})
    with pytest.raises(ValueError, match=r"testB/mri9.jpg has \(5000, 1\) pixels, at most 4096"):
        brain_mr_ct.convert(originals | {"testB/mri9.jpg": encode(np.zeros((1, 5000)), "PNG")})


def test_its_images_may_not_be_published():
    assert entry(NAME)["publish"] is False
    assert [name for name in registry() if not registry()[name].get("publish", True)] == [NAME]
