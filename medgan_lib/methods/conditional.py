"""Conditional GANs (review Sec. 2.3, Eq. 5; Mirza and Osindero 2014)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from medgan_lib.methods.gan import GAN
from medgan_lib.networks import batched, placed


class ConditionalGAN(GAN):
    """A `GAN` whose players both take a condition: G(z|y) and D(x|y) of Eq. 5.

    G maps z (n, G.latent) and y (n, k) to samples, D maps samples and y to logits. With ``classes`` = k the condition
    is the class ``batch["label"]`` (n,), 0 to k - 1, one-hot encoded; without it, it is ``batch["y"]`` (n, k), any
    finite vector. A generated sample is judged beside the condition that it was made for, and these conditions are
    those of the minibatch: y has its own distribution in the data. With objective "gan" the value is Eq. 5 to the
    letter, "gan-ma" (the default) gives G the loss of Eq. 2; the gradient of a penalty (Eq. 4) is taken by x at fixed
    y. Further options are those of `GAN`. Raises ValueError as `GAN` does, for classes < 1, and for conditions that do
    not fit.
    """

    def __init__(
        self, G: nn.Module, D: nn.Module, objective: str = "gan-ma", *, classes: int | None = None, **options
    ) -> None:
        if classes is not None and classes < 1:
            raise ValueError(f"classes must be at least 1, or None where y is a vector, not {classes}")
        super().__init__(G, D, objective, **options)
        self.classes = classes

    def condition(self, batch: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """y (n, k) of the minibatch, from "label" (one-hot) or from "y"."""
        name = "y" if self.classes is None else "label"
        if name not in batch:
            raise ValueError(f"the condition is read from {name!r}, but the cohort has only {', '.join(batch)}")
        return (self.encode(batch[name]),)

    def encode(self, y: Tensor) -> Tensor:
        """The vectors (n, k) that the players get: classes (n,) one-hot encoded, or vectors as they are.

        ValueError, which says what is allowed, for a class that does not exist, a vector of another length, or values
        that are not finite. On a GPU only shapes are checked, since a look at values would wait for the device.
        """
        k, y = self.classes, torch.as_tensor(y)
        look = y.device.type == "cpu" and y.numel() > 0
        if k is not None:
            if y.ndim != 1 or y.is_floating_point() or y.dtype == torch.bool:
                given = f"{y.dtype} of shape {tuple(y.shape)}"
                raise ValueError(f"classes must be whole numbers of shape (n,), not {given}")
            if look and not 0 <= int(y.min()) <= int(y.max()) < k:
                raise ValueError(f"classes must be from 0 to {k - 1}, these are from {int(y.min())} to {int(y.max())}")
            return one_hot(y.long(), k).float()
        length = getattr(self.sampler, "condition", y.shape[-1] if y.ndim else 0)
        if y.ndim != 2 or y.shape[1] != length or not y.is_floating_point():
            raise ValueError(f"y must be floats of shape (n, {length}), not {y.dtype} of shape {tuple(y.shape)}")
        if look and not torch.isfinite(y).all():
            raise ValueError("y must be finite, it has NaN or infinite values")
        return y

    def sample(
        self, y: Tensor | int, generator: torch.Generator | None = None, *, device: str | torch.device = "auto"
    ) -> Tensor:
        """One sample of `sampler` for each condition: classes (n,) or vectors (n, k), 256 at a time.

        A number n instead asks for n samples of classes drawn evenly. ``generator`` makes samples reproducible: the
        same one gives the same z whatever y is. They are made on ``device`` as `networks.chosen_device` has it and
        come back on the CPU. Raises ValueError as `encode` does, and for a number where conditions are vectors.
        """
        if isinstance(y, int):
            if self.classes is None:
                raise ValueError(f"{y} samples of what? Conditions are vectors here: sample(y) with y of shape (n, k)")
            y = torch.arange(y) % self.classes
        y = self.encode(torch.as_tensor(y).cpu())
        z = self.noise(len(y), generator)
        with placed(device, self.sampler):
            return batched(self.sampler, (z, y)).cpu()
