"""Features of a trained network, which distances between sets of images are measured in."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def features(net: nn.Module, x: Tensor, batch: int = 256) -> Tensor:
    """``net.features`` of all samples in evaluation mode, without gradients; the net's mode is given back.

    Args:
        net: has a method ``features``: (n, ...) -> (n, d).
        x: samples (n, ...), on any device.
        batch: samples at a time.

    Returns:
        float32 (n, d) on the net's device.

    Raises:
        ValueError: no samples, or a network without ``features``.
    """
    if not callable(getattr(net, "features", None)):
        raise ValueError(f"{type(net).__name__} has no method features(x); use an Encoder")
    if len(x) == 0:
        raise ValueError("no samples to compute features of")
    device = next((parameter.device for parameter in net.parameters()), x.device)
    training = net.training
    net.eval()
    try:
        with torch.no_grad():
            return torch.cat([net.features(part.to(device)).float() for part in x.split(batch)])
    finally:
        net.train(training)
