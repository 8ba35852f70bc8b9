"""Real data: reading what may be damaged or hostile, fetching from the origin, and the registry."""

import errno
import functools
import gzip
import hashlib
import http.server
import io
import os
import re
import threading
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from archives import packed
from PIL import Image

from medgan_lib import cohorts
from medgan_lib.cohorts import fetch
from medgan_lib.cohorts.cache import CHECKOUT, data_root
from medgan_lib.cohorts.public import prepared
from medgan_lib.cohorts.registry import entry, registry

PREPARED = data_root()
needs = {
    name: pytest.mark.skipif(
        not (PREPARED / name / f"{name}.npz").is_file(), reason=f"no prepared {name} in {PREPARED}; set MEDGAN_DATA"
    )
    for name in ("mnist", "lung_nodules")
}


def small(name, items=30, seed=0):
    """A valid prepared file's arrays with few items."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for number, (key, spec) in enumerate(entry(name)["arrays"].items()):
        shape = (items, *spec["shape"][1:])
        if key.endswith("_ids"):
            arrays[key] = np.arange(items, dtype=spec["dtype"]) + 1000 * number
        else:
            arrays[key] = rng.integers(0, spec.get("max", 255) + 1, shape).astype(spec["dtype"])
    return arrays


def place(root, name, arrays):
    path = root / name / f"{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    return path


# ---------------------------------------------------------------- loading


@pytest.mark.parametrize("name, substitute", [("mnist", "digits"), ("lung_nodules", "nodules")])
def test_missing_data_say_how_to_get_them(root, name, substitute):
    with pytest.raises(FileNotFoundError) as error:
        cohorts.load(name)
    for needed in (name, f"make data NAMES={name}", " MB", "MEDGAN_DATA", repr(substitute), str(root)):
        assert needed in str(error.value)
    assert "\n" not in str(error.value) and not root.exists()


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


@needs["mnist"]
def test_the_prepared_mnist_loads(monkeypatch):
    monkeypatch.setenv("MEDGAN_DATA", str(PREPARED))
    made = cohorts.load("mnist", "test")
    assert made.x.shape == (10_000, 1, 28, 28) and made["label"].bincount().tolist()[:3] == [980, 1135, 1032]


@needs["lung_nodules"]
def test_the_prepared_lung_nodules_load(monkeypatch):
    monkeypatch.setenv("MEDGAN_DATA", str(PREPARED))
    parts = [cohorts.load("lung_nodules", split, nodules_only=True) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [845, 224, 282]
    assert len(set().union(*(part.subjects.tolist() for part in parts))) == 1351


# ---------------------------------------------------------------- files that are not what they should be


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


# ---------------------------------------------------------------- converters, on small originals made here


def idx(array):
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes())


def jpeg(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def lung_files():
    """What is below src/data of the origin: three splits, one crop that is not square, one image without a label."""
    rng = np.random.default_rng(0)
    files = {}
    for number, split in enumerate(("train", "val", "test")):
        lines = []
        for k in range(5):
            name = f"{split}/image_{1000 * number + 7 * k}.jpg"
            files[name] = jpeg(rng.integers(0, 256, (50, 47 if (split, k) == ("train", 2) else 50)).astype(np.uint8))
            lines.append(f"{name} {k % 2}\n")
        files[f"{split}datalabels.txt"] = "".join(reversed(lines)).encode()
    return files


def tar(files):
    return packed("LungCancerDetection-36e7980a/src/data", files)


def originals(name):
    """(file name -> bytes, changes to the registry entry)."""
    if name == "mnist":
        arrays = small("mnist", 12)
        files = {
            f"{theirs}-{what}-idx{dims}-ubyte.gz": idx(arrays[f"{ours}_{what}"])
            for ours, theirs in (("train", "train"), ("test", "t10k"))
            for what, dims in (("images", 3), ("labels", 1))
        }
        return files, {}
    files = lung_files()
    unlabelled = {"train/image_1000078.jpg": jpeg(np.zeros((50, 50), np.uint8)), "train/.DS_Store": b"x"}
    return {"LungCancerDetection.tar.gz": tar(files | unlabelled)}, {"manifest_sha256": fetch.manifest(files)}


@pytest.fixture
def origin(tmp_path, monkeypatch):
    """A web server with the originals of both data sets, and a registry that points at it."""
    folder = tmp_path / "origin"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    for name in ("mnist", "lung_nodules"):
        files, changes = originals(name)
        about = dict(entry(name)) | changes
        about["files"] = []
        for file, data in files.items():
            (folder / file).write_bytes(data)
            checksum = {"sha256": hashlib.sha256(data).hexdigest()} if name == "mnist" else {}
            about["files"].append({"name": file, "urls": [f"{address}/gone/{file}", f"{address}/{file}"], **checksum})
        monkeypatch.setitem(registry(), name, about)
    for name in set(registry()) - {"mnist", "lung_nodules"}:
        monkeypatch.delitem(registry(), name)
    yield folder
    server.shutdown()
    server.server_close()


def leftovers(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*")) if root.exists() else []


def test_make_data_fetches_converts_and_says_what_it_did(origin, root, capsys):
    assert fetch.main([]) == 0  # the first address of each file answers 404, the second has it
    said = capsys.readouterr().out
    assert f"mnist: ready, {root / 'mnist' / 'mnist.npz'}" in said and "lung_nodules: ready" in said
    assert leftovers(root) == ["lung_nodules", "lung_nodules/lung_nodules.npz", "mnist", "mnist/mnist.npz"]
    with np.load(root / "mnist" / "mnist.npz", allow_pickle=False) as made:
        for key, array in small("mnist", 12).items():
            assert made[key].dtype == array.dtype and np.array_equal(made[key], array)
    with np.load(root / "lung_nodules" / "lung_nodules.npz", allow_pickle=False) as made:
        assert set(made.files) == set(entry("lung_nodules")["arrays"])
        # the order is that of the label file; the crop of 47 columns and what has no label are left out
        assert made["train_candidate_ids"].tolist() == [28, 21, 7, 0]
        assert made["train_labels"].tolist() == [0, 1, 1, 0]
        assert made["test_candidate_ids"].tolist() == [2028, 2021, 2014, 2007, 2000]
        files = lung_files()
        for split in ("train", "val", "test"):
            for image, number in zip(made[f"{split}_images"], made[f"{split}_candidate_ids"], strict=True):
                assert np.array_equal(image, np.asarray(Image.open(io.BytesIO(files[f"{split}/image_{number}.jpg"]))))
    assert len(cohorts.load("lung_nodules", "val")) == 5
    before = (root / "mnist" / "mnist.npz").stat().st_mtime_ns
    assert fetch.main(["mnist", "--root", str(root)]) == 0
    assert "mnist: already there" in capsys.readouterr().out
    assert (root / "mnist" / "mnist.npz").stat().st_mtime_ns == before


def change(origin, file, data):
    (origin / file).write_bytes(data)


def cut(origin, file):
    data = (origin / file).read_bytes()
    change(origin, file, data[: len(data) // 2])


@pytest.mark.parametrize(
    "name, file", [("mnist", "t10k-labels-idx1-ubyte.gz"), ("lung_nodules", "LungCancerDetection.tar.gz")]
)
def test_a_changed_or_truncated_original_leaves_nothing(origin, root, name, file, capsys):
    cut(origin, file)
    assert fetch.main([name]) == 1
    said = capsys.readouterr().err.splitlines()[-1]  # after the progress bars
    assert said.startswith(f"{name}: ") and file in said and said.endswith("Nothing was kept; try again.")
    assert leftovers(root) == []


def test_another_image_at_the_origin_is_noticed(origin, root):
    files = lung_files()
    files["val/image_1007.jpg"] = jpeg(np.full((50, 50), 9, np.uint8))
    change(origin, "LungCancerDetection.tar.gz", tar(files))
    with pytest.raises(ValueError, match=r"LungCancerDetection.tar.gz .* \(wrong SHA-256\)"):
        fetch.fetch("lung_nodules", root)
    assert leftovers(root) == []


def test_a_missing_image_is_named(origin, root):
    files = lung_files()
    del files["test/image_2014.jpg"]
    change(origin, "LungCancerDetection.tar.gz", tar(files))
    with pytest.raises(ValueError, match=r"lacks 1 files, such as test/image_2014\.jpg"):
        fetch.fetch("lung_nodules", root)


def test_an_archive_cannot_write_outside_or_fill_the_memory(origin, root, tmp_path):
    files = lung_files() | {"../../../../escaped.jpg": b"x", "train/image_1.jpg": bytes(600_000)}
    change(origin, "LungCancerDetection.tar.gz", tar(files))
    with pytest.raises(ValueError, match="larger or more files"):
        fetch.fetch("lung_nodules", root)
    assert not list(tmp_path.rglob("escaped.jpg"))


@pytest.mark.parametrize(
    "data, message",
    [
        (b"not gzip", "truncated or not gzip"),
        (gzip.compress(b"\x00\x00\x08\x01"), "not an idx file"),
        (gzip.compress(bytes([0, 0, 13, 1, 0, 0, 0, 5]) + bytes(20)), "not an idx file of bytes"),
        (gzip.compress(bytes([0, 0, 8, 1, 0xFF, 0xFF, 0xFF, 0xFF])), "not an idx file of bytes of at most"),
        (gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 5]) + bytes(4)), "does not hold the 5 bytes"),
        (gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 5]) + bytes(6)), "does not hold the 5 bytes"),
        (idx(np.zeros(5, np.uint8))[:-6], "truncated or not gzip"),
    ],
    ids=range(7),  # gzip writes the time into its bytes, and a test's name must not change
)
def test_a_bad_idx_file_is_refused(tmp_path, data, message):
    path = tmp_path / "labels.gz"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"labels.gz .*{message}"):
        fetch._read_idx(path, 1, [60_000])


def test_no_network_is_said_plainly(root, monkeypatch, capsys):
    about = dict(entry("mnist"))
    about["files"] = [dict(file, urls=["http://127.0.0.1:9/a.gz"]) for file in about["files"]]
    monkeypatch.setitem(registry(), "mnist", about)
    assert fetch.main(["mnist"]) == 1
    said = capsys.readouterr().err
    assert said == (
        "mnist: could not download train-images-idx3-ubyte.gz: http://127.0.0.1:9/a.gz (no connection). "
        "Check the network and try again.\n"
    )
    assert leftovers(root) == []


@pytest.mark.parametrize("where", ["during the download", "while writing"])
def test_an_interruption_leaves_nothing(origin, root, monkeypatch, capsys, where):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    if where == "while writing":
        monkeypatch.setattr(np, "savez_compressed", interrupt)
    else:
        monkeypatch.setattr(fetch, "convert_mnist", interrupt)
        monkeypatch.setitem(fetch.CONVERTERS, "mnist", interrupt)
    assert fetch.main(["mnist"]) == 130
    assert "interrupted, nothing was kept" in capsys.readouterr().err and leftovers(root) == []


def test_a_full_disk_leaves_nothing_and_the_other_data_set_is_still_fetched(origin, root, monkeypatch, capsys):
    write = np.savez_compressed

    def full(file, **arrays):
        if "val_images" in arrays:
            write(file, **arrays)
        else:
            file.write(b"half of it")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez_compressed", full)
    assert fetch.main(["mnist", "lung_nodules"]) == 1
    said = capsys.readouterr()
    assert "mnist: " in said.err and "No space left on device" in said.err and "lung_nodules: ready" in said.out
    assert leftovers(root) == ["lung_nodules", "lung_nodules/lung_nodules.npz"]


def test_an_unknown_name_stops_before_any_download(root, capsys):
    assert fetch.main(["mnist", "cifar"]) == 1
    assert capsys.readouterr().err == f"unknown data set 'cifar'; there are {', '.join(registry())}\n"
    assert not root.exists()


# ---------------------------------------------------------------- registry and cards


def test_every_entry_of_the_registry_is_complete():
    for name, about in registry().items():
        assert set(about) >= {
            "title",
            "content",
            "licence",
            "citation",
            "homepage",
            "embedded",
            "download_mb",
            "arrays",
        }
        assert about["embedded"] in cohorts.names() and name in cohorts.names() and name in fetch.CONVERTERS
        for file in about["files"]:
            assert len(file.get("sha256") or about.get("manifest_sha256", "")) == 64 or len(file["md5"]) == 32
            assert all(url.startswith("https://") for url in file["urls"])


def test_every_figure_of_a_card_is_small_and_every_file_is_shown():
    cards = "".join(path.read_text(encoding="utf-8") for path in (CHECKOUT / "data" / "cards").glob("*.md"))
    shown = re.findall(r"!\[([^\]]*)\]\(\.\./\.\./book/_static/cards/([^)]+)\)", cards)
    assert len(shown) == cards.count("!["), "a figure of a card that is not in book/_static/cards"
    assert all(len(alt) > 30 for alt, _ in shown)
    files = {path.name: path.stat().st_size for path in (CHECKOUT / "book" / "_static" / "cards").iterdir()}
    assert sorted(name for _, name in shown) == sorted(files)
    assert max(files.values()) <= 40_000


def test_every_cohort_has_a_card():
    cards = {path.stem for path in (CHECKOUT / "data" / "cards").glob("*.md")}
    assert cards >= {*cohorts.names(), "toys"} - {"ring", "grid", "lines"}


def test_the_data_root_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDGAN_DATA", str(tmp_path))
    assert data_root() == tmp_path
    monkeypatch.delenv("MEDGAN_DATA")
    assert data_root() == CHECKOUT / "data" / "cache"


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
