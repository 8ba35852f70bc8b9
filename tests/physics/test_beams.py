"""Water-equivalent paths: geometric lengths, closed forms and a plain loop over rays as the oracle."""

import math

import pytest
import torch

from medgan_lib.physics import beams
from medgan_lib.physics.beams import range_error, range_errors, stopping_power, water_equivalent_path

VACUUM = ((-1000.0, 0.0), (0.0, 1.0), (3000.0, 2.5))  # so that what lies around a phantom adds nothing


def disc(size, radius, centre=(0.0, 0.0), fine=8):
    """HU (1, 1, size, size) of a disc of water in vacuum, averaged over pixels; lengths in pixels, from the middle."""
    line = (torch.arange(size * fine, dtype=torch.float64) + 0.5) / fine - size / 2
    inside = (line[:, None] - centre[0]) ** 2 + (line - centre[1]) ** 2 <= radius**2
    return 1000 * inside.double().reshape(size, fine, size, fine).mean((1, 3))[None, None] - 1000


def oracle(hu, spacing, angle, to=math.inf):
    """One image, one ray and one sample at a time, in Python's floats."""
    power = stopping_power(hu.double())[0, 0].tolist()
    h, w = len(power), len(power[0])
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    rays, deep = math.ceil(w * abs(c) + h * abs(s)), math.ceil(h * abs(c) + w * abs(s) + 1)
    paths = []
    for ray in range(rays):
        across, total = ray - (rays - 1) / 2, 0.0
        for k in range(beams.STEPS * deep):
            along = (k + 0.5) / beams.STEPS - deep / 2
            row, column = along * c - across * s + (h - 1) / 2, along * s + across * c + (w - 1) / 2
            value = 0.0
            for i in (math.floor(row), math.floor(row) + 1):
                for j in (math.floor(column), math.floor(column) + 1):
                    if 0 <= i < h and 0 <= j < w:
                        value += power[i][j] * (1 - abs(row - i)) * (1 - abs(column - j))
            begin = (k / beams.STEPS - deep / 2) * spacing
            total += value * min(max(to - begin, 0.0), spacing / beams.STEPS)
        paths.append(total)
    return torch.tensor(paths, dtype=torch.float64)


def test_stopping_power_at_and_between_nodes_and_beyond_them():
    hu = torch.tensor([-2000.0, -1000.0, -500.0, 0.0, 20.0, 41.46, 500.0, 1500.0, 3000.0, 9000.0], dtype=torch.float64)
    expected = [0.00106, 0.00106, 0.50053, 1.0, 1.02348, 1.0486756, 1.27845, 1.77955, 2.5312, 2.5312]
    torch.testing.assert_close(stopping_power(hu), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-6)
    # nowhere does more density stop less
    assert (stopping_power(torch.linspace(-1100, 3100, 2000, dtype=torch.float64)).diff() >= 0).all()
    assert stopping_power(torch.zeros(3)).dtype == torch.float32
    hu = torch.tensor([10.0, 100.0], dtype=torch.float64, requires_grad=True)
    stopping_power(hu).sum().backward()
    torch.testing.assert_close(hu.grad, torch.tensor([0.001174, 0.0005011], dtype=torch.float64), rtol=1e-4, atol=0)


@pytest.mark.parametrize("angle", [0, 90, 180, 270, -90, 720])
def test_water_has_the_geometric_length(angle):
    path = water_equivalent_path(torch.zeros(2, 1, 24, 40, dtype=torch.float64), 1.7, angle)
    length, rays = (24, 40) if angle % 180 == 0 else (40, 24)
    assert path.shape == (2, rays)
    torch.testing.assert_close(path, torch.full_like(path, 1.7 * length), rtol=1e-12, atol=0)


def test_a_slab_of_bone_in_water_adds_its_excess():
    hu = torch.zeros(1, 1, 30, 20, dtype=torch.float64)
    hu[..., 8:13, :] = 1500.0  # 5 rows
    excess = 5 * 2.0 * (1.0279 + 0.0005011 * 1500 - 1)
    path = water_equivalent_path(hu, 2.0, 0)
    torch.testing.assert_close(path, torch.full_like(path, 60 + excess), rtol=1e-7, atol=0)
    # across the slab: the rays in it, counted from the bottom, see nothing else
    path = water_equivalent_path(hu, 2.0, 90)[0]
    assert path.argmax() == 30 - 13 and (path > 41).sum() == 5
    # an oblique ray crosses it over 1 / cos; far from the ends of the slab the edges average out
    wide = torch.full((1, 1, 61, 181), -1000.0, dtype=torch.float64)
    wide[..., 25:35, :] = 0.0
    middle = water_equivalent_path(wide, 2.0, 30, calibration=VACUUM)[0]
    middle = middle[len(middle) // 2 - 20 : len(middle) // 2 + 20]
    torch.testing.assert_close(middle, torch.full_like(middle, 20 / math.cos(math.pi / 6)), rtol=0.01, atol=0)


def test_rays_are_numbered_and_directed_as_documented():
    hu = torch.full((1, 1, 5, 7), -1000.0)
    hu[..., 1, 5] = 0.0
    for angle, ray in ((0, 5), (90, 3), (180, 1), (270, 1)):
        path = water_equivalent_path(hu, 1.0, angle, calibration=VACUUM)[0]
        assert path.nonzero().flatten().tolist() == [ray]
        # just off the axis the heaviest ray lies at the same distance from the middle
        near = water_equivalent_path(hu, 1.0, angle + 0.5, calibration=VACUUM)[0]
        place = (near * (torch.arange(len(near)) - (len(near) - 1) / 2)).sum() / near.sum()
        assert abs(place - (ray - (len(path) - 1) / 2)) < 0.1
    # the pixel's far edges lie at -0.5 going down, 2.5 right, 1.5 up and -1.5 left of the middle
    for angle, edge in ((0, -0.5), (90, 2.5), (180, 1.5), (270, -1.5)):
        for beyond, share in ((-1.0, 0.0), (-0.75, 0.25), (0.0, 1.0), (1.0, 1.0)):
            path = water_equivalent_path(hu, 1.0, angle, to=edge + beyond, calibration=VACUUM)
            assert path.sum().item() == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize(("radius", "centre"), [(30.0, (0.0, 0.0)), (20.3, (0.3, -0.7)), (10.0, (5.0, 2.2))])
def test_a_disc_looks_the_same_from_everywhere(radius, centre):
    hu, squares = disc(80, radius, centre), []
    area = (hu + 1000).sum() / 1000
    for angle in torch.arange(0, 360, 7.5).tolist():
        path = water_equivalent_path(hu, 1.0, angle, calibration=VACUUM)[0]
        turn = math.radians(angle)
        across = torch.arange(len(path), dtype=torch.float64) - (len(path) - 1) / 2
        across = across + math.sin(turn) * centre[0] - math.cos(turn) * centre[1]
        error = (path - 2 * (radius**2 - across**2).clamp(min=0).sqrt())[across.abs() < 0.9 * radius]
        assert error.abs().max() < 0.75, angle
        assert path.sum() == pytest.approx(area.item(), rel=1e-3)
        squares.append(error.square().mean())
    assert torch.stack(squares).mean().sqrt() < 0.2


@pytest.mark.parametrize("angle", [33.0, 118.0, -75.5])
def test_rotated_rays_agree_with_a_plain_loop(angle):
    draw = torch.Generator().manual_seed(3)
    hu = torch.rand(2, 1, 9, 14, generator=draw, dtype=torch.float64) * 2500 - 1000
    for to in (None, 2.3):
        found = water_equivalent_path(hu, 1.3, angle, to=to)
        for image, path in zip(hu, found, strict=True):
            expected = oracle(image[None], 1.3, angle, math.inf if to is None else to)
            torch.testing.assert_close(path, expected, rtol=1e-10, atol=1e-10)
        single = water_equivalent_path(hu.float(), 1.3, angle, to=to)
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("angle", [0.0, 90.0, 40.0])
def test_depth_adds_up_and_can_differ_between_rays(angle):
    draw = torch.Generator().manual_seed(4)
    hu = torch.rand(2, 1, 12, 12, generator=draw, dtype=torch.float64) * 1000 - 500
    whole = water_equivalent_path(hu, 2.0, angle)
    torch.testing.assert_close(water_equivalent_path(hu, 2.0, angle, to=100.0), whole)
    assert (water_equivalent_path(hu, 2.0, angle, to=-100.0) == 0).all()
    # what lies before a plane and what, seen from the other side, lies behind it
    behind = water_equivalent_path(hu, 2.0, angle + 180, to=-3.1).flip(1)
    torch.testing.assert_close(water_equivalent_path(hu, 2.0, angle, to=3.1) + behind, whole)
    depths = torch.linspace(-9, 9, whole.shape[1], dtype=torch.float64)
    found = water_equivalent_path(hu, 2.0, angle, to=depths)
    for ray, depth in enumerate(depths.tolist()):
        torch.testing.assert_close(found[:, ray], water_equivalent_path(hu, 2.0, angle, to=depth)[:, ray])


def test_range_error_of_bone_taken_for_air_and_its_sign():
    truth = torch.zeros(1, 1, 40, 10)
    truth[..., :4, :] = 1500.0  # 4 rows of bone where the beam enters
    image = truth.clone()
    image[..., :4, :] = -1000.0  # as MR shows it
    missed = 4 * 1.5 * (1.0279 + 0.0005011 * 1500 - 0.00106)
    error = range_error(image, truth, 1.5, 0, to=0.0)
    torch.testing.assert_close(error, torch.full((1, 10), -missed), rtol=1e-5, atol=0)
    assert (range_error(truth, truth, 1.5, 25.0) == 0).all()
    # it stands where the target comes before the bone
    assert (range_error(image, truth, 1.5, 180, to=0.0) == 0).all()
    # an offset of 10 HU in 60 mm of soft tissue is 10 · 0.001174 · 60 = 0.70 mm
    soft = range_error(torch.full((1, 1, 40, 10), 30.0), torch.full((1, 1, 40, 10), 20.0), 1.5, 0)
    torch.testing.assert_close(soft, torch.full((1, 10), 0.7044), rtol=1e-3, atol=0)


def test_gradients_reach_the_image():
    hu = torch.linspace(-400, 800, 30, dtype=torch.float64).reshape(1, 1, 5, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: water_equivalent_path(x, 1.2, 35.0, to=1.0), hu)


def test_wrong_input_is_refused():
    hu = torch.zeros(1, 1, 8, 8)
    bad = hu.clone()
    bad[..., 3, 3] = torch.nan
    for image, spacing, angle, message in (
        (hu[0], 1.0, 0.0, "shape"),
        (hu.expand(1, 2, 8, 8), 1.0, 0.0, "shape"),
        (hu[:0], 1.0, 0.0, "shape"),
        (hu.int(), 1.0, 0.0, "float32"),
        (bad, 1.0, 0.0, "not finite"),
        (hu, 0.0, 0.0, "spacing"),
        (hu, -1.0, 0.0, "spacing"),
        (hu, math.nan, 0.0, "spacing"),
        (hu, 1.0, math.inf, "angle"),
    ):
        with pytest.raises(ValueError, match=message):
            water_equivalent_path(image, spacing, angle)
    with pytest.raises(ValueError, match="does not fit"):
        water_equivalent_path(hu, 1.0, 0.0, to=torch.zeros(5))
    with pytest.raises(ValueError, match="not finite"):
        water_equivalent_path(hu, 1.0, 0.0, to=math.nan)
    with pytest.raises(ValueError, match="one shape"):
        range_error(hu, hu[..., :4], 1.0, 0.0)
    for nodes, message in (
        (((0.0, 1.0),), "1 nodes"),
        (((0.0, 1.0), (0.0, 2.0)), "ascend"),
        (((0.0, 1.0), (math.nan, 2.0)), "not finite"),
        (((0.0, -1.0), (1.0, 2.0)), "negative"),
    ):
        with pytest.raises(ValueError, match=message):
            stopping_power(hu, nodes)


def test_range_errors_aim_at_the_middle_of_the_body_from_all_sides():
    """A disc of water 20 pixels off the middle, 10 % too dense in the image: every beam errs by 10 % of its radius."""
    truth = disc(96, 20, centre=(-12, 9)).float()
    image = truth + 100 * (truth > -500)
    found = range_errors(image, truth, 2.0, [0, 30, 90, 180, 270], truth > -500, within=3.0)
    dense = stopping_power(torch.tensor([100.0])) - 1
    torch.testing.assert_close(found, (40 * dense).expand(1, 5), rtol=0.03, atol=0)
    assert found.min() > 0
    thin = range_errors(2 * truth - image, truth, 2.0, [0, 90], truth > -500, within=3.0)
    torch.testing.assert_close(thin, torch.full((1, 2), 4.0), rtol=0.03, atol=0)  # 100 HU less is 10 % less


def test_an_error_beyond_the_target_costs_nothing():
    truth = torch.zeros(1, 1, 40, 40)
    image = truth.clone()
    image[..., 25:, :] = 500.0  # below the middle
    body = torch.ones_like(truth, dtype=torch.bool)
    from_above, from_below = range_errors(image, truth, 1.0, [0, 180], body)[0]
    assert from_above < 1e-3
    assert from_below == pytest.approx(15 * (stopping_power(torch.tensor(500.0)) - 1).item(), rel=0.03)
    with pytest.raises(ValueError, match="hold something"):
        range_errors(image, truth, 1.0, [0], ~body)
