"""Images of a reader's own folder as a `Cohort`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from medgan_lib import files
from medgan_lib.cohorts import Cohort
from medgan_lib.cohorts.cohort import SPLITS, draw
from medgan_lib.own_images.padding import centred, fitted
from medgan_lib.own_images.sides import MULTIPLE, Entry, text
from medgan_lib.own_images.survey import Survey, inspect_folder

MOST_BYTES = 2**33  # of all tensors


def load_folder(
    path: str | Path,
    split: str = "train",
    *,
    size: int | None = None,
    n: int | None = None,
    seed: int = 0,
    domain: str | None = None,
    whole: bool = False,
) -> Cohort:
    """Images of a reader's own folder: ``x`` float32 (n, channels, h, w) in [-1, 1], of pairs ``y`` (A) and ``x`` (B).

    Volumes come as axial slices, or ``whole`` as (n, 1, slices, h, w). Images are padded with their smallest value to
    the largest size of the folder, rounded up to multiples of 8; ``size`` instead resamples them, with antialiasing, so
    that the longer side (in mm, where the spacing is known) has ``size`` pixels, and pads to a square. ``crop`` int64
    (n, 2 dims) holds first and last + 1 index along each axis of what isn't padding, see `unpad`. ``label`` and
    ``mask`` are there if the folder has them. ``domain`` chooses A or B of an unpaired folder; of a paired folder it
    gives A of one half of the subjects, or B of the other half. ``n`` items are drawn by ``seed``; the splits are the
    same for every seed. Nothing is printed: `inspect_folder` says what was found.

    ValueError: as `inspect_folder`, and if the split is empty, there are fewer items than ``n``, or they don't fit in
    memory.
    """
    found = inspect_folder(path)
    name = Path(path).expanduser().absolute().name
    check(found, name, split, size, domain, whole)
    letters = {"x": "A"} if found.kind == "plain" else {"x": domain} if domain else {"y": "A", "x": "B"}
    sides = {key: found.sides[letter] for key, letter in letters.items()}
    entries = chosen(found, letters["x"], split, domain)
    if not entries:
        raise ValueError(empty(found, name, split, domain))
    rows = [(e, slice_) for e, entry in enumerate(entries) for slice_ in range(1 if whole else entry.slices)]
    rows = [rows[i] for i in draw(name, np.arange(len(rows)), n, seed)]
    shape = found.shape_whole if whole else (size, size) if size else found.shape
    need = 4 * len(rows) * math.prod(shape) * (sum(side.channels for side in sides.values()) + 2 * bool(found.masks))
    if need > MOST_BYTES:
        raise ValueError(
            f"{len(rows)} images of {text(shape)} from {name} need {need / 2**30:.1f} GiB; ask for fewer by n, or for "
            "a smaller size"
        )
    items = Items(rows, shape, size, whole)
    tensors: dict[str, Tensor] = {}
    for key, side in sides.items():
        of = chosen(found, side.letter, split, domain)
        filled = items.filled(of, lambda entry, side=side: side.values(files.read(entry.path)))
        tensors[key] = side.scaled(filled.values)
    tensors["crop"] = filled.crop
    classes: dict[str, tuple[str, ...]] = {}
    if found.labels:
        tensors["label"] = torch.tensor([found.labels[entries[e].name] for e, _ in rows])
        classes["label"] = found.classes
    if found.masks:
        mask = items.filled(entries, lambda entry: files.read(found.masks[entry.name]).values, nearest=True).values
        tensors["mask"] = mask != 0
        if len(found.mask_values) > 2:
            tensors["mask"] = torch.searchsorted(torch.tensor(found.mask_values), mask.round().long())
            classes["mask"] = tuple(map(str, found.mask_values))
    return Cohort(
        name=f"{name}/{domain}" if domain else name,
        tensors={"x": tensors.pop("x"), **tensors},
        subjects=torch.tensor([found.subjects[found.key(letters["x"], entries[e].name)] for e, _ in rows]),
        units={key: side.units for key, side in sides.items()},
        window={key: side.window for key, side in sides.items()},
        origin="real",
        split=split,
        spacing=filled.spacing,
        classes=classes,
        note=f"own images, {found.kind}, from {len(entries)} {'volumes' if entries[0].slices > 1 else 'images'}",
    )


@wraps(load_folder, assigned=())  # `cohorts.load` asks for its signature
def show(path: str | Path, split: str = "train", **how) -> Cohort:
    """`load_folder`, which also prints what was found in the folder and how that is treated.

    In a process each note of a folder is printed once: a second load says nothing, and where files changed only what
    is new. This is what `cohorts.load` does with a path; who wants no print calls `load_folder`.
    """
    root = Path(path).expanduser().absolute()
    new = [note for note in inspect_folder(path).notes if (root, note) not in PRINTED]
    for note in new:
        print(f"{root.name}: {note}")
    PRINTED.update((root, note) for note in new)
    return load_folder(path, split, **how)


PRINTED: set[tuple[Path, str]] = set()  # folders, and the notes on them that this process has printed


def check(found: Survey, name: str, split: str, size: int | None, domain: str | None, whole: bool) -> None:
    """ValueError for what can't be asked of this folder."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r} of {name!r}; there are {', '.join(SPLITS)}")
    if domain not in (None, "A", "B"):
        raise ValueError(f"domain is 'A' or 'B', it is {domain!r}")
    if domain and found.kind == "plain":
        raise ValueError(f"{name!r} has no A/ and B/, so it has no domain {domain}")
    if not domain and found.kind == "unpaired":
        raise ValueError(
            f"{name!r} is unpaired (no name is in both A/ and B/): load each domain by domain='A' and domain='B'. For "
            "pairs, give partners the same name"
        )
    if size is not None and size < MULTIPLE:
        raise ValueError(f"size must be at least {MULTIPLE}, it is {size}")
    if whole and found.shape_whole is None:
        raise ValueError(f"{name!r} holds 2-D images: only volumes can be loaded whole")
    if whole and size:
        raise ValueError("whole volumes keep their size: leave out size")


def chosen(found: Survey, letter: str, split: str, domain: str | None) -> list[Entry]:
    """The images of a side that are in a split; of pairs asked for by domain, those of every second subject."""
    entries = found.of_split(letter, split)
    if domain and found.kind == "paired":
        people = sorted({found.subjects[entry.name] for entry in entries})[0 if letter == "A" else 1 :: 2]
        entries = [entry for entry in entries if found.subjects[entry.name] in people]
    return entries


def empty(found: Survey, name: str, split: str, domain: str | None) -> str:
    """Why there is nothing in a split."""
    where = [key for key in found.splits if found.kind != "unpaired" or key.startswith(f"{domain}/")]
    people = len({found.subjects[key] for key in where})
    least = {"train": 1, "test": 2, "val": 3}[split]
    if domain and found.kind == "paired":
        return f"{name!r} has too few subjects in {split!r} to give A of one and B of another; add pairs"
    return (
        f"{name!r} has no {split!r} images{f' in {domain}' if domain else ''}: it holds {people} "
        f"subject{'s' * (people != 1)}, and {least} are needed (2 give train and test, 3 all three splits). Add "
        "images, or load 'train'"
    )


class Filled(NamedTuple):
    """``values`` float32 (n, channels, *shape) in units, ``crop`` int64 (n, 2 dims), and mm per pixel if all images
    agree to 1 %, else None."""

    values: Tensor
    crop: Tensor
    spacing: tuple[float, ...] | None


@dataclass(frozen=True)
class Items:
    """The chosen slices of images (or whole volumes), as numbers of image and slice, and the shape they get.

    With ``size`` they are resampled to it, and in any case padded to ``shape``.
    """

    rows: list[tuple[int, int]]
    shape: tuple[int, ...]
    size: int | None
    whole: bool

    def filled(self, entries: list[Entry], values: Callable[[Entry], NDArray], nearest: bool = False) -> Filled:
        """All items in one tensor; ``values`` gives those of an entry, (channels, *its size), ``nearest``: labels."""
        wanted: dict[int, list[tuple[int, int]]] = {}
        for row, (entry, slice_) in enumerate(self.rows):
            wanted.setdefault(entry, []).append((row, slice_))
        crop, spacings, out = torch.zeros(len(self.rows), 2 * len(self.shape), dtype=torch.int64), [], None
        for number, places in wanted.items():
            entry = entries[number]
            image = torch.from_numpy(values(entry))
            rows, picks = map(list, zip(*places, strict=True))
            part = image[None] if self.whole or image.ndim < 4 else image.transpose(0, 1)[picks]
            part, spacing = self.resampled(part, entry, nearest)
            if out is None:
                out = torch.empty(len(self.rows), part.shape[1], *self.shape)
            inner = centred(part.shape[2:], self.shape)
            border = torch.full((len(rows), part.shape[1], *self.shape), 0.0 if nearest else float(image.min()))
            border[(..., *inner)] = part
            out[rows] = border
            crop[rows] = torch.tensor([end for edge in inner for end in (edge.start, edge.stop)])
            spacings.append(spacing)
        return Filled(out, crop, agreed(spacings))

    def resampled(self, part: Tensor, entry: Entry, nearest: bool) -> tuple[Tensor, tuple[float, ...] | None]:
        """Slices or a volume of an entry at ``size``, and their spacing."""
        spacing = entry.spacing if self.whole or entry.spacing is None else entry.spacing[-2:]
        if self.size is None:
            return part, spacing
        old = part.shape[2:]
        new = fitted(old, spacing, self.size)
        if nearest:
            part = F.interpolate(part, new, mode="nearest-exact")
        else:
            part = F.interpolate(part, new, mode="bilinear", antialias=True)
        return part, spacing and tuple(mm * a / b for mm, a, b in zip(spacing, old, new, strict=True))


def agreed(spacings: list[tuple[float, ...] | None]) -> tuple[float, ...] | None:
    first = spacings[0]
    same = all(one is not None and np.allclose(one, first, rtol=0.01) for one in spacings) if first else False
    return first if same else None
