"""Write a file beside its place and rename it: a reader, a crash or a full disk never sees or leaves half of one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A file opened for writing that gets its name, in place of an older one, only when it is complete.

    Folders above it are made. On any error, Ctrl-C included, nothing stays behind and the older file is as it was.
    Whoever must be sure that it outlives a power cut calls ``os.fsync(file.fileno())`` at the end. OSError as `open`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(part, "xb") as file:  # and not a tempfile, which nobody but its owner may read
            yield file
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_atomic(path: Path, text: str) -> None:
    """`atomic` for a whole text, in UTF-8."""
    with atomic(path) as file:
        file.write(text.encode("utf-8"))
