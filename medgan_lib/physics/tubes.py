"""Vessels as sequences of steps, as tubes, and as closed surfaces.

Curves are (n, 3, points) in mm with a radius (n, points), as in `physics.vessels`; a surface is of one vessel.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from . import vessels


class Surface(NamedTuple):
    """Triangles: ``vertices`` (v, 3) in mm, ``faces`` (f, 3) int64, counter-clockwise seen from outside."""

    vertices: Tensor
    faces: Tensor


class Flaws(NamedTuple):
    """What is wrong with each tube: bool (n,)."""

    gap: Tensor
    fold: Tensor
    crossing: Tensor

    @property
    def any(self) -> Tensor:
        return self.gap | self.fold | self.crossing


# ---------------------------------------------------------------- sequences


def steps(curve: Tensor) -> Tensor:
    """The way (n, 3, points) from each point to the next; the last is repeated, so that the number of points stays.

    Where a curve lies is gone, and its length is the sum of the steps' own lengths. The direction is still in it:
    turn the curve first, by `vessels.to_frame`.
    """
    ahead = curve.diff(dim=-1)
    return torch.cat([ahead, ahead[..., -1:]], -1)


def walk(ahead: Tensor) -> Tensor:
    """Inverse of `steps`: the curve (n, 3, points) that starts at 0. The last step is not taken.

    Whatever the steps, the curve is one piece; an error of one of them moves all that follows and bends nothing else.
    """
    return torch.cat([torch.zeros_like(ahead[..., :1]), ahead[..., :-1].cumsum(-1)], -1)


# ---------------------------------------------------------------- what can be wrong with a tube


def largest_step(curve: Tensor) -> Tensor:
    """(n,) the longest distance between neighbouring points over the mean one: 1 for equidistant points."""
    step = curve.diff(dim=-1).norm(dim=1)
    return step.amax(1) / step.mean(1)


def flaws(curve: Tensor, radius: Tensor, gap: float = 2.0) -> Flaws:
    """``gap``: a step is longer than so many mean steps; ``fold``: the wall turns back, as the curve bends more
    narrowly than the tube is wide (curvature times radius above 1); ``crossing``: places that are far apart along
    the vessel share room (`vessels.clearance` below 0).
    """
    return Flaws(
        largest_step(curve) > gap,
        (vessels.curvature(curve) * radius).amax(1) > 1,
        vessels.clearance(curve, radius) < 0,
    )


# ---------------------------------------------------------------- surfaces


def untwisted(curve: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vectors (3, points) along a curve (3, points) and two across it which turn about it as little as possible.

    Tangents at inner points are those of the circle through three points. The normals are carried from point to point
    by two reflections, which is exact to fourth order (Wang et al., ACM Trans Graph 27:2, 2008).
    """
    chord = curve.diff(dim=-1)
    size = chord.norm(dim=0)
    inner = chord[:, :-1] * (size[1:] / size[:-1]) + chord[:, 1:] * (size[:-1] / size[1:])
    inner = inner / inner.norm(dim=0)
    ends = [chord[:, k] / size[k] for k in (0, -1)]
    # at an end the chord lies half-way between the tangents of the circle's arc: reflect the inner tangent in it
    first, last = (
        2 * end * (end * near).sum() - near for end, near in zip(ends, (inner[:, 0], inner[:, -1]), strict=True)
    )
    along = torch.cat([first[:, None], inner, last[:, None]], 1)
    across = torch.zeros(3, dtype=curve.dtype, device=curve.device)
    across[along[:, 0].abs().argmin()] = 1
    across = across - along[:, 0] * (across * along[:, 0]).sum()
    normals = [across / across.norm()]
    for i in range(chord.shape[1]):
        v = chord[:, i]
        n, t = (x - v * (2 * (v * x).sum() / (v * v).sum()) for x in (normals[-1], along[:, i]))
        w = along[:, i + 1] - t
        square = (w * w).sum()
        n = n - w * (2 * (w * n).sum() / square.clamp(min=torch.finfo(curve.dtype).tiny))
        n = n - along[:, i + 1] * (n * along[:, i + 1]).sum()  # rounding
        normals.append(n / n.norm())
    normal = torch.stack(normals, 1)
    return along, normal, torch.linalg.cross(along, normal, dim=0)


def surface(curve: Tensor, radius: Tensor, sides: int = 16) -> Surface:
    """The closed surface of the tube of ``radius`` (points,) around ``curve`` (3, points), in mm.

    A ring of ``sides`` vertices around each point, two triangles between neighbours, and a flat cap with a vertex in
    its middle at either end: 2 · sides · points triangles. It encloses a little less than round tubes do, by the share
    by which a polygon is smaller than its circle. ValueError: fewer than 3 points or sides, a radius that is not
    positive, neighbouring points that are one, or values that are not finite.
    """
    points = curve.shape[-1]
    if curve.shape != (3, points) or radius.shape != (points,) or points < 3 or sides < 3:
        raise ValueError(
            f"a tube needs a curve (3, points) and a radius (points,) of at least 3 points and 3 sides, not "
            f"{tuple(curve.shape)}, {tuple(radius.shape)} and {sides} sides"
        )
    if not bool(torch.isfinite(curve).all() & torch.isfinite(radius).all()):
        raise ValueError("a tube has values that are not finite")
    if bool((radius <= 0).any()) or bool((curve.diff(dim=-1).norm(dim=0) == 0).any()):
        raise ValueError("a tube needs a radius above 0 everywhere and no two neighbouring points in one place")
    _, normal, binormal = untwisted(curve)
    angle = torch.arange(sides, dtype=curve.dtype, device=curve.device) * (2 * math.pi / sides)
    ring = normal[..., None] * angle.cos() + binormal[..., None] * angle.sin()
    rings = (curve[..., None] + radius[:, None] * ring).flatten(1).T
    vertices = torch.cat([rings, curve[:, :1].T, curve[:, -1:].T])

    here = torch.arange(points * sides, device=curve.device).view(points, sides)
    there = here.roll(-1, 1)  # the next one around
    a, b, c, d = here[:-1], there[:-1], here[1:], there[1:]
    wall = torch.stack([torch.stack([a, b, d], -1), torch.stack([a, d, c], -1)]).reshape(-1, 3)
    start, end = (torch.full((sides,), len(rings) + k, device=curve.device) for k in range(2))
    caps = [torch.stack([start, there[0], here[0]], -1), torch.stack([end, here[-1], there[-1]], -1)]
    return Surface(vertices, torch.cat([wall, *caps]))


def corners(mesh: Surface) -> Tensor:
    """The corners (f, 3, 3) of each triangle: face, corner, coordinate."""
    return mesh.vertices[mesh.faces]


def volume(mesh: Surface) -> float:
    """What a closed surface encloses, in mm³: negative where its triangles look inwards."""
    a, b, c = (corners(mesh) - mesh.vertices.mean(0)).double().unbind(1)
    return float((a * torch.linalg.cross(b, c, dim=1)).sum() / 6)


def euler(mesh: Surface) -> int:
    """Vertices − edges + triangles: 2 for what can be blown up to a ball, and 2 less for each handle."""
    edges = torch.cat([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    return len(mesh.faces.unique()) - len(edges.sort(1).values.unique(dim=0)) + len(mesh.faces)


def watertight(mesh: Surface) -> bool:
    """Whether each edge belongs to two triangles which run along it in opposite directions."""
    edges = torch.cat([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    number = edges[:, 0] * len(mesh.vertices) + edges[:, 1]
    back = edges[:, 1] * len(mesh.vertices) + edges[:, 0]
    return len(number.unique()) == len(number) and bool((number.sort().values == back.sort().values).all())
