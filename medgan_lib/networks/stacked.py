"""Several independent fully connected networks that are trained in one go."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from .mlp import MLP


class StackedMLP(nn.Module):
    """``stack`` independent `MLP`s side by side: (stack * n, inputs) -> (stack * n, outputs).

    Sample i belongs to copy i // n, and no copy sees a sample of another. Copies start from the weights that ``stack``
    MLPs made one after the other would have. Small networks spend their time on overhead, so ten copies cost little
    more than one, and an experiment has its repeats.

    A loss that is a mean over all samples is the mean of the copies' losses, so every gradient is 1/stack of what the
    copy would get alone. Adam divides such a factor out: each copy trains as if alone with an ``eps`` that is stack
    times larger (1e-7 instead of 1e-8 for ten), and under plain gradient descent with a rate that is stack times
    smaller. There is no ``per_sample``: where samples stand in the batch decides whose they are, so real and generated
    samples can't be put behind one another. For the same reason samples are drawn in one pass,
    ``G(z).unflatten(0, (stack, -1))``.

    Raises ValueError for a stack below 1 and for samples that can't be dealt out evenly.
    """

    def __init__(self, stack: int, inputs: int, outputs: int, width: int = 128, depth: int = 3) -> None:
        super().__init__()
        self.stack, self.latent = checked_stack(stack), inputs
        self.sizes = (inputs, outputs, width, depth)
        copies = [[layer for layer in MLP(*self.sizes) if isinstance(layer, nn.Linear)] for _ in range(stack)]
        layers = list(zip(*copies, strict=True))
        self.weights = nn.ParameterList(torch.stack([one.weight.detach().T for one in layer]) for layer in layers)
        self.biases = nn.ParameterList(torch.stack([one.bias.detach()[None] for one in layer]) for layer in layers)

    def forward(self, x: Tensor) -> Tensor:
        h = dealt(x, self.stack)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(bias, leaky_relu(h, 0.2) if i else h, weight)
        return h.flatten(0, 1)

    def alone(self, i: int) -> MLP:
        """Copy i as an `MLP` of its own, with the weights of this moment."""
        mlp = MLP(*self.sizes).to(self.weights[0])
        layers = [layer for layer in mlp if isinstance(layer, nn.Linear)]
        with torch.no_grad():
            for layer, weight, bias in zip(layers, self.weights, self.biases, strict=True):
                layer.weight.copy_(weight[i].T)
                layer.bias.copy_(bias[i, 0])
        return mlp

    def extra_repr(self) -> str:
        inputs, outputs, width, depth = self.sizes
        return f"{self.stack} copies, {inputs} -> {outputs}, {depth} hidden layers of {width}"


def checked_stack(stack: int) -> int:
    if stack < 1:
        raise ValueError(f"stack must be at least 1, not {stack}")
    return stack


def dealt(x: Tensor, stack: int) -> Tensor:
    """(stack * n, ...) -> (stack, n, ...). ValueError for a number of samples that ``stack`` doesn't divide."""
    if len(x) == 0 or len(x) % stack:
        raise ValueError(f"{len(x)} samples cannot be dealt out to {stack} copies: give a multiple of {stack}")
    return x.unflatten(0, (stack, -1))
