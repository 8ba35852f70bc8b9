"""What describes a vessel, on shapes whose numbers are known, and distances between sets of vessels."""

import math

import pytest
import torch

from medgan_lib import cohorts, metrics
from medgan_lib.cohorts.simulated import vessels as cohort

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
        assert float(found["curvature (1/mm)"]) == pytest.approx(7 / square, rel=1e-3)
        assert float(found["torsion (1/mm)"]) == pytest.approx(hand * 2 / square, rel=1e-2)
        ends = math.hypot(14, 2 * 3 * math.pi)
        assert float(found["tortuosity"]) == pytest.approx(length / ends - 1, rel=1e-3)
        assert float(found["radius (mm)"]) == pytest.approx(1.5)
        for flat in ("taper", "narrowest", "widest"):
            assert float(found[flat]) == pytest.approx(0, abs=1e-9)


def test_the_radius_is_measured_against_its_own_straight_line():
    straight = torch.linspace(2.0, 1.0, 201, dtype=F64)
    found = metrics.vessel_measures(with_radius(helix(points=201), straight))
    assert float(found["taper"]) == pytest.approx(0.5)
    assert float(found["narrowest"]) == pytest.approx(0, abs=1e-9) == float(found["widest"])
    waist, bulge = straight.clone(), straight.clone()
    waist[100] *= 0.4
    bulge[100] *= 1.8
    narrow, wide = (metrics.vessel_measures(with_radius(helix(points=201), r)) for r in (waist, bulge))
    assert float(narrow["narrowest"]) == pytest.approx(0.6, abs=0.01) and float(narrow["widest"]) < 0.02
    assert float(wide["widest"]) == pytest.approx(0.8, abs=0.02) and float(wide["narrowest"]) < 0.02


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
