"""Folders brought up to date file by file, so that whoever reads in one never meets a half-written page."""

import filecmp
import os
import shutil
from collections.abc import Iterable
from pathlib import Path


def sync(new: Path, old: Path, leave_out: Iterable[str] = ()) -> bool:
    """Make ``old`` hold what ``new`` holds, less the folders ``leave_out``; whether anything had to change.

    Files that are equal stay as they are, with their times. Any other takes the place of the earlier one at once; pages
    follow after what they show, and what is gone goes last.
    """
    wanted = {path for path in _files(new) if not any(path.is_relative_to(folder) for folder in leave_out)}
    changed = [path for path in wanted
               if not (old / path).is_file() or not filecmp.cmp(new / path, old / path, shallow=False)]
    for path in sorted(changed, key=lambda path: (path.suffix == ".html", path)):
        target = old / path
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        shutil.copyfile(new / path, part)
        os.replace(part, target)
    gone = _files(old) - wanted
    for path in gone:
        (old / path).unlink()
    for folder in sorted((path for path in old.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
    return bool(changed or gone)


def _files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
