"""Chapter 14: steps and walks, tubes as closed surfaces, STL files, faults of tubes."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from medgan_lib import networks, training
from medgan_lib.files import mesh
from medgan_lib.methods import GAN
from medgan_lib.physics import tubes, vessels

F64 = torch.float64


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


def helix(points: int, radius: float = 8.0, rise: float = 3.0, turns: float = 1.5) -> Tensor:
    angle = torch.linspace(0, 2 * math.pi * turns, points, dtype=F64)
    return torch.stack([radius * angle.cos(), radius * angle.sin(), rise * angle])


def constant(value: float, points: int) -> Tensor:
    return torch.full((points,), value, dtype=F64)


# --- sequences ----------------------------------------------------------------------------------------------------


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


# --- surfaces -----------------------------------------------------------------------------------------------------


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


# --- what is wrong with a tube ------------------------------------------------------------------------------------


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


# --- STL ----------------------------------------------------------------------------------------------------------


def read_stl(content: bytes) -> tuple[str, list[tuple[tuple, tuple, int]]]:
    """A reader of its own, by the format's description: 80 bytes, a number, 50 bytes a triangle, little-endian."""
    (count,) = struct.unpack_from("<I", content, 80)
    assert len(content) == 84 + 50 * count
    triangles = []
    for i in range(count):
        *numbers, attribute = struct.unpack_from("<12fH", content, 84 + 50 * i)
        triangles.append((tuple(numbers[:3]), tuple(zip(*[iter(numbers[3:])] * 3, strict=True)), attribute))
    return content[:80].decode("ascii"), triangles


def test_an_stl_is_read_back(tmp_path) -> None:
    made = tubes.surface(helix(40), torch.linspace(2, 1, 40, dtype=F64), sides=10)
    path = mesh.write_stl(tmp_path / "tube.stl", made.vertices, made.faces, "a tube, mm")
    title, triangles = read_stl(path.read_bytes())
    assert title.rstrip() == "a tube, mm" and not title.lower().startswith("solid")
    assert len(triangles) == len(made.faces) == 2 * 10 * 40
    corners = np.array([t[1] for t in triangles])
    np.testing.assert_array_equal(corners, tubes.corners(made).float().numpy())
    a, b, c = corners.transpose(1, 0, 2)
    area = np.cross(b - a, c - a)
    np.testing.assert_allclose(
        np.array([t[0] for t in triangles]), area / np.linalg.norm(area, axis=1)[:, None], atol=1e-5
    )
    assert {t[2] for t in triangles} == {0}
    volume = np.einsum("ij,ij->", a, np.cross(b, c)) / 6  # from the file alone
    assert volume == pytest.approx(tubes.volume(made), rel=1e-5) and volume > 0
    # stitched together by equal corners alone, as a reader has to, it is closed
    _, index = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    faces = index.reshape(-1, 3)
    edges = {(f[i], f[(i + 1) % 3]) for f in faces for i in range(3)}
    assert len(edges) == 3 * len(faces) and {(q, p) for p, q in edges} == edges


def test_a_triangle_without_area_has_no_normal() -> None:
    _, triangles = read_stl(mesh.stl([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2]]))
    assert triangles[0][0] == (0, 0, 0)


POINTS = np.eye(3)


@pytest.mark.parametrize(
    "vertices, faces, title, message",
    [
        (POINTS, [[0, 1, 3]], "x", "whole numbers from 0 to 2"),
        (POINTS, [[0, 1, -1]], "x", "whole numbers from 0 to 2"),
        (POINTS, [[0.0, 1.0, 2.0]], "x", "whole numbers"),
        (POINTS, np.zeros((0, 3), int), "x", "a surface is"),
        (POINTS[:, :2], [[0, 1, 2]], "x", "a surface is"),
        (POINTS * math.nan, [[0, 1, 2]], "x", "not finite"),
        (POINTS * 1e39, [[0, 1, 2]], "x", "not finite"),
        (POINTS, [[0, 1, 2]], "Solid tube", "not begin with"),
        (POINTS, [[0, 1, 2]], "x" * 81, "at most 80"),
        (POINTS, [[0, 1, 2]], "ø", "ASCII"),
    ],
)
def test_an_stl_of_nonsense_is_refused(vertices, faces, title: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mesh.stl(vertices, faces, title)


def test_no_file_is_overwritten(tmp_path) -> None:
    path = mesh.write_stl(tmp_path / "a.stl", POINTS, [[0, 1, 2]])
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="not overwritten"):
        mesh.write_stl(path, 2 * POINTS, [[0, 1, 2]])
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match=r"ends in \.stl"):
        mesh.write_stl(tmp_path / "a.obj", POINTS, [[0, 1, 2]])
    assert [p.name for p in tmp_path.iterdir()] == ["a.stl"]


# --- the game on sequences ----------------------------------------------------------------------------------------


def arcs(n: int, seed: int) -> Tensor:
    """Steps (n, 4, 16) of circular arcs that bend to one of two sides, each with its own radius of the tube."""
    draw = torch.Generator().manual_seed(seed)
    side = torch.where(torch.rand(n, generator=draw) < 0.5, -1.0, 1.0)
    angle = side[:, None] * (1 + 0.1 * torch.randn(n, 1, generator=draw)) * torch.linspace(0, 2, 16)
    wide = (0.3 * side)[:, None].expand(-1, 16)  # the two sides differ in width, too
    return torch.stack([0.5 * angle.cos(), 0.5 * angle.sin(), torch.zeros_like(angle), wide], 1)


def game(steps: int, path=None, n: int = 256) -> training.Run:
    torch.manual_seed(0)
    shape = (4, 16)
    method = GAN(networks.Generator(shape, 4, 12), networks.Critic(shape, 12), "wgan-gp", n_critic=2, ema=0.99, lr=1e-3)
    data = {"x": arcs(n, 0)}
    return training.fit(method, data, steps=steps, batch_size=24, seed=0, precision="float32", checkpoint=path)


def test_the_game_learns_two_families_and_what_goes_with_what() -> None:
    made = game(300).method.sample(300, torch.Generator().manual_seed(0))
    curve = tubes.walk(made[:, :3])
    bent = curve[:, 1, -1]
    both = (bent > 0).float().mean()
    assert 0.15 < both < 0.85, "one family alone"
    assert bent.abs().quantile(0.1) > 1, "vessels between the families"
    goes_with = torch.corrcoef(torch.stack([bent, made[:, 3].mean(1)]))[0, 1]
    assert goes_with > 0.9
    known = vessels.length(tubes.walk(arcs(300, 1)[:, :3])).mean()
    assert (vessels.length(curve) / known - 1).abs().median() < 0.25
    assert tubes.largest_step(curve).median() < 2


def test_resumes_in_the_middle(tmp_path) -> None:
    whole = game(8)
    game(3, tmp_path / "run.pt")
    second = game(8, tmp_path / "run.pt")
    for name, value in whole.method.state_dict().items():
        assert torch.equal(value, second.method.state_dict()[name]), name
