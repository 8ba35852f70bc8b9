"""Real colon tissue (H&E) with every gland outlined: the GlaS challenge, 165 images of 16 patients.

`load` reads the prepared form, `convert` makes it of the originals (which `fetch` downloads and verifies).
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from medgan_lib.cohorts.cache import data_root
from medgan_lib.cohorts.cohort import Cohort, draw
from medgan_lib.cohorts.public.prepared import prepared_files

NAME = "glands"
HEIGHT, WIDTH = 176, 256  # pixels
STEP = 11  # 176 = 16 x 11 and 256 = 16 x 16: heights at which the width is whole
PARTS = {"train": 85, "testA": 60, "testB": 20}  # images of each part of the challenge
LABELS = ("benign", "malignant")
GRADES = {  # as the table writes them, and in letters
    "healthy": "healthy",
    "adenomatous": "adenomatous",
    "moderately differentiated": "moderately differentiated",
    "moderately-to-poorly differentated": "moderately-to-poorly differentiated",
    "poorly differentiated": "poorly differentiated",
}
COLUMNS = ("patient ID", "grade (GlaS)", "grade (Sirinukunwattana et al. 2015)")
# Of the 16 patients; the others are in train. Benign and malignant images are in each part, all grades in train and
# test.
PATIENTS = {"val": (4, 13, 15), "test": (7, 9, 11)}


class Image(NamedTuple):
    """What the table says of an image."""

    patient: int
    label: int
    grade: int


def load(split: str, *, size: int | None = None, n: int | None = None, seed: int = 0, official: bool = False) -> Cohort:
    """Colon tissue: ``x`` float32 (n, 3, 176, 256) in [-1, 1], RGB 0-255, with the outlines of all its glands.

    ``mask`` int64 (n, 1, 176, 256): 0 tissue between, 1 gland. ``instance``, of the same shape and type: 0, and every
    gland of an image another number from 1. ``label`` int64 (n,): benign or malignant; ``grade``: five of them.
    ``size`` is the height: 176, or a multiple of 11 below it, from 44; the width is 16/11 of it (88 x 128, 44 x 64).
    Images are resampled with antialiasing, masks take the nearest pixel.

    Subjects are patients and the splits are by patient. ``official`` gives those of the challenge instead, **which are
    not**: 11 of the 16 patients are in its training and test images. "test" is then test A and B, "val" every fifth
    training image.

    ValueError: a size or n it can't have, a file that can't be used; FileNotFoundError: no file.
    Sirinukunwattana et al., Med Image Anal 35 (2017).
    """
    size = size or HEIGHT
    if not 4 * STEP <= size <= HEIGHT or size % STEP:
        raise ValueError(
            f"size of {NAME!r} is the height, which must be a multiple of {STEP} from {4 * STEP} to {HEIGHT} "
            f"(the width is 16/11 of it), it is {size}"
        )
    images, instances, names, about = _read()
    part = _official_split if official else _split
    index = draw(NAME, np.flatnonzero([part(name, about[name]) == split for name in names]), n, seed)
    x = torch.from_numpy(images[index]).permute(0, 3, 1, 2).float() / 127.5 - 1
    instance = torch.from_numpy(instances[index])[:, None]
    if size != HEIGHT:
        shape = (size, size * WIDTH // HEIGHT)
        x = torch.nn.functional.interpolate(x, shape, mode="bilinear", antialias=True).clamp(-1, 1)
        instance = torch.nn.functional.interpolate(instance, shape, mode="nearest-exact")
    drawn = [about[names[k]] for k in index]
    return Cohort(
        name=NAME,
        tensors={
            "x": x.contiguous(),
            "mask": (instance > 0).long(),
            "instance": instance.long(),
            "label": torch.tensor([image.label for image in drawn]),
            "grade": torch.tensor([image.grade for image in drawn]),
        },
        subjects=torch.tensor([image.patient for image in drawn]),
        units={"x": "8-bit RGB"},
        window={"x": (0.0, 255.0)},
        origin="real",
        split=split,
        classes={"mask": ("between", "gland"), "label": LABELS, "grade": tuple(GRADES.values())},
        note=f"real colon glands (GlaS), {'split of the challenge, not' if official else 'split'} by patient",
    )


def _split(name: str, image: Image) -> str:
    return next((split for split, patients in PATIENTS.items() if image.patient in patients), "train")


def _official_split(name: str, image: Image) -> str:
    part, number = name.split("_")
    if part != "train":
        return "test"
    return "val" if int(number) % 5 == 0 else "train"


def _read() -> tuple[NDArray, NDArray, list[str], dict[str, Image]]:
    """(images uint8 (n, 176, 256, 3), instances uint8 (n, 176, 256), the name of each, the table)."""
    files = prepared_files(NAME)
    about = _table(files["grades.csv"])
    arrays = files[f"{NAME}.npz"]
    names = arrays["names"].tolist()
    if len({len(array) for array in arrays.values()}) > 1:
        raise _unusable(f"{NAME}.npz", "images, gland_instances and names are not equally many")
    if unknown := set(names).difference(about):
        raise _unusable(f"{NAME}.npz", f"it names images that are not in the table: {sorted(unknown)[:3]!r}")
    return arrays["images"], arrays["gland_instances"], names, about


def _table(rows: list[dict[str, str]]) -> dict[str, Image]:
    found = {}
    for row in rows:
        patient, label, grade = (row[column] for column in COLUMNS)
        if not re.fullmatch(r"\d{1,3}", patient) or label not in LABELS or grade not in GRADES:
            raise _unusable("grades.csv", f"it says of {row['name']!r}: patient {patient!r}, {label!r}, {grade!r}")
        found[row["name"]] = Image(int(patient), LABELS.index(label), list(GRADES).index(grade))
    return found


def _unusable(file: str, reason: str) -> ValueError:
    path = data_root() / NAME / file
    return ValueError(f"{path} is not usable: {reason}. Delete it and run `make data NAMES={NAME}`.")


def names() -> list[str]:
    """Every image of the challenge, in the order of the prepared form."""
    return sorted(f"{part}_{k}" for part, count in PARTS.items() for k in range(1, count + 1))


def convert(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The two files of the prepared form, from "train_1.bmp", "train_1_anno.bmp", … and "Grade.csv".

    Images are resampled to 256 x 176 (Lanczos), gland numbers by the nearest pixel; both give up the aspect ratio,
    which differs between images. ValueError: an original that is not as expected.
    """
    listed = names()
    images = [_decode(files[f"{name}.bmp"], f"{name}.bmp", "RGB") for name in listed]
    instances = [_decode(files[f"{name}_anno.bmp"], f"{name}_anno.bmp", "L") for name in listed]
    return {
        f"{NAME}.npz": {
            "images": np.stack(images),
            "gland_instances": np.stack(instances),
            "names": np.array(listed, "<U8"),
        },
        "grades.csv": files["Grade.csv"],
    }


def _decode(data: bytes, name: str, mode: str) -> NDArray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["BMP"]) as image:
            if image.mode != mode or not all(400 <= edge <= 800 for edge in image.size):
                raise ValueError(f"{name} is {image.mode} {image.size}, not {mode} of 400 to 800 pixels")
            resample = Image.Resampling.LANCZOS if mode == "RGB" else Image.Resampling.NEAREST
            return np.asarray(image.resize((WIDTH, HEIGHT), resample))
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{name} can't be read as a BMP ({error})") from error
