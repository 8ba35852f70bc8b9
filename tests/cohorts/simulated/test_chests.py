"""Projection against closed forms; simulated radiographs against their own landmarks, outlines, masks and dose."""

import math
import os

import numpy as np
import pytest
import torch
from scipy import stats
from skimage.draw import polygon2mask

from medgan_lib import cohorts
from medgan_lib.cohorts.simulated import chests
from medgan_lib.cohorts.simulated.draws import Draws
from medgan_lib.physics import projection


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MEDGAN_PROGRESS", os.devnull)
        yield


# ---------------------------------------------------------------- physics


def test_an_ellipsoid_has_its_chord_and_its_volume():
    down, right = projection.grid(200, 100.0)
    axes, depth = torch.tensor([[20.0, 30.0]]), torch.tensor([12.0])
    path = projection.ellipsoid(down, right, torch.tensor([[5.0, -10.0]]), axes, depth)[0]
    assert float(path.sum()) * 0.25 == pytest.approx(4 / 3 * math.pi * 20 * 30 * 12, rel=2e-3)
    row, column = int((5 + 50) / 0.5), int((-10 + 15 + 50) / 0.5)  # half-way out to the right
    assert float(path[row, column]) == pytest.approx(24 * math.sqrt(1 - (15.25 / 30) ** 2 - (0.25 / 20) ** 2), rel=1e-4)


@pytest.mark.parametrize("width", [1.0, 2.5, 6.0])
def test_splatted_matter_keeps_volume_place_and_width(width):
    size, field = 128, 128.0
    points = torch.tensor([[[3.3, -7.45], [-20.0, 11.1]]])
    image = projection.splat(size, field, points, torch.tensor([[50.0, 0.0]]), width)[0].double()
    line = projection.grid(size, field)[0].double()
    assert float(image.sum()) == pytest.approx(50, rel=1e-3)
    for axis, at in ((1, 3.3), (0, -7.45)):
        profile = image.sum(axis) / image.sum()
        mean = float((profile * line).sum())
        assert mean == pytest.approx(at, abs=0.01)
        assert float((profile * (line - mean) ** 2).sum()) == pytest.approx(width**2, rel=0.12)
    both = projection.splat(size, field, points, torch.tensor([[50.0, 20.0]]), width)[0]
    alone = projection.splat(size, field, points, torch.tensor([[0.0, 20.0]]), width)[0]
    torch.testing.assert_close(both, image.float() + alone, rtol=1e-5, atol=1e-6)


def test_a_tube_of_points_is_its_cross_section_over_its_width():
    along = torch.linspace(-200, 200, 801)
    points = torch.stack([torch.full((801,), 0.25), along], -1)[None]
    path = projection.splat(64, 128.0, points, torch.full((1, 801), 9.0 * 0.5), 3.0)[0]  # 9 mm² in pieces of 0.5 mm
    line = projection.grid(64, 128.0)[0]
    expected = 9 / (math.sqrt(2 * math.pi) * 3) * torch.exp(-((line - 0.25) ** 2) / 18)
    torch.testing.assert_close(path[:, 32], expected, rtol=0.03, atol=0.01)
    torch.testing.assert_close(path[:, 0], path[:, 32], rtol=1e-2, atol=1e-3)  # nothing is missing at the border


def test_what_lies_outside_is_left_out():
    image = projection.splat(32, 64.0, torch.tensor([[[500.0, 0.0], [0.0, -90.0]]]), torch.ones(1, 2), 2.0)
    assert float(image.abs().max()) == 0


@pytest.mark.parametrize("mean", [8.0, 200.0])
def test_counts_have_the_moments_of_poisson(mean):
    white = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 700, 700))).float()
    out = projection.expose(torch.full_like(white, 1.5), torch.tensor([mean * math.exp(1.5)]), torch.zeros(1), white)
    counts = (torch.exp(-out.double()) * mean * math.exp(1.5)).flatten().numpy()
    np.testing.assert_allclose(counts, counts.round(), atol=1e-3)
    assert counts.mean() == pytest.approx(mean, rel=5e-3) and counts.var() == pytest.approx(mean, rel=0.02)
    assert stats.skew(counts) == pytest.approx(mean**-0.5, rel=0.1)


def test_without_noise_and_scatter_the_integrals_come_back():
    integrals = torch.rand(3, 16, 16) * 4
    many, none = torch.full((3,), 1e9), torch.zeros(3)
    torch.testing.assert_close(
        projection.expose(integrals, many, none, torch.zeros(3, 16, 16)), integrals, rtol=1e-4, atol=1e-4
    )
    hazy = projection.expose(integrals, many, none + 0.3, torch.zeros(3, 16, 16))
    primary = torch.exp(-integrals)
    torch.testing.assert_close(
        torch.exp(-hazy), primary + 0.3 * primary.mean((1, 2), keepdim=True), rtol=1e-4, atol=1e-5
    )


# ---------------------------------------------------------------- the cohort


@pytest.fixture(scope="module")
def made(own_cache):
    return cohorts.load("chests", n=48, size=128)


def at(made, places):
    """Row and column (n, ..., 2) of places in mm."""
    field = made.spacing[0] * made.x.shape[-1]
    return ((places + field / 2) / made.spacing[0]).long().clamp(0, made.x.shape[-1] - 1)


def test_outlines_enclose_the_labels():
    draws, size = Draws("chests", "train", 7, range(6), chests._NUMBERS), 256
    down, right = projection.grid(size, chests.FIELD)
    lungs = [chests._Lung(draws, side) for side in (-1.0, 1.0)]
    chests._match(lungs, draws)
    for shape in (*lungs, chests._Heart(draws, lungs)):
        inside = shape.inside(down[None, :, None], right[None, None]).numpy()
        for mask, outline in zip(inside, shape.outline().numpy(), strict=True):
            drawn = polygon2mask((size, size), (outline + chests.FIELD / 2) * size / chests.FIELD - 0.5)
            assert (mask & drawn).sum() / (mask | drawn).sum() > 0.985


def test_every_landmark_lies_on_a_line_of_the_sketch(made):
    ink = torch.nn.functional.max_pool2d(made.to_units(made["sketch"], "sketch"), 3, 1, 1)[:, 0]
    rows, columns = at(made, made["landmarks"]).unbind(-1)
    found = ink[torch.arange(len(made))[:, None], rows, columns]
    for name, value in zip(chests.LANDMARKS, found.amin(0).tolist(), strict=True):
        assert value > 0.6, name
    assert 0.02 < float((ink > 0.5).float().mean()) < 0.35


def test_landmarks_are_where_they_should_be(made):
    place = dict(zip(chests.LANDMARKS, made["landmarks"].unbind(1), strict=True))
    labels = made["labels"][:, 0]
    step = made.spacing[0]
    line = projection.grid(labels.shape[-1], chests.FIELD)[0]
    heart, far = labels == 3, torch.tensor(999.0)
    columns = heart.any(1)
    ends = (line.expand_as(columns).where(columns, far).amin(1), line.expand_as(columns).where(columns, -far).amax(1))
    for name, end in zip(("right heart border", "left heart border"), ends, strict=True):
        assert float((place[name][:, 1] - end).abs().max()) < step
    lung = torch.zeros_like(heart)
    for number, side in ((1, "right"), (2, "left")):
        mine = labels == number
        lung |= mine
        rows = mine.any(2)
        top = line.expand_as(rows).where(rows, far).amin(1)
        assert float((place[f"{side} apex"][:, 0] - top).abs().max()) < 2.5 * step
        low = line.expand_as(rows).where(rows, -far).amax(1)
        assert float((place[f"{side} costophrenic angle"][:, 0] - low).abs().max()) < 4 * step  # a sharp corner
        assert (place[f"{side} dome"][:, 0] < place[f"{side} costophrenic angle"][:, 0] - 15).all()
    wide = line.expand_as(lung.any(1)).where(lung.any(1), torch.tensor(0.0))
    ratio = (columns.sum(1) * step) / (wide.amax(1) - wide.amin(1) + step)
    torch.testing.assert_close(ratio, made["heart_ratio"], rtol=0, atol=0.02)
    assert (place["carina"][:, 1].abs() < 12).all() and (place["right dome"][:, 1] < 0).all()


def test_the_diaphragm_of_the_image_is_at_the_dome():
    made = cohorts.load("chests", n=24, size=128, opacity=0.0, dose=100.0)
    image, step = made.to_units(made.x)[:, 0], made.spacing[0]
    for name in ("right dome", "left dome"):
        rows, columns = at(made, made["landmarks"][:, chests.LANDMARKS.index(name)]).unbind(-1)
        clear = 0
        for k, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
            if (made["labels"][k, 0, row - 8 : row + 8, column] != 3).all():  # else the heart hides it
                rise = image[k, row - 8 : row + 9, column].diff()
                assert abs(float(rise.argmax()) - 7.5) * step < 5, name
                clear += 1
        assert clear > (20 if name == "right dome" else 3)


def test_lungs_are_darker_than_heart_and_abdomen(made):
    image, labels = made.to_units(made.x)[:, 0], made["labels"][:, 0]
    lung = ((labels == 1) | (labels == 2)) & ~made["mask"][:, 0]
    for item, dark, heart in zip(image, lung, labels == 3, strict=True):
        assert item[heart].mean() - item[dark].mean() > 0.35
        assert (item[heart].quantile(0.1) > item[dark].quantile(0.6)).all()
    assert 0 < float((made.x == 1).float().mean()) + 1e-9 < 0.02  # hardly anything is clipped as too dense


def test_an_opacity_is_where_it_is_said_to_be(made):
    change = made.to_units(made.x - made["healthy"] - 1)[:, 0] - chests.WINDOW[0]
    mask, drawn = made["mask"][:, 0], made["label"] == 1
    assert 12 < int(drawn.sum()) < 36
    assert float(change[~drawn].abs().max()) < 1e-5 and not mask[~drawn].any() and not made["extent"][~drawn].any()
    near = torch.nn.functional.max_pool2d(mask[:, None].float(), 15, 1, 7)[:, 0] > 0
    assert float((change * ~near).abs().max()) < 0.03
    labels, line = made["labels"][:, 0], projection.grid(128, chests.FIELD)[0]
    for k in torch.where(drawn)[0].tolist():
        inside = mask[k] & (labels[k] != 3)  # behind the heart there is less air to replace
        assert mask[k].any()
        if inside.sum() > 30:
            assert change[k][inside].mean() > 8 * change[k][~near[k]].abs().mean() and change[k][inside].median() > 0.04
        rows, columns = mask[k].any(1), mask[k].any(0)
        for seen, axis in ((line[rows], 0), (line[columns], 1)):
            centre, half = float(made["centre"][k, axis]), float(made["extent"][k, axis])
            assert seen.min() > centre - 1.3 * half - 3 and seen.max() < centre + 1.3 * half + 3
    area = mask[drawn].sum((1, 2)) * made.spacing[0] ** 2
    whole = math.pi * made["extent"][drawn].prod(1)
    assert (area < 1.15 * whole).all() and float((area / whole).median()) > 0.85


# ---------------------------------------------------------------- the pacemaker


@pytest.fixture(scope="module")
def implanted(own_cache):
    return cohorts.load("chests", n=40, size=128, device=1.0, dose=100.0)


def photons(made, name="x"):
    """Counts over those that reach a pixel without a patient, (n, size, size)."""
    return torch.exp(-made.to_units(made[name].double(), name))[:, 0]


def test_the_default_is_what_it_was_before_there_were_devices():
    made = cohorts.load("chests", n=3, size=64)
    assert [key for key in made.tensors if "device" in key or key == "lead"] == []
    seen = [[0.115985, 0.811569, 0.211097], [0.198898, 0.747638, 0.127528], [-0.227364, 0.508995, -0.157877]]
    torch.testing.assert_close(made.x[:, 0, 40, [10, 32, 50]], torch.tensor(seen), rtol=0, atol=2e-3)
    torch.testing.assert_close(made.x.mean((1, 2, 3)), torch.tensor([0.182233, 0.099908, -0.112818]), rtol=0, atol=1e-4)


def test_behind_the_plate_there_is_what_its_thickness_lets_through(implanted):
    """I = P exp(−μ d) + scatter: the slope of the rays with a plate over those without one is exp(−μ d)."""
    rays, free = photons(implanted), photons(implanted, "without_device")
    edge = torch.nn.functional.max_pool2d(1 - implanted["device"].float(), 5, 1, 2)[:, 0] > 0
    inner = implanted["device"][:, 0] & ~edge & (implanted.x[:, 0] < 1)  # inside the window
    measured = [k for k in range(len(implanted)) if inner[k].sum() > 40]
    assert len(measured) > 35
    for k in measured:
        slope = stats.linregress(free[k][inner[k]].numpy(), rays[k][inner[k]].numpy()).slope
        assert -math.log(slope) == pytest.approx(0.3 * float(implanted["device_size"][k, 2]), rel=0.03)


def test_a_device_changes_nothing_elsewhere_but_the_scatter(implanted):
    """What it holds back is missing from the scatter, which is one number for the whole image."""
    lost = photons(implanted, "without_device") - photons(implanted)
    line = projection.grid(128, chests.FIELD)[0]
    pixels = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    for k in range(len(implanted)):
        near = torch.nn.functional.max_pool2d(implanted["device"][k].float(), 9, 1, 4)[0] > 0
        wire = torch.cdist(pixels, implanted["lead"][k]).amin(1).reshape(128, 128) < 8
        shown = implanted.x[k, 0].abs() < 1  # inside the window
        rest = lost[k][~near & ~wire & shown]
        assert 0 < float(rest.mean()) < 0.01 and float(rest.std()) < 2e-5
    torch.testing.assert_close(implanted["sketch"], cohorts.load("chests", n=40, size=128, dose=100.0)["sketch"])


def test_a_plate_has_the_area_of_its_outline_and_lies_in_the_upper_left_chest(implanted):
    """|2 v / h|^p + |2 u / w|^p = 1 encloses h w Γ(1 + 1/p)² / Γ(1 + 2/p)."""
    mask, p = implanted["device"][:, 0], chests.ROUND
    whole = implanted["device_size"][:, :2].prod(1) * math.gamma(1 + 1 / p) ** 2 / math.gamma(1 + 2 / p)
    area = mask.sum((1, 2)) * implanted.spacing[0] ** 2
    assert ((area / whole - 1).abs() < 0.08).all() and float((area / whole).mean()) == pytest.approx(1, abs=0.01)
    assert 1000 < float(area.mean()) < 1400  # mm²
    line = projection.grid(128, chests.FIELD)[0]
    middle = torch.stack([mask.sum(2) * line, mask.sum(1) * line], 1).sum(2) / mask.sum((1, 2))[:, None]
    torch.testing.assert_close(middle, implanted["device_centre"], rtol=0, atol=0.5)
    place = dict(zip(chests.LANDMARKS, implanted["landmarks"].unbind(1), strict=True))
    down, right = implanted["device_centre"].unbind(1)
    assert (down > place["left apex"][:, 0] + 50).all() and (down < place["left dome"][:, 0] - 40).all()
    assert (right > place["aortic knob"][:, 1]).all()
    assert (right < place["left costophrenic angle"][:, 1]).all() and float(right.std()) > 5


def test_a_lead_runs_from_the_plate_to_the_heart(implanted):
    lead, labels = implanted["lead"], implanted["labels"][:, 0]
    size, centre = implanted["device_size"], implanted["device_centre"]
    start = (lead[:, 0] - centre).norm(dim=1)
    torch.testing.assert_close(start, size[:, 0] / 2, rtol=1e-3, atol=0)
    rows, columns = at(implanted, lead[:, -1]).unbind(-1)
    assert (labels[torch.arange(len(lead)), rows, columns] == 3).all()
    step = lead.diff(dim=1).norm(dim=-1)
    assert float((step.amax(1) / step.amin(1)).max()) < 1.15 and 200 < float(step.sum(1).mean()) < 450
    shadow, row = (implanted.x - implanted["without_device"])[:, 0], torch.arange(len(lead))[:, None]
    on, beside = (shadow[row, *at(implanted, lead[:, 20:] + shift).unbind(-1)].median(1).values for shift in (0, 9))
    # a patient too dense for the window shows none
    shown = implanted["without_device"][:, 0][row, *at(implanted, lead[:, 20:]).unbind(-1)].median(1).values < 0.9
    assert shown.sum() > 30 and (on - beside > 0.01)[shown].all() and (beside.abs() < 0.006).all()


def test_device_and_opacity_are_apart(implanted):
    """`healthy` lacks the opacity alone, `without_device` the device alone; the rest of a subject stays."""
    bare, clear = (cohorts.load("chests", n=40, size=128, dose=100.0, **more) for more in ({}, {"opacity": 0.0}))
    both = cohorts.load("chests", n=40, size=128, dose=100.0, device=1.0, opacity=0.0)
    assert torch.equal(implanted["without_device"], bare.x) and torch.equal(both["without_device"], clear.x)
    assert torch.equal(implanted["healthy"], both.x) and not torch.equal(implanted["healthy"], bare["healthy"])
    for key in bare.tensors.keys() - {"x", "healthy"}:
        assert torch.equal(implanted[key], bare[key]), key
    drawn = implanted["label"] == 1
    assert torch.equal(implanted.x[~drawn], implanted["healthy"][~drawn])
    assert bool(((implanted.x != implanted["healthy"]).flatten(1).any(1) == drawn).all())


def test_so_many_have_a_device_and_the_others_none():
    made = cohorts.load("chests", n=400, size=32, device=0.3)
    has = made["has_device"] == 1
    assert abs(float(has.float().mean()) - 0.3) < 4 * math.sqrt(0.3 * 0.7 / 400)
    assert abs(np.corrcoef(has, made["label"])[0, 1]) < 4 / math.sqrt(400)
    assert torch.equal(made.x[~has], made["without_device"][~has]) and not torch.equal(made.x, made["without_device"])
    for key in ("device", "device_centre", "device_size", "lead"):
        assert not made[key][~has].any() and made[key][has].flatten(1).any(1).all(), key


def test_noise_follows_the_dose():
    clean, low, lower = (cohorts.load("chests", n=12, size=64, dose=dose) for dose in (100.0, 0.05, 0.0125))
    spread = []
    for part in (low, lower):
        noise = (part.to_units(part.x) - clean.to_units(clean.x))[clean["labels"] == 3]
        spread.append(float(noise.std()))
    assert spread[1] / spread[0] == pytest.approx(2, rel=0.05) and spread[0] > 0.01
    assert torch.equal(clean["landmarks"], low["landmarks"])


def test_a_chest_is_the_same_whatever_is_asked_for_beside_it(made):
    few, small, clear = (
        cohorts.load("chests", n=10, **more) for more in ({"size": 128}, {"size": 64}, {"size": 128, "opacity": 0.0})
    )
    for key in few.tensors:
        torch.testing.assert_close(few[key].float(), made[key][:10].float(), rtol=1e-3, atol=2e-3)
    for key in ("landmarks", "heart_ratio", "label", "centre", "extent"):
        torch.testing.assert_close(small[key], few[key], rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(clear.x, few["healthy"], rtol=0, atol=1e-5)
    coarse = torch.nn.functional.avg_pool2d(few.x, 2)
    assert float((coarse - small.x).abs().mean()) < 0.02


def test_splits_and_seeds_share_nothing():
    parts = [cohorts.load("chests", split, n=6, seed=s, size=32) for split in ("train", "val", "test") for s in (0, 1)]
    assert len({int(k) for part in parts for k in part.subjects}) == 36
    assert len({item.numpy().tobytes() for part in parts for item in part.x}) == 36
    assert parts[0].digest() == cohorts.load("chests", n=6, size=32).digest()


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"size": 72}, "a multiple of 16 from 32 to 512, it is 72"),
        ({"size": 1024}, "a multiple of 16 from 32 to 512"),
        ({"opacity": 1.5}, "opacity of 'chests' must be a number from 0 to 1, it is 1.5"),
        ({"opacity": True}, "opacity of 'chests' must be a number"),
        ({"dose": 0.0}, "dose of 'chests' must be a number from 0.001 to 100"),
        ({"dose": float("nan")}, "dose of 'chests'"),
        ({"device": -0.1}, "device of 'chests' must be a number from 0 to 1, it is -0.1"),
        ({"device": 1.01}, "device of 'chests' must be a number from 0 to 1, it is 1.01"),
        ({"device": True}, "device of 'chests' must be a number from 0 to 1, it is True"),
        ({"device": "pacemaker"}, "device of 'chests' must be a number from 0 to 1, it is 'pacemaker'"),
    ],
)
def test_a_wrong_request_says_what_is_possible(wrong, message):
    with pytest.raises(ValueError, match=message):
        cohorts.load("chests", **wrong)
