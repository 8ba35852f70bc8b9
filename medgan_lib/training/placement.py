"""Where and in what precision a method runs, and whose random numbers it draws.

The rule for devices, in the whole library:

* what is made from an input (features, translations, codes, scores) comes back where the input was;
* what is drawn (samples) comes back on the CPU;
* inside ``step`` everything stays on the device of the networks, and nothing waits for it;
* what takes long (`fit`, sampling, translation, inversion, scores of anomaly) takes ``device="auto"``, which is a CUDA
  GPU where there is one, and leaves the networks where they were.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from medgan_lib.networks import ResizeConv, chosen_device

PRECISIONS = ("float32", "bfloat16")
CONVOLUTIONS = (_ConvNd, ResizeConv)


def where_and_how(device: str, precision: str, method: nn.Module) -> tuple[torch.device, str]:
    """The device and the precision, "float32" or "bfloat16", that `fit` uses for these arguments.

    ValueError for a device that isn't there and for another precision.
    """
    chosen = chosen_device(device)
    if precision == "auto":
        precision = "bfloat16" if bfloat16_helps(chosen, method) else "float32"
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is unknown; choose 'auto', 'float32' or 'bfloat16'")
    return chosen, precision


def bfloat16_helps(device: torch.device, method: nn.Module) -> bool:
    """Whether the processor computes in bfloat16 and the networks convolve: small dense ones lose by the casts.

    On a GPU no network of this size gains: a step is bound by the launches of its kernels, of which casts are some more
    (benchmarks/gpu.py: on an H200 up to 28 % slower than float32 with TF32 in its convolutions, at most 2 % faster).
    """
    if device.type == "cuda" or not any(isinstance(module, CONVOLUTIONS) for module in method.modules()):
        return False
    instructions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in instructions)


def place(method: nn.Module, device: torch.device) -> None:
    """Moves a method with its optimizers to a device, the weights of 2-D networks channels-last."""
    method.to(device)
    for network in method.networks().values():
        dimensions = {layer.weight.ndim - 2 for layer in network.modules() if isinstance(layer, CONVOLUTIONS)}
        if 2 in dimensions and 3 not in dimensions:
            network.to(memory_format=torch.channels_last)
    for optimizer in method.optimizers().values():
        optimizer.zero_grad()
        optimizer.load_state_dict(optimizer.state_dict())  # brings its state to the device of its parameters
        for parameter, state in optimizer.state.items():
            for name, value in state.items():
                # Fused updates walk through parameter and moments as they lie in memory: both must lie alike.
                if isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim == 4:
                    state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor.contiguous()


@contextlib.contextmanager
def under_autocast(method: nn.Module, device: torch.device, precision: str) -> Iterator[None]:
    """While open, every network of the method runs in ``precision`` and returns float32.

    So do the calls that a method lists as ``further_calls`` (`methods.base.Method`), such as ``D.features``. What is
    called by a network itself is part of its pass: only what the method gets is widened. The instance's ``forward`` is
    replaced instead of the network: a network that stays itself needs no care in optimizers, checkpoints and copies.
    """
    if precision == "float32":
        yield
        return
    running: list[bool] = []  # filled while a network runs

    def cast(call: Callable) -> Callable:
        def run(*inputs: Any, **named: Any) -> Any:
            if running:
                return call(*inputs, **named)
            running.append(True)
            try:
                with torch.autocast(device.type, torch.bfloat16):
                    output = call(*inputs, **named)
            finally:
                running.pop()
            return widened(output)

        return run

    calls = list({(id(module), name): (module, name) for module, name in entry_points(method)}.values())
    own = [vars(module).get(name) for module, name in calls]
    for module, name in calls:
        setattr(module, name, cast(getattr(module, name)))
    try:
        yield
    finally:
        for (module, name), before in zip(calls, own, strict=True):
            if before is None:
                delattr(module, name)
            else:
                setattr(module, name, before)


def entry_points(method: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """What a method calls in its steps, as modules and names of their methods."""
    yield from ((network, "forward") for network in method.networks().values())
    for network, name in getattr(method, "further_calls", list)():
        part = getattr(network, name)
        yield (part, "forward") if isinstance(part, nn.Module) else (network, name)


def widened(output: Any) -> Any:
    """What a network returned, its floating-point tensors as float32: a tensor, or tuples, lists and dicts of them."""
    if isinstance(output, Tensor):
        return output.float() if output.is_floating_point() else output
    if isinstance(output, dict):
        return type(output)((key, widened(value)) for key, value in output.items())
    if isinstance(output, list | tuple):
        values = [widened(value) for value in output]
        return type(output)(*values) if hasattr(output, "_fields") else type(output)(values)
    return output


def cuda_index(device: torch.device) -> list[int]:
    return [device.index or 0] if device.type == "cuda" else []


@contextlib.contextmanager
def own_random_state(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds the generators of the CPU and of ``device``, no other, and gives them back as they were."""
    with torch.random.fork_rng(cuda_index(device)):
        torch.random.default_generator.manual_seed(seed)
        for index in cuda_index(device):
            torch.cuda.default_generators[index].manual_seed(seed)
        yield


def random_state(device: torch.device) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    for index in cuda_index(device):
        state["cuda"] = torch.cuda.get_rng_state(index)
    return state


def set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    for index in cuda_index(device):
        if "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"], index)
