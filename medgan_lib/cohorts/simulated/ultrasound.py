"""Simulated ultrasound: a section with speckle, whose grain differs between tissues of equal brightness.

What is modelled, in mm and dB: a plane section of 80 x 80 mm below the skin: fat, muscle, liver, kidney and vessels;
speckle, the magnitude of smoothed complex noise, in decibels; and in each scan another gain and another compensation of
depth. **Fat, muscle, liver and kidney have the same mean brightness.** They differ by the size and the direction of
their grain alone, so that nobody who does not see texture can tell them apart. What is not: shadows, refraction, the
geometry of the beam, motion, and the differences in brightness that real tissues have besides.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from medgan_lib.cohorts.cohort import SPLITS, Cohort, subject_ids
from medgan_lib.cohorts.simulated.draws import simulated

NAME = "ultrasound"
FIELD = 80.0  # mm, edge of every image
RANGE = (-31.0, 13.0)  # dB, black and white
TISSUES = ("outside", "fat", "muscle", "liver", "kidney", "vessel")
GRAIN = {  # mm, standard deviation of the blur along depth and width
    "fat": (3.2, 3.2),
    "muscle": (1.0, 4.2),
    "liver": (1.1, 1.1),
    "kidney": (3.8, 1.0),
    "vessel": (1.1, 1.1),
    "mass": (1.6, 1.6),
}
BLOOD, MASS = -28.0, -8.0  # dB, against the other tissues


def load(
    split: str, *, size: int | None = None, n: int | None = None, seed: int = 0, scans: int = 1, lesion: float = 0.0
) -> Cohort:
    """``n`` (default 300) people, one section each, at ``size`` (default 64) pixels an edge.

    ``x`` float32 (n, 1, size, size) in [-1, 1], -31 to 13 dB; ``labels`` int64, same shape, 1 to 5 for `TISSUES`;
    ``scans`` (n, scans, size, size): the same section scanned ``scans`` times, each with its own speckle, gain and
    compensation of depth; the first is x. ``mask`` int64: 1 in a mass in the liver, which a share ``lesion`` of the
    people has. A mass is darker than liver and is *not* in the labels. The same person is the same for any n. Raises
    ValueError for a size below 32, fewer than one scan and a share outside [0, 1].
    """
    size, n = size or 64, n or 300
    if size < 32:
        raise ValueError(f"size of {NAME!r} must be 32 at least, it is {size}")
    if scans < 1:
        raise ValueError(f"scans of {NAME!r} must be 1 at least, it is {scans}")
    if not 0 <= lesion <= 1:
        raise ValueError(f"lesion of {NAME!r} is a share from 0 to 1, it is {lesion}")

    def build(people: range) -> dict[str, Tensor]:
        made = [_person(split, seed, i, size, scans, lesion) for i in people]
        return {name: torch.from_numpy(np.stack([one[name] for one in made])) for name in made[0]}

    tensors = simulated(NAME, n, build, quick=n * scans * size**2 < 4e7)
    return Cohort(
        name=NAME,
        tensors={"x": tensors["scans"][:, :1].clone()} | tensors,
        subjects=subject_ids(split, seed, n),
        units={"x": "dB", "scans": "dB"},
        window={"x": RANGE, "scans": RANGE},
        origin="embedded",
        split=split,
        spacing=(FIELD / size, FIELD / size),
        classes={"labels": TISSUES, "mask": ("none", "mass")},
        note="simulated ultrasound, tissues of equal brightness with different speckle, split by simulated person",
    )


def _person(split: str, seed: int, i: int, size: int, scans: int, lesion: float) -> dict[str, np.ndarray]:
    key = [*NAME.encode(), SPLITS.index(split), seed, i]
    labels, mass = _anatomy(np.random.default_rng(key), size, lesion)
    images = [_scan(np.random.default_rng([*key, 1 + k]), labels, mass) for k in range(scans)]
    low, high = RANGE
    grey = ((np.stack(images) - low) / (high - low)).clip(0, 1) * 2 - 1
    return {"labels": labels[None], "mask": mass[None].astype(np.int64), "scans": grey.astype(np.float32)}


def _anatomy(rng: np.random.Generator, size: int, lesion: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels (size, size) and where there is a mass. Places are shares of the field, drawn before the size counts."""
    line = (np.arange(size) + 0.5) / size
    down, right = line[:, None], line[None]
    fat = rng.uniform(0.05, 0.3) + _wave(rng, line, 0.02)
    muscle = fat + (rng.uniform(0.08, 0.3) + _wave(rng, line, 0.015)).clip(0.05)
    centre, turn = (rng.uniform(0.6, 0.85), rng.uniform(0.15, 0.85)), rng.uniform(-1.5, 1.5)
    long, short = rng.uniform(0.2, 0.34), rng.uniform(0.12, 0.2)
    along = (right - centre[1]) * np.cos(turn) + (down - centre[0]) * np.sin(turn)
    across = (down - centre[0]) * np.cos(turn) - (right - centre[1]) * np.sin(turn)
    labels = np.where((along / long) ** 2 + (across / short) ** 2 < 1, 4, 3)
    for _ in range(rng.integers(1, 4)):
        place, radius, flat = rng.uniform((0.4, 0.05), (0.95, 0.95)), rng.uniform(0.03, 0.07), rng.uniform(0.8, 1.6)
        inside = np.hypot((down - place[0]) * flat, right - place[1]) < radius
        labels[inside & (labels == 3)] = 5
    ill, place, radius = rng.uniform() < lesion, rng.uniform((0.45, 0.1), (0.9, 0.9)), rng.uniform(0.08, 0.13)
    labels[down < muscle] = 2
    labels[down < fat] = 1
    mass = ill & (np.hypot(down - place[0], right - place[1]) < radius) & (labels == 3)
    return labels.astype(np.int64), mass


def _wave(rng: np.random.Generator, line: np.ndarray, height: float) -> np.ndarray:
    """A border (1, size) that rises and falls a little."""
    strength, phase = rng.standard_normal(3), rng.uniform(0, 2 * np.pi, 3)
    waves = np.sin(2 * np.pi * np.outer((0.6, 1.3, 2.1), line) + phase[:, None])
    return height * (strength @ waves)[None]


def _scan(rng: np.random.Generator, labels: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """One scan in dB (size, size)."""
    image = np.zeros(labels.shape)
    for k, name in enumerate((*TISSUES[1:], "mass"), start=1):
        speckle = _speckle(rng, len(labels), GRAIN[name]) + rng.normal(0, 1)
        where = mass if name == "mass" else labels == k
        image[where] = speckle[where] + {"vessel": BLOOD, "mass": MASS}.get(name, 0.0)
    depth = (np.arange(len(labels)) + 0.5) / len(labels) - 0.5
    return image + rng.normal(0, 3) + rng.normal(0, 5) * depth[:, None]


def _speckle(rng: np.random.Generator, size: int, grain: tuple[float, float]) -> np.ndarray:
    """Magnitude of complex noise, smoothed and of unit power, in dB (size, size)."""
    from scipy.ndimage import gaussian_filter

    sigma = [edge / (FIELD / size) for edge in grain]
    parts = np.stack([gaussian_filter(rng.standard_normal((size, size)), sigma, mode="wrap") for _ in range(2)])
    parts /= np.sqrt((parts**2).mean())
    return 20 * np.log10(np.hypot(*parts) + 0.05) - 9
