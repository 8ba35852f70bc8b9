"""What describes a vessel, one number each, and how far two sets of vessels are apart in them.

Vessels are (n, 4, points) in mm, centreline and radius, or (n, 3, points) without a radius. Points of one vessel are
not independent, so every measure gives one number a vessel.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d

from medgan_lib.metrics.marginals import kolmogorov_smirnov
from medgan_lib.physics import vessels

GROUP = 4  # points
SEEN = 0.1  # share of the radius: 0.1 to 0.2 mm of a coronary artery, less than half a voxel of a CT of the heart
SMALL = 1e-3  # mm, the least that a radius counts for


def vessel_measures(mm: Tensor) -> dict[str, Tensor]:
    """Each measure (n,) by its name.

    Of the centreline: length, mean curvature, median torsion (with its sign: to which hand it winds), tortuosity. Of
    the radius: its mean; taper, the share of it that a straight line through all radii loses from end to end; and how
    far it falls below that line (narrowest) and rises above it (widest), as shares of the line, 0 up to `SEEN`.

    Bends and extremes are those of means of `GROUP` neighbouring points each. At single points a jitter of one percent,
    far below what any scanner sees, would be most of a curvature, and always the narrowest and the widest place.
    """
    line = mm[:, :3].double()
    coarse = avg_pool1d(line, GROUP)
    found = {
        "length (mm)": vessels.length(line),
        "curvature (1/mm)": vessels.curvature(coarse).mean(1),
        "torsion (1/mm)": vessels.torsion(coarse).median(1).values,
        "tortuosity": vessels.tortuosity(line),
    }
    if mm.shape[1] == 3:
        return found
    radius = avg_pool1d(mm[:, 3:].double().clamp_min(SMALL), GROUP)[:, 0]
    half = 1 - (GROUP - 1) / (mm.shape[-1] - 1)  # where the middle of the last group lies, with 1 for the end
    along = torch.linspace(-half, half, radius.shape[1], dtype=radius.dtype)
    mean = radius.mean(1)
    slope = (radius * along).sum(1) / along.square().sum()
    straight = (mean[:, None] + slope[:, None] * along).clamp_min(SMALL)
    return found | {
        "radius (mm)": mean,
        "taper": -2 * slope / (mean - slope).clamp_min(SMALL),
        "narrowest": _seen(1 - (radius / straight).amin(1)),
        "widest": _seen((radius / straight).amax(1) - 1),
    }


def _seen(share: Tensor) -> Tensor:
    return share.where(share > SEEN, torch.zeros_like(share))


def vessel_distance(real: Tensor, made: Tensor) -> float:
    """The mean Kolmogorov-Smirnov distance over all measures: 0 where each has the same distribution, at most 1.

    Two halves of one set are not at 0 (`kolmogorov_smirnov`), so put real against real beside it. It sees one measure
    at a time: vessels whose radii were exchanged are at no distance.
    """
    a, b = vessel_measures(real), vessel_measures(made)
    return sum(kolmogorov_smirnov(a[name], b[name]).value for name in a) / len(a)


def over_gaussian_vessels(real: Tensor, other: Tensor, gaussian: Tensor, made: Tensor) -> float:
    """`vessel_distance` of ``made`` to ``real``, over that of ``gaussian``: 0 if perfect, 1 for a Gaussian.

    ``other`` are further real vessels, whose distance, the floor, is taken off both. ValueError where the Gaussian is
    no farther from real vessels than twice the floor: such measures cannot tell.
    """
    floor, far = vessel_distance(real, other), vessel_distance(real, gaussian)
    if far <= 2 * floor:
        raise ValueError(f"the measures cannot tell a Gaussian ({far:.3g}) from real vessels ({floor:.3g})")
    return max(0.0, vessel_distance(real, made) - floor) / (far - floor)
