"""Steps of every method on a GPU that isn't there: `python fake_cuda.py results.json` with fake_cuda.cpp preloaded.

FakeTensors have a shape, a type and a device but no values. They refuse to compute with those of another device, as a
GPU does; `Watch` adds what they let pass. The file lists, for each "method, precision", what was found in the first
step and in a later one, and the same for steps with planted faults.
"""

from __future__ import annotations

import copy
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from catalogue import CATALOGUE, made
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from trainable import waits

from medgan_lib.training.placement import under_autocast

GPU = torch.device("cuda:0")
PRECISIONS = ("float32", "bfloat16")
COPIES = ("_to_copy", "copy_", "_copy_from")


def place(frames: traceback.StackSummary) -> str:
    """The innermost line of the library, or of a planted fault."""
    planted = {*PLANTED, "step"}
    own = [f for f in frames if "/medgan_lib/" in f.filename or (f.filename == __file__ and f.name in planted)]
    frame = (own or frames)[-1]
    return f"{'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno} {frame.line}"


def tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


class Watch(TorchDispatchMode):
    """Notes what waits for the GPU, is copied from or to it, or is drawn with a generator of another device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs, name = kwargs or {}, func.overloadpacket.__name__
        given = tensors((args, kwargs))
        if waits(func, args, kwargs) and any(tensor.is_cuda for tensor in given):
            self.note("wait", name)
            if name == "_local_scalar_dense":  # a FakeTensor has no value to say
                return 1.0 if given[0].is_floating_point() else 1
        result = func(*args, **kwargs)
        made = tensors(result)
        if name in COPIES and len({tensor.device.type for tensor in (*given, *made)}) > 1:
            self.note("copy", f"{given[-1].device.type} to {made[0].device.type}")
        generator = kwargs.get("generator")
        if generator is not None and any(tensor.device.type != generator.device.type for tensor in made):
            self.note("generator", f"of {generator.device.type} for {made[0].device.type}")
        return result

    def note(self, kind: str, what: str) -> None:
        self.found.append(f"{kind}: {what} in {place(traceback.extract_stack())}")


class Autocast:
    """As `torch.autocast`, which can't be opened for a GPU that isn't there."""

    def __init__(self, device: str, dtype: torch.dtype | None = None, enabled: bool = True) -> None:
        self.device, self.enabled = device, enabled
        self.dtype = torch.get_autocast_dtype(device) if dtype is None else dtype

    def __enter__(self) -> None:
        self.before = torch.is_autocast_enabled(self.device), torch.get_autocast_dtype(self.device)
        torch.set_autocast_enabled(self.device, self.enabled)
        torch.set_autocast_dtype(self.device, self.dtype)
        torch.autocast_increment_nesting()

    def __exit__(self, *_: object) -> None:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        torch.set_autocast_enabled(self.device, self.before[0])
        torch.set_autocast_dtype(self.device, self.before[1])


def recurrent_units_have_shapes() -> torch.library.Library:
    """Shapes of what CUDA's gated recurrent unit returns, which torch doesn't know without cuDNN."""
    library = torch.library.Library("aten", "IMPL", "Meta")

    def forward(gates: Tensor, hidden: Tensor, h: Tensor, *biases: Tensor | None) -> tuple[Tensor, Tensor]:
        return torch.empty_like(h), h.new_empty(len(h), 5 * h.shape[1])

    def backward(gradient: Tensor, workspace: Tensor, biases: bool) -> tuple[Tensor | None, ...]:
        n, width = gradient.shape
        gates, bias = (lambda: gradient.new_empty(n, 3 * width)), (lambda: gradient.new_empty(3 * width))
        return gates(), gates(), torch.empty_like(gradient), *((bias(), bias()) if biases else (None, None))

    library.impl("_thnn_fused_gru_cell", forward)
    library.impl("_thnn_fused_gru_cell_backward", backward)
    return library


def on_the_gpu(method: nn.Module, batch: dict[str, Tensor], mode: FakeTensorMode) -> tuple[nn.Module, dict]:
    """A method and a batch as they are once moved: whatever is no parameter or buffer stays where it is."""

    def moved(tensor: Tensor) -> Tensor:
        with mode:
            fake = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=GPU)
        return nn.Parameter(fake, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else fake

    memo = {id(tensor): moved(tensor) for tensor in (*method.parameters(), *method.buffers())}
    return copy.deepcopy(method, memo), {name: moved(tensor) for name, tensor in batch.items()}


def look(method: nn.Module, batch: dict[str, Tensor], precision: str) -> dict[str, list[str]]:
    """What was found in the first and in a later step of a method on the CPU, moved to the GPU."""
    mode, found = FakeTensorMode(), {}
    method, batch = on_the_gpu(method, batch, mode)
    for step in ("first", "later"):
        watch = Watch()
        with mode, under_autocast(method, GPU, precision):
            try:
                with watch:
                    losses = method.step(batch)
                for name, loss in losses.items():
                    if not loss.is_cuda or loss.ndim or loss.requires_grad:
                        watch.found.append(f"loss: {name} is {loss}")
            except Exception as error:  # of any kind, to be shown with its place
                text, at = str(error).partition("\n")[0], place(traceback.extract_tb(error.__traceback__))
                watch.found.append(f"error: {type(error).__name__}: {text} in {at}")
        strayed = [name for name, tensor in method.state_dict().items() if not tensor.is_cuda]
        found[step] = watch.found + [f"strayed: {name}" for name in strayed]
    return found


def item(x: Tensor) -> Tensor:
    return x * x.mean().item()


def mask(x: Tensor) -> Tensor:
    return x[x > 0].sum()


def count(x: Tensor) -> Tensor:
    return (x > 0).nonzero()


def condition(x: Tensor) -> Tensor:
    return x if x.sum() > 0 else -x


def host_tensor(x: Tensor) -> Tensor:
    return x + torch.zeros(x.shape)


def host_noise(x: Tensor) -> Tensor:
    return x + torch.randn(x.shape[1:])


def sent(x: Tensor) -> Tensor:
    return x + torch.zeros(x.shape).to(x.device)


def list_sent(x: Tensor) -> Tensor:
    return x.sum() * torch.tensor([1.0, 2.0], device=x.device)


def fetched(x: Tensor) -> Tensor:
    return x.cpu()


def host_generator(x: Tensor) -> Tensor:
    return torch.randn(x.shape, device=x.device, generator=torch.Generator())


def sound(x: Tensor) -> Tensor:
    """What looks like a fault and is none: a single value goes along with a kernel or where a mask is."""
    chosen = torch.where(x > 0, x, 0.5)
    chosen[x > 0.9] = 0.0
    index = torch.randint(len(x), (3,), device=x.device)
    return chosen[index].sum() * torch.tensor(2.0) + torch.arange(3, device=x.device)


PLANTED: dict[str, Callable[[Tensor], Tensor]] = {
    fault.__name__: fault
    for fault in (
        item, mask, count, condition, host_tensor, host_noise, sent, list_sent, fetched, host_generator, sound,
    )
}  # fmt: skip


class Faulty(nn.Module):
    """A GAN whose steps do something else, too."""

    def __init__(self, gan: nn.Module, fault: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.gan, self.fault = gan, fault

    def networks(self) -> dict[str, nn.Module]:
        return self.gan.networks()

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self.fault(batch["x"])
        return self.gan.step(batch)


class Forgetful(nn.Module):
    """Keeps a tensor that is neither a parameter nor a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = torch.ones(2)

    def networks(self) -> dict[str, nn.Module]:
        return {}

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": (batch["x"] * self.plain).mean()}


def main(file: str) -> None:
    torch.autocast = Autocast
    library = recurrent_units_have_shapes()
    found = {f"{name}, {how}": look(*made(name), how) for name in CATALOGUE for how in PRECISIONS}
    method, batch = made("GAN")
    for name, fault in PLANTED.items():
        found[f"planted {name}"] = look(Faulty(method, fault), batch, "float32")
    found["planted plain attribute"] = look(Forgetful(), {"x": torch.rand(3, 2)}, "float32")
    del library  # its kernels go with it
    Path(file).write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
