"""Odd DICOM of several frames, and scales beside the slope, see `odd_files`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from image_files import slice_at
from odd_dicom import HU, ct, film, items, table
from odd_files import case
from pydicom.sequence import Sequence

FRAMES = np.arange(24).reshape(3, 2, 4)


def enhanced(folder: Path, values: np.ndarray = FRAMES, modality: str = "MR", order=(2, 0, 1), **fields: Any) -> Path:
    """A multi-frame file whose frames lie at ``order``, 2 mm apart, frame n with slope n + 1 and intercept 10 n."""
    path = slice_at(folder, 1, 0.0, values.reshape(-1, values.shape[-1]) - 1024, Modality=modality)
    data = pydicom.dcmread(path)
    for name in ("RescaleSlope", "RescaleIntercept", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(data, name)
    data.NumberOfFrames, data.Rows = len(values), values.shape[1]
    data.SharedFunctionalGroupsSequence = items(
        PixelMeasuresSequence=items(PixelSpacing=[0.8, 0.6], SliceThickness=2),
        PlaneOrientationSequence=items(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
    )
    frames = []
    for n, place in enumerate(order[: len(values)]):
        group = items(
            PlanePositionSequence=items(ImagePositionPatient=[0, 0, 2.0 * place]),
            PixelValueTransformationSequence=items(RescaleSlope=n + 1, RescaleIntercept=10 * n, RescaleType="US"),
        )[0]
        frames.append(group)
    data.PerFrameFunctionalGroupsSequence = Sequence(frames)
    for name, value in fields.items():
        setattr(data, name, value)
    data.save_as(path)
    return path


SCALED = np.stack([FRAMES[n] * (n + 1) + 10 * n for n in (1, 2, 0)])[None]  # from the feet up


@case("DICOM", "PixelValueTransformationSequence", values=SCALED, units="signal", spacing=(2, 0.8, 0.6), notes=0)
def enhanced_mr(folder):
    return enhanced(folder)


@case("DICOM", "PixelValueTransformationSequence", values=FRAMES[:1], units="signal", spacing=(0.8, 0.6), notes=0)
def enhanced_mr_of_one_frame(folder):
    return enhanced(folder, FRAMES[:1])


@case("DICOM", "NumberOfFrames, PlanePositionSequence", refused="frame 2 lie at the same place")
def two_echoes_in_one_file(folder):
    return enhanced(folder, order=(0, 0, 1))


@case("DICOM", "NumberOfFrames, PlanePositionSequence", refused="3 frames without places in space, as a film")
def film_of_ultrasound(folder):
    path = enhanced(folder, modality="US")
    data = pydicom.dcmread(path)
    del data.PerFrameFunctionalGroupsSequence, data.SharedFunctionalGroupsSequence
    data.save_as(path)
    return path


def mapping(**fields: Any) -> Sequence:
    return items(RealWorldValueIntercept=5.0, MeasurementUnitsCodeSequence=items(CodeValue="mm2/s"), **fields)


@case("DICOM", "RealWorldValueMappingSequence", values=[[[25, 45], [65, 85]]], units="signal", note="in mm2/s")
def real_world_values(folder):
    return film(folder, np.array([[10, 20], [30, 40]]),
                RealWorldValueMappingSequence=mapping(RealWorldValueSlope=2.0))  # fmt: skip


@case("DICOM", "RealWorldValueMappingSequence", values=HU[None], units="HU", note="which is not applied")
def real_world_values_beside_a_slope(folder):
    return ct(folder, RealWorldValueMappingSequence=mapping(RealWorldValueSlope=2.0))


@case("DICOM", "RealWorldValueMappingSequence", values=(HU[None] + 1024) * 2 + 5, units="signal", note="in mm2/s")
def uptake_by_real_world_values(folder):
    path = ct(folder, Modality="PT", Units="BQML", RealWorldValueMappingSequence=mapping(RealWorldValueSlope=2.0))
    data = pydicom.dcmread(path)
    del data.RescaleIntercept, data.RescaleSlope
    data.save_as(path)
    return path


@case("DICOM", "NumberOfFrames, PlanePositionSequence", refused="floating-point numbers")
def a_parametric_map(folder):
    path = film(folder, np.array([[10, 20], [30, 40]]))
    data = pydicom.dcmread(path)
    del data.PixelData
    data.FloatPixelData = np.zeros(4, np.float32).tobytes()
    data.save_as(path)
    return path


@case("DICOM", "ModalityLUTSequence", refused="lookup table .Modality LUT. can't be read")
def an_empty_table(folder):
    path = film(folder, np.array([[12, 11], [10, 30]]), ModalityLUTSequence=table([7, 100], 10, 16, "OD"))
    data = pydicom.dcmread(path)
    del data.ModalityLUTSequence[0].LUTData
    data.save_as(path)
    return path


@case("DICOM", "GridFrameOffsetVector", refused="begins neither with 0 nor with the place")
def dose_at_another_place(folder):
    return dose(folder, DoseGridScaling=1, DoseUnits="GY", GridFrameOffsetVector=[20, 17, 14])


def dose(folder: Path, **fields: Any) -> Path:
    path = enhanced(folder, modality="RTDOSE")
    data = pydicom.dcmread(path)
    del data.PerFrameFunctionalGroupsSequence, data.SharedFunctionalGroupsSequence
    data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 10], [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.GridFrameOffsetVector = [0.8, 0.6], [0, 3, 6]
    for name, value in fields.items():
        setattr(data, name, value)
    data.save_as(path)
    return path


@case("DICOM", "DoseGridScaling, DoseUnits", values=FRAMES[None] * 0.25, units="Gy", spacing=(3, 0.8, 0.6), notes=0)
def dose_in_gray(folder):
    return dose(folder, DoseGridScaling=0.25, DoseUnits="GY")


@case("DICOM", "DoseGridScaling, DoseUnits", values=FRAMES[None] * 0.25, units="signal", note="RELATIVE, not Gy")
def relative_dose(folder):
    return dose(folder, DoseGridScaling=0.25, DoseUnits="RELATIVE")


@case("DICOM", "DoseGridScaling, DoseUnits", refused="a dose without DoseGridScaling")
def dose_without_scaling(folder):
    return dose(folder, DoseUnits="GY")


@case("DICOM", "GridFrameOffsetVector", values=FRAMES[None, ::-1], units="Gy", spacing=(3, 0.8, 0.6))
def dose_from_the_head_down(folder):
    return dose(folder, DoseGridScaling=1, DoseUnits="GY", GridFrameOffsetVector=[10, 7, 4])
