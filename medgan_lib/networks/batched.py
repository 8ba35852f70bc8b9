"""A trained network on many samples, some at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def batched(net: Callable[..., Tensor], x: Tensor | tuple[Tensor, ...], batch_size: int = 256) -> Tensor:
    """``net(x)``, ``batch_size`` samples at a time, in evaluation mode and without a graph.

    Args:
        net: a network, or a method of one such as ``D.features``; samples -> tensor with as many items. It runs where
            its parameters are and gets its mode back.
        x: samples (n, ...), on any device; or a tuple of tensors of equal length, which are the arguments of ``net``.
        batch_size: samples at a time, at least 1. A network that looks at each sample by itself gives the same for
            any number, but for rounding.

    Returns:
        (n, ...) on the device of ``x`` (of its first tensor).

    Raises:
        ValueError: no samples, tensors of unequal length, or batch_size < 1.
    """
    inputs = x if isinstance(x, tuple) else (x,)
    lengths = {len(part) for part in inputs}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"inputs must hold equally many samples, and some; here {[len(part) for part in inputs]}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    home = inputs[0].device
    module = net if isinstance(net, nn.Module) else getattr(net, "__self__", None)
    if not isinstance(module, nn.Module):
        raise TypeError(f"net must be a network or a method of one, not {type(net).__name__}")
    device = next((parameter.device for parameter in module.parameters()), home)
    with evaluating(module):
        return torch.cat(
            [
                net(*(part.to(device) for part in parts)).to(home)
                for parts in zip(*(part.split(batch_size) for part in inputs), strict=True)
            ]
        )


@contextmanager
def evaluating(module: nn.Module) -> Iterator[nn.Module]:
    """Inside, the module is in evaluation mode and no graph is recorded; afterwards every layer has its mode back.

    Every layer by itself: some, as those of an averaged generator, have another mode than what holds them.
    """
    modes = [(layer, layer.training) for layer in module.modules()]
    try:
        with torch.no_grad():
            yield module.eval()
    finally:
        for layer, training in modes:
            layer.training = training
