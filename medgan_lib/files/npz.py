"""Read arrays from npz files that may be damaged or hostile: no pickles, and no more bytes than was agreed to."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LONGEST_HEADER = 16 * 1024  # bytes of an npy file before its values
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive. ValueError, also while it is read: it is damaged or none; OSError: it can't be read."""
    if not path.stat().st_size:
        raise ValueError("the file is empty (0 bytes)")
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except zipfile.BadZipFile as error:
        raise ValueError(f"truncated, damaged or not an npz file ({error})") from error
    except (EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"truncated or damaged ({error})") from error


def names(archive: zipfile.ZipFile) -> list[str]:
    """Of the arrays in it."""
    return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def array(
    archive: zipfile.ZipFile, name: str, check: Callable[[tuple[int, ...], np.dtype], None]
) -> NDArray:
    """The array ``name``, in C or Fortran order and not writable.

    ``check`` is called with the shape and type that the file declares, before any value is unpacked, and raises
    ValueError for one that is not wanted or too large. ValueError too where the array is missing, holds Python objects,
    has an unreadable header, or another number of bytes than it declares.
    """
    member = f"{name}.npy"
    if member not in archive.namelist():
        raise ValueError(f"its array {name!r} is missing")
    with archive.open(member) as file:
        head = io.BytesIO(file.read(LONGEST_HEADER))
    try:
        shape, fortran, dtype = HEADERS[np.lib.format.read_magic(head)](head)
    except Exception as error:  # NumPy parses it as a Python literal, and lets through what the tokenizer raises
        raise ValueError(f"its array {name!r} has a header that can't be read ({type(error).__name__})") from error
    if dtype.hasobject:
        raise ValueError(f"its array {name!r} holds Python objects (pickle), which are never loaded")
    check(shape, dtype)
    need = math.prod(shape) * dtype.itemsize
    with archive.open(member) as file:
        file.read(head.tell())
        data = file.read(need + 1)  # to the end, which also verifies the checksum
    if len(data) != need:
        raise ValueError(f"its array {name!r} has another number of bytes than its shape {shape} needs")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
