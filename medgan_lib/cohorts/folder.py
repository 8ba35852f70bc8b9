"""A reader's own folder as a `Cohort`.

| folder | gives |
|---|---|
| images | ``x`` |
| ``A/`` and ``B/``, files of equal names | pairs: ``y`` is A, ``x`` is B |
| ``A/`` and ``B/``, no name in both | two domains; ``domain="A"`` or ``"B"`` gives one as ``x`` |
| ``labels.csv`` beside them, columns name, label, subject | ``label``; images of one subject stay in one split |
| ``masks/`` beside them, a file for each image | ``mask``: bool, or int64 if it holds more than two values |

Every file or series is a subject unless labels.csv says otherwise. Everything is read once by `problem`, which names
what can't be read and lists how the rest is treated.
"""

from __future__ import annotations

import csv
import math
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from medgan_lib import files
from medgan_lib.files import dicom
from medgan_lib.files.image import stem, without_suffix

from .cohort import SPLITS, Cohort, Window, draw

LABELS, MASKS = "labels.csv", "masks"
SHARES = {"test": 0.15, "val": 0.15}  # of the subjects, at least one each; the others are "train"
MULTIPLE = 8  # of which the padded sizes are multiples
HU_WINDOW = (-1024.0, 3071.0)  # what 12 bits of CT can hold; a window never reaches beyond
TAILS = (0.1, 99.9)  # percentiles, the window of signals and 16-bit pictures
MOST_CLASSES = 64  # different values of a label map
MOST_BYTES = 2**33  # of all tensors
SAMPLES = 2**24  # values from which the percentiles are taken, in all
GREY = np.array([0.299, 0.587, 0.114], np.float32)  # luminance, ITU-R BT.601


@dataclass(frozen=True)
class Entry:
    """One image of a folder: a file, volume or series. ``name`` is what pairs, labels, masks and splits call it.

    The other fields are what reading it once told; ``low`` and ``high`` are its extreme values in ``units``.
    """

    name: str
    path: Path
    size: tuple[int, ...] = ()
    spacing: tuple[float, ...] | None = None
    units: str = ""
    kind: str = ""
    channels: int = 1
    colour: bool = False
    low: float = 0.0
    high: float = 0.0
    placed: np.ndarray | None = field(default=None, repr=False, compare=False)
    sample: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def slices(self) -> int:
        return self.size[0] if len(self.size) == 3 else 1


@dataclass(frozen=True)
class Problem:
    """What a folder holds.

    ``kind`` is "paired" (A and B have equal names), "unpaired", or "plain", where all is in ``A``. ``splits`` gives
    the split of "<name>", of an unpaired folder of "A/<name>" and "B/<name>". -1 and +1 stand for the two values of a
    window, in units; images have ``channels_A`` and ``channels_B``. ``problems`` says, one line each, what was found
    and how it is treated: print it. ``shape`` is the common size of slices, and that of whole volumes where all are
    volumes. ``subjects`` numbers the subject of every key of ``splits``.
    """

    kind: str
    A: list[Entry]
    B: list[Entry]
    splits: Mapping[str, str]
    window_A: Window
    window_B: Window | None
    units_A: str
    units_B: str | None
    problems: list[str]
    channels_A: int
    channels_B: int | None
    subjects: Mapping[str, int]
    shape: tuple[int, int]
    shape_whole: tuple[int, int, int] | None
    labels: Mapping[str, int] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    masks: Mapping[str, Path] = field(default_factory=dict)
    mask_values: tuple[int, ...] = ()


# --- what is there --------------------------------------------------------------------------------------------------


def problem(path: str | Path) -> Problem:
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
def _survey(root: Path, stamp: tuple) -> Problem:
    """`problem`; ``stamp`` is what changes when a file does."""
    notes: list[str] = []
    parts, kind = layout(root, notes)
    subjects_of, label_of = table(root / LABELS) if (root / LABELS).is_file() else ({}, {})
    mask_paths = listed(root / MASKS, "masks/", []) if (root / MASKS).is_dir() else {}
    broken: list[str] = []
    count = sum(map(len, parts.values()))
    domains = {
        part: [
            entry
            for name, path in paths.items()
            if (entry := surveyed(name, path, root, SAMPLES // count, notes, broken))
        ]
        for part, paths in parts.items()
    }
    masks = {name: mask for name, path in mask_paths.items() if (mask := surveyed_mask(path, root, broken))}
    if broken:
        raise ValueError(
            f"{len(broken)} of {count + len(mask_paths)} images in {root.name} can't be used; repair them or take "
            "them away:\n  " + "\n  ".join(broken)
        )
    if kind == "paired":
        compare_pairs(domains["A"], domains["B"], notes)
    names = list(dict.fromkeys(entry.name for entries in domains.values() for entry in entries))
    labels, classes = labelled(label_of, subjects_of, names)
    mask_values = check_masks(masks, domains, kind, notes) if mask_paths else ()
    keys = {
        (f"{part}/{e.name}" if kind == "unpaired" else e.name): subjects_of.get(e.name, e.name)
        for part, entries in domains.items()
        for e in entries
    }
    splits, numbers = split(keys, kind, notes)
    settled = {}
    for part, entries in domains.items():
        training = [e for e in entries if splits[f"{part}/{e.name}" if kind == "unpaired" else e.name] == "train"]
        settled[part] = settle(entries, training, "" if kind == "plain" else f"{part}: ", notes)
    if masks and kind != "unpaired":
        outside_training(masks, splits, notes)
    every = [entry for entries in domains.values() for entry in entries]
    shape, whole = common(every, notes)
    second = settled.get("B", (None, None, None))
    keep = {part: [_without_sample(e) for e in entries] for part, entries in domains.items()}
    return Problem(
        kind, keep["A"], keep.get("B", []), splits, settled["A"][1], second[1], settled["A"][0], second[0], notes,
        settled["A"][2], second[2], numbers, shape, whole, labels, classes, mask_paths, mask_values,
    )  # fmt: skip


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


def few(names: set[str] | Sequence[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") or "none"


def readable(path: Path, root: Path, broken: list[str]) -> files.Image | None:
    """The image, or None after a line on what is wrong with it."""
    try:
        return files.read(path)
    except (ValueError, OSError) as error:
        broken.append(str(error).replace(f"{root}{os.sep}", ""))
        return None


def surveyed(name: str, path: Path, root: Path, most: int, notes: list[str], broken: list[str]) -> Entry | None:
    """What there is to know of an image before it is used, with a sample of at most ``most`` of its values."""
    image = readable(path, root, broken)
    if image is None:
        return None
    where = path.relative_to(root).as_posix() if path != root else root.name
    notes += [f"{where}: {note}" for note in image.notes]
    values = image.values
    low, high = float(values.min()), float(values.max())
    if low == high:
        notes.append(f"{where}: all its values are {low:g}; it is used as it is")
    flat, most = values.ravel(), min(max(most, 256), 2**16)
    pick = slice(None) if flat.size <= most else np.random.default_rng(0).integers(0, flat.size, most)
    return Entry(
        name, path, image.size, image.spacing, image.units, image.kind, len(values), image.colour, low, high,
        image.grid and image.grid.placed, flat[pick].copy(),
    )  # fmt: skip


class Mask(NamedTuple):
    """What is checked of a mask: ``values`` are those that occur in it."""

    path: Path
    size: tuple[int, ...]
    kind: str
    channels: int
    values: np.ndarray


def surveyed_mask(path: Path, root: Path, broken: list[str]) -> Mask | None:
    image = readable(path, root, broken)
    return image and Mask(path, image.size, image.kind, len(image.values), np.unique(image.values))


def _without_sample(entry: Entry) -> Entry:
    return Entry(**{**vars(entry), "sample": None})


def compare_pairs(a: list[Entry], b: list[Entry], notes: list[str]) -> None:
    """That partners have the same size; a note where their places in space differ."""
    partners = {entry.name: entry for entry in b}
    wrong, moved = [], []
    for first in a:
        second = partners[first.name]
        if first.size != second.size:
            wrong.append(f"{first.name}: A {text(first.size)}, B {text(second.size)}")
        elif first.placed is not None and second.placed is not None:
            if not np.allclose(first.placed, second.placed, atol=0.1, rtol=1e-3):
                moved.append(first.name)
        elif first.spacing and second.spacing and not np.allclose(first.spacing, second.spacing, rtol=0.01):
            moved.append(first.name)
    if wrong:
        raise ValueError(
            f"{len(wrong)} pairs have different sizes or numbers of slices, but pairs are compared pixel by pixel; "
            "resample one to the other:\n  " + "\n  ".join(wrong)
        )
    if moved:
        notes.append(
            f"A and B of {few(moved)} lie at different places or have different spacing by their headers; they are "
            "taken as aligned pixel by pixel"
        )


def text(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))


def table(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Subject and label by name, from a CSV with the columns name and label, subject, or both."""
    try:
        content = path.read_text(encoding="utf-8-sig")
        comma = ";" if ";" in content.partition("\n")[0] else ","
        rows = [
            row for row in csv.reader(content.splitlines(), delimiter=comma, strict=True) if any(map(str.strip, row))
        ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{LABELS} can't be read as CSV in UTF-8 ({error})") from error
    header = [title.strip().lower() for title in rows[0]] if rows else []
    if "name" not in header or not {"label", "subject"} & set(header):
        raise ValueError(f"{LABELS} must begin with a line 'name,label' (or name,subject; name,label,subject)")
    found: dict[str, dict[str, str]] = {"subject": {}, "label": {}}
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header) or not all(map(str.strip, row)):
            raise ValueError(f"{LABELS}, row {number}: {len(header)} values are needed, it is {comma.join(row)!r}")
        cells = dict(zip(header, map(str.strip, row), strict=True))
        name = unicodedata.normalize("NFC", without_suffix(cells["name"].replace("\\", "/").rpartition("/")[2]))
        for column, known in found.items():
            if column in cells and known.setdefault(name, cells[column]) != cells[column]:
                raise ValueError(f"{LABELS}, row {number}: {name} has another {column} in an earlier row")
    return found["subject"], found["label"]


def labelled(
    label_of: dict[str, str], subject_of: dict[str, str], names: list[str]
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Class number by name, and the classes by name. ValueError if labels.csv and the images don't match."""
    known = set(label_of) | set(subject_of)
    if known and known != set(names):
        raise ValueError(
            f"{LABELS} and the images don't match. Rows without an image: {few(known - set(names))}; images without a "
            f"row: {few(set(names) - known)}"
        )
    classes = tuple(sorted(set(label_of.values()), key=lambda label: files.finding.natural(Path(label))))
    return {name: classes.index(label) for name, label in label_of.items()}, classes


def check_masks(
    masks: dict[str, Mask], domains: dict[str, list[Entry]], kind: str, notes: list[str]
) -> tuple[int, ...]:
    """The values that masks hold, 0 among them. ValueError for masks that fit no image, or aren't masks."""
    if kind == "unpaired":
        raise ValueError(f"{MASKS}/ needs pairs or a plain folder: beside unpaired A/ and B/ it has no use")
    sizes = {entry.name: entry.size for entry in domains["A"]}
    if set(masks) != set(sizes):
        raise ValueError(
            f"{MASKS}/ and the images don't match. Masks without an image: {few(set(masks) - set(sizes))}; images "
            f"without a mask: {few(set(sizes) - set(masks))}"
        )
    wrong, values = [], {0}
    for name, mask in masks.items():
        own = mask.values
        if mask.size != sizes[name]:
            wrong.append(f"{mask.path.name} is {text(mask.size)}, its image {text(sizes[name])}")
        elif mask.kind == "jpeg":
            wrong.append(f"{mask.path.name} is a JPEG, which changes values; save masks as PNG or NIfTI")
        elif mask.channels != 1:
            wrong.append(f"{mask.path.name} has colours; save the number of the class in each pixel")
        elif (own != own.round()).any() or len(own) > MOST_CLASSES:
            what = f"{len(own)} different values" if (own == own.round()).all() else "values that aren't whole numbers"
            wrong.append(f"{mask.path.name} has {what}; masks hold at most {MOST_CLASSES} whole numbers")
        else:
            values |= set(own.astype(int).tolist())
    if not wrong and len(values) > MOST_CLASSES:
        wrong.append(f"together they hold {len(values)} different values, at most {MOST_CLASSES} can be classes")
    if wrong:
        raise ValueError(f"{len(wrong)} problems with {MASKS}/:\n  " + "\n  ".join(wrong))
    found = tuple(sorted(values))
    kinds = "bool, not 0 is True" if len(found) <= 2 else "a label map"
    notes.append(f"{MASKS}/ hold the values {', '.join(map(str, found))}: taken as {kinds}")
    return found


def outside_training(masks: dict[str, Mask], splits: Mapping[str, str], notes: list[str]) -> None:
    by_split: dict[bool, set[float]] = {True: set(), False: set()}
    for name, mask in masks.items():
        by_split[splits[name] == "train"] |= set(mask.values.tolist())
    if unseen := by_split[False] - by_split[True] - {0}:
        notes.append(f"{MASKS}/: no training image has the values {few([f'{value:g}' for value in unseen])}")


def split(keys: Mapping[str, str], kind: str, notes: list[str]) -> tuple[dict[str, str], dict[str, int]]:
    """Split and subject number of every key, from the key's subject.

    70 % of the subjects are "train", 15 % "val", 15 % "test", drawn from the sorted names in a way that no seed
    changes. Unpaired domains are divided each on its own, unless they share subjects.
    """
    groups: dict[str, list[str]] = {}
    for key, subject in keys.items():
        groups.setdefault(key[0] if kind == "unpaired" else "", []).append(subject)
    pools = [set(group) for group in groups.values()]
    if len(pools) == 2 and pools[0] & pools[1]:
        pools = [pools[0] | pools[1]]
    of: dict[str, str] = {}
    for pool in pools:
        people = sorted(pool, key=lambda name: files.finding.natural(Path(name)))
        people = [people[i] for i in np.random.default_rng(0).permutation(len(people))]
        for order, (part, share) in enumerate(SHARES.items(), 2):
            count = max(1, round(share * len(pool))) if len(pool) >= order else 0
            of |= dict.fromkeys(people[:count], part)
            people = people[count:]
        of |= dict.fromkeys(people, "train")
    if len(keys) > 1 or len(pools) > 1:
        counts = {part: sum(one == part for one in of.values()) for part in SPLITS}
        notes.append("subjects: " + ", ".join(f"{count} {part}" for part, count in counts.items()))
    else:
        notes.append("there is one image: it is for training, and nothing is left to validate or test")
    numbers = {subject: number for number, subject in enumerate(sorted(of))}
    return {key: of[subject] for key, subject in keys.items()}, {key: numbers[subject] for key, subject in keys.items()}


def settle(
    entries: list[Entry], training: list[Entry], prefix: str, notes: list[str]
) -> tuple[str, Window, int]:
    """Units, window and channels of a domain; the window is computed on its training images only."""
    by_units: dict[str, list[Entry]] = {}
    for entry in entries:
        by_units.setdefault(entry.units, []).append(entry)
    units = next(iter(by_units))
    if set(by_units) == {"HU", "signal"} and all(entry.kind != "dicom" for entry in by_units["signal"]):
        units = "HU"
        names = few([entry.name for entry in by_units["signal"]])
        air = f"no value at or below {files.image.AIR:g}"
        notes.append(f"{prefix}{names}: {air}, so nothing shows that they are in HU; taken as HU like the others")
    elif len(by_units) > 1:
        which = "; ".join(f"{unit}: {few([e.name for e in group])}" for unit, group in by_units.items())
        raise ValueError(f"{prefix}images with different units or bit depths can't be one domain. {which}")
    channels = 1
    if any(entry.channels == 3 for entry in entries):
        grey = [entry.name for entry in entries if not entry.colour]
        channels = 1 if grey else 3
        if grey:
            notes.append(f"{prefix}{few(grey)} are grey and others have colours: colours become grey (luminance)")
    if units == "intensity 0-255":
        low, high = 0.0, 255.0
    else:
        low, high = min(e.low for e in training), max(e.high for e in training)
        if units == "HU":
            low, high = max(low, HU_WINDOW[0]), min(high, HU_WINDOW[1])
        elif low < high:
            tails = np.percentile(np.concatenate([e.sample for e in training]).astype(np.float64), TAILS)
            low, high = map(float, tails) if tails[0] < tails[1] else (low, high)
        if not low < high:
            raise ValueError(f"{prefix}all training images have the same single value ({training[0].low:g})")
    notes.append(f"{prefix}{units}, window {low:g} to {high:g}; what lies outside is clipped for networks")
    return units, Window(low, high), channels


def common(entries: list[Entry], notes: list[str]) -> tuple[tuple[int, int], tuple[int, int, int] | None]:
    """The size to which slices are padded, and whole volumes where all are volumes; notes on what differs."""

    def largest(sizes: list[tuple[int, ...]]) -> tuple[int, ...]:
        return tuple(math.ceil(max(edge) / MULTIPLE) * MULTIPLE for edge in zip(*sizes, strict=True))

    flat = [entry.size[-2:] for entry in entries]
    shape = largest(flat)
    if len(set(flat)) > 1:
        notes.append(f"images have {len(set(flat))} sizes, from {text(min(flat))} to {text(max(flat))}")
    if any(size != shape for size in flat):
        notes.append(f"padded to {text(shape)} by the smallest value of each image, unless a size is asked for")
    known = [entry.spacing[-2:] for entry in entries if entry.spacing]
    if known and len(known) < len(entries):
        notes.append(f"the spacing of {len(entries) - len(known)} images is unknown")
    if known and not np.allclose(known, known[0], rtol=0.01):
        low, high = np.min(known), np.max(known)
        notes.append(f"the spacing varies from {low:.3g} to {high:.3g} mm; nothing is resampled for it")
    if skewed := [e.name for e in entries if e.spacing and max(e.spacing[-2:]) > 2 * min(e.spacing[-2:])]:
        notes.append(f"axial slices of {few(skewed)} have long pixels: it was acquired in another plane")
    volumes = all(len(entry.size) == 3 for entry in entries)
    return shape, largest([entry.size for entry in entries]) if volumes else None


# --- tensors --------------------------------------------------------------------------------------------------------


def load(
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
    same for every seed.

    ValueError: as `problem`, and if the split is empty, there are fewer items than ``n``, or they don't fit in memory.
    """
    found = problem(path)
    name = Path(path).expanduser().absolute().name
    check(found, name, split, size, domain, whole)
    sides = {"x": "A"} if found.kind == "plain" else {"x": domain} if domain else {"y": "A", "x": "B"}
    keyed = {side: chosen(found, side, split, domain) for side in sides.values()}
    entries = keyed[sides["x"]]
    if not entries:
        raise ValueError(empty(found, name, split, domain))
    item = [(e, slice_) for e, entry in enumerate(entries) for slice_ in range(1 if whole else entry.slices)]
    item = [item[i] for i in draw(name, np.arange(len(item)), n, seed)]
    shape = found.shape_whole if whole else (size, size) if size else found.shape
    channels = {side: found.channels_A if side == "A" else found.channels_B for side in sides.values()}
    need = 4 * len(item) * math.prod(shape) * (sum(channels.values()) + 2 * bool(found.masks))
    if need > MOST_BYTES:
        raise ValueError(
            f"{len(item)} images of {text(shape)} from {name} need {need / 2**30:.1f} GiB; ask for fewer by n, or for "
            "a smaller size"
        )
    tensors: dict[str, Tensor] = {}
    for key, side in sides.items():
        window = found.window_A if side == "A" else found.window_B
        fill = Filler(item, keyed[side], shape, size, whole)
        tensors[key] = fill(lambda entry, side=side: channelled(files.read(entry.path).values, channels[side]))
        tensors[key] = window.scale(tensors[key].double()).float()
    tensors["crop"], spacing = fill.crop, fill.spacing()
    classes: dict[str, tuple[str, ...]] = {}
    if found.labels:
        tensors["label"] = torch.tensor([found.labels[entries[e].name] for e, _ in item])
        classes["label"] = found.classes
    if found.masks:
        fill = Filler(item, entries, shape, size, whole, nearest=True)
        values = torch.tensor(found.mask_values)
        mask = fill(lambda entry: files.read(found.masks[entry.name]).values)
        tensors["mask"] = mask != 0
        if len(values) > 2:
            tensors["mask"] = torch.searchsorted(values, mask.round().long())
            classes["mask"] = tuple(map(str, found.mask_values))
    units = {key: found.units_A if side == "A" else found.units_B for key, side in sides.items()}
    key = f"{sides['x']}/" if found.kind == "unpaired" else ""
    return Cohort(
        name=f"{name}/{domain}" if domain else name,
        tensors={"x": tensors.pop("x"), **tensors},
        subjects=torch.tensor([found.subjects[key + entries[e].name] for e, _ in item]),
        units=units,
        window={key: found.window_A if side == "A" else found.window_B for key, side in sides.items()},
        origin="real",
        split=split,
        spacing=spacing,
        classes=classes,
        note=f"own images, {found.kind}, from {len(entries)} {'volumes' if entries[0].slices > 1 else 'images'}",
    )


def show(
    path: str | Path,
    split: str = "train",
    *,
    size: int | None = None,
    n: int | None = None,
    seed: int = 0,
    domain: str | None = None,
    whole: bool = False,
) -> Cohort:
    """`load`, which prints once for each folder what was found in it and how that is treated."""
    found = problem(path)
    if id(found) not in _shown:
        _shown[id(found)] = found
        for line in found.problems:
            print(f"{Path(path).expanduser().absolute().name}: {line}")
    return load(path, split, size=size, n=n, seed=seed, domain=domain, whole=whole)


_shown: dict[int, Problem] = {}


def check(found: Problem, name: str, split: str, size: int | None, domain: str | None, whole: bool) -> None:
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


def chosen(found: Problem, side: str, split: str, domain: str | None) -> list[Entry]:
    """The images of a side that are in a split; of pairs asked for by domain, those of every second subject."""
    entries = found.A if side == "A" else found.B
    key = f"{side}/" if found.kind == "unpaired" else ""
    entries = [entry for entry in entries if found.splits[key + entry.name] == split]
    if domain and found.kind == "paired":
        people = sorted({found.subjects[entry.name] for entry in entries})[0 if side == "A" else 1 :: 2]
        entries = [entry for entry in entries if found.subjects[entry.name] in people]
    return entries


def empty(found: Problem, name: str, split: str, domain: str | None) -> str:
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


def channelled(values: np.ndarray, channels: int) -> np.ndarray:
    """Grey repeated to colours, or colours as their luminance, where the number of channels is another."""
    if len(values) == channels:
        return values
    if channels == 1:
        return np.tensordot(GREY, values, 1)[None]
    return np.repeat(values, channels, 0)


class Filler:
    """Puts the chosen slices (or whole volumes) of entries into one tensor, resampled to ``size`` and padded."""

    def __init__(
        self,
        item: list[tuple[int, int]],
        entries: list[Entry],
        shape: tuple[int, ...],
        size: int | None,
        whole: bool,
        nearest: bool = False,
    ) -> None:
        self.item, self.entries, self.shape, self.size, self.whole, self.nearest = (
            item, entries, shape, size, whole, nearest,
        )  # fmt: skip
        self.crop = torch.zeros(len(item), 2 * len(shape), dtype=torch.int64)
        self._spacing: list[tuple[float, ...] | None] = []

    def __call__(self, values: Any) -> Tensor:
        """(n, channels, *shape) float32 in units; ``values`` gives those of an entry, (channels, *its size)."""
        wanted: dict[int, list[tuple[int, int]]] = {}
        for row, (entry, slice_) in enumerate(self.item):
            wanted.setdefault(entry, []).append((row, slice_))
        out = None
        for number, places in wanted.items():
            entry = self.entries[number]
            image = torch.from_numpy(values(entry))
            rows, picks = map(list, zip(*places, strict=True))
            if self.whole:
                part = image[None]
            elif image.ndim == 4:
                part = image.transpose(0, 1)[picks]
            else:
                part = image[None]
            part, spacing = self.resampled(part, entry)
            if out is None:
                out = torch.empty(len(self.item), part.shape[1], *self.shape)
            inner = centred(part.shape[2:], self.shape)
            border = torch.full((len(rows), part.shape[1], *self.shape), 0.0 if self.nearest else float(image.min()))
            border[(..., *inner)] = part
            out[rows] = border
            self.crop[rows] = torch.tensor([end for edge in inner for end in (edge.start, edge.stop)])
            self._spacing.append(spacing)
        return out

    def resampled(self, part: Tensor, entry: Entry) -> tuple[Tensor, tuple[float, ...] | None]:
        spacing = entry.spacing if self.whole or entry.spacing is None else entry.spacing[-2:]
        if self.size is None:
            return part, spacing
        old = part.shape[2:]
        new = fitted(old, spacing, self.size)
        if self.nearest:
            part = F.interpolate(part, new, mode="nearest-exact")
        else:
            part = F.interpolate(part, new, mode="bilinear", antialias=True)
        return part, spacing and tuple(mm * a / b for mm, a, b in zip(spacing, old, new, strict=True))

    def spacing(self) -> tuple[float, ...] | None:
        """mm per pixel if all images agree to 1 %, else None."""
        first = self._spacing[0]
        same = all(one is not None and np.allclose(one, first, rtol=0.01) for one in self._spacing) if first else False
        return first if same else None


def fitted(edges: Sequence[int], spacing: Sequence[float] | None, size: int) -> list[int]:
    """Pixels along the edges of an image whose longer side, in mm where they are known, gets ``size`` pixels."""
    extent = [edge * mm for edge, mm in zip(edges, spacing or (1.0, 1.0), strict=True)]
    return [max(1, round(size * length / max(extent))) for length in extent]


# --- padding --------------------------------------------------------------------------------------------------------


def centred(size: Sequence[int], shape: Sequence[int]) -> tuple[slice, ...]:
    """Where an image of ``size`` lies in the middle of a larger ``shape``."""
    start = [(new - old) // 2 for old, new in zip(size, shape, strict=True)]
    return tuple(slice(first, first + old) for first, old in zip(start, size, strict=True))


def pad_to(values: Any, multiple: int) -> tuple[Any, tuple[slice, ...]]:
    """``values`` (channels, *size), an array or a tensor, with a border of their minimum to multiples of ``multiple``.

    Also returns the slices that crop back: ``padded[crop]`` equals ``values``.
    """
    shape = tuple(math.ceil(edge / multiple) * multiple for edge in values.shape[1:])
    crop = (slice(None), *centred(values.shape[1:], shape))
    full = values.new_full if isinstance(values, Tensor) else lambda size, fill: np.full(size, fill, values.dtype)
    padded = full((values.shape[0], *shape), values.min().item())
    padded[crop] = values
    return padded, crop


def unpad(image: Tensor, crop: Tensor) -> Tensor:
    """An item (channels, *shape) without its padding; ``crop`` is its row of the tensor of that name."""
    edges = crop.tolist()
    return image[(slice(None), *(slice(*edges[i : i + 2]) for i in range(0, len(edges), 2)))]
