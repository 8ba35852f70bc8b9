"""Simulated axial slices of the head in MR contrasts and CT, paired to the voxel, with exact labels.

A subject is one random draw. Its brain is the MNI152 template (grey and white matter maps, Fonov et al., NeuroImage
54:313, 2011, which ship with nilearn) under a random affine map and a smooth random deformation in 3-D, with sulci,
cortex and ventricles of its own; around it lie shells of smoothly varying thickness: subarachnoid fluid, the two
tables of the skull with marrow between them (and an air-filled frontal sinus), temporal muscle, scalp. Tissue
fractions are averaged over each voxel, so that voxels at a boundary hold a mixture. `medgan_lib.physics` makes images
of them. All anatomy comes from one template and therefore varies less than in people.

Images are in radiological orientation: the front of the head is up, the patient's right is on the left.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from medgan_lib.cohorts.cache import cached
from medgan_lib.cohorts.cohort import SPLITS, Cohort
from medgan_lib.cohorts.simulated.toys import subject_ids
from medgan_lib.physics import ct, mr
from medgan_lib.physics.fields import SmoothField

FIELD_OF_VIEW = 240.0  # mm
LEVELS = (-8.0, 60.0)  # mm, MNI z: from the frontal sinus to the upper part of the hemispheres
LOW, HIGH = (-98, -134, -40), (98, 98, 100)  # mm, MNI x, y, z: the box of the template that slices can reach
FINE = 2.0  # mm: anatomy is computed at most this coarse, then averaged over the voxel
CENTRE_Y = -17.0  # mm, MNI: the middle of the brain from front to back
CT_WINDOW = (-1000.0, 2000.0)
CT_NOISE = 5.0  # HU in a 2 mm voxel of a routine scan, where no `dose` is asked for
SNR = 55.0  # top of the window over the noise of one receiver channel

LABELS = ("background", "scalp", "bone", "csf", "grey matter", "white matter")
TISSUES = ("air", "fat", "muscle", "bone", "marrow", "csf", "grey", "white", "tumour", "necrosis", "oedema")
AIR, FAT, MUSCLE, BONE, MARROW, CSF, GREY, WHITE, TUMOUR, NECROSIS, OEDEMA = range(len(TISSUES))
LABEL_OF = {AIR: 0, FAT: 1, MUSCLE: 1, BONE: 2, MARROW: 2, CSF: 3, GREY: 4, WHITE: 5}


class Sequence(NamedTuple):
    """How one MR contrast is acquired: times in ms, flip angle in degrees.

    `top` is the signal shown as +1, `fat` what fat saturation leaves of fat's signal.
    """

    tr: float
    te: float
    top: float
    ti: float | None = None
    flip: float | None = None
    fat: float = 1.0

    def signal(self, tissue: mr.Tissue) -> float:
        """With sign, so that tissues in one voxel add up as they do in the scanner."""
        pd, t1, t2, t2star = tissue
        if self.flip is not None:
            return float(mr.gradient_echo(pd, t1, t2star, tr=self.tr, te=self.te, flip=self.flip))
        if self.ti is not None:
            return float(mr.inversion_recovery(pd, t1, t2, tr=self.tr, te=self.te, ti=self.ti))
        return float(mr.spin_echo(pd, t1, t2, tr=self.tr, te=self.te))


def _flair(tr: float, te: float, **rest) -> Sequence:
    """The inversion time that nulls cerebrospinal fluid."""
    return Sequence(tr, te, ti=float(mr.null_time(mr.TISSUES["csf"].t1, tr)), **rest)


# Two scanners. A: spin echoes, and a gradient echo ("gre"). B: other times, a T1 from a gradient echo, fat suppressed
# in T2 but not in FLAIR, and in place of the gradient echo one with the long echo time of susceptibility weighting.
PROTOCOLS = {
    "A": {
        "t1": Sequence(500.0, 12.0, 0.72),
        "t2": Sequence(4000.0, 95.0, 0.72),
        "flair": _flair(9000.0, 115.0, top=0.31, fat=0.25),
        "gre": Sequence(600.0, 15.0, 0.34, flip=20.0),
    },
    "B": {
        "t1": Sequence(20.0, 4.6, 0.20, flip=27.0),
        "t2": Sequence(3000.0, 120.0, 0.62, fat=0.2),
        "flair": _flair(7000.0, 90.0, top=0.52),
        "gre": Sequence(50.0, 40.0, 0.13, flip=18.0),
    },
}
CONTRASTS = ("t1", "t2", "flair", "gre", "ct")


class Switches(NamedTuple):
    """The switches of `load`, as documented there."""

    contrasts: tuple[str, ...]
    misregistration_mm: float
    lesion: float | None
    atrophy: float | None
    protocol: str
    undersampling: float | None
    dose: float | None


def load(
    split: str = "train",
    *,
    size: int | None = None,
    n: int | None = None,
    seed: int = 0,
    contrasts: tuple[str, ...] = ("t1",),
    slices_per_subject: int = 1,
    misregistration_mm: float = 0.0,
    lesion: float | None = None,
    atrophy: float | None = None,
    protocol: str = "A",
    undersampling: float | None = None,
    dose: float | None = None,
) -> Cohort:
    """`n` slices (default 1,000) of size² voxels (default 64) over a field of view of 240 mm.

    Images are float32 (n, 1, size, size) in [-1, 1]; `window` maps them to signal (fraction of the magnetisation of
    water) or HU and clips the few values outside. The same subject, at the same seed, has the same anatomy and noise
    under every switch, and does not depend on `n`.

    Args:
        contrasts: of "t1", "t2", "flair", "gre", "ct". The first is "x" (and under its own name, too).
        slices_per_subject: at levels spread from the base of the brain upwards; consecutive in the cohort.
        misregistration_mm: every contrast but the first is shifted by this distance, in a direction drawn per subject
            ("shift_mm": right and down). Everything else stays on the grid of "x".
        lesion: probability that a subject has a tumour with a necrotic core and oedema in white matter.
        atrophy: probability of wide ventricles and sulci.
        protocol: "A" or "B", see `PROTOCOLS`: other contrast, same anatomy.
        undersampling: measure one in this many lines of k-space of every MR contrast, at random, and fill with zero.
        dose: make "ct" by projection, photon counts at this share of a routine dose, and filtered back-projection.

    Tensors beside the images:
        "labels" int64 (n, 1, size, size): the tissue with the largest share, as in `classes` (without the lesion).
        "level_mm", "brain_scale", "ventricle_mm" (how far the ventricle wall is moved outwards), "sulci" (log of how
        open they are), "bias" (spread of the coil's log sensitivity), "<contrast>_tr_ms" and "_te_ms": float32 (n,).
        with lesion: "mask" (tumour and core) bool, "oedema" float32 share of the voxel, both (n, 1, size, size).
        with atrophy: "change" float32 (n, 1, size, size), change of the share of fluid in the voxel, -1 to 1.
        with either: "label" int64 (n,) of the slice, and "healthy", the image "x" without it, at the same noise.
        with undersampling: "sampling" bool (n, 1, size, 1), the measured lines of k-space of "x";
        with it or with dose: "reference", the image "x" fully sampled, or at routine dose with other noise.

    Raises:
        ValueError: a switch with a value that it can't have; the message lists what it can.
    """
    size, n, contrasts = size or 64, n or 1000, _names(contrasts)
    switches = Switches(contrasts, misregistration_mm, lesion, atrophy, protocol, undersampling, dose)
    _check(split, size, n, slices_per_subject, switches)
    tensors = cached(
        "heads",
        dict(split=split, size=size, n=n, seed=seed, slices=slices_per_subject, **switches._asdict()),
        lambda: _simulate(split, size, n, seed, slices_per_subject, switches),
    )
    tensors["x"] = tensors[contrasts[0]]
    classes = {"labels": LABELS}
    for name in {"labels", "label"} & tensors.keys():  # kept as bytes in the cache
        tensors[name] = tensors[name].long()
    if lesion is not None or atrophy is not None:
        found = ["lesion"] * (lesion is not None) + ["atrophy"] * (atrophy is not None)
        classes["label"] = ("healthy", *found, *(["lesion and atrophy"] if len(found) == 2 else []))
    windows = {c: CT_WINDOW if c == "ct" else (0.0, PROTOCOLS[protocol][c].top) for c in contrasts}
    shown = [name for name in ("x", "healthy", "reference") if name in tensors]
    images = dict.fromkeys(shown, contrasts[0]) | {c: c for c in contrasts}
    units = {name: "HU" if c == "ct" else "signal" for name, c in images.items()}
    units |= dict.fromkeys(("brain_scale", "sulci", "bias"), "1")
    units |= {name: name[-2:] for name in tensors if name.endswith(("_mm", "_ms"))}
    subjects = subject_ids(split, seed, math.ceil(n / slices_per_subject))
    return Cohort(
        name="heads",
        tensors={"x": tensors.pop("x"), **tensors},
        subjects=subjects.repeat_interleave(slices_per_subject)[:n],
        units=units,
        window={name: windows[c] for name, c in images.items()},
        origin="embedded",
        split=split,
        spacing=(FIELD_OF_VIEW / size,) * 2,
        classes=classes,
        note=f"simulated heads (MNI152 anatomy), {', '.join(c.upper() for c in contrasts)}, protocol {protocol}",
    )


def _names(contrasts: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    names = (contrasts,) if isinstance(contrasts, str) else tuple(contrasts)
    unknown = [c for c in names if c not in CONTRASTS]
    if unknown or not names or len(set(names)) < len(names):
        what = f"unknown contrast {unknown[0]!r}" if unknown else f"contrasts are {names!r}"
        raise ValueError(f"heads: {what}; give one or more, each once, of {', '.join(CONTRASTS)}")
    return names


def _check(split: str, size: int, n: int, slices: int, switches: Switches) -> None:
    def require(condition: bool, message: str) -> None:
        if not condition:
            raise ValueError(f"heads: {message}")

    def number(value, low: float, high: float) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high

    contrasts, shift, lesion, atrophy, protocol, undersampling, dose = switches
    require(split in SPLITS, f"unknown split {split!r}; there are {', '.join(SPLITS)}")
    whole = isinstance(size, int) and size % 8 == 0 and 32 <= size <= 256
    require(whole, f"size is {size!r}; give a multiple of 8 from 32 to 256")
    require(isinstance(n, int) and n >= 1, f"n is {n!r}; give a whole number from 1")
    whole = isinstance(slices, int) and 1 <= slices <= 64
    require(whole, f"slices_per_subject is {slices!r}; give a whole number from 1 to 64")
    require(number(shift, 0, 10), f"misregistration_mm is {shift!r}; give 0 to 10 mm")
    require(not shift or len(contrasts) > 1, "misregistration_mm needs two contrasts or more: the first stays in place")
    for name, value in (("lesion", lesion), ("atrophy", atrophy)):
        require(value is None or number(value, 0, 1), f"{name} is {value!r}; give None or a probability from 0 to 1")
    require(protocol in PROTOCOLS, f"unknown protocol {protocol!r}; there are {', '.join(PROTOCOLS)}")
    given = undersampling is not None
    require(not given or number(undersampling, 1, 8), f"undersampling is {undersampling!r}; give None or 1 to 8")
    require(not given or contrasts != ("ct",), "undersampling needs an MR contrast: t1, t2, flair or gre")
    given = dose is not None
    require(not given or number(dose, 0.001, 10), f"dose is {dose!r}; give None or 0.001 to 10 (1 is routine)")
    require(not given or "ct" in contrasts, f"dose needs 'ct' among the contrasts, they are {', '.join(contrasts)}")


# ---------------------------------------------------------------------------------------------------------------
# The template


class Atlas(NamedTuple):
    """Volumes over the same box (mm, MNI), as (1, channels, z, y, x) for interpolation."""

    low: NDArray  # (3,) x, y, z of the first voxel's centre
    high: NDArray  # of the last one's
    shape: torch.Tensor  # 2 mm: distance to the brain (mm, negative inside), push of the ventricle wall (x, y, z)
    matter: torch.Tensor  # 1 mm: grey, white

    def sample(self, volume: torch.Tensor, points: NDArray) -> NDArray:
        """(h, w, 3) MNI mm → (channels, h, w), trilinear; points outside take the nearest value."""
        scaled = ((points - self.low) * (2 / (self.high - self.low)) - 1).astype(np.float32)
        grid = torch.from_numpy(scaled)[None, None]
        values = torch.nn.functional.grid_sample(volume, grid, padding_mode="border", align_corners=True)
        return values[0, :, 0].numpy()


@cache
def _atlas() -> Atlas:
    """Loaded once a process; made in some seconds, then read from the cache."""
    volumes = cached("heads-atlas", {"low": LOW, "high": HIGH}, _make_atlas)
    return Atlas(np.array(LOW), np.array(HIGH), volumes["shape"][None], volumes["matter"].float()[None] / 255)


def _make_atlas() -> dict[str, torch.Tensor]:
    from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template
    from scipy import ndimage

    def box(load: Callable) -> NDArray:
        """The part of a 1 mm volume between LOW and HIGH, as (z, y, x)."""
        image = load(resolution=1)
        first = np.round(LOW - image.affine[:3, 3]).astype(int)
        last = np.round(HIGH - image.affine[:3, 3]).astype(int)
        return np.asarray(image.dataobj[tuple(map(slice, first, last + 1))], np.float32).transpose(2, 1, 0)

    def signed_distance(inside: NDArray) -> NDArray:
        """mm to the surface, negative inside, smoothed over 2 mm."""
        out = ndimage.distance_transform_edt(~inside, sampling=2.0)
        return ndimage.gaussian_filter(out - ndimage.distance_transform_edt(inside, sampling=2.0), 1.0)

    matter = np.stack([box(load_mni152_gm_template), box(load_mni152_wm_template)])
    coarse = matter.sum(0)[::2, ::2, ::2]
    brain = box(load_mni152_template)[::2, ::2, ::2] > 0
    # the skull follows the brain's hull, not its sulci: fill what a ball of 12 mm can't enter
    outside = ndimage.distance_transform_edt(~np.pad(brain, 8, mode="edge"), sampling=2.0)
    hull = (ndimage.distance_transform_edt(outside < 12, sampling=2.0) > 12)[8:-8, 8:-8, 8:-8]
    distance = signed_distance(hull)

    # lateral and third ventricles: the largest connected fluid around the middle of the head
    z, y, x = np.meshgrid(*(np.arange(a, b + 1, 2) for a, b in zip(LOW[::-1], HIGH[::-1], strict=True)), indexing="ij")
    middle = (abs(x) < 36) & (y > -75) & (y < 40) & (z < 34) & (distance < -20)
    parts, _ = ndimage.label(brain & (coarse < 0.5) & middle)
    wall = signed_distance(parts == 1 + np.bincount(parts.ravel())[1:].argmax())
    # a step outwards from the wall, dying away with distance: the cortex hardly moves
    push = np.stack(np.gradient(wall, 2.0))[::-1] * np.exp(-np.maximum(wall, 0) / 7)
    return {
        "shape": torch.from_numpy(np.concatenate([distance[None], push]).astype(np.float32)),
        "matter": torch.from_numpy(np.round(matter * 255).astype(np.uint8)),  # as they are in the file
    }


# ---------------------------------------------------------------------------------------------------------------
# A subject


class Lesion(NamedTuple):
    centre: NDArray  # MNI mm
    radius: float  # mm
    core: float  # radius of the necrosis, mm
    margin: float  # reach of the oedema beyond the tumour, mm
    outline: SmoothField  # mm
    fingers: SmoothField  # mm, outline of the oedema


@dataclass(frozen=True)
class Subject:
    """Everything that is drawn once for a person; lengths in mm."""

    levels: NDArray
    scale: NDArray  # size against the template (which is larger than most heads) along x, y, z
    turn: float  # in the plane, radians
    tilt: float  # rise of the slice from back to front
    position: NDArray  # x, y of the head in the field of view
    bend: list[SmoothField]  # deformation along x, y, z
    folds: SmoothField  # log of how open the sulci are
    cortex: SmoothField  # where grey turns to white
    ventricle: float
    sulci: float
    shells: list[tuple[float, SmoothField]]  # mean thickness and relative variation: rim, table, marrow, table, scalp
    sinus: float
    muscle: float
    padding: SmoothField  # share of fat in the scalp
    mottle: SmoothField  # how the share of bone in the marrow space varies
    relaxation: NDArray  # (tissues, 3) factors on PD, T1, T2 and T2*
    attenuation: NDArray  # (tissues,) difference in HU
    bias: float
    coil: SmoothField
    phase: SmoothField
    timing: NDArray  # (MR contrasts, 2) factors on TR, TE
    direction: float  # of the misregistration, radians
    lesion: Lesion | None
    atrophy: tuple[float, float] | None  # added to ventricle and sulci


def _stream(seed: int, split: str, index: int, *use: int) -> np.random.Generator:
    """One stream for each subject and use, so that no switch changes what another draws."""
    return np.random.default_rng([*b"heads", SPLITS.index(split), seed, index, *use])


def _subject(seed: int, split: str, index: int, slices: int, switches: Switches) -> Subject:
    rng = _stream(seed, split, index, 0)
    field = SmoothField.draw
    low, high = LEVELS
    places = _stream(seed, split, index, 4).uniform(0, 1, slices)
    levels = low + (high - low) * (np.arange(slices) + places) / slices
    scale = np.clip(0.96 + 0.03 * rng.standard_normal() + 0.025 * rng.standard_normal(3), 0.86, 1.05)
    mean, spread = np.array([2.2, 2.0, 3.4, 2.2, 5.0]), np.array([0.25, 0.12, 0.25, 0.15, 0.3])
    thickness = mean * np.clip(1 + spread * rng.standard_normal(5), 0.5, 1.6)
    tissues = len(TISSUES)
    person = {
        "levels": levels,
        "scale": scale,
        "turn": rng.normal(0, 0.06),
        "tilt": rng.normal(0, 0.08),
        "position": rng.normal(0, 2.0, 2).clip(-4, 4),
        "bend": [field(rng, sd=sd, length=36.0) for sd in (1.7, 2.0, 2.2)],
        "folds": field(rng, sd=0.35, length=11.0),
        "cortex": field(rng, sd=0.06, length=14.0),
        "ventricle": float(np.clip(rng.normal(0.3, 1.1), -1.8, 2.8)),
        "sulci": float(np.clip(rng.normal(0, 0.15), -0.35, 0.35)),
        "shells": [
            (mean, field(rng, sd=sd, length=42.0))
            for mean, sd in zip(thickness, (0.3, 0.1, 0.2, 0.1, 0.15), strict=True)
        ],
        "sinus": float(np.clip(rng.normal(0.6, 0.5), 0, 1.5)),
        "muscle": float(np.clip(rng.normal(9, 2), 4, 13)),
        "padding": field(rng, sd=0.18, length=25.0),
        "mottle": field(rng, sd=0.2, length=9.0),
        "relaxation": np.exp(np.array([0.02, 0.05, 0.05]) * rng.standard_normal((tissues, 3))),
        "attenuation": np.array([0, 8, 4, 130, 130, 2, 1.5, 1.5, 3, 3, 2]) * rng.standard_normal(tissues),
        "bias": float(rng.uniform(0.04, 0.16)),
        "coil": field(rng, sd=1.0, length=90.0),
        "phase": field(rng, sd=1.0, length=80.0),
        "timing": 1 + 0.03 * rng.uniform(-1, 1, (len(CONTRASTS) - 1, 2)),
        "direction": float(rng.uniform(0, 2 * np.pi)),
    }
    ill, shrunken = _stream(seed, split, index, 1), _stream(seed, split, index, 2)
    person["lesion"] = _lesion(ill, levels) if ill.random() < (switches.lesion or 0) else None
    shrinks = shrunken.random() < (switches.atrophy or 0)
    person["atrophy"] = (shrunken.uniform(3.0, 5.5), shrunken.uniform(0.4, 0.9)) if shrinks else None
    return Subject(**person)


def _lesion(rng: np.random.Generator, levels: NDArray) -> Lesion:
    """A tumour centred in white matter, at or close to one of the slices."""
    atlas = _atlas()
    level = rng.choice(levels) + rng.uniform(-3, 3)
    white = atlas.matter[0, 1, round(level - atlas.low[2])].numpy()
    y, x = np.nonzero(white > 0.7)
    pick = rng.integers(len(x))
    radius = rng.uniform(7, 17)
    return Lesion(
        centre=np.array([x[pick] + atlas.low[0], y[pick] + atlas.low[1], level]),
        radius=radius,
        core=radius * rng.uniform(0.2, 0.65),
        margin=rng.uniform(6, 16),
        outline=SmoothField.draw(rng, sd=1.8, length=9.0),
        fingers=SmoothField.draw(rng, sd=3.0, length=8.0),
    )


# ---------------------------------------------------------------------------------------------------------------
# Anatomy


def _ramp(t: NDArray, width: float) -> NDArray:
    """0 to 1 around t = 0, over `width`."""
    return np.clip(t / width + 0.5, 0, 1)


def _line(points: int) -> NDArray:
    """Centres (mm) of so many pixels across the field of view."""
    return ((np.arange(points) + 0.5) / points - 0.5) * FIELD_OF_VIEW


def _anatomy(
    person: Subject,
    level: float,
    size: int,
    *,
    lesion: bool = True,
    atrophy: bool = True,
    shift: NDArray | None = None,
) -> NDArray:
    """Share of each voxel that each tissue fills: float32 (tissues, size, size), summing to 1.

    `lesion`, `atrophy`: whether to show what the subject has of it. `shift` (right, down) in mm moves the head.
    """
    atlas = _atlas()
    fine = max(1, math.ceil(FIELD_OF_VIEW / size / FINE))  # points along the edge of a voxel
    width = FIELD_OF_VIEW / size / fine
    offset = person.position + (0 if shift is None else shift)
    # columns run to the patient's left, rows to the back: against the template's x and y
    x, y = offset[0] - _line(size * fine), offset[1] - _line(size * fine)
    z = level * person.scale[2]

    head = np.stack(np.broadcast_arrays(
        x * math.cos(person.turn) + y[:, None] * math.sin(person.turn),
        y[:, None] * math.cos(person.turn) - x * math.sin(person.turn),
        z + person.tilt * y[:, None],
    ), -1)  # fmt: skip
    points = head / person.scale + [0, CENTRE_Y, 0] + np.stack([bend.on_plane(x, y, z) for bend in person.bend], -1)

    distance, *push = atlas.sample(atlas.shape, points)
    wider = person.atrophy if atrophy and person.atrophy else (0.0, 0.0)
    ventricle, sulci = person.ventricle + wider[0], person.sulci + wider[1]
    grey, white = atlas.sample(atlas.matter, points - ventricle * np.stack(push, -1))

    fractions = np.zeros((len(TISSUES), *distance.shape), np.float32)
    brain = _ramp(-distance, width)
    # the template is a mean over people, whose sulci are blurred: sharpen, with a threshold that varies in space
    matter = grey + white
    fluid = _ramp((1 - matter) * np.exp(sulci + person.folds.on_plane(x, y, z)) - 0.34, 0.42)
    part = _ramp(white / np.maximum(matter, 1e-3) + person.cortex.on_plane(x, y, z) - 0.5, 0.75)
    fractions[CSF] = brain * fluid
    fractions[WHITE] = brain * (1 - fluid) * part
    fractions[GREY] = brain * (1 - fluid) * (1 - part)
    _add_shells(fractions, person, points, distance, width, (x, y, z))
    if lesion and person.lesion:
        _add_lesion(fractions, person.lesion, points, width, (x, y, z))
    rows = fractions.reshape(len(TISSUES), size, fine, -1).mean(2)
    return rows.reshape(len(TISSUES), size, size, fine).mean(3)


def _add_shells(fractions: NDArray, person: Subject, points: NDArray, distance: NDArray, width: float, plane) -> None:
    """Rim of fluid, skull with sinus, temporal muscle and scalp, from the distance (mm) to the brain outwards."""
    px, py, pz = np.moveaxis(points, -1, 0)
    front = np.exp(-((px / 24) ** 2) - ((py - 68) / 16) ** 2 - ((pz + 6) / 18) ** 2)
    temple = np.exp(-(((py - 22) / 26) ** 2) - ((pz + 12) / 30) ** 2) * _ramp(abs(px) - 48, 24)
    rim, inner, marrow, outer, scalp = (
        mean * np.clip(1 + field.on_plane(*plane), 0.3, 2) for mean, field in person.shells
    )
    marrow = marrow * (1 - 0.6 * temple) + 6 * person.sinus * front
    covered = _ramp(-distance, width)
    shells = []
    reach = 0.0
    for layer in (rim, inner, marrow, outer, person.muscle * temple, scalp):
        reach = reach + layer
        inside = _ramp(reach - distance, width)
        shells.append(inside - covered)
        covered = inside
    fractions[CSF] += shells[0]
    air = shells[2] * np.clip(3 * (person.sinus * np.exp(-((px / 22) ** 2) - ((pz + 8) / 16) ** 2) - 0.35), 0, 1)
    air *= py > 40
    spongy = np.clip(0.75 + person.mottle.on_plane(*plane), 0, 1)
    fractions[MARROW] = (shells[2] - air) * spongy
    fractions[BONE] = shells[1] + shells[3] + (shells[2] - air) * (1 - spongy)
    fat = np.clip(0.78 + person.padding.on_plane(*plane), 0.3, 1)
    fractions[FAT] = shells[5] * fat
    fractions[MUSCLE] = shells[4] + shells[5] * (1 - fat)
    fractions[AIR] = 1 - covered + air


def _add_lesion(fractions: NDArray, lesion: Lesion, points: NDArray, width: float, plane) -> None:
    """Replace what is inside the skull by tumour and necrosis, and part of the white matter around by oedema."""
    r = np.sqrt(((points - lesion.centre) ** 2).sum(-1))
    ragged = r + lesion.outline.on_plane(*plane)
    tumour, core = _ramp(lesion.radius - ragged, width), _ramp(lesion.core - ragged, width)
    swollen = _ramp(lesion.radius + lesion.margin - r - lesion.fingers.on_plane(*plane), 2.0)
    for tissue, share in ((WHITE, 0.9), (GREY, 0.25)):
        moved = fractions[tissue] * swollen * share
        fractions[OEDEMA] += moved
        fractions[tissue] -= moved
    inside = [CSF, GREY, WHITE, OEDEMA]
    room = fractions[inside].sum(0) * tumour
    fractions[inside] *= 1 - tumour
    fractions[NECROSIS] = room * core
    fractions[TUMOUR] = room * (1 - core)


# ---------------------------------------------------------------------------------------------------------------
# Images


def _mr_sequence(person: Subject, contrast: str, protocol: str) -> Sequence:
    sequence = PROTOCOLS[protocol][contrast]
    tr, te = person.timing[CONTRASTS.index(contrast)]
    return sequence._replace(tr=sequence.tr * tr, te=sequence.te * te)


def _mr_image(person: Subject, fractions: NDArray, contrast: str, protocol: str, rng: np.random.Generator) -> NDArray:
    """Complex image (size, size): the tissues' signals by share, under the coil's sensitivity, with phase and noise."""
    sequence = _mr_sequence(person, contrast, protocol)
    factors = np.concatenate([person.relaxation, person.relaxation[:, 2:]], 1)
    signals = np.array(
        [
            sequence.signal(mr.Tissue(*(np.array(mr.TISSUES[name]) * factor)))
            for name, factor in zip(TISSUES, factors, strict=True)
        ]
    )
    signals[FAT] *= sequence.fat
    signals[MARROW] *= (1 + sequence.fat) / 2  # half of its signal is fat's
    line = _line(fractions.shape[-1])
    gain = np.exp(person.bias * person.coil.on_plane(line, line, 0.0))
    phase = person.phase.on_plane(line, line, 0.0)
    image = gain * np.tensordot(signals, fractions, 1) * np.exp(1j * phase)
    return image + mr.complex_noise(image.shape, PROTOCOLS[protocol][contrast].top / SNR, rng)


def _hounsfield(person: Subject, fractions: NDArray) -> NDArray:
    """HU (size, size) of the tissues by share, before any noise."""
    return np.tensordot(np.array([ct.HU[name] for name in TISSUES]) + person.attenuation, fractions, 1)


def _ct_image(person: Subject, fractions: NDArray, dose: float | None, rng: np.random.Generator) -> NDArray:
    hu, spacing = _hounsfield(person, fractions), FIELD_OF_VIEW / fractions.shape[-1]
    if dose is not None:
        pad = len(hu) // 8  # the scanner sees more than the picture shows, so that a shifted head fits
        seen = ct.scan(np.pad(hu, pad, constant_values=-1000.0), spacing, dose=dose, rng=rng)
        return seen[pad:-pad, pad:-pad]
    return hu + ct.correlated_noise(len(hu), CT_NOISE * (2 / spacing), rng)


def _simulate(split: str, size: int, n: int, seed: int, slices: int, switches: Switches) -> dict[str, torch.Tensor]:
    from medgan_lib.training.progress import watched  # here: how it is shown is no part of what a cohort is

    subjects = range(math.ceil(n / slices))
    rows: list[dict] = []
    for index in watched(subjects, "simulating heads", unit="subject", hidden=n < 300):
        person = _subject(seed, split, index, slices, switches)
        for k in range(slices):
            rows.append(
                _slice(person, k, size, switches, lambda *use, i=index, k=k: _stream(seed, split, i, 3, k, *use))
            )
    return {key: torch.from_numpy(np.stack([row[key] for row in rows[:n]])) for key in rows[0]}


def _slice(person: Subject, k: int, size: int, switches: Switches, stream: Callable) -> dict[str, NDArray]:
    """What `load` documents, of the k-th slice of a subject; `stream(use, ...)` gives random numbers."""
    level, first, protocol = person.levels[k], switches.contrasts[0], switches.protocol
    row: dict = {}

    def acquire(fractions: NDArray, contrast: str, *, whole: bool = False) -> NDArray:
        """An image in [-1, 1]; `whole`: with all of k-space, or all of a routine dose."""
        number = CONTRASTS.index(contrast)
        if contrast == "ct":
            dose = 1.0 if whole else switches.dose
            return _scaled(_ct_image(person, fractions, dose, stream(number, int(whole))), *CT_WINDOW)
        image = _mr_image(person, fractions, contrast, protocol, stream(number, 0))
        if switches.undersampling is not None and not whole:
            lines = mr.cartesian_mask(size, switches.undersampling, stream(number, 1))[None, :, None]
            row.setdefault("sampling", lines)  # the first contrast comes first
            image = mr.from_kspace(mr.to_kspace(image) * lines[0])
        return _scaled(np.abs(image), 0.0, PROTOCOLS[protocol][contrast].top)

    def anatomy(**which) -> NDArray:
        return _anatomy(person, level, size, **which)

    shift = switches.misregistration_mm * np.array([math.cos(person.direction), math.sin(person.direction)])
    fractions = anatomy()
    moved = anatomy(shift=shift) if shift.any() and len(switches.contrasts) > 1 else fractions
    for contrast in switches.contrasts:
        row[contrast] = acquire(fractions if contrast == first else moved, contrast)
    if (switches.dose if first == "ct" else switches.undersampling) is not None:
        row["reference"] = acquire(fractions, first, whole=True)

    without_lesion = anatomy(lesion=False) if person.lesion else fractions
    row["labels"] = _labels(without_lesion)
    has_lesion, has_atrophy = switches.lesion is not None, switches.atrophy is not None
    if has_lesion:
        row["mask"] = (fractions[TUMOUR] + fractions[NECROSIS] >= 0.5)[None]
        row["oedema"] = fractions[OEDEMA][None]
    if has_lesion or has_atrophy:
        sound = anatomy(lesion=False, atrophy=False) if person.atrophy else without_lesion
        row["healthy"] = acquire(sound, first) if sound is not fractions else row[first]
        seen = bool((fractions[[TUMOUR, NECROSIS, OEDEMA]] >= 0.5).any())
        row["label"] = np.uint8(seen + (1 + has_lesion) * bool(person.atrophy))
    if has_atrophy:
        row["change"] = (without_lesion[CSF] - sound[CSF])[None]

    factors = {
        "level_mm": level,
        "brain_scale": np.prod(person.scale) ** (1 / 3),
        "ventricle_mm": person.ventricle + (person.atrophy[0] if person.atrophy else 0),
        "sulci": person.sulci + (person.atrophy[1] if person.atrophy else 0),
        "bias": person.bias,
        "shift_mm": shift,
    }
    for contrast in switches.contrasts:
        if contrast != "ct":
            sequence = _mr_sequence(person, contrast, protocol)
            factors |= {f"{contrast}_tr_ms": sequence.tr, f"{contrast}_te_ms": sequence.te}
    return row | {name: np.asarray(value, np.float32) for name, value in factors.items()}


def _scaled(image: NDArray, low: float, high: float) -> NDArray:
    """Units → float32 (1, size, size), clipped to [-1, 1]."""
    return np.clip((image - low) * (2 / (high - low)) - 1, -1, 1).astype(np.float32)[None]


def _labels(fractions: NDArray) -> NDArray:
    """Index of the largest share after tissues are merged into `LABELS`: uint8 (1, size, size)."""
    merged = np.zeros((len(LABELS), *fractions.shape[1:]), np.float32)
    for tissue, label in LABEL_OF.items():
        merged[label] += fractions[tissue]
    return merged.argmax(0).astype(np.uint8)[None]
