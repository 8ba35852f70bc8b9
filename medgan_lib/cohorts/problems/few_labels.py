"""Few labels: which items have one, and labelled beside unlabelled items in sets of unequal size."""

from __future__ import annotations

import torch
from torch import Tensor


def draw_labelled(label: Tensor, n: int, classes: int, seed: int = 0) -> Tensor:
    """Indices int64 (n,) of items that get to keep their label: as many of each class, drawn by ``seed``.

    ``label`` int64 (items,) in 0..classes-1. The draw of a smaller n is part of that of a larger one. ValueError
    where n is no multiple of ``classes`` from ``classes`` on, or a class has too few items.
    """
    check_labels(label, classes)
    if n < classes or n % classes:
        raise ValueError(f"{n} labels can't be dealt out evenly to {classes} classes: choose a multiple of {classes}")
    counts = torch.bincount(label, minlength=classes)
    if counts.min() < n // classes:
        few = int(counts.argmin())
        raise ValueError(f"{n} labels need {n // classes} items of every class, class {few} has {int(counts[few])}")
    draw = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(label), generator=draw)
    by_class = [order[label[order] == k][: n // classes] for k in range(classes)]
    return torch.stack(by_class, 1).flatten()


def check_labels(label: Tensor, classes: int) -> None:
    """ValueError, with one reason, where labels are none for K = ``classes`` classes, or where a class has no item."""
    if label.dtype != torch.int64 or label.ndim != 1:
        raise ValueError(f"labels must be int64 of shape (n,), they are {label.dtype} {tuple(label.shape)}")
    if len(label) and not 0 <= int(label.min()) <= int(label.max()) < classes:
        raise ValueError(
            f"labels must be from 0 to {classes - 1}, they are from {int(label.min())} to {int(label.max())}"
        )
    there = label.unique().tolist()
    if len(there) == 1:
        raise ValueError(f"all {len(label)} labels are {there[0]}: there is nothing to tell apart")
    if missing := sorted(set(range(classes)) - set(there)):
        raise ValueError(f"no labelled item of class {', '.join(map(str, missing))}")


def repeated(labelled: dict[str, Tensor], u: Tensor, *, classes: int | None = None, seed: int = 0) -> dict[str, Tensor]:
    """What methods with few labels train on: the ``labelled`` tensors and, as "u", unlabelled images, equally many.

    labelled: images "x" (n, channels, *size) and "label" int64 (n,) in 0..classes-1, or "mask" (n, 1, *size) of 0 and
    1. u: (m, channels, *size), with or without those of "x" among them. Both are shuffled by ``seed``, and the smaller
    set is repeated, in whole passes and another order each time, to the length of the larger. ValueError for no
    unlabelled or no labelled images, shapes that don't fit, values that are not finite, masks of other values than 0
    and 1, and as `check_labels`.
    """
    x = labelled["x"]
    if not len(u) or not len(x):
        raise ValueError(f"{len(x)} labelled and {len(u)} unlabelled images: there must be some of both")
    if x.shape[1:] != u.shape[1:]:
        raise ValueError(
            f"labelled images {tuple(x.shape[1:])} and unlabelled ones {tuple(u.shape[1:])} differ in shape"
        )
    for what, images in (("labelled", x), ("unlabelled", u)):
        if not torch.isfinite(images).all():
            raise ValueError(f"{what} images have values that are not finite (NaN or infinity)")
    if "label" in labelled:
        check_labels(labelled["label"], int(labelled["label"].max()) + 1 if classes is None else classes)
    if "mask" in labelled:
        check_masks(labelled["mask"], x)
    n = max(len(x), len(u))
    draw = torch.Generator().manual_seed(seed)
    first, second = (_passes(len(part), n, draw) for part in (x, u))
    return {name: tensor[first] for name, tensor in labelled.items()} | {"u": u[second]}


def check_masks(mask: Tensor, x: Tensor) -> None:
    """ValueError for masks that are not (n, 1, *size) like the images x, or hold other values than 0 and 1."""
    if mask.shape != (len(x), 1, *x.shape[2:]):
        raise ValueError(f"masks {tuple(mask.shape)} do not fit images {tuple(x.shape)}")
    if unknown := sorted(set(mask.unique().tolist()) - {0, 1}):
        raise ValueError(f"masks must be 0 or 1, there are also {', '.join(map(str, unknown[:3]))}")


def _passes(count: int, n: int, draw: torch.Generator) -> Tensor:
    return torch.cat([torch.randperm(count, generator=draw) for _ in range(-(-n // count))])[:n]
