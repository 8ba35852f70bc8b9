"""Images spoilt on purpose, in six ways and at any strength: what a judge of images has to see.

Images are (n, channels, *size) in [-1, 1], in two or three dimensions, at least 16 pixels an edge. Every fault is the
identity at strength 0 and grows with it. Strength 0.25 is just visible to us, 0.5 is plain, 1 spoils the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

BLUR = 2.0  # standard deviation of the Gaussian at strength 1, in pixels
NOISE = 0.25  # standard deviation of white noise, in units of [-1, 1]
CONTRAST = 0.6  # share of the contrast that is taken away
MESH = 0.3  # amplitude of the pattern, in units of [-1, 1]
WARP = 0.08  # root mean square of the displacement along each axis, as a share of the edge
FINE = 1.5  # what a Gaussian of so many pixels takes away is fine texture
_BORDER = 6  # pixels mirrored around an image before it is filtered: three standard deviations of the widest Gaussian


def spoil(x: Tensor, fault: str, strength: float | Tensor, generator: torch.Generator | None = None) -> Tensor:
    """``x`` with one of the ``FAULTS``, clipped to [-1, 1], on its device.

    blur: a Gaussian of up to 2 pixels. noise: white, of up to 0.25. contrast: up to 60 % of the distance from the mean
    of the image is taken away. mesh: a regular pattern of period 2 or 4 pixels, as transposed convolutions leave it
    (Odena et al. 2016). warp: a smooth random displacement, of up to 8 % of the edge. texture: the fine structure,
    which a Gaussian of 1.5 pixels takes away, is exchanged for that of another place, so that its power stays and its
    place is wrong.

    Args:
        x: images (n, channels, *size) in [-1, 1].
        fault: its name.
        strength: from 0 to 1, one number or one for each image (n,).
        generator: of the noise, the pattern and the displacement; None is the default one of the device.

    Raises:
        ValueError: another fault, another shape, or images that are too small.
    """
    if fault not in FAULTS:
        raise ValueError(f"unknown fault {fault!r}, it must be one of {', '.join(FAULTS)}")
    if x.ndim not in (4, 5) or min(x.shape[2:]) < 16:
        raise ValueError(f"images must be (n, channels, *size) in 2-D or 3-D, 16 pixels an edge, not {tuple(x.shape)}")
    strength = torch.as_tensor(strength, dtype=x.dtype, device=x.device).expand(len(x))
    return FAULTS[fault](x, strength.view(-1, *[1] * (x.ndim - 1)), generator).clamp(-1, 1)


def _blur(x: Tensor, strength: Tensor, generator: torch.Generator | None) -> Tensor:
    return _smoothed(x, BLUR * strength)


def _noise(x: Tensor, strength: Tensor, generator: torch.Generator | None) -> Tensor:
    return x + NOISE * strength * _drawn(torch.randn, x.shape, x, generator)


def _contrast(x: Tensor, strength: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.lerp(x, x.mean(tuple(range(1, x.ndim)), keepdim=True).expand_as(x), CONTRAST * strength)


def _mesh(x: Tensor, strength: Tensor, generator: torch.Generator | None) -> Tensor:
    period = 2 + 2 * (_drawn(torch.rand, strength.shape, x, generator) < 0.5)
    pattern = torch.ones_like(x)
    for axis in range(2, x.ndim):
        place = torch.arange(x.shape[axis], device=x.device).view([-1 if k == axis else 1 for k in range(x.ndim)])
        first = (4 * _drawn(torch.rand, strength.shape, x, generator)).floor()
        pattern = pattern * torch.cos(2 * math.pi / period * (place + first))
    return x + MESH * strength * pattern


def _warp(x: Tensor, strength: Tensor, generator: torch.Generator | None) -> Tensor:
    size, dims = x.shape[2:], x.ndim - 2
    coarse = _drawn(torch.randn, (len(x), dims, *[6] * dims), x, generator)
    field = F.interpolate(coarse, size=size, mode={2: "bicubic", 3: "trilinear"}[dims], align_corners=True)
    field = field / field.square().mean(tuple(range(1, field.ndim)), keepdim=True).sqrt()
    still = torch.eye(dims, dims + 1, dtype=x.dtype, device=x.device).expand(len(x), -1, -1)
    grid = F.affine_grid(still, (len(x), 1, *size), align_corners=False)
    moved = grid + 2 * WARP * (strength * field).movedim(1, -1)
    # bicubic where there is such a thing: linear interpolation would blur, and the fault would be another one
    mode = {2: "bicubic", 3: "bilinear"}[dims]
    return F.grid_sample(x, moved, mode=mode, padding_mode="reflection", align_corners=False)


def _texture(x: Tensor, strength: Tensor, generator: torch.Generator | None) -> Tensor:
    fine = x - _smoothed(x, torch.full_like(strength, FINE))
    other = fine.roll([s // 2 for s in x.shape[2:]], list(range(2, x.ndim)))
    turn = math.pi / 2 * strength
    return x - fine + torch.cos(turn) * fine + torch.sin(turn) * other


FAULTS: dict[str, Callable[[Tensor, Tensor, torch.Generator | None], Tensor]] = {
    "blur": _blur,
    "noise": _noise,
    "contrast": _contrast,
    "mesh": _mesh,
    "warp": _warp,
    "texture": _texture,
}


def _smoothed(x: Tensor, sigma: Tensor) -> Tensor:
    """Each image filtered with a Gaussian of its own standard deviation ``sigma`` (n, 1, …) in pixels."""
    axes, border = tuple(range(2, x.ndim)), _BORDER
    wide = F.pad(x, [border] * (2 * len(axes)), mode="reflect")
    square = torch.zeros(1, dtype=x.dtype, device=x.device)
    for k, axis in enumerate(axes):
        frequencies = torch.fft.rfftfreq if axis == axes[-1] else torch.fft.fftfreq
        place = frequencies(wide.shape[axis], dtype=x.dtype, device=x.device)
        square = square + place.square().view([-1 if j == k else 1 for j in range(len(axes))])
    damping = torch.exp(-2 * (math.pi * sigma).square() * square)
    smooth = torch.fft.irfftn(torch.fft.rfftn(wide, dim=axes) * damping, s=wide.shape[2:], dim=axes)
    return smooth[(..., *[slice(border, border + s) for s in x.shape[2:]])]


def _drawn(draw: Callable[..., Tensor], shape: tuple[int, ...], x: Tensor, generator: torch.Generator | None) -> Tensor:
    device = x.device if generator is None else generator.device
    return draw(shape, generator=generator, device=device, dtype=x.dtype).to(x.device)
