"""Simulated lung CT patches with a nodule whose centre, diameter and margin are known.

What is modelled, in HU and mm: aerated parenchyma with slow density changes; a tree of vessels that run through the
slice at an angle, so that thin or steep ones show partial volume; in some patches pleura and chest wall with a rib; a
star-shaped nodule between smooth and spiculated, solid or part-solid, some calcified; the scanner's blur, and noise
with the band-pass spectrum that filtered back-projection gives it (Riederer et al., Phys Med Biol 23, 1978). What is
not: bronchi, fissures, emphysema, cavities, anything outside the slice but the vessels.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from medgan_lib.cohorts.cache import cached
from medgan_lib.cohorts.cohort import SPLITS, Cohort, Window, subject_ids
from medgan_lib.cohorts.simulated.draws import simulated

FIELD = 32.0  # mm, edge of every patch: 1 mm a pixel at the default size
WINDOW = Window(-1000.0, 400.0)  # HU, the one of the real `lung_nodules`
CLASSES = ("benign-like", "malignant-like")
RULE = {"per_mm": 0.35, "diameter": 9.0, "per_margin": 4.0, "margin": 0.5}

_UNIFORMS = 256  # random numbers that make a subject, apart from texture and noise
_ANGLES = 256  # on which a nodule's outline is tabulated


def malignancy(diameter: Tensor, margin: Tensor) -> Tensor:
    """P(label = 1) = sigmoid(0.35 (diameter - 9 mm) + 4 (margin - 0.5)).

    That larger and spiculated nodules are more often malignant follows McWilliams et al., N Engl J Med 369:910
    (2013); the coefficients are ours, and no clinical statement.
    """
    return torch.sigmoid(
        RULE["per_mm"] * (diameter - RULE["diameter"]) + RULE["per_margin"] * (margin - RULE["margin"])
    )


def load(split: str, *, size: int | None = None, n: int | None = None, seed: int = 0) -> Cohort:
    """``n`` (default 2,000) patches of 32 x 32 mm at ``size`` (default 32) pixels an edge.

    ``x`` (n, 1, size, size) HU clipped to -1000..400; ``mask`` bool, same shape, pixel centres inside the nodule;
    ``centre`` (n, 2) mm from the patch's centre, (down, right); ``diameter`` (n,) mm of the circle of equal area;
    ``margin`` (n,) 0 smooth .. 1 spiculated; ``part_solid`` and ``label`` (n,) as in ``classes``, ``label`` drawn
    with probability `malignancy`. The same subject is the same at any ``size`` but for texture and noise, and the
    first subjects are the same for any ``n``. ValueError for a size below 16.
    """
    size, n = size or 32, n or 2000
    if size < 16:
        raise ValueError(f"'nodules' need at least 16 pixels an edge to show anything, size is {size}")
    tensors = cached(
        "nodules",
        {"split": split, "size": size, "n": n, "seed": seed},
        lambda: _simulate(split, size, n, seed),
    )
    return Cohort(
        name="nodules",
        tensors=tensors,
        subjects=subject_ids(split, seed, n),
        units={"x": "HU", "centre": "mm", "diameter": "mm", "margin": "1"},
        window={"x": WINDOW},
        origin="embedded",
        split=split,
        spacing=(FIELD / size, FIELD / size),
        classes={"label": CLASSES, "part_solid": ("solid", "part-solid")},
        note="simulated lung CT patches with a nodule of known size and margin, window -1000..400 HU",
        truth={"malignancy": dict(RULE)},
    )


def _simulate(split: str, size: int, n: int, seed: int) -> dict[str, Tensor]:
    def build(subjects: range) -> dict[str, Tensor]:
        return _batch(subjects, split, size, seed)

    return simulated("nodules", n, build, quick=n * size**2 < 1000 * 32**2)


class _Draws:
    """The uniform numbers (n, _UNIFORMS) of a batch of subjects, handed out column by column."""

    def __init__(self, numbers: Tensor):
        self.numbers, self.used = numbers, 0

    def uniform(self, low: float = 0.0, high: float = 1.0, k: int | None = None) -> Tensor:
        """(n, k), or (n,) without k."""
        width = k or 1
        if self.used + width > self.numbers.shape[1]:
            raise RuntimeError("a subject needs more random numbers: raise _UNIFORMS")
        columns = self.numbers[:, self.used : self.used + width]
        self.used += width
        return low + (high - low) * (columns if k else columns[:, 0])

    def angle(self, k: int | None = None) -> Tensor:
        return self.uniform(-math.pi, math.pi, k)


def _batch(subjects: range, split: str, size: int, seed: int) -> dict[str, Tensor]:
    """Every subject has its own random stream, so it does not depend on the others."""
    streams = [np.random.default_rng([*b"nodules", SPLITS.index(split), seed, i]) for i in subjects]
    draws = _Draws(torch.from_numpy(np.stack([rng.random(_UNIFORMS, dtype=np.float32) for rng in streams])))
    white = torch.from_numpy(np.stack([rng.standard_normal((2, size, size), dtype=np.float32) for rng in streams]))
    n, step = len(streams), FIELD / size
    line = (torch.arange(size) + 0.5) * step - FIELD / 2
    grid = torch.stack(torch.meshgrid(line, line, indexing="ij"))  # (2, size, size) mm, down and right

    blur = draws.uniform(0.35, 0.75)  # mm, standard deviation of the scanner's point spread
    air = draws.uniform(-910, -820)
    nodule, factors = _nodule(draws, grid, step, blur)
    vessels = _vessels(draws, grid, blur, air)
    wall, inside_wall = _chest_wall(draws, grid, blur, factors)

    lung = air[:, None, None] + _texture(white[:, 0], step, draws.uniform(8, 35), draws.uniform(1.5, 4))
    hu = torch.maximum(lung, vessels)
    hu = hu + inside_wall * (wall - hu)
    ends, coverage = nodule
    hu = hu + coverage * (torch.maximum(ends, hu) - hu)  # a nodule of ground glass does not hide a vessel
    hu = hu + _noise(white[:, 1], step, draws)

    label = (draws.uniform() < malignancy(factors["diameter"], factors["margin"])).long()
    return {"x": WINDOW.scale(hu).reshape(n, 1, size, size), **factors, "label": label}


def _nodule(draws: _Draws, grid: Tensor, step: float, blur: Tensor) -> tuple[tuple[Tensor, Tensor], dict[str, Tensor]]:
    """((HU, coverage), factors): HU of the nodule's tissue, and the blurred share of each pixel that it fills."""
    diameter = (draws.uniform(0.02, 0.98) * 2 - 1).erfinv() * (math.sqrt(2) * 0.5)
    diameter = (8.0 * diameter.exp()).clamp(3.5, 20)
    margin = draws.uniform()
    centre = draws.uniform(-2.5, 2.5, k=2)
    radius, shift = _outline(draws, diameter / 2, margin)
    centroid = centre - shift  # pole of the outline, so that `centre` is the centroid of the area

    # sub-pixels of at most 1/3 mm, so that spicules thinner than a pixel keep their area
    fine = max(1, math.ceil(step * 3))
    offset = ((torch.arange(fine) + 0.5) / fine - 0.5) * step
    share = torch.zeros(len(diameter), *grid.shape[1:])
    tissue = torch.zeros_like(share)
    part_solid = (draws.uniform() < 0.25).long()
    core = torch.where(part_solid == 1, draws.uniform(0.2, 0.65), 1.5)[:, None, None]
    aside = draws.uniform(-0.3, 0.3, k=2) * (diameter / 2)[:, None] * (part_solid == 1)[:, None]
    dense = draws.uniform(-20, 70)
    calcified = (draws.uniform() < 0.12) & (part_solid == 0) & (margin < 0.4) & (diameter < 9)
    dense = torch.where(calcified, draws.uniform(200, 700), dense)
    glass = draws.uniform(-680, -420)
    for down in offset:
        for right in offset:
            y = grid[0] + down - centroid[:, 0, None, None]
            x = grid[1] + right - centroid[:, 1, None, None]
            edge = _interpolate(radius, torch.atan2(y, x))
            r = torch.hypot(y, x)
            inside = (r <= edge).float()
            solid = (torch.hypot(y - aside[:, 0, None, None], x - aside[:, 1, None, None]) <= edge * core).float()
            share += inside
            tissue += inside * glass[:, None, None] + inside * solid * (dense - glass)[:, None, None]
    tissue = torch.where(share > 0, tissue / share.clamp(min=1), glass[:, None, None])
    share = share / fine**2
    y, x = (grid[k] - centroid[:, k, None, None] for k in (0, 1))
    mask = torch.hypot(y, x) <= _interpolate(radius, torch.atan2(y, x))
    frequency = _frequency(grid.shape[1:], step)
    soft = torch.exp(-2 * (math.pi * frequency * blur[:, None, None]) ** 2)

    def blurred(image: Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(image) * soft, s=image.shape[-2:])

    coverage = blurred(share).clamp(0, 1)
    value = blurred(share * (tissue + 1000)) / coverage.clamp(min=1e-3) - 1000
    factors = {
        "mask": mask[:, None],
        "centre": centre,
        "diameter": diameter,
        "margin": margin,
        "part_solid": part_solid,
    }
    return (value.clamp(-1000, 1000), coverage), factors


def _outline(draws: _Draws, radius: Tensor, margin: Tensor) -> tuple[Tensor, Tensor]:
    """(r (n, angles) mm, centroid (n, 2) mm): lobes and, with rising margin, spicules; area pi radius^2."""
    angle = (torch.arange(_ANGLES) + 0.5) * (2 * math.pi / _ANGLES) - math.pi
    r = torch.ones(len(radius), _ANGLES)
    for k in (2, 3, 4, 5):
        height = draws.uniform(0, 0.22 / (k - 1)) * (0.4 + 0.9 * margin)
        r = r + height[:, None] * torch.cos(k * angle + draws.angle()[:, None])
    spicules = 9
    where = draws.angle(spicules)
    height = draws.uniform(0.1, 1.0, spicules) * (margin[:, None] - 0.25).clamp(min=0) * 1.1
    # as thin as about 1 mm at the surface, whatever the size
    width = (draws.uniform(0.5, 1.0, spicules) / radius[:, None]).clamp(0.08, 0.35)
    turn = torch.remainder(angle - where[:, :, None] + math.pi, 2 * math.pi) - math.pi
    r = r + (height[:, :, None] * torch.exp(-((turn / width[:, :, None]) ** 2))).sum(1)
    r = r * (radius / r.square().mean(1).sqrt())[:, None]
    moment = torch.stack([(r**3 * angle.sin()).mean(1), (r**3 * angle.cos()).mean(1)], 1) * (2 / 3)
    return r, moment / radius.square()[:, None]


def _interpolate(radius: Tensor, angle: Tensor) -> Tensor:
    """The tabulated outline (n, angles) at angles (n, h, w), linear and periodic."""
    at = (angle + math.pi) * (_ANGLES / (2 * math.pi)) - 0.5
    low = at.floor()
    weight = at - low
    first = torch.remainder(low, _ANGLES).long().flatten(1)
    second = torch.remainder(first + 1, _ANGLES)
    a, b = (radius.gather(1, index).reshape(angle.shape) for index in (first, second))
    return a + weight * (b - a)


def _vessels(draws: _Draws, grid: Tensor, blur: Tensor, air: Tensor) -> Tensor:
    """HU (n, h, w) of a vessel tree: curved trunks that leave the slice, each with branches of its own."""
    n = len(air)
    trunks, segments = 6, 5
    start = draws.uniform(-FIELD / 2, FIELD / 2, 2 * trunks).reshape(n, trunks, 2)
    heading = draws.angle(trunks)
    # the first two are large and come from outside the patch, the others are small and may begin in it
    large = torch.arange(trunks) < 2
    border = 0.7 * FIELD * torch.stack([-heading.sin(), -heading.cos()], -1)
    start = torch.where(large[:, None], border, start)
    heading = heading + large * draws.uniform(-0.7, 0.7, trunks)
    bend = draws.uniform(-0.05, 0.05, trunks)  # rad a mm
    climb = draws.uniform(-1, 1, trunks)
    climb = climb.sign() * climb.abs() ** 2 * 1.3  # angle to the slice: most run along it, some pierce it
    thick = torch.where(large, 0.5 + 1.5 * draws.uniform(0, 1, trunks) ** 2, draws.uniform(0.3, 0.9, trunks))  # mm
    length = draws.uniform(10, 30, trunks) + 14 * large
    climb = torch.where(large, 0.15 * climb, climb)
    level = draws.uniform(-1.5, 1.5, trunks) * (1 + large)  # mm above the slice
    paths = [_path(start, level, heading, climb, bend, thick, length, segments)]
    for _ in range(2):  # two branches of each trunk
        joint = draws.uniform(0.1, 0.8, trunks)
        turn = draws.uniform(-1.1, 1.1, trunks)
        at = (joint * segments).long()[:, :, None, None]
        point = paths[0][0].gather(2, at.expand(-1, -1, 1, 3))[:, :, 0]
        branch = thick * draws.uniform(0.45, 0.8, trunks)
        direction = heading + bend * joint * length + turn + 0.3 * turn.sign()
        paths.append(
            _path(point[..., :2], point[..., 2], direction, climb * 0.5, -bend, branch, length * 0.6, segments)
        )
    nodes = torch.cat([path for path, _ in paths], 1)  # (n, vessels, segments + 1, 3)
    radii = torch.cat([radius for _, radius in paths], 1)
    blood = draws.uniform(20, 120)
    slab = draws.uniform(0.6, 1.5)  # mm, half the slice's thickness

    best = torch.zeros(n, grid[0].numel())
    soft = 1 / (math.sqrt(2) * blur[:, None, None])
    slab = slab[:, None, None]
    pixels = grid.flatten(1)  # (2, h * w)
    for k in range(segments):
        (ay, ax, az), r = nodes[:, :, k, :, None].unbind(2), radii[:, :, k, None]
        y, x, z = (nodes[:, :, k + 1] - nodes[:, :, k])[..., None].unbind(2)
        # nearest point of the segment, in the plane of the slice: at the share t of its length
        plane = torch.cat([y, x], 2) / (y**2 + x**2).clamp(min=1e-6)
        t = torch.baddbmm(-(plane * torch.cat([ay, ax], 2)).sum(2, keepdim=True), plane, pixels.expand(n, -1, -1))
        t.clamp_(0, 1)
        away = torch.hypot(pixels[0] - torch.addcmul(ay, t, y), pixels[1] - torch.addcmul(ax, t, x)).mul_(soft)
        # a blurred tube of half-width r, times the share of the slice's thickness that it takes there
        tube = torch.erf(away + r * soft).sub_(torch.erf(away - r * soft))
        reach = (slab + r - torch.addcmul(az, t, z).abs_()).mul_(0.5 / torch.minimum(slab, r)).clamp_(0, 1)
        taken = (r / slab).clamp(max=1)
        best = torch.maximum(best, tube.mul_(reach).mul_(0.5 * (0.25 + 0.75 * taken)).amax(1))
    best = best.reshape(n, *grid.shape[1:])
    return air[:, None, None] + best * (blood - air)[:, None, None]


def _path(
    start: Tensor, level: Tensor, heading: Tensor, climb: Tensor, bend: Tensor, thick: Tensor, length: Tensor,
    segments: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Nodes (n, vessels, segments + 1, 3) in mm (down, right, up) of arcs, and the radius (..., segments) tapering."""
    step = (length / segments)[..., None]
    direction = heading[..., None] + bend[..., None] * step * torch.arange(segments)
    flat, up = climb.cos()[..., None], climb.sin()[..., None]
    move = torch.stack([direction.sin() * flat, direction.cos() * flat, up.expand_as(direction)], -1) * step[..., None]
    origin = torch.cat([start, level[..., None]], -1)[..., None, :]
    taper = thick[..., None] * torch.linspace(1, 0.35, segments)
    return torch.cat([origin, origin + move.cumsum(-2)], -2), taper


def _chest_wall(draws: _Draws, grid: Tensor, blur: Tensor, factors: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """(HU, share of the pixel) of what lies beyond the pleura in 40 % of patches: muscle, fat, often a rib."""
    present = (draws.uniform() < 0.4)[:, None, None]
    towards = draws.angle()[:, None, None]
    curve = draws.uniform(-0.008, 0.03)[:, None, None]  # 1/mm; the lung is convex, a hilum's border may be concave
    # the nodule may touch the pleura, but it is never inside the wall
    nodule = factors["diameter"] / 2 + torch.hypot(*factors["centre"].unbind(1))
    gap = torch.maximum(draws.uniform(3, 17), nodule - 1.5)[:, None, None]
    out = grid[0] * towards.sin() + grid[1] * towards.cos()
    side = grid[1] * towards.sin() - grid[0] * towards.cos()
    wave = 0.6 * torch.sin(side * draws.uniform(0.15, 0.5)[:, None, None] + draws.angle()[:, None, None])
    depth = out + curve * side**2 / 2 - gap + wave  # mm beyond the pleura
    soft = math.sqrt(2) * blur[:, None, None]
    inside = 0.5 * (1 + torch.erf(depth / soft)) * present

    muscle, fat = draws.uniform(20, 80)[:, None, None], draws.uniform(-110, -70)[:, None, None]
    fatty = 0.5 * (1 + torch.tanh((depth - draws.uniform(5, 20)[:, None, None]) / 1.5))
    tissue = muscle + fatty * (fat - muscle)
    rib_at, rib_side = draws.uniform(3.5, 7)[:, None, None], draws.uniform(-12, 12)[:, None, None]
    half, thick = draws.uniform(5, 14)[:, None, None], draws.uniform(2.2, 4)[:, None, None]
    tilt = draws.uniform(-0.25, 0.25)[:, None, None]
    u = side - rib_side
    v = depth - rib_at - tilt * u
    shape = torch.sqrt((u / half) ** 2 + (v / thick) ** 2 + 1e-6)
    edge = (1 - shape) * thick  # about mm inside the rib
    rib = 0.5 * (1 + torch.erf(edge / soft)) * (draws.uniform() < 0.6)[:, None, None]
    marrow = 0.5 * (1 + torch.erf((edge - 1.1) / soft))
    cortex, spongy = draws.uniform(500, 1000)[:, None, None], draws.uniform(80, 300)[:, None, None]
    bone = cortex + marrow * (spongy - cortex)
    return tissue + rib * (bone - tissue), inside


def _frequency(shape: torch.Size, step: float) -> Tensor:
    """|f| in cycles per mm on the half plane of `torch.fft.rfft2`."""
    return torch.hypot(torch.fft.fftfreq(shape[0], step)[:, None], torch.fft.rfftfreq(shape[1], step)[None])


def _shaped(white: Tensor, amplitude: Tensor) -> Tensor:
    """White noise (n, h, w) with the amplitude spectrum (n, h, w//2+1), at unit standard deviation."""
    noise = torch.fft.irfft2(torch.fft.rfft2(white) * amplitude, s=white.shape[-2:])
    return noise / noise.std((-2, -1), keepdim=True)


def _texture(white: Tensor, step: float, deviation: Tensor, scale: Tensor) -> Tensor:
    """Slow density changes of the parenchyma, HU (n, h, w); ``scale`` (n,) in mm."""
    low_pass = torch.exp(-2 * (math.pi * _frequency(white.shape[1:], step) * scale[:, None, None]) ** 2)
    return deviation[:, None, None] * _shaped(white, low_pass)


def _noise(white: Tensor, step: float, draws: _Draws) -> Tensor:
    """CT noise, HU (n, h, w): |f| exp(-(f/c)^2), often stronger across one direction, as where the body is wide."""
    n = len(white)
    fy = torch.fft.fftfreq(white.shape[1], step)[:, None]
    fx = torch.fft.rfftfreq(white.shape[2], step)[None]
    towards = draws.angle()[:, None, None]
    across = (fy * towards.sin() + fx * towards.cos()) ** 2 / (fy**2 + fx**2 + 1e-6)
    uneven = draws.uniform(0, 1)[:, None, None] ** 3
    cutoff = draws.uniform(0.2, 0.6).reshape(n, 1, 1)
    frequency = _frequency(white.shape[1:], step)
    amplitude = frequency.sqrt() * torch.exp(-((frequency / cutoff) ** 2)) * (1 - uneven * (1 - across))
    deviation = 12 + 60 * draws.uniform() ** 2
    return deviation[:, None, None] * _shaped(white, amplitude)
