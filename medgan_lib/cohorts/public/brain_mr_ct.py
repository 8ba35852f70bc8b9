"""Real axial slices of the head of two modalities that don't belong together: CT of some people, MR of others.

`load` reads the prepared form, `convert` makes it of the originals (which `fetch` downloads and verifies). For
development: the licence of the MR images is not known, so no page with them is published (`registry.yml`: publish).
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from medgan_lib.cohorts.cache import data_root
from medgan_lib.cohorts.cohort import Cohort, draw
from medgan_lib.cohorts.public.prepared import prepared, read_npz
from medgan_lib.cohorts.registry import entry

NAME = "brain_mr_ct"
NATIVE = 128  # pixels
DOMAINS = {"mr": "MR", "ct": "CT"}
UNITS = {"mr": "8-bit grey, MR of mixed contrast", "ct": "8-bit grey, CT in a display window (no HU)"}
PREFIXES = {"mr": "mri", "ct": "ct"}  # of the file names
FOLDERS = {"mr": "B", "ct": "A"}  # trainA, testA, trainB, testB
LARGEST = 4096  # pixels along an axis of an original


def load(split: str, *, size: int | None = None, n: int | None = None, seed: int = 0, domain: str = "mr") -> Cohort:
    """Slices of one ``domain``, "mr" or "ct": ``x`` float32 (n, 1, size, size) in [-1, 1], which is grey 0 to 255.

    The two domains are of different people: no pairs. ``size`` is 128 or smaller, from 8: then resampled with
    antialiasing at the same field of view (unknown, and different from image to image). "test" is the original's; of
    its training images those whose number in the file name ends with 7 are "val". Subjects are images, **not
    patients**:
    slices of one patient may be in two splits. MR is T1, T2, FLAIR and others, many with tumours; CT is shown in a
    narrow window, so bone is white and air black without further grades.

    ValueError: unknown domain, a size or n it can't have, a file that can't be used; FileNotFoundError: no file.
    Hssayeni et al., Data 5:14 (2020), PhysioNet CT-ICH (CT); Kaggle collections, see the data card (MR).
    """
    if domain not in DOMAINS:
        raise ValueError(f"{NAME}: unknown domain {domain!r}; there are {', '.join(DOMAINS)}")
    size = size or NATIVE
    if not 8 <= size <= NATIVE:
        raise ValueError(f"{NAME!r} slices are {NATIVE} x {NATIVE}: size must be from 8 to {NATIVE}, it is {size}")
    images, numbers = _read(domain, "test" if split == "test" else "train")
    index = np.arange(len(images))
    if split != "test":
        index = index[(numbers % 10 == 7) == (split == "val")]
    index = draw(NAME, index, n, seed)
    x = torch.from_numpy(images[index])[:, None].float() / 127.5 - 1
    if size != NATIVE:
        x = torch.nn.functional.interpolate(x, (size, size), mode="bilinear", antialias=True).clamp(-1, 1)
    return Cohort(
        name=NAME,
        tensors={"x": x},
        subjects=torch.from_numpy(numbers[index] * len(DOMAINS) + list(DOMAINS).index(domain)),
        units={"x": UNITS[domain]},
        window={"x": (0.0, 255.0)},
        origin="real",
        split=split,
        note=f"real heads, {DOMAINS[domain]}, unpaired, not split by patient",
    )


def _read(domain: str, part: str) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 (n, 128, 128), the number in the file name of each, int64) of "train" or "test" of the original."""
    path = data_root() / NAME / f"{NAME}.npz"
    if not path.is_file():
        prepared(NAME)  # raises, and says how to get it
    files, remedy = f"{domain}_{part}_files", f"Delete it and run `make data NAMES={NAME}`."
    expected = entry(NAME)["arrays"]
    arrays = read_npz(path, {key: expected[key] for key in (f"{domain}_{part}", files)}, remedy)
    found = [re.fullmatch(PREFIXES[domain] + r"(\d+)\.(?:png|jpg)", name) for name in arrays[files].tolist()]
    if not all(found):
        raise ValueError(f"{path} is not usable: {files!r} are not file names of this data set. {remedy}")
    return arrays[f"{domain}_{part}"], np.array([int(match[1]) for match in found], np.int64)


def convert(originals: Mapping[str, bytes]) -> dict[str, NDArray]:
    """{ct,mr}_{train,test}[_files] of the prepared form, from the contents of files named like "trainA/ct1.png".

    Every image becomes grey, is padded with black to a square about its centre, and is resampled (Lanczos). In order
    of the names, training first, an image that is then equal to an earlier one of its domain is left out.
    ValueError: an original that is no image, or one too large.
    """
    arrays = {}
    for domain in ("ct", "mr"):
        seen: set[bytes] = set()
        for part in ("train", "test"):
            folder, images, files = f"{part}{FOLDERS[domain]}/", [], []
            for name in sorted(name for name in originals if name.startswith(folder)):
                image = _square(originals[name], name)
                if image.tobytes() not in seen:
                    seen.add(image.tobytes())
                    images.append(image)
                    files.append(name.removeprefix(folder))
            arrays[f"{domain}_{part}"] = np.array(images, np.uint8)
            arrays[f"{domain}_{part}_files"] = np.array(files, f"<U{len(PREFIXES[domain]) + 8}")
    return arrays


def _square(data: bytes, name: str) -> NDArray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["JPEG", "PNG"]) as image:
            if max(image.size) > LARGEST:
                raise ValueError(f"{name} has {image.size} pixels, at most {LARGEST} along an axis are expected")
            grey = image.convert("L")
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{name} can't be read as a PNG or JPEG ({error})") from error
    square = Image.new("L", (max(grey.size),) * 2)
    square.paste(grey, ((square.width - grey.width) // 2, (square.height - grey.height) // 2))
    return np.asarray(square.resize((NATIVE, NATIVE), Image.Resampling.LANCZOS))
