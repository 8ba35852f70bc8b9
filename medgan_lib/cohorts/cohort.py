"""`Cohort`: named tensors of the same subjects, with what a number in them means."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

SPLITS = ("train", "val", "test")
ORIGINS = ("embedded", "real")


class Window(NamedTuple):
    """The two values in units that -1 and +1 stand for: what every image of the library is seen through."""

    low: float
    high: float

    @property
    def span(self) -> float:
        """The data range in units: what [-1, 1] stands for."""
        return self.high - self.low

    def scale(self, values: Any, clip: bool = True) -> Tensor:
        """Values in units (a tensor or an array of any shape) -> [-1, 1], linear.

        float64 stays float64, and all else becomes float32, in which it is computed. What lies outside of the window
        is clipped, or without ``clip`` leaves [-1, 1].
        """
        values = torch.as_tensor(values)
        values = values if values.dtype == torch.float64 else values.float()
        scaled = (values - self.low) * (2 / self.span) - 1
        return scaled.clamp(-1, 1) if clip else scaled

    def units(self, x: Tensor) -> Tensor:
        """Inverse of `scale` where nothing was clipped: x in [-1, 1], of any shape, in units."""
        return self.low + (x + 1) * (self.span / 2)

    def __str__(self) -> str:
        return f"({self.low}, {self.high})"


@dataclass(frozen=True, eq=False)
class Cohort:
    """What a chapter trains on.

    ``tensors`` have one entry per item along their first dimension n; the primary one is called ``x``. Images are
    float32 (n, channels, *spatial) in [-1, 1], class labels int64 (n,), masks bool (n, 1, *spatial), and physical
    factors float32 (n, ...) in ``units``. ``subjects`` (n,) int64 says whom an item is of: splits keep subjects
    together. For every tensor in ``window``, -1 and +1 stand for those two values in ``units``; a pair of
    numbers becomes a `Window`. ``origin`` is "embedded" (simulated, or bundled with a library) or "real". ``spacing``
    is mm per pixel along the spatial axes, None where it is unknown or has no meaning. ``classes`` names the values of
    label tensors, ``truth`` holds constants of a simulation, ``note`` is one line for captions.
    """

    name: str
    tensors: dict[str, Tensor]
    subjects: Tensor
    units: dict[str, str]
    window: dict[str, Window]
    origin: str
    split: str
    spacing: tuple[float, ...] | None = None
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    note: str = ""
    truth: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        def require(condition: bool, message: str) -> None:
            if not condition:
                raise ValueError(f"cohort {self.name!r}: {message}")

        require(bool(self.tensors), "needs at least one tensor")
        require(self.origin in ORIGINS, f"origin is {self.origin!r}, must be one of {', '.join(ORIGINS)}")
        require(self.split in SPLITS, f"split is {self.split!r}, must be one of {', '.join(SPLITS)}")
        require(self.subjects.dtype == torch.int64 and self.subjects.ndim == 1, "subjects must be int64 of shape (n,)")
        require(self.spacing is None or all(mm > 0 for mm in self.spacing), "spacing must be positive (mm)")
        for key, tensor in self.tensors.items():
            require(
                tensor.ndim > 0 and len(tensor) == len(self),
                f"tensor {key!r} has shape {tuple(tensor.shape)}, its first dimension must be the {len(self)} items",
            )
            if tensor.is_floating_point():
                require(bool(torch.isfinite(tensor).all()), f"tensor {key!r} has values that are not finite")
        for what, names in (("units", self.units), ("window", self.window), ("classes", self.classes)):
            unknown = sorted(set(names) - set(self.tensors))
            require(not unknown, f"{what} for {unknown}, but the tensors are {sorted(self.tensors)}")
        object.__setattr__(self, "window", {key: Window(*pair) for key, pair in self.window.items()})
        for key, window in self.window.items():
            require(window.low < window.high, f"the window of {key!r} must rise, it is {window}")
            image = self.tensors[key]
            if image.ndim > 2 and image.numel():
                bound = float(image.abs().max())
                require(bound <= 1 + 1e-5, f"image {key!r} reaches {bound:.4g}, but images lie in [-1, 1]")
        for key, names in self.classes.items():
            label = self.tensors[key]
            require(
                label.dtype == torch.int64 and (not len(self) or 0 <= label.min() <= label.max() < len(names)),
                f"label {key!r} must be int64 in 0..{len(names) - 1}",
            )

    @property
    def x(self) -> Tensor:
        """The primary tensor. ValueError if there is none yet: choose it by `select`."""
        return self._tensor("x")

    def __len__(self) -> int:
        return len(self.subjects)

    def __getitem__(self, key: str | int | slice | Sequence[int] | Tensor) -> Tensor | Cohort:
        """A name gives that tensor; an index, slice, list or (boolean or integer) tensor gives a `subset`."""
        return self._tensor(key) if isinstance(key, str) else self.subset(key)

    def _tensor(self, name: str) -> Tensor:
        if name not in self.tensors:
            hint = f"; choose the primary one by select(x={next(iter(self.tensors))!r})" if name == "x" else ""
            raise ValueError(f"cohort {self.name!r} has no tensor {name!r}, only {', '.join(self.tensors)}{hint}")
        return self.tensors[name]

    def to_units(self, image: Tensor, name: str = "x") -> Tensor:
        """Values of tensor ``name`` (or made like it) in ``units``, of any shape; linear, without clipping."""
        return self._window(name).units(image)

    def from_units(self, values: Tensor, name: str = "x") -> Tensor:
        """Inverse of `to_units`: float32 (float64 stays), not clipped, so values off the window leave [-1, 1]."""
        values = torch.as_tensor(values)
        scaled = self._window(name).scale(values.double(), clip=False)
        return scaled if values.dtype == torch.float64 else scaled.float()

    def _window(self, name: str) -> Window:
        if name not in self.window:
            raise ValueError(f"cohort {self.name!r} has no window for {name!r}, only for {', '.join(self.window)}")
        return self.window[name]

    def select(self, **names: str) -> Cohort:
        """The named tensors and no others, under new names: ``heads.select(x="ct", y="t1")`` makes CT the primary."""
        tensors = {new: self._tensor(old) for new, old in names.items()}

        def renamed(mapping: dict[str, Any]) -> dict[str, Any]:
            return {new: mapping[old] for new, old in names.items() if old in mapping}

        return replace(
            self,
            tensors=tensors,
            units=renamed(self.units),
            window=renamed(self.window),
            classes=renamed(self.classes),
        )

    def subset(self, index: int | slice | Sequence[int] | Tensor) -> Cohort:
        """The items at ``index`` (int, slice, list, integer or boolean tensor), in that order."""
        if isinstance(index, int):
            index = [index]
        if not isinstance(index, slice):
            index = torch.as_tensor(index)
            if not index.numel():
                index = index.long()
        tensors = {key: tensor[index] for key, tensor in self.tensors.items()}
        return replace(self, tensors=tensors, subjects=self.subjects[index])

    def split_by_subject(self, fractions: Sequence[float], seed: int = 0) -> tuple[Cohort, ...]:
        """Disjoint parts holding these fractions of the *subjects*, drawn by ``seed``; no subject is in two parts.

        ValueError if the fractions do not add up to 1, or if a part would have no subject.
        """
        shares = torch.tensor(list(fractions), dtype=torch.float64)
        if not len(shares) or bool((shares <= 0).any()) or abs(float(shares.sum()) - 1) > 1e-6:
            raise ValueError(f"fractions must be positive and add up to 1, they are {tuple(fractions)}")
        people = self.subjects.unique()
        people = people[torch.randperm(len(people), generator=torch.Generator().manual_seed(seed))]
        ends = (shares.cumsum(0) * len(people)).round().long().tolist()
        starts = [0, *ends[:-1]]
        if any(start >= end for start, end in zip(starts, ends, strict=True)):
            raise ValueError(f"{len(people)} subjects are too few for parts of {tuple(fractions)}")
        return tuple(
            self.subset(torch.isin(self.subjects, people[start:end])) for start, end in zip(starts, ends, strict=True)
        )

    def digest(self) -> str:
        """SHA-256 of everything a result can depend on: tensors, subjects, units, windows, spacing. Not of ``note``."""
        sha = hashlib.sha256()
        meta = [self.name, self.split, self.origin, self.spacing, self.units, self.window, self.classes]
        sha.update(json.dumps(meta, sort_keys=True).encode())
        for key, tensor in [("", self.subjects), *sorted(self.tensors.items())]:
            sha.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
            # the bytes as they are: NumPy knows no bfloat16
            sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return sha.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Facts for a data card: counts, and per tensor shape, type, units and the range in units."""

        def facts(key: str, tensor: Tensor) -> dict[str, Any]:
            shown = self.to_units(tensor, key) if key in self.window else tensor
            found = {"shape": tuple(tensor.shape[1:]), "dtype": str(tensor.dtype).removeprefix("torch.")}
            if key in self.units:
                found["units"] = self.units[key]
            if key in self.window:
                found["window"] = self.window[key]
            if key in self.classes:
                counts = torch.bincount(tensor.flatten(), minlength=len(self.classes[key])).tolist()
                found["classes"] = dict(zip(self.classes[key], counts, strict=True))
            elif tensor.numel():
                found["range"] = (float(shown.min()), float(shown.max()))
            return found

        return {
            "name": self.name,
            "split": self.split,
            "origin": self.origin,
            "items": len(self),
            "subjects": len(self.subjects.unique()),
            "spacing_mm": self.spacing,
            "tensors": {key: facts(key, tensor) for key, tensor in self.tensors.items()},
            "note": self.note,
        }


def subject_ids(split: str, seed: int, n: int) -> Tensor:
    """(n,) int64 numbers that no other split, seed or position of a simulation has."""
    return ((SPLITS.index(split) << 20 | seed) << 32) + torch.arange(n)


def draw(name: str, available: np.ndarray, n: int | None, seed: int) -> np.ndarray:
    """``n`` of the ``available`` indices without repetition, drawn by ``seed``; all of them, in order, for None.

    ValueError if there are fewer.
    """
    if n is None:
        return available
    if n > len(available):
        raise ValueError(f"{name!r} has {len(available)} such items, {n} were asked for; ask for n <= {len(available)}")
    return np.random.default_rng(seed).permutation(available)[:n]
