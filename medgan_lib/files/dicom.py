"""Read DICOM: one file with one frame, or the slices of a series as a volume."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError

from .image import DICOM_SUFFIXES, MAX_VALUES, Image, grid, too_large

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


def opened(path: Path, only: tuple[str, ...] | None = None) -> pydicom.Dataset:
    """A DICOM file, or ``only`` some of its header. ValueError with the reason where it is none."""
    if not path.stat().st_size:
        raise ValueError("the file is empty (0 bytes)")
    try:
        return pydicom.dcmread(path, specific_tags=only and list(only), stop_before_pixels=only is not None)
    except InvalidDicomError as error:
        raise ValueError("not a DICOM file (no DICOM header)") from error


@dataclass(frozen=True, eq=False)
class Slice:
    """One frame: ``values`` float32 (channels, rows, columns), and where it lies, in mm to the left, back and head."""

    path: Path
    values: np.ndarray
    units: str
    along_row: np.ndarray
    along_column: np.ndarray
    spacing: tuple[float, float] | None  # between rows, between columns
    thickness: float
    origin: np.ndarray
    notes: tuple[str, ...]

    @property
    def geometry(self) -> np.ndarray:
        """What all slices of a volume share."""
        return np.concatenate([self.values.shape, self.along_row, self.along_column, self.spacing or (1, 1)])


def read(path: Path) -> Image:
    """A DICOM file, or the one series in a folder. ValueError: the reason why it can't be used."""
    if not path.is_dir():
        return volume(path, [frame(path)])
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
            slices.append(frame(file))
        except Exception as error:  # decoders raise anything on damaged files
            raise ValueError(f"slice {file.name}: {error}") from error
        if slices[0].values.size * len(files) > MAX_VALUES:
            raise too_large((len(files), *slices[0].values.shape))
    return volume(path, slices)


def frame(path: Path) -> Slice:
    """One file with one frame, rescaled to its units."""
    data = opened(path)
    if "PixelData" not in data:
        raise ValueError("it holds no image (no pixel data)")
    frames, samples = int(data.get("NumberOfFrames") or 1), int(data.get("SamplesPerPixel", 1))
    if frames > 1:
        raise ValueError(f"it holds {frames} frames; convert it to NIfTI first, for instance by dcm2niix")
    shape, photometric = (samples, int(data.Rows), int(data.Columns)), data.get("PhotometricInterpretation", "")
    if math.prod(shape) > MAX_VALUES:
        raise too_large(shape)
    if photometric not in ("MONOCHROME1", "MONOCHROME2", "RGB"):
        raise ValueError(f"its colours are stored as {photometric}, which can't be read; save it as PNG")
    try:
        pixels = data.pixel_array
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        syntax = data.file_meta.get("TransferSyntaxUID")
        raise ValueError(
            f"its pixels can't be decoded (compression {getattr(syntax, 'name', syntax)}); decompress it, "
            "for instance by gdcmconv --raw or dcm2niix"
        ) from error
    notes, bits = [], int(data.get("BitsStored", 16))
    if photometric == "RGB" and bits not in (8, 16):
        raise ValueError(f"its colours have {bits} bits; 8 and 16 can be read")
    if photometric == "MONOCHROME1":
        top = 2 ** (bits - 1) - 1 if data.get("PixelRepresentation") else 2**bits - 1
        base = -(2 ** (bits - 1)) if data.get("PixelRepresentation") else 0
        pixels = (top + base) - pixels.astype(np.int64)
        notes.append("stored with dark as high (MONOCHROME1): inverted")
    values = pixels.astype(np.float64) * float(data.get("RescaleSlope") or 1) + float(data.get("RescaleIntercept") or 0)
    values = np.moveaxis(values, -1, 0) if photometric == "RGB" else values[None]
    units = "HU" if data.get("Modality") == "CT" and "RescaleIntercept" in data else "signal"
    if photometric == "RGB":
        units = "intensity 0-255" if bits == 8 else "intensity 0-65535"
    return Slice(path, values.astype(np.float32), units, *place(data), tuple(notes))


def place(data: pydicom.Dataset) -> tuple[np.ndarray, np.ndarray, tuple[float, float] | None, float, np.ndarray]:
    """Directions of rows and columns, spacing, thickness and origin; a plain upright place for images without."""
    orientation = np.array(data.get("ImageOrientationPatient") or (1, 0, 0, 0, 1, 0), float)
    origin = np.array(data.get("ImagePositionPatient") or (0, 0, 0), float)
    spacing = data.get("PixelSpacing") or data.get("ImagerPixelSpacing")
    thickness = float(data.get("SpacingBetweenSlices") or data.get("SliceThickness") or 1)
    if not np.isfinite([*orientation, *origin, *(spacing or ()), thickness]).all():
        raise ValueError("its position or spacing is not finite")
    if spacing and min(map(float, spacing)) <= 0:
        raise ValueError(f"its pixel spacing is {list(map(float, spacing))}")
    return (
        orientation[:3],
        orientation[3:],
        (float(spacing[0]), float(spacing[1])) if spacing else None,
        abs(thickness) or 1.0,
        origin,
    )


def volume(path: Path, slices: list[Slice]) -> Image:
    """Slices sorted by position, checked for gaps, and turned like any other volume."""
    first = slices[0]
    for other in slices[1:]:
        if other.units != first.units or not np.allclose(other.geometry, first.geometry, atol=1e-3):
            raise ValueError(
                f"slices {first.path.name} and {other.path.name} differ in size, spacing, direction or units"
            )
    normal = np.cross(first.along_row, first.along_column)
    slices = sorted(slices, key=lambda one: float(one.origin @ normal))
    first, last = slices[0], slices[-1]
    step = normal * first.thickness
    if len(slices) > 1:
        height = np.array([one.origin @ normal for one in slices])
        gaps = np.diff(height)
        usual = float(np.median(gaps))
        if gaps.min() < 1e-4:
            at = int(gaps.argmin())
            names = f"{slices[at].path.name} and {slices[at + 1].path.name}"
            raise ValueError(f"{names} lie at the same place: save each phase or echo as a series of its own")
        if abs(gaps - usual).max() > UNEVEN * max(usual, 1.0):
            at = int(abs(gaps - usual).argmax())
            raise ValueError(
                f"slices are {usual:.4g} mm apart, but {gaps[at]:.4g} mm between {slices[at].path.name} and "
                f"{slices[at + 1].path.name}: a slice is missing or one too many"
            )
        step = (last.origin - first.origin) / (len(slices) - 1)  # not along the normal for a tilted gantry
    between_rows, between_columns = first.spacing or (1.0, 1.0)
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1] = first.along_row * between_columns, first.along_column * between_rows
    lps[:3, 2], lps[:3, 3] = step, first.origin
    channels, rows, columns = first.values.shape
    where = grid(LPS_TO_RAS @ lps, (columns, rows, len(slices)))
    values = where.from_file(np.stack([one.values.transpose(0, 2, 1) for one in slices], -1))
    notes = tuple(dict.fromkeys(note for one in slices for note in one.notes))
    spacing = where.spacing if first.spacing else None
    colour = channels == 3
    return Image(values, spacing, first.units, path, "dicom", colour=colour, grid=where, notes=notes)
