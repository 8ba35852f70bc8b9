"""What lies beside images: the table labels.csv, and a mask for each image in masks/."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medgan_lib import files
from medgan_lib.files.image import without_suffix
from medgan_lib.own_images.sides import Entry, few, misplaced, text

LABELS, MASKS = "labels.csv", "masks"
MOST_CLASSES = 64  # different values of a label map


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
    if len(set(header)) < len(header):
        raise ValueError(f"{LABELS} has a column twice: {comma.join(header)}")
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


class Mask(NamedTuple):
    """What is checked of a mask: ``values`` are those that occur in it."""

    path: Path
    size: tuple[int, ...]
    kind: str
    channels: int
    values: np.ndarray
    spacing: tuple[float, ...] | None
    placed: np.ndarray | None


def as_mask(path: Path, image: files.Image) -> Mask:
    place = image.grid and image.grid.placed
    return Mask(path, image.size, image.kind, len(image.values), np.unique(image.values), image.spacing, place)


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
        elif abs(own).max() > files.image.EXACT:
            wrong.append(f"{mask.path.name} has numbers beyond {files.image.EXACT:,}, which can't be told apart")
        elif (own != own.round()).any() or len(own) > MOST_CLASSES:
            what = f"{len(own)} different values" if (own == own.round()).all() else "values that aren't whole numbers"
            wrong.append(f"{mask.path.name} has {what}; masks hold at most {MOST_CLASSES} whole numbers")
        else:
            values |= set(own.astype(int).tolist())
    if not wrong and len(values) > MOST_CLASSES:
        wrong.append(f"together they hold {len(values)} different values, at most {MOST_CLASSES} can be classes")
    if wrong:
        raise ValueError(f"{len(wrong)} problems with {MASKS}/:\n  " + "\n  ".join(wrong))
    notes += misplaced("image and mask", [(entry.name, entry, masks[entry.name]) for entry in domains["A"]])
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
