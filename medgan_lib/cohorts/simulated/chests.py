"""Simulated frontal chest radiographs: a thorax of simple shapes, projected, with landmarks, outlines and opacities.

The thorax is a set of thicknesses along the ray. A body of soft tissue with neck and shoulders holds two lungs
(between the mediastinum, the chest wall and the dome of the diaphragm), heart and aortic arch, the air of the
windpipe and its two main branches and of the stomach, and bones: vertebrae, ten pairs of ribs as slanting arcs in
space, clavicles. Vessels branch out from the hila. An opacity replaces the air of a part of one lung; a pacemaker is a
metal plate under the skin with a lead to the heart. Line integrals of attenuation, scatter and Poisson counts make the
image (`medgan_lib.physics.projection`); bright is dense. All sizes are drawn per subject around those of an adult; they
are ours, chosen for the look of radiographs.

The image is seen from the front: the patient's right is on the left.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from medgan_lib.cohorts.cache import cached
from medgan_lib.cohorts.cohort import Cohort, Window, subject_ids
from medgan_lib.cohorts.simulated.draws import Draws, simulated
from medgan_lib.physics import projection
from medgan_lib.physics.projection import ATTENUATION
from medgan_lib.physics.vessels import resample

NAME = "chests"
FIELD = 350.0  # mm, edge of the image
WINDOW = Window(0.5, 3.3)  # −ln of the share of photons that arrive
STEP, LEAST, MOST = 16, 32, 512  # of the size
PHOTONS = 5e4  # per mm² before the patient, at dose 1
SIDES = ("right", "left")  # of the patient: −1 and +1 along the image
LABELS = ("outside", "right lung", "left lung", "heart")
LANDMARKS = (
    *("carina", "right apex", "left apex", "right costophrenic angle", "left costophrenic angle"),
    *("right dome", "left dome", "right heart border", "left heart border", "aortic knob"),
)
RIBS, PIECES = 10, 160
CORTEX = (
    (0.0, 0.6),
    (0.8, 0.2),
    (-0.8, 0.2),
)  # across a bone, in its radius: where, and how much; the edges are denser
METAL = 0.3  # 1/mm, of a pacemaker: titanium has 0.29 at 65 keV
ROUND = 3  # exponent of the plate's outline, |u|^3 + |v|^3 = 1: between an ellipse and a rectangle
LEAD = 2.0  # mm² of metal across the lead, as of a wire of 1.6 mm
LEAD_POINTS, LEAD_PIECES = 64, 12  # of the tensor, and pieces between two of them, so that it is no row of dots
MARROW_WIDE, CORTEX_WIDE = 2.7, 1.35  # mm, widths of the Gaussians that make a bone
_NUMBERS = 512  # random numbers of a subject, apart from noise
_LINE = 128  # points of an outline


def load(
    split: str,
    *,
    size: int | None = None,
    n: int | None = None,
    seed: int = 0,
    opacity: float = 0.5,
    dose: float = 1.0,
    device: float = 0.0,
) -> Cohort:
    """``n`` (default 2,000) radiographs of 350 x 350 mm, ``size`` (default 64) pixels an edge.

    ``x`` (n, 1, size, size): −ln(counts / incident photons), 0.5 to 3.3. ``sketch``, same shape, 0 to 1: the outlines
    of lungs, heart and aortic arch, windpipe and clavicles, drawn as thin lines; not the ribs. ``labels`` int64, same
    shape, as in `LABELS`: the projected lungs without what the heart covers, and the heart. ``landmarks`` (n, 10, 2)
    mm from the middle, (down, right), in the order of `LANDMARKS`. ``heart_ratio`` (n,), the width of the heart over
    that of the thorax.

    ``opacity`` is the probability of one: ``label`` (n,), ``mask`` bool (n, 1, size, size), the pixel centres inside
    its outline and the lung; ``centre`` (n, 2) mm and ``extent`` (n, 2) mm, half its height and width (0 where there
    is none); ``healthy``, the same image without it and with the same noise. ``dose`` scales the photons. The same
    subject is the same at any ``n`` and, but for noise, at any ``size`` and ``dose``.

    ``device`` is the probability of a pacemaker in the upper chest on the patient's left, whatever the opacity. Above 0
    there are also: ``has_device`` (n,); ``device`` bool (n, 1, size, size), the pixel centres inside the plate;
    ``device_centre`` (n, 2) mm; ``device_size`` (n, 3) mm, height, width and thickness before it is tilted; ``lead``
    (n, 64, 2) mm from the plate to the tip in the heart (each 0 where there is none); ``without_device``, the same
    image with its opacity but without the device, at the same noise. ``healthy`` keeps the device: it is without the
    opacity alone. The device changes nothing else of a subject, so its chest without one is that of ``device=0``.

    ValueError: a size that is no multiple of 16 from 32 to 512, an opacity or device outside 0..1, a dose outside
    0.001..100.
    """
    size, n = size or 64, n or 2000
    if size % STEP or not LEAST <= size <= MOST:
        raise ValueError(f"size of {NAME!r} must be a multiple of {STEP} from {LEAST} to {MOST}, it is {size}")
    for what, value, low, high in (("opacity", opacity, 0, 1), ("dose", dose, 0.001, 100), ("device", device, 0, 1)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"{what} of {NAME!r} must be a number from {low} to {high}, it is {value!r}")
    tensors = cached(
        NAME,
        {
            **{"split": split, "size": size, "n": n, "seed": seed, "opacity": float(opacity), "dose": float(dose)},
            "device": float(device),
        },
        lambda: _simulate(split, size, n, seed, float(opacity), float(dose), float(device)),
    )
    tensors["labels"] = tensors["labels"].long()  # kept as bytes in the cache
    images = ("x", "healthy", "without_device") if device else ("x", "healthy")
    places = ("landmarks", "centre", "extent") + (("device_centre", "device_size", "lead") if device else ())
    units = dict.fromkeys(images, "-ln(I/I0)") | {"sketch": "1", "heart_ratio": "1"}
    return Cohort(
        name=NAME,
        tensors=tensors,
        subjects=subject_ids(split, seed, n),
        units=units | dict.fromkeys(places, "mm"),
        window=dict.fromkeys(images, WINDOW) | {"sketch": (0.0, 1.0)},
        origin="embedded",
        split=split,
        spacing=(FIELD / size, FIELD / size),
        classes={"label": ("clear", "opacity"), "labels": LABELS}
        | ({"has_device": ("none", "pacemaker")} if device else {}),
        note="simulated frontal chest radiographs, bright is dense",
        truth={"landmarks": LANDMARKS},
    )


def _simulate(
    split: str, size: int, n: int, seed: int, opacity: float, dose: float, device: float
) -> dict[str, Tensor]:
    def build(subjects: range) -> dict[str, Tensor]:
        return _batch(Draws(NAME, split, seed, subjects, _NUMBERS), size, opacity, dose, device)

    return simulated(NAME, n, build, quick=n * size**2 < 1000 * 64**2)


def _batch(draws: Draws, size: int, opacity: float, dose: float, device: float) -> dict[str, Tensor]:
    down, right = projection.grid(size, FIELD)
    pixel = FIELD / size
    y, x = down[None, :, None], right[None, None, :]
    soft, blur, n = max(0.35 * pixel, 0.6), 0.4 * pixel, len(draws)  # mm, of edges and of splats
    spill = ATTENUATION["bone"] - ATTENUATION["soft"]

    lungs = [_Lung(draws, side) for side in (-1.0, 1.0)]
    _match(lungs, draws)
    heart = _Heart(draws, lungs)
    body = _body(draws, y, x, lungs)
    filled = [lung.thickness(y, x, soft) for lung in lungs]
    lung = sum(filled)

    # what is in front of or behind a lung leaves room to the rest of it
    in_heart = heart.thickness(y, x)
    arch_at, arch_r = _arch(draws, lungs[1])
    arch = projection.ellipsoid(down, right, arch_at, torch.stack([arch_r * 1.15, arch_r], 1), arch_r * 2.2)
    vessels = _vessels(draws, size, lungs, blur)
    vessels = vessels * (lung / 60).clamp(0, 1)
    shade, inside, truth = _opacity(draws, y, x, lungs, filled, opacity)

    airway, carina, tree = _airway(draws, size, blur)
    bones, clavicles = _bones(draws, size, lungs, blur)
    gas = projection.ellipsoid(
        down, right,
        torch.stack([lungs[1].dome_y + draws.uniform(22, 34), lungs[1].dome_x + draws.uniform(-15, 10)], 1),
        torch.stack([draws.uniform(8, 15), draws.uniform(14, 28)], 1),
        draws.uniform(0, 25),
    )  # fmt: skip
    air = torch.minimum(airway + gas, body - 20).clamp(min=0)
    clear = (lung - in_heart - arch - vessels).clamp(min=0)
    clear = torch.minimum(clear, (body - 35).clamp(min=0))
    grain = _grain(draws, y, x) * (lung / 120)
    replaced = clear * shade

    def integrals(without: Tensor) -> Tensor:
        aerated = clear - without
        solid = body - aerated - air
        return (
            ATTENUATION["soft"] * solid
            + ATTENUATION["lung"] * aerated * (1 + grain)
            + spill * torch.minimum(bones, solid)
        )

    photons = torch.full((n,), PHOTONS * dose * pixel**2)
    scatter, white = draws.uniform(0.15, 0.35), draws.white(size, size)
    metal, implant = torch.zeros_like(clear), {}
    if device:  # drawn last: a subject is the same with and without one
        metal, implant = _pacemaker(draws, y, x, lungs, heart, carina, blur, device)
    healthy, image = (
        projection.expose(integrals(w) + METAL * metal, photons, scatter, white)
        for w in (torch.zeros_like(clear), replaced)
    )
    if device:
        implant["without_device"] = projection.expose(integrals(replaced), photons, scatter, white)

    labels = torch.zeros(n, size, size, dtype=torch.uint8)
    for number, lung_ in enumerate(lungs, start=1):
        labels[lung_.inside(y, x)] = number
    labels[heart.inside(y, x)] = 3
    border = heart.outline()
    knob = torch.linspace(-1.4, 1.4, 24)
    knob = arch_at[:, None] + arch_r[:, None, None] * torch.stack([1.15 * knob.sin(), knob.cos()], -1)
    outlines = [*(lung_.outline() for lung_ in lungs), border, knob, *tree, *clavicles]
    row = torch.arange(n)
    landmarks = torch.stack(
        [
            carina,
            *(lung_.apex() for lung_ in lungs),
            *(lung_.angle() for lung_ in lungs),
            *(torch.stack([lung_.dome_y, lung_.side * lung_.dome_x], 1) for lung_ in lungs),
            border[row, border[..., 1].argmin(1)],
            border[row, border[..., 1].argmax(1)],
            torch.stack([arch_at[:, 0], arch_at[:, 1] + arch_r], 1),
        ],
        1,
    )

    def scaled(image: Tensor) -> Tensor:
        return WINDOW.scale(image)[:, None]

    return {
        "x": scaled(image),
        "sketch": 2 * _sketch(size, outlines, 0.5 * pixel)[:, None] - 1,
        "labels": labels[:, None],
        "landmarks": landmarks,
        "heart_ratio": heart.ratio,
        "mask": inside[:, None],
        **truth,
        "healthy": scaled(healthy),
        **{key: scaled(value) if key == "without_device" else value for key, value in implant.items()},
    }


def _c(values: Tensor, like: Tensor | None = None) -> Tensor:
    """(n,) to (n, 1, 1), or to as many dimensions as another tensor has."""
    return values.reshape(-1, *[1] * ((3 if like is None else like.ndim) - 1))


class _Lung:
    """One lung: u runs from 0 at the apex to 1 at the costophrenic angle, distances are from the midline."""

    def __init__(self, draws: Draws, side: float):
        self.side = side
        self.top = draws.normal(-132, 5)
        self.bottom = draws.normal(108, 9)  # costophrenic angle
        self.apex_x = draws.normal(47, 3)
        self.wide = draws.normal(128, 5)
        self.hilum = draws.normal(21 if side < 0 else 24, 2)
        self.arch = draws.uniform(1.7, 2.3)
        self.dome_y = self.bottom - draws.normal(46 if side < 0 else 36, 5)
        self.dome_x = draws.normal(62 if side < 0 else 90, 4)  # on the left, of what the heart leaves to be seen
        self.deep = draws.normal(150, 10)

    def _share(self, y: Tensor) -> Tensor:
        return ((y - _c(self.top, y)) / _c(self.bottom - self.top, y)).clamp(0, 1)

    def lateral(self, y: Tensor) -> Tensor:
        """Distance from the midline at which the chest wall bounds the lung, at the height y (n, ...)."""
        u = self._share(y)
        arch = (1 - (1 - u) ** (2 * _c(self.arch, y)) + 1e-9).sqrt()
        return _c(self.apex_x, y) + _c(self.wide - self.apex_x, y) * arch * (1 - 0.12 * (1 - u) * u)

    def medial(self, y: Tensor) -> Tensor:
        """And the mediastinum."""
        u = self._share(y)
        inwards = (1 - (1 - u) ** 9 + 1e-9).sqrt()
        bulge = 9 * torch.exp(-(((u - 0.5) / 0.2) ** 2)) - 4 * torch.exp(-(((u - 0.85) / 0.15) ** 2))
        return _c(self.apex_x, y) + _c(self.hilum - self.apex_x, y) * inwards + bulge

    def dome(self, x: Tensor) -> Tensor:
        """Height of the diaphragm at the distance x (n, ...) from the midline: a dome, steep towards the angle."""
        away = x - _c(self.dome_x, x)
        out = (away / _c(self.wide - self.dome_x, x)).clamp(min=0)
        rise = torch.where(away > 0, out**2.4, 0.14 * (away / _c(self.dome_x, x)) ** 2)
        return _c(self.dome_y, x) + _c(self.bottom - self.dome_y, x) * rise

    def inside(self, y: Tensor, x: Tensor) -> Tensor:
        x = x * self.side
        between = (x > self.medial(y)) & (x < self.lateral(y))
        return between & (y > _c(self.top)) & (y < self.dome(x)) & (y < _c(self.bottom))

    def thickness(self, y: Tensor, x: Tensor, soft: float) -> Tensor:
        """mm (n, h, w) of lung along the ray, the recess behind the diaphragm included."""
        x = x * self.side
        edge, inner = self.lateral(y), self.medial(y)
        out = ((x - inner) / (edge - inner).clamp(min=1)).clamp(0, 1)
        wall = (1 - out**3.2).clamp(min=0).sqrt()  # the chest wall bends away to the side
        wall = wall * _step(x - inner, 2.5 + soft)
        tip = (1 - (1 - self._share(y)) ** 3).clamp(min=0).sqrt()  # and the apex narrows
        above = self.dome(x) - y
        cut = torch.where(
            above > 0, 1 - 0.5 * torch.exp(-above.clamp(min=0) / 22), 0.2 * torch.exp(above.clamp(max=0) / 26)
        )
        cut = cut + (_step(above, soft) - (above > 0).float()) * 0.3
        recess = _step(_c(self.bottom) + 4 - y, 2 + soft)
        return _c(self.deep) * wall * tip * cut.clamp(0, 1) * recess * (y > _c(self.top))

    def apex(self) -> Tensor:
        return torch.stack([self.top, self.side * self.apex_x], 1)

    def angle(self) -> Tensor:
        return torch.stack([self.bottom, self.side * self.wide], 1)

    def outline(self) -> Tensor:
        """(n, 4 * _LINE, 2) closed: down the side, along the diaphragm, up the mediastinum."""
        share = torch.linspace(0, 1, 2 * _LINE)[None]
        y = self.top[:, None] + share**2 * (self.bottom - self.top)[:, None]  # close together at the apex
        down = torch.stack([y, self.lateral(y)], -1)
        foot = self.foot()
        x = self.wide[:, None] + share[:, ::2] * (foot[:, 1] - self.wide)[:, None]
        along = torch.stack([self.dome(x), x], -1)
        y = foot[:, :1] + (1 - (1 - share[:, ::2]) ** 2) * (self.top - foot[:, 0])[:, None]
        up = torch.stack([y, self.medial(y)], -1)
        return torch.cat([down, along, up], 1) * torch.tensor([1.0, self.side])

    def foot(self) -> Tensor:
        """(n, 2): where the diaphragm meets the mediastinum."""
        x = self.hilum
        for _ in range(4):
            y = self.dome(x)
            x = self.medial(y)
        return torch.stack([y, x], 1)


def _match(lungs: list[_Lung], draws: Draws) -> None:
    """Two lungs of one thorax differ less than two people's."""
    first, second = lungs
    for name, share in (("top", 0.85), ("bottom", 0.7), ("wide", 0.7), ("apex_x", 0.8), ("deep", 1.0), ("arch", 0.8)):
        mine, other = getattr(second, name), getattr(first, name)
        setattr(second, name, mine + share * (other - mine))
    second.dome_y = second.bottom - draws.normal(36, 4)
    scale = draws.normal(1, 0.05)
    for lung in lungs:
        for name in ("top", "bottom", "wide", "apex_x", "dome_y", "dome_x", "hilum"):
            setattr(lung, name, getattr(lung, name) * scale)


class _Heart:
    """A star-shaped outline around a centre, and an ellipsoid's thickness inside."""

    def __init__(self, draws: Draws, lungs: list[_Lung]):
        n = len(draws)
        thorax = lungs[0].wide + lungs[1].wide
        self.ratio = draws.normal(0.46, 0.04)
        # the outline for a half-axis of 1, then scaled to the width that the ratio asks for
        self.angles = torch.linspace(-math.pi, math.pi, 2 * _LINE + 1)[None].expand(n, -1)
        tilt, flat = draws.normal(0.62, 0.1), draws.normal(0.74, 0.05)
        bumps = draws.normal(0, 0.013, k=4)
        turned = self.angles - tilt[:, None]
        radius = 1 / torch.sqrt(torch.cos(turned) ** 2 + (torch.sin(turned) / flat[:, None]) ** 2)
        radius = radius * (1 + sum(bumps[:, k, None] * torch.cos((k + 2) * self.angles + 1.7 * k) for k in range(4)))
        reach = radius * torch.cos(self.angles)
        self.radius = radius * (self.ratio * thorax / (reach.amax(1) - reach.amin(1)))[:, None]
        reach = self.radius * torch.cos(self.angles)
        # the right border stands a third of the width, or less, to the right of the midline
        left_of = draws.uniform(0.24, 0.32) * self.ratio * thorax
        low = self.radius * torch.sin(self.angles)
        floor = (lungs[0].dome_y + lungs[1].dome_y) / 2 + draws.normal(26, 4)
        self.centre = torch.stack([floor - low.amax(1), -left_of - reach.amin(1)], 1)
        self.deep = draws.normal(50, 4)

    def _shape(self, y: Tensor, x: Tensor) -> Tensor:
        """Distance from the centre as a share of the outline's, (n, h, w)."""
        v, u = y - _c(self.centre[:, 0]), x - _c(self.centre[:, 1])
        at = (torch.atan2(v, u) + math.pi) * (self.radius.shape[1] - 1) / (2 * math.pi)
        low = at.long().clamp(max=self.radius.shape[1] - 2)
        edge = self.radius.gather(1, low.flatten(1)).reshape(at.shape)
        rise = self.radius.gather(1, low.flatten(1) + 1).reshape(at.shape) - edge
        return torch.hypot(v, u) / (edge + (at - low) * rise)

    def inside(self, y: Tensor, x: Tensor) -> Tensor:
        return self._shape(y, x) < 1

    def thickness(self, y: Tensor, x: Tensor) -> Tensor:
        return 2 * _c(self.deep) * (1 - self._shape(y, x) ** 4).clamp(min=0).sqrt()

    def outline(self) -> Tensor:
        return torch.stack(
            [
                self.centre[:, :1] + self.radius * self.angles.sin(),
                self.centre[:, 1:] + self.radius * self.angles.cos(),
            ],
            -1,
        )


def _step(distance: Tensor, soft: float) -> Tensor:
    """0 to 1 across an edge, over about twice ``soft`` mm."""
    return torch.sigmoid(distance * (2 / soft))


def _body(draws: Draws, y: Tensor, x: Tensor, lungs: list[_Lung]) -> Tensor:
    """mm (n, h, w) of the trunk, neck and shoulders, from skin to skin."""
    wide = (lungs[0].wide + lungs[1].wide) / 2 + draws.normal(34, 6)
    deep, neck = draws.normal(112, 8), draws.normal(58, 4)
    shoulder, slope = draws.normal(-142, 6), draws.uniform(0.2, 0.4)
    armpit = draws.normal(-45, 10)
    # above the armpits the trunk widens into the shoulders
    half = _c(wide) + 90 * torch.sigmoid((_c(armpit) - y) / 14)
    trunk = 2 * _c(deep) * (1 - (x.abs() / half).clamp(max=1) ** 2.6).sqrt()
    beyond = (x.abs() - _c(neck)).clamp(min=0)
    top = _c(shoulder) + _c(slope) * beyond
    trunk = trunk * (1 - torch.exp(-((y - top).clamp(min=0) / 45))) ** 0.6
    around = 2 * 62 * (1 - (x / _c(neck)).abs().clamp(max=1) ** 2).sqrt()
    return torch.maximum(trunk, around * torch.sigmoid((-100 - y) / 8))


def _arch(draws: Draws, lung: _Lung) -> tuple[Tensor, Tensor]:
    """Centre (n, 2) and radius (n,) of the aortic arch, which bulges out of the left side of the mediastinum."""
    radius = draws.normal(17, 2)
    at = lung.top + draws.normal(66, 4)
    out = lung.medial(at) + draws.uniform(5, 12)
    return torch.stack([at, out - radius], 1), radius


def _airway(draws: Draws, size: int, blur: float) -> tuple[Tensor, Tensor, list[Tensor]]:
    """mm of air in the windpipe and the main bronchi, the carina (n, 2), and their outlines."""
    n = len(draws)
    carina = torch.stack([draws.normal(-58, 6), draws.normal(3, 2)], 1)
    radius, lean = draws.normal(8, 0.8), draws.normal(-3, 3)
    share = torch.linspace(0, 1, 48)
    top = torch.tensor([-200.0, 0.0]) + torch.stack([torch.zeros(n), lean], 1)
    fork = carina - torch.stack([radius, torch.zeros(n)], 1)  # where the axes meet: the carina is the wall between them
    ends = []
    for side, steep, reach in ((-1.0, draws.normal(0.45, 0.06), 42), (1.0, draws.normal(0.8, 0.06), 52)):
        ends.append(fork + reach * torch.stack([torch.cos(steep), side * torch.sin(steep)], 1))
    parts, outlines = [], []
    for start, end, r in ((top, fork, radius), (fork, ends[0], 0.75 * radius), (fork, ends[1], 0.68 * radius)):
        points = start[:, None] + share[:, None] * (end - start)[:, None]
        step = (end - start).norm(dim=1) / len(share)
        fade = torch.ones(len(share)) if r is radius else 1 - 0.5 * share
        parts.append((points, (math.pi * r**2 * step)[:, None] * fade))
        across = (end - start).flip(1) / (end - start).norm(dim=1, keepdim=True) * torch.tensor([1.0, -1.0])
        outlines += [points + side * (r[:, None] * across)[:, None] for side in (-1, 1)]
    return _splat(size, parts, 3.8, blur), carina, outlines


def _splat(size: int, parts: list[tuple[Tensor, Tensor]], width: float, blur: float) -> Tensor:
    """All (points, volumes) at once, ``blur`` mm wider: a Gaussian much thinner than a pixel would be missed."""
    points, volumes = (torch.cat([part[k] for part in parts], 1) for k in (0, 1))
    return projection.splat(size, FIELD, points, volumes, math.hypot(width, blur))


def _bones(draws: Draws, size: int, lungs: list[_Lung], blur: float) -> tuple[Tensor, list[Tensor]]:
    """mm of bone (n, h, w), and the outlines of the clavicles (n, points, 2)."""
    top, bottom = lungs[0].top, lungs[0].bottom
    pitch = (bottom - top) * draws.normal(0.098, 0.004)
    first = top + draws.normal(-6, 3)
    marrow, cortex, lines = _spine(draws, first, pitch), [], []

    # clavicles: an S from beside the breastbone to the shoulder
    share = torch.linspace(0, 1, 80)
    rise, s = draws.normal(-20, 8), draws.normal(6, 1.5)
    for lung in lungs:
        y0, x1 = lung.top + draws.normal(36, 4), draws.normal(165, 6)
        x = 14 + share * (x1[:, None] - 14)
        y = y0[:, None] + rise[:, None] * share + s[:, None] * torch.sin(2 * math.pi * share)
        points = torch.stack([y, lung.side * x], -1)
        step = points.diff(dim=1).norm(dim=-1).mean(1)
        thick = 5.0 + 2.5 * (2 * (share - 0.5).abs()) ** 3
        for shift, part in CORTEX:
            at = points + torch.stack([shift * thick, torch.zeros(len(share))], -1)
            (cortex if shift else marrow).append((at, part * 0.85 * math.pi * thick**2 * step[:, None]))
        lines += [points + side * torch.stack([thick, torch.zeros(len(share))], -1) for side in (-1, 1)]

    # ribs: from the spine backwards, out to the side and down to the front
    order = torch.arange(RIBS) / (RIBS - 1)
    start = first[:, None] + pitch[:, None] * torch.arange(RIBS)
    turn = torch.linspace(0.12, 2.45, PIECES)  # rad, 0 at the spine, pi at the breastbone
    slant = (34 + 66 * order) * draws.normal(1, 0.08)[:, None]  # mm from back to front
    r = draws.normal(5.4, 0.4)
    end = torch.linspace(0, 1, PIECES).sub(0.92).div(0.08).clamp(min=0)  # it goes over into cartilage
    for lung in lungs:
        wide = lung.lateral((start + 0.45 * slant).clamp(max=bottom[:, None])) + 4
        x = wide[:, :, None] * turn.sin()
        x = x + (18 - x).clamp(min=0) * (turn < 1)
        z = (0.75 * lung.deep[:, None, None] * turn.cos()).expand_as(x)
        y = start[:, :, None] + slant[:, :, None] * (1 - torch.cos(turn)) / 2 - 7 * torch.sin(2 * turn).clamp(min=0)
        points = torch.stack([y, lung.side * x], -1)
        step = torch.stack([y, x, z], -1).diff(dim=2).norm(dim=-1)
        step = torch.nn.functional.pad(step, (0, 1), mode="replicate")
        across = torch.nn.functional.normalize(points.diff(dim=2), dim=-1).flip(-1) * torch.tensor([1.0, -1.0])
        across = torch.cat([across, across[:, :, -1:]], 2)
        volume = (0.55 * math.pi * r[:, None, None] ** 2 * step * (1 - 0.8 * end)).flatten(1)
        for shift, part in CORTEX:
            at = (points + shift * r[:, None, None, None] * across).flatten(1, 2)
            (cortex if shift else marrow).append((at, part * volume))
    return _splat(size, marrow, MARROW_WIDE, blur) + _splat(size, cortex, CORTEX_WIDE, blur), lines


def _spine(draws: Draws, first: Tensor, pitch: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Points and volumes of vertebral bodies, with discs between them, and of their pedicles."""
    level = torch.arange(18.0)
    bow, phase = draws.normal(0, 3), draws.angle()
    at = first[:, None] - 45 + 0.98 * pitch[:, None] * level
    middle = bow[:, None] * torch.sin(at / 80 + phase[:, None])
    block = torch.cartesian_prod(torch.linspace(-8, 8, 5), torch.linspace(-13, 13, 8))
    points = (torch.stack([at, middle], -1)[:, :, None] + block).flatten(1, 2)
    parts = [(points, torch.full(points.shape[:2], 36 * 22 * 24 / len(block)))]
    for side in (-15.0, 15.0):
        points = torch.stack([at - 3, middle + side], -1)
        parts.append((points, torch.full(points.shape[:2], 500.0)))
    return parts


def _vessels(draws: Draws, size: int, lungs: list[_Lung], blur: float) -> Tensor:
    """mm of blood (n, h, w): arteries and veins that leave the hila, fork and taper."""
    n, each, pieces = len(draws), 12, 32
    near, far, share = [], [], torch.linspace(0, 1, pieces)
    knots = torch.zeros(n, size, size)
    for lung in lungs:
        hilum = torch.stack([-22 + draws.normal(0, 4), lung.hilum + draws.normal(12, 2)], 1)
        fan = torch.linspace(-1.25, 1.35, each)  # rad, upwards to downwards
        way = fan + draws.normal(0, 0.12, k=each)
        reach = (60 + 35 * fan.clamp(min=0)) * draws.uniform(0.7, 1.15, k=each)
        thick, curve = draws.uniform(2.0, 3.6, k=each), draws.normal(0, 0.35, k=each)
        twigs = [_twig(hilum[:, None].expand(n, each, 2), way, reach, thick, curve, share)]
        for fork in (-0.55, 0.55):  # two of each
            at = (draws.uniform(0.3, 0.75, k=each) * (pieces - 1)).long()
            start = twigs[0][0].gather(2, at[:, :, None, None].expand(-1, -1, 1, 2))[:, :, 0]
            turn = fork + draws.normal(0, 0.15, k=each)
            twigs.append(_twig(start, way + turn, 0.55 * reach, 0.6 * thick, -curve, share))
        place = torch.tensor([1.0, lung.side])
        for points, volume in twigs:
            part = (points * place).flatten(1, 2), volume.flatten(1)
            (near if points is twigs[0][0] else far).append(part)
        knot = (hilum + torch.tensor([4.0, 0.0])) * place
        axes = torch.stack([draws.normal(20, 3), draws.normal(14, 2)], 1)
        knots = knots + projection.ellipsoid(*projection.grid(size, FIELD), knot, axes, draws.uniform(10, 16))
    return _splat(size, near, 1.2, blur) + _splat(size, far, 0.8, blur) + 0.02 * knots**2


def _twig(
    start: Tensor, way: Tensor, reach: Tensor, thick: Tensor, curve: Tensor, share: Tensor
) -> tuple[Tensor, Tensor]:
    """Points (n, each, pieces, 2) and their volumes; ``way`` from outwards to downwards."""
    towards = way[..., None] + curve[..., None] * share
    step = (reach / len(share))[..., None]
    move = torch.stack([towards.sin() * step, towards.cos() * step], -1).cumsum(2)
    radius = thick[..., None] * (1 - 0.75 * share)
    return start[:, :, None] + move, 2 * math.pi * radius**2 * step


def _grain(draws: Draws, y: Tensor, x: Tensor) -> Tensor:
    """Slow changes of the lung's density (n, h, w), a share."""
    total = 0
    for _ in range(5):
        way, phase = draws.angle(), draws.angle()
        per_mm = 2 * math.pi / draws.uniform(35, 110)
        total = total + torch.cos(_c(per_mm * way.sin()) * y + _c(per_mm * way.cos()) * x + _c(phase))
    return 0.09 * total / math.sqrt(2.5)


def _opacity(
    draws: Draws, y: Tensor, x: Tensor, lungs: list[_Lung], filled: list[Tensor], probability: float
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """(share of the lung's air that is gone, pixel centres inside the outline and the lung, factors)."""
    label = (draws.uniform() < probability).long()
    left = draws.uniform() < 0.5
    high, along, across = draws.uniform(0.28, 0.8), draws.uniform(0.25, 0.75), draws.uniform(16, 40)
    squash, density = draws.uniform(0.7, 1.3), draws.uniform(0.35, 0.8)
    bumps, phases = draws.uniform(0.0, 0.08, k=3), draws.angle(k=3)
    places, inside = [], []
    for lung in lungs:
        down = lung.top + high * (lung.dome_y - lung.top)
        low, far = lung.medial(down), lung.lateral(down)
        places.append(torch.stack([down, lung.side * (low + along * (far - low))], 1))
        inside.append(lung.inside(y, x))
    centre = torch.where(left[:, None], places[1], places[0])
    lung = torch.where(_c(left), inside[1], inside[0])
    there = torch.where(_c(left), filled[1], filled[0]) > 0
    extent = torch.stack([across * squash.sqrt(), across / squash.sqrt()], 1)
    v, u = (y - _c(centre[:, 0])) / _c(extent[:, 0]), (x - _c(centre[:, 1])) / _c(extent[:, 1])
    angle = torch.atan2(v, u)
    edge = 1 + sum(_c(bumps[:, k]) * (torch.cos((k + 2) * angle + _c(phases[:, k]))) for k in range(3))
    share = torch.hypot(v, u) / edge
    patchy = 1 + 0.25 * torch.sin(0.16 * (y + 0.6 * x) + _c(phases[:, 0])) * torch.sin(
        0.13 * (x - 0.5 * y) + _c(phases[:, 1])
    )
    shade = _c(density) * torch.sigmoid((1 - share) / 0.1) * patchy * there * _c(label.float())
    found = (share < 1) & lung & _c(label).bool()
    drawn = label[:, None].float()
    return shade.clamp(max=0.95), found, {"label": label, "centre": centre * drawn, "extent": extent * drawn}


def _pacemaker(
    draws: Draws, y: Tensor, x: Tensor, lungs: list[_Lung], heart: _Heart, carina: Tensor, blur: float, share: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """mm of metal along the ray (n, h, w) and what is known of it; all 0 where a subject has no device.

    It lies in a pocket under the skin, so it adds to the rays and replaces nothing. The lead runs under the clavicle,
    along the great veins to the right atrium, and through it to the tip of the right ventricle.
    """
    lung = lungs[1]
    has = draws.uniform() < share
    size = torch.stack([draws.uniform(37, 43), draws.uniform(32, 38), draws.uniform(5.5, 6.5)], 1)
    centre = torch.stack([lung.top + draws.uniform(62, 92), draws.uniform(0.55, 0.82) * lung.wide], 1)
    tilt = draws.uniform(-0.35, 0.35)

    down, right = y - _c(centre[:, 0]), x - _c(centre[:, 1])
    v = _c(tilt.cos()) * down + _c(tilt.sin()) * right
    u = _c(tilt.cos()) * right - _c(tilt.sin()) * down
    edge = ((2 * v / _c(size[:, 0])).abs() ** ROUND + (2 * u / _c(size[:, 1])).abs() ** ROUND) ** (1 / ROUND)
    pixel = FIELD / x.shape[-1]
    inwards = torch.hypot(v, u) * (1 / edge.clamp(min=1e-6) - 1)  # mm to the outline, away from the centre
    plate = _c(size[:, 2]) * _step(inwards, max(0.35 * pixel, 0.6))

    lead = _lead(draws, centre, size, tilt, lung, heart, carina)
    volume = LEAD * lead.diff(dim=1).norm(dim=-1).mean(1)[:, None] * torch.ones(lead.shape[1])
    volume[:, -LEAD_PIECES:] *= 2.5  # the electrode at the tip is thicker
    wire = _splat(x.shape[-1], [(lead, volume)], 0.5, blur)
    there = has.float()
    return (plate + wire) * _c(there), {
        "has_device": has.long(),
        "device": ((edge < 1) & _c(has))[:, None],
        "device_centre": centre * there[:, None],
        "device_size": size * there[:, None],
        "lead": lead[:, ::LEAD_PIECES] * there[:, None, None],
    }


def _lead(
    draws: Draws, centre: Tensor, size: Tensor, tilt: Tensor, lung: _Lung, heart: _Heart, carina: Tensor
) -> Tensor:
    """(n, points, 2) mm, equidistant, from the upper edge of the plate to the tip of the right ventricle."""
    up = 0.5 * size[:, :1] * torch.stack([-tilt.cos(), -tilt.sin()], 1)
    towards = draws.normal(0.6, 0.06)  # rad below the left: the tip of the heart
    angle = ((towards / math.pi + 1) * _LINE).round().long()
    tip = 0.8 * heart.radius.gather(1, angle[:, None]) * torch.stack([towards.sin(), towards.cos()], 1)
    border = heart.centre[:, 1] + (heart.radius * heart.angles.cos()).amin(1)
    ways = [
        centre + up,
        torch.stack([centre[:, 0] - 0.5 * size[:, 0] - 12, centre[:, 1] - 12], 1),
        torch.stack([lung.top + draws.normal(42, 2), torch.full_like(lung.top, 46)], 1),  # under the clavicle
        torch.stack([lung.top + draws.normal(50, 2), torch.full_like(lung.top, 14)], 1),
        torch.stack([carina[:, 0] - 8, draws.normal(-19, 1.5)], 1),  # upper hollow vein
        torch.stack([heart.centre[:, 0] - 8, border + draws.uniform(12, 18)], 1),  # right atrium
        heart.centre + torch.stack([0.8 * tip[:, 0], 0.1 * tip[:, 1]], 1),
        heart.centre + tip,
    ]
    path = torch.stack(ways, -1)
    along = torch.nn.functional.pad(path.diff(dim=-1).norm(dim=1).cumsum(-1), (1, 0))
    points = (LEAD_POINTS - 1) * LEAD_PIECES + 1
    fine = resample(path, along, points)
    along = torch.nn.functional.pad(fine.diff(dim=-1).norm(dim=1).cumsum(-1), (1, 0))
    return resample(fine, along, points).mT


def _sketch(size: int, outlines: list[Tensor], width: float) -> Tensor:
    """(n, h, w) from 0 to 1: lines of about two pixels' width, as if drawn."""
    points, volume = [], []
    for line in outlines:
        # so many points on each piece that it is no row of dots: they are at most 8 mm apart
        parts = torch.arange(6) / 6
        points.append((line[:, :-1, None] + parts[:, None] * line.diff(dim=1)[:, :, None]).flatten(1, 2))
        volume.append((line.diff(dim=1).norm(dim=-1) / 6)[..., None].expand(-1, -1, 6).flatten(1))
    points, volume = torch.cat(points, 1), torch.cat(volume, 1)
    ink = projection.splat(size, FIELD, points, volume, width)
    return (ink * (math.sqrt(2 * math.pi) * width)).clamp(max=1)  # 1 in the middle of a line
