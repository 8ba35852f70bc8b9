"""Simulated coronary-like centrelines with radius, in two families, whose length, tortuosity and taper are known.

A vessel is drawn as how it bends along its length: the bends that make its family (below), each of its own angle and
place, and a smooth random undulation whose strength is drawn over a wide range. Integrating that gives a centreline of
exactly the length drawn. "left" is a short trunk that turns into the groove between the ventricles, follows the heart's
surface and bends round its tip; "right" bends forward, runs in a wide C around the heart and turns off at its back, to
the other hand than the left one does. Radii at the start and taper follow Dodge et al., Circulation 86:232 (1992);
angles and lengths are ours, chosen for the look of coronary arteries. There are no branches and no stenoses.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from medgan_lib.cohorts.cache import cached
from medgan_lib.cohorts.cohort import SPLITS, Cohort, subject_ids
from medgan_lib.physics import vessels

NAME = "vessels"
FAMILIES = ("left", "right")
WINDOW = (-80.0, 160.0)  # mm, of the centreline: its first axis is the long one
RADIUS_WINDOW = (0.0, 4.0)  # mm
STEP = 8  # the number of points is a multiple of it
PIECES = 1024  # of a centreline while it is integrated: 0.14 mm each
LIMIT = 2.5  # standard deviations: nothing is drawn further off

# mean and standard deviation of a family: mm, and share of the radius lost on the way
SIZE = {
    "length": ((125.0, 14.0), (120.0, 14.0)),
    "radius": ((2.25, 0.25), (1.95, 0.3)),
    "taper": ((0.58, 0.07), (0.3, 0.07)),
}
# its bends: towards which normal, angle (rad) and its spread, middle and spread as a share of the length
BENDS = {
    "left": (
        (0, 1.0, 0.2, 0.09, 0.025), (1, 0.6, 0.2, 0.17, 0.05), (0, -1.3, 0.3, 0.55, 0.22), (0, -0.9, 0.3, 0.93, 0.05),
    ),
    "right": (
        (1, 0.7, 0.2, 0.08, 0.04), (0, 1.5, 0.25, 0.35, 0.12), (0, 1.5, 0.25, 0.65, 0.12), (1, -0.9, 0.3, 0.88, 0.05),
    ),
}  # fmt: skip
WAVES = 6  # of the undulation, with wavelengths from 15 to 70 mm


def load(split: str, *, size: int | None = None, n: int | None = None, seed: int = 0) -> Cohort:
    """``n`` (default 2,000) vessels of ``size`` (default 64) equidistant points, as many left as right on average.

    ``x`` (n, 4, size) in [-1, 1]: the centreline's three coordinates and the radius, each in its own window; `to_mm`
    and `from_mm` translate. The same in two parts: ``centreline`` (n, 3, size) mm, in the frame of
    `physics.vessels.to_frame`, and ``radius`` (n, 1, size) mm. ``label`` the family. Known of each (n,): ``length`` mm;
    ``tortuosity``, length over the distance between the ends, less one; ``taper``, the share of its radius at the
    start that is lost at the end; ``undulation`` 1/mm, the standard deviation of the random part of its curvature.
    ValueError for a size that is no multiple of 8 from 16 to 512.
    """
    size, n = size or 64, n or 2000
    check_points(NAME, size)
    tensors = cached(
        NAME,
        {"split": split, "size": size, "n": n, "seed": seed},
        lambda: _simulate(split, size, n, seed),
    )
    return Cohort(
        name=NAME,
        tensors=tensors,
        subjects=subject_ids(split, seed, n),
        units={
            "centreline": "mm",
            "radius": "mm",
            "length": "mm",
            "tortuosity": "1",
            "taper": "1",
            "undulation": "1/mm",
        },
        window={"centreline": WINDOW, "radius": RADIUS_WINDOW},
        origin="embedded",
        split=split,
        classes={"label": FAMILIES},
        note=f"simulated coronary-like centrelines with radius, {size} points",
    )


def check_points(name: str, size: int) -> None:
    if size % STEP or not 16 <= size <= 512:
        raise ValueError(f"size of {name!r} is the number of points, a multiple of {STEP} from 16 to 512, it is {size}")


def to_mm(cohort: Cohort, x: Tensor) -> Tensor:
    """mm (n, 4, points) of x (n, 4, points), of this cohort or made like it: centreline and radius.

    (n, 3, points) for the x of arteries without a radius, see `carotid_arteries`.
    """
    if x.shape[1] == 3:
        return cohort.to_units(x, "centreline")
    return torch.cat([cohort.to_units(x[:, :3], "centreline"), cohort.to_units(x[:, 3:], "radius")], 1)


def from_mm(cohort: Cohort, values: Tensor) -> Tensor:
    """Inverse of `to_mm`."""
    if values.shape[1] == 3:
        return cohort.from_units(values, "centreline")
    return torch.cat([cohort.from_units(values[:, :3], "centreline"), cohort.from_units(values[:, 3:], "radius")], 1)


def packed(centreline: Tensor, radius: Tensor, window: tuple[float, float]) -> dict[str, Tensor]:
    """``x``, ``centreline`` and ``radius``, float32 in [-1, 1], of a centreline (n, 3, p) and radius (n, 1, p), mm."""
    line = centreline * (2 / (window[1] - window[0])) - (window[0] + window[1]) / (window[1] - window[0])
    wide = radius * (2 / (RADIUS_WINDOW[1] - RADIUS_WINDOW[0])) - 1
    line, wide = line.float(), wide.float()
    return {"x": torch.cat([line, wide], 1), "centreline": line, "radius": wide}


def _simulate(split: str, size: int, n: int, seed: int) -> dict[str, Tensor]:
    streams = [np.random.default_rng([*b"vessels", SPLITS.index(split), seed, i]) for i in range(n)]
    label = torch.tensor([rng.random() < 0.5 for rng in streams]).long()
    normal = torch.from_numpy(np.stack([rng.standard_normal(32) for rng in streams])).clamp(-LIMIT, LIMIT)
    uniform = torch.from_numpy(np.stack([rng.random(2 + 6 * WAVES) for rng in streams]))

    def of_family(what: str, column: int) -> Tensor:
        mean, spread = torch.tensor(SIZE[what], dtype=torch.float64)[label].unbind(1)
        return mean + spread * normal[:, column]

    length, start, taper = (of_family(what, k) for k, what in enumerate(SIZE))
    share = (torch.arange(PIECES, dtype=torch.float64) + 0.5) / PIECES
    bending = torch.zeros(n, 2, PIECES, dtype=torch.float64)
    for k in range(4):  # a bend is spread over the length as a bell, and turns by its angle in all
        towards, angle, spread, middle, width = (
            torch.tensor([BENDS[family][k] for family in FAMILIES]).double()[label].T
        )
        angle = angle + spread * normal[:, 3 + 2 * k]
        middle = middle * (1 + 0.1 * normal[:, 4 + 2 * k])
        bell = torch.exp(-0.5 * ((share - middle[:, None]) / width[:, None]) ** 2)
        bell = bell * (angle / (width * math.sqrt(2 * math.pi) * length))[:, None]
        bending += torch.nn.functional.one_hot(towards.long(), 2)[:, :, None] * bell[:, None]
    undulation = 0.004 * 10 ** uniform[:, 0]  # 1/mm, 0.004 to 0.04
    wave, phase = uniform[:, 2 : 2 + 2 * WAVES], uniform[:, 2 + 2 * WAVES : 2 + 4 * WAVES]
    cycles = (length[:, None] / (15 * (70 / 15) ** wave)).reshape(n, 2, WAVES, 1)
    waves = torch.sin(2 * math.pi * (cycles * share + phase.reshape(n, 2, WAVES, 1))).sum(2)
    waves = waves * (undulation / math.sqrt(WAVES / 2))[:, None, None]
    fine = vessels.bend(bending + waves, length)

    along = torch.linspace(0, 1, PIECES + 1, dtype=torch.float64).expand(n, -1)
    bumps = torch.sin(
        2 * math.pi * (torch.arange(1, 4)[:, None] * along[0] * 2 + uniform[:, 2 + 4 * WAVES :][:, :3, None])
    )
    bumps = 1 + 0.04 * bumps.mean(1) * torch.sin(math.pi * along)  # neither at the start nor at the end
    radius = start[:, None] * (1 - taper[:, None] * along) * bumps
    points = vessels.resample(torch.cat([fine, radius[:, None]], 1), along, size)
    return {
        **packed(vessels.to_frame(points[:, :3]), points[:, 3:], WINDOW),
        "label": label,
        "length": length.float(),
        "tortuosity": (length / (fine[..., -1] - fine[..., 0]).norm(dim=1) - 1).float(),
        "taper": taper.float(),
        "undulation": undulation.float(),
    }
