"""Real fundus photographs with every vessel outlined: DRIVE, 20 for training and 20 for test.

`load` reads the prepared form, `convert` makes it of the originals (which `fetch` downloads and verifies).
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from medgan_lib.cohorts.cache import data_root
from medgan_lib.cohorts.cohort import Cohort, draw
from medgan_lib.cohorts.public.prepared import prepared_files

NAME = "retina_vessels"
FILES = {"train": "drive_train.npz", "val": "drive_train.npz", "test": "drive_test.npz"}
IDS = {"train": range(21, 37), "val": range(37, 41), "test": range(1, 21)}
HEIGHT, WIDTH = 584, 565
STEP, LEAST = 16, 64  # of the size
MOST = {False: 576, True: 288}  # of the green channel, and of colour, which is prepared at half the resolution


def load(split: str, *, size: int | None = None, n: int | None = None, seed: int = 0, colour: bool = False) -> Cohort:
    """Fundus photographs: ``x`` float32 (n, 1, size, size) in [-1, 1], the green channel, 0-255, default size 256.

    ``mask`` int64, same shape: 1 in a vessel (first observer), at the nearest pixel. ``share`` float32, same shape, 0
    to 1: how much of a pixel vessels fill, so that those thinner than it are kept. ``colour`` gives RGB (n, 3, size,
    size), up to 288 pixels. Photographs are made square by black columns, then resampled with antialiasing.

    The splits are DRIVE's; val is 4 of its 20 training images. Subjects are images.

    ValueError: a size that is no multiple of 16 from 64 to 576 (288 in colour), an n it can't have, a file that can't
    be used; FileNotFoundError: no file. Staal et al., IEEE Trans Med Imaging 23:501 (2004).
    """
    if not isinstance(colour, bool):
        raise ValueError(f"colour of {NAME!r} is True or False, it is {colour!r}")
    size, most = size or 256, MOST[colour]
    if size % STEP or not LEAST <= size <= most:
        what = "in colour " if colour else ""
        raise ValueError(f"size of {NAME!r} {what}must be a multiple of {STEP} from {LEAST} to {most}, it is {size}")
    arrays, file = prepared_files(NAME)[FILES[split]], FILES[split]
    if len({len(array) for array in arrays.values()}) > 1:
        raise _unusable(file, "green, rgb_half, vessels and ids are not equally many")
    known = {f"{k:02d}" for part, ids in IDS.items() if FILES[part] == file for k in ids}
    if unknown := set(arrays["ids"].tolist()).difference(known):
        raise _unusable(file, f"it has images {sorted(unknown)[:3]}, which are not of this part")
    mine = [k for k, name in enumerate(arrays["ids"].tolist()) if int(name) in IDS[split]]
    index = draw(NAME, np.array(mine, np.int64), n, seed)
    photograph = arrays["rgb_half"][index] if colour else arrays["green"][index][..., None]
    x = _square(torch.from_numpy(photograph).permute(0, 3, 1, 2).float())
    vessels = _square(torch.from_numpy(arrays["vessels"][index])[:, None].float())

    def resized(image: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate(image, (size, size), mode="bilinear", antialias=True)

    return Cohort(
        name=NAME,
        tensors={
            "x": (resized(x) / 127.5 - 1).clamp(-1, 1),
            "mask": torch.nn.functional.interpolate(vessels, (size, size), mode="nearest-exact").long(),
            "share": (2 * resized(vessels) - 1).clamp(-1, 1),
        },
        subjects=torch.tensor([int(name) for name in arrays["ids"][index].tolist()]),
        units={"x": "8-bit RGB" if colour else "8-bit green", "share": "1"},
        window={"x": (0.0, 255.0), "share": (0.0, 1.0)},
        origin="real",
        split=split,
        classes={"mask": ("background", "vessel")},
        note=f"real fundus photographs (DRIVE), {'colour' if colour else 'green channel'}",
    )


def _square(image: torch.Tensor) -> torch.Tensor:
    missing = image.shape[2] - image.shape[3]
    return torch.nn.functional.pad(image, (missing // 2, missing - missing // 2))


def _unusable(file: str, reason: str) -> ValueError:
    path = data_root() / NAME / file
    return ValueError(f"{path} is not usable: {reason}. Delete it and run `make data NAMES={NAME}`.")


def originals() -> dict[str, list[tuple[str, str, str]]]:
    """(id, photograph, outlines) of every image of the two files, by their path below DRIVE/datasets."""
    return {
        part: [(k, f"{folder}/images/{k}_{end}.tif", f"{folder}/1st_manual/{k}_manual1.gif") for k in ids]
        for part, folder, end, ids in (
            ("train", "training", "training", [str(k) for k in range(21, 41)]),
            ("test", "testing", "test", [f"{k:02d}" for k in range(1, 21)]),
        )
    }


def convert(files: Mapping[str, bytes]) -> dict[str, dict[str, NDArray]]:
    """The two files of the prepared form, from "training/images/21_training.tif", "…/1st_manual/21_manual1.gif", ….

    Colour is resampled to 282 x 292 (Lanczos), the rest is kept. ValueError: an original that is not as expected.
    """
    from PIL import Image

    made = {}
    for part, listed in originals().items():
        photographs = [_decode(files[path], path, "TIFF", "RGB") for _, path, _ in listed]
        half = [image.resize((WIDTH // 2, HEIGHT // 2), Image.Resampling.LANCZOS) for image in photographs]
        vessels = [np.asarray(_decode(files[path], path, "GIF", "L")) for *_, path in listed]
        for image, (*_, path) in zip(vessels, listed, strict=True):
            if set(np.unique(image).tolist()) - {0, 255}:
                raise ValueError(f"{path} has other values than 0 and 255")
        made[FILES[part]] = {
            "green": np.stack([np.asarray(image)[..., 1] for image in photographs]),
            "rgb_half": np.stack([np.asarray(image) for image in half]),
            "vessels": np.stack(vessels) > 0,
            "ids": np.array([name for name, *_ in listed], "<U2"),
        }
    return made


def _decode(data: bytes, name: str, kind: str, mode: str):
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            if image.size != (WIDTH, HEIGHT):
                raise ValueError(f"{name} has {image.size} pixels, not {(WIDTH, HEIGHT)}")
            return image.convert(mode)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{name} can't be read as {kind} ({error})") from error
