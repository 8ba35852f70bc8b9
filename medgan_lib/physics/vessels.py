"""Geometry of space curves: vessels from their curvature, and length, curvature and torsion from sampled points.

Curves are (n, 3, points) in mm (any unit of length will do), the layout of a network's input; a float64 curve is
measured in float64. Measures are those of the polygon's circles (through three points) and planes: exact on a circle,
of second order in the distance between points elsewhere, and free of derivatives, which noise would spoil.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def integrate(turning: Tensor, length: Tensor) -> Tensor:
    """The curve (n, 3, k + 1) of ``length`` (n,) whose moving frame turns at the rate ``turning`` (n, 3, k), 1/mm.

    It starts at 0 along the first axis, the frame being the three axes. The rate is taken as constant on each of the k
    equal pieces, and these are integrated exactly (as arcs of helices), so a circle or helix comes out exact.
    """
    n, _, k = turning.shape
    # move the frame by R = exp[v], the point by V e1 with V = ∫ exp[v t] dt, v the angle turned on a piece
    angle = turning * (length / k)[:, None, None]
    theta = angle.norm(dim=1)
    small = theta < 1e-4
    safe = theta.where(~small, torch.ones_like(theta))
    sinc = torch.where(small, 1 - theta**2 / 6, safe.sin() / safe)
    cosc = torch.where(small, 0.5 - theta**2 / 24, (1 - safe.cos()) / safe**2)
    rest = torch.where(small, 1 / 6 - theta**2 / 120, (1 - sinc) / safe**2)
    x, y, z = angle.unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(n, k, 3, 3)
    square = cross @ cross
    turn = torch.eye(3, dtype=turning.dtype, device=turning.device) + sinc[..., None, None] * cross
    turn = turn + cosc[..., None, None] * square
    step = cosc[..., None] * cross[..., 0] + rest[..., None] * square[..., 0]
    step[..., 0] += 1
    frame = torch.eye(3, dtype=turning.dtype, device=turning.device).expand(n, 3, 3)
    moves = []
    for i in range(k):
        moves.append(frame @ step[:, i, :, None])
        frame = frame @ turn[:, i]
    path = torch.cat(moves, -1).cumsum(-1) * (length / k)[:, None, None]
    return torch.cat([torch.zeros_like(path[..., :1]), path], -1)


def frenet_serret(curvature: Tensor, torsion: Tensor, length: Tensor) -> Tensor:
    """The curve (n, 3, k + 1) of curvature κ and torsion τ (n, k): T' = κN, N' = −κT + τB, B' = −τN."""
    return integrate(torch.stack([torsion, torch.zeros_like(torsion), curvature], 1), length)


def bend(bending: Tensor, length: Tensor) -> Tensor:
    """The curve (n, 3, k + 1) that bends by (n, 2, k) towards two normals that never twist around it.

    T' = aM + bN, M' = −aT, N' = −bT (Bishop, Am Math Mon 82:246, 1975): κ² = a² + b², and where a vessel runs straight,
    where Frenet's normal jumps, nothing happens.
    """
    a, b = bending.unbind(1)
    return integrate(torch.stack([torch.zeros_like(a), -b, a], 1), length)


# ---------------------------------------------------------------- radii


def daughters(parent: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Radii of the two vessels into which one of radius ``parent`` forks, ``ratio`` the second over the first.

    r0³ = r1³ + r2³ needs the least work to keep and move the blood (Murray, PNAS 12:207, 1926).
    """
    first = parent / (1 + ratio**3) ** (1 / 3)
    return first, ratio * first


def narrowing(distance: Tensor, length: Tensor, degree: Tensor) -> Tensor:
    """What a stenosis leaves of the radius, a share, at ``distance`` (signed, mm along the vessel) from its middle.

    ``degree`` is the percent diameter stenosis as a share: 1 − narrowest over healthy diameter. The middle half of
    ``length`` (mm) is that narrow, a half cosine leads there on either side, and outside the vessel is as it was.
    """
    way = ((0.5 - (distance / length).abs()) * 4).clamp(0, 1)
    return 1 - degree * (1 - torch.cos(math.pi * way)) / 2


# ---------------------------------------------------------------- measures


def arc_length(curve: Tensor) -> Tensor:
    """Distance along the curve (n, points), from 0 at its start; each piece is an arc of the mean curvature there."""
    chord = curve.diff(dim=-1).norm(dim=1)
    kappa = curvature(curve)
    arc = chord * (1 + ((kappa[:, 1:] + kappa[:, :-1]) / 2 * chord).clamp(max=2) ** 2 / 24)
    return torch.cat([torch.zeros_like(arc[:, :1]), arc.cumsum(-1)], -1)


def length(curve: Tensor) -> Tensor:
    """(n,)"""
    return arc_length(curve)[:, -1]


def tortuosity(curve: Tensor) -> Tensor:
    """(n,) length over the distance between the ends, less one: 0 for a straight line."""
    return length(curve) / (curve[..., -1] - curve[..., 0]).norm(dim=1) - 1


def curvature(curve: Tensor) -> Tensor:
    """1/mm (n, points): of the circle through a point and its neighbours; the ends take the value beside them."""
    before, after = curve.diff(dim=-1)[..., :-1], curve.diff(dim=-1)[..., 1:]
    area = torch.linalg.cross(before, after, dim=1).norm(dim=1)
    sides = before.norm(dim=1) * after.norm(dim=1) * (before + after).norm(dim=1)
    inner = 2 * area / sides.clamp(min=torch.finfo(curve.dtype).tiny)
    return torch.cat([inner[:, :1], inner, inner[:, -1:]], -1)


def torsion(curve: Tensor) -> Tensor:
    """1/mm (n, points), positive for a right-handed helix: how fast the plane of three points turns.

    The two points at each end take the value beside them. It means nothing where the curve is straight.
    """
    chords = curve.diff(dim=-1)
    plane = torch.linalg.cross(chords[..., :-1], chords[..., 1:], dim=1)
    before, after, axis = plane[..., :-1], plane[..., 1:], chords[..., 1:-1]
    far = axis.norm(dim=1)
    sine = (torch.linalg.cross(before, after, dim=1) * axis).sum(1) / far.clamp(min=torch.finfo(curve.dtype).tiny)
    turned = torch.atan2(sine, (before * after).sum(1)) / far.clamp(min=torch.finfo(curve.dtype).tiny)
    inner = (turned[:, 1:] + turned[:, :-1]) / 2  # from the middle of pieces to points
    return torch.cat([inner[:, :1], inner[:, :1], inner, inner[:, -1:], inner[:, -1:]], -1)


def clearance(curve: Tensor, radius: Tensor) -> Tensor:
    """mm (n,) between the walls of the tube of ``radius`` (n, points) where it comes closest to itself.

    Negative: it runs through itself. Places closer along the vessel than twice the sum of their radii do not count, and
    those just further apart give about that sum, so that it is never more.
    """
    along = arc_length(curve)
    reach = radius[:, :, None] + radius[:, None]
    apart = torch.cdist(curve.mT, curve.mT) - reach
    near = (along[:, :, None] - along[:, None]).abs() <= 2 * reach
    return apart.masked_fill(near, torch.inf).amin((1, 2))


# ---------------------------------------------------------------- sampling and position


def resample(values: Tensor, along: Tensor, points: int) -> Tensor:
    """``values`` (n, channels, m), given at the rising positions ``along`` (n, m), at ``points`` equidistant ones.

    For a centreline with radius: ``resample(x, arc_length(x[:, :3]), 64)``. Cubic in between, with slopes from the
    parabola through three points; the ends stay.
    """
    gap, rise = along.diff(dim=-1)[:, None], values.diff(dim=-1)
    secant = rise / gap
    inner = (secant[..., :-1] * gap[..., 1:] + secant[..., 1:] * gap[..., :-1]) / (gap[..., 1:] + gap[..., :-1])
    slope = torch.cat([2 * secant[..., :1] - inner[..., :1], inner, 2 * secant[..., -1:] - inner[..., -1:]], -1)
    share = torch.linspace(0, 1, points, dtype=along.dtype, device=along.device)
    wanted = along[:, :1] + (along[:, -1:] - along[:, :1]) * share
    left = (torch.searchsorted(along.contiguous(), wanted, right=True) - 1).clamp(0, along.shape[1] - 2)
    t = ((wanted - along.gather(1, left)) / gap[:, 0].gather(1, left))[:, None]
    left = left[:, None].expand(-1, values.shape[1], -1)
    low, high, step = values.gather(2, left), values.gather(2, left + 1), gap.expand_as(rise).gather(2, left)
    start, end = slope.gather(2, left) * step, slope.gather(2, left + 1) * step
    cubic = low * (1 + 2 * t) * (1 - t) ** 2 + high * (3 - 2 * t) * t**2
    return cubic + start * t * (1 - t) ** 2 - end * t**2 * (1 - t)


def to_frame(curve: Tensor) -> Tensor:
    """The curve moved and turned, never mirrored, so that position and direction no longer matter.

    It starts at 0. The first axis points from its start to its end; the second, across that, to the side on which it
    lies on average (the mean of its points, which should be equidistant); the third is their cross product, so that
    left and right stay different. Two curves that differ by a rotation and a shift alone become the same one.
    ValueError where that does not say where the axes point: the ends are one point, or the curve is straight.
    """
    return frame(curve) @ (curve - curve[..., :1])


def frame(curve: Tensor) -> Tensor:
    """The three axes (n, 3, 3), one a row, of `to_frame`: what else belongs to the curve is turned by them, too."""
    curve = curve - curve[..., :1]
    first = curve[..., -1]
    reach = first.norm(dim=1, keepdim=True)
    size = curve.norm(dim=1).amax(-1, keepdim=True)
    tolerance = 1e3 * torch.finfo(curve.dtype).eps
    if bool((reach <= tolerance * size).any()):
        raise ValueError("a curve ends where it starts: it has no direction")
    first = first / reach
    middle = curve.mean(-1)
    second = middle - (middle * first).sum(1, keepdim=True) * first
    aside = second.norm(dim=1, keepdim=True)
    if bool((aside <= tolerance * size).any()):
        raise ValueError("a curve lies on no side of the line between its ends: it has no second direction")
    second = second / aside
    return torch.stack([first, second, torch.linalg.cross(first, second, dim=1)], 1)
