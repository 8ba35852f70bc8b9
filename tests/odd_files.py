"""Odd files of all formats, each made here, with the right values or the words in which it is refused.

A case is named by the row of `medgan_lib.files.meanings` that it is about; several may share a row. They are in
`odd_dicom`, `odd_frames`, `odd_volumes` and `odd_pictures`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

GREY = np.arange(20, dtype=np.uint8).reshape(4, 5)  # rows and columns differ, and no value occurs twice
DEEP = GREY.astype(np.uint16) * 257
VOLUME = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
TALL = np.concatenate([VOLUME, VOLUME + 1])
COLOUR = np.stack([GREY, GREY + 40, GREY + 80], -1)


class Case(NamedTuple):
    """``values`` (channels, *size), or ``refused``, a pattern of the message; ``note`` is a pattern of a note."""

    format: str
    field: str
    name: str
    make: Callable[[Path], Path]
    values: Any = None
    units: str | None = None
    note: str | None = None
    refused: str | None = None
    spacing: tuple[float, ...] | None = None
    notes: int | None = None  # how many there are


CASES: list[Case] = []


def case(format_: str, field: str, **expected: Any) -> Callable:
    """Adds a maker of a file to `CASES`."""

    def add(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
        CASES.append(Case(format_, field, make.__name__, make, **expected))
        return make

    return add
