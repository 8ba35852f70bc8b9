"""Minibatches of a cohort that lies on the device, or on the host where it is too large: whole or random crops."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm

from medgan_lib.networks import InstanceNorm
from medgan_lib.training.placement import channels_last


class Sampler:
    """Minibatches from shuffled passes over the cohort, on the device.

    A minibatch longer than the rest of a pass goes on in the next, so small cohorts need no special case. With
    ``crop``, a size for each spatial axis, images are cut at a place drawn anew for every sample, the same in all
    tensors of ``cropped``. ``storage`` is where the cohort lies, by default `storage_for` the device. All random
    numbers are drawn on the device, so that a seed gives the same minibatches wherever the cohort lies.
    """

    def __init__(
        self,
        tensors: dict[str, Tensor],
        size: int,
        device: torch.device,
        crop: tuple[int, ...] | None = None,
        storage: torch.device | None = None,
    ) -> None:
        self.storage = storage_for(tensors, device) if storage is None else storage
        self.tensors = {name: channels_last(tensor.to(self.storage)) for name, tensor in tensors.items()}
        self.size, self.device, self.crop = size, device, crop
        self.n = len(next(iter(tensors.values())))
        self.order, self.position = torch.empty(0, dtype=torch.int64, device=self.storage), 0
        self.cropped = {} if crop is None else same_size(tensors)

    def draw(self) -> dict[str, Tensor]:
        while self.position + self.size > len(self.order):
            # From another storage this waits for the device, but once a pass.
            shuffled = torch.randperm(self.n, device=self.device).to(self.storage)
            self.order, self.position = torch.cat([self.order[self.position :], shuffled]), 0
        index = self.order[self.position : self.position + self.size]
        self.position += self.size
        tensors = self.tensors
        if self.storage != self.device:
            tensors = {name: sent(take(tensor, index), self.device) for name, tensor in tensors.items()}
            index = torch.arange(self.size, device=self.device)
        if self.crop is None:
            return {name: take(tensor, index) for name, tensor in tensors.items()}
        room = [here - wanted + 1 for here, wanted in zip(tensors["x"].shape[2:], self.crop, strict=True)]
        corner = [torch.randint(places, (self.size,), device=self.device) for places in room]
        return {
            name: take_crops(tensor, index, corner, self.crop) if name in self.cropped else take(tensor, index)
            for name, tensor in tensors.items()
        }

    def state(self) -> dict[str, Any]:
        return {"order": self.order[self.position :].clone()}

    def restore(self, state: dict[str, Any]) -> None:
        self.order, self.position = state["order"].to(self.storage), 0


def storage_for(tensors: dict[str, Tensor], device: torch.device) -> torch.device:
    """The device itself, or the host where that is a GPU in which the tensors would take too much room (`fits`)."""
    if device.type != "cuda":
        return device
    free = torch.cuda.mem_get_info(device)[0]
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # kept by torch for its next use
    needed = sum(tensor.nbytes for tensor in tensors.values() if not tensor.is_cuda)
    return device if fits(needed, free) else torch.device("cpu")


def fits(needed: int, free: int) -> bool:
    """Whether so many bytes leave at least half of the free ones to the networks and what they compute."""
    return 2 * needed <= free


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on another device. The host doesn't wait until it has got to a GPU: it leaves from pinned memory."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def tensors_of(cohort: Any) -> dict[str, Tensor]:
    """The tensors of a Cohort or of a dict. ValueError unless they hold equally many samples, and some."""
    tensors = getattr(cohort, "tensors", cohort)
    if not (isinstance(tensors, Mapping) and tensors and all(isinstance(t, Tensor) for t in tensors.values())):
        raise ValueError("cohort must be a Cohort or a dict of tensors, such as {'x': images}")
    lengths = {name: len(tensor) if tensor.ndim else 0 for name, tensor in tensors.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ValueError(f"the tensors of a cohort must hold equally many samples, and some; here {lengths}")
    return dict(tensors)


def same_size(tensors: dict[str, Tensor]) -> set[str]:
    """The names of what is cut with "x": images of its spatial size (n, channels, *size), maps without channels too."""
    size = tuple(tensors["x"].shape[2:])
    flat = len(size) == 1  # then a map without channels looks like a vector of numbers, and is taken for one
    return {
        name
        for name, tensor in tensors.items()
        if tuple(tensor.shape[2:]) == size or (tuple(tensor.shape[1:]) == size and not flat)
    }


def crop_of(
    crop: int | tuple[int, ...] | None, tensors: dict[str, Tensor], method: nn.Module
) -> tuple[int, ...] | None:
    """``crop`` as one size for each spatial axis of "x"; warns where the method's networks see the whole image.

    ValueError for sizes that make no sense or are larger than the images, and for a second image of another size,
    whose crops wouldn't show the same place.
    """
    if crop is None:
        return None
    x = tensors.get("x")
    if x is None or x.ndim < 3:
        raise ValueError("crop needs images 'x' (n, channels, *size) in the cohort")
    size = tuple(x.shape[2:])
    sizes = tuple(crop) if isinstance(crop, tuple | list) else (crop,) * len(size)
    if len(sizes) != len(size) or any(isinstance(s, bool) or not isinstance(s, int) or s < 1 for s in sizes):
        raise ValueError(f"crop is {crop!r}, but must be a whole number or {len(size)} of them, one for each axis")
    if any(wanted > here for wanted, here in zip(sizes, size, strict=True)):
        raise ValueError(f"crop {sizes} is larger than the images, which are {size}: crop less or pad the images")
    other = {
        name: tuple(tensor.shape[2:])
        for name, tensor in tensors.items()
        if tensor.ndim == x.ndim and tensor.shape[2:] != x.shape[2:]
    }
    if other:
        raise ValueError(f"x has the size {size}, but {other}: crops of images of unequal size show different places")
    norms = (InstanceNorm, _InstanceNorm, nn.GroupNorm)
    if sizes != size and any(isinstance(m, norms) for net in method.networks().values() for m in net.modules()):
        warnings.warn(
            f"{type(method).__name__} has networks with instance or group norm, which learn the statistics of crops of"
            f" {sizes}: apply them to tiles of this size, put together afterwards, and not to whole images of {size}",
            UserWarning,
            stacklevel=3,
        )
    return sizes


def take(tensor: Tensor, index: Tensor) -> Tensor:
    """Copies whole samples in one piece: images lie as (n, h, w, c) and only look like (n, c, h, w)."""
    if tensor.ndim == 4:
        return tensor.permute(0, 2, 3, 1).index_select(0, index).permute(0, 3, 1, 2)
    return tensor.index_select(0, index)


def take_crops(tensor: Tensor, index: Tensor, corner: list[Tensor], size: tuple[int, ...]) -> Tensor:
    """Crops of ``size`` of the samples at ``index``, the first pixel of each at ``corner``, one tensor an axis.

    All windows of a tensor are a view of it, so one gather on the device copies the crops and nothing else. Images
    lie channels-last again.
    """
    dims = len(size)
    channels = tensor.ndim == dims + 2
    windows = tensor.movedim(1, -1) if channels else tensor  # (n, *size, channels)
    for axis, length in enumerate(size, 1):
        windows = windows.unfold(axis, length, 1)  # (n, *places, channels, *crop)
    if channels:
        windows = windows.movedim(dims + 1, -1)  # (n, *places, *crop, channels)
    crops = windows[(index, *corner)]
    return channels_last(crops.movedim(-1, 1)) if channels else crops
