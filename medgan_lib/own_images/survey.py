"""What a reader's own folder holds: everything in it is read once, and what can't be used is named.

| folder | gives |
|---|---|
| images | ``x`` |
| ``A/`` and ``B/``, files of equal names | pairs: ``y`` is A, ``x`` is B |
| ``A/`` and ``B/``, no name in both | two domains; ``domain="A"`` or ``"B"`` gives one as ``x`` |
| ``labels.csv`` beside them, columns name, label, subject | ``label``; images of one subject stay in one split |
| ``masks/`` beside them, a file for each image | ``mask``: bool, or int64 if it holds more than two values |

Images whose names differ only by a modality, or that share a BIDS subject, are one subject; every other file or series
is one of its own, unless labels.csv says otherwise.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from medgan_lib import files
from medgan_lib.files import dicom
from medgan_lib.files.image import stem
from medgan_lib.own_images.annotations import (
    LABELS,
    MASKS,
    as_mask,
    check_masks,
    labelled,
    outside_training,
    table,
)
from medgan_lib.own_images.sides import Entry, Side, common, few, misplaced, settle, text
from medgan_lib.own_images.split import split_subjects
from medgan_lib.own_images.subjects import by_name

SAMPLES = 2**24  # values from which the percentiles of windows are taken, in all


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    ``kind`` is "paired" (A and B have equal names), "unpaired", or "plain", where all is in side A. ``splits`` gives
    the split of "<name>", of an unpaired folder of "A/<name>" and "B/<name>"; ``subjects`` numbers the subject of every
    such key. ``notes`` says, one line each, what was found and how it is treated: print it. ``shape`` is the common
    size of slices, and ``shape_whole`` that of whole volumes where all are volumes. ``labels`` and ``masks`` are by
    name; ``mask_values`` are those that occur, 0 among them.
    """

    kind: str
    sides: Mapping[str, Side]
    splits: Mapping[str, str]
    subjects: Mapping[str, int]
    notes: tuple[str, ...]
    shape: tuple[int, int]
    shape_whole: tuple[int, int, int] | None
    labels: Mapping[str, int] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    masks: Mapping[str, Path] = field(default_factory=dict)
    mask_values: tuple[int, ...] = ()

    def key(self, letter: str, name: str) -> str:
        """What ``splits`` and ``subjects`` call an image of a side."""
        return key_of(self.kind, letter, name)

    def of_split(self, letter: str, split: str) -> list[Entry]:
        """The images of a side that are in a split."""
        return [entry for entry in self.sides[letter].entries if self.splits[self.key(letter, entry.name)] == split]


def key_of(kind: str, letter: str, name: str) -> str:
    return f"{letter}/{name}" if kind == "unpaired" else name


def inspect_folder(path: str | Path) -> Survey:
    """What the folder (or single file) holds, after everything in it was read once.

    ValueError that names every file which can't be read in one message, and every name in A/, B/, masks/ or
    labels.csv that has no counterpart. FileNotFoundError where there is nothing.
    """
    root = Path(path).expanduser().absolute()
    if not root.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    places = [root, *(root / part for part in ("A", "B", MASKS) if (root / part).is_dir())]
    there = [root] if root.is_file() else [file for place in places for file in dicom.walk(place)]
    stamp = tuple((str(file), *_stat(file)) for file in there)
    return _survey(root, stamp)


def _stat(file: Path) -> tuple[int, int]:
    facts = os.stat(file)
    return facts.st_size, facts.st_mtime_ns


@lru_cache(maxsize=4)
def _survey(root: Path, stamp: tuple) -> Survey:
    """`inspect_folder`; ``stamp`` is what changes when a file does."""
    notes: list[str] = []
    parts, kind = layout(root, notes)
    subjects_of, label_of = table(root / LABELS) if (root / LABELS).is_file() else ({}, {})
    mask_paths = listed(root / MASKS, "masks/", []) if (root / MASKS).is_dir() else {}
    broken: list[str] = []
    told: dict[str, list[str]] = {}
    count = sum(map(len, parts.values()))
    domains = {
        part: [
            entry
            for name, path in paths.items()
            if (entry := surveyed(name, path, root, SAMPLES // count, told, broken))
        ]
        for part, paths in parts.items()
    }
    masks = {}
    for name, path in mask_paths.items():
        if image := readable(path, root, broken):
            masks[name] = as_mask(path, image)
            for note in image.notes:
                told.setdefault(note, []).append(f"{MASKS}/{path.name}")
    if broken:
        raise ValueError(
            f"{len(broken)} of {count + len(mask_paths)} images in {root.name} can't be used; repair them or take "
            "them away:\n  " + "\n  ".join(broken)
        )
    notes += grouped(told)
    if kind == "paired":
        compare_pairs(domains["A"], domains["B"], notes)
    names = list(dict.fromkeys(entry.name for entries in domains.values() for entry in entries))
    labels, classes = labelled(label_of, subjects_of, names)
    mask_values = check_masks(masks, domains, kind, notes) if mask_paths else ()
    people = subjects_of or by_name({part: [e.name for e in some] for part, some in domains.items()}, kind, notes)
    keys = {key_of(kind, part, e.name): people[e.name] for part, entries in domains.items() for e in entries}
    splits, numbers = split_subjects(keys, kind, notes)
    sides = {}
    for part, entries in domains.items():
        training = [e for e in entries if splits[key_of(kind, part, e.name)] == "train"]
        sides[part] = settle(part, entries, training, "" if kind == "plain" else f"{part}: ", notes)
    if masks and kind != "unpaired":
        outside_training(masks, splits, notes)
    shape, whole = common([entry for entries in domains.values() for entry in entries], notes)
    return Survey(
        kind, sides, splits, numbers, tuple(notes), shape, whole, labels, classes, mask_paths, mask_values
    )


def layout(root: Path, notes: list[str]) -> tuple[dict[str, dict[str, Path]], str]:
    """Names and paths of the images by domain, and the kind of the problem."""
    there = [part for part in ("A", "B") if (root / part).is_dir()]
    if len(there) == 1:
        raise ValueError(f"{root} has {there[0]}/ and no {'B' if there == ['A'] else 'A'}/: a translation needs both")
    if not there:
        images = listed(root, "", notes)
        if not images:
            found = sorted(path.name for path in root.iterdir())[:10]
            raise ValueError(
                f"{root} holds no images that can be read ({', '.join(found) or 'it is empty'}). Put PNG, JPEG, TIFF, "
                "NIfTI, npz or DICOM files into it, DICOM series into a folder each, or two folders A/ and B/"
            )
        return {"A": images}, "plain"
    notes += [
        f"{path.name}: left out, as only A/, B/, {MASKS}/ and {LABELS} count here"
        for path in sorted(root.iterdir())
        if path.name not in ("A", "B", MASKS, LABELS)
    ]
    parts = {part: listed(root / part, f"{part}/", notes) for part in there}
    for part, images in parts.items():
        if not images:
            raise ValueError(f"{root / part} holds no images that can be read")
    a, b = (set(images) for images in parts.values())
    if a == b:
        return parts, "paired"
    if a & b:
        raise ValueError(
            f"{len(a & b)} names are in both A/ and B/ of {root.name}, and others have no partner: in A/ only "
            f"{few(a - b)}; in B/ only {few(b - a)}. For pairs, give every image a partner of the same name; for "
            "unpaired images, use names that are in one of the two only"
        )
    return parts, "unpaired"


def listed(folder: Path, prefix: str, notes: list[str]) -> dict[str, Path]:
    """Name -> path of the images in a folder; what else lies there goes into ``notes``."""
    found = files.find(folder)
    reserved = (LABELS, MASKS) if not prefix else ()
    notes += [f"{prefix}{line}; left out" for line in found.ignored if line.partition(": ")[0] not in reserved]
    names: dict[str, Path] = {}
    for path in found.paths:
        if path.name in reserved:
            continue
        # Some systems store ä as one character, others as two.
        name = unicodedata.normalize("NFC", stem(path))
        if name in names:
            raise ValueError(f"{folder} holds {names[name].name} and {path.name}, two images called {name!r}")
        names[name] = path
    return names


def readable(path: Path, root: Path, broken: list[str]) -> files.Image | None:
    """The image, or None after a line on what is wrong with it."""
    try:
        return files.read(path)
    except (ValueError, OSError) as error:
        broken.append(str(error).replace(f"{root}{os.sep}", ""))
        return None


def grouped(told: Mapping[str, list[str]]) -> list[str]:
    """A line for every different note, with the images that it is about."""
    return [f"{few(places)}: {note}" for note, places in told.items()]


def surveyed(
    name: str, path: Path, root: Path, most: int, told: dict[str, list[str]], broken: list[str]
) -> Entry | None:
    """What there is to know of an image before it is used, with a sample of at most ``most`` of its values.

    ``told`` collects notes and the images that they are about, ``broken`` what can't be read.
    """
    image = readable(path, root, broken)
    if image is None:
        return None
    where = path.relative_to(root).as_posix() if path != root else root.name
    values = image.values
    low, high = float(values.min()), float(values.max())
    flat = [f"all its values are {low:g}; it is used as it is"] if low == high else []
    for note in (*image.notes, *flat):
        told.setdefault(note, []).append(where)
    every, most = values.ravel(), min(max(most, 256), 2**16)
    pick = slice(None) if every.size <= most else np.random.default_rng(0).integers(0, every.size, most)
    return Entry(
        name, path, image.size, image.spacing, image.units, image.kind, len(values), image.colour, low, high,
        image.quantity, image.grid and image.grid.placed, every[pick].copy(),
    )  # fmt: skip


def compare_pairs(a: list[Entry], b: list[Entry], notes: list[str]) -> None:
    """That partners have the same size; a note where their places in space differ."""
    partners = {entry.name: entry for entry in b}
    wrong = [
        f"{first.name}: A {text(first.size)}, B {text(second.size)}"
        for first in a
        if first.size != (second := partners[first.name]).size
    ]
    if wrong:
        raise ValueError(
            f"{len(wrong)} pairs have different sizes or numbers of slices, but pairs are compared pixel by pixel; "
            "resample one to the other:\n  " + "\n  ".join(wrong)
        )
    notes += misplaced("A and B", [(first.name, first, partners[first.name]) for first in a])
