"""The images of a domain as they were read once, and what they have in common: units, window, channels, size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgan_lib import files
from medgan_lib.cohorts import Window

MULTIPLE = 8  # of which the padded sizes are multiples
HU_WINDOW = (-1024.0, 3071.0)  # what 12 bits of CT can hold; a window never reaches beyond
TAILS = (0.1, 99.9)  # percentiles, the window of signals and 16-bit pictures
GREY = np.array([0.299, 0.587, 0.114], np.float32)  # luminance, ITU-R BT.601


@dataclass(frozen=True)
class Entry:
    """One image of a folder: a file, volume or series. ``name`` is what pairs, labels, masks and splits call it.

    The other fields are what reading it once told; ``low`` and ``high`` are its extreme values in ``units``.
    """

    name: str
    path: Path
    size: tuple[int, ...] = ()
    spacing: tuple[float, ...] | None = None
    units: str = ""
    kind: str = ""
    channels: int = 1
    colour: bool = False
    low: float = 0.0
    high: float = 0.0
    quantity: str = ""
    placed: np.ndarray | None = field(default=None, repr=False, compare=False)
    sample: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def slices(self) -> int:
        return self.size[0] if len(self.size) == 3 else 1


@dataclass(frozen=True)
class Side:
    """One of the two domains: the letter of its folder, its units, what -1 and +1 stand for, grey (1) or colour (3).

    A folder without A/ and B/ has one side, "A". ``entries`` are its images.
    """

    letter: str
    units: str
    window: Window
    channels: int
    entries: tuple[Entry, ...] = ()

    def values(self, image: files.Image) -> NDArray:
        """(channels, *size) in units, with the channels of this side, see `channelled`."""
        return channelled(image.values, self.channels)

    def scaled(self, values: Any) -> Tensor:
        """Values in units -> [-1, 1] as float32; what lies outside of the window is clipped."""
        return self.window.scale(torch.as_tensor(values).double()).float()

    def in_units(self, x: Tensor) -> Tensor:
        """x in [-1, 1] in units, float64."""
        return self.window.units(x.double())

    @property
    def range_text(self) -> str:
        return f"{self.window.low:g} to {self.window.high:g} {self.units}"


def settle(letter: str, entries: list[Entry], training: list[Entry], prefix: str, notes: list[str]) -> Side:
    """A domain with its units, window and channels; the window is computed on its training images only."""
    by_units: dict[str, list[Entry]] = {}
    for entry in entries:
        by_units.setdefault(entry.units, []).append(entry)
    units = next(iter(by_units))
    if set(by_units) == {"HU", "signal"} and all(entry.kind != "dicom" for entry in by_units["signal"]):
        units = "HU"
        names = few([entry.name for entry in by_units["signal"]])
        air = f"no value at or below {files.image.AIR:g}"
        notes.append(f"{prefix}{names}: {air}, so nothing shows that they are in HU; taken as HU like the others")
    elif len(by_units) > 1:
        which = "; ".join(f"{unit}: {few([e.name for e in group])}" for unit, group in by_units.items())
        raise ValueError(f"{prefix}images with different units or bit depths can't be one domain. {which}")
    kinds: dict[str, list[str]] = {}
    for entry in entries:
        kinds.setdefault(entry.quantity, []).append(entry.name)
    if len(kinds) > 1:
        which = "; ".join(f"{kind or 'nothing special'}: {few(group)}" for kind, group in kinds.items())
        raise ValueError(f"{prefix}images of different quantities can't be one domain. {which}")
    channels = 1
    if any(entry.channels == 3 for entry in entries):
        grey = [entry.name for entry in entries if not entry.colour]
        channels = 1 if grey else 3
        if grey:
            notes.append(f"{prefix}{few(grey)} are grey and others have colours: colours become grey (luminance)")
    if units == "intensity 0-255":
        low, high = 0.0, 255.0
    else:
        low, high = min(e.low for e in training), max(e.high for e in training)
        if units == "HU":
            low, high = max(low, HU_WINDOW[0]), min(high, HU_WINDOW[1])
        elif low < high:
            tails = np.percentile(np.concatenate([e.sample for e in training]).astype(np.float64), TAILS)
            low, high = map(float, tails) if tails[0] < tails[1] else (low, high)
        if not low < high:
            raise ValueError(f"{prefix}all training images have the same single value ({training[0].low:g})")
    notes.append(f"{prefix}{units}, window {low:g} to {high:g}; what lies outside is clipped for networks")
    return Side(letter, units, Window(low, high), channels, tuple(replace(entry, sample=None) for entry in entries))


def common(entries: list[Entry], notes: list[str]) -> tuple[tuple[int, int], tuple[int, int, int] | None]:
    """The size to which slices are padded, and whole volumes where all are volumes; notes on what differs."""

    def largest(sizes: list[tuple[int, ...]]) -> tuple[int, ...]:
        return tuple(math.ceil(max(edge) / MULTIPLE) * MULTIPLE for edge in zip(*sizes, strict=True))

    flat = [entry.size[-2:] for entry in entries]
    shape = largest(flat)
    if len(set(flat)) > 1:
        notes.append(f"images have {len(set(flat))} sizes, from {text(min(flat))} to {text(max(flat))}")
    if any(size != shape for size in flat):
        notes.append(f"padded to {text(shape)} by the smallest value of each image, unless a size is asked for")
    known = [entry.spacing[-2:] for entry in entries if entry.spacing]
    if known and len(known) < len(entries):
        notes.append(f"the spacing of {len(entries) - len(known)} images is unknown")
    if known and not np.allclose(known, known[0], rtol=0.01):
        low, high = np.min(known), np.max(known)
        notes.append(f"the spacing varies from {low:.3g} to {high:.3g} mm; nothing is resampled for it")
    if skewed := [e.name for e in entries if e.spacing and max(e.spacing[-2:]) > 2 * min(e.spacing[-2:])]:
        notes.append(f"axial slices of {few(skewed)} have long pixels: it was acquired in another plane")
    volumes = all(len(entry.size) == 3 for entry in entries)
    return shape, largest([entry.size for entry in entries]) if volumes else None


def channelled(values: np.ndarray, channels: int) -> np.ndarray:
    """Grey repeated to colours, or colours as their luminance, where the number of channels is another."""
    if len(values) == channels:
        return values
    if channels == 1:
        return np.tensordot(GREY, values, 1)[None]
    return np.repeat(values, channels, 0)


def text(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))


def few(names: set[str] | Sequence[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") or "none"


def misplaced(what: str, pairs: Sequence[tuple[str, Any, Any]]) -> list[str]:
    """Notes on pairs of a name and two things with ``placed`` and ``spacing`` whose places in space differ."""
    moved, turned = [], []
    for name, first, second in pairs:
        if (first.placed is None) != (second.placed is None):
            turned.append(name)
        elif first.placed is not None:
            if not np.allclose(first.placed, second.placed, atol=0.1, rtol=1e-3):
                moved.append(name)
        elif first.spacing and second.spacing and not np.allclose(first.spacing, second.spacing, rtol=0.01):
            moved.append(name)
    notes = []
    if moved:
        notes.append(
            f"{what} of {few(moved)} lie at different places or have different spacing by their headers; they are "
            "taken as aligned pixel by pixel"
        )
    if turned:
        notes.append(
            f"{what} of {few(turned)}: one has directions and is turned so that rows go from front to back, the other "
            "has none and stays as it is; whether they are aligned is for you to see"
        )
    return notes
