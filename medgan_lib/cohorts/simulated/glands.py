"""Simulated colon tissue (H&E): glands as rings of nuclei around a lumen, in stroma, every gland known to the pixel.

What is modelled, in µm: a plane section through tubular glands, with a wall of cells (nuclei near the outer edge,
cytoplasm towards the lumen) and mucus in the lumen; stroma of wavy fibres with elongated and round nuclei; two stains
that absorb by the law of Beer and Lambert (`medgan_lib.physics.stains`); the blur and noise of a camera. Each patient
has a tissue (size and shape of the glands, how much of the gland is lumen, how crowded the nuclei are) and a slide
(strength and hue of both stains). What is not: goblet cells, tumours, folds, artefacts of the section, and anything
larger than the field.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from medgan_lib.cohorts.cache import cached
from medgan_lib.cohorts.cohort import SPLITS, Cohort, subject_ids
from medgan_lib.physics import stains

NAME = "glands_simulated"
FIELD = 256.0  # µm, edge of every image: 4 µm a pixel at the default size
STEP = 8  # sizes are multiples of it, so that networks which halve three times fit

_GLANDS = 16  # at most, tried one after the other
_HARMONICS = (2, 3, 4, 5)
_ANGLES = 128  # on which outlines are tabulated
_WALL = 40  # nuclei along the wall of a gland, at most
_STROMA = 260  # nuclei between the glands that are tried


def load(
    split: str, *, size: int | None = None, n: int | None = None, seed: int = 0, images_per_subject: int = 5
) -> Cohort:
    """``n`` (default 300) images of 256 x 256 µm at ``size`` (default 64) pixels an edge, some of each patient.

    ``x`` float32 (n, 3, size, size) in [-1, 1], RGB 0-255; ``mask`` int64 (n, 1, size, size): 0 between, 1 gland, lumen
    included, as in the real `glands`; ``instance``, same shape: 0, and every gland of an image another number from 1,
    where glands of one image never overlap but may touch. Factors of the patient, float32: ``stain`` (n, 2), strength
    of haematoxylin and eosin, and ``irregularity`` (n,), 0 round .. 1 branched. Image i is of patient i //
    ``images_per_subject``; the last one may have fewer. The same image is the same for any ``n``, and its glands are
    for any ``size``. ValueError for a size below 32 or that is no multiple of 8, and for images_per_subject < 1.
    """
    size, n = size or 64, n or 300
    if size < 32 or size % STEP:
        raise ValueError(f"size of {NAME!r} must be a multiple of {STEP} from 32 on, it is {size}")
    if images_per_subject < 1:
        raise ValueError(f"images_per_subject of {NAME!r} must be at least 1, it is {images_per_subject}")
    tensors = cached(
        NAME,
        {"split": split, "size": size, "n": n, "seed": seed, "images_per_subject": images_per_subject},
        lambda: _simulate(split, size, n, seed, images_per_subject),
    )
    patient = torch.arange(n) // images_per_subject
    return Cohort(
        name=NAME,
        tensors=tensors,
        subjects=subject_ids(split, seed, int(patient[-1]) + 1)[patient],
        units={"x": "8-bit RGB", "stain": "1", "irregularity": "1"},
        window={"x": (0.0, 255.0)},
        origin="embedded",
        split=split,
        spacing=(FIELD / size / 1000, FIELD / size / 1000),
        classes={"mask": ("between", "gland")},
        note="simulated colon glands, two stains, every gland known, split by simulated patient",
    )


def _simulate(split: str, size: int, n: int, seed: int, images_per_subject: int) -> dict[str, Tensor]:
    made = []
    for i in range(n):
        key = [*NAME.encode(), SPLITS.index(split), seed]
        patient = _patient(np.random.default_rng([*key, i // images_per_subject]))
        made.append(
            _image(patient, np.random.default_rng([*key, i // images_per_subject, 1 + i % images_per_subject]), size)
        )
    return {name: torch.from_numpy(np.stack([one[name] for one in made])) for name in made[0]}


def _patient(rng: np.random.Generator) -> dict[str, float | np.ndarray]:
    """What all images of a patient share."""
    irregular = rng.uniform()
    return {
        "irregularity": irregular,
        "radius": rng.uniform(24, 42),  # µm, mean over glands
        "lumen": rng.uniform(0.15, 0.5) * (1 - 0.4 * irregular),  # share of the radius
        "gap": rng.uniform(-3, 9),  # µm between two glands; where it is below 0 they may touch
        "crowding": rng.uniform(0.45, 1.1),
        "density": rng.uniform(0.2, 1.0),  # of nuclei in the stroma
        "fibres": rng.uniform(0.5, 1.0),  # eosin in the stroma
        "cytoplasm": rng.uniform(0.3, 0.6),  # eosin in the wall
        "clefts": rng.uniform(0, 5),  # gaps in the stroma of an image, on average
        "stain": rng.uniform(0.65, 1.35, 2).astype(np.float32),
        "hue": rng.normal(0, 0.05, (2, 3)).astype(np.float32),
        "light": rng.uniform(0.9, 1.0),
    }


def _image(patient: dict, rng: np.random.Generator, size: int) -> dict[str, np.ndarray]:
    step = FIELD / size
    line = ((np.arange(size) + 0.5) * step).astype(np.float32)
    instance = np.zeros((size, size), np.int64)
    wall = np.zeros((size, size), bool)
    nuclei: list[np.ndarray] = []
    for number, (centre, outline, lumen) in enumerate(_glands(patient, rng), start=1):
        near = tuple(slice(*np.searchsorted(line, (at - outline.max(), at + outline.max()))) for at in centre)
        down, right = line[near[0], None] - centre[0], line[near[1]][None] - centre[1]
        place = (np.arctan2(down, right) + math.pi) * (_ANGLES / (2 * math.pi)) - 0.5
        share = np.hypot(down, right) / _at(outline, place)  # 0 in the centre, 1 on the outline
        instance[near][share <= 1] = number
        wall[near] |= (share <= 1) & (share > _at(lumen, place))
        nuclei.append(_wall(centre, outline, patient, rng))
    within = instance > 0
    nuclei.append(_stroma(instance, step, patient, rng))

    nucleus = _drawn(np.concatenate(nuclei), size, step)
    cleft = _clefts(line, patient, rng) & ~within & (nucleus < 0.5)
    eosin = np.where(
        wall, patient["cytoplasm"], np.where(within, 0.06, patient["fibres"] * (0.4 + 0.3 * _fibres(rng, size, step)))
    )
    haematoxylin = np.where(wall, 0.13, np.where(within, 0.03, 0.05)) + 0.75 * nucleus
    eosin, haematoxylin = (np.where(cleft, 0.03, stain) for stain in (eosin * (1 - 0.5 * nucleus), haematoxylin))
    grain = rng.normal(1, 0.08, (2, size, size))
    amounts = np.stack([haematoxylin, eosin]) * grain * patient["stain"][:, None, None]
    vectors = stains.vectors() + torch.from_numpy(patient["hue"])
    vectors = (vectors / vectors.norm(dim=1, keepdim=True)).clamp_min(0)
    light = stains.stained(torch.from_numpy(amounts.astype(np.float32))[None], vectors)[0].numpy() * patient["light"]
    grey = 255 * _blurred(light, 1.5 / step) + rng.normal(0, 2.5, (3, size, size))
    return {
        "x": (grey.clip(0, 255) / 127.5 - 1).astype(np.float32),
        "mask": (instance > 0).astype(np.int64)[None],
        "instance": _renumbered(instance)[None],
        "stain": patient["stain"],
        "irregularity": np.float32(patient["irregularity"]),
    }


def _glands(patient: dict, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(centre (2,) µm, radius of the outline (angles,) µm, share of it that is lumen (angles,))."""
    waves = np.array(_HARMONICS)[:, None] * ((np.arange(_ANGLES) + 0.5) * (2 * math.pi / _ANGLES) - math.pi)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for _ in range(10 * _GLANDS):
        centre = rng.uniform(-0.08, 1.08, 2) * FIELD
        radius = patient["radius"] * rng.uniform(0.75, 1.3)
        if any(np.hypot(*(centre - other)) < radius for other, _, _ in found):
            continue  # hopeless, and cheaper to see than below
        swing = rng.uniform(0, 0.3, 4) / (np.array(_HARMONICS) - 1) * (0.35 + patient["irregularity"])
        phase = rng.uniform(0, 2 * math.pi, 4)[:, None]
        shape = 1 + swing @ np.cos(waves + phase)
        lumen = 1 + 0.5 * swing @ np.cos(waves + phase + rng.normal(0, 0.5, (4, 1)))
        outline = (radius * shape / np.sqrt((shape**2).mean())).astype(np.float32)
        free = all(
            np.hypot(*(centre - other))
            > _towards(outline, other - centre) + _towards(line, centre - other) + patient["gap"]
            for other, line, _ in found
        )
        if free:
            opens = rng.uniform() < 0.8  # others are cut where they have no lumen
            found.append((centre, outline, (opens * patient["lumen"] * lumen).astype(np.float32)))
        if len(found) == _GLANDS:
            break
    return found


def _towards(outline: np.ndarray, direction: np.ndarray) -> float:
    """The largest radius within 40 degrees of a direction: outlines that keep it apart hardly meet elsewhere."""
    place = int((math.atan2(*direction) + math.pi) * (_ANGLES / (2 * math.pi)))
    reach = _ANGLES // 9
    return float(outline[np.arange(place - reach, place + reach + 1) % _ANGLES].max())


def _at(table: np.ndarray, place: np.ndarray) -> np.ndarray:
    """A periodic table, interpolated."""
    low = np.floor(place).astype(int)
    share = place - low
    return (table[low % _ANGLES] * (1 - share) + table[(low + 1) % _ANGLES] * share).astype(np.float32)


def _wall(centre: np.ndarray, outline: np.ndarray, patient: dict, rng: np.random.Generator) -> np.ndarray:
    """Nuclei (count, 5) along the outer edge of a gland: down and right in µm, half axes in µm, angle."""
    count = min(_WALL, int(2 * math.pi * outline.mean() / 8.0 * patient["crowding"]))
    angle = (np.arange(count) + rng.uniform(-0.25, 0.25, count)) * (2 * math.pi / count) - math.pi
    radius = _at(outline, (angle + math.pi) * (_ANGLES / (2 * math.pi)) - 0.5)
    away = radius - rng.uniform(4.5, 12, count)
    long, short = rng.uniform(4.2, 5.6, count), rng.uniform(2.4, 3.2, count)
    return np.stack([centre[0] + away * np.sin(angle), centre[1] + away * np.cos(angle), long, short, angle], 1)


def _stroma(instance: np.ndarray, step: float, patient: dict, rng: np.random.Generator) -> np.ndarray:
    """Nuclei (count, 5) between the glands: fibroblasts, long and thin, and round lymphocytes."""
    count = int(_STROMA * patient["density"])
    down, right = rng.uniform(0, FIELD, (2, count))
    thin = rng.uniform(size=count) < 0.55
    long = np.where(thin, rng.uniform(5, 8, count), rng.uniform(2.8, 3.8, count))
    short = np.where(thin, rng.uniform(1.2, 1.9, count), long * 0.9)
    turn = rng.uniform(0, math.pi, count)
    between = (
        instance[
            np.minimum(down / step, len(instance) - 1).astype(int),
            np.minimum(right / step, len(instance) - 1).astype(int),
        ]
        == 0
    )
    return np.stack([down, right, long, short, turn], 1)[between]


def _drawn(nuclei: np.ndarray, size: int, step: float) -> np.ndarray:
    """The share (size, size) of each pixel that is nucleus; edges are one pixel wide. Each is drawn where it lies."""
    reach = math.ceil(10 / step) + 1  # pixels: no nucleus is longer
    window = np.arange(-reach, reach + 1)
    down, right, long, short, turn = nuclei.T[:, :, None, None]
    rows, columns = (down / step).astype(int) + window[:, None], (right / step).astype(int) + window
    u, v = (rows + 0.5) * step - down, (columns + 0.5) * step - right
    along, across = u * np.sin(turn) + v * np.cos(turn), u * np.cos(turn) - v * np.sin(turn)
    away = np.sqrt((along / long) ** 2 + (across / short) ** 2)
    part = ((1 - away) * (short / step) + 0.5).clip(0, 1).astype(np.float32)
    image = np.zeros((size + 2 * reach + 2,) * 2, np.float32)  # with a margin for what lies across the border
    rows, columns = ((at + reach + 1).clip(0, len(image) - 1) for at in (rows, columns))
    np.maximum.at(image, (np.broadcast_to(rows, part.shape), np.broadcast_to(columns, part.shape)), part)
    return image[reach + 1 : reach + 1 + size, reach + 1 : reach + 1 + size]


def _clefts(line: np.ndarray, patient: dict, rng: np.random.Generator) -> np.ndarray:
    """Gaps in the stroma, bool (size, size): ellipses as bright as a lumen, but without a wall of nuclei."""
    found = np.zeros((len(line), len(line)), bool)
    for _ in range(rng.poisson(patient["clefts"])):
        down, right = rng.uniform(0, FIELD, 2)
        long, turn = rng.uniform(8, 30), rng.uniform(0, math.pi)
        short = long * rng.uniform(0.25, 0.8)
        u, v = line[:, None] - down, line[None] - right
        along, across = u * math.sin(turn) + v * math.cos(turn), u * math.cos(turn) - v * math.sin(turn)
        found |= (along / long) ** 2 + (across / short) ** 2 <= 1
    return found


def _fibres(rng: np.random.Generator, size: int, step: float) -> np.ndarray:
    """Wavy bands (size, size) from 0 to 1: noise that is smooth along one direction and rough across it."""
    fy, fx = np.fft.fftfreq(size, step)[:, None], np.fft.rfftfreq(size, step)[None]
    turn = rng.uniform(0, math.pi)
    along, across = fy * math.sin(turn) + fx * math.cos(turn), fy * math.cos(turn) - fx * math.sin(turn)
    shape = np.exp(-((along * 60) ** 2) - ((across * 10) ** 2))
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((size, size))) * shape, s=(size, size))
    noise = noise / max(float(noise.std()), 1e-6)
    return (0.5 + 0.25 * noise).clip(0, 1)


def _blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image, (0, sigma, sigma), mode="nearest")


def _renumbered(instance: np.ndarray) -> np.ndarray:
    """0 stays, and the glands that are seen get the numbers 1, 2, … without gaps."""
    rank = np.cumsum(np.bincount(instance.ravel(), minlength=1)[1:] > 0)
    return np.concatenate([[0], rank])[instance]
