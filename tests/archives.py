"""Archives as the origins of real data sets give them out, made of files that a test wrote."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping


def packed(folder: str, files: Mapping[str, bytes]) -> bytes:
    """A tar.gz with ``files`` by their names in ``folder``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
