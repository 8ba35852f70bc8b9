"""Where networks run when nobody says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def chosen_device(device: str | torch.device = "auto", *networks: nn.Module) -> torch.device:
    """The device that ``device`` names: "cpu", "cuda", "cuda:1" or "auto". A `torch.device` is taken as it is.

    "auto" is where the first of ``networks`` is, if that isn't the CPU: who brought it there wants it there. Else it
    is a CUDA GPU where there is one, and the CPU where there is none. "cuda" without a number is the first GPU.
    ValueError, which names the devices there are, for one that isn't there.
    """
    if isinstance(device, torch.device):
        return device
    name = device
    if name == "auto":
        home = home_of(networks[0]) if networks else torch.device("cpu")
        if home.type != "cpu":
            return home
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = "cuda:0"
    there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if name not in there:
        raise ValueError(f"device {device!r} isn't there; choose 'auto' or one of {', '.join(there)}")
    return torch.device(name)


def home_of(network: nn.Module) -> torch.device:
    """Where the parameters of a network are; the CPU where it has none."""
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))


@contextmanager
def placed(device: str | torch.device, *networks: nn.Module) -> Iterator[torch.device]:
    """Inside, the networks are on `chosen_device`, which it gives; afterwards each is back where it was.

    The parameters stay the same objects, so optimizers keep them. ValueError as `chosen_device`.
    """
    chosen = chosen_device(device, *networks)
    homes = [home_of(network) for network in networks]
    try:
        for network in networks:
            network.to(chosen)
        yield chosen
    finally:
        for network, home in zip(networks, homes, strict=True):
            network.to(home)
