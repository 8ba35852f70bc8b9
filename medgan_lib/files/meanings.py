"""What the meaning of a stored number depends on, in every format that is read here: one row a field.

A number in a file says little by itself: a slope makes it HU, a lookup table an optical density, an axis a time point.
Each row names a field, what it decides, and what becomes of it: it is applied, noted, or the file is refused.
`tests/files/test_meanings.py` holds a file and the right value for each row, and fails where one has none.
"""

from __future__ import annotations

from typing import NamedTuple


class Meaning(NamedTuple):
    """One field of one format: what it decides, and what `files.read` does about it."""

    format: str
    field: str
    decides: str
    treatment: str


MEANINGS = tuple(
    Meaning(*row)
    for row in (
        # DICOM, PS3.3: C.7.6.3 (pixels), C.8.2.1 (CT), C.11.1 (modality LUT), C.8.8.3 (dose), C.7.6.16 (frames)
        ("DICOM", "RescaleSlope, RescaleIntercept", "value", "applied; a slope of 0 is refused"),
        ("DICOM", "RescaleType", "units of CT", "HU only where it is HU or absent; others are noted"),
        ("DICOM", "ImageType: LOCALIZER", "units of CT", "a scout is no HU: noted"),
        ("DICOM", "CT without RescaleIntercept", "units of CT", "stored numbers, no HU: noted"),
        ("DICOM", "ModalityLUTSequence", "value", "applied and noted"),
        ("DICOM", "PixelValueTransformationSequence", "value of each frame", "applied frame by frame"),
        ("DICOM", "RealWorldValueMappingSequence", "value", "applied where there is no slope, else noted"),
        ("DICOM", "DoseGridScaling, DoseUnits", "value of RT dose", "applied: Gy; refused where it is missing"),
        ("DICOM", "Units", "units of PET", "Bq/ml, others are noted"),
        ("DICOM", "PhotometricInterpretation: MONOCHROME1", "dark or bright", "signal is inverted, HU stay; noted"),
        ("DICOM", "PhotometricInterpretation: others", "colour", "refused but for RGB"),
        ("DICOM", "PixelPaddingValue", "no measurement", "the smallest other value, noted; the darkest stays"),
        ("DICOM", "BitsStored, HighBit", "value", "applied; refused where the numbers contradict it"),
        ("DICOM", "ImageType: MOSAIC", "place", "refused: many slices tiled in one picture"),
        ("DICOM", "ImageType, ComplexImageComponent", "magnitude or phase", "phase and parts are noted"),
        ("DICOM", "Modality: SEG", "classes", "refused"),
        ("DICOM", "NumberOfFrames, PlanePositionSequence", "place of each frame", "a volume; a film is refused"),
        ("DICOM", "GridFrameOffsetVector", "place of frames of RT dose", "applied"),
        ("DICOM", "GantryDetectorTilt, ImagePositionPatient", "shear of a volume", "kept in the affine and noted"),
        ("DICOM", "ImageOrientationPatient", "direction", "applied; a volume without it is noted"),
        ("DICOM", "ImagerPixelSpacing, PixelAspectRatio", "spacing", "at the detector, or long pixels: noted"),
        ("DICOM", "AnatomicalOrientationType", "names of directions", "an animal is noted"),
        # NIfTI-1.1 and -2: nifti1.h
        ("NIfTI", "scl_slope, scl_inter", "value", "applied unless 0 or not finite; half of it is refused"),
        ("NIfTI", "datatype", "value", "real numbers; colours and complex numbers are refused"),
        ("NIfTI", "dim[4] and above", "time, contrast, vectors", "refused"),
        ("NIfTI", "qform against sform", "place", "the sform, noted where they differ"),
        ("NIfTI", "qform_code and sform_code 0", "place", "left, front, head is a guess: noted"),
        ("NIfTI", "pixdim against affine", "spacing", "the affine, noted where they differ"),
        ("NIfTI", "shear in the affine", "shape", "kept and noted"),
        ("NIfTI", "xyzt_units", "mm", "applied; voxels of odd size are noted"),
        ("NIfTI", "intent_code", "kind of number", "statistics are noted"),
        # TIFF 6.0, ImageJ's and OME's descriptions
        ("TIFF", "axes: Z, pages", "slices", "a volume; pages of no stated axis are noted"),
        ("TIFF", "axes: C, T and others", "channels, time", "refused"),
        ("TIFF", "series of several files or sizes", "what is read", "refused; smaller copies are left out, noted"),
        ("TIFF", "PhotometricInterpretation: min-is-white", "dark or bright", "inverted at every depth, noted"),
        ("TIFF", "SamplesPerPixel, ExtraSamples", "colour, transparency, channels", "transparency noted, else refused"),
        ("TIFF", "SampleFormat, BitsPerSample", "sign and depth", "applied; 1 to 4 bits are stretched, noted"),
        ("TIFF", "ImageJ: cf, c0, c1", "value", "a straight line is applied and noted, a curve refused"),
        ("TIFF", "GDAL_NODATA", "no measurement", "as if not finite"),
        ("TIFF", "Orientation", "direction", "applied and noted"),
        # PNG, JPEG, npz
        ("PNG, JPEG", "EXIF orientation", "direction", "applied and noted"),
        ("PNG, JPEG", "transparency", "colour", "left out, noted"),
        ("PNG, JPEG", "bits below 8", "value", "stretched to 0-255, noted"),
        ("PNG, JPEG", "frames", "time", "an animation is refused; of several photos the first, noted"),
        ("PNG, JPEG", "palette, CMYK", "colour", "as RGB; CMYK is noted"),
        ("npz", "units, spacing", "units and mm", "applied; other words are refused"),
        ("npz", "shape", "slices or colours", "colours are last; 3 or 4 layers that come first are noted"),
        # all
        ("all", "values at or below -500 without units", "HU", "taken as HU, noted"),
        ("all", "NaN, Inf", "no measurement", "smallest and largest other value, noted"),
        ("all", "whole numbers beyond 2^24", "value", "noted, refused in masks: float32 can't tell neighbours apart"),
    )
)
