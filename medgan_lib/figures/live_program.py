"""Short lists of operations that make an image of a vector: made smaller, written for a page, and run here for a check.

The script `live_models.js` runs the same list, with the same weights, in the page.
"""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = float(np.finfo(np.float16).max)


@dataclass(eq=False)
class Node:
    """One operation, the number of numbers in its value, and its arrays, in the order in which the script reads them.

    ``constant``: the numbers; ``linear``: weight (size, inputs), bias; ``conv``: weight (outputs, inputs, height,
    width), bias; ``affine``: factors and summands, one for each of equally many neighbours. The others have none.
    """

    kind: str
    inputs: list[Node]
    size: int
    about: dict[str, Any] = field(default_factory=dict)
    arrays: list[np.ndarray] = field(default_factory=list)


@dataclass(frozen=True)
class Program:
    """``operations`` (for JSON) on value 0, the vector, each of which adds a value; the last value is the image.

    ``weights`` are the float16 numbers of all operations, one after the other, in base64; ``shape`` is the image's:
    (channels, height, width).
    """

    operations: tuple[dict[str, Any], ...]
    weights: str
    shape: tuple[int, int, int]

    @property
    def numbers(self) -> int:
        return len(base64.b64decode(self.weights)) // 2


def program(image: Node, shape: tuple[int, int, int]) -> Program:
    """The program that computes ``image``. ValueError for weights beyond float16."""
    order = _needed(image)
    _fold(order)
    order = _needed(image)
    place = {id(node): i for i, node in enumerate(order)}
    arrays = [np.ravel(array) for node in order for array in node.arrays]
    weights = np.concatenate(arrays) if arrays else np.zeros(0)
    if not np.abs(weights).max(initial=0) <= LARGEST:  # nor NaN
        raise ValueError(f"weights of G are not finite or above {LARGEST:g}, the largest number of float16")
    operations = tuple(
        {"kind": node.kind, "in": [place[id(x)] for x in node.inputs], "size": node.size, **node.about}
        for node in order[1:]
    )
    return Program(operations, base64.b64encode(weights.astype("<f2").tobytes()).decode(), shape)


def _needed(image: Node) -> list[Node]:
    """What ``image`` is computed from, each after its inputs; the vector comes first, needed or not."""
    order: list[Node] = []

    def visit(node: Node) -> None:
        if node not in order:
            for x in node.inputs:
                visit(x)
            order.append(node)

    visit(image)
    return sorted(order, key=lambda node: node.kind != "vector")


def _fold(order: list[Node]) -> None:
    """Batch norm into the layer before it; repeated pixels and the convolution behind them into one operation.

    A node takes the place of the one before it where nothing else needs that one's value.
    """
    uses = Counter(x for node in order for x in node.inputs)
    for node in order:
        before = node.inputs[0] if len(node.inputs) == 1 and uses[node.inputs[0]] == 1 else None
        if before is None:
            continue
        if node.kind == "affine" and before.kind in ("linear", "conv"):
            (weight, bias), (scale, shift) = before.arrays, node.arrays
            if len(weight) % len(scale) == 0:
                scale, shift = (np.repeat(part, len(weight) // len(scale)) for part in (scale, shift))
                node.kind, node.inputs, node.about = before.kind, before.inputs, before.about
                node.arrays = [weight * scale.reshape(-1, *[1] * (weight.ndim - 1)), bias * scale + shift]
        elif node.kind == "conv" and before.kind == "up" and before.about["times"] == 2 and _is_three_wide(node.about):
            weight, bias = node.arrays
            node.inputs, node.arrays = before.inputs, [weight[:, :, ::-1, ::-1], bias]
            node.about = {"from": before.about["from"], "to": node.about["to"], "kernel": [4, 4], "stride": [2, 2],
                          "padding": [1, 1], "transposed": True, "wide": True}  # fmt: skip
    for node in order:
        if node.kind == "conv" and "wide" not in node.about and node.about["transposed"] and _is_doubling(node.about):
            kernel = node.arrays[0]
            for axis in (2, 3):
                kernel = _narrowed(kernel, axis)
            if np.abs(widened(kernel) - node.arrays[0]).max() <= 1e-5 * np.abs(node.arrays[0]).max():
                node.arrays[0], node.about = kernel, {**node.about, "wide": True}


def _is_three_wide(about: dict[str, Any]) -> bool:
    return (about["kernel"], about["stride"], about["padding"], about["transposed"]) == ([3, 3], [1, 1], [1, 1], False)


def _is_doubling(about: dict[str, Any]) -> bool:
    return (about["kernel"], about["stride"], about["padding"]) == ([4, 4], [2, 2], [1, 1])


def _narrowed(kernel: np.ndarray, axis: int) -> np.ndarray:
    """The three numbers whose neighbours' sums the first three of four are."""
    a, b, c, _ = np.moveaxis(kernel, axis, 0)
    return np.stack([a, b - a, c - b + a], axis)


def widened(kernel: np.ndarray) -> np.ndarray:
    """(outputs, inputs, 3, 3) smoothed by a box of 2, which repeats pixels in a transposed convolution of stride 2."""
    for axis in (2, 3):
        ends = [[(0, 0)] * axis + [end] + [(0, 0)] * (3 - axis) for end in ((0, 1), (1, 0))]
        kernel = np.pad(kernel, ends[0]) + np.pad(kernel, ends[1])
    return kernel


def run(made: Program, vector: Tensor) -> Tensor:
    """The image (channels, height, width) that the page will show for ``vector``: from what is written, in torch."""
    import torch
    from torch.nn import functional as F

    numbers = np.frombuffer(base64.b64decode(made.weights), "<f2").astype(np.float32)
    at = 0

    def read(*shape: int) -> Tensor:
        nonlocal at
        at += (size := int(np.prod(shape)))
        return torch.from_numpy(numbers[at - size : at].reshape(shape))

    values = [vector.detach().cpu().float()]
    for step in made.operations:
        x = [values[i] for i in step["in"]]
        match step["kind"]:
            case "constant":
                y = read(step["size"])
            case "linear":
                y = read(step["size"], len(x[0])) @ x[0] + read(step["size"])
            case "conv":
                (inputs, *size), (outputs, *wanted) = step["from"], step["to"]
                if wide := step.get("wide"):
                    weight = torch.from_numpy(widened(read(outputs, inputs, 3, 3).numpy()))
                else:
                    weight = read(outputs, inputs, *step["kernel"])
                maps, options = x[0].view(1, inputs, *size), {"stride": step["stride"], "padding": step["padding"]}
                if wide or step["transposed"]:
                    least = [(n - 1) * s - 2 * p + k for n, s, p, k in zip(
                        size, step["stride"], step["padding"], step["kernel"], strict=True)]  # fmt: skip
                    more = [n - m for n, m in zip(wanted, least, strict=True)]
                    y = F.conv_transpose2d(maps, weight.transpose(0, 1), read(outputs), output_padding=more, **options)
                else:
                    y = F.conv2d(maps, weight, read(outputs), **options)
            case "affine":
                scale, shift = (read(step["parts"], 1) for _ in range(2))
                y = x[0].view(step["parts"], -1) * scale + shift
            case "up":
                y = F.interpolate(x[0].view(1, *step["from"]), scale_factor=float(step["times"]))
            case "slice":
                y = x[0][step["start"] : step["start"] + step["size"]]
            case "cat":
                y = torch.cat(x)
            case "add" | "mul" as kind:
                a, b = (part.repeat_interleave(step["size"] // len(part)) for part in x)
                y = a + b if kind == "add" else a * b
            case "leaky":
                y = F.leaky_relu(x[0], step["slope"])
            case kind:
                y = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}[kind](x[0])
        values.append(y.flatten())
    return values[-1].view(made.shape)
