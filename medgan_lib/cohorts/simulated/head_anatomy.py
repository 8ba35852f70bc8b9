"""Who and what is in a simulated head: the person's draw, and the share of each voxel that each tissue fills.

Brains come from the MNI152 template, under the person's affine map and deformation; shells are put around them. What a
scanner makes of it is in `head_scanner`, the cohort in `heads`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from medgan_lib.cohorts.cache import cached
from medgan_lib.cohorts.cohort import SPLITS
from medgan_lib.physics.fields import SmoothField

if TYPE_CHECKING:
    from medgan_lib.cohorts.simulated.heads import Switches

FIELD_OF_VIEW = 240.0  # mm
LEVELS = (-8.0, 60.0)  # mm, MNI z: from the frontal sinus to the upper part of the hemispheres
LOW, HIGH = (-98, -134, -40), (98, 98, 100)  # mm, MNI x, y, z: the box of the template that slices can reach
FINE = 2.0  # mm: anatomy is computed at most this coarse, then averaged over the voxel
CENTRE_Y = -17.0  # mm, MNI: the middle of the brain from front to back
SIZES = (0.86, 1.05)  # the smallest and the largest head against the template, along any axis

LABELS = ("background", "scalp", "bone", "csf", "grey matter", "white matter")
TISSUES = ("air", "fat", "muscle", "bone", "marrow", "csf", "grey", "white", "tumour", "necrosis", "oedema")
AIR, FAT, MUSCLE, BONE, MARROW, CSF, GREY, WHITE, TUMOUR, NECROSIS, OEDEMA = range(len(TISSUES))
LABEL_OF = {AIR: 0, FAT: 1, MUSCLE: 1, BONE: 2, MARROW: 2, CSF: 3, GREY: 4, WHITE: 5}
CONTRASTS = ("t1", "t2", "flair", "gre", "ct")  # each MR contrast has times of its own in a person


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
def load_atlas() -> Atlas:
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


def random_stream(seed: int, split: str, index: int, *use: int) -> np.random.Generator:
    """One stream for each subject and use, so that no switch changes what another draws."""
    return np.random.default_rng([*b"heads", SPLITS.index(split), seed, index, *use])


def draw_subject(seed: int, split: str, index: int, slices: int, switches: Switches) -> Subject:
    """The subject at `index`, with levels for so many slices: the same one at every size and under every switch."""
    rng = random_stream(seed, split, index, 0)
    field = SmoothField.draw
    scale = np.clip(0.96 + 0.03 * rng.standard_normal() + 0.025 * rng.standard_normal(3), *SIZES)
    levels = _levels(random_stream(seed, split, index, 4).uniform(0, 1, slices), switches, scale[2])
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
    ill, shrunken = random_stream(seed, split, index, 1), random_stream(seed, split, index, 2)
    person["lesion"] = _lesion(ill, levels) if ill.random() < (switches.lesion or 0) else None
    shrinks = shrunken.random() < (switches.atrophy or 0)
    person["atrophy"] = (shrunken.uniform(3.0, 5.5), shrunken.uniform(0.4, 0.9)) if shrinks else None
    return Subject(**person)


def _levels(places: NDArray, switches: Switches, stretch: float) -> NDArray:
    """MNI z (mm) of slices: one in each of as many equal parts of the range, or the equal steps of a volume.

    `places`: uniform in 0 to 1, one for each slice. `stretch`: the head's size along z against the template's.
    """
    low, high = switches.levels
    if switches.volume is None:
        return low + (high - low) * (np.arange(len(places)) + places) / len(places)
    steps = np.arange(len(places)) * switches.volume[1] / stretch  # mm of the person → mm of the template
    return low + (high - low - steps[-1]) * places[0] + steps


def _lesion(rng: np.random.Generator, levels: NDArray) -> Lesion:
    """A tumour centred in white matter, at or close to one of the slices."""
    atlas = load_atlas()
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


def centres(points: int) -> NDArray:
    """Centres (mm) of so many pixels across the field of view."""
    return ((np.arange(points) + 0.5) / points - 0.5) * FIELD_OF_VIEW


def tissue_shares(
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
    atlas = load_atlas()
    fine = max(1, math.ceil(FIELD_OF_VIEW / size / FINE))  # points along the edge of a voxel
    width = FIELD_OF_VIEW / size / fine
    offset = person.position + (0 if shift is None else shift)
    # columns run to the patient's left, rows to the back: against the template's x and y
    x, y = offset[0] - centres(size * fine), offset[1] - centres(size * fine)
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


def tissue_labels(fractions: NDArray) -> NDArray:
    """Index of the largest share after tissues are merged into `LABELS`: uint8 (1, size, size)."""
    merged = np.zeros((len(LABELS), *fractions.shape[1:]), np.float32)
    for tissue, label in LABEL_OF.items():
        merged[label] += fractions[tissue]
    return merged.argmax(0).astype(np.uint8)[None]
