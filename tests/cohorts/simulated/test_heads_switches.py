"""Switches of the simulated heads that choose slices and scanners: noise, complex images, volumes, windows."""

import numpy as np
import pytest
import torch

from medgan_lib import cohorts
from medgan_lib.cohorts.simulated import head_anatomy, heads
from medgan_lib.cohorts.simulated.head_anatomy import draw_subject, tissue_shares
from medgan_lib.cohorts.simulated.head_scanner import ct_image
from medgan_lib.physics import mr

MR = ("t1", "t2", "flair", "gre")
LABEL = {name: index for index, name in enumerate(heads.LABELS)}


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        head_anatomy.load_atlas.cache_clear()
        yield


def load(n=12, split="train", **switches):
    return cohorts.load("heads", split, n=n, **switches)


@pytest.mark.parametrize("size", [48, 96])
def test_noise_follows_the_size_of_the_voxel(size):
    noisy, clean = (load(6, size=size, seed=3, snr=snr) for snr in (55.0, 1e6))
    expected = 2 / (55 * (240 / size / 2.0) ** 1.5)  # the window is 2 wide
    bright = (clean.x > -0.4) & (clean.x < 0.9)  # far from zero, magnitudes are Gaussian
    assert bright.sum() > 2000
    assert (noisy.x - clean.x)[bright].std() == pytest.approx(expected, rel=0.04)
    corner = noisy.x[..., : size // 8, : size // 8] + 1  # air: Rayleigh
    assert corner.mean() == pytest.approx(expected * np.sqrt(np.pi / 2), rel=0.06)


def test_snr_scales_the_noise_and_nothing_else():
    switches = {"seed": 3, "complex": True, "contrasts": ("t2", "ct"), "lesion": 1.0, "n": 3}
    clean, usual, half = (load(snr=snr, **switches) for snr in (1e6, 55.0, 27.5))
    noise = usual.x - clean.x
    assert noise.abs().mean() > 1e-3
    assert torch.allclose(half.x - clean.x, 2 * noise, atol=1e-5)
    assert torch.equal(half["ct"], usual["ct"]) and torch.equal(half["mask"], usual["mask"])


def magnitude(cohort, name):
    """In the units of the image."""
    return torch.linalg.vector_norm(cohort.to_units(cohort[name], name), dim=1, keepdim=True)


@pytest.mark.parametrize("undersampling", [None, 3])
def test_the_magnitude_of_a_complex_image_is_the_plain_image(undersampling):
    switches = {"contrasts": (*MR, "ct"), "lesion": 1.0, "undersampling": undersampling, "seed": 4, "n": 4}
    plain, parts = load(**switches), load(complex=True, **switches)
    assert parts.x.shape == (4, 2, 64, 64)
    for name in {"x", *MR, "healthy", "reference"} & plain.tensors.keys():
        low, top = plain.window[name]
        assert parts.window[name] == (-2 * top, 2 * top) and parts.units[name] == "signal" and low == 0
        assert torch.allclose(magnitude(parts, name).clamp(max=top), plain.to_units(plain[name], name), atol=1e-6)
        assert parts[name].abs().max() < 1  # nothing is clipped
    for name in {"ct", "labels", "mask", "sampling"} & plain.tensors.keys():
        assert torch.equal(parts[name], plain[name])


def test_the_phase_is_smooth_in_space_and_differs_between_people():
    parts = load(8, complex=True, seed=2, size=96)
    phase = torch.atan2(parts.x[:, 1], parts.x[:, 0])
    inside = parts["labels"][:, 0] >= LABEL["grey matter"]
    both = inside[:, :, 1:] & inside[:, :, :-1]
    step = torch.remainder(phase.diff(dim=2) + np.pi, 2 * np.pi) - np.pi
    assert step[both].abs().median() < 0.1  # rad in 2.5 mm; noise is part of it
    centre = phase[:, 44:52, 44:52].mean((1, 2))
    assert centre.std() > 0.3


def test_complex_images_hold_the_measured_lines_of_kspace():
    cohort = load(4, complex=True, undersampling=4, seed=3)
    image, full = (torch.complex(*cohort.to_units(cohort[name], name).unbind(1)) for name in ("x", "reference"))
    measured, complete = (mr.to_kspace(part.numpy()) for part in (image, full))
    lines = cohort["sampling"][:, 0].expand(-1, -1, 64).numpy()
    assert lines[:, :, 0].sum(1).tolist() == [16] * 4
    assert abs(measured - complete)[lines].max() < 1e-5 * abs(complete).max()
    assert abs(measured[~lines]).max() < 1e-5 * abs(complete).max()
    assert abs(complete[~lines]).max() > 1e-3 * abs(complete).max()


def test_levels_lie_where_they_are_asked_for():
    switches = heads.Switches(("t1",), 0.0, 0.5, None, "A", None, None, levels=(5.0, 30.0))
    people = [draw_subject(0, "train", i, 3, switches) for i in range(60)]
    levels = np.array([person.levels for person in people])
    assert levels.min() >= 5 and levels.max() <= 30
    assert levels.min() < 6 and levels.max() > 29 and (np.diff(levels) > 0).all()
    cohort = load(8, levels=(68, 74), lesion=1.0)  # close to the top, where the brain is small
    assert (cohort["level_mm"] >= 68).all() and (cohort["level_mm"] <= 74).all()
    inside = (cohort["labels"] >= LABEL["csf"]).float().mean((1, 2, 3))
    usual = (load(8)["labels"] >= LABEL["csf"]).float().mean((1, 2, 3))
    assert inside.mean() < 0.7 * usual.mean() and inside.min() > 0
    assert torch.equal(cohort["ventricle_mm"], load(8)["ventricle_mm"])  # the same people


def test_the_window_of_ct_clips_hounsfield_units():
    windows = (-1024, 3071), (-100, 100)
    wide, narrow = (load(3, contrasts=("ct", "t1"), seed=2, ct_window=window) for window in windows)
    assert narrow.window["x"] == narrow.window["ct"] == (-100, 100)
    expected = wide.to_units(wide.x).clamp(-100, 100)
    assert (expected == -100).any() and (expected == 100).any() and (expected.abs() < 60).float().mean() > 0.1
    assert torch.allclose(narrow.to_units(narrow.x), expected, atol=0.01)  # a float32 step of the wide window
    assert torch.equal(narrow["t1"], wide["t1"])


def test_a_volume_is_slices_in_equal_steps():
    count, mm = 8, 3.0
    cohort, spread = load(24, volume=(count, mm), seed=6), load(24, slices_per_subject=count, seed=6)
    assert cohort.subjects.reshape(3, count).unique(dim=1).shape == (3, 1)
    levels = cohort["level_mm"].reshape(3, count)
    assert levels.min() >= -8 and levels.max() <= 60 and levels[:, 0].std() > 2
    switches = heads.Switches(("t1",), 0.0, None, None, "A", None, None)
    for index in range(3):
        stretch = draw_subject(6, "train", index, 1, switches).scale[2]  # mm of the person for one of the template
        assert levels[index].diff().numpy() * stretch == pytest.approx(np.full(count - 1, mm), rel=1e-4)
    for name in ("brain_scale", "ventricle_mm", "sulci", "bias"):
        assert torch.equal(cohort[name], spread[name]), name  # the same people

    def neighbours(found):
        volumes = found.x.unflatten(0, (-1, count)).transpose(1, 2)
        assert volumes.shape == (3, 1, count, 64, 64) and torch.equal(volumes[1, 0, 2], found.x[count + 2, 0])
        return float(volumes.diff(dim=2).abs().mean())

    assert neighbours(cohort) < 0.6 * neighbours(spread)


@pytest.mark.parametrize("mm", [2.5, 10.0])
def test_noise_follows_the_thickness_of_the_slices_of_a_volume(mm):
    switches = {"contrasts": ("t2", "ct"), "complex": True, "ct_window": (-1024, 3071), "volume": (3, mm), "seed": 5}
    noisy, clean = (load(6, snr=snr, **switches) for snr in (55.0, 1e6))
    of_5_mm = 0.72 / (55 * (3.75 / 2) ** 1.5)  # signal
    noise = noisy.to_units(noisy.x) - clean.to_units(clean.x)
    assert noise.std() == pytest.approx(of_5_mm * 5 / mm, rel=0.02)
    air = noisy.to_units(noisy["ct"], "ct")[..., [*range(10), *range(-10, 0)]][..., :10, :]  # two corners
    assert air.std() == pytest.approx(5.0 * (2 / 3.75) ** 1.5 * np.sqrt(5 / mm), rel=0.05)  # HU


@pytest.mark.parametrize(("size", "thickness"), [(48, 5.0), (96, 5.0), (120, 5.0), (96, 1.25)])
def test_noise_of_ct_follows_the_voxel(size, thickness):
    switches = heads.Switches(("ct",), 0.0, None, None, "A", None, None)
    person = draw_subject(3, "train", 0, 1, switches)
    shares = tissue_shares(person, person.levels[0], size)
    images = np.array([ct_image(person, shares, None, thickness, np.random.default_rng(k)) for k in range(24)])
    expected = 5 * (2 * size / 240) ** 1.5 * (5 / thickness) ** 0.5  # 5 HU where a voxel is 2 mm wide and 5 mm thick
    assert images.std(0, ddof=1).mean() == pytest.approx(expected, rel=0.03)


def test_thicker_slices_of_ct_count_more_photons():
    person = draw_subject(0, "train", 0, 1, heads.Switches(("ct",), 0.0, None, None, "A", None, None))
    shares = tissue_shares(person, 20.0, 32)
    thin, thick = (
        ct_image(person, shares, dose, thickness, np.random.default_rng(0))
        for dose, thickness in ((0.25, 5.0), (0.0625, 20.0))
    )
    assert np.allclose(thin, thick)
    assert not np.allclose(thin, ct_image(person, shares, 0.25, 20.0, np.random.default_rng(0)))


def test_a_volume_counts_whole_people_by_default(monkeypatch):
    asked = {}

    def stop(name, parameters, build):
        asked.update(parameters)
        raise InterruptedError

    monkeypatch.setattr(heads, "cached", stop)
    with pytest.raises(InterruptedError):
        heads.load(volume=(16, 3.0))
    assert asked["n"] == 992 and asked["slices"] == 16
    with pytest.raises(InterruptedError):
        heads.load()
    assert asked["n"] == 1000 and asked["slices"] == 1
