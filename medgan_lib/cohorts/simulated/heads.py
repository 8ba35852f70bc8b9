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
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from medgan_lib.cohorts.cache import cached
from medgan_lib.cohorts.cohort import SPLITS, Cohort, Window
from medgan_lib.cohorts.simulated.head_anatomy import (
    CONTRASTS,
    CSF,
    FIELD_OF_VIEW,
    LABELS,
    LEVELS,
    NECROSIS,
    OEDEMA,
    SIZES,
    TUMOUR,
    Subject,
    draw_subject,
    random_stream,
    tissue_labels,
    tissue_shares,
)
from medgan_lib.cohorts.simulated.head_scanner import HEADROOM, PROTOCOLS, SNR, VOXEL, ct_image, mr_image, mr_sequence
from medgan_lib.cohorts.simulated.toys import subject_ids
from medgan_lib.physics import mr

REACH = (-16, 74)  # mm, MNI z, of levels that can be asked for: what lies beyond lacks a skull base, or a brain
CT_WINDOW = Window(-1000.0, 2000.0)


class Switches(NamedTuple):
    """The switches of `load`, as documented there."""

    contrasts: tuple[str, ...]
    misregistration_mm: float
    lesion: float | None
    atrophy: float | None
    protocol: str
    undersampling: float | None
    dose: float | None
    levels: tuple[float, float] = LEVELS
    snr: float = SNR
    ct_window: tuple[float, float] = CT_WINDOW
    complex: bool = False
    volume: tuple[int, float] | None = None

    @property
    def thickness(self) -> float:
        """Of a slice, mm, as far as its noise goes: slices of a volume touch each other."""
        return self.volume[1] if self.volume else VOXEL[1]

    def window(self, contrast: str) -> Window:
        """What -1 and +1 stand for, in HU or signal."""
        if contrast == "ct":
            return Window(*self.ct_window)
        top = PROTOCOLS[self.protocol][contrast].top
        return Window(-HEADROOM * top, HEADROOM * top) if self.complex else Window(0.0, top)


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
    levels: tuple[float, float] = LEVELS,
    snr: float = SNR,
    ct_window: tuple[float, float] = CT_WINDOW,
    complex: bool = False,
    volume: tuple[int, float] | None = None,
) -> Cohort:
    """`n` slices (default 1,000) of size² voxels (default 64) over a field of view of 240 mm.

    Images are float32 (n, 1, size, size) in [-1, 1]; `window` maps them to signal (fraction of the magnetisation of
    water) or HU and clips the few values outside. The same subject, at the same seed, has the same anatomy and
    draws of noise under every switch, and does not depend on `n`.

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
        levels: lowest and highest slice, mm of MNI z, within -16 to 74.
        snr: top of the window over the noise's standard deviation (of the real part) in a voxel 2 mm wide and 5 mm
            thick, before any undersampling. Larger voxels have more: `mr.voxel_snr`.
        ct_window: HU that -1 and +1 stand for; what lies outside is clipped.
        complex: MR images as a receiver has them, (n, 2, size, size): real and imaginary part, with the coil's phase.
            The window reaches from minus to plus twice the top of the magnitude's, and clips nothing where voxels have
            a signal-to-noise ratio above 10; the magnitude, from `to_units`, is the image without this switch, at the
            same noise. CT stays as it is.
        volume: (slices, mm): so many slices of a subject, `mm` apart from the base upwards, in place of
            `slices_per_subject`. The first level is drawn; "level_mm" grows in mm of the template, by `mm` over the
            head's size. Slices are as thick as they are apart (5 mm without this switch), which only their noise shows.
            `n` still counts slices and has to be a multiple of that number (the default is the largest up to 1,000).
            Volumes (subjects, channels, slices, size, size), from the base upwards, are
            `x.unflatten(0, (-1, slices)).transpose(1, 2)`.

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
    switches = Switches(
        _names(contrasts), misregistration_mm, lesion, atrophy, protocol, undersampling, dose,
        levels, snr, ct_window, complex, volume,
    )  # fmt: skip
    _check_switches(switches)
    if volume is not None:
        _check_volume(volume, levels, n, slices_per_subject)
        slices_per_subject = volume[0]
    size = 64 if size is None else size
    n = 1000 - (1000 % volume[0] if volume else 0) if n is None else n
    contrasts = switches.contrasts
    _check_counts(split, size, n, slices_per_subject)
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
    windows = {c: switches.window(c) for c in contrasts}
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
        note=f"simulated heads (MNI152 anatomy), {', '.join(c.upper() for c in contrasts)}, protocol {protocol}"
        + ", real and imaginary part" * complex,
    )


def _names(contrasts: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    names = (contrasts,) if isinstance(contrasts, str) else tuple(contrasts)
    unknown = [c for c in names if c not in CONTRASTS]
    if unknown or not names or len(set(names)) < len(names):
        what = f"unknown contrast {unknown[0]!r}" if unknown else f"contrasts are {names!r}"
        raise ValueError(f"heads: {what}; give one or more, each once, of {', '.join(CONTRASTS)}")
    return names


# Switches that are a number: what it can be, and whether None turns the switch off.
NUMBERS = (
    ("misregistration_mm", 0, 10, "0 to 10 mm", False),
    ("lesion", 0, 1, "a probability from 0 to 1", True),
    ("atrophy", 0, 1, "a probability from 0 to 1", True),
    ("undersampling", 1, 8, "1 to 8", True),
    ("dose", 0.001, 10, "0.001 to 10 (1 is routine)", True),
    ("snr", 1, 1e6, "1 to 1,000,000", False),
)
# Switches that are two rising numbers: between which.
RANGES = (("levels", *REACH, "mm"), ("ct_window", -1024, 3071, "HU"))


def _check_switches(switches: Switches) -> None:
    for name, low, high, what, can_be_off in NUMBERS:
        value = getattr(switches, name)
        off = can_be_off and value is None
        _require(off or _number(value, low, high), f"{name} is {value!r}; give {'None or ' * can_be_off}{what}")
    for name, low, high, unit in RANGES:
        value = getattr(switches, name)
        pair = isinstance(value, tuple | list) and len(value) == 2 and all(_number(end, low, high) for end in value)
        _require(pair and value[0] < value[1], f"{name} is {value!r}; give (low, high) within {low} to {high} {unit}")
    _require(isinstance(switches.complex, bool), f"complex is {switches.complex!r}; give True or False")
    names = ", ".join(PROTOCOLS)
    _require(switches.protocol in PROTOCOLS, f"unknown protocol {switches.protocol!r}; there are {names}")

    given, magnetic, shift = switches.contrasts, switches.contrasts != ("ct",), switches.misregistration_mm
    ct, listed = "ct" in given, ", ".join(given)
    for asked, possible, message in (
        (shift > 0, len(given) > 1, "misregistration_mm needs two contrasts: the first stays in place"),
        (switches.undersampling is not None, magnetic, "undersampling needs an MR contrast: t1, t2, flair or gre"),
        (switches.complex, magnetic, "complex needs an MR contrast: t1, t2, flair or gre"),
        (switches.dose is not None, ct, f"dose needs 'ct' among the contrasts, they are {listed}"),
        (tuple(switches.ct_window) != CT_WINDOW, ct, f"ct_window needs 'ct' among the contrasts, they are {listed}"),
    ):
        _require(not asked or possible, message)


def _check_volume(volume: tuple[int, float], levels: tuple[float, float], n: int | None, slices: int) -> None:
    pair = isinstance(volume, tuple | list) and len(volume) == 2
    pair = pair and _whole(volume[0], 2, 64) and _number(volume[1], 0.5, 20)
    _require(pair, f"volume is {volume!r}; give None or (slices, mm): a whole number from 2 to 64, and 0.5 to 20 mm")
    count, step = volume
    _require(slices == 1, "volume says how many slices a subject has: leave slices_per_subject at 1")
    fits = n is None or (_whole(n, 1, math.inf) and n % count == 0)
    _require(fits, f"n is {n!r}; a volume has {count} slices, so give a multiple of it")
    needed, there = (count - 1) * step / SIZES[0], levels[1] - levels[0]
    message = (
        f"a volume of {count} slices {step:g} mm apart can need {needed:.1f} mm of MNI z (in the smallest head), the "
        f"levels {levels[0]:g} to {levels[1]:g} span {there:g} mm; give fewer or closer slices, or wider levels"
    )
    _require(needed <= there, message)


def _check_counts(split: str, size: int, n: int, slices: int) -> None:
    _require(split in SPLITS, f"unknown split {split!r}; there are {', '.join(SPLITS)}")
    good = _whole(size, 32, 256) and size % 8 == 0
    _require(good, f"size is {size!r}; give a multiple of 8 from 32 to 256")
    _require(_whole(n, 1, math.inf), f"n is {n!r}; give a whole number from 1")
    _require(_whole(slices, 1, 64), f"slices_per_subject is {slices!r}; give a whole number from 1 to 64")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(f"heads: {message}")


def _number(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _whole(value: object, low: float, high: float) -> bool:
    return isinstance(value, int) and _number(value, low, high)


def _simulate(split: str, size: int, n: int, seed: int, slices: int, switches: Switches) -> dict[str, torch.Tensor]:
    from medgan_lib.training.progress import watched  # here: how it is shown is no part of what a cohort is

    subjects = range(math.ceil(n / slices))
    rows: list[dict] = []
    for index in watched(subjects, "simulating heads", unit="subject", hidden=n < 300):
        person = draw_subject(seed, split, index, slices, switches)
        for k in range(slices):
            rows.append(
                _slice(person, k, size, switches, lambda *use, i=index, k=k: random_stream(seed, split, i, 3, k, *use))
            )
    return {key: torch.from_numpy(np.stack([row[key] for row in rows[:n]])) for key in rows[0]}


def _slice(person: Subject, k: int, size: int, switches: Switches, stream: Callable) -> dict[str, NDArray]:
    """What `load` documents, of the k-th slice of a subject; `stream(use, ...)` gives random numbers."""
    level, first, protocol = person.levels[k], switches.contrasts[0], switches.protocol
    row: dict = {}

    def acquire(fractions: NDArray, contrast: str, *, whole: bool = False) -> NDArray:
        """An image in [-1, 1]; `whole`: with all of k-space, or all of a routine dose."""
        number, window = CONTRASTS.index(contrast), switches.window(contrast)
        if contrast == "ct":
            dose = 1.0 if whole else switches.dose
            return _scaled(ct_image(person, fractions, dose, switches.thickness, stream(number, int(whole))), window)
        image = mr_image(person, fractions, contrast, switches, stream(number, 0))
        if switches.undersampling is not None and not whole:
            lines = mr.cartesian_mask(size, switches.undersampling, stream(number, 1))[None, :, None]
            row.setdefault("sampling", lines)  # the first contrast comes first
            image = mr.from_kspace(mr.to_kspace(image) * lines[0])
        if switches.complex:
            return np.concatenate([_scaled(part, window) for part in (image.real, image.imag)])
        return _scaled(np.abs(image), window)

    def anatomy(**which) -> NDArray:
        return tissue_shares(person, level, size, **which)

    shift = switches.misregistration_mm * np.array([math.cos(person.direction), math.sin(person.direction)])
    fractions = anatomy()
    moved = anatomy(shift=shift) if shift.any() and len(switches.contrasts) > 1 else fractions
    for contrast in switches.contrasts:
        row[contrast] = acquire(fractions if contrast == first else moved, contrast)
    if (switches.dose if first == "ct" else switches.undersampling) is not None:
        row["reference"] = acquire(fractions, first, whole=True)

    without_lesion = anatomy(lesion=False) if person.lesion else fractions
    row["labels"] = tissue_labels(without_lesion)
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
            sequence = mr_sequence(person, contrast, protocol)
            factors |= {f"{contrast}_tr_ms": sequence.tr, f"{contrast}_te_ms": sequence.te}
    return row | {name: np.asarray(value, np.float32) for name, value in factors.items()}


def _scaled(image: NDArray, window: Window) -> NDArray:
    """Units → float32 (1, size, size), clipped to [-1, 1]."""
    return window.scale(image).float().numpy()[None]
