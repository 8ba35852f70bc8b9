"""A reader's own folder of images: what is in it, as a cohort, and ``python -m medgan_lib translate``.

`inspect_folder` reads everything once and says what was found (`Survey`), `load_folder` gives a split as a `Cohort`,
`unpad` takes the padding away again. ``cohorts.load("path/to/folder")`` is `load_folder`, and prints what was found.
"""

from .padding import unpad
from .sides import Side
from .survey import Survey, inspect_folder
from .tensors import load_folder

__all__ = ["Side", "Survey", "inspect_folder", "load_folder", "unpad"]
