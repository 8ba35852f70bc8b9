"""What describes a vessel, on shapes whose numbers are known, and distances between sets of vessels."""

import math

import pytest
import torch

from medgan_lib import cohorts, metrics
from medgan_lib.cohorts.simulated import vessels as cohort
from medgan_lib.physics import vessels

F64 = torch.float64


def helix(radius=7.0, rise=2.0, turns=1.5, points=200, hand=1):
    angle = torch.linspace(0, 2 * math.pi * turns, points, dtype=F64)
    return torch.stack([radius * angle.cos(), hand * radius * angle.sin(), rise * angle])


def with_radius(line, radius):
    return torch.cat([line, radius.expand(1, line.shape[-1])])[None]


def test_a_helix_has_its_length_curvature_torsion_and_tortuosity():
    square = 7.0**2 + 2.0**2
    length = 2 * math.pi * 1.5 * math.sqrt(square)
    for hand in (1, -1):
        found = metrics.vessel_measures(with_radius(helix(hand=hand), torch.full((200,), 1.5, dtype=F64)))
        assert float(found["length (mm)"]) == pytest.approx(length, rel=1e-4)
        assert float(found["curvature (1/mm)"]) == pytest.approx(7 / square, rel=5e-3)
        assert float(found["torsion (1/mm)"]) == pytest.approx(hand * 2 / square, rel=1e-2)
        ends = math.hypot(14, 2 * 3 * math.pi)
        assert float(found["tortuosity"]) == pytest.approx(length / ends - 1, rel=1e-3)
        assert float(found["radius (mm)"]) == pytest.approx(1.5)
        for flat in ("taper", "narrowest", "widest"):
            assert float(found[flat]) == pytest.approx(0, abs=1e-9)


def test_the_radius_is_measured_against_its_own_straight_line():
    straight = torch.linspace(2.0, 1.0, 200, dtype=F64)
    found = metrics.vessel_measures(with_radius(helix(), straight))
    assert float(found["taper"]) == pytest.approx(0.5)
    assert float(found["narrowest"]) == pytest.approx(0, abs=1e-9) == float(found["widest"])
    waist, bulge = straight.clone(), straight.clone()
    waist[100:104] *= 0.4
    bulge[100:104] *= 1.8
    narrow, wide = (metrics.vessel_measures(with_radius(helix(), r)) for r in (waist, bulge))
    assert float(narrow["narrowest"]) == pytest.approx(0.6, abs=0.02) and float(narrow["widest"]) < 0.02
    assert float(wide["widest"]) == pytest.approx(0.8, abs=0.05) and float(wide["narrowest"]) < 0.02
    for part, seen in ((0.93, False), (0.85, True)):
        slight = straight.clone()
        slight[100:104] *= part
        found = float(metrics.vessel_measures(with_radius(helix(), slight))["narrowest"])
        assert found == pytest.approx(1 - part, abs=0.01) if seen else found == 0


def test_a_jitter_that_no_scanner_sees_changes_little(halves):
    """One percent of a step and of a radius, at every point by itself: less than a tenth of what it would be there."""
    real = halves[0]
    step = 0.02 * torch.ones(len(real), 3, 1)
    noisy = real.clone()
    noisy[:, :3] += step * torch.randn(len(real), 3, 64, generator=torch.Generator().manual_seed(0))
    noisy[:, 3:] *= 1 + 0.01 * torch.randn(len(real), 1, 64, generator=torch.Generator().manual_seed(1))
    before, after = metrics.vessel_measures(real), metrics.vessel_measures(noisy)
    bend = vessels.curvature(noisy[:, :3].double()).mean() / vessels.curvature(real[:, :3].double()).mean() - 1
    assert (after["curvature (1/mm)"] / before["curvature (1/mm)"]).mean() - 1 < 0.1 * bend
    for name in ("narrowest", "widest"):
        assert float((after[name] - before[name]).abs().median()) < 0.005


def test_without_a_radius_there_are_the_measures_of_the_line():
    with_it = metrics.vessel_measures(with_radius(helix(), torch.ones(200, dtype=F64)))
    without = metrics.vessel_measures(helix()[None])
    assert list(without) == ["length (mm)", "curvature (1/mm)", "torsion (1/mm)", "tortuosity"]
    assert all(torch.equal(without[name], with_it[name]) for name in without)


@pytest.fixture(scope="module")
def halves():
    made = cohorts.load("vessels", "test", n=400)
    return cohort.to_mm(made, made.x).chunk(2)


def test_the_distance_sees_each_measure_and_not_which_belong_together(halves):
    real, other = halves
    floor = metrics.vessel_distance(real, other)
    assert metrics.vessel_distance(real, real) == 0 and 0 < floor < 0.15
    longer = other * torch.tensor([2.0, 2.0, 2.0, 1.0])[:, None]
    assert metrics.vessel_distance(real, longer) > floor + 0.15
    exchanged = torch.cat([other[:, :3], other[torch.randperm(len(other)), 3:]], 1)
    assert metrics.vessel_distance(real, exchanged) == pytest.approx(floor)


def test_over_a_gaussian_is_0_for_real_vessels_and_1_for_the_gaussian(halves):
    real, other = halves
    gaussian = real * torch.tensor([2.0, 2.0, 2.0, 1.5])[:, None]
    assert metrics.over_gaussian_vessels(real, other, gaussian, other) == 0
    assert metrics.over_gaussian_vessels(real, other, gaussian, gaussian) == 1
    with pytest.raises(ValueError, match="cannot tell a Gaussian"):
        metrics.over_gaussian_vessels(real, other, other, real)
