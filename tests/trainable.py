"""Methods small enough to take milliseconds a step, and what tests of training ask of their runs."""

from __future__ import annotations

import copy
import os
import signal
from collections import Counter

import torch
from torch import nn
from torch.nn.functional import softplus
from torch.utils._python_dispatch import TorchDispatchMode


class Tiny(nn.Module):
    """A convolutional GAN with batch norm, an averaged generator and fused Adam: all that a checkpoint must hold."""

    def __init__(self, seed: int = 0, lr: float = 1e-3, penalty: bool = True):
        super().__init__()
        self.lr, self.penalty, self.calls = lr, penalty, 0
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.G = nn.Sequential(
                nn.Linear(4, 8 * 16), nn.Unflatten(1, (8, 4, 4)), nn.BatchNorm2d(8), nn.ReLU(),
                nn.Conv2d(8, 2, 3, padding=1), nn.Dropout(0.1), nn.Tanh(),
            )  # fmt: skip
            self.D = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(128, 1))
        self.average = copy.deepcopy(self.G).requires_grad_(False)
        self.opt_G = torch.optim.Adam(self.G.parameters(), lr, fused=True)
        self.opt_D = torch.optim.Adam(self.D.parameters(), lr, fused=True)

    def networks(self):
        return {"G": self.G, "D": self.D}

    def optimizers(self):
        return {"G": self.opt_G, "D": self.opt_D}

    def step(self, batch):
        x = batch["x"]
        fake = self.G(torch.randn(len(x), 4, device=x.device))
        loss_D = softplus(-self.D(x)).mean() + softplus(self.D(fake.detach())).mean()
        if self.penalty:
            point = torch.lerp(fake.detach(), x, torch.rand(len(x), 1, 1, 1)).requires_grad_()
            (gradient,) = torch.autograd.grad(self.D(point).sum(), point, create_graph=True)
            loss_D = loss_D + (gradient.flatten(1).norm(dim=1) - 1).square().mean()
        self.opt_D.zero_grad()
        loss_D.backward()
        self.opt_D.step()
        loss_G = softplus(-self.D(fake)).mean()
        self.opt_G.zero_grad()
        loss_G.backward()
        self.opt_G.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.G.parameters()), 0.1)
        self.dtypes = {x.dtype, fake.dtype, loss_D.dtype, loss_G.dtype}
        return {"loss_D": loss_D.detach(), "loss_G": loss_G.detach()}


class Line(nn.Module):
    """A method without convolutions whose loss becomes ``value`` at update ``at``."""

    def __init__(self, at: int = -1, value: float = float("nan"), lr: float = 0.1):
        super().__init__()
        self.net = nn.Linear(2, 1)
        self.opt = torch.optim.SGD(self.net.parameters(), lr)
        self.at, self.value, self.seen = at, value, []
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))

    def networks(self):
        return {"net": self.net}

    def optimizers(self):
        return {"net": self.opt}

    def step(self, batch):
        self.seen.append(batch)
        loss = self.net(batch["x"]).square().mean()
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        self.done += 1
        return {"loss": torch.where(self.done == self.at, self.value, loss.detach())}


class Stop(Exception):
    pass


def images(n: int = 50) -> dict[str, torch.Tensor]:
    return {"x": torch.rand(n, 2, 4, 4, generator=torch.Generator().manual_seed(1)) * 2 - 1}


def points(n: int = 10) -> dict[str, torch.Tensor]:
    return {"x": torch.arange(2.0 * n).view(n, 2) / n, "label": torch.arange(n)}


def everything(method: nn.Module) -> dict[str, torch.Tensor]:
    """Every tensor of a method and its optimizers."""
    state = {f"method {k}": v for k, v in method.state_dict().items()}
    for name, optimizer in method.optimizers().items():
        for index, values in optimizer.state_dict()["state"].items():
            state |= {f"{name} {index} {k}": torch.as_tensor(v) for k, v in values.items()}
    return {k: v.clone() for k, v in state.items()}


def assert_same_run(a, b):
    ours, theirs = everything(a.method), everything(b.method)
    assert ours.keys() == theirs.keys()
    assert not [k for k in ours if not torch.equal(ours[k], theirs[k])]
    assert a.history.keys() == b.history.keys()
    assert all(torch.equal(a.history[k], b.history[k]) for k in a.history)
    assert [s for s, _ in a.snapshots] == [s for s, _ in b.snapshots]
    for (_, left), (_, right) in zip(a.snapshots, b.snapshots, strict=True):
        assert torch.equal(left["picture"], right["picture"]) and left["mean"] == right["mean"]


def look(step, method):
    """A snapshot that draws random numbers and runs the networks, as a reader's would."""
    picture = method.G(torch.randn(3, 4))
    return {"picture": picture, "mean": picture.mean().item(), "step": step}


SETTINGS = {"steps": 23, "batch_size": 16, "seed": 3, "every": 5, "on_snapshot": look}


def interrupt_at(step: int, monkeypatch) -> None:
    """Presses Ctrl-C in the middle of the update after ``step``."""
    calls, original = Counter(), Tiny.step

    def pressed(self, batch):
        calls["step"] += 1
        if calls["step"] == step:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, batch)

    monkeypatch.setattr(Tiny, "step", pressed)


# What makes the host wait for a GPU: it reads a number, needs to know how large a result is, or looks for errors.
READS = (
    "_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique", "_unique2", "unique_dim",
    "unique_consecutive", "bincount", "_linalg_check_errors",
)  # fmt: skip
BY_MASK = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put")


def waits(func: torch._ops.OpOverload, args: tuple, kwargs: dict) -> bool:
    """Whether a host that calls this operator waits for the GPU on which its tensors lie, or would lie."""
    name = func.overloadpacket.__name__
    if name == "repeat_interleave":
        return func._overloadname == "Tensor" and kwargs.get("output_size") is None
    if name in BY_MASK:
        mask = any(isinstance(i, torch.Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1])
        filled = len(args) > 2 and args[2].numel() == 1  # one value goes where the mask is without a count
        return mask and not filled
    return name in READS


class CountSyncs(TorchDispatchMode):
    """Counts what is computed, and what of it would make the host wait for a GPU (`waits`)."""

    def __init__(self):
        super().__init__()
        self.counts, self.syncs = Counter(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[func.overloadpacket.__name__] += 1
        self.syncs += waits(func, args, kwargs or {})
        return func(*args, **kwargs or {})
