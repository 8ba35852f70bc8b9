"""Simulated OCT B-scans of the macula: layers with known boundaries, foveal pit, speckle; drusen and fluid on request.

The thickness of each layer is a smooth function of the distance to the fovea through the means of healthy eyes in the
macula's sectors (BMC Ophthalmol 18:169, 2018, table 6, doi:10.1186/s12886-018-0842-y), times factors drawn per
subject; the retina lies on a curved and tilted pigment epithelium, the scan passes the fovea at a drawn distance.
Reflectivities, in dB above the detector's noise, are ours, chosen for the look of spectral-domain OCT. Retinal
vessels brighten the inner retina and cast shadows, the choroid has dark vessels and fades with depth. Drusen lift the
pigment epithelium off Bruch's membrane; fluid lifts the retina off the pigment epithelium, or fills cysts inside it.
Speckle multiplies the intensity (`medgan_lib.physics.interference`).

Depth is down, and the nose to the right, as in a right eye.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from medgan_lib.cohorts.cache import cached
from medgan_lib.cohorts.cohort import Cohort, Window, subject_ids
from medgan_lib.cohorts.simulated.draws import Draws, simulated
from medgan_lib.physics import interference as physics

NAME = "retinas"
DEPTH, WIDTH = 0.96, 6.0  # mm
WINDOW = Window(-5.0, 33.0)  # dB
STEP, LEAST, MOST = 8, 32, 512  # of the size
RESOLUTION = 3.0  # µm, standard deviation of the axial point spread
KINDS = ("drusen", "fluid")
# what lies above the first boundary, between, and below the last
LAYERS = (
    *("vitreous", "nerve fibres", "ganglion cells", "inner plexiform", "inner nuclear", "outer plexiform"),
    *("outer nuclear", "inner segments", "outer segments", "pigment epithelium", "choroid", "sclera"),
)
BOUNDARIES = (
    *("ILM", "RNFL-GCL", "GCL-IPL", "IPL-INL", "INL-OPL", "OPL-ONL", "ELM", "EZ", "RPE", "BM", "choroid-sclera"),
)
# µm at the centre of the fovea, 1 mm and 2.25 mm from it
THICKNESS = {
    "nerve fibres": (0.0, 21.0, 33.0),
    "ganglion cells": (0.0, 50.0, 37.0),
    "inner plexiform": (0.0, 41.0, 30.0),
    "inner nuclear": (0.0, 39.0, 33.0),
    "outer plexiform": (8.0, 33.0, 27.0),
    "outer nuclear": (102.0, 66.0, 55.0),
    "inner segments": (30.0, 27.0, 26.0),
    "outer segments": (46.0, 40.0, 38.0),
    "pigment epithelium": (18.0, 16.0, 14.5),
}
BRIGHTNESS = (-40.0, 23.0, 17.0, 19.0, 12.5, 17.5, 8.0, 14.0, 20.5, 27.5, 18.0, 13.5)  # dB, of LAYERS
_NUMBERS = 256
_MOST = 6  # drusen or cysts


def load(
    split: str,
    *,
    size: int | None = None,
    n: int | None = None,
    seed: int = 0,
    abnormal: float = 0.0,
    kinds: tuple[str, ...] | list[str] | str = KINDS,
) -> Cohort:
    """``n`` (default 2,000) B-scans of 0.96 mm depth and 6 mm width, ``size`` (default 64) pixels each way.

    ``x`` (n, 1, size, size): dB above the mean noise, −5 to 33. ``layers`` int64, same shape: the layer at the pixel's
    centre, as in `LAYERS`. ``boundaries`` (n, 11, size) µm from the top at the centres of the columns, as in
    `BOUNDARIES`. Known of each (n,): ``contrast``, the standard deviation over the mean of the speckle's intensity;
    ``offset`` mm from the scan to the fovea's centre, across it; ``thickness`` µm from ILM to BM, its mean.

    ``abnormal`` is the probability of one of the ``kinds``: ``label`` (n,) 0 normal, 1 drusen, 2 fluid; ``mask`` bool
    (n, 1, size, size), the pixels whose centre is in it; ``healthy``, the same scan without it and with the same
    speckle. The same subject is the same at any ``n`` and, but for speckle, ``size``.

    ValueError: a size that is no multiple of 8 from 32 to 512, a probability outside 0..1, an unknown kind.
    """
    size, n = size or 64, n or 2000
    if size % STEP or not LEAST <= size <= MOST:
        raise ValueError(f"size of {NAME!r} must be a multiple of {STEP} from {LEAST} to {MOST}, it is {size}")
    if isinstance(abnormal, bool) or not isinstance(abnormal, int | float) or not 0 <= abnormal <= 1:
        raise ValueError(f"abnormal of {NAME!r} must be a number from 0 to 1, it is {abnormal!r}")
    kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    if not kinds or len(set(kinds)) < len(kinds) or not set(kinds) <= set(KINDS):
        raise ValueError(f"kinds of {NAME!r} are one or both, each once, of {', '.join(KINDS)}, they are {kinds!r}")
    tensors = cached(
        NAME,
        {"split": split, "size": size, "n": n, "seed": seed, "abnormal": float(abnormal), "kinds": sorted(kinds)},
        lambda: _simulate(split, size, n, seed, float(abnormal), kinds),
    )
    tensors["layers"] = tensors["layers"].long()  # kept as bytes in the cache
    units = {"x": "dB", "healthy": "dB", "boundaries": "um", "thickness": "um", "contrast": "1", "offset": "mm"}
    return Cohort(
        name=NAME,
        tensors=tensors,
        subjects=subject_ids(split, seed, n),
        units=units,
        window={"x": WINDOW, "healthy": WINDOW},
        origin="embedded",
        split=split,
        spacing=(DEPTH / size, WIDTH / size),
        classes={"label": ("normal", *KINDS), "layers": LAYERS},
        note="simulated OCT B-scans of the macula, dB above noise",
        truth={"boundaries": BOUNDARIES},
    )


def _simulate(split: str, size: int, n: int, seed: int, abnormal: float, kinds: tuple[str, ...]) -> dict[str, Tensor]:
    def build(subjects: range) -> dict[str, Tensor]:
        return _batch(Draws(NAME, split, seed, subjects, _NUMBERS), size, abnormal, kinds)

    return simulated(NAME, n, build, quick=n * size**2 < 1000 * 64**2)


def _batch(draws: Draws, size: int, abnormal: float, kinds: tuple[str, ...]) -> dict[str, Tensor]:
    depth = (torch.arange(size) + 0.5) * (1000 * DEPTH / size)  # µm
    x = (torch.arange(size) + 0.5) * (WIDTH / size) - WIDTH / 2  # mm
    n, resolution = len(draws), math.hypot(RESOLUTION, 0.3 * 1000 * DEPTH / size)

    fovea, offset = draws.normal(0, 0.35), draws.normal(0, 0.7)
    across = x - fovea[:, None]
    away = torch.hypot(across, offset[:, None])
    thickness = _thickness(draws, across, away)
    membrane = _base(draws, x)  # Bruch's membrane
    anomaly = _anomaly(draws, x, abnormal, kinds)
    sound, sick = (_stack(thickness, membrane, lift) for lift in (None, anomaly))

    level = _brightness(draws, x, away)
    shadow = _shadows(draws, x)
    choroid = _choroid(draws, depth, x, membrane)
    looks = draws.uniform(6, 20)
    grain = torch.stack(
        [physics.speckle(float(k), (size, size), rng) for k, rng in zip(looks, draws.streams, strict=True)]
    )

    def scan(boundaries: Tensor, inside: Tensor, content: Tensor) -> Tensor:
        below = (depth[:, None] - boundaries[:, None, 9]).clamp(min=0)
        intensity = physics.layered(depth, boundaries, physics.from_db(level), resolution)
        fade = physics.from_db(-below / 24)  # 10 dB in 240 µm below Bruch's membrane
        deep = (below > 0) * choroid
        intensity = intensity * fade * physics.from_db(deep)
        intensity = intensity + inside * (content - intensity)
        under = torch.sigmoid((depth[:, None] - boundaries[:, None, 1] - 20) / 12)
        intensity = intensity * (1 - under * shadow[:, None])
        x = physics.to_db((intensity + 1) * grain)  # the detector's noise, 1, is speckled as well
        return WINDOW.scale(x)[:, None]

    none = torch.zeros(n, size, size)
    inside, mask, content = _filled(anomaly, sick, depth, x, resolution)
    return {
        "x": scan(sick, inside, content),
        "layers": physics.number(depth, sick).to(torch.uint8)[:, None],
        "boundaries": sick,
        "contrast": 1 / looks.sqrt(),
        "offset": offset,
        "thickness": (sick[:, 9] - sick[:, 0]).mean(1),
        "label": anomaly["label"],
        "mask": mask[:, None],
        "healthy": scan(sound, none, none),
    }


def _thickness(draws: Draws, across: Tensor, away: Tensor) -> Tensor:
    """µm (n, 9, w) of the layers from the nerve fibres to the pigment epithelium."""
    whole, wide = draws.normal(1, 0.04), draws.normal(0.42, 0.05)  # mm, half the width of the pit
    layers = []
    pit = 1 - torch.exp(-((away / wide[:, None]) ** 2))
    ring = torch.exp(-(((away - 1).clamp(min=0) / 0.9) ** 2))
    for name, (centre, near, far) in THICKNESS.items():
        own = whole * draws.normal(1, 0.06)
        plain = far + (near - far) * ring
        if name == "nerve fibres":  # thicker towards the optic disc
            plain = plain * (1 + 0.38 * torch.tanh(across)) + 5 * torch.exp(0.9 * (across - 1.6))
        layers.append(own[:, None] * (centre + (plain - centre) * pit))
    return torch.stack(layers, 1)


def _base(draws: Draws, x: Tensor) -> Tensor:
    """µm (n, w): the depth of Bruch's membrane."""
    share = x / (WIDTH / 2)
    wave = draws.normal(0, 6)[:, None] * torch.sin(2 * share + draws.angle()[:, None])
    bow, tilt = draws.uniform(-10, 110), draws.normal(0, 35)
    return draws.uniform(590, 690)[:, None] - bow[:, None] * share**2 + tilt[:, None] * share + wave


def _anomaly(draws: Draws, x: Tensor, abnormal: float, kinds: tuple[str, ...]) -> dict[str, Tensor]:
    """How far drusen and fluid lift what lies above them (n, w) µm, and the cysts (n, 6, ...)."""
    n = len(draws)
    sick, which, how = draws.uniform() < abnormal, draws.uniform(), draws.uniform()
    drusen = which < (0.5 if len(kinds) > 1 else float("drusen" in kinds))
    label = torch.where(sick, torch.where(drusen, 1, 2), 0)
    place, one, two, three = (draws.uniform(k=_MOST) for _ in range(4))
    count = 1 + (draws.uniform() * _MOST).long()
    there = torch.arange(_MOST) < count[:, None]

    middle = WIDTH * 0.44 * (2 * place - 1)
    height, half = 38 + 60 * one**1.5, 0.09 + 0.14 * two  # µm, mm
    # a dome: steep sides and a flat top
    bumps = torch.exp(-(((x - middle[..., None]) / (1.35 * half[..., None])).abs() ** 3))
    druse = (bumps * (height * there * (label == 1)[:, None])[..., None]).amax(1)

    pool = (label == 2) & (how < 0.6)
    bell = (1 - ((x - 0.6 * middle[:, :1]) / (0.5 + 0.9 * two[:, :1])) ** 2).clamp(min=0)
    fluid = bell**1.3 * ((60 + 130 * one[:, :1]) * pool[:, None])

    cystic = ((label == 2) & (how >= 0.4))[:, None] & there
    return {
        "label": label,
        "druse": druse,
        "fluid": fluid,
        "cyst": cystic,
        "at": 0.75 * middle,
        "level": three,
        "high": 16 + 26 * one,
        "wide": 0.12 + 0.2 * two,
        "flat": torch.zeros(n, len(x)),
    }


def _stack(thickness: Tensor, membrane: Tensor, lift: dict[str, Tensor] | None) -> Tensor:
    """µm (n, 11, w): the boundaries from the ILM to the end of the choroid."""
    up = thickness.flip(1).cumsum(1).flip(1)  # from each boundary down to Bruch's membrane
    boundaries = membrane[:, None] - up
    if lift is not None:
        # drusen lift the pigment epithelium, and the nuclear layer gives way; fluid lifts all of the retina
        yields = torch.tensor([0.5, 0.5, 0.5, 0.5, 0.5, 0.52, 0.9, 1.0, 1.0])[:, None]
        swell = _swelling(lift)
        boundaries = boundaries - yields * lift["druse"][:, None]
        boundaries[:, :8] = boundaries[:, :8] - lift["fluid"][:, None] - swell[:, None] * torch.tensor(
            [1.0, 1.0, 1.0, 1.0, 0.6, 0.3, 0.0, 0.0]
        )[:, None]  # fmt: skip
    choroid = membrane + 200 + 0.15 * (membrane - membrane.mean(1, keepdim=True))
    return torch.cat([boundaries, membrane[:, None], choroid[:, None]], 1)


def _swelling(lift: dict[str, Tensor]) -> Tensor:
    """µm (n, w): a retina with cysts is thicker."""
    x = torch.linspace(-WIDTH / 2, WIDTH / 2, 2 * lift["flat"].shape[1] + 1)[1::2]
    near = torch.exp(-(((x - lift["at"][..., None]) / (1.6 * lift["wide"][..., None])) ** 2))
    return (near * (1.1 * lift["high"] * lift["cyst"])[..., None]).amax(1)


def _filled(
    lift: dict[str, Tensor], boundaries: Tensor, depth: Tensor, x: Tensor, resolution: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Share (n, h, w) of the pixel that drusen or fluid fill, whether its centre does, and the intensity of it."""
    y = depth[:, None]

    def between(top: Tensor, bottom: Tensor) -> tuple[Tensor, Tensor]:
        soft = 1 / (math.sqrt(2) * resolution)
        share = 0.5 * (torch.erf((y - top[:, None]) * soft) - torch.erf((y - bottom[:, None]) * soft))
        return share.clamp(min=0), (y > top[:, None]) & (y <= bottom[:, None])

    pigment, membrane = boundaries[:, 8], boundaries[:, 9]
    thick = membrane - pigment - lift["druse"]  # of the pigment epithelium itself
    druse, in_druse = between(pigment + thick, membrane)
    seen = (lift["druse"] > 0.5)[:, None]
    fluid, in_fluid = between(pigment - lift["fluid"], pigment)
    wet = (lift["fluid"] > 0.5)[:, None]
    druse, in_druse, fluid, in_fluid = druse * seen, in_druse & seen, fluid * wet, in_fluid & wet

    column = ((lift["at"] + WIDTH / 2) / WIDTH * len(x)).long().clamp(0, len(x) - 1)
    top, bottom = boundaries[:, 3].gather(1, column), boundaries[:, 6].gather(1, column)
    middle = top + (0.3 + 0.5 * lift["level"]) * (bottom - top)
    inner = ((y - middle[:, :, None, None]) / lift["high"][:, :, None, None]) ** 2
    radius = (inner + ((x - lift["at"][..., None]) / lift["wide"][..., None])[:, :, None] ** 2).sqrt()
    # an edge as soft as the resolution, where it crosses the depth
    edge = (1 - radius) * (lift["high"][:, :, None, None] / resolution)
    there = lift["cyst"][:, :, None, None]
    cyst, in_cyst = (torch.sigmoid(1.7 * edge) * there).amax(1), ((radius < 1) & there).any(1)

    share = torch.maximum(torch.maximum(druse, fluid), cyst)
    content = torch.where(druse > torch.maximum(fluid, cyst), 10 ** (15.5 / 10), 10 ** (-5 / 10))
    return share, in_druse | in_fluid | in_cyst, content


def _brightness(draws: Draws, x: Tensor, away: Tensor) -> Tensor:
    """dB (n, 12, w) of the layers, with a slow change along the scan."""
    n, share = len(draws), x / (WIDTH / 2)
    level = torch.tensor(BRIGHTNESS)[:, None] + draws.normal(0, 0.8, k=len(BRIGHTNESS))[..., None]
    gain = (
        draws.normal(0, 1.2)[:, None]
        + draws.normal(0, 0.8)[:, None] * share
        - draws.uniform(0, 1.5)[:, None] * share**2
    )
    level = level + gain[:, None]
    level[:, 0] = BRIGHTNESS[0]
    level[:, 1] = level[:, 1] + 2.5 * torch.tanh(away - 1)  # fibres are seen more obliquely near the fovea
    return level.expand(n, len(BRIGHTNESS), len(x))


def _shadows(draws: Draws, x: Tensor) -> Tensor:
    """Share (n, w) of the light that retinal vessels take from what lies below them."""
    place, wide, dark = (draws.uniform(k=5) for _ in range(3))
    there = draws.uniform(k=5) < 0.6
    middle = WIDTH / 2 * torch.where(place < 0.5, -1 + 1.4 * place, 0.3 + 1.4 * (place - 0.5))  # none in the fovea
    bell = torch.exp(-(((x - middle[..., None]) / (0.03 + 0.045 * wide[..., None])) ** 2))
    return (bell * (there * (0.35 + 0.4 * dark))[..., None]).amax(1)


def _choroid(draws: Draws, depth: Tensor, x: Tensor, membrane: Tensor) -> Tensor:
    """dB (n, h, w): vessels of the choroid, dark and wider with depth."""
    below = (depth[:, None] - membrane[:, None]).clamp(min=0)
    total = 0
    for _ in range(8):
        way, turn = draws.angle(), 2 * math.pi / draws.uniform(0.35, 1.1)  # rad, 1/mm
        along = (turn * way.cos())[:, None, None] * x + (turn * way.sin() / 330)[:, None, None] * below
        total = total + torch.cos(along + draws.angle()[:, None, None])
    vessel = torch.sigmoid(3 * (total / 2 - 0.4))
    return 1.0 - 7.0 * vessel * (1 - torch.exp(-below / 45))
