"""Simulated heads: protocols, noise, levels, complex images and volumes."""

import numpy as np
import pytest
import torch
from head_cohorts import LABEL, MR, load, median

from medgan_lib.cohorts.simulated import heads
from medgan_lib.physics import mr


def test_protocol_changes_the_contrast_not_the_anatomy():
    a, b = (load(8, contrasts=(*MR, "ct"), seed=3, protocol=p) for p in "AB")
    assert torch.equal(a["labels"], b["labels"]) and torch.equal(a["ct"], b["ct"])
    assert torch.equal(a["ventricle_mm"], b["ventricle_mm"])
    for contrast in MR:
        assert not torch.allclose(a[contrast], b[contrast], atol=0.1)
        assert (b[contrast] >= 1).float().mean() < 0.01  # no protocol burns out

    def ratio(cohort, contrast, over, under):
        return median(cohort, contrast, over) / median(cohort, contrast, under)

    assert ratio(a, "t2", "scalp", "grey matter") > 1.3 * ratio(b, "t2", "scalp", "grey matter")  # fat saturation
    assert ratio(b, "flair", "scalp", "grey matter") > 1.3 * ratio(a, "flair", "scalp", "grey matter")


def test_undersampling_keeps_the_measured_lines():
    cohort = load(4, undersampling=3, seed=3)
    full = load(4, seed=3)
    assert torch.equal(cohort["reference"], full.x)
    assert cohort["sampling"].shape == (4, 1, 64, 1)
    assert (cohort["sampling"].sum((1, 2, 3)) == 21).all()
    assert (cohort.x - full.x).pow(2).mean() > 1e-3
    assert torch.allclose(load(4, undersampling=1, seed=3).x, full.x, atol=1e-6)


def test_dose_changes_the_noise_and_little_else():
    switches = {"contrasts": ("ct", "t1"), "seed": 3, "n": 3}
    low, fine, usual = load(dose=0.1, **switches), load(dose=10, **switches), load(**switches)
    assert torch.equal(low["t1"], usual["t1"])
    brain = (low["labels"] >= LABEL["grey matter"]).float()
    brain = torch.nn.functional.avg_pool2d(brain, 5, 1, 2) > 0.99

    def noise(a, b):
        return float(((a - b) * 1500)[brain].std())  # HU

    assert noise(low.x, fine.x) / noise(low["reference"], fine.x) == pytest.approx(np.sqrt(10.1 / 1.1), rel=0.1)
    assert 2 < noise(low["reference"], fine.x) < 8
    shifted = load(dose=1.0, contrasts=("t1", "ct"), seed=3, n=2, misregistration_mm=10)
    assert (shifted["ct"] > 0.2).flatten(1).any(1).all()
    assert abs(((fine.x - usual.x) * 1500)[brain].mean()) < 3


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
    people = [heads._subject(0, "train", i, 3, switches) for i in range(60)]
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
        stretch = heads._subject(6, "train", index, 1, switches).scale[2]  # mm of the person for one of the template
        assert levels[index].diff().numpy() * stretch == pytest.approx(np.full(count - 1, mm), rel=1e-4)
    for name in ("brain_scale", "ventricle_mm", "sulci", "bias"):
        assert torch.equal(cohort[name], spread[name]), name  # the same people

    def neighbours(found):
        volumes = found.x.unflatten(0, (-1, count)).transpose(1, 2)
        assert volumes.shape == (3, 1, count, 64, 64) and torch.equal(volumes[1, 0, 2], found.x[count + 2, 0])
        return float(volumes.diff(dim=2).abs().mean())

    assert neighbours(cohort) < 0.6 * neighbours(spread)


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


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"contrasts": ("t3",)}, "unknown contrast 't3'; give one or more, each once, of t1, t2, flair, gre, ct"),
        ({"contrasts": ()}, "of t1, t2, flair, gre, ct"),
        ({"contrasts": ("t1", "t1")}, "each once"),
        ({"size": 63}, "multiple of 8 from 32 to 256"),
        ({"size": 24}, "multiple of 8 from 32 to 256"),
        ({"size": 512}, "multiple of 8 from 32 to 256"),
        ({"protocol": "C"}, "unknown protocol 'C'; there are A, B"),
        ({"lesion": 1.5}, "lesion is 1.5; give None or a probability"),
        ({"atrophy": "yes"}, "atrophy is 'yes'; give None or a probability"),
        ({"lesion": True}, "lesion is True"),
        ({"misregistration_mm": -1.0, "contrasts": ("t1", "ct")}, "give 0 to 10 mm"),
        ({"misregistration_mm": float("nan"), "contrasts": ("t1", "ct")}, "give 0 to 10 mm"),
        ({"misregistration_mm": 2.0}, "needs two contrasts"),
        ({"slices_per_subject": 0}, "whole number from 1 to 64"),
        ({"undersampling": 0.5}, "None or 1 to 8"),
        ({"undersampling": 2, "contrasts": ("ct",)}, "needs an MR contrast"),
        ({"dose": 0.0, "contrasts": ("ct",)}, "0.001 to 10"),
        ({"dose": 0.5}, "needs 'ct'"),
        ({"split": "dev"}, "train, val, test"),
        ({"levels": (30, 5)}, "levels is (30, 5); give (low, high) within -16 to 74 mm"),
        ({"levels": (-20, 5)}, "within -16 to 74 mm"),
        ({"levels": 10}, "levels is 10; give (low, high)"),
        ({"snr": 0}, "snr is 0; give 1 to 1,000,000"),
        ({"snr": None}, "snr is None; give 1 to"),
        ({"snr": float("inf")}, "snr is inf; give 1 to"),
        ({"ct_window": (100, -100), "contrasts": ("ct",)}, "ct_window is (100, -100); give (low, high)"),
        ({"ct_window": (-100, 100)}, "ct_window needs 'ct' among the contrasts, they are t1"),
        ({"complex": "yes"}, "complex is 'yes'; give True or False"),
        ({"complex": True, "contrasts": ("ct",)}, "complex needs an MR contrast"),
        ({"volume": 8}, "volume is 8; give None or (slices, mm)"),
        ({"volume": (1, 5.0)}, "a whole number from 2 to 64, and 0.5 to 20 mm"),
        ({"volume": (4, 0)}, "a whole number from 2 to 64, and 0.5 to 20 mm"),
        ({"volume": (4, 5.0), "slices_per_subject": 4}, "leave slices_per_subject at 1"),
        ({"volume": (5, 5.0)}, "n is 12; a volume has 5 slices, so give a multiple of it"),
        ({"volume": (12, 6)}, "12 slices 6 mm apart can need 76.7 mm of MNI z (in the smallest head), the levels"),
        ({"tumour": 0.5}, "lesion"),
    ],
)
def test_wrong_switches_say_what_is_right(switches, message):
    with pytest.raises(ValueError) as error:
        load(**switches)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
