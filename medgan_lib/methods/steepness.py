"""Where a generator's map is steep, and sampling that leaves such places out (Tanielian et al. 2020).

The codes of a GAN are all of one piece, and a continuous generator can't cut it. Where data come in kinds with nothing
in between, its images have to turn from one kind into another somewhere, and there a small step of the code changes
the image most. So the norm of the generator's derivative tells, without any label, where images are neither.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from medgan_lib.networks import batched


def steepness(
    G: nn.Module,
    z: Tensor,
    *,
    directions: int = 8,
    step: float = 0.1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """How fast the image changes with the code: about the Frobenius norm of the Jacobian of G, (n,).

    For a unit vector u in a random direction E|J u|^2 = |J|^2 / m, with m entries of z. So the changes of the image
    along some random directions give the norm, without any derivative. A step of finite length sees a little of the
    surroundings as well, which is what one wants to know.

    Args:
        G: maps codes (n, m) to images; runs in evaluation mode and gets no gradients.
        z: codes (n, m).
        directions: random directions a code, the same number for all.
        step: length of the step along each, in units of the code.
        generator: of the directions, on the CPU.

    Raises:
        ValueError: no direction, or a step that isn't above 0.
    """
    if directions < 1 or not step > 0:
        raise ValueError(f"directions must be at least 1 and step above 0, not {directions} and {step}")
    images, total = batched(G, z), z.new_zeros(len(z))
    for _ in range(directions):
        u = torch.nn.functional.normalize(torch.randn(z.shape, generator=generator), dim=1).to(z)
        total += (batched(G, z + step * u) - images).flatten(1).square().sum(1) / step**2
    return (total * z.shape[1] / directions).sqrt()


def flattest(
    G: nn.Module,
    noise: Callable[[int, torch.Generator | None], Tensor],
    n: int,
    keep: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """n codes drawn anew of which the steepest share 1 - ``keep`` was left out, (n, m), in the order of the draw.

    noise: draws codes, such as `GAN.noise`. keep: in (0, 1]; 1 leaves none out. generator: of codes and directions, on
    the CPU. Raises ValueError for another ``keep``.
    """
    if not 0 < keep <= 1:
        raise ValueError(f"keep must be above 0 and at most 1, not {keep}")
    z = noise(math.ceil(n / keep), generator)
    flat = steepness(G, z, generator=generator).argsort()[:n]
    return z[flat.sort().values]
