"""A reader's own images: `find` what is in a folder, `read` a file or a DICOM series, `write` a result back.

NIfTI (.nii, .nii.gz), DICOM (a file, or a folder that holds one series), PNG, JPEG, TIFF (8 and 16 bit, float) and npz.
Values stay in their own units and spacing in mm; a result has the geometry of its input.
"""

from .finding import Found, find
from .image import UNITS, Image
from .reading import read
from .writing import write

__all__ = ["UNITS", "Found", "Image", "find", "read", "write"]
