"""Simulated glands: stain physics against an oracle, exact outlines, and patients that no two splits share."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.color import rgb_from_hed

from medgan_lib import cohorts
from medgan_lib.cohorts.simulated import glands
from medgan_lib.physics import stains

NAME = "glands_simulated"


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def made():
    return cohorts.load(NAME, n=60)


# ---------------------------------------------------------------- stains


def test_the_vectors_are_those_of_the_paper_and_of_scikit_image():
    mine, theirs = stains.vectors(torch.float64).numpy(), rgb_from_hed[:2]
    theirs = theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
    assert np.allclose(mine, theirs, atol=6e-3)  # they round to two digits
    assert np.allclose(np.linalg.norm(mine, axis=1), 1)


def test_beer_and_lambert_one_layer_behind_another_multiplies_light_and_adds_density():
    rng = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 4, 2, 5, 5, generator=rng, dtype=torch.float64)
    vectors = stains.vectors(torch.float64)
    through = stains.stained(first, vectors) * stains.stained(second, vectors)
    torch.testing.assert_close(through, stains.stained(first + second, vectors))
    one = torch.zeros(1, 2, 1, 1, dtype=torch.float64)
    one[:, 0] = 0.7
    by_hand = [10 ** (-0.7 * v) for v in vectors[0].tolist()]
    assert stains.stained(one, vectors).flatten().tolist() == pytest.approx(by_hand, rel=1e-12)


def test_amounts_undo_stained_also_where_each_image_has_its_own_vectors():
    rng = torch.Generator().manual_seed(1)
    amounts = 0.8 * torch.rand(3, 2, 4, 6, generator=rng, dtype=torch.float64)
    own = stains.vectors(torch.float64) * (1 + 0.1 * torch.randn(3, 2, 3, generator=rng, dtype=torch.float64))
    for vectors in (stains.vectors(torch.float64), own):
        found = stains.amounts(stains.stained(amounts, vectors), vectors)
        torch.testing.assert_close(found, amounts, rtol=0, atol=1e-12)
    swapped = stains.amounts(stains.stained(amounts, own), own.flip(1))
    torch.testing.assert_close(swapped.flip(1), amounts, rtol=0, atol=1e-12)


def test_no_light_has_a_finite_density_and_wrong_vectors_are_refused():
    assert float(stains.optical_density(torch.zeros(1))) == pytest.approx(np.log10(255), rel=1e-6)
    with pytest.raises(ValueError, match=r"vectors for \(2, 2, 3, 3\) amounts"):
        stains.stained(torch.rand(2, 2, 3, 3), stains.vectors()[:1])
    with pytest.raises(ValueError, match="vectors for"):
        stains.stained(torch.rand(2, 2, 3, 3), stains.vectors().expand(3, 2, 3))


# ---------------------------------------------------------------- the cohort


def test_images_are_in_8_bit_units_and_masks_are_where_instances_are(made):
    assert made.x.shape == (60, 3, 64, 64) and made.x.dtype == torch.float32
    grey = made.to_units(made.x)
    assert float(grey.min()) >= 0 and float(grey.max()) <= 255.001
    assert torch.equal(made["mask"], (made["instance"] > 0).long())
    share = made["mask"].float().mean((1, 2, 3))
    assert float(share.min()) > 0.1 and float(share.max()) < 0.7
    for image in made["instance"]:
        numbers = image.unique().tolist()
        assert numbers == list(range(len(numbers))) and len(numbers) > 3


def test_every_gland_is_one_piece_and_some_touch(made):
    pieces, glands = 0, 0
    for image in made["instance"][:, 0].numpy():
        for number in range(1, image.max() + 1):
            glands += 1
            mine = image == number
            if not (mine[0].any() or mine[-1].any() or mine[:, 0].any() or mine[:, -1].any()):
                sizes = np.bincount(ndimage.label(mine)[0].ravel())[1:]
                assert sizes.max() / sizes.sum() > 0.9, "a branch thinner than a pixel may come off, a gland may not"
        pieces += ndimage.label(image > 0)[1]
    assert pieces < glands


def test_the_wall_holds_haematoxylin_the_lumen_nothing_and_the_stroma_eosin(made):
    found = stains.amounts((made.x + 1) / 2, stains.vectors())
    inside = made["mask"][:, 0] > 0
    depth = torch.from_numpy(np.stack([ndimage.distance_transform_edt(m) for m in inside.numpy()]))
    blue, pink = found[:, 0], found[:, 1]
    wall, deep = inside & (depth <= 3), inside & (depth > 6)
    assert float(blue[wall].mean()) > 1.7 * float(blue[~inside].mean())
    assert float(pink[~inside].mean()) > 1.1 * float(pink[deep].mean())


def test_a_patient_has_one_slide_and_patients_differ(made):
    stain = made["stain"].view(12, 5, 2)
    assert torch.equal(stain, stain[:, :1].expand_as(stain)) and len(stain[:, 0].unique(dim=0)) == 12
    assert made.subjects.tolist() == [s for s in made.subjects.unique().tolist() for _ in range(5)]
    pink = stains.amounts((made.x + 1) / 2, stains.vectors())[:, 1]
    stroma = torch.stack([p[m[0] == 0].median() for p, m in zip(pink, made["mask"], strict=True)])
    within = stroma.view(12, 5).std(1).mean()
    assert float(stroma.view(12, 5).mean(1).std()) > 3 * float(within)


def test_splits_and_seeds_share_no_patient_and_no_image():
    parts = [cohorts.load(NAME, split, n=15) for split in ("train", "val", "test")] + [cohorts.load(NAME, n=15, seed=1)]
    assert len(set().union(*(part.subjects.tolist() for part in parts))) == 4 * 3
    assert len({image.numpy().tobytes() for part in parts for image in part.x}) == 60


def test_it_is_the_same_every_time_for_any_number_of_images(made, monkeypatch, tmp_path):
    few = cohorts.load(NAME, n=7)
    assert torch.equal(few.x, made.x[:7]) and torch.equal(few["instance"], made["instance"][:7])
    monkeypatch.setenv("MEDGAN_CACHE", str(tmp_path))
    assert cohorts.load(NAME, n=7).digest() == few.digest() != cohorts.load(NAME, n=7, seed=1).digest()


def test_the_same_glands_at_twice_the_size(made):
    fine = cohorts.load(NAME, n=6, size=128)
    assert fine.x.shape == (6, 3, 128, 128) and fine.spacing == (0.002, 0.002)
    coarse = torch.nn.functional.max_pool2d(fine["mask"].float(), 2)
    assert float((coarse == made["mask"][:6].float()).float().mean()) > 0.95


def test_two_hundred_images_take_seconds():
    start = time.process_time()
    glands._simulate("train", 64, 40, 0, 5)
    assert (time.process_time() - start) * 5 < 5


@pytest.mark.parametrize("switches, message", [
    ({"size": 24}, "multiple of 8 from 32 on, it is 24"),
    ({"size": 60}, "multiple of 8 from 32 on, it is 60"),
    ({"images_per_subject": 0}, "images_per_subject of 'glands_simulated' must be at least 1, it is 0"),
])  # fmt: skip
def test_a_wrong_request_says_what_is_possible(switches, message):
    with pytest.raises(ValueError, match=message):
        cohorts.load(NAME, **switches)
