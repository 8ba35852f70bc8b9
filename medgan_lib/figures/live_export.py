"""A generator as a short list of operations on flat arrays, which a page can run without torch.

What a network does to one vector is written down while it runs, operation by operation, so that any module may be
exported, whatever its ``forward`` looks like, as long as it computes with what is listed in `_KNOWN`.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from medgan_lib.figures.live_program import Node, Program, program


def prepared(G: nn.Module) -> nn.Module:
    """A copy of G on the CPU, in evaluation mode and single precision."""
    return copy.deepcopy(G).cpu().float().eval().requires_grad_(False)


def export(G: nn.Module, start: Tensor) -> Program:
    """The program of ``G``, which is `prepared` and maps vectors (n, latent) to images (n, channels, height, width).

    Raises ValueError, with the name of the layer, for what a page cannot compute, and for weights beyond float16.
    """
    with torch.no_grad():
        tape = _Tape(start[None].clone())
        try:
            with tape.named(G), tape:
                image = G(tape.vector)
        except Refused:
            raise
        except TypeError as error:
            raise ValueError(f"G must take one vector; put a module around it that cuts it: {error}") from error
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"G cannot take a vector of {len(start)} numbers: {tape.where()}: {error}") from error
    if not isinstance(image, Tensor) or image.ndim != 4 or len(image) != 1 or image.shape[1] not in (1, 3):
        got = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(f"G must map vectors (n, {len(start)}) to images (n, 1 or 3, height, width), not to {got}")
    if id(image) not in tape.known:
        raise ValueError("G's image does not depend on its vector")
    return program(tape.known[id(image)], tuple(image.shape[1:]))


class Refused(ValueError):
    """What a page cannot compute."""


class _Tape(TorchDispatchMode):
    """Notes what is computed from ``vector``; everything else is a constant of the network."""

    def __init__(self, vector: Tensor) -> None:
        super().__init__()
        self.vector, self.layers = vector, [("G", "the network")]
        self.known = {id(vector): Node("vector", [], vector.numel())}
        self.alive = [vector]  # an identity may not be given again
        self.stale: set[int] = set()

    @contextlib.contextmanager
    def named(self, G: nn.Module) -> Iterator[None]:
        """Inside, errors name the layer that runs."""
        hooks = []
        for name, module in G.named_modules(prefix="G"):
            about = name, type(module).__name__
            hooks += [module.register_forward_pre_hook(lambda *_, about=about: self.layers.append(about)),
                      module.register_forward_hook(lambda *_: self.layers.pop() and None)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def where(self) -> str:
        name, kind = self.layers[-1]
        return f"{name} ({kind})"

    def refuse(self, why: str) -> Refused:
        return Refused(f"{self.where()} cannot run in a page: {why}")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        flat = [part for arg in args for part in (arg if isinstance(arg, (list, tuple)) else [arg])]
        tensors = [part for part in [*flat, *kwargs.values()] if isinstance(part, Tensor)]
        if any(id(part) in self.stale for part in tensors):
            raise self.refuse("a part of a tensor was changed in place")
        if not any(id(part) in self.known for part in tensors):
            return out
        name = func.overloadpacket.__name__
        handler = _KNOWN.get(name.removesuffix("_"))
        if handler is None:
            raise self.refuse(
                f"there is no {name}; there are linear layers, 2-D convolutions, batch norm, ReLU, leaky ReLU, tanh, "
                "sigmoid, nearest upsampling, sums, products, slices and concatenation"
            )
        node = handler(self, out, *args, **kwargs)
        if name.endswith("_") and not name.startswith("_"):
            self._changed(out, node)
        for tensor, made in zip(out, node, strict=True) if isinstance(node, list) else [(_first(out), node)]:
            self.known[id(tensor)] = made
            self.alive.append(tensor)
        return out

    def _changed(self, out: Tensor, node: Node) -> None:
        """The same memory under other names: all of it has the new value; what is only a part is lost."""
        place = out.untyped_storage().data_ptr()
        for tensor in self.alive:
            if id(tensor) in self.known and tensor.untyped_storage().data_ptr() == place:
                if tensor.numel() == out.numel():
                    self.known[id(tensor)] = node
                else:
                    del self.known[id(tensor)]
                    self.stale.add(id(tensor))

    def node(self, value: Tensor) -> Node:
        """Of a tensor; of a constant one that holds its numbers."""
        if id(value) in self.known:
            return self.known[id(value)]
        return Node("constant", [], value.numel(), {}, [_numbers(value)])

    def constant(self, value: Tensor | None, what: str) -> np.ndarray | None:
        if id(value) in self.known:
            raise self.refuse(f"its {what} depends on the vector")
        return None if value is None else _numbers(value, flat=False)


def _first(out: Any) -> Tensor:
    return out[0] if isinstance(out, (tuple, list)) else out


def _numbers(value: Tensor, flat: bool = True) -> np.ndarray:
    numbers = value.detach().double().numpy()
    return numbers.ravel() if flat else numbers


# What each operation of torch becomes. Handlers get the tape, the result and the operation's own arguments.


def _same_values(tape: _Tape, out: Tensor, x: Tensor, *_: Any, **__: Any) -> Node:
    if out.numel() != x.numel():
        raise tape.refuse(f"it repeats a tensor {tuple(x.shape)} as {tuple(out.shape)}")
    return tape.known[id(x)]


def _addmm(tape: _Tape, out: Tensor, bias: Tensor, x: Tensor, weight: Tensor, **factors: float) -> Node:
    if set(factors.values()) - {1}:
        raise tape.refuse(f"a linear layer with factors {factors}")
    return _linear(tape, x, weight, np.broadcast_to(tape.constant(bias, "bias"), (1, weight.shape[1]))[0])


def _mm(tape: _Tape, out: Tensor, x: Tensor, weight: Tensor) -> Node:
    return _linear(tape, x, weight, np.zeros(weight.shape[1]))


def _linear(tape: _Tape, x: Tensor, weight: Tensor, bias: np.ndarray) -> Node:
    w = tape.constant(weight, "weight").T
    if id(x) not in tape.known or len(x) != 1:
        raise tape.refuse(f"a product of matrices {tuple(x.shape)} and {tuple(weight.shape)}")
    return Node("linear", [tape.known[id(x)]], len(w), {}, [w, bias])


def _convolution(
    tape: _Tape, out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, stride: list[int], padding: list[int],
    dilation: list[int], transposed: bool, output_padding: list[int], groups: int,
) -> Node:
    if x.ndim != 4:
        raise tape.refuse(f"a convolution of {x.ndim - 2} dimensions; there are those of 2")
    if groups != 1 or set(dilation) != {1}:
        raise tape.refuse(f"a convolution in {groups} groups with dilation {tuple(dilation)}; both must be 1")
    w = tape.constant(weight, "weight")
    w = w.swapaxes(0, 1) if transposed else w  # (outputs, inputs, height, width)
    b = tape.constant(bias, "bias")
    about = {"from": list(x.shape[1:]), "to": list(out.shape[1:]), "kernel": list(w.shape[2:]), "stride": list(stride),
             "padding": list(padding), "transposed": bool(transposed)}
    return Node("conv", [tape.node(x)], out.numel(), about, [w, np.zeros(len(w)) if b is None else b])


def _batch_norm(
    tape: _Tape, out: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor | None,
    var: Tensor | None, *rest: Any,
) -> Node:
    if mean is None or var is None or (len(rest) == 3 and rest[0]):
        raise tape.refuse("it normalises by statistics of its input; batch norm must have running statistics")
    mean, var = tape.constant(mean, "mean"), tape.constant(var, "variance")
    scale = (1 if weight is None else tape.constant(weight, "weight")) / np.sqrt(var + rest[-1])
    shift = (0 if bias is None else tape.constant(bias, "bias")) - mean * scale
    return _affine(tape.known[id(x)], scale, shift)


def _activation(kind: str) -> Any:
    def handler(tape: _Tape, out: Tensor, x: Tensor, slope: float = 0.01) -> Node:
        about = {"slope": float(slope)} if kind == "leaky" else {}
        return Node(kind, [tape.known[id(x)]], x.numel(), about)

    return handler


def _upsample(tape: _Tape, out: Tensor, x: Tensor, *_: Any, **__: Any) -> Node:
    times = out.shape[2] // x.shape[2]
    if x.ndim != 4 or tuple(out.shape[2:]) != (times * x.shape[2], times * x.shape[3]):
        raise tape.refuse("upsampling of images by other than a whole number")
    return Node("up", [tape.known[id(x)]], out.numel(), {"from": list(x.shape[1:]), "times": times})


def _leading(tape: _Tape, x: Tensor, dim: int) -> int:
    """Numbers that belong to one place along ``dim``, before which no axis may be."""
    dim %= x.ndim
    if math.prod(x.shape[:dim]) != 1:
        raise tape.refuse(f"it cuts or joins along axis {dim} of a tensor {tuple(x.shape)}")
    return math.prod(x.shape[dim + 1 :])


def _cut(x: Node, start: int, size: int) -> Node:
    return Node("slice", [x], size, {"start": start}) if size != x.size else x


def _slice(
    tape: _Tape, out: Tensor, x: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Node:
    if step != 1:
        raise tape.refuse(f"a slice in steps of {step}")
    if out.shape == x.shape:
        return tape.known[id(x)]
    inner = _leading(tape, x, dim)
    first = range(x.shape[dim])[slice(start, end)].start
    return _cut(tape.known[id(x)], first * inner, out.numel())


def _split(tape: _Tape, out: Any, x: Tensor, sizes: Any, dim: int = 0) -> list[Node]:
    starts = np.cumsum([0, *(part.numel() for part in out)])
    if len(out) > 1:
        _leading(tape, x, dim)
    return [_cut(tape.known[id(x)], int(start), part.numel()) for start, part in zip(starts, out, strict=False)]


def _select(tape: _Tape, out: Tensor, x: Tensor, dim: int, index: int) -> Node:
    inner = _leading(tape, x, dim)
    return _cut(tape.known[id(x)], index % x.shape[dim] * inner, out.numel())


def _cat(tape: _Tape, out: Tensor, tensors: list[Tensor], dim: int = 0) -> Node:
    _leading(tape, out, dim)
    return Node("cat", [tape.node(x) for x in tensors], out.numel())


def _arithmetic(kind: str) -> Any:
    def handler(tape: _Tape, out: Tensor, a: Any, b: Any, *, alpha: float = 1) -> Node:
        if (id(a) in tape.known and id(b) in tape.known) or any(
            id(one) in tape.known and one.numel() != out.numel() for one in (a, b)
        ):
            return _both(tape, kind, out, a, b, alpha)
        one, other = (a, b) if id(a) in tape.known else (b, a)
        x, reverse = tape.known[id(one)], one is b
        c = other.detach().double() if isinstance(other, Tensor) else torch.tensor(float(other), dtype=torch.float64)
        c = _numbers(c.expand_as(out))
        if kind == "div" and reverse:
            raise tape.refuse("a division by what depends on the vector")
        sign = {"add": 1, "sub": -1}.get(kind, 0) * alpha
        if kind in ("mul", "div"):
            scale, shift = (c if kind == "mul" else 1 / c), np.zeros_like(c)
        elif reverse:  # a constant ± alpha x
            scale, shift = np.full_like(c, sign), c
        else:
            scale, shift = np.ones_like(c), sign * c
        return _affine(x, *_shortest(scale, shift, out.shape))

    return handler


def _affine(x: Node, scale: np.ndarray, shift: np.ndarray) -> Node:
    return Node("affine", [x], x.size, {"parts": len(scale)}, [scale, shift])


def _shortest(scale: np.ndarray, shift: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """One factor and summand for all, or for each channel, where that is enough: (2, parts)."""
    both = np.stack([scale, shift])
    for parts in (1, shape[1] if len(shape) > 1 else 1):
        blocks = both.reshape(2, parts, -1)
        if (blocks == blocks[..., :1]).all():
            return blocks[..., 0]
    return both


def _both(tape: _Tape, kind: str, out: Tensor, a: Any, b: Any, alpha: float) -> Node:
    if kind not in ("add", "mul") or alpha != 1:
        raise tape.refuse("a difference or quotient of two parts that both depend on the vector")
    nodes = []
    for x in (a, b):
        shape = [1] * (out.ndim - x.ndim) + list(x.shape)
        ahead = next((i for i in range(out.ndim) if shape[i] != out.shape[i]), out.ndim)
        if math.prod(shape[ahead:]) != 1:
            raise tape.refuse(f"it combines tensors {tuple(a.shape)} and {tuple(b.shape)}")
        nodes.append(tape.node(x))
    return Node(kind, nodes, out.numel())


def _rsub(tape: _Tape, out: Tensor, a: Any, b: Any, alpha: float = 1) -> Node:
    return _arithmetic("sub")(tape, out, b, a, alpha=alpha)


_VIEWS = ("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "alias", "detach", "clone", "contiguous",
          "_to_copy", "lift_fresh", "expand")  # fmt: skip
_KNOWN: dict[str, Any] = {
    **dict.fromkeys(_VIEWS, _same_values),
    "addmm": _addmm, "mm": _mm, "convolution": _convolution, "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": _batch_norm, "relu": _activation("relu"),
    "leaky_relu": _activation("leaky"), "tanh": _activation("tanh"), "sigmoid": _activation("sigmoid"),
    "upsample_nearest2d": _upsample, "slice": _slice, "split": _split, "split_with_sizes": _split, "select": _select,
    "cat": _cat, "add": _arithmetic("add"), "sub": _arithmetic("sub"), "mul": _arithmetic("mul"),
    "div": _arithmetic("div"), "rsub": _rsub,
}  # fmt: skip
