"""A reader's own images: `find` what is in a folder, `read` a file or a DICOM series, `write` a result back.

NIfTI (.nii, .nii.gz), DICOM (a file, or a folder that holds one series), PNG, JPEG, TIFF (8 and 16 bit, float) and npz.
Values stay in their own units and spacing in mm; a result has the geometry of its input.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .finding import Found, find
    from .image import UNITS, Image
    from .reading import read
    from .writing import write

__all__ = ["UNITS", "Found", "Image", "find", "read", "write"]


def __getattr__(name: str) -> Any:
    """Loads the readers, and with them their libraries, when one is asked for: whoever only needs `atomic` has none."""
    for module, names in {"finding": ("Found", "find"), "image": ("UNITS", "Image"), "reading": ("read",),
                          "writing": ("write",)}.items():
        if name == module or name in names:
            found = import_module(f"{__name__}.{module}")
            return found if name == module else getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
