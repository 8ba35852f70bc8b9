"""Curves by their steps, and surfaces of tubes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from curves import F64, helix
from torch import Tensor

from medgan_lib.physics import tubes


def straight(points: int = 9, length: float = 20.0) -> Tensor:
    line = torch.zeros(3, points, dtype=F64)
    line[0] = torch.linspace(0, length, points, dtype=F64)
    return line


def bend(points: int, radius: float = 12.0, angle: float = 1.5 * math.pi) -> Tensor:
    """A piece of a circle in a plane that is no coordinate plane."""
    turned = torch.linspace(0, angle, points, dtype=F64)
    flat = torch.stack([radius * turned.cos(), radius * turned.sin(), torch.zeros_like(turned)])
    c, s = math.cos(0.7), math.sin(0.7)
    return torch.tensor([[1, 0, 0], [0, c, -s], [0, s, c]], dtype=F64) @ flat


def constant(value: float, points: int) -> Tensor:
    return torch.full((points,), value, dtype=F64)


def test_a_walk_along_its_steps_is_the_curve() -> None:
    curve = torch.stack([helix(33), bend(33)])
    curve = curve - curve[..., :1]
    torch.testing.assert_close(tubes.walk(tubes.steps(curve)), curve, rtol=0, atol=1e-12)
    shifted = tubes.steps(curve + torch.tensor([5.0, -3.0, 40.0])[:, None])
    torch.testing.assert_close(shifted, tubes.steps(curve), rtol=0, atol=1e-12)


def test_an_error_of_one_step_moves_what_follows_and_keeps_the_rest() -> None:
    curve = helix(33)[None]
    ahead = tubes.steps(curve)
    ahead[:, :, 10] += torch.tensor([1.0, 2.0, -1.0])
    moved = tubes.walk(ahead) - tubes.walk(tubes.steps(curve))
    assert moved[..., :11].abs().max() < 1e-12
    torch.testing.assert_close(moved[0, :, 11:], torch.tensor([1.0, 2, -1], dtype=F64)[:, None].expand(3, 22))
    ahead[:, :, -1] += 100  # never taken
    torch.testing.assert_close(tubes.walk(ahead), moved + tubes.walk(tubes.steps(curve)))


def polygon(sides: int) -> float:
    return sides / 2 * math.sin(2 * math.pi / sides)


@dataclass(frozen=True)
class Case:
    curve: Tensor
    radius: Tensor
    volume: float  # of the round tube
    tolerance: float


L = 20.0


CASES = {
    "cylinder": Case(straight(), constant(2.0, 9), math.pi * 4 * L, 1e-12),
    "cone": Case(straight(), torch.linspace(3, 1, 9, dtype=F64), math.pi * L / 3 * (9 + 3 + 1), 1e-12),
    "bend": Case(bend(400), constant(2.0, 400), math.pi * 4 * 12 * 1.5 * math.pi, 1e-4),  # Pappus
    "helix": Case(helix(600), constant(2.0, 600), math.pi * 4 * 3 * math.pi * math.hypot(8, 3), 1e-4),
}


def proper(surface: tubes.Surface, case: Case, sides: int) -> bool:
    """Closed, of one piece without a handle, looking outwards, of the right volume; and each ring across the curve."""
    points = case.curve.shape[1]
    if len(surface.faces) != 2 * sides * points or len(surface.vertices) != sides * points + 2:
        return False
    if not tubes.watertight(surface) or tubes.euler(surface) != 2:
        return False
    expected = case.volume * polygon(sides) / math.pi
    if not math.isclose(tubes.volume(surface), expected, rel_tol=case.tolerance):
        return False
    rings = surface.vertices[:-2].view(points, sides, 3) - case.curve.T[:, None]
    return bool(torch.allclose(rings.norm(dim=2), case.radius[:, None], rtol=1e-12))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("sides", [3, 16])
def test_a_tube_is_a_closed_surface_of_the_right_volume(name: str, sides: int) -> None:
    case = CASES[name]
    assert proper(tubes.surface(case.curve, case.radius, sides), case, sides)


MUTANTS = {
    "turned inside out": lambda v, f: (v, f.flip(1)),
    "a cap left off": lambda v, f: (v, f[:-16]),
    "a cap inside out": lambda v, f: (v, torch.cat([f[:-16], f[-16:].flip(1)])),
    "one triangle missing": lambda v, f: (v, f[1:]),
    "a vertex twice": lambda v, f: (torch.cat([v, v[:1]]), torch.cat([f[:1].where(f[:1] != 0, len(v)), f[1:]])),
    "a ring out of place": lambda v, f: (torch.cat([v[:16] + 1, v[16:]]), f),
    "too thin": lambda v, f: (v * 0.99, f),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_fault_of_a_surface_is_found(name: str) -> None:
    case = CASES["cylinder"]
    assert not proper(tubes.Surface(*MUTANTS[name](*tubes.surface(case.curve, case.radius))), case, 16)


def test_a_torus_has_a_handle() -> None:
    """`euler` and `watertight` on a surface that a tube's can't be mistaken for: rows and columns joined in circles."""
    n, m = 12, 7
    number = torch.arange(n * m).view(n, m)
    a, b, c, d = number, number.roll(-1, 1), number.roll(-1, 0), number.roll((-1, -1), (0, 1))
    faces = torch.stack([torch.stack([a, b, d], -1), torch.stack([a, d, c], -1)]).reshape(-1, 3)
    u, v = torch.meshgrid(torch.arange(n) * 2 * math.pi / n, torch.arange(m) * 2 * math.pi / m, indexing="ij")
    vertices = torch.stack([(3 + v.cos()) * u.cos(), (3 + v.cos()) * u.sin(), v.sin()], -1).reshape(-1, 3)
    assert tubes.euler(tubes.Surface(vertices, faces)) == 0 and tubes.watertight(tubes.Surface(vertices, faces))


def twist(curve: Tensor) -> float:
    """By how much the frame turns about the curve in all, rad."""
    along, normal, _ = tubes.untwisted(curve)
    middle = torch.nn.functional.normalize(normal[:, 1:] + normal[:, :-1], dim=0)
    across = torch.linalg.cross(torch.nn.functional.normalize(along[:, 1:] + along[:, :-1], dim=0), middle, dim=0)
    return float(((normal[:, 1:] - normal[:, :-1]) * across).sum().abs())


def test_frames_are_orthonormal_and_do_not_twist() -> None:
    for curve in (helix(64), bend(64), straight(5)):
        frame = torch.stack(tubes.untwisted(curve))  # axis, coordinate, point
        gram = torch.einsum("acp,bcp->pab", frame, frame)
        torch.testing.assert_close(gram, torch.eye(3, dtype=F64).expand_as(gram), rtol=0, atol=1e-12)
    # Frenet's normal of this helix turns about it by torsion times length; an untwisted one does not turn
    torsion_times_length = 3 / (8**2 + 3**2) * 3 * math.pi * math.hypot(8, 3)
    assert torsion_times_length > 3
    assert twist(helix(400)) < 1e-3
    # and the angle by which it lags behind Frenet's at the end is that integral
    _, normal, binormal = tubes.untwisted(helix(400))
    inwards = -torch.stack([torch.tensor([p[0], p[1], 0.0]) for p in helix(400).T.tolist()], 1).double() / 8
    angle = torch.atan2((inwards * binormal).sum(0), (inwards * normal).sum(0))
    lag = np.unwrap(angle.numpy())
    assert abs(lag[-1] - lag[0]) == pytest.approx(torsion_times_length, rel=1e-3)


def test_tangents_of_a_circle_are_exact_at_the_ends_too() -> None:
    curve = bend(9, angle=2.0)
    along = tubes.untwisted(curve)[0]
    centre_out = curve / 12
    assert (along * centre_out).sum(0).abs().max() < 1e-12


@pytest.mark.parametrize(
    "curve, radius, sides, message",
    [
        (straight(2), constant(1.0, 2), 8, "at least 3 points and 3 sides"),
        (straight(5), constant(1.0, 4), 8, "needs a curve"),
        (straight(5), constant(1.0, 5), 2, "3 sides"),
        (straight(5), constant(0.0, 5), 8, "radius above 0"),
        (torch.zeros(3, 5, dtype=F64), constant(1.0, 5), 8, "no two neighbouring points"),
        (straight(5) * math.nan, constant(1.0, 5), 8, "not finite"),
    ],
)
def test_a_surface_of_no_tube_is_refused(curve: Tensor, radius: Tensor, sides: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tubes.surface(curve, radius, sides)


def verdict(curve: Tensor, radius: float) -> tuple[bool, bool, bool]:
    found = tubes.flaws(curve[None], constant(radius, curve.shape[1])[None])
    assert bool(found.any) == any(map(bool, found))
    return tuple(map(bool, found))


def test_flaws_are_found_and_sound_tubes_are_not_accused() -> None:
    assert verdict(helix(64), 2.0) == (False, False, False)
    assert verdict(straight(64, 100.0), 3.0) == (False, False, False)
    torn = straight(64, 100.0)
    torn[1, 32:] += 8
    assert verdict(torn, 0.5)[0]
    assert verdict(bend(64, radius=2.0, angle=1.0), 2.5)[1] and not verdict(bend(64, radius=3.0, angle=1.0), 2.5)[1]
    loop = helix(96, radius=12.0, rise=0.3, turns=1.5)  # 1.9 mm from turn to turn
    assert verdict(loop, 1.5) == (False, False, True)
    assert verdict(loop, 0.8) == (False, False, False)


def test_the_largest_step_is_relative_to_the_mean_one() -> None:
    torn = straight(21, 20.0)
    torn[0, 10:] += 4  # one step of 5 among 19 of 1
    assert float(tubes.largest_step(torn[None])) == pytest.approx(5 / (24 / 20), rel=1e-12)
    assert float(tubes.largest_step(7 * helix(20)[None])) == pytest.approx(1, rel=1e-12)
