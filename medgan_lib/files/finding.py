"""`find`: which images a folder holds, and what it holds besides."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from . import dicom
from .image import SUFFIXES
from .reading import reader


@dataclass(frozen=True)
class Found:
    """``paths`` of images (a DICOM series is its folder) in natural order; ``ignored``: one line "name: why" each."""

    paths: tuple[Path, ...]
    ignored: tuple[str, ...]


def natural(path: Path) -> list:
    """Sorts slice2 before slice10."""
    parts = re.split(r"([0-9]+)", path.name.casefold())
    return [[int(part) if i % 2 else part for i, part in enumerate(parts)], path.name]


def find(folder: str | Path) -> Found:
    """The images directly in ``folder``, or the file itself where it is one; a DICOM series counts as one image.

    A sub-folder counts if there is DICOM in or below it. Hidden files, texts and the like are ``ignored``. Whether an
    image is broken shows in `read`, which names it. FileNotFoundError where there is nothing of that name, ValueError
    for the slices of several DICOM series in one folder.
    """
    folder = Path(folder).expanduser()
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: no such file or folder")
    if not folder.is_dir():
        return Found((folder,), ())
    paths, ignored = [], []
    for path in sorted(folder.iterdir(), key=natural):
        reason = why_not(path, folder)
        if reason is None:
            paths.append(path)
        else:
            ignored.append(f"{path.name}: {reason}")
    slices = [path for path in paths if path.is_file() and dicom.is_dicom(path)]
    series = [group for group in dicom.series(slices).values() if len(group) > 1]
    if series and (len(series) > 1 or len(series[0]) < len(paths)):
        raise ValueError(
            f"{folder}: {sum(map(len, series))} slices of {len(series)} DICOM series lie in one folder with other "
            "images; give each series a folder of its own"
        )
    return Found((folder,) if series else tuple(paths), tuple(ignored))


def why_not(path: Path, folder: Path) -> str | None:
    """Why something in a folder is no image, or None if it is one (or says it is)."""
    if path.name.startswith(".") or path.name.lower() in ("thumbs.db", "desktop.ini", "__macosx"):
        return "hidden or of the operating system"
    try:
        if path.is_dir():
            if folder.resolve().is_relative_to(path.resolve()):
                return "a link to a folder that contains it"
            return None if any(map(dicom.is_dicom, dicom.walk(path))) else "a folder without DICOM slices"
        if path.is_symlink() and not path.exists():
            return None if path.name.lower().endswith(SUFFIXES) else "a link that leads nowhere"
    except (OSError, RuntimeError) as error:  # a link in a circle
        return f"can't be followed ({error})"
    return None if reader(path) else "not an image"
