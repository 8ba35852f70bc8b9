"""Real OCT: 145 B-scans of one eye with drusen, and 77 B-scans of patients with macular degeneration or macular hole.

`load` reads the prepared form, `convert` makes it of the originals (which `fetch` downloads and verifies).
"""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medgan_lib.cohorts.cache import data_root
from medgan_lib.cohorts.cohort import Cohort, draw
from medgan_lib.cohorts.public.prepared import prepared_files

NAME = "retina_oct"
PARTS = ("volume", "pathological")
FILES = ("volume_145.npz", "pathological_256.npz")
SCANS, SHAPE, FIRST_ROW, ROWS = 145, (496, 512), 137, 192  # of the volume; the rows that are kept
PIXEL = (1.920512 / 496, 5.80352 / 512)  # mm, down and right (OCT_info.txt of the origin)
APART = 4.353 / 145  # mm between neighbouring B-scans
STEP, LEAST = 8, 32  # of the size
SPLIT = {"train": (1, 90), "val": (96, 110), "test": (116, 145)}  # numbers of B-scans; five between are left out
KINDS = ("amd", "mh")
LABELS = ("macular degeneration", "macular hole")
NATIVE = 256
FOLDERS = tuple(
    f"{aug}/nnunet_{kind}_{aug}/images{part}"
    for aug in ("no_aug", "with_aug")
    for kind in KINDS
    for part in ("Tr", "Ts")
)
NAMES = re.compile(r"(?:AMD_|case)\d{4}_0000\.nii\.gz")


def load(split: str, *, size: int | None = None, n: int | None = None, seed: int = 0, part: str = "volume") -> Cohort:
    """B-scans: ``x`` float32 (n, 1, size, size) in [-1, 1], 8-bit grey 0-255, brighter where more light came back.

    ``part="volume"``: 145 B-scans of **one** eye, 0.03 mm apart, of 0.74 mm depth and 5.8 mm width whatever the
    ``size`` (default 64): pixels are not square. ``scan`` int64 (n,), its number. train is 1 to 90, val 96 to 110,
    test 116 to 145: parts of one retina, no more. ``part="pathological"``: of other eyes, by other scanners,
    ``label`` int64 (n,). These are for test alone: there is no telling who is in which, and several are rotated
    copies of others.

    Subjects are B-scans, **neither eyes nor patients**. ValueError: an unknown part, train or val of the second, a
    size or n it can't have (a multiple of 8 from 32 to 192 or 256), a file that can't be used; FileNotFoundError: no
    file. Wintergerst et al., Sci Rep 10:7395 (2020); Kulyabin et al., Sci Data 11:365 (2024).
    """
    if part not in PARTS:
        raise ValueError(f"unknown part {part!r} of {NAME!r}; there are {', '.join(PARTS)}")
    volume, size = part == "volume", size or 64
    most = ROWS if volume else NATIVE
    if size % STEP or not LEAST <= size <= most:
        raise ValueError(
            f"size of the {part} of {NAME!r} must be a multiple of {STEP} from {LEAST} to {most}, it is {size}"
        )
    if not volume and split != "test":
        raise ValueError(
            f"the pathological part of {NAME!r} has no {split!r}, only 'test': who is in which scan is unknown"
        )
    file = FILES[not volume]
    arrays = prepared_files(NAME)[file]
    images = arrays["images"]
    if volume:
        if len(images) != SCANS:
            raise _unusable(file, f"it holds {len(images)} B-scans, not {SCANS}")
        first, last = SPLIT[split]
        index = draw(NAME, np.arange(first - 1, last), n, seed)
        more = {"scan": torch.from_numpy(index + 1)}
        spacing = (PIXEL[0] * ROWS / size, PIXEL[1] * SHAPE[1] / size)
        note = "real OCT B-scans of one eye with drusen"
    else:
        if len({len(array) for array in arrays.values()}) > 1:
            raise _unusable(file, "images, names and kind are not equally many")
        if unknown := set(arrays["kind"].tolist()).difference(KINDS):
            raise _unusable(file, f"it has kinds {sorted(unknown)}, there are {', '.join(KINDS)}")
        index = draw(NAME, np.arange(len(images)), n, seed)
        more = {"label": torch.tensor([KINDS.index(kind) for kind in arrays["kind"][index].tolist()])}
        spacing = None
        note = "real OCT B-scans with macular degeneration or macular hole, of several scanners"
    x = torch.from_numpy(images[index])[:, None].float() / 127.5 - 1
    if x.shape[2:] != (size, size):
        x = torch.nn.functional.interpolate(x, (size, size), mode="bilinear", antialias=True).clamp(-1, 1)
    return Cohort(
        name=NAME,
        tensors={"x": x, **more},
        subjects=torch.from_numpy(index + (0 if volume else SCANS)),
        units={"x": "8-bit grey"},
        window={"x": (0.0, 255.0)},
        origin="real",
        split=split,
        spacing=spacing,
        classes={} if volume else {"label": LABELS},
        note=note,
    )


def _unusable(file: str, reason: str) -> ValueError:
    path = data_root() / NAME / file
    return ValueError(f"{path} is not usable: {reason}. Delete it and run `make data NAMES={NAME}`.")


def convert(files: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """The two files of the prepared form, from "1-Input.tif" … and "no_aug/…/imagesTr/AMD_0129_0000.nii.gz" ….

    Of the volume 192 rows are kept, which hold the retina. The others are stretched to 0-255 each, put upright,
    resampled to 256 x 256 (Lanczos), and taken once of every pixel-for-pixel copy. ValueError: an original that is
    not as expected.
    """
    scans = [_decode(files[f"{k}-Input.tif"], f"{k}-Input.tif") for k in range(1, SCANS + 1)]
    images, names, seen = [], [], set()
    for path in sorted((p for p in files if p.endswith(".nii.gz")), key=lambda p: (p.split("/")[-1], p)):
        if len(files[path]) < 100:  # some are one byte, to hold a place
            continue
        image = _upright(files[path], path)
        if image.tobytes() not in seen:
            seen.add(image.tobytes())
            images.append(image)
            names.append(path.split("/")[-1])
    return {
        FILES[0]: {
            "images": np.stack(scans)[:, FIRST_ROW : FIRST_ROW + ROWS],
            "row_offset": np.array(FIRST_ROW, np.int64),
        },
        FILES[1]: {
            "images": np.stack(images),
            "names": np.array(names, "<U20"),
            "kind": np.array(["amd" if name.startswith("AMD") else "mh" for name in names], "<U3"),
        },
    }


def _decode(data: bytes, name: str) -> NDArray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
            if image.mode != "RGB" or image.size != SHAPE[::-1]:
                raise ValueError(f"{name} is {image.mode} {image.size}, not RGB {SHAPE[::-1]}")
            return np.asarray(image)[..., 0]  # the three channels are the same
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{name} can't be read as a TIFF ({error})") from error


def _upright(data: bytes, name: str) -> NDArray:
    import nibabel
    from PIL import Image

    try:
        with gzip.open(io.BytesIO(data)) as file:
            volume = nibabel.Nifti1Image.from_bytes(file.read(30_000_000))
        values = np.asarray(volume.dataobj, np.float32)
    except (OSError, EOFError, ValueError, nibabel.spatialimages.HeaderDataError) as error:
        raise ValueError(f"{name} can't be read as NIfTI ({error})") from error
    if values.ndim == 3 and values.shape[0] == 3:
        values = np.moveaxis(values, 0, -1)
    if values.ndim != 3 or values.shape[0] != values.shape[1] or values.shape[0] not in (NATIVE, 2 * NATIVE):
        raise ValueError(f"{name} has shape {values.shape}, not three channels of 256 or 512 pixels an edge")
    grey = values[..., 0].T  # the first axis of NIfTI is to the right
    low, high = float(grey.min()), float(grey.max())
    if not high > low:
        raise ValueError(f"{name} is empty")
    image = Image.fromarray(np.ascontiguousarray((grey - low) / (high - low) * 255).astype(np.uint8))
    return np.asarray(image.resize((NATIVE, NATIVE), Image.Resampling.LANCZOS))
