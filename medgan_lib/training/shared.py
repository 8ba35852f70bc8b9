"""One run for all that ask for the same training: the key that says what "the same" is, and the lock around it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from medgan_lib.training.checkpoint import as_bytes, digest_of_data
from medgan_lib.training.progress import waiting

# Whose code a key needn't hold: the folder of shared runs stands for the library's, versions for the others'.
_KNOWN = {"medgan_lib", "torch", "numpy", *sys.stdlib_module_names}
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
# Attributes of every module: listed in another way, or set by `fit` before the first step.
_OF_MODULES = frozenset(vars(nn.Module()))


def key_of(method: nn.Module, tensors: dict[str, Tensor], device: torch.device, **settings: Any) -> str:
    """16 hexadecimal digits of the SHA-256 of all that decides the result of a training, but for the library's code.

    That is, of the method and of all modules in it: classes, attributes and hooks; names, values and
    ``requires_grad`` of parameters and buffers; optimizers with their settings and state; the cohort's tensors; kind
    of device, processor, threads and version of torch; and the ``settings``. ValueError for what belongs to a class or
    a function from elsewhere, such as the chapter itself, whose code no key can see, and for what can't be told.
    """
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    parts = [described([machine(device), settings]), *anatomy(method)]
    for name, tensor in method.named_parameters(remove_duplicate=False):
        parts.append(f"{name} {names[id(tensor)]} {tensor.requires_grad} {described(tensor)}")
    parts += [f"{name} {described(tensor)}" for name, tensor in method.named_buffers()]
    for name, optimizer in method.optimizers().items():
        state = {names.get(id(parameter)): values for parameter, values in optimizer.state.items()}
        groups = [group | {"params": [names.get(id(p)) for p in group["params"]]} for group in optimizer.param_groups]
        parts.append(f"{name} {code(type(optimizer))} {described([groups, state])}")
    return hashlib.sha256("\n".join([*parts, digest_of_data(tensors)]).encode()).hexdigest()[:16]


def machine(device: torch.device) -> list[Any]:
    """What rounds as it does: sums come out differently with other instructions, threads and libraries."""
    settings = [torch.__version__, device.type, torch.get_num_threads(), torch.get_float32_matmul_precision()]
    if device.type != "cuda":
        return [*settings, torch.backends.cpu.get_cpu_capability()]
    return [*settings, torch.cuda.get_device_name(device), torch.backends.cudnn.allow_tf32]


def anatomy(network: nn.Module) -> list[str]:
    """Names, classes, attributes and hooks of all modules in a network, itself included."""
    lines = []
    for name, module in network.named_modules():
        kind = code(type(module))
        private = kind.startswith("torch.")  # torch's own layers keep references there
        own = {k: v for k, v in vars(module).items() if k not in _OF_MODULES and not (private and k.startswith("_"))}
        hooks = [list(getattr(module, key).values()) for key in _HOOKS]
        lines.append(f"{name} {kind} {described([own, hooks])}")
    return lines


def described(value: Any) -> str:
    """A value as text that is another for another value. ValueError as in `key_of`."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | torch.dtype | torch.device):
        return repr(value)
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(as_bytes(value)).hexdigest()}"
    if isinstance(value, np.ndarray | np.generic):
        return f"{value.dtype} {value.tolist()}"
    if isinstance(value, nn.Module):  # one that isn't registered
        return described([anatomy(value), dict(value.state_dict())])
    if isinstance(value, type | FunctionType | BuiltinFunctionType | MethodType | Optimizer):
        return code(type(value) if isinstance(value, Optimizer) else value)
    if isinstance(value, functools.partial):
        return f"partial{described([value.func, value.args, value.keywords])}"
    kind = code(type(value))
    if isinstance(value, Mapping):
        return f"{kind}{{{', '.join(f'{described(key)}: {described(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"{kind}[{', '.join(map(described, value))}]"
    if isinstance(value, set | frozenset):
        return f"{kind}[{', '.join(sorted(map(described, value)))}]"
    if kind.startswith("medgan_lib.") and hasattr(value, "__dict__"):
        return f"{kind}{described(vars(value))}"
    raise ValueError(f"a {kind} can't be told from another one, so that a training with it can't be shared")


def code(thing: Any) -> str:
    """The full name of a class or a function. ValueError unless it is the library's, torch's or Python's."""
    module, name = getattr(thing, "__module__", None) or "builtins", getattr(thing, "__qualname__", repr(thing))
    if module.partition(".")[0] not in _KNOWN or "<" in name:
        raise ValueError(
            f"{module}.{name} isn't of the library: elsewhere something else may be called so, and a training with it"
            " can't be shared"
        )
    return f"{module}.{name}"


@contextlib.contextmanager
def alone(file: Path, label: str, steps: int) -> Iterator[None]:
    """Inside, nobody else is at the same file; who waits for it says so. The lock goes with its process."""
    import fcntl  # not on Windows, where fit must work that shares nothing

    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file.with_suffix(".lock"), "a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with waiting(f"{label}, trained by another process", steps):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield
