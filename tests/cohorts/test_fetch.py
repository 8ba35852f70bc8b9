"""Fetching originals: whatever happens, nothing half-made stays."""

import errno
import functools
import gzip
import hashlib
import http.server
import io
import os
import threading

import numpy as np
import pytest
from archives import packed
from PIL import Image
from prepared_arrays import small

from medgan_lib import cohorts
from medgan_lib.cohorts import fetch
from medgan_lib.cohorts.registry import entry, registry


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
        (gzip.compress(b"\x00\x00\x08\x01", mtime=0), "not an idx file"),
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
