"""Real internal carotid arteries: centrelines of 65 patients, and radius, curvature and torsion of 50 (AneuRisk).

`load` reads the prepared form, `convert` makes it of the originals (which `fetch` downloads and verifies).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgan_lib.cohorts.cache import data_root
from medgan_lib.cohorts.cohort import SPLITS, Cohort, Window, draw
from medgan_lib.cohorts.public.prepared import prepared_files
from medgan_lib.cohorts.simulated.vessels import RADIUS_WINDOW, check_points, packed
from medgan_lib.physics import vessels as geometry

NAME = "carotid_arteries"
PARTS = ("centrelines", "profiles")
FILES = ("centerlines_65.npz", "radius_curvature_torsion_50.npz")
COUNTS = (65, 50)
GROUPS = ("low", "up")  # in the names of the arrays: 25 arteries each
LABELS = ("lower or none", "upper")  # where on the artery the aneurysm is
FEATURES = ("curvature", "torsion", "radius", "radius_der", "wss", "wss_der")
WINDOW = Window(-20.0, 80.0)  # mm, of the centreline
POINTS = 256  # of a prepared centreline
ENDS = (0.7, 0.8)  # where train and val end
FINE = 8  # pieces between two points of a profile while it is integrated


def load(
    split: str, *, size: int | None = None, n: int | None = None, seed: int = 0, part: str = "centrelines"
) -> Cohort:
    """Internal carotid arteries as ``size`` (default 64) equidistant points, in the direction of the blood.

    ``part="centrelines"``: 65 of them. ``x`` (n, 3, size) in [-1, 1] and ``centreline``, the same, −20 to 80 mm; no
    radius was published with them. ``part="profiles"``: 50, of which radius, curvature and torsion are known over the
    last 45 mm but for 3. The tensors are those of `vessels`: ``x`` (n, 4, size), ``centreline`` (n, 3, size) and
    ``radius`` (n, 1, size), 0 to 4 mm, with ``label``, where the aneurysm is, and ``taper``. That centreline is made
    by integrating curvature and torsion, which were aligned between patients, so it is not exactly any patient's (see
    the card).

    Both: ``length`` mm and ``tortuosity`` (n,), measured; the frame is that of `physics.vessels.to_frame`, and
    `vessels.to_mm` gives millimetres. Subjects are patients, and splits are by patient, but **the patients of the two
    parts are the same**, under numbers that do not tell which: never train on one and test on the other.

    ValueError: an unknown part, a size or n it can't have, a file that can't be used; FileNotFoundError: no file.
    Sangalli, Secchi, Vantini, Electron J Stat 8:1879 (2014).
    """
    size = size or 64
    check_points(NAME, size)
    if part not in PARTS:
        raise ValueError(f"unknown part {part!r} of {NAME!r}; there are {', '.join(PARTS)}")
    profiles = part == "profiles"
    files = prepared_files(NAME)
    arrays, file = files[FILES[profiles]], FILES[profiles]
    label = np.repeat(np.arange(len(GROUPS)), COUNTS[1] // 2) if profiles else np.zeros(COUNTS[0], np.int64)
    found = sum(len(arrays[f"radius_{group}"]) for group in GROUPS) if profiles else len(arrays["centerline_mm"])
    if found != len(label):
        raise _unusable(file, f"it holds {found} arteries, not {len(label)}")
    index = draw(NAME, np.flatnonzero(_parts(label) == SPLITS.index(split)), n, seed)
    if profiles:
        line, wide, length = _integrated(arrays, index, file)
        along = torch.linspace(0, 1, line.shape[-1], dtype=torch.float64).expand(len(index), -1)
    else:
        line = torch.from_numpy(arrays["centerline_mm"][index]).double().permute(0, 2, 1)
        if not bool(torch.isfinite(line).all()):
            raise _unusable(file, "it has coordinates that are not finite")
        along = geometry.arc_length(line)
        length, wide = along[:, -1], torch.full((len(index), 1, line.shape[-1]), 2.0, dtype=torch.float64)
    points = geometry.resample(torch.cat([line, wide], 1), along, size)
    tensors = packed(geometry.to_frame(points[:, :3]), points[:, 3:], WINDOW)
    tensors |= {"length": length.float(), "tortuosity": geometry.tortuosity(line).float()}
    units = {"centreline": "mm", "length": "mm", "tortuosity": "1"}
    if profiles:
        tensors |= {"label": torch.from_numpy(label[index]), "taper": (1 - wide[:, 0, -1] / wide[:, 0, 0]).float()}
        units |= {"radius": "mm", "taper": "1"}
    else:
        del tensors["radius"]
        tensors["x"] = tensors["centreline"]
    return Cohort(
        name=NAME,
        tensors=tensors,
        subjects=torch.from_numpy(index),
        units=units,
        window={"centreline": WINDOW} | ({"radius": RADIUS_WINDOW} if profiles else {}),
        origin="real",
        split=split,
        classes={"label": LABELS} if profiles else {},
        note=f"real internal carotid arteries (AneuRisk), {part}, split by patient",
    )


def _parts(label: NDArray) -> NDArray:
    """0, 1, 2 for train, val, test: 70, 10 and 20 % of each label, always the same ones."""
    part, rng = np.empty(len(label), np.int64), np.random.default_rng(65)
    for kind in np.unique(label):
        mine = rng.permutation(np.flatnonzero(label == kind))
        for k, some in enumerate(np.split(mine, [round(end * len(mine)) for end in ENDS])):
            part[some] = k
    return part


def _integrated(arrays: dict[str, NDArray], index: NDArray, file: str) -> tuple[Tensor, Tensor, Tensor]:
    """Centreline (n, 3, p), radius (n, 1, p) and length (n,) in mm of the profiles at ``index``.

    The torsion's sign is turned: with it as published the curves are mirror images of the other part's centrelines.
    """

    def feature(name: str) -> NDArray:
        values = np.concatenate([arrays[f"{name}_{group}"] for group in GROUPS])[index].astype(float)
        if not np.isfinite(values).all():
            raise _unusable(file, f"it has values of {name} that are not finite")
        return values

    along = arrays["abscissa_cm"].astype(float) * 10
    fine = np.linspace(along[0], along[-1], FINE * (len(along) - 1) + 1)
    middle = (fine[1:] + fine[:-1]) / 2

    def on(points: NDArray, values: NDArray) -> Tensor:
        return torch.from_numpy(np.stack([np.interp(points, along, row) for row in values]))

    curvature, torsion = (on(middle, feature(name) / 10) for name in ("curvature", "torsion"))  # from 1/cm
    length = torch.full((len(index),), along[-1] - along[0], dtype=torch.float64)
    return geometry.frenet_serret(curvature, -torsion, length), on(fine, feature("radius") * 10)[:, None], length


def _unusable(file: str, reason: str) -> ValueError:
    path = data_root() / NAME / file
    return ValueError(f"{path} is not usable: {reason}. Delete it and run `make data NAMES={NAME}`.")


def convert(files: Mapping[str, bytes]) -> dict[str, dict[str, NDArray]]:
    """The two files of the prepared form, from "aneurisk65.rda" and "aneurisk.rda".

    The first holds derivatives of centrelines at 1,380 points; they are taken at 256 and integrated from 0 by the
    trapezoidal rule. The second is kept as it is. ValueError: an original that is not as expected.
    """
    first = _read(files, "aneurisk65.rda", "aneurisk65", ("x", "y"))
    along, slope = first["x"], first["y"]
    count = COUNTS[0]
    if np.shape(along) != (count, 1380) or np.shape(slope) != (count, 3, 1380):
        raise ValueError(f"aneurisk65.rda has shapes {np.shape(along)} and {np.shape(slope)}")
    where = np.linspace(along[:, 0], along[:, -1], POINTS, axis=1)
    tangents = np.stack(
        [[np.interp(where[i], along[i], slope[i, k]) for k in range(3)] for i in range(count)]
    ).transpose(0, 2, 1)
    step = np.diff(where, axis=1)[..., None] * (tangents[:, 1:] + tangents[:, :-1]) / 2
    line = np.concatenate([np.zeros((count, 1, 3)), step.cumsum(1)], 1)

    table = _read(files, "aneurisk.rda", "aneurisk", ("variable", "group", "abscissa", "data"))
    rows = list(zip(table["variable"], table["group"], table["abscissa"], table["data"], strict=True))
    if sorted((name, group) for name, group, *_ in rows) != sorted((f, g) for f in FEATURES for g in GROUPS):
        raise ValueError(f"aneurisk.rda does not hold {', '.join(FEATURES)} of two groups")
    profiles = {}
    for name, group, abscissa, columns in rows:
        values = np.stack(list(columns.values()), 1)
        if values.shape != (COUNTS[1] // 2, 512) or not np.array_equal(abscissa, rows[0][2]):
            raise ValueError(f"aneurisk.rda has {values.shape} values of {name}, or not all at the same places")
        profiles[f"{name}_{group}"] = values.astype(np.float32)
    profiles["abscissa_cm"] = rows[0][2].astype(np.float32)
    return {
        FILES[0]: {
            "abscissa_mm": where.astype(np.float32),
            "tangents": tangents.astype(np.float32),
            "centerline_mm": line.astype(np.float32),
        },
        FILES[1]: profiles,
    }


def _read(files: Mapping[str, bytes], file: str, name: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
    """The list ``name`` in one of R's files, which has these ``keys``. Data frames in it come as lists by column."""
    try:
        import rdata
    except ImportError as error:
        raise ValueError(f"{file} is R data, which the package rdata reads: pip install rdata") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it makes no data frames, as asked for by constructor_dict
            found = rdata.read_rda(io.BytesIO(files[file]), constructor_dict={}).get(name)
    except Exception as error:  # its parsers raise anything on what is no R data
        raise ValueError(f"{file} can't be read: no R data, or damaged ({type(error).__name__}: {error})") from error
    if not isinstance(found, Mapping) or not set(keys) <= set(found):
        raise ValueError(f"{file} does not hold {name} with {', '.join(keys)}")
    return found
