"""Carotid arteries: R's files, reading the prepared form, centrelines from curvature and torsion, the converter."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rdata
import torch
from prepared_arrays import PREPARED, needs_copy

from medgan_lib import cohorts
from medgan_lib.cohorts import fetch
from medgan_lib.cohorts.public import carotid_arteries as carotid
from medgan_lib.cohorts.registry import entry, registry
from medgan_lib.cohorts.simulated import vessels
from medgan_lib.physics import vessels as geometry

NAME = "carotid_arteries"


def rda(compression=None, **objects):
    """A file of R's with these objects: arrays, lists, and dicts as named lists."""
    with tempfile.NamedTemporaryFile(suffix=".rda") as file:
        rdata.write_rda(file.name, objects, compression=compression)
        return Path(file.name).read_bytes()


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_r_data_come_back_as_they_were(pack):
    rng = np.random.default_rng(0)
    numbers, array = rng.standard_normal(5), rng.standard_normal((2, 3, 4))
    frame = pd.DataFrame({"V1": numbers, "V2": numbers * 2})
    table = {"a": np.array(["x", "longer"]), "b": array, "c": [numbers, frame]}
    found = carotid._read({"f.rda": pack(rda(other=numbers, table=table))}, "f.rda", "table", ("a", "c"))
    assert list(found["a"]) == ["x", "longer"] and np.array_equal(found["b"], array)
    assert np.array_equal(found["c"][0], numbers) and np.array_equal(found["c"][1]["V2"], numbers * 2)


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", r"f\.rda can't be read: no R data, or damaged"),
        (b"\x80\x04pickle", r"f\.rda can't be read: no R data, or damaged"),
        (rda(table={"a": np.ones(400)})[:-30], r"f\.rda can't be read: no R data, or damaged"),
        (lzma.compress(rda(table={"a": np.ones(400)}))[:-60], r"f\.rda can't be read: no R data, or damaged"),
        (rda(other={"a": np.ones(3)}), r"f\.rda does not hold table with a, b"),
        (rda(table={"a": np.ones(3)}), r"f\.rda does not hold table with a, b"),
        (rda(table=np.ones(3)), r"f\.rda does not hold table with a, b"),
    ],
)
def test_what_is_not_r_data_is_refused(data, message):
    with pytest.raises(ValueError, match=message):
        carotid._read({"f.rda": data}, "f.rda", "table", ("a", "b"))


def test_without_the_package_that_reads_r_data_its_name_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdata", None)
    with pytest.raises(ValueError, match=r"f\.rda is R data, which the package rdata reads: pip install rdata"):
        carotid._read({"f.rda": b""}, "f.rda", "table", ())


# ---------------------------------------------------------------- the prepared form


def spirals(count, seed):
    """Helices (count, 1380, 3) of random radius and pitch and their derivative with respect to the length."""
    rng = np.random.default_rng(seed)
    radius, pitch = rng.uniform(5, 12, count), rng.uniform(1, 3, count)
    angle = np.linspace(0, rng.uniform(3, 5, count), 1380, axis=1)
    c = np.hypot(radius, pitch)
    one = np.ones_like(angle)
    slope = np.stack(
        [-radius[:, None] * np.sin(angle), radius[:, None] * np.cos(angle), pitch[:, None] * one], 1
    ) / c[:, None, None]  # fmt: skip
    return (angle - angle[:, -1:]) * c[:, None], slope, radius, pitch, c


def originals():
    along, slope, *_ = spirals(65, 0)
    rng = np.random.default_rng(1)
    rows = [(f, g) for f in carotid.FEATURES for g in carotid.GROUPS]
    abscissa = np.linspace(-4.76, -0.27, 512)
    scale = {"curvature": 0.0, "torsion": 0.0, "radius": 0.01}
    base = {"curvature": 0.9, "torsion": -0.3, "radius": 0.2}
    data = [
        {
            f"V{k + 1}": column
            for k, column in enumerate((base.get(f, 1.0) + scale.get(f, 1.0) * rng.random((25, 512))).T)
        }
        for f, _ in rows
    ]
    names = {"variable": np.array([f for f, _ in rows]), "group": np.array([g for _, g in rows])}
    table = names | {"abscissa": [abscissa] * 12, "data": data}
    return {
        "aneurisk65.rda": rda("xz", aneurisk65={"x": along, "y": slope}),
        "aneurisk.rda": rda("bzip2", aneurisk=table),
    }


@pytest.fixture(scope="module")
def made():
    return carotid.convert(originals())


def place(root, files):
    (root / NAME).mkdir(parents=True, exist_ok=True)
    for file, arrays in files.items():
        np.savez(root / NAME / file, **arrays)


def test_the_converter_integrates_the_derivative(made):
    along, _, radius, pitch, c = spirals(65, 0)
    line, where = made[carotid.FILES[0]]["centerline_mm"], made[carotid.FILES[0]]["abscissa_mm"]
    assert line.shape == (65, 256, 3) and line.dtype == np.float32
    angle = (where - where[:, :1]) / c[:, None]
    expected = np.stack(
        [radius[:, None] * (np.cos(angle) - 1), radius[:, None] * np.sin(angle), pitch[:, None] * angle], -1
    )
    np.testing.assert_allclose(line, expected, atol=2e-3)
    np.testing.assert_allclose(where[:, [0, -1]], along[:, [0, -1]], atol=1e-4)
    for file, arrays in made.items():
        for key, spec in entry(NAME)["arrays"][file].items():
            assert arrays[key].dtype == np.dtype(spec["dtype"]) and list(arrays[key].shape) == spec["shape"]


def test_centrelines_keep_their_length_and_shape_and_splits_are_disjoint(root, made):
    place(root, made)
    parts = [cohorts.load(NAME, split) for split in ("train", "val", "test")]
    people = [set(part.subjects.tolist()) for part in parts]
    assert [len(p) for p in people] == [46, 6, 13] and set().union(*people) == set(range(65))
    _, _, radius, pitch, c = spirals(65, 0)
    for part in parts:
        mm, k = vessels.to_mm(part, part.x.double()), part.subjects.numpy()
        assert torch.equal(part.x, part["centreline"]) and mm.shape[1:] == (3, 64)
        torch.testing.assert_close(geometry.to_frame(mm), mm, rtol=0, atol=1e-4)
        torch.testing.assert_close(geometry.length(mm), part["length"].double(), rtol=1e-4, atol=0)
        torch.testing.assert_close(
            geometry.curvature(mm)[:, 5:-5].mean(1), torch.from_numpy(radius[k] / c[k] ** 2), rtol=5e-3, atol=0
        )
        torch.testing.assert_close(
            geometry.torsion(mm)[:, 5:-5].mean(1), torch.from_numpy(pitch[k] / c[k] ** 2), rtol=5e-3, atol=0
        )
        chord = mm[..., -1].norm(dim=1)
        torch.testing.assert_close(part["tortuosity"].double(), part["length"] / chord - 1, rtol=1e-3, atol=1e-3)


def test_a_profile_becomes_the_curve_of_its_curvature_and_torsion(root, made):
    place(root, made)
    parts = [cohorts.load(NAME, split, part="profiles") for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [36, 4, 10]
    assert len({int(k) for part in parts for k in part.subjects}) == 50
    stored = made[carotid.FILES[1]]
    radii = np.concatenate([stored["radius_low"], stored["radius_up"]])
    for part in parts:
        assert part["label"].float().mean() == 0.5 and ((part.subjects >= 25).long() == part["label"]).all()
        mm = vessels.to_mm(part, part.x.double())
        assert mm.shape[1:] == (4, 64) and bool((part["length"] - 44.9).abs().max() < 1e-4)
        torch.testing.assert_close(
            geometry.length(mm[:, :3]), torch.full((len(part),), 44.9, dtype=torch.float64), rtol=1e-4, atol=0
        )
        assert float((geometry.curvature(mm[:, :3]) - 0.09).abs().max()) < 1e-3  # 0.9 / cm
        assert float((geometry.torsion(mm[:, :3])[:, 3:-3] - 0.03).abs().max()) < 1e-3  # with the other sign
        ends = torch.from_numpy(10 * radii[part.subjects.numpy()][:, [0, -1]]).double()
        torch.testing.assert_close(mm[:, 3, [0, -1]], ends, rtol=0, atol=1e-4)
        torch.testing.assert_close(part["taper"].double(), 1 - ends[:, 1] / ends[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"part": "radii"}, "unknown part 'radii' .* centrelines, profiles"),
        ({"size": 60}, "number of points, a multiple of 8 from 16 to 512, it is 60"),
        ({"n": 47}, "has 46 such items, 47 were asked for"),
    ],
)
def test_a_wrong_request_says_what_is_possible(root, made, wrong, message):
    place(root, made)
    with pytest.raises(ValueError, match=message):
        cohorts.load(NAME, **wrong)


def test_a_file_that_cannot_be_used_is_refused(root, made):
    first, second = (dict(made[file]) for file in carotid.FILES)
    first["centerline_mm"] = first["centerline_mm"][:60]
    second["radius_up"] = np.full_like(second["radius_up"], math.nan)
    place(root, {carotid.FILES[0]: first, carotid.FILES[1]: second})
    with pytest.raises(ValueError, match=r"65.npz is not usable: it holds 60 arteries, not 65\. Delete it"):
        cohorts.load(NAME)
    with pytest.raises(ValueError, match=r"50.npz is not usable: it has values of radius that are not finite"):
        cohorts.load(NAME, part="profiles")


@needs_copy(NAME)
def test_the_prepared_copy_loads(monkeypatch):
    monkeypatch.setenv("MEDGAN_DATA", str(PREPARED))
    parts = [cohorts.load(NAME, split) for split in ("train", "val", "test")]
    length = torch.cat([part["length"] for part in parts])
    assert len(length) == 65 and 25 < float(length.min()) < 30 and 105 < float(length.max()) < 115
    torsion = [geometry.torsion(vessels.to_mm(part, part.x.double())).median() for part in parts]
    profiles = [cohorts.load(NAME, split, part="profiles") for split in ("train", "val", "test")]
    mm = vessels.to_mm(profiles[0], profiles[0].x.double())
    turned = geometry.torsion(mm[:, :3]).median()
    assert all(float(t) > 0 for t in (*torsion, turned))  # the two parts have the same handedness
    assert float(mm[:, 3].min()) > 1 and float(mm[:, 3].max()) < 3.5
    # how far these are from real ones: some run through themselves, which no centreline does
    assert 0 < int((geometry.clearance(mm[:, :3], mm[:, 3]) < 0).sum()) < 9
    real = vessels.to_mm(parts[0], parts[0].x.double())
    assert float(geometry.clearance(real, torch.full_like(real[:, 0], 1.8)).min()) > 0


def test_fetching_verifies_and_makes_what_the_loader_reads(root, tmp_path, monkeypatch):
    files = originals()
    about = dict(entry(NAME))
    about["files"] = [
        {"name": k, "urls": ["https://x"], "sha256": hashlib.sha256(v).hexdigest()} for k, v in files.items()
    ]
    monkeypatch.setitem(registry(), NAME, about)

    def download(file, folder):
        (folder / file["name"]).write_bytes(files[file["name"]])
        return folder / file["name"]

    monkeypatch.setattr(fetch, "_download", download)
    assert fetch.fetch(NAME, root) == (root / NAME, True) and fetch.fetch(NAME, root) == (root / NAME, False)
    assert sorted(path.name for path in (root / NAME).iterdir()) == sorted(carotid.FILES)
    assert len(cohorts.load(NAME)) == 46
    (root / NAME / carotid.FILES[1]).unlink()
    files["aneurisk.rda"] = rda(aneurisk={"variable": ["radius"]})
    with pytest.raises(ValueError, match=r"aneurisk.rda does not hold aneurisk with variable, group"):
        fetch.fetch(NAME, root)
    files["aneurisk65.rda"] = b"<html>"
    with pytest.raises(ValueError, match=r"aneurisk65.rda can't be read: no R data"):
        fetch.fetch(NAME, root)
