"""Real white blood cells of two sites (other stain, other camera), with nucleus and cytoplasm outlined by experts.

`load` reads the prepared form, `convert` makes it of the originals (which `fetch` downloads and verifies).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgan_lib.cohorts.cache import data_root
from medgan_lib.cohorts.cohort import SPLITS, Cohort, draw
from medgan_lib.cohorts.public.prepared import prepared_files

NAME = "blood_cells"
SITES = ("Tecom", "CellaVision")  # number 1 and 2 of the origin
COUNT = (300, 100)  # images of a site
ORIGINAL, NATIVE = (range(88, 121), range(300, 301)), (120, 128)  # their pixels, at the origin and prepared
COLUMNS = ("class label", "class")  # what a site's table calls the class
CLASSES = ("neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil")
TISSUE = ("background", "cytoplasm", "nucleus")
GREY = (0, 128, 255)  # of `TISSUE` in the masks at the origin
SPECK = 50  # greys up to this are background: five masks have specks of them
ENDS = (0.6, 0.75)  # where train and val end among the images of a class
SAME = {("Tecom", 139): 112}  # one cell that is there twice, outlined anew


def load(
    split: str,
    *,
    size: int | None = None,
    n: int | None = None,
    seed: int = 0,
    sites: tuple[str, ...] | list[str] | str = SITES,
) -> Cohort:
    """White blood cells: ``x`` float32 (n, 3, size, size) in [-1, 1], RGB 0-255, with their outlines and classes.

    ``mask`` int64 (n, 1, size, size): 0 background (red cells, too), 1 cytoplasm, 2 nucleus. ``label`` int64 (n,): the
    kind of cell, **not checked by experts**. ``site`` int64 (n,): "Tecom" (300 cells) or "CellaVision" (100), as
    different as stain, camera and magnification make them; ``sites`` chooses. ``size`` is 120 or smaller, from 8:
    images are resampled with antialiasing, masks take the nearest pixel.

    Patients are not recorded, subjects are cells. Images with neighbouring numbers are alike, so every class of a site
    is divided in the order of its numbers: the first 60 % are train, the last 25 % test.

    ValueError: unknown site, a size or n it can't have, a file that can't be used; FileNotFoundError: no file.
    Zheng, Wang, Wang, Liu, Micron 107 (2018).
    """
    names, most = _names(sites), min(NATIVE)
    size = size or most
    if not 8 <= size <= most:
        raise ValueError(f"{NAME!r} images are {most} x {most}: size must be from 8 to {most}, it is {size}")
    files = prepared_files(NAME)
    found = {name: _site(files, name) for name in names}
    items = [
        (name, row)
        for name, (_, _, number, _, part) in found.items()
        for row in np.flatnonzero(part[number - 1] == SPLITS.index(split))
    ]
    items = [items[k] for k in draw(NAME, np.arange(len(items)), n, seed)]
    drawn = [[array[row] for array in found[name][:3]] for name, row in items]
    numbers = [int(number) for _, _, number in drawn]
    pairs = [_resize(image, mask, size) for image, mask, _ in drawn]
    cells = [
        sum(COUNT[: SITES.index(name)]) + SAME.get((name, number), number) - 1
        for (name, _), number in zip(items, numbers, strict=True)
    ]
    return Cohort(
        name=NAME,
        tensors={
            "x": torch.cat([x for x, _ in pairs]),
            "mask": torch.cat([mask for _, mask in pairs]),
            "label": torch.tensor([int(found[name][3][k - 1]) for (name, _), k in zip(items, numbers, strict=True)]),
            "site": torch.tensor([SITES.index(name) for name, _ in items]),
        },
        subjects=torch.tensor(cells),
        units={"x": "8-bit RGB"},
        window={"x": (0.0, 255.0)},
        origin="real",
        split=split,
        classes={"mask": TISSUE, "label": CLASSES, "site": SITES},
        note=f"real white blood cells, {' and '.join(names)}, patients not recorded",
    )


def _names(sites: tuple[str, ...] | list[str] | str) -> tuple[str, ...]:
    names = (sites,) if isinstance(sites, str) else tuple(sites)
    unknown = [name for name in names if name not in SITES]
    if unknown or not names or len(set(names)) < len(names):
        what = f"unknown site {unknown[0]!r}" if unknown else f"sites are {names!r}"
        raise ValueError(f"{NAME}: {what}; give one or both, each once, of {', '.join(SITES)}")
    return names


def _site(files: dict[str, Any], name: str) -> tuple[NDArray, NDArray, NDArray, NDArray, NDArray]:
    """images, masks and numbers (from 1) of what the file holds; class and split of all images of the site, by number.

    A copy may hold fewer images, the table always has all: so a copy doesn't change who is in which split.
    """
    site = SITES.index(name)
    array_file, table = f"site{site + 1}.npz", f"site{site + 1}_classes.csv"
    arrays, rows = files[array_file], files[table]
    count, known = COUNT[site], [str(k) for k in range(1, len(CLASSES) + 1)]
    if [row["image ID"] for row in rows] != [str(k + 1) for k in range(count)]:
        raise _unusable(table, f"its image IDs are not 1 to {count}")
    if unknown := {row[COLUMNS[site]] for row in rows}.difference(known):
        raise _unusable(table, f"it has classes {sorted(unknown)}, there are {', '.join(known)}")
    label = np.array([int(row[COLUMNS[site]]) - 1 for row in rows])
    numbered = {f"{k + 1:03d}": k + 1 for k in range(count)}
    if len({len(array) for array in arrays.values()}) > 1:
        raise _unusable(array_file, "images, masks and names are not equally many")
    if unknown := set(arrays["names"].tolist()).difference(numbered):
        raise _unusable(array_file, f"it names images that this data set does not have: {sorted(unknown)[:3]!r}")
    part = np.empty(count, np.int64)
    for kind in np.unique(label):
        mine = np.flatnonzero(label == kind)
        ends = [round(end * len(mine)) for end in ENDS]
        for k, numbers in enumerate(np.split(mine, ends)):
            part[numbers] = k
    for (where, number), twin in SAME.items():
        if where == name:
            part[number - 1] = part[twin - 1]
    return arrays["images"], arrays["masks"], np.array([numbered[k] for k in arrays["names"].tolist()]), label, part


def _unusable(file: str, reason: str) -> ValueError:
    path = data_root() / NAME / file
    return ValueError(f"{path} is not usable: {reason}. Delete it and run `make data NAMES={NAME}`.")


def _resize(image: NDArray, mask: NDArray, size: int) -> tuple[Tensor, Tensor]:
    """(1, 3, size, size) in [-1, 1] and (1, 1, size, size) int64 of one image (h, w, 3) and its mask (h, w)."""
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    classes = torch.from_numpy(mask)[None, None]
    if x.shape[-1] != size:
        x = torch.nn.functional.interpolate(x, (size, size), mode="bilinear", antialias=True).clamp(-1, 1)
        classes = torch.nn.functional.interpolate(classes, (size, size), mode="nearest-exact")
    return x, classes.long()


def convert(files: Mapping[str, bytes]) -> dict[str, dict[str, NDArray] | bytes]:
    """The four files of the prepared form, from images and masks ("Dataset 1/001.bmp", ".png") and the tables.

    Images are resampled to 120 x 120 and 128 x 128 (Lanczos), masks by the nearest pixel; a quarter of the first site's
    are a little smaller, and not all square. Black, grey and white of a mask become 0, 1 and 2. ValueError: a mask with
    another grey, a file that can't be read.
    """
    made: dict[str, dict[str, NDArray] | bytes] = {}
    for site, (count, sizes, native) in enumerate(zip(COUNT, ORIGINAL, NATIVE, strict=True), start=1):
        names = [f"{k:03d}" for k in range(1, count + 1)]
        images, masks = [], []
        for name in names:
            image, mask = f"Dataset {site}/{name}.bmp", f"Dataset {site}/{name}.png"
            images.append(_decode(files[image], image, "BMP", "RGB", sizes, native))
            masks.append(_classes(_decode(files[mask], mask, "PNG", "L", sizes, native), mask))
        made[f"site{site}.npz"] = {
            "images": np.stack(images),
            "masks": np.stack(masks),
            "names": np.array(names, "<U3"),
        }
        made[f"site{site}_classes.csv"] = files[f"Class Labels of Dataset {site}.csv"]
    return made


def _classes(mask: NDArray, name: str) -> NDArray:
    """0, 1, 2 for the three values of `GREY`."""
    mask = np.where(mask <= SPECK, 0, mask)
    if unknown := set(np.unique(mask).tolist()).difference(GREY):
        raise ValueError(f"mask {name} has the values {sorted(unknown)[:5]}, it may only have {GREY}")
    return np.searchsorted(GREY, mask).astype(np.uint8)


def _decode(data: bytes, name: str, kind: str, mode: str, sizes: range, native: int) -> NDArray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            if image.mode != mode or not all(edge in sizes for edge in image.size):
                raise ValueError(f"{name} is {image.mode} {image.size}, not {mode} of {sizes[0]} to {sizes[-1]} pixels")
            resample = Image.Resampling.LANCZOS if mode == "RGB" else Image.Resampling.NEAREST
            return np.asarray(image.resize((native, native), resample))
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{name} can't be read as {kind} ({error})") from error
