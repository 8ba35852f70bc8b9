"""Handwritten digits on patches of colour photographs: the construction of MNIST-M, with photographs already here.

Ganin et al., JMLR 17 (2016) 59: a pixel of the result is |digit - patch|, in each channel. Their patches
are from BSDS500, these from four photographs that come with scikit-image, so no file has to be fetched for them.
A third of their patches are nearly flat (sky, table): ``textured`` leaves these out and adds a micrograph of the same
source, which widens the gap between the domains.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from medgan_lib.cohorts.cohort import SPLITS, Cohort
from medgan_lib.cohorts.simulated import digits

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")  # in the wheel of scikit-image, in colour, free to show
TEXTURED_PHOTOS = (*PHOTOS, "immunohistochemistry")  # a stained section of the colon
TILE = 64  # pixels; a patch lies within one tile, and a tile belongs to one split
SHARES = (0.7, 0.1, 0.2)  # of the tiles, in the order of SPLITS
TEXTURE = 20.0  # grey levels: least standard deviation of a textured patch's mean over red, green and blue


def load(split: str, *, size: int | None = None, n: int | None = None, seed: int = 0, textured: bool = False) -> Cohort:
    """``x`` (n, 3, size, size) in [-1, 1], the digits of `digits.load` on patches of photographs, and ``label`` 0-9.

    ``size`` is from 28 (if left out) to 64: digits stay in the middle, patches grow. Split and subjects are those of
    the digits, and the same ``split``, ``n`` and ``seed`` give the same digits in the same order as `digits.load`:
    pairs, so choose two seeds or shuffle where there must be none. No pixel of a photograph is in two splits. Which
    patch a digit lies on is fixed, ``seed`` only draws which ``n``.

    ``textured`` draws the patches from `TEXTURED_PHOTOS`, and only from places where the standard deviation of the grey
    value (the mean of red, green and blue) within the patch is at least `TEXTURE`, each such place alike. The digits
    and their splits stay. Here each photograph's tiles are dealt out for themselves, so that the splits look alike.

    ValueError: a size or n it can't have, a ``textured`` that is not True or False.
    """
    _check(textured, "digits_on_photos")
    return _on_photos("digits_on_photos", digits.load(split, size=_size(size), n=n, seed=seed), 5_000, textured)


def mnist(
    split: str, *, size: int | None = None, n: int | None = None, seed: int = 0, textured: bool = False
) -> Cohort:
    """The same from the digits of `real.mnist`. FileNotFoundError where they are not on this machine."""
    from medgan_lib.cohorts.public.mnist import load as load

    _check(textured, "mnist_on_photos")
    size = _size(size, "mnist_on_photos")
    return _on_photos("mnist_on_photos", load(split, size=size, n=n, seed=seed), 70_000, textured)


def patches(split: str, n: int, *, size: int = digits.NATIVE, seed: int = 0, textured: bool = False) -> Tensor:
    """``n`` patches (n, 3, size, size) in [-1, 1] without digits, drawn by ``seed`` from the tiles of a split.

    ``(x - patch).abs() - 1`` puts a digit x in [-1, 1] on one: |digit - patch|, as `load` does. ``textured`` as there.
    """
    _check(textured, "digits_on_photos")
    tiles, rng = _tiles(textured)[split], np.random.default_rng([*b"patches", seed])
    if textured:
        places = rng.choice(_textured(split, _size(size)), n)
    else:
        places = rng.integers(0, (len(tiles), *(TILE - size + 1,) * 2), (n, 3))
    return torch.from_numpy(_cut(tiles, places, size)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _size(size: int | None, name: str = "digits_on_photos") -> int:
    size = size or digits.NATIVE
    if not digits.NATIVE <= size <= TILE:
        raise ValueError(f"size of {name!r} must be from {digits.NATIVE} to {TILE}, it is {size}")
    return size


def _check(textured: bool, name: str) -> None:
    if not isinstance(textured, bool):
        raise ValueError(f"textured of {name!r} must be True or False, it is {textured!r}")


def _on_photos(name: str, single: Cohort, total: int, textured: bool) -> Cohort:
    """``single`` on patches; of the ``total`` digits, number k has the k-th patch whatever else is drawn."""
    tiles, size = _tiles(textured)[single.split], single.x.shape[-1]
    draw = np.random.default_rng([*name.encode()]).random((total, 3))[single.subjects.numpy()]
    if textured:
        places = _textured(single.split, size)
        places = places[(draw[:, 0] * len(places)).astype(np.int64)]
    else:
        places = (draw * (len(tiles), *(TILE - size + 1,) * 2)).astype(np.int64)
    digit = single.to_units(single.x).round().to(torch.int16)
    patch = torch.from_numpy(_cut(tiles, places, size)).permute(0, 3, 1, 2)
    x = (digit - patch.to(torch.int16)).abs().float() / 127.5 - 1
    patches_of = "textured patches of five" if textured else "patches of four"
    return Cohort(
        name=name,
        tensors={"x": x, "label": single["label"]},
        subjects=single.subjects,
        units=single.units,
        window=single.window,
        origin=single.origin,
        split=single.split,
        classes=single.classes,
        note=f"{single.note}, blended with {patches_of} photographs (as MNIST-M)",
    )


def _cut(tiles: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
    """The patches (n, size, size, 3) at ``places`` (n, 3): tile, upper row and left column."""
    tile, row, column = places.T[:, :, None, None]
    steps = np.arange(size)
    return tiles[tile, row + steps[:, None], column + steps]


@cache
def _textured(split: str, size: int) -> np.ndarray:
    """Tile, row and column (m, 3) of every patch of the split whose grey value has a spread of at least TEXTURE."""
    return np.argwhere(texture(_tiles(True)[split], size) >= TEXTURE)


def texture(tiles: np.ndarray, size: int) -> np.ndarray:
    """Standard deviation of the grey value, 0 to 127.5, in every patch of ``size`` pixels of the tiles (m, 64, 64, 3).

    (m, 65 - size, 65 - size): by the patch's tile, upper row and left column.
    """
    windows = (np.lib.stride_tricks.sliding_window_view(tile, (size, size)) for tile in tiles.mean(-1))
    return np.stack([window.std((-1, -2)) for window in windows])


@cache
def _tiles(textured: bool = False) -> dict[str, np.ndarray]:
    """The tiles of each split, uint8 (m, 64, 64, 3). Every photograph gives tiles to every split.

    They are dealt out at random and no photograph goes to one split: else the splits would be as different as the
    photographs are. If ``textured`` each photograph is dealt out for itself, else all of them together.
    """
    import skimage.data

    found = []
    for photo in TEXTURED_PHOTOS if textured else PHOTOS:
        image = getattr(skimage.data, photo)()
        rows, columns = image.shape[0] // TILE, image.shape[1] // TILE
        cut = image[: rows * TILE, : columns * TILE].reshape(rows, TILE, columns, TILE, 3)
        found.append(cut.swapaxes(1, 2).reshape(-1, TILE, TILE, 3))
    piles = found if textured else [np.concatenate(found)]
    rng, dealt = np.random.default_rng([*b"photographs"]), []
    for tiles in piles:
        ends = np.rint(np.cumsum(SHARES)[:-1] * len(tiles)).astype(int)
        dealt.append([tiles[part] for part in np.split(rng.permutation(len(tiles)), ends)])
    return {split: np.concatenate(parts) for split, parts in zip(SPLITS, zip(*dealt, strict=True), strict=True)}
