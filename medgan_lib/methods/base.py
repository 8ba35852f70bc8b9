"""What `medgan_lib.training.fit` asks of a method, and what several methods share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from medgan_lib.networks import evaluating

__all__ = ["Method", "adam", "checked_decay", "decay_", "evaluating", "fixed", "frozen"]


class Method(nn.Module):
    """Networks, their optimizers, and one ``step`` that updates every player once.

    Public attributes that are plain numbers, strings, booleans or tuples of them are the hyper-parameters.
    """

    draws: int = 1
    """How many minibatches of real samples one step consumes: ``fit`` hands over draws * batch_size samples."""

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of every player.

        ``batch`` holds tensors on the networks' device with equal first dimension; ``batch["x"]`` are the real
        samples. Returns detached scalars on that device: nothing here waits for the device.
        """
        raise NotImplementedError

    def optimizers(self) -> dict[str, Optimizer]:
        """Every optimizer by name, for checkpoints."""
        raise NotImplementedError

    def networks(self) -> dict[str, nn.Module]:
        """The players by name, whose forward passes may run in lower precision or another memory format."""
        return dict(self.named_children())

    def further_calls(self) -> list[tuple[nn.Module, str]]:
        """What ``step`` calls beside ``forward``, so that it runs in the same precision: networks with the names of
        their methods or layers."""
        return []


def adam(module: nn.Module, lr: float, betas: tuple[float, float]) -> Adam:
    """Adam as one kernel for all parameters: the update of a small network is bound by overhead otherwise."""
    return Adam(module.parameters(), lr=lr, betas=betas, fused=True)


def checked_decay(decay: tuple[int, int] | None) -> tuple[int, int] | None:
    """``decay`` as it is; ValueError unless it is None or two steps, the first before the last."""
    if decay is not None and not 0 <= decay[0] < decay[1]:
        raise ValueError(f"decay must be two steps, the first before the last, not {decay}")
    return decay


def decay_(optimizers: Iterable[Optimizer], decay: tuple[int, int] | None) -> None:
    """Sets the learning rates of the next step: they fall linearly to 0 between two steps. Nothing to do for None.

    Call it once a step. What it counts stands in the optimizers' groups, so that a checkpoint has it.
    """
    if decay is None:
        return
    first, last = decay
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["updates"] = group.get("updates", 0) + 1
            left = (last - group["updates"]) / (last - first)
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * min(max(left, 0.0), 1.0)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Inside, gradients flow through the module but none is computed for its parameters."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


@contextmanager
def fixed(*networks: nn.Module) -> Iterator[None]:
    """Inside, the networks are in evaluation mode and pass gradients on without keeping any.

    Afterwards every layer has the mode that it had: some, as `FeatureMaps`, have another one than their network.
    """
    modules = nn.ModuleList(networks)
    modes = [(module, module.training) for module in modules.modules()]
    try:
        with frozen(modules):
            modules.eval()
            yield
    finally:
        for module, mode in modes:
            module.training = mode
