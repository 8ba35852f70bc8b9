"""Read DICOM: one file with a frame or a volume of frames, or the slices of a series as a volume."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .dicom_frames import Slice, frames, opened
from .image import DICOM_SUFFIXES, MAX_VALUES, Image, grid, sheared, too_large

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
DEPTH = 3  # patient, study, series
UNEVEN = 0.02  # share of the distance between slices, or of 1 mm for very thin ones, by which it may vary


def is_dicom(path: Path) -> bool:
    """Whether a file says that it is DICOM, by its suffix or its preamble; not the index file DICOMDIR."""
    if path.name.upper().startswith("DICOMDIR"):
        return False
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def below(folder: Path) -> list[Path]:
    """The DICOM files in a folder and the folders below it, by name."""
    return [path for path in walk(folder) if is_dicom(path)]


def walk(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Files that aren't hidden, in a folder and ``depth`` levels below it; links to folders aren't followed."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            if depth:
                yield from walk(Path(entry.path), depth - 1)
        elif entry.is_file():
            yield Path(entry.path)


def series(paths: list[Path]) -> dict[str, list[Path]]:
    """Files that make a volume: those of one series which have a position in space. A file alone is its own series.

    A file whose header can't be read counts to the longest series: it may be one of its slices, and reading names it.
    """
    groups: dict[str, list[Path]] = {}
    broken = []
    for path in paths:
        try:
            head = opened(path, ("SeriesInstanceUID", "ImagePositionPatient"))
        except Exception:  # whatever a parser raises on a damaged file
            broken.append(path)
            continue
        placed = "ImagePositionPatient" in head and "SeriesInstanceUID" in head
        groups.setdefault(str(head.SeriesInstanceUID) if placed else str(path), []).append(path)
    longest = max(groups.values(), key=len, default=[])
    if len(longest) > 1:
        longest.extend(broken)
    else:
        groups.update({str(path): [path] for path in broken})
    return groups


def read(path: Path) -> Image:
    """A DICOM file, or the one series in a folder. ValueError: the reason why it can't be used."""
    if not path.is_dir():
        return volume(path, frames(path))
    files = below(path)
    groups = series(files)
    if not files:
        raise ValueError("a folder without DICOM slices")
    if len(groups) > 1:
        raise ValueError(
            f"a folder with {len(groups)} DICOM series or single images, begun by "
            f"{', '.join(group[0].name for group in list(groups.values())[:5])}; give each series a folder of its own"
        )
    slices: list[Slice] = []
    for file in files:
        try:
            slices.extend(frames(file))
        except Exception as error:  # decoders raise anything on damaged files
            raise ValueError(f"slice {file.name}: {error}") from error
        if slices[0].values.size * len(files) > MAX_VALUES:
            raise too_large((len(files), *slices[0].values.shape))
    return volume(path, slices)


def volume(path: Path, slices: list[Slice]) -> Image:
    """Slices sorted by position, checked for gaps, and turned like any other volume."""
    first = slices[0]
    for other in slices[1:]:
        if other.units != first.units or not np.allclose(other.geometry, first.geometry, atol=1e-3):
            raise ValueError(f"slices {first.name} and {other.name} differ in size, spacing, direction or units")
        if other.quantity != first.quantity:
            told = [", ".join(one.quantity) or "no scale" for one in (first, other)]
            raise ValueError(f"slices {first.name} and {other.name} hold different things ({told[0]}; {told[1]})")
    normal = np.cross(first.along_row, first.along_column)
    slices = sorted(slices, key=lambda one: float(one.origin @ normal))
    first, last = slices[0], slices[-1]
    notes = list(dict.fromkeys(note for one in slices for note in one.notes))
    step = normal * first.thickness
    if len(slices) > 1:
        height = np.array([one.origin @ normal for one in slices])
        gaps = np.diff(height)
        usual = float(np.median(gaps))
        if gaps.min() < 1e-4:
            at = int(gaps.argmin())
            names = f"{slices[at].name} and {slices[at + 1].name}"
            raise ValueError(f"{names} lie at the same place: save each phase or echo as a series of its own")
        if abs(gaps - usual).max() > UNEVEN * max(usual, 1.0):
            at = int(abs(gaps - usual).argmax())
            raise ValueError(
                f"slices are {usual:.4g} mm apart, but {gaps[at]:.4g} mm between {slices[at].name} and "
                f"{slices[at + 1].name}: a slice is missing or one too many"
            )
        step = (last.origin - first.origin) / (len(slices) - 1)  # not along the normal for a tilted gantry
        aside = np.array([one.origin - first.origin - n * step for n, one in enumerate(slices)])
        if np.linalg.norm(aside, axis=1).max() > max(1.0, usual):
            at = int(np.linalg.norm(aside, axis=1).argmax())
            raise ValueError(f"slice {slices[at].name} lies {np.linalg.norm(aside[at]):.3g} mm beside the others")
        if not first.oriented:
            notes.append("it has no direction (ImageOrientationPatient): taken as axial")
    between_rows, between_columns = first.spacing or (1.0, 1.0)
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1] = first.along_row * between_columns, first.along_column * between_rows
    lps[:3, 2], lps[:3, 3] = step, first.origin
    channels, rows, columns = first.values.shape
    where = grid(LPS_TO_RAS @ lps, (columns, rows, len(slices)))
    values = where.from_file(unpadded(slices, notes).transpose(1, 3, 2, 0))
    spacing = where.spacing if first.spacing else None
    notes += sheared(where)
    quantity = ", ".join(kind for kind in first.quantity if kind != "scaled")
    return Image(values, spacing, first.units, path, "dicom", channels == 3, where, tuple(notes), quantity)


def unpadded(slices: list[Slice], notes: list[str]) -> np.ndarray:
    """(slices, channels, rows, columns); padding that is not the darkest already gets the smallest other value."""
    values = np.stack([one.values for one in slices])
    padding = np.stack([one.padding for one in slices])[:, None]
    if padding.any() and not padding.all():
        darkest = values[~padding].min()
        if values[padding].max() > darkest:
            notes.append("pixels where nothing was measured (PixelPaddingValue) get the smallest other value")
            return np.where(padding, darkest, values)
    if padding.all():
        notes.append("all its pixels are padding (PixelPaddingValue): nothing was measured")
    return values
