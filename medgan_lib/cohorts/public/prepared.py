"""Real data sets, read from their prepared form ``<root>/<name>/<name>.npz``.

``data/registry.yml`` says which arrays a prepared file has; the copy on a machine may hold all items or only some. It
is checked against the registry before anything large is read, so a damaged or hostile file costs neither memory nor
a code execution.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np

from medgan_lib.cohorts.cache import data_root
from medgan_lib.cohorts.registry import entry
from medgan_lib.files import npz

_LONGEST_TABLE = 100_000  # bytes, more than any csv file here


def prepared(name: str) -> dict[str, np.ndarray]:
    """The arrays of a prepared data set. FileNotFoundError where it is missing, ValueError where it can't be used."""
    about, path = entry(name), data_root() / name / f"{name}.npz"
    if not path.is_file():
        raise FileNotFoundError(
            f"the real data set {name!r} is not at {path}. Get it by `make data NAMES={name}` "
            f"(download of {about['download_mb']} MB), or set MEDGAN_DATA to the folder that holds it; without it, "
            f"use the embedded cohort {about['embedded']!r}."
        )
    return read_npz(path, about["arrays"], remedy=f"Delete it and run `make data NAMES={name}`.")


def prepared_files(name: str) -> dict[str, Any]:
    """Every file of a data set that is prepared as several: arrays by name of an npz, rows (dicts) of a csv.

    FileNotFoundError where one is missing, ValueError where one can't be used.
    """
    about, folder, files = entry(name), data_root() / name, layout(name)
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        raise FileNotFoundError(
            f"the real data set {name!r} is not in {folder} ({missing[0]} is missing). Get it by "
            f"`make data NAMES={name}` (download of {about['download_mb']} MB), or set MEDGAN_DATA to the folder that "
            f"holds it; without it, use the embedded cohort {about['embedded']!r}."
        )
    remedy = f"Delete it and run `make data NAMES={name}`."
    return {file: read_file(folder / file, expected, remedy) for file, expected in files.items()}


def layout(name: str) -> dict[str, Any]:
    """The files of the prepared form and what is expected in each: arrays of an npz, the columns of a csv."""
    about = entry(name)
    several = all(key.endswith(".npz") for key in about["arrays"])
    return (about["arrays"] if several else {f"{name}.npz": about["arrays"]}) | about.get("tables", {})


def read_file(path: Path, expected: Any, remedy: str) -> Any:
    """A csv by `read_csv`, or an npz by `read_npz`, of which arrays called <any>_train belong together, and so on."""
    if not isinstance(expected, dict):
        return read_csv(path, expected, remedy)
    parts: dict[str, dict[str, Any]] = {}
    for key, spec in expected.items():
        parts.setdefault(re.match(r"(\w+_)?(train|val|test)(?=_|$)|", key)[0], {})[key] = spec
    return {key: array for part in parts.values() for key, array in read_npz(path, part, remedy).items()}


def read_csv(path: Path, columns: list[str], remedy: str) -> list[dict[str, str]]:
    """The rows of a small csv file in UTF-8 that has these ``columns``, without the spaces around its cells.

    ValueError: "<file> is not usable: <reason>. <remedy>"
    """
    try:
        if path.stat().st_size > _LONGEST_TABLE:
            raise ValueError(f"it is larger than {_LONGEST_TABLE} bytes")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        head, *rows = [[cell.strip() for cell in row] for row in csv.reader(lines) if row] or [[]]
        if head != columns:
            raise ValueError(f"its columns are {head}, expected {columns}")
        if any(len(row) != len(columns) for row in rows):
            raise ValueError("its rows have different numbers of cells")
        return [dict(zip(columns, row, strict=True)) for row in rows]
    except OSError as error:
        reason = f"it can't be read ({error})"
    except UnicodeDecodeError:
        reason = "it is not text in UTF-8"
    except (ValueError, csv.Error) as error:
        reason = str(error)
    raise ValueError(f"{path} is not usable: {reason}. {remedy}")


def read_npz(path: Path, expected: dict[str, dict[str, Any]], remedy: str) -> dict[str, np.ndarray]:
    """The ``expected`` arrays of an npz file, each {dtype, shape, max?}; a shape's first number is the most items.

    Sizes, types and shapes that the file declares are compared with what is expected before any array is read, and no
    more is read than was declared: no pickles, no zip bombs. Arrays called ``part_*`` must have equally many items.
    ValueError: "<file> is not usable: <reason>. <remedy>"
    """
    try:
        with npz.opened(path) as archive:
            arrays = {key: _read_array(archive, key, **spec) for key, spec in expected.items()}
        lengths: dict[str, set[int]] = {}
        for key, array in arrays.items():
            lengths.setdefault(key.split("_")[0], set()).add(len(array))
        for part, found in lengths.items():
            if len(found) > 1:
                raise ValueError(f"its arrays {part}_* have different numbers of items: {sorted(found)}")
        return arrays
    except OSError as error:
        reason = f"it can't be read ({error})"
    except ValueError as error:
        reason = str(error)
    raise ValueError(f"{path} is not usable: {reason}. {remedy}")


def _read_array(archive: ZipFile, key: str, dtype: str, shape: list[int], max: int | None = None) -> np.ndarray:
    def check(found: tuple[int, ...], kind: np.dtype) -> None:
        if kind != np.dtype(dtype):
            raise ValueError(f"its array {key!r} has type {kind}, expected {np.dtype(dtype)}")
        if len(found) != len(shape) or list(found[1:]) != list(shape[1:]) or not 1 <= found[0] <= shape[0]:
            raise ValueError(
                f"its array {key!r} has shape {found}, expected {tuple(shape)} with at most that many items"
            )

    array = npz.array(archive, key, check)
    if max is not None and not 0 <= array.min() <= array.max() <= max:
        raise ValueError(f"its array {key!r} has values outside 0..{max}")
    return np.array(array)  # writable, and in C order
