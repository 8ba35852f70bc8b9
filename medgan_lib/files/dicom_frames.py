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
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit

from .image import MAX_VALUES, inexact, too_large

PARTS = {"P": "phase", "PHASE": "phase", "PHASE MAP": "phase", "R": "real part", "REAL": "real part",
         "I": "imaginary part", "IMAGINARY": "imaginary part"}  # fmt: skip
NEEDED = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "SamplesPerPixel",
          "PhotometricInterpretation")  # fmt: skip
KNOWN = {"[hnsf'U]": "HU", "Gy": "Gy", "Bq/ml": "Bq/ml", "Bq/mL": "Bq/ml"}  # UCUM codes of units that we have


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

    ``name`` is that of the file, with the number of the frame where it holds several. ``quantity`` is what the numbers
    are beyond their units, such as "phase", and whether they have a scale; slices of a volume share it. ``padding``
    bool (rows, columns) says where nothing was measured. Directions are unit vectors, ``oriented`` unless they are a
    guess, and ``origin`` is in mm, both to the left, back and head.
    """

    name: str
    values: np.ndarray
    units: str
    quantity: tuple[str, ...]
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
        if syntax is None or not syntax.is_compressed:
            raise ValueError(f"its pixels can't be unpacked ({error})") from error
        raise ValueError(
            f"its pixels can't be decoded (compression {syntax.name}); decompress it, for instance by gdcmconv --raw "
            "or dcm2niix"
        ) from error
    pixels = pixels if count > 1 else pixels[None]
    if len(pixels) != count or pixels.shape[1:3] != (data.Rows, data.Columns):
        raise ValueError(f"its pixel data are {' x '.join(map(str, pixels.shape))}, and its header says otherwise")
    common = unused_bits(data, pixels)
    found = []
    for number, stored in enumerate(pixels):
        head, notes = Header(data, number), list(common)
        values, units, quantity = valued(data, head, stored, notes)
        padding = padded(head, stored) if stored.ndim == 2 else np.zeros(stored.shape[:2], bool)
        name = path.name if count == 1 else f"{path.name}, frame {number + 1}"
        found.append(Slice(name, values, units, quantity, padding, *placement(head, number, notes), tuple(notes)))
    return found


def described(data: pydicom.Dataset) -> int:
    """How many frames there are, after what can't be read was refused by its header."""
    if "FloatPixelData" in data or "DoubleFloatPixelData" in data:
        raise ValueError("its pixels are floating-point numbers (a parametric map); convert it to NIfTI")
    if "PixelData" not in data:
        raise ValueError("it holds no image (no pixel data)")
    if lacking := [name for name in NEEDED if data.get(name) in (None, "")]:
        raise ValueError(f"its header lacks {', '.join(lacking)}, so its pixels can't be read")
    head = Header(data, 0)
    count, samples = head.whole("NumberOfFrames", 1), head.whole("SamplesPerPixel")
    shape, photometric = (count, samples, head.whole("Rows"), head.whole("Columns")), data.PhotometricInterpretation
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
    if photometric == "RGB" and (head.whole("BitsStored") not in (8, 16) or head.whole("PixelRepresentation")):
        raise ValueError(f"its colours have {head.whole('BitsStored')} bits or signs; 8 and 16 without can be read")
    positions = [Header(data, n).get("ImagePositionPatient", "PlanePositionSequence") for n in range(count)]
    own = len(data.get("PerFrameFunctionalGroupsSequence") or []) == count and None not in positions
    if count > 1 and not (own or data.get("GridFrameOffsetVector")):
        raise ValueError(
            f"it holds {count} frames without places in space, as a film does; save those you want as pictures, or "
            "convert it to NIfTI, for instance by dcm2niix"
        )
    return count


def unused_bits(data: pydicom.Dataset, pixels: np.ndarray) -> list[str]:
    """A note on overlays in bits that numbers don't use. ValueError where the numbers themselves use them."""
    bits, high = int(data.BitsStored), int(data.get("HighBit", data.BitsStored - 1))
    if data.file_meta.TransferSyntaxUID.is_compressed or bits == int(data.BitsAllocated):
        return []
    if np.array_equal(pixels.reshape(-1), pixel_array(data, correct_unused_bits=False).reshape(-1)):
        return []
    overlays = {int(one.value) for one in data if one.tag.group >> 8 == 0x60 and one.tag.element == 0x0102}
    if high == bits - 1 and any(bit >= bits for bit in overlays):
        return ["an overlay in unused bits is left out"]
    raise ValueError(f"its numbers need more than its {bits} bits up to bit {high} (BitsStored, HighBit)")


def valued(
    data: pydicom.Dataset, head: Header, stored: np.ndarray, notes: list[str]
) -> tuple[np.ndarray, str, tuple[str, ...]]:
    """Values float32 (channels, rows, columns), units and quantity of stored numbers; notes on what was done."""
    bits, signed = head.whole("BitsStored"), bool(data.PixelRepresentation)
    lossy = data.file_meta.get("TransferSyntaxUID") in (JPEGBaseline8Bit, JPEGExtended12Bit)
    if lossy or str(data.get("LossyImageCompression", "")) == "01":
        notes.append("it was compressed with losses")
    if data.PhotometricInterpretation == "RGB":
        values = np.moveaxis(stored, -1, 0).astype(np.float32)
        return values, "intensity 0-255" if bits == 8 else "intensity 0-65535", ()
    limits = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    values, units, quantity, ends = rescaled(data, head, stored, limits, notes)
    if data.PhotometricInterpretation == "MONOCHROME1":
        if units == "signal" and not any(kind.startswith("in ") for kind in quantity):
            values = sum(ends) - values
            notes.append("stored with dark as high (MONOCHROME1): inverted")
        else:
            what = units if units != "signal" else "its numbers"
            notes.append(f"meant to be shown with dark as high (MONOCHROME1); {what} stay as they are")
    return values[None].astype(np.float32), units, quantity


def rescaled(
    data: pydicom.Dataset, head: Header, stored: np.ndarray, limits: tuple[int, int], notes: list[str]
) -> tuple[np.ndarray, str, tuple[str, ...], tuple[float, float]]:
    """Values, units and quantity of stored numbers, and what the least and greatest that could be stored become."""
    modality = str(data.get("Modality"))
    if "ModalityLUTSequence" in data:
        return looked_up(data, stored, notes)
    if modality == "RTDOSE":
        scaling, told = head.number("DoseGridScaling"), " ".join(head.words("DoseUnits"))
        if not scaling:
            raise ValueError("it is a dose without DoseGridScaling, so its numbers mean nothing")
        kind = () if told == "GY" else (f"in {told or 'units that it does not name'}",)
        notes += [f"a dose {one}, not Gy" for one in kind]
        return stored.astype(np.float64) * scaling, "signal" if kind else "Gy", kind, tuple(n * scaling for n in limits)
    sequence = "PixelValueTransformationSequence"
    slope, intercept = head.number("RescaleSlope", sequence), head.number("RescaleIntercept", sequence)
    if slope == 0:
        raise ValueError("its RescaleSlope is 0, so all its values are one")
    mapped, bare = head.items("RealWorldValueMappingSequence"), slope is None and intercept is None
    units, kind = "signal", ()
    if mapped and bare:
        slope, intercept, units, kind = real_world(mapped, notes)
    elif mapped:
        notes.append("it has another scale, too (real-world values), which is not applied")
    if not kind and units == "signal":
        units, kind = meant(modality, head, scaled=intercept is not None, notes=notes)
    if slope in (None, 1):
        notes += inexact(stored)
    kind += ("scaled",) if slope is not None or intercept is not None else ()
    slope, intercept = 1.0 if slope is None else slope, 0.0 if intercept is None else intercept
    values = stored.astype(np.float64) * slope + intercept
    return values, units, kind, tuple(n * slope + intercept for n in limits)


def looked_up(
    data: pydicom.Dataset, stored: np.ndarray, notes: list[str]
) -> tuple[np.ndarray, str, tuple[str, ...], tuple[float, float]]:
    """What a Modality LUT makes of stored numbers."""
    try:
        table = data.ModalityLUTSequence[0]
        kind, depth = str(table.get("ModalityLUTType", "unspecified")), int(table.LUTDescriptor[2])
        values = apply_modality_lut(stored, data).astype(np.float64)
    except Exception as error:  # pydicom raises anything on a table that is short, empty or packed in another way
        raise ValueError(f"its lookup table (Modality LUT) can't be read ({error})") from error
    notes.append(f"its numbers go through its lookup table (Modality LUT, {kind})")
    return values, "HU" if kind == "HU" else "signal", (f"LUT {kind}",), (0, 2**depth - 1)


def real_world(
    items: list[pydicom.Dataset], notes: list[str]
) -> tuple[float | None, float | None, str, tuple[str, ...]]:
    """Slope, intercept, units and quantity of a single linear mapping; none where it is a table or one of several."""
    slope = items[0].get("RealWorldValueSlope")
    if len(items) > 1 or slope is None:
        notes.append("its real-world values are a table or one of several scales, which are not applied")
        return None, None, "signal", ()
    if float(slope) == 0:
        raise ValueError("its RealWorldValueSlope is 0, so all its values are one")
    units = items[0].get("MeasurementUnitsCodeSequence") or [pydicom.Dataset()]
    code = str(units[0].get("CodeValue", "units that it does not name"))
    notes.append(f"its numbers are real-world values in {code}")
    kind = () if code in KNOWN else (f"in {code}",)
    return float(slope), float(items[0].get("RealWorldValueIntercept", 0)), KNOWN.get(code, "signal"), kind


def meant(modality: str, head: Header, scaled: bool, notes: list[str]) -> tuple[str, tuple[str, ...]]:
    """Units and quantity of rescaled values. CT is HU only where nothing says otherwise (PS3.3 C.8.2.1.1)."""
    if modality == "MR":
        sequence = "MRImageFrameTypeSequence"
        words = [*head.words("ComplexImageComponent", sequence), *head.words("ImageType")[2:],
                 *head.words("FrameType", sequence)[2:]]  # fmt: skip
        heads = [word.partition("_")[0] for word in words if "_" in word]  # R_FFE
        part = next((PARTS[word] for word in (*words, *heads) if word in PARTS), "")
        if part:
            notes.append(f"its numbers are the {part} of the signal, not its strength")
        return "signal", (part,) if part else ()
    if modality in ("PT", "PET"):
        units = " ".join(head.words("Units"))
        if units == "BQML" and scaled:
            return "Bq/ml", ()
        units = f"{units or 'units that it does not name'}{'' if scaled else ' without a scale'}"
        notes.append(f"PET in {units}, not Bq/ml")
        return "signal", (f"in {units}",)
    if modality != "CT":
        return "signal", ()
    kind = " ".join(head.words("RescaleType", "PixelValueTransformationSequence")) or "HU"
    if not scaled:
        kind, told = "no HU", "CT without RescaleIntercept"
    elif "LOCALIZER" in head.words("ImageType"):
        kind, told = "no HU", "a scout (localizer)"
    elif kind != "HU":
        told = f"CT with RescaleType {kind}"
    else:
        return "HU", ()
    notes.append(f"{told}: its numbers are not HU")
    return "signal", (f"in {kind}",)


def padded(head: Header, stored: np.ndarray) -> np.ndarray:
    """Where stored numbers say that nothing was measured. Writers confuse signs, so the field is read both ways."""
    first = head.number("PixelPaddingValue")
    if first is None:
        return np.zeros(stored.shape, bool)
    last = head.number("PixelPaddingRangeLimit")
    low, high = sorted((first, first if last is None else last))
    turn = 2 ** head.whole("BitsAllocated")
    turns = (0,) if last is not None else (0, turn, -turn)
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
        normal = np.cross(rows, columns)
        if offsets[0] == 0:
            origin = origin + offsets[frame] * normal
        elif abs(normal[2]) > 0.99 and abs(offsets[0] - origin[2]) < 0.01:  # mm to the head (PS3.3 C.8.8.3.2)
            origin = np.array([*origin[:2], offsets[frame]])
        else:
            raise ValueError("its GridFrameOffsetVector begins neither with 0 nor with the place of an axial frame")
    between = (float(size[0]), float(size[1])) if spacing else None
    return known is not None, rows, columns, between, abs(thickness or 1.0), origin
