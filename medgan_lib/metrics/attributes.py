"""What can be measured in an image itself, in degrees, pixels, mm, mm² and signal: of digits, nodules and heads.

Images are (n, 1, h, w) in [-1, 1]; every function returns float32 (n,) on their device and raises ValueError for
another shape.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from medgan_lib.cohorts import Window

VENTRICLES_MM = 30.0  # radius of the disc around the middle of a head that holds the ventricles
RADII_MM = (1.5, 12.5, 0.25)  # of the discs that are tried on a nodule: from, below, step
RING_MM = 1.0  # around each of them
MIDDLE_MM = 3.5  # a nodule's middle lies no farther than this from the middle of its image
FLUID = 0.1  # T1 signal of voxels full of fluid, protocol A of the simulated heads (fraction of water's magnetisation)


def slant(x: Tensor) -> Tensor:
    """Slant of a bright stroke on dark ground in degrees from the vertical, positive where its top leans right.

    From second moments: rows move by -mu_11 / mu_02 columns for each row further up. NaN without any ink.
    """
    ink = _ink(x)
    rows, columns, y, x_ = _centred(ink)
    mu_11 = (ink * rows * columns).sum((1, 2)) - ink.sum((1, 2)) * y * x_
    mu_02 = (ink * rows.square()).sum((1, 2)) - ink.sum((1, 2)) * y.square()
    return torch.rad2deg(torch.atan(-mu_11 / mu_02.clamp_min(1e-6)))


def thickness(x: Tensor) -> Tensor:
    """Mean width of a bright stroke on dark ground in pixels: twice its area over the length of its outline.

    The outline is the total variation, which a soft edge does not change. Strokes thinner than two pixels come out
    too thick where they are blurred: no pixel of theirs is full. NaN without any ink.
    """
    ink = _ink(x)
    padded = torch.nn.functional.pad(ink, (1, 1, 1, 1))
    right = padded.diff(dim=2)[:, :-1].square()
    down = padded.diff(dim=1).square()
    # a difference lies between two pixels: paired with one side only, one of the two diagonals would count more
    outline = ((down[:, :, :-1] + right).sqrt() + (down[:, :, 1:] + right).sqrt()).sum((1, 2)) / 2
    return 2 * ink.sum((1, 2)) / outline


def disc_diameter(x: Tensor, spacing: float) -> Tensor:
    """Diameter in mm of a bright nodule near the middle: of the disc that stands out most from a ring around it.

    Discs of radius 1.5 to 12.25 mm are tried at every pixel within 3.5 mm of the middle. The score is the mean inside
    less the mean in the ring of 1 mm around, times the root of the number of pixels in the ring: the contrast in units
    of its own noise. Nothing is trained, so there is nothing that a generator could have learnt to please. The disc
    takes in the blurred edge and comes out some tenths too wide: fit a line on images of known size. ``spacing`` is mm
    per pixel.
    """
    image, reach = _image(x), math.ceil((RADII_MM[1] + 2 * RING_MM) / spacing)
    radii = torch.arange(*RADII_MM, device=x.device)
    steps = torch.arange(-reach, reach + 1, device=x.device) * spacing
    away = torch.hypot(steps[:, None], steps[None])
    soft = 0.35 * spacing  # a pixel that a border cuts counts in part
    inside = torch.sigmoid((radii[:, None, None] - away) / soft)
    ring = torch.sigmoid((radii[:, None, None] + RING_MM - away) / soft) - inside
    pixels = ring.sum((1, 2), keepdim=True)
    kernels = (inside / inside.sum((1, 2), keepdim=True) - ring / pixels) * pixels.sqrt()
    score = torch.cat([F.conv2d(F.pad(part[:, None], [reach] * 4, mode="replicate"), kernels[:, None])
                       for part in image.split(256)])
    rows, columns = ((torch.arange(n, device=x.device) - (n - 1) / 2) * spacing for n in image.shape[1:])
    middle = torch.hypot(rows[:, None], columns[None]) <= MIDDLE_MM
    return 2 * radii[score[..., middle].amax(2).argmax(1)]


def brain_signal(x: Tensor, window: tuple[float, float], spacing: float) -> Tensor:
    """Signal of brain tissue within 30 mm of the middle of a head, in units of ``window``.

    A quantile that fluid, the darker and smaller part, does not reach. ``spacing`` is mm per pixel.
    """
    image, disc = _middle_of_head(x, window, spacing)
    return torch.where(disc, image, torch.nan).flatten(1).nanquantile(0.6, dim=1)


def ventricle_area(x: Tensor, window: tuple[float, float], spacing: float) -> Tensor:
    """Area of fluid within 30 mm of the middle of a T1 head in mm², parts of voxels counted as parts.

    A voxel's share of fluid follows from its signal, which falls from that of brain tissue to that of fluid. On the
    simulated heads the correlation with the area of the true labels is above 0.9 (32² voxels).
    """
    image, disc = _middle_of_head(x, window, spacing)
    brain = brain_signal(x, window, spacing)[:, None, None]
    share = ((brain - image) / (brain - FLUID).clamp_min(1e-3)).clamp(0, 1)
    return (share * disc).sum((1, 2)) * spacing**2


def _ink(x: Tensor) -> Tensor:
    """(n, h, w) from 0 to 1; faint noise is no ink."""
    ink = (_image(x) + 1) / 2
    return torch.where(ink > 0.1, ink, 0)


def _image(x: Tensor) -> Tensor:
    if x.ndim != 4 or x.shape[1] != 1:
        raise ValueError(f"images must be (n, 1, h, w), not {tuple(x.shape)}")
    return x[:, 0].float()


def _centred(weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Row and column numbers from the middle of the frame, and the centre of mass (n,) in them."""
    height, width = weight.shape[1:]
    rows = torch.arange(height, device=weight.device)[:, None] - (height - 1) / 2
    columns = torch.arange(width, device=weight.device)[None] - (width - 1) / 2
    total = weight.sum((1, 2))
    return rows, columns, (weight * rows).sum((1, 2)) / total, (weight * columns).sum((1, 2)) / total


def _middle_of_head(x: Tensor, window: tuple[float, float], spacing: float) -> tuple[Tensor, Tensor]:
    """The image in units (n, h, w), and which pixels lie within 30 mm of its centre of mass."""
    low, high = window
    image = Window(low, high).units(_image(x))
    rows, columns, y, x_ = _centred((image - low).clamp_min(1e-6))
    away = (rows - y[:, None, None]).square() + (columns - x_[:, None, None]).square()
    return image, away.sqrt() * spacing < VENTRICLES_MM
