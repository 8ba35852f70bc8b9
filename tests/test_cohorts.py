"""Cohort, load, the cache, and the truth of the embedded cohorts."""

import dataclasses
import errno
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medgan_lib import cohorts
from medgan_lib.cohorts import cache
from medgan_lib.cohorts.cohort import Cohort, Window
from medgan_lib.cohorts.simulated import digits, heads, nodules, toys
from medgan_lib.physics import fields

SIMULATED = ("ring", "grid", "lines", "nodules")
EMBEDDED = (*SIMULATED, "digits")


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """Nothing of this machine's cache is used or changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MEDGAN_PROGRESS", os.devnull)
        yield


def cohort(n=12, subjects=None, **changes):
    generator = torch.Generator().manual_seed(0)
    fields = {
        "name": "made",
        "tensors": {
            "x": torch.rand(n, 1, 4, 4, generator=generator) * 2 - 1,
            "ct": torch.rand(n, 1, 4, 4, generator=generator) * 2 - 1,
            "label": torch.arange(n) % 2,
        },
        "subjects": torch.as_tensor(range(n) if subjects is None else subjects),
        "units": {"x": "signal", "ct": "HU"},
        "window": {"x": (0.0, 65535.0), "ct": (-1000.0, 400.0)},
        "origin": "embedded",
        "split": "train",
        "classes": {"label": ("no", "yes")},
    }
    return Cohort(**(fields | changes))


# ---------------------------------------------------------------- Cohort


@pytest.mark.parametrize("low, high", [(0.0, 65535.0), (-32768.0, 32767.0), (-1000.0, 400.0), (0.0, 1.0)])
def test_every_16_bit_value_survives_the_window(low, high):
    made = cohort(window={"x": (low, high)})
    values = torch.linspace(low, high, 65536, dtype=torch.float64)
    back = made.to_units(made.from_units(values.float()))
    step = (high - low) / 65535
    assert torch.equal(((back.double() - low) / step).round(), torch.arange(65536.0, dtype=torch.float64))
    torch.testing.assert_close(made.to_units(made.from_units(values)), values, rtol=1e-12, atol=1e-9)


def test_window_is_linear_and_clips_nothing():
    made = cohort()
    assert made.to_units(torch.tensor([-1.0, 0.0, 1.0]), "ct").tolist() == [-1000, -300, 400]
    assert made.from_units(torch.tensor([-1700, -1000, 400, 1100]), "ct").tolist() == [-2, -1, 1, 2]
    assert made.from_units(torch.tensor([0, 65535], dtype=torch.int32)).dtype == torch.float32
    with pytest.raises(ValueError, match="no window for 'label', only for x, ct"):
        made.to_units(made["label"], "label")


def test_a_window_scales_arrays_and_tensors_and_keeps_double_precision():
    window = Window(-1000.0, 400.0)
    assert window.span == 1400 and window == (-1000.0, 400.0) and f"{window}" == "(-1000.0, 400.0)"
    values = [-1700.0, -1000.0, -300.0, 400.0, 1100.0]
    assert window.scale(values).tolist() == [-1, -1, 0, 1, 1]
    assert window.scale(np.array(values), clip=False).tolist() == [-2, -1, 0, 1, 2]
    assert window.scale(np.array(values, np.int16)).dtype == torch.float32
    exact = torch.linspace(-1000, 400, 1000, dtype=torch.float64)
    torch.testing.assert_close(window.units(window.scale(exact)), exact, rtol=1e-15, atol=1e-12)


def test_a_pair_of_numbers_becomes_a_window():
    made = cohort()
    assert made.window["ct"].span == 1400 and made.select(x="ct").window["x"].units(torch.tensor(0.0)) == -300
    assert made.digest() == cohort(window={name: Window(*pair) for name, pair in made.window.items()}).digest()


def test_select_renames_everything_that_belongs_to_a_tensor():
    chosen = cohort().select(x="ct", y="x", c="label")
    assert list(chosen.tensors) == ["x", "y", "c"]
    assert torch.equal(chosen.x, cohort()["ct"])
    assert chosen.units == {"x": "HU", "y": "signal"}
    assert chosen.window == {"x": (-1000.0, 400.0), "y": (0.0, 65535.0)}
    assert chosen.classes == {"c": ("no", "yes")}
    with pytest.raises(ValueError, match=r"no tensor 'mr', only x, ct, label"):
        cohort().select(x="mr")
    with pytest.raises(ValueError, match=r"select\(x='y'\)"):
        _ = cohort().select(y="ct").x


@pytest.mark.parametrize(
    "index, expected",
    [
        (3, [3]),
        (-1, [11]),
        (slice(2, 6, 2), [2, 4]),
        ([5, 1, 5], [5, 1, 5]),
        (torch.tensor([7, 0]), [7, 0]),
        (torch.arange(12) > 9, [10, 11]),
        ([], []),
    ],
)
def test_subset_keeps_tensors_and_subjects_together(index, expected):
    made = cohort()
    part = made[index]
    assert part.subjects.tolist() == expected
    for key, tensor in made.tensors.items():
        assert torch.equal(part[key], tensor[torch.tensor(expected, dtype=torch.long)])


@given(
    people=st.lists(st.integers(0, 9), min_size=1, max_size=60),
    shares=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    seed=st.integers(0, 2**31),
)
def test_split_by_subject_is_a_partition_that_keeps_subjects_together(people, shares, seed):
    n = len(people)
    made = cohort(n, people, tensors={"x": torch.arange(float(n))}, units={}, window={}, classes={})
    fractions = [share / sum(shares) for share in shares]
    try:
        parts = made.split_by_subject(fractions, seed)
    except ValueError as error:
        assert "too few" in str(error) and len(set(people)) < 2 * sum(shares)
        return
    sets = [set(part.subjects.tolist()) for part in parts]
    assert sum(map(len, sets)) == len(set.union(*sets)) == len(set(people))
    assert sorted(torch.cat([part.x for part in parts]).tolist()) == list(range(n))
    for part, fraction in zip(sets, fractions, strict=True):
        assert abs(len(part) - fraction * len(set(people))) <= 1


def test_split_by_subject_follows_the_seed_and_refuses_bad_fractions():
    made = cohort(100)
    first, again, other = (made.split_by_subject((0.5, 0.5), seed)[0] for seed in (1, 1, 2))
    assert first.digest() == again.digest() != other.digest()
    for fractions in [(0.5, 0.6), (1.5, -0.5), ()]:
        with pytest.raises(ValueError, match="add up to 1"):
            made.split_by_subject(fractions)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"tensors": {}}, "at least one tensor"),
        ({"tensors": {"x": torch.zeros(5, 2)}, "units": {}, "window": {}, "classes": {}}, "first dimension"),
        ({"subjects": torch.arange(12.0)}, "int64"),
        ({"origin": "phantom"}, "embedded, real"),
        ({"split": "validation"}, "train, val, test"),
        ({"units": {"t1": "signal"}}, "units for .'t1'."),
        ({"window": {"x": (1.0, 1.0)}}, "must rise"),
        ({"spacing": (1.0, 0.0)}, "positive"),
        ({"classes": {"label": ("only",)}}, "int64 in 0..0"),
    ],
)
def test_a_cohort_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=f"cohort 'made': .*{message}"):
        cohort(**change)


@pytest.mark.parametrize("value, message", [(math.nan, "not finite"), (math.inf, "not finite"), (1.5, "lie in")])
def test_an_image_off_its_range_is_refused(value, message):
    x = torch.zeros(12, 1, 4, 4)
    x[3, 0, 1, 2] = value
    with pytest.raises(ValueError, match=message):
        cohort(tensors={"x": x}, units={}, window={"x": (0.0, 1.0)}, classes={})


def test_digest_sees_every_change_that_can_change_a_result_and_no_other():
    made = cohort()
    changed = {key: tensor.clone() for key, tensor in made.tensors.items()}
    changed["x"][0, 0, 0, 0] += 1e-6
    others = [
        dataclasses.replace(made, tensors=changed),
        dataclasses.replace(made, window={"x": (0.0, 1.0)}),
        dataclasses.replace(made, subjects=made.subjects + 1),
        made[:-1],
        made.select(x="ct", ct="x", label="label"),
    ]
    digests = {made.digest(), *(other.digest() for other in others)}
    assert len(digests) == 6
    assert dataclasses.replace(made, note="another caption").digest() == made.digest()
    assert made.subset(slice(None)).digest() == made.digest()
    strided = {key: tensor.clone() for key, tensor in made.tensors.items()}
    strided["x"] = strided["x"].contiguous(memory_format=torch.channels_last)
    assert dataclasses.replace(made, tensors=strided).digest() == made.digest()


def test_in_another_process_the_digest_is_the_same_and_nothing_heavy_is_imported():
    code = """if True:
        import sys
        from medgan_lib import cohorts
        heavy = {"mlxtend", "nilearn", "pooch", "skimage", "PIL", "matplotlib"} & set(sys.modules)
        print(cohorts.load("ring", n=50, seed=3).digest(), heavy or "light")"""
    environment = os.environ | {"PYTHONHASHSEED": "77"}
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert there.stdout.split() == [cohorts.load("ring", n=50, seed=3).digest(), "light"]


def test_describe_gives_ranges_in_units_and_counts():
    facts = cohorts.load("digits", "val").describe()
    assert facts["items"] == facts["subjects"] == 500 and facts["origin"] == "embedded"
    assert facts["tensors"]["x"]["range"] == (0.0, 255.0)
    assert facts["tensors"]["label"]["classes"] == {str(k): 50 for k in range(10)}


# ---------------------------------------------------------------- load


def test_names_lists_the_embedded_first():
    embedded = (
        *("ring", "grid", "lines", "digits", "stacked_digits", "digits_on_photos", "heads", "nodules"),
        *("vessels", "chests", "retinas"),
    )
    embedded += ("glands_simulated",)
    assert cohorts.names()[: len(embedded)] == embedded
    assert set(cohorts.names()[len(embedded) :]) == {
        *("mnist", "stacked_mnist", "mnist_on_photos", "lung_nodules", "brain_mr_contrasts", "brain_mr_ct"),
        *("pneumonia_mnist", "blood_cells", "glands", "carotid_arteries", "retina_oct", "retina_vessels"),
    }


@pytest.mark.parametrize(
    "arguments, switches, message",
    [
        (("nodule",), {}, "unknown cohort 'nodule'; there are ring, grid, .*lung_nodules"),
        (("/etc/passwd",), {}, "passwd: not an image"),
        (("digits", "validation"), {}, "unknown split 'validation' of 'digits'; there are train, val, test"),
        (("digits",), {"n": 3501}, "has 3500 such items, 3501 were asked for"),
        (("digits",), {"n": 0}, "n of 'digits' must be a positive whole number, it is 0"),
        (("digits",), {"n": 10.0}, "positive whole number"),
        (("digits",), {"size": 16}, "28 x 28: size must be at least 28, it is 16"),
        (("nodules",), {"size": 8}, "at least 16 pixels"),
        (("ring",), {"size": 32}, "size must be left out"),
        (("ring",), {"seed": -1}, "seed must be a whole number"),
        (("ring",), {"sigma": 0}, "sigma of 'ring' must be positive"),
        (("lines",), {"theta": math.inf}, "finite"),
        (("lines",), {"thta": 1.0}, "'lines' has no switch thta; it has theta"),
        (("digits",), {"contrast": "t1"}, "has no switch contrast; it has none"),
    ],
)
def test_a_wrong_request_says_what_exists(arguments, switches, message):
    with pytest.raises(ValueError, match=message) as error:
        cohorts.load(*arguments, **switches)
    if "passwd" not in message:  # a folder's files are named one a line
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", EMBEDDED)
def test_splits_share_no_subject_and_no_item(name):
    parts = [cohorts.load(name, split, n=64) for split in ("train", "val", "test")]
    assert len(set().union(*(part.subjects.tolist() for part in parts))) == 3 * 64
    assert len({item.numpy().tobytes() for part in parts for item in part.x}) == 3 * 64


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_seed_decides_the_draw(name):
    first, again, other = (cohorts.load(name, n=40, seed=seed).digest() for seed in (5, 5, 6))
    assert first == again != other


@pytest.mark.parametrize("name", SIMULATED)
def test_seeds_of_a_simulation_share_no_subject(name):
    a, b = (set(cohorts.load(name, n=40, seed=seed).subjects.tolist()) for seed in (0, 1))
    assert not a & b


def test_loading_leaves_the_callers_random_state_alone():
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1]
    cohorts.load("nodules", n=5, seed=123)
    cohorts.load("ring", n=5).split_by_subject((0.4, 0.6))
    assert torch.equal(before[0], torch.get_rng_state()) and (before[1] == np.random.get_state()[1]).all()


# ---------------------------------------------------------------- toys and digits


@pytest.mark.parametrize("name, modes, sigma", [("ring", 8, 0.02), ("grid", 25, 0.05)])
def test_the_modes_of_a_mixture_are_where_they_are_said_to_be(name, modes, sigma):
    made = cohorts.load(name, n=20_000)
    assert made.truth["modes"].shape == (modes, 2) and made.truth["sigma"] == sigma
    away = made.x - made.truth["modes"][made["label"]]
    assert float(away.std()) == pytest.approx(sigma, rel=0.02)
    assert float(away.mean(0).norm()) < 5 * sigma / math.sqrt(20_000)
    expected = 20_000 / modes
    assert (made["label"].bincount() - expected).abs().max() < 5 * math.sqrt(expected)
    distance = torch.cdist(made.truth["modes"], made.truth["modes"]).fill_diagonal_(9)
    assert float(distance.min()) == pytest.approx(4 * math.sin(math.pi / 8) if name == "ring" else 1.0, rel=1e-5)


def test_ring_modes_lie_on_the_circle():
    torch.testing.assert_close(toys.ring_modes(5, 3.0).norm(dim=1), torch.full((5,), 3.0))


@pytest.mark.parametrize("theta", [-0.5, 0.0, 2.0])
def test_lines_are_theta_apart(theta):
    made = cohorts.load("lines", n=4000, theta=theta)
    assert made.x[:, 0].unique().tolist() == [0.0] and made["y"][:, 0].unique().tolist() == [theta]
    assert made.truth["w1"] == abs(theta) and made.truth["jsd"] == (math.log(2) if theta else 0)
    for u in (made.x[:, 1], made["y"][:, 1]):
        assert 0 <= float(u.min()) < 0.01 and 0.99 < float(u.max()) <= 1
    assert abs(float(torch.corrcoef(torch.stack([made.x[:, 1], made["y"][:, 1]]))[0, 1])) < 0.08


def test_digits_are_stratified_and_complete():
    parts = {split: cohorts.load("digits", split) for split in ("train", "val", "test")}
    assert {split: part["label"].bincount().unique().tolist() for split, part in parts.items()} == {
        "train": [350],
        "val": [50],
        "test": [100],
    }
    assert sorted(torch.cat([part.subjects for part in parts.values()]).tolist()) == list(range(5000))


def test_padding_of_digits_is_background_and_can_be_undone():
    small, large = (cohorts.load("digits", "test", size=size) for size in (None, 32))
    assert large.x.shape == (1000, 1, 32, 32)
    assert torch.equal(digits.unpad(large.x), small.x)
    assert float(large.x.sum() - small.x.sum()) == pytest.approx(-1000 * (32**2 - 28**2), rel=1e-4)
    values = small.to_units(small.x)
    torch.testing.assert_close(values, values.round(), atol=1e-3, rtol=0)
    assert (float(values.min()), float(values.max())) == (0, 255)


# ---------------------------------------------------------------- nodules


@pytest.fixture(scope="module")
def patches(own_cache):
    return cohorts.load("nodules", n=400, size=32)


def measured(made):
    """(area mm², centroid (n, 2) mm) of the masks."""
    mm = made.spacing[0]
    at = (torch.arange(made.x.shape[-1]) + 0.5) * mm - nodules.FIELD / 2
    mask = made["mask"][:, 0].float()
    pixels = mask.sum((1, 2))
    centroid = torch.stack([(mask.sum(2) * at).sum(1), (mask.sum(1) * at).sum(1)], 1) / pixels[:, None]
    return pixels * mm**2, centroid


@pytest.mark.parametrize("size", [16, 32, 64])
def test_centre_and_diameter_are_those_of_the_mask(size, patches):
    made = patches if size == 32 else cohorts.load("nodules", n=200, size=size)
    area, centroid = measured(made)
    assert float((centroid - made["centre"]).abs().max()) / made.spacing[0] < 0.5
    error = 2 * (area / math.pi).sqrt() - made["diameter"]
    assert float(error.abs().mean()) < 0.15 * made.spacing[0] and abs(float(error.mean())) < 0.05 * made.spacing[0]


def test_the_nodule_is_where_the_image_is_dense():
    """In the isolated, solid, uncalcified ones, the half-density area of the image is the stated area."""
    made = cohorts.load("nodules", n=200, size=64)
    hu, mask = made.to_units(made.x)[:, 0], made["mask"][:, 0]
    near = torch.nn.functional.max_pool2d(mask[:, None].float(), 9, 1, 4)[:, 0] > 0
    rim = near & ~(torch.nn.functional.max_pool2d(mask[:, None].float(), 5, 1, 2)[:, 0] > 0)
    around = (hu * rim).sum((1, 2)) / rim.sum((1, 2))
    clear = (hu.where(rim, -1000).amax((1, 2)) < -500) & (made["part_solid"] == 0) & (made["diameter"] > 5)
    assert clear.sum() > 15
    inside = (hu * mask).sum((1, 2)) / mask.sum((1, 2))
    dense = (hu > ((inside + around) / 2)[:, None, None]) & near
    found = 2 * (dense.sum((1, 2)) * made.spacing[0] ** 2 / math.pi).sqrt()
    error = (found - made["diameter"])[clear]
    assert float(error.abs().mean()) < 0.6, "mm"
    assert float(torch.corrcoef(torch.stack([found, made["diameter"]])[:, clear])[0, 1]) > 0.97


def test_a_spiculated_outline_is_longer_than_a_smooth_one(patches):
    mask = torch.nn.functional.pad(cohorts.load("nodules", n=200, size=64)["mask"][:, 0].int(), (1, 1, 1, 1))
    edges = mask.diff(dim=1).abs().sum((1, 2)) + mask.diff(dim=2).abs().sum((1, 2))
    roughness = edges / mask.sum((1, 2)).sqrt()  # scale-free
    margin = patches["margin"][:200]
    assert float(torch.corrcoef(torch.stack([roughness, margin]))[0, 1]) > 0.6
    assert roughness[margin > 0.8].mean() > 1.15 * roughness[margin < 0.2].mean()


def test_labels_follow_the_stated_rule():
    draws = cohorts.load("nodules", n=400)
    p = nodules.malignancy(draws["diameter"], draws["margin"])
    excess = (draws["label"] - p).sum() / (p * (1 - p)).sum().sqrt()
    assert abs(float(excess)) < 3.5
    assert float(nodules.malignancy(torch.tensor(9.0), torch.tensor(0.5))) == 0.5
    # as good as the rule allows, and much better than chance
    accuracy = ((p > 0.5) == (draws["label"] == 1)).float().mean()
    assert float(accuracy) == pytest.approx(float(torch.maximum(p, 1 - p).mean()), abs=0.07) and accuracy > 0.75
    assert 0.3 < float(draws["label"].float().mean()) < 0.7


def test_tissues_have_the_hounsfield_values_of_lung_and_soft_tissue(patches):
    hu = patches.to_units(patches.x)[:, 0]
    assert -900 < float(hu.flatten(1).median(1).values.median()) < -780
    solid = (patches["part_solid"] == 0) & (patches["diameter"] > 8)
    core = torch.hypot(*[(torch.arange(32) + 0.5 - 16).expand(32, 32).T, (torch.arange(32) + 0.5 - 16).expand(32, 32)])
    assert -60 < float(hu[solid][:, core < 2].median()) < 150
    assert float(hu.min()) >= -1000 and float(hu.max()) <= 400


def test_a_subject_does_not_depend_on_how_many_there_are(patches):
    few = cohorts.load("nodules", n=37, size=32)
    for key in few.tensors:
        torch.testing.assert_close(few[key], patches[key][:37], rtol=1e-4, atol=1e-4)


def test_factors_do_not_depend_on_the_size(patches):
    fine = cohorts.load("nodules", n=20, size=48)
    for key in ("centre", "diameter", "margin", "label", "part_solid"):
        torch.testing.assert_close(fine[key], patches[key][:20])
    assert fine.spacing == (32 / 48, 32 / 48)


# ---------------------------------------------------------------- cache


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """A build function that counts its calls, and a cache of its own."""
    monkeypatch.setenv("MEDGAN_CACHE", str(tmp_path / "cache"))
    calls = []

    def get(parameters=None):
        def build():
            calls.append(1)
            return {"x": torch.arange(6.0)}

        build.__module__ = nodules.__name__  # as if it stood there
        return cache.cached("thing", parameters or {"n": 6}, build)

    get.calls, get.folder = calls, tmp_path / "cache"
    return get


def test_the_cache_is_by_content(counted, monkeypatch, tmp_path):
    assert torch.equal(counted()["x"], counted()["x"]) and len(counted.calls) == 1
    counted({"n": 7})
    assert len(counted.calls) == 2
    source = tmp_path / "changed.py"
    code = Path(nodules.__file__).read_text()
    source.write_text(f"# the same simulation\n{code}")
    monkeypatch.setattr(nodules, "__file__", str(source))
    counted()
    assert len(counted.calls) == 2, "a comment changes no number"
    source.write_text(code + "LATER = 1\n")
    counted()
    assert len(counted.calls) == 3 and len(list(counted.folder.iterdir())) == 3


def test_what_a_simulation_imports_counts_without_being_listed(monkeypatch, tmp_path):
    before = cache.code_digest(heads.load)
    source = tmp_path / "fields.py"
    source.write_text(Path(fields.__file__).read_text() + "LATER = 1\n")
    monkeypatch.setattr(fields, "__file__", str(source))
    assert cache.code_digest(heads.load) != before


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut off", None])
def test_a_damaged_entry_is_made_again(counted, damage):
    counted()
    (path,) = counted.folder.iterdir()
    path.write_bytes(path.read_bytes()[:-40] if damage is None else damage)
    with pytest.warns(UserWarning, match="is damaged; it is made again"):
        assert torch.equal(counted()["x"], torch.arange(6.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        counted()
    assert len(counted.calls) == 2


def test_a_pickle_in_the_cache_is_never_loaded(counted, tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    counted()
    (path,) = counted.folder.iterdir()
    np.savez(path, x=np.array([Trap()], dtype=object))
    with pytest.warns(UserWarning, match="damaged"):
        counted()
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_cache_that_cannot_be_written_costs_a_warning_only(counted, monkeypatch, code):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(np, "savez", refuse)
    with pytest.warns(UserWarning, match=rf"can't be written \({os.strerror(code)}\): going on without .*MEDGAN_CACHE"):
        assert torch.equal(counted()["x"], torch.arange(6.0))
    assert list(counted.folder.iterdir()) == []


def test_a_cache_folder_that_cannot_be_made_costs_a_warning_only(counted):
    counted.folder.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="going on without the cache"):
        assert torch.equal(counted()["x"], torch.arange(6.0))
