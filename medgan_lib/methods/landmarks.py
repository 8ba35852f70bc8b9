"""Landmarks found by heat maps, for measuring where things are in generated images (review Sec. 5.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from medgan_lib.methods.base import Method, adam
from medgan_lib.networks import batched, placed


class LandmarkDetector(Method):
    """A network that puts a heat map on every landmark, whose mean place is its answer.

    ``net`` maps images (n, channels, h, w) to logits (n, landmarks, h, w), one map a landmark. ``spacing`` is mm per
    pixel, the same along both axes. Batches hold images "x" and "landmarks" (n, landmarks, 2), mm from the middle of
    the image, (down, right). Each map learns to be a Gaussian of one pixel about its landmark, by cross-entropy: what
    regularises the maps of Nibali et al. (2018) is the whole loss here, as the distance alone leaves them wide. ``lr``
    is Adam's. Raises ValueError for a spacing that is not positive.
    """

    def __init__(self, net: nn.Module, spacing: float, *, lr: float = 1e-3) -> None:
        super().__init__()
        if not spacing > 0:
            raise ValueError(f"spacing is mm per pixel and must be positive, not {spacing}")
        self.net, self.spacing, self.lr = net, float(spacing), lr
        self.opt = adam(net, lr, (0.9, 0.999))

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One descent step. Returns "loss", the cross-entropy, and "error_mm", the mean distance to the landmarks."""
        logits = self.net(batch["x"])
        wanted = bell(batch["landmarks"] / self.spacing, logits.shape[-2:])
        loss = -(wanted.flatten(-2) * logits.flatten(-2).log_softmax(-1)).sum(-1).mean()
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        found = mean_place(logits.detach(), self.spacing)
        return {"loss": loss.detach(), "error_mm": (found - batch["landmarks"]).norm(dim=-1).mean()}

    def find(self, x: Tensor, batch_size: int = 64, *, device: str | torch.device = "auto") -> Tensor:
        """Landmarks (n, landmarks, 2) of images, mm from the middle, (down, right), in evaluation mode; x's device.

        The network runs on ``device`` as `networks.chosen_device` has it.
        """
        with placed(device, self.net):
            parts = x.split(batch_size)  # maps are large, and only their means are kept
            return torch.cat([mean_place(batched(self.net, part, batch_size), self.spacing) for part in parts])

    def optimizers(self) -> dict[str, Optimizer]:
        return {"net": self.opt}


def places(size: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor]:
    """Places of the rows (h,) and columns (w,) of an image in pixels from its middle, which lies between two of them
    where their number is even."""
    return tuple(torch.arange(k, dtype=like.dtype, device=like.device) - (k - 1) / 2 for k in size)


def mean_place(logits: Tensor, spacing: float = 1.0) -> Tensor:
    """Mean of the pixels' places under the softmax of maps (..., h, w): (..., 2), (down, right) from the middle.

    In units of ``spacing``, which is that of a pixel.
    """
    share = logits.flatten(-2).softmax(-1).unflatten(-1, logits.shape[-2:])
    down, right = places(logits.shape[-2:], share)
    return spacing * torch.stack([(share.sum(-1) * down).sum(-1), (share.sum(-2) * right).sum(-1)], -1)


def bell(at: Tensor, size: tuple[int, int]) -> Tensor:
    """Gaussians of standard deviation 1 about ``at`` (..., 2), pixels from the middle: (..., h, w) that sum to 1."""
    down, right = places(size, at)
    far = (down[:, None] - at[..., 0, None, None]).square() + (right - at[..., 1, None, None]).square()
    return (-far / 2).flatten(-2).softmax(-1).unflatten(-1, tuple(size))
