"""`Image`: values of one file or series in their own units, and what it takes to write a result with its geometry."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

# HU: CT. Gy: dose. Bq/ml: PET. signal: anything else without a known scale, such as MR.
UNITS = ("HU", "signal", "intensity 0-255", "intensity 0-65535", "Gy", "Bq/ml")
AIR = -500.0  # a value at or below it makes numbers without stated units HU: only CT has air so far below zero
EXACT = 2**24  # whole numbers up to here are told apart by float32
TILT = 0.5  # degrees from a right angle between axes from which a volume counts as sheared
MAX_VALUES = 2**28  # of one image, 1 GiB as float32; a file that claims more is refused before it is unpacked
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
SUFFIXES = (".nii.gz", ".nii", *PICTURE_SUFFIXES, ".npz", *DICOM_SUFFIXES)


@dataclass(frozen=True, eq=False)
class Grid:
    """How voxels of a file (i, j, k) lie in space and in `Image.values`.

    ``affine`` (4, 4) takes i, j, k to mm right, front and head (RAS+). ``shape`` is that of the file's array. Axis a of
    values is the file's axis ``order[a]``, reversed where ``flip[a]``. ``header`` is that of a NIfTI, else None.
    """

    affine: np.ndarray
    shape: tuple[int, ...]
    order: tuple[int, ...]
    flip: tuple[bool, ...]
    header: Any = None

    @property
    def spacing(self) -> tuple[float, ...]:
        """mm along the axes of values."""
        sizes = nib.affines.voxel_sizes(self.affine) * self._mm()
        return tuple(float(sizes[axis]) for axis in self.order)

    @property
    def placed(self) -> np.ndarray:
        """(4, dims + 1): takes indices in values, and 1, to mm right, front and head."""
        extent, start, columns = (*self.shape, 1, 1)[:3], np.zeros(3), []
        for axis, flip in zip(self.order, self.flip, strict=True):
            columns.append(self.affine[:, axis] * (-1 if flip else 1))
            start[axis] = extent[axis] - 1 if flip else 0
        return np.stack([*columns, self.affine @ [*start, 1]], 1)

    def _mm(self) -> float:
        code = int(self.header["xyzt_units"]) % 8 if self.header is not None else 2
        return {1: 1000.0, 3: 0.001}.get(code, 1.0)  # metres and microns; NIfTI-1.1 knows no other

    def from_file(self, voxels: np.ndarray) -> np.ndarray:
        """(channels, i, j, k) in the order of the file -> (channels, *size)."""
        rest = [axis for axis in range(3) if axis not in self.order]
        turned = voxels.transpose(0, *(1 + axis for axis in (*self.order, *rest)))
        turned = turned.reshape(turned.shape[: 1 + len(self.order)])
        return np.ascontiguousarray(np.flip(turned, [1 + a for a, flip in enumerate(self.flip) if flip]))

    def to_file(self, values: np.ndarray) -> np.ndarray:
        """Inverse of `from_file`."""
        rest = [axis for axis in range(3) if axis not in self.order]
        values = np.flip(values, [1 + a for a, flip in enumerate(self.flip) if flip])
        values = values.reshape(*values.shape, *(1 for _ in rest))
        back = np.argsort([*self.order, *rest])
        return values.transpose(0, *(1 + back))


def grid(affine: np.ndarray, shape: tuple[int, ...], header: Any = None) -> Grid:
    """The `Grid` that turns volumes so that slices go up, rows from front to back, columns from right to left.

    An axis of length 1 is left out. Images of one coronal or sagittal slice get the head up. Oblique volumes are
    turned to the nearest axes, not resampled. ValueError where there is no plane, or the affine can't be inverted.
    """
    extent = (*shape, 1, 1)[:3]
    kept = [axis for axis in range(3) if extent[axis] > 1]
    if len(kept) < 2:
        raise ValueError(f"its shape {tuple(shape)} has no plane of more than one pixel each way")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise ValueError("its affine is singular or not finite, so the voxels have no place; set it anew")
    directions = nib.orientations.io_orientation(affine)
    if np.isnan(directions).any():
        raise ValueError("two axes of its affine point the same way; set it anew")
    world = {int(directions[axis, 0]): axis for axis in kept}  # 0 right, 1 front, 2 head
    wanted = {0: -1, 1: -1, 2: 1 if len(kept) == 3 else -1}
    order = tuple(world[w] for w in (2, 1, 0) if w in world)
    flip = tuple(bool(directions[axis, 1] != wanted[int(directions[axis, 0])]) for axis in order)
    return Grid(np.asarray(affine, float), tuple(shape), order, flip, header)


def sheared(place: Grid) -> list[str]:
    """A note where the axes of a volume are not at right angles, as after a scan with a tilted gantry."""
    axes = place.affine[:3, :3] / nib.affines.voxel_sizes(place.affine)
    cosines = [abs(axes[:, a] @ axes[:, b]) for a, b in ((0, 1), (0, 2), (1, 2)) if len(place.order) == 3]
    angle = float(np.degrees(np.arcsin(min(max(cosines, default=0.0), 1.0))))
    if angle <= TILT:
        return []
    return [
        f"its axes are {angle:.1f} degrees from right angles (a tilted gantry, or a header to correct): slices are as "
        "they were acquired, but lie shifted against each other in the volume"
    ]


def inexact(stored: np.ndarray) -> list[str]:
    """A note where whole numbers are too large for float32 to tell neighbours apart."""
    if stored.dtype.kind not in "iu" or not stored.size or max(-int(stored.min()), int(stored.max())) <= EXACT:
        return []
    return [f"it holds whole numbers beyond {EXACT:,}, of which neighbours can't be told apart"]


@dataclass(frozen=True, eq=False)
class Image:
    """``values`` float32 (channels, *size) in ``units``, size = (h, w) or (slices, h, w); all finite.

    ``spacing`` is mm along size, None where the file has none. Volumes are turned as `grid` says, and ``grid``
    remembers the order of the file. ``kind`` is nifti, dicom, png, jpeg, tiff or npz; ``colour`` says that the file
    stores three channels, even where they are equal and ``values`` therefore has one. ``notes`` are treatments that
    the reader should know of, ``quantity`` what "signal" is where the file says so, such as "phase" or "in GML".
    """

    values: np.ndarray
    spacing: tuple[float, ...] | None
    units: str
    path: Path
    kind: str
    colour: bool = False
    grid: Grid | None = None
    notes: tuple[str, ...] = ()
    quantity: str = ""

    @property
    def name(self) -> str:
        """The file's or folder's name without its suffixes."""
        return stem(self.path)

    @property
    def size(self) -> tuple[int, ...]:
        return self.values.shape[1:]


def stem(path: Path) -> str:
    """Name of a file without ``.png``, ``.nii.gz`` and their like; a folder's whole name."""
    return path.name if path.is_dir() else without_suffix(path.name)


def without_suffix(name: str) -> str:
    suffix = next((known for known in SUFFIXES if name.lower().endswith(known)), "")
    return name.removesuffix(name[len(name) - len(suffix) :])


def guess_units(values: np.ndarray, notes: list[str]) -> str:
    """Units of numbers that come without: "HU" if any is at or below `AIR`, with a note, else "signal"."""
    if not np.isfinite(values).any() or np.nanmin(np.where(np.isfinite(values), values, np.nan)) > AIR:
        return "signal"
    notes.append(f"HU only by its numbers, some at or below {AIR:g}, as those of an MR phase image can be, too")
    return "HU"


def too_large(shape: tuple[int, ...]) -> ValueError:
    return ValueError(f"it claims to hold {' x '.join(map(str, shape))} values, more than the limit of {MAX_VALUES}")


def finite(image: Image) -> Image:
    """The image with NaN and -Inf as its smallest, Inf as its largest finite value, and a note that says so."""
    good = np.isfinite(image.values)
    if good.all():
        return image
    if not good.any():
        raise ValueError("none of its values is finite")
    low, high = image.values[good].min(), image.values[good].max()
    values = np.nan_to_num(image.values, nan=low, neginf=low, posinf=high)
    note = f"{good.size - good.sum()} values are not finite: NaN and -Inf were set to {low:g}, Inf to {high:g}"
    return replace(image, values=values, notes=(*image.notes, note))
