"""Odd DICOM, see `odd_files`. `slice_at` stores values + 1024 with slope 1 and intercept -1024, as a CT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from image_files import slice_at
from odd_files import case
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

HU = np.array([[-1000, 0, 40], [60, 500, 1200]])


def ct(folder: Path, values: np.ndarray = HU, **changes: Any) -> Path:
    return slice_at(folder, 1, 0.0, values, **changes)


def items(**fields: Any) -> Sequence:
    one = Dataset()
    for name, value in fields.items():
        setattr(one, name, value)
    return Sequence([one])


@case("DICOM", "RescaleSlope, RescaleIntercept", values=HU[None] * 2 + 1024, units="HU", notes=0)
def slope_of_two(folder):
    return ct(folder, RescaleSlope=2, RescaleIntercept=-1024)


@case("DICOM", "RescaleSlope, RescaleIntercept", refused="RescaleSlope is 0")
def slope_of_zero(folder):
    return ct(folder, RescaleSlope=0)


@case("DICOM", "RescaleType", values=HU[None], units="signal", note="RescaleType MGML: its numbers are not HU")
def iodine_map(folder):
    return ct(folder, RescaleType="MGML")


@case("DICOM", "RescaleType", values=HU[None], units="signal", note="RescaleType US: its numbers are not HU")
def unspecified_rescale(folder):
    return ct(folder, RescaleType="US")


@case("DICOM", "RescaleType", values=HU[None], units="signal", note="RescaleType Z_EFF")
def effective_atomic_number(folder):
    return ct(folder, RescaleType="Z_EFF")


@case("DICOM", "RescaleType", values=HU[None], units="HU", notes=0)
def hounsfield_units_by_name(folder):
    return ct(folder, RescaleType="HU")


@case("DICOM", "ImageType: LOCALIZER", values=HU[None], units="signal", note="scout")
def scout(folder):
    return ct(folder, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])


@case("DICOM", "CT without RescaleIntercept", values=HU[None] + 1024, units="signal", note="not HU")
def ct_without_intercept(folder):
    path = ct(folder)
    data = pydicom.dcmread(path)
    del data.RescaleIntercept, data.RescaleSlope
    data.save_as(path)
    return path


def table(entries: list[int], first: int, bits: int, kind: str) -> Sequence:
    made = items(LUTDescriptor=[len(entries), first, bits], ModalityLUTType=kind, LUTData=entries)
    made[0]["LUTDescriptor"].VR, made[0]["LUTData"].VR = "US", "US"
    return made


def film(folder: Path, stored: np.ndarray, bits: int = 8, **changes: Any) -> Path:
    """A radiograph: unsigned numbers without a slope."""
    path = ct(folder, stored - 1024, Modality="CR", PixelRepresentation=0, BitsStored=bits, HighBit=bits - 1, **changes)
    data = pydicom.dcmread(path)
    del data.RescaleIntercept, data.RescaleSlope
    data.save_as(path)
    return path


@case("DICOM", "ModalityLUTSequence", values=[[[500, 100], [7, 500]]], units="signal", note=r"Modality LUT, OD")
def modality_table(folder):
    return film(folder, np.array([[12, 11], [10, 30]]), ModalityLUTSequence=table([7, 100, 500], 10, 16, "OD"))


@case("DICOM", "ModalityLUTSequence", values=[[[55, 155], [248, 55]]], units="signal", note="inverted")
def modality_table_then_inverted(folder):
    return film(folder, np.array([[12, 11], [10, 30]]), ModalityLUTSequence=table([7, 100, 200], 10, 8, "OD"),
                PhotometricInterpretation="MONOCHROME1")  # fmt: skip


@case("DICOM", "PhotometricInterpretation: MONOCHROME1", values=[[[255, 245], [235, 0]]], units="signal",
      note="MONOCHROME1")  # fmt: skip
def film_with_dark_as_high(folder):
    return film(folder, np.array([[0, 10], [20, 255]]), PhotometricInterpretation="MONOCHROME1")


@case("DICOM", "PhotometricInterpretation: MONOCHROME1", values=HU[None], units="HU", note="HU stay as they are")
def ct_shown_with_dark_as_high(folder):
    return ct(folder, PhotometricInterpretation="MONOCHROME1")


@case("DICOM", "PhotometricInterpretation: others", refused="stored as PALETTE COLOR")
def palette_of_dicom(folder):
    return ct(folder, PhotometricInterpretation="PALETTE COLOR")


@case("DICOM", "PhotometricInterpretation: others", refused="3 samples a pixel, which MONOCHROME2 hasn't")
def grey_of_three_samples(folder):
    return ct(folder, SamplesPerPixel=3)


@case("DICOM", "PixelPaddingValue", values=[[[-1000, -1000, 40], [60, 500, 1200]]], units="HU", note="PixelPadding")
def bright_padding(folder):
    return ct(folder, np.array([[-1000, 3000, 40], [60, 500, 1200]]), PixelPaddingValue=4024)


@case("DICOM", "PixelPaddingValue", values=[[[-1000, -3024, 40], [60, 500, 1200]]], units="HU", notes=0)
def dark_padding(folder):
    return ct(folder, np.array([[-1000, -3024, 40], [60, 500, 1200]]), PixelPaddingValue=-2000)


@case("DICOM", "PixelPaddingValue", values=[[[40, 40, 40], [60, 40, 1200]]], units="HU", note="PixelPadding")
def range_of_padding(folder):
    path = ct(folder, np.array([[2000, 2500, 40], [60, 3000, 1200]]), PixelPaddingValue=3024)
    data = pydicom.dcmread(path)
    data.add_new("PixelPaddingRangeLimit", "SS", 4024)
    data.save_as(path)
    return path


@case("DICOM", "BitsStored, HighBit", refused="more than its 12 bits up to bit 15")
def numbers_in_the_high_bits(folder):
    path = film(folder, np.array([[16, 32], [48, 30000]]), 16)
    data = pydicom.dcmread(path)
    data.BitsStored, data.HighBit = 12, 15
    data.save_as(path)
    return path


@case("DICOM", "BitsStored, HighBit", values=[[[16, 32], [48, 4095]]], units="signal", note="an overlay")
def an_overlay_in_unused_bits(folder):
    path = film(folder, np.array([[16, 32], [48, 4095]]), 12)
    data = pydicom.dcmread(path)
    stored = np.frombuffer(data.PixelData, "<u2").copy()
    stored[::2] |= 0x8000
    data.PixelData = stored.tobytes()
    data.add_new(0x60000102, "US", 15)
    data.save_as(path)
    return path


@case("DICOM", "BitsStored, HighBit", refused="more than its 12 bits up to bit 11")
def numbers_beyond_their_bits(folder):
    return ct(folder, np.array([[-3024, 3976], [0, 0]]), BitsStored=12, HighBit=11)


@case("DICOM", "BitsStored, HighBit", refused="header lacks BitsStored")
def bits_that_nobody_told(folder):
    path = ct(folder)
    data = pydicom.dcmread(path)
    del data.BitsStored
    data.save_as(path)
    return path


@case("DICOM", "ImageType: MOSAIC", refused="a mosaic, many slices tiled")
def mosaic(folder):
    return ct(folder, Modality="MR", ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"])


@case("DICOM", "ImageType, ComplexImageComponent", values=HU[None], units="signal", note="the phase of the signal")
def phase(folder):
    return ct(folder, Modality="MR", ImageType=["ORIGINAL", "PRIMARY", "P", "ND"])


@case("DICOM", "Modality: SEG", refused="a segmentation")
def segmentation(folder):
    return ct(folder, Modality="SEG")


@case("DICOM", "Units", values=(HU[None] + 1024) * 3.5, units="Bq/ml", notes=0)
def pet_in_becquerels(folder):
    return ct(folder, Modality="PT", Units="BQML", RescaleSlope=3.5, RescaleIntercept=0)


@case("DICOM", "Units", values=(HU[None] + 1024) * 3.5, units="signal", note="PET in CNTS")
def pet_in_counts(folder):
    return ct(folder, Modality="PT", Units="CNTS", RescaleSlope=3.5, RescaleIntercept=0)


@case("DICOM", "Units", values=HU[None] + 1024, units="signal", note="BQML without a scale, not Bq/ml")
def pet_without_a_slope(folder):
    path = ct(folder, Modality="PT", Units="BQML")
    data = pydicom.dcmread(path)
    del data.RescaleIntercept, data.RescaleSlope
    data.save_as(path)
    return path


@case("DICOM", "PhotometricInterpretation: MONOCHROME1", values=(HU[None] + 1024) / 100, units="signal",
      note="its numbers stay as they are")  # fmt: skip
def uptake_shown_with_dark_as_high(folder):
    return ct(folder, Modality="PT", Units="GML", RescaleSlope=0.01, RescaleIntercept=0,
              PhotometricInterpretation="MONOCHROME1")  # fmt: skip


def mixed(folder: Path, second: dict[str, Any], **first: Any) -> Path:
    """Three slices, of which the one in the middle differs."""
    for n in range(3):
        slice_at(folder, n, 2.0 * n, HU, **(first | (second if n == 1 else {})))
    return folder


@case("DICOM", "Units", refused="hold different things .in GML, scaled; in CNTS, scaled")
def a_series_of_two_units(folder):
    return mixed(folder, {"Units": "CNTS"}, Modality="PT", Units="GML")


@case("DICOM", "ImageType, ComplexImageComponent", refused="hold different things .scaled; phase, scaled")
def a_series_of_magnitude_and_phase(folder):
    return mixed(folder, {"ImageType": ["ORIGINAL", "PRIMARY", "P"]}, Modality="MR",
                 ImageType=["ORIGINAL", "PRIMARY", "M"])  # fmt: skip


@case("DICOM", "ImageType, ComplexImageComponent", values=HU[None], units="signal", note="the real part")
def real_part_as_philips_writes_it(folder):
    return ct(folder, Modality="MR", ImageType=["ORIGINAL", "PRIMARY", "R_FFE", "R", "FFE"])


@case("DICOM", "RescaleSlope, RescaleIntercept", refused="hold different things .scaled; no scale")
def a_slice_without_a_slope(folder):
    mixed(folder, {}, Modality="MR")
    data = pydicom.dcmread(folder / "001.dcm")
    del data.RescaleIntercept, data.RescaleSlope
    data.save_as(folder / "001.dcm")
    return folder


@case("DICOM", "PixelPaddingValue", values=[[[1072, 40], [40, 40]]], units="HU", notes=0)
def padding_that_no_number_is(folder):
    return ct(folder, np.array([[1072, 40], [40, 40]]), BitsStored=12, HighBit=11, PixelRepresentation=0,
              PixelPaddingValue=-2000)  # fmt: skip


@case("DICOM", "GantryDetectorTilt, ImagePositionPatient", note="14.0 degrees from right angles", units="HU")
def tilted_gantry(folder):
    for n in range(3):
        slice_at(folder, n, 2.0 * n, HU, position=(0.0, 0.5 * n), GantryDetectorTilt=14)
    return folder


@case("DICOM", "GantryDetectorTilt, ImagePositionPatient", refused="lies .* mm beside the others")
def a_slice_moved_aside(folder):
    for n, aside in enumerate((0.0, 0.0, 10.0, 0.0)):
        slice_at(folder, n, 2.0 * n, HU, position=(aside, 0.0))
    return folder


@case("DICOM", "ImageOrientationPatient", note="no direction .*: taken as axial", units="HU")
def a_series_without_direction(folder):
    for n in range(3):
        path = slice_at(folder, n, 2.0 * n, HU)
        data = pydicom.dcmread(path)
        del data.ImageOrientationPatient
        data.save_as(path)
    return folder


@case("DICOM", "ImageOrientationPatient", refused="no two unit vectors at right angles")
def directions_that_are_none(folder):
    return slice_at(folder, 1, 0.0, HU, orientation=(1, 0, 0, 1, 0, 0))


@case("DICOM", "ImagerPixelSpacing, PixelAspectRatio", spacing=(0.2, 0.2), note="at the detector", units="signal")
def spacing_at_the_detector(folder):
    path = film(folder, np.array([[0, 10], [20, 255]]), ImagerPixelSpacing=[0.2, 0.2])
    data = pydicom.dcmread(path)
    del data.PixelSpacing
    data.save_as(path)
    return path


@case("DICOM", "ImagerPixelSpacing, PixelAspectRatio", note=r"not square \(2 : 1\)", units="signal")
def long_pixels(folder):
    path = film(folder, np.array([[0, 10], [20, 255]]), PixelAspectRatio=[2, 1])
    data = pydicom.dcmread(path)
    del data.PixelSpacing
    data.save_as(path)
    return path


@case("DICOM", "AnatomicalOrientationType", values=HU[None], units="HU", note="QUADRUPED")
def a_mouse(folder):
    return ct(folder, AnatomicalOrientationType="QUADRUPED")


