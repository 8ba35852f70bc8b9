"""Layers, speckle and decibels against closed forms; simulated B-scans against their boundaries, masks and contrast."""

import math
import os

import numpy as np
import pytest
import torch
from scipy import special, stats

from medgan_lib import cohorts
from medgan_lib.cohorts.simulated import retinas
from medgan_lib.physics import interference as physics


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MEDGAN_PROGRESS", os.devnull)
        yield


# ---------------------------------------------------------------- physics


def test_layers_are_steps_blurred_by_the_resolution():
    depth = torch.arange(400.0) + 0.5
    boundaries = torch.tensor([[[100.0, 120.0], [300.0, 310.0]]])
    reflectivity = torch.tensor([1.0, 50.0, 8.0])[None, :, None].expand(1, 3, 2)
    sharp, soft = (physics.layered(depth, boundaries, reflectivity, r)[0] for r in (0.01, 6.0))
    for column, (top, bottom) in enumerate(((100, 300), (120, 310))):
        expected = torch.cat([torch.ones(top), torch.full((bottom - top,), 50.0), torch.full((400 - bottom,), 8.0)])
        torch.testing.assert_close(sharp[:, column], expected, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(soft[:, column].sum(), expected.sum(), rtol=1e-5, atol=0)
    exact = 1 + 49 * stats.norm.cdf((depth.numpy() - 100) / 6) - 42 * stats.norm.cdf((depth.numpy() - 300) / 6)
    np.testing.assert_allclose(soft[:, 0].numpy(), exact, rtol=1e-4, atol=1e-3)


def test_a_layers_number_counts_the_boundaries_above():
    found = physics.number(torch.tensor([5.0, 15.0, 25.0]), torch.tensor([[[10.0, 1.0], [20.0, 16.0]]]))
    assert found[0].tolist() == [[0, 1], [1, 1], [2, 2]]


@pytest.mark.parametrize("looks", [1.0, 4.0, 12.5])
def test_speckle_is_gamma_with_its_contrast(looks):
    grain = physics.speckle(looks, (400, 400), np.random.default_rng(0)).double()
    assert float(grain.mean()) == pytest.approx(1, abs=0.01)
    assert float(grain.std() / grain.mean()) == pytest.approx(looks**-0.5, rel=0.01)
    # in decibels the spread does not depend on the intensity: that of a log-gamma variable
    level = physics.to_db(torch.tensor([1.0, 300.0], dtype=torch.float64)[:, None, None] * grain)
    expected = 10 / math.log(10) * math.sqrt(special.polygamma(1, looks))
    torch.testing.assert_close(level.std((1, 2)), torch.full((2,), expected, dtype=torch.float64), rtol=0.02, atol=0)


def test_decibels_are_undone():
    intensity = torch.logspace(-3, 4, 50)
    torch.testing.assert_close(physics.from_db(physics.to_db(intensity)), intensity)
    assert float(physics.to_db(torch.tensor(100.0))) == pytest.approx(20)


# ---------------------------------------------------------------- the cohort


@pytest.fixture(scope="module")
def normal(own_cache):
    return cohorts.load("retinas", n=64, size=128)


@pytest.fixture(scope="module")
def sick(own_cache):
    return cohorts.load("retinas", "test", n=64, size=128, abnormal=1.0)


def centres(made):
    size = made.x.shape[-1]
    return (torch.arange(size) + 0.5) * 1000 * retinas.DEPTH / size


def test_boundaries_are_in_order_and_bound_the_layers(normal, sick):
    for made in (normal, sick):
        edges = made["boundaries"]
        assert edges.shape == (64, 11, 128) and float(edges.diff(dim=1).min()) > -1e-3
        below = centres(made)[:, None] > edges[:, :, None]
        assert torch.equal(made["layers"][:, 0], below.sum(1))
        torch.testing.assert_close(made["thickness"], (edges[:, 9] - edges[:, 0]).mean(1))
        assert float(edges[:, 0].min()) > 20 and float(edges[:, 9].max()) < 1000 * retinas.DEPTH - 100


def test_the_image_shows_the_layers_at_their_brightness(normal):
    level = normal.to_units(normal.x)
    means = torch.stack([level[normal["layers"] == k].mean() for k in range(len(retinas.LAYERS))])
    known = dict(zip(retinas.LAYERS, means.tolist(), strict=True))
    clear = centres(normal)[:, None] < normal["boundaries"][:, :1] - 25
    # the noise; the mean of a logarithm is below the logarithm of the mean
    assert -0.6 < float(level[:, 0][clear].mean()) < 0
    for bright, dark in (
        ("nerve fibres", "ganglion cells"),
        ("inner plexiform", "inner nuclear"),
        ("outer plexiform", "outer nuclear"),
        ("pigment epithelium", "outer segments"),
        ("outer segments", "outer nuclear"),
        ("choroid", "sclera"),
    ):
        assert known[bright] > known[dark] + 1.5, (bright, dark, known)


def test_the_pit_is_where_the_fovea_is(normal):
    inner = normal["boundaries"][:, 5] - normal["boundaries"][:, 0]  # ILM to the end of the inner layers
    near, far = normal["offset"].abs() < 0.15, normal["offset"].abs() > 1.2
    assert near.sum() > 3 and far.sum() > 1
    assert float(inner[near].amin(1).max()) < 25 and float(inner[far].amin(1).min()) > 90
    x = (torch.arange(128) + 0.5) * 6 / 128 - 3
    pit = x[inner[near].argmin(1)]
    assert float(pit.abs().max()) < 1.0
    assert 230 < float(normal["thickness"].mean()) < 340
    centre = (normal["boundaries"][:, 9] - normal["boundaries"][:, 0])[near].amin(1)
    assert 170 < float(centre.mean()) < 250


@pytest.mark.parametrize("index", range(4))
def test_speckle_has_the_contrast_it_says(normal, index):
    level = normal.to_units(normal.x)[index, 0].double()
    clear = centres(normal)[:, None] < normal["boundaries"][index, 0] - 30
    intensity = physics.from_db(level[clear])
    expected = float(normal["contrast"][index])
    assert 20**-0.5 <= expected <= 6**-0.5
    assert float(intensity.std() / intensity.mean()) == pytest.approx(expected, rel=0.06)
    assert float(intensity.mean()) == pytest.approx(1, abs=0.02)


def test_training_scans_are_normal_unless_asked(normal):
    assert not normal["label"].any() and not normal["mask"].any()
    assert torch.equal(normal.x, normal["healthy"])


def test_what_is_abnormal_is_inside_the_mask_or_moves_what_lies_above(sick):
    assert set(sick["label"].tolist()) == {1, 2} and abs(int((sick["label"] == 1).sum()) - 32) < 17
    mask = sick["mask"][:, 0]
    assert mask.flatten(1).any(1).all()
    level, healthy = (sick.to_units(sick[key], key)[:, 0] for key in ("x", "healthy"))
    # nothing changes in columns that it does not reach, nor in the vitreous, nor below Bruch's membrane
    deep = centres(sick)[:, None] > sick["boundaries"][:, 9:10] + 40
    changed = (level - healthy).abs() > 0.3
    assert float((changed & deep).float().sum() / deep.float().sum()) < 0.02
    above = sick["boundaries"][:, 0] - 20
    assert not (changed & (centres(sick)[:, None] < above[:, None])).any()
    # the speckle is the same: where nothing moved, the images agree
    assert float((~changed).float().mean()) > 0.5


def test_drusen_lift_the_pigment_epithelium_and_fluid_is_dark(sick):
    level, mask, edges = sick.to_units(sick.x)[:, 0], sick["mask"][:, 0], sick["boundaries"]
    step = 1000 * retinas.DEPTH / 128
    wet, dry = [], []
    for k in range(len(sick)):
        inside, height = level[k][mask[k]].mean(), mask[k].sum(0) * step
        if sick["label"][k] == 1:
            lifted = edges[k, 9] - edges[k, 8]
            thick = lifted.median() if (height > 0).float().mean() < 0.45 else lifted.amin()
            torch.testing.assert_close(height, (lifted - thick).clamp(min=0), rtol=0, atol=2.0 * step)
            dry.append(float(inside))
        else:
            wet.append(float(inside))
            # a pool is as high as it pushes the outer segments apart
            pool = (mask[k] & (sick["layers"][k, 0] == retinas.LAYERS.index("outer segments"))).sum(0) * step
            apart = edges[k, 8] - edges[k, 7]
            torch.testing.assert_close(pool, apart - apart.amin(), rtol=0, atol=2.5 * step)
            around = torch.nn.functional.max_pool2d(mask[k][None, None].float(), 7, 1, 3)[0, 0] > 0
            assert level[k][around & ~mask[k]].mean() > inside + 3
    assert max(wet) < min(dry) and np.mean(dry) > np.mean(wet) + 6


@pytest.mark.parametrize("kind, label", [("drusen", 1), ("fluid", 2)])
def test_only_the_kinds_asked_for_appear(kind, label):
    made = cohorts.load("retinas", n=40, size=32, abnormal=0.5, kinds=kind)
    assert set(made["label"].tolist()) == {0, label}


def test_a_scan_is_the_same_whatever_is_asked_for_beside_it(normal):
    few, small, ill = (
        cohorts.load("retinas", n=10, **more) for more in ({"size": 128}, {"size": 64}, {"size": 128, "abnormal": 1.0})
    )
    for key in few.tensors:
        torch.testing.assert_close(few[key].float(), normal[key][:10].float(), rtol=1e-3, atol=2e-3)
    torch.testing.assert_close(ill["healthy"], few.x, rtol=0, atol=1e-5)
    for key in ("offset", "contrast"):
        torch.testing.assert_close(small[key], few[key])
    between = (few["boundaries"][..., ::2] + few["boundaries"][..., 1::2]) / 2
    torch.testing.assert_close(small["boundaries"], between, rtol=0, atol=3.0)


def test_splits_and_seeds_share_nothing():
    parts = [cohorts.load("retinas", split, n=6, seed=s, size=32) for split in ("train", "val", "test") for s in (0, 1)]
    assert len({int(k) for part in parts for k in part.subjects}) == 36
    assert len({item.numpy().tobytes() for part in parts for item in part.x}) == 36
    assert parts[0].digest() == cohorts.load("retinas", n=6, size=32).digest()


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"size": 60}, "a multiple of 8 from 32 to 512, it is 60"),
        ({"abnormal": -0.1}, "abnormal of 'retinas' must be a number from 0 to 1, it is -0.1"),
        ({"abnormal": float("nan")}, "abnormal of 'retinas'"),
        ({"kinds": ("cysts",)}, "one or both, each once, of drusen, fluid"),
        ({"kinds": ()}, "one or both"),
    ],
)
def test_a_wrong_request_says_what_is_possible(wrong, message):
    with pytest.raises(ValueError, match=message):
        cohorts.load("retinas", **wrong)
