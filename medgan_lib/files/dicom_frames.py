"""Frames of a DICOM file: stored numbers become values in units, and each frame gets its place in space."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_modality_lut, pixel_array

from .image import MAX_VALUES, too_large

PARTS = {"P": "phase", "PHASE": "phase", "PHASE MAP": "phase", "R": "real part", "REAL": "real part",
         "I": "imaginary part", "IMAGINARY": "imaginary part"}  # fmt: skip


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
    """One frame: ``values`` float32 (channels, rows, columns), and where it lies.

    ``name`` is that of the file, with the number of the frame where it holds several; ``padding`` bool (rows, columns)
    says where nothing was measured. Directions are unit vectors, ``oriented`` unless they are a guess, and ``origin``
    is in mm, both to the left, back and head.
    """

    name: str
    values: np.ndarray
    units: str
    padding: np.ndarray
    oriented: bool
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


class Header:
    """The header as one frame sees it: a field in the frame's own sequence, the shared one, or the file's."""

    def __init__(self, data: pydicom.Dataset, frame: int) -> None:
        own = data.get("PerFrameFunctionalGroupsSequence") or []
        self.data = data
        self.groups = [*own[frame : frame + 1], *(data.get("SharedFunctionalGroupsSequence") or [])]

    def get(self, field: str, sequence: str = "") -> Any:
        """A field of the first item of ``sequence``, or of the file itself; None where it is absent or empty."""
        for group in self.groups if sequence else ():
            items = group.get(sequence)
            if items and items[0].get(field) not in (None, ""):
                return items[0].get(field)
        found = self.data.get(field)
        return None if found == "" else found

    def items(self, sequence: str) -> list[pydicom.Dataset]:
        """The items of a sequence, the frame's own before the file's."""
        for place in (*self.groups, self.data):
            if place.get(sequence):
                return list(place.get(sequence))
        return []

    def number(self, field: str, sequence: str = "") -> float | None:
        value = self.get(field, sequence)
        try:
            number = None if value is None else float(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"its {field} is {str(value)!r}, no number") from error
        if number is not None and not math.isfinite(number):
            raise ValueError(f"its {field} is {number}")
        return number

    def words(self, field: str, sequence: str = "") -> list[str]:
        """A text of several values in capitals."""
        value = self.get(field, sequence)
        return [str(one).upper() for one in ([] if value is None else [value] if isinstance(value, str) else value)]

    def whole(self, field: str, default: int | None = None) -> int:
        value = self.get(field)
        try:
            return int(default if value is None and default is not None else value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"its {field} is {'missing' if value is None else repr(str(value))}") from error


def frames(path: Path) -> list[Slice]:
    """All frames of one file in their units. ValueError: the reason why it can't be used."""
    data = opened(path)
    count = described(data)
    try:
        pixels = data.pixel_array
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        syntax = data.file_meta.get("TransferSyntaxUID")
        raise ValueError(
            f"its pixels can't be decoded (compression {getattr(syntax, 'name', syntax)}); decompress it, "
            "for instance by gdcmconv --raw or dcm2niix"
        ) from error
    bits, high = int(data.BitsStored), int(data.get("HighBit", data.BitsStored - 1))
    if high != bits - 1 and not np.array_equal(pixels, pixel_array(data, correct_unused_bits=False)):
        raise ValueError(f"its {bits} bits end at bit {high}, and all are used: where its numbers lie isn't clear")
    found = []
    for number, stored in enumerate(pixels if count > 1 else pixels[None]):
        head, notes = Header(data, number), []
        values, units, padding = valued(data, head, stored, notes)
        name = path.name if count == 1 else f"{path.name}, frame {number + 1}"
        found.append(Slice(name, values, units, padding, *placement(head, number, notes), tuple(notes)))
    return found


def described(data: pydicom.Dataset) -> int:
    """How many frames there are, after what can't be read was refused by its header."""
    if "PixelData" not in data:
        raise ValueError("it holds no image (no pixel data)")
    head = Header(data, 0)
    count, samples = head.whole("NumberOfFrames", 1), head.whole("SamplesPerPixel", 1)
    shape, photometric = (count, samples, head.whole("Rows"), head.whole("Columns")), data.get(
        "PhotometricInterpretation", ""
    )
    if min(shape) < 1:
        raise ValueError(f"its header claims {' x '.join(map(str, shape))} values (frames, samples, rows, columns)")
    if data.get("Modality") == "SEG":
        raise ValueError("it is a segmentation (SEG); save its classes as NIfTI or PNG")
    if "MOSAIC" in head.words("ImageType"):
        raise ValueError("it is a mosaic, many slices tiled in one picture; convert it to NIfTI, by dcm2niix")
    if math.prod(shape) > MAX_VALUES:
        raise too_large(shape)
    if photometric not in ("MONOCHROME1", "MONOCHROME2", "RGB"):
        raise ValueError(f"its colours are stored as {photometric}, which can't be read; save it as PNG")
    if samples != (3 if photometric == "RGB" else 1):
        raise ValueError(f"it has {samples} samples a pixel, which {photometric} hasn't")
    if photometric == "RGB" and head.whole("BitsStored", 16) not in (8, 16):
        raise ValueError(f"its colours have {head.whole('BitsStored', 16)} bits; 8 and 16 can be read")
    placed = all(Header(data, n).get("ImagePositionPatient", "PlanePositionSequence") for n in range(min(count, 2)))
    placed = (data.get("PerFrameFunctionalGroupsSequence") and placed) or data.get("GridFrameOffsetVector")
    if count > 1 and not placed:
        raise ValueError(
            f"it holds {count} frames without places in space, as a film does; save those you want as pictures, or "
            "convert it to NIfTI, for instance by dcm2niix"
        )
    return count


def valued(
    data: pydicom.Dataset, head: Header, stored: np.ndarray, notes: list[str]
) -> tuple[np.ndarray, str, np.ndarray]:
    """Values float32 (channels, rows, columns), units and padding of stored numbers; notes on what was done."""
    bits, signed = head.whole("BitsStored", 16), bool(data.get("PixelRepresentation"))
    if str(data.get("LossyImageCompression", "")) == "01":
        notes.append("it was compressed with losses")
    if data.PhotometricInterpretation == "RGB":
        values = np.moveaxis(stored, -1, 0).astype(np.float32)
        return values, "intensity 0-255" if bits == 8 else "intensity 0-65535", np.zeros(values.shape[1:], bool)
    base, top = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if stored.min() < base or stored.max() > top:
        raise ValueError(f"its numbers reach {stored.min()} to {stored.max()}, but {bits} bits hold {base} to {top}")
    values, units, low, high = rescaled(data, head, stored, (base, top), notes)
    if data.PhotometricInterpretation == "MONOCHROME1":
        if units == "signal":
            values = (low + high) - values
            notes.append("stored with dark as high (MONOCHROME1): inverted")
        else:
            notes.append(f"meant to be shown with dark as high (MONOCHROME1); {units} stay as they are")
    return values[None].astype(np.float32), units, padded(head, stored, bits)


def rescaled(
    data: pydicom.Dataset, head: Header, stored: np.ndarray, limits: tuple[int, int], notes: list[str]
) -> tuple[np.ndarray, str, float, float]:
    """Values and units of stored numbers, and what the smallest and largest number that could be stored become."""
    modality, numbers = data.get("Modality"), stored.astype(np.float64)
    ends = np.array(limits, float)
    if part := next((PARTS[word] for word in (*head.words("ComplexImageComponent"), *head.words("ImageType")[2:3])
                     if modality == "MR" and word in PARTS), None):  # fmt: skip
        notes.append(f"its numbers are the {part} of the signal, not its strength")
    if tables := data.get("ModalityLUTSequence"):
        kind = str(tables[0].get("ModalityLUTType", "unspecified"))
        notes.append(f"its numbers go through its lookup table (Modality LUT, {kind})")
        depth = tables[0].LUTDescriptor[2]
        return apply_modality_lut(stored, data).astype(np.float64), "HU" if kind == "HU" else "signal", 0, 2**depth - 1
    if modality == "RTDOSE":
        scaling = head.number("DoseGridScaling")
        if not scaling:
            raise ValueError("it is a dose without DoseGridScaling, so its numbers mean nothing")
        gray = head.words("DoseUnits") == ["GY"]
        if not gray:
            notes.append(f"a dose in units {' '.join(head.words('DoseUnits')) or 'that it does not name'}, not Gy")
        return numbers * scaling, "Gy" if gray else "signal", *(ends * scaling)
    sequence = "PixelValueTransformationSequence"
    slope, intercept = head.number("RescaleSlope", sequence), head.number("RescaleIntercept", sequence)
    if slope == 0:
        raise ValueError("its RescaleSlope is 0, so all its values are one")
    mapped = head.items("RealWorldValueMappingSequence")
    if mapped and slope is None and intercept is None:
        slope, intercept = real_world(mapped, notes)
    elif mapped:
        notes.append("it has another scale, too (real-world values), which is not applied")
    scaled = intercept is not None
    slope, intercept = 1.0 if slope is None else slope, 0.0 if intercept is None else intercept
    units = meant(str(modality), head, scaled, notes)
    return numbers * slope + intercept, units, *(ends * slope + intercept)


def real_world(items: list[pydicom.Dataset], notes: list[str]) -> tuple[float | None, float | None]:
    """Slope and intercept of a single linear mapping; none, and a note, where it is a table or one of several."""
    slope = items[0].get("RealWorldValueSlope")
    if len(items) > 1 or slope is None:
        notes.append("its real-world values are a table or one of several scales, which are not applied")
        return None, None
    units = items[0].get("MeasurementUnitsCodeSequence") or [pydicom.Dataset()]
    notes.append(f"its numbers are real-world values in {units[0].get('CodeValue', 'units that it does not name')}")
    return float(slope), float(items[0].get("RealWorldValueIntercept", 0))


def meant(modality: str, head: Header, scaled: bool, notes: list[str]) -> str:
    """Units of rescaled values. CT is HU only where nothing says otherwise (PS3.3 C.8.2.1.1)."""
    if modality in ("PT", "PET"):
        units = " ".join(head.words("Units"))
        if units and units != "BQML":
            notes.append(f"PET in {units}, not Bq/ml")
        return "Bq/ml" if units == "BQML" else "signal"
    if modality != "CT":
        return "signal"
    kind = " ".join(head.words("RescaleType", "PixelValueTransformationSequence")) or "HU"
    if not scaled:
        notes.append("CT without RescaleIntercept: its numbers are not HU")
    elif "LOCALIZER" in head.words("ImageType"):
        notes.append("a scout (localizer): its numbers are not HU")
    elif kind != "HU":
        notes.append(f"CT with RescaleType {kind}: its numbers are not HU")
    else:
        return "HU"
    return "signal"


def padded(head: Header, stored: np.ndarray, bits: int) -> np.ndarray:
    """Where stored numbers say that nothing was measured. Writers confuse signs, so the field is read both ways."""
    first = head.number("PixelPaddingValue")
    if first is None:
        return np.zeros(stored.shape, bool)
    last = head.number("PixelPaddingRangeLimit")
    low, high = sorted((first, first if last is None else last))
    turns = (0,) if last is not None else (0, 2**16, -(2**16), 2**bits, -(2**bits))
    return np.logical_or.reduce([(stored >= low + turn) & (stored <= high + turn) for turn in turns])


def placement(
    head: Header, frame: int, notes: list[str]
) -> tuple[bool, np.ndarray, np.ndarray, tuple[float, float] | None, float, np.ndarray]:
    """Whether there is a direction, those of rows and columns, spacing, thickness and origin; else an upright place."""
    known = head.get("ImageOrientationPatient", "PlaneOrientationSequence")
    orientation = np.array(known or (1, 0, 0, 0, 1, 0), float)
    origin = np.array(head.get("ImagePositionPatient", "PlanePositionSequence") or (0, 0, 0), float)
    if orientation.shape != (6,) or origin.shape != (3,):
        raise ValueError(f"its orientation has {orientation.size} numbers and its position {origin.size}, not 6 and 3")
    spacing = head.get("PixelSpacing", "PixelMeasuresSequence")
    if not spacing and (spacing := head.get("ImagerPixelSpacing")):
        notes.append("its pixel spacing is that at the detector, not in the body")
    ratio = head.get("PixelAspectRatio")
    if not spacing and ratio and len(ratio) == 2 and float(ratio[0]) != float(ratio[1]):
        notes.append(f"its pixels are not square ({ratio[0]} : {ratio[1]}), and their size is unknown")
    thickness = head.number("SpacingBetweenSlices", "PixelMeasuresSequence") or head.number(
        "SliceThickness", "PixelMeasuresSequence"
    )
    size = np.array(spacing or (1, 1), float)
    if size.shape != (2,) or not np.isfinite(size).all() or size.min() <= 0:
        raise ValueError(f"its pixel spacing is {size.tolist()}")
    if not np.isfinite([*orientation, *origin]).all():
        raise ValueError("its position or spacing is not finite")
    rows, columns = orientation[:3], orientation[3:]
    if not np.allclose([rows @ rows, columns @ columns, rows @ columns], [1, 1, 0], atol=0.02):
        raise ValueError(f"its directions {orientation.round(3).tolist()} are no two unit vectors at right angles")
    if "QUADRUPED" in head.words("AnatomicalOrientationType"):
        notes.append("an animal's image (QUADRUPED): front and back mean its head's and tail's side")
    if offsets := head.get("GridFrameOffsetVector"):
        offsets = np.array(offsets if isinstance(offsets, pydicom.multival.MultiValue) else [offsets], float)
        if frame >= len(offsets):
            raise ValueError(f"it names places of {len(offsets)} frames (GridFrameOffsetVector) and has more")
        origin = origin + (offsets[frame] - offsets[0]) * np.cross(rows, columns)
    between = (float(size[0]), float(size[1])) if spacing else None
    return known is not None, rows, columns, between, abs(thickness or 1.0), origin
