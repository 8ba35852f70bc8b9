"""Curves with known length, curvature and torsion; and the simulated vessels against what they were drawn with."""

import math
import os

import pytest
import torch

from medgan_lib import cohorts
from medgan_lib.cohorts.simulated import vessels as cohort
from medgan_lib.physics import vessels

F64 = torch.float64


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MEDGAN_PROGRESS", os.devnull)
        yield


def helix(points, radius=7.0, rise=2.0, turns=1.5, warp=0.0):
    """Right-handed, (1, 3, points), ``rise`` mm a radian; with ``warp`` the points are not equidistant."""
    u = torch.linspace(0, 1, points, dtype=F64)
    angle = 2 * math.pi * turns * (u + warp * torch.sin(2 * math.pi * u) / (2 * math.pi))
    return torch.stack([radius * angle.cos(), radius * angle.sin(), rise * angle])[None]


def of_helix(radius=7.0, rise=2.0, turns=1.5):
    """κ, τ, length"""
    square = radius**2 + rise**2
    return radius / square, rise / square, 2 * math.pi * turns * math.sqrt(square)


def rotation(seed):
    q, r = torch.linalg.qr(torch.randn(3, 3, dtype=F64, generator=torch.Generator().manual_seed(seed)))
    q = q * r.diagonal().sign()
    return q * q.det()


# ---------------------------------------------------------------- curves from what bends them


def test_frenet_serret_gives_the_helix_of_its_curvature_and_torsion():
    radius, rise = 7.0, 2.0
    kappa, tau, length = of_helix(radius, rise, 1.5)
    made = vessels.frenet_serret(
        torch.full((1, 40), kappa, dtype=F64), torch.full((1, 40), tau, dtype=F64), torch.tensor([length], dtype=F64)
    )
    angle = torch.linspace(0, 3 * math.pi, 41, dtype=F64)
    c = math.hypot(radius, rise)
    # the same helix in its own frame at the start: tangent, normal (towards the axis), binormal
    aside, inwards = radius * angle.sin(), radius * (1 - angle.cos())
    expected = torch.stack(
        [radius / c * aside + rise / c * rise * angle, inwards, -rise / c * aside + radius / c * rise * angle]
    )
    torch.testing.assert_close(made[0], expected, rtol=0, atol=1e-12)


def test_changing_curvature_converges_with_the_pieces():
    """κ = 2/(1 + s²): the tractrix-like curve x = 2 atan s - s ... has T = (cos φ, sin φ), φ = 2 atan s."""
    length = 3.0
    errors = []
    for k in (50, 100):
        s = (torch.arange(k, dtype=F64) + 0.5) * length / k
        made = vessels.frenet_serret(
            (2 / (1 + s**2))[None], torch.zeros(1, k, dtype=F64), torch.tensor([length], dtype=F64)
        )
        end = torch.tensor([2 * math.atan(length) - length, math.log(1 + length**2), 0.0], dtype=F64)
        errors.append(float((made[0, :, -1] - end).norm()))
    assert errors[1] < 2e-4 and 3.8 < errors[0] / errors[1] < 4.2


def test_bending_two_ways_at_once_is_a_circle():
    a, b = 0.03, -0.04
    made = vessels.bend(
        torch.tensor([a, b], dtype=F64)[None, :, None].expand(1, 2, 64), torch.tensor([60.0], dtype=F64)
    )
    torch.testing.assert_close(vessels.curvature(made), torch.full((1, 65), 0.05, dtype=F64), rtol=1e-9, atol=0)
    torch.testing.assert_close(vessels.torsion(made), torch.zeros(1, 65, dtype=F64), rtol=0, atol=1e-9)
    assert made[0, 1, -1] * a > 0 and made[0, 2, -1] * b > 0
    straight = vessels.bend(torch.zeros(2, 2, 10, dtype=F64), torch.tensor([5.0, 8.0], dtype=F64))
    torch.testing.assert_close(straight[:, :, -1], torch.tensor([[5.0, 0, 0], [8.0, 0, 0]], dtype=F64))


# ---------------------------------------------------------------- measures


@pytest.mark.parametrize("radius", [0.5, 20.0, 4000.0])
def test_a_circle_is_measured_exactly(radius):
    angle = torch.linspace(0, 1.9 * math.pi, 50, dtype=F64)
    circle = radius * torch.stack([angle.cos(), angle.sin(), 0 * angle])[None] + 3
    torch.testing.assert_close(vessels.curvature(circle), torch.full((1, 50), 1 / radius, dtype=F64), rtol=1e-9, atol=0)
    assert float(vessels.length(circle)) == pytest.approx(1.9 * math.pi * radius, rel=3e-6)
    chord = 2 * radius * math.sin(0.05 * math.pi)
    assert float(vessels.tortuosity(circle)) == pytest.approx(1.9 * math.pi * radius / chord - 1, rel=3e-6)
    assert float(vessels.torsion(circle).abs().max()) * radius < 1e-9


@pytest.mark.parametrize("hand", [1, -1])
def test_a_helix_is_measured_to_second_order(hand):
    kappa, tau, length = of_helix()
    found = []
    for points in (41, 81):
        curve = helix(points) * torch.tensor([1.0, 1.0, hand], dtype=F64)[:, None]
        errors = [
            float((vessels.curvature(curve) - kappa).abs().max()) / kappa,
            float((vessels.torsion(curve) - hand * tau).abs().max()) / tau,
            abs(float(vessels.length(curve)) - length) / length,
        ]
        found.append(errors)
    coarse, fine = found
    assert fine[0] < 3e-3 and fine[1] < 3e-3 and fine[2] < 1e-4
    assert all(a / b > 3.5 for a, b in zip(coarse, fine, strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_measures_ignore_where_a_curve_lies_and_scale_with_it(seed):
    curve = torch.cumsum(torch.randn(2, 3, 40, dtype=F64, generator=torch.Generator().manual_seed(seed)), -1)
    moved = rotation(seed) @ curve * 2.5 + torch.tensor([4.0, -90.0, 1e3], dtype=F64)[:, None]
    torch.testing.assert_close(vessels.length(moved), 2.5 * vessels.length(curve), rtol=1e-9, atol=0)
    torch.testing.assert_close(vessels.curvature(moved) * 2.5, vessels.curvature(curve), rtol=1e-7, atol=0)
    torch.testing.assert_close(vessels.torsion(moved) * 2.5, vessels.torsion(curve), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(vessels.tortuosity(moved), vessels.tortuosity(curve), rtol=1e-9, atol=0)
    torch.testing.assert_close(vessels.torsion(-curve), -vessels.torsion(curve), rtol=1e-9, atol=1e-12)


def test_clearance_is_the_gap_between_the_turns_of_a_helix():
    radius, rise = 10.0, 1.0  # turns 6.28 mm apart, less the tilt
    curve = helix(800, radius, rise, 2.5)
    wall = torch.full((1, 800), 2.2, dtype=F64)
    gap = 2 * math.pi * rise * radius / math.hypot(radius, rise)  # across to the next turn
    assert float(vessels.clearance(curve, wall)) == pytest.approx(gap - 4.4, abs=0.01)
    assert float(vessels.clearance(curve, 1.6 * wall)) == pytest.approx(gap - 7.04, abs=0.01)
    line = torch.stack([torch.linspace(0, 50, 60), torch.zeros(60), torch.zeros(60)])[None].double()
    assert float(vessels.clearance(line, wall[:, :60])) > 0


def test_daughters_follow_murray():
    parent, ratio = torch.tensor([2.0, 1.5, 3.0], dtype=F64), torch.tensor([1.0, 0.5, 0.0], dtype=F64)
    first, second = vessels.daughters(parent, ratio)
    torch.testing.assert_close(first**3 + second**3, parent**3)
    torch.testing.assert_close(second, ratio * first)
    assert float(first[0]) == pytest.approx(2 * 2 ** (-1 / 3)) and float(first[2]) == 3


def test_a_stenosis_is_as_narrow_and_as_long_as_it_is_said_to_be():
    away = torch.tensor([-9.0, -6.0, -4.5, -3.0, 0.0, 2.9, 4.5, 6.0, 50.0], dtype=F64)
    left = vessels.narrowing(away, torch.tensor(12.0, dtype=F64), torch.tensor(0.6, dtype=F64))
    torch.testing.assert_close(left, torch.tensor([1, 1, 0.7, 0.4, 0.4, 0.4, 0.7, 1, 1], dtype=F64))


# ---------------------------------------------------------------- sampling and frame


def test_resampled_points_are_equidistant_and_on_the_curve():
    _, _, length = of_helix()
    misses = []
    for points in (60, 120):
        uneven = helix(points, warp=0.6)
        made = vessels.resample(uneven, vessels.arc_length(uneven), 33)
        assert made.shape == (1, 3, 33)
        torch.testing.assert_close(made[..., [0, -1]], uneven[..., [0, -1]])
        steps = made.diff(dim=-1).norm(dim=1)
        misses.append(float((made - helix(33)).norm(dim=1).max()))
        assert float(steps.max() / steps.min()) - 1 < 2e-3
    assert misses[1] < 2e-3 * length / 32 and misses[0] / misses[1] > 6


def test_resampling_takes_other_channels_along_and_keeps_what_is_equidistant():
    curve = helix(65)
    along = vessels.arc_length(curve)
    radius = 3 - 0.02 * along
    made = vessels.resample(torch.cat([curve, radius[:, None]], 1), along, 33)
    torch.testing.assert_close(
        made[:, 3], 3 - 0.02 * torch.linspace(0, 1, 33, dtype=F64) * along[:, -1:], rtol=1e-9, atol=0
    )
    torch.testing.assert_close(made[:, :3], curve[..., ::2], rtol=0, atol=1e-3)


def test_the_frame_forgets_place_and_direction_but_not_handedness():
    curve = torch.cat([helix(50, 9, 2, 0.8), helix(50, 20, -4, 0.6)])
    made = vessels.to_frame(curve)
    for seed in range(5):
        moved = rotation(seed) @ curve + 100 * torch.randn(2, 3, 1, dtype=F64)
        torch.testing.assert_close(vessels.to_frame(moved), made, rtol=0, atol=1e-9)
    torch.testing.assert_close(vessels.to_frame(-curve), made * torch.tensor([1.0, 1.0, -1.0], dtype=F64)[:, None])
    assert float(made[..., 0].abs().max()) == 0
    assert float(made[:, 1:, -1].abs().max()) < 1e-9 and float(made[:, 0, -1].min()) > 0
    assert float(made[:, 1].mean(-1).min()) > 0 and float(made[:, 2].mean(-1).abs().max()) < 1e-9
    torch.testing.assert_close(vessels.torsion(made), vessels.torsion(curve), rtol=1e-6, atol=1e-9)
    axes = vessels.frame(curve)
    torch.testing.assert_close(axes @ axes.mT, torch.eye(3, dtype=F64).expand(2, 3, 3))
    torch.testing.assert_close(torch.linalg.det(axes), torch.ones(2, dtype=F64))


def test_a_frame_that_cannot_be_told_is_refused():
    closed = torch.stack(
        [torch.cos(torch.linspace(0, 2 * math.pi, 20)), torch.sin(torch.linspace(0, 2 * math.pi, 20)), torch.zeros(20)]
    )
    with pytest.raises(ValueError, match="ends where it starts"):
        vessels.to_frame(closed[None])
    with pytest.raises(ValueError, match="no second direction"):
        vessels.to_frame(torch.linspace(0, 1, 20).expand(1, 3, 20))


# ---------------------------------------------------------------- the cohort


@pytest.fixture(scope="module")
def made(own_cache):
    return cohorts.load("vessels", n=500)


def test_length_tortuosity_and_taper_are_those_of_the_tensors(made):
    mm = cohort.to_mm(made, made.x.double())
    line, radius = mm[:, :3], mm[:, 3]
    torch.testing.assert_close(vessels.length(line), made["length"].double(), rtol=3e-4, atol=0)
    torch.testing.assert_close(vessels.tortuosity(line), made["tortuosity"].double(), rtol=3e-3, atol=1e-3)
    torch.testing.assert_close(1 - radius[:, -1] / radius[:, 0], made["taper"].double(), rtol=0, atol=1e-5)
    steps = line.diff(dim=-1).norm(dim=1)
    assert float((steps.amax(1) / steps.amin(1)).max()) < 1.05
    assert float(radius.min()) > 0.3
    # a rougher vessel bends more
    order = made["undulation"].argsort()
    bend = vessels.curvature(line)[order].mean(1)
    assert bend[-150:].mean() > 1.2 * bend[:150].mean()


def test_x_is_centreline_and_radius_and_mm_are_undone(made):
    assert made.x.shape == (500, 4, 64) and made.x.abs().max() < 1
    assert torch.equal(made.x, torch.cat([made["centreline"], made["radius"]], 1))
    mm = cohort.to_mm(made, made.x)
    torch.testing.assert_close(mm[:, :3], made.to_units(made["centreline"], "centreline"))
    torch.testing.assert_close(mm[:, 3:], made.to_units(made["radius"], "radius"))
    torch.testing.assert_close(cohort.from_mm(made, mm), made.x, rtol=0, atol=1e-6)
    torch.testing.assert_close(vessels.to_frame(mm[:, :3].double()), mm[:, :3].double(), rtol=0, atol=1e-4)


def test_families_differ_as_they_are_said_to(made):
    left, right = made[made["label"] == 0], made[made["label"] == 1]
    assert abs(len(left) - 250) < 4 * math.sqrt(125)
    assert left["tortuosity"].median() < 0.5 < right["tortuosity"].median()
    assert left["taper"].mean() > right["taper"].mean() + 0.2
    # the volume that three thirds of the way span has the sign of their handedness
    thirds = [cohort.to_mm(part, part.x)[:, :3, ::21].diff(dim=-1) for part in (left, right)]
    assert (torch.linalg.det(thirds[0]) > 0).float().mean() > 0.9 and (
        torch.linalg.det(thirds[1]) < 0
    ).float().mean() > 0.9
    for family, part in zip(cohort.MAIN, (left, right), strict=True):
        mean, spread = cohort.SIZE["length"][cohort.FAMILIES.index(family)]
        assert float(part["length"].mean()) == pytest.approx(mean, abs=4 * spread / math.sqrt(len(part)))


def test_no_vessel_runs_through_itself(made):
    mm = cohort.to_mm(made, made.x.double())
    assert float(vessels.clearance(mm[:, :3], mm[:, 3]).min()) > 0


def test_a_vessel_is_the_same_whatever_is_asked_for_beside_it(made):
    few, fine = cohorts.load("vessels", n=20), cohorts.load("vessels", n=20, size=128)
    for key in few.tensors:
        torch.testing.assert_close(few[key], made[key][:20], rtol=1e-5, atol=1e-5)
    for key in ("label", "length", "taper", "tortuosity"):
        torch.testing.assert_close(fine[key], few[key])
    again = vessels.resample(fine.x.double(), torch.arange(128, dtype=F64).expand(20, -1), 64)
    torch.testing.assert_close(again.float(), few.x, rtol=0, atol=5e-3)


def test_splits_and_seeds_share_nothing():
    parts = [cohorts.load("vessels", split, n=30, seed=s) for split in ("train", "val", "test") for s in (0, 1)]
    assert len({int(k) for part in parts for k in part.subjects}) == 180
    assert len({item.numpy().tobytes() for part in parts for item in part.x}) == 180
    assert parts[0].digest() == cohorts.load("vessels", n=30).digest()


@pytest.mark.parametrize("size", [8, 20, 60, 520])
def test_a_wrong_size_says_what_is_possible(size):
    with pytest.raises(ValueError, match=f"number of points, a multiple of 8 from 16 to 512, it is {size}"):
        cohorts.load("vessels", size=size)
