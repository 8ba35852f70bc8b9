"""R's saved data (.rda, .RData): numbers, strings and lists, in its portable binary format (XDR), and nothing else.

The format is described in "R Internals" (Serialization Formats). Functions, environments and other languages of R's are
refused rather than skipped, and no code in a file is ever run.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
from typing import Any

import numpy as np

LARGEST = 100_000_000  # bytes once decompressed
_DEPTH = 50  # of lists in lists


def read_rda(data: bytes) -> dict[str, Any]:
    """The objects in a file, by name: vectors as arrays (in the shape of their "dim"), strings as lists of str.

    A list becomes a dict if all its items have names, else a list. ValueError if it can't be read.
    """
    try:
        data = _decompressed(data)
        if data[:5] not in (b"RDX2\n", b"RDX3\n") or data[5:7] != b"X\n":
            raise ValueError("it is not R data in binary format")
        reader = _Reader(data, 7)
        version = reader.integers(3)[0]
        if version == 3:
            reader.take(reader.integers(1)[0])  # the encoding
        found = reader.item(0)
    except (OSError, EOFError, lzma.LZMAError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"it is truncated or damaged ({error})") from error
    if not isinstance(found, dict):
        raise ValueError("it holds no named objects")
    return found


def _decompressed(data: bytes) -> bytes:
    opener = next(
        (
            kind.open
            for start, kind in ((b"\x1f\x8b", gzip), (b"BZh", bz2), (b"\xfd7zXZ", lzma))
            if data.startswith(start)
        ),
        None,
    )
    if opener is not None:
        with opener(io.BytesIO(data)) as file:
            data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST} bytes")
    return data


class _Reader:
    def __init__(self, data: bytes, start: int):
        self.data, self.at = data, start
        self.symbols: list[str] = []

    def take(self, count: int) -> bytes:
        if not 0 <= count <= len(self.data) - self.at:
            raise ValueError("it ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def integers(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f">{count}i", self.take(4 * count))

    def item(self, depth: int) -> Any:
        if depth > _DEPTH:
            raise ValueError("its lists are nested too deep")
        (flags,) = self.integers(1)
        kind, attributed, tagged = flags & 255, bool(flags & 512), bool(flags & 1024)
        match kind:
            case 254:  # NULL
                return None
            case 1:  # a symbol
                self.symbols.append(self.item(depth + 1))
                return self.symbols[-1]
            case 255:  # one that was there before
                number = flags >> 8 or self.integers(1)[0]
                if not 1 <= number <= len(self.symbols):
                    raise ValueError("it refers to a symbol that it does not have")
                return self.symbols[number - 1]
            case 2:
                return self.pairs(attributed, tagged, depth)
            case 9:  # one string, or none
                (count,) = self.integers(1)
                return None if count == -1 else self.take(count).decode("utf-8" if flags >> 12 & 8 else "latin-1")
            case 10 | 13 | 14 | 16 | 19:  # logical, whole numbers, numbers, strings, a list
                return self.vector(kind, attributed, depth)
        raise ValueError(f"it holds an R object of type {kind}, which is not data")

    def pairs(self, attributed: bool, tagged: bool, depth: int) -> dict[str, Any]:
        """A chain of (name, value): a dict."""
        found: dict[str, Any] = {}
        while True:
            if attributed:
                self.item(depth + 1)
            name = self.item(depth + 1) if tagged else str(len(found))
            found[name] = self.item(depth + 1)
            (flags,) = self.integers(1)
            if flags & 255 == 254:
                return found
            if flags & 255 != 2:
                raise ValueError("it holds a chain that does not end")
            attributed, tagged = bool(flags & 512), bool(flags & 1024)

    def vector(self, kind: int, attributed: bool, depth: int) -> Any:
        (count,) = self.integers(1)
        if kind in (10, 13, 14):
            dtype = np.dtype(">f8" if kind == 14 else ">i4")
            values: Any = np.frombuffer(self.take(count * dtype.itemsize), dtype).astype(dtype.newbyteorder("="))
        else:
            if not 0 <= count <= len(self.data) - self.at:
                raise ValueError("it ends too early")
            values = [self.item(depth + 1) for _ in range(count)]
        attributes = (self.item(depth + 1) or {}) if attributed else {}
        if isinstance(values, np.ndarray) and "dim" in attributes:
            shape = attributes["dim"].tolist()
            if int(np.prod(shape)) != count:
                raise ValueError("it holds an array whose shape does not fit")
            return values.reshape(shape, order="F")
        names = attributes.get("names")
        return dict(zip(names, values, strict=True)) if kind == 19 and names and len(set(names)) == count else values
