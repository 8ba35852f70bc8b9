"""Anomalies: normal images to learn from, others to judge with; B-scans laid flat and cut into patches.

A retina is bowed and tilted, and a scanner's gain differs from eye to eye: both vary far more than what is looked for.
`flattened` takes away the first, `levelled` the second, as Schlegl et al. (2017) did before they trained on patches.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from medgan_lib.cohorts import load
from medgan_lib.cohorts.cohort import Cohort

DEEPER = 1.2  # brightness that the lower edge has ahead of the upper one: nerve fibres are bright as well
ROUNDS, TOLERANCE = 10, 0.02  # of the robust fit; of the image's height
SPAN = 1.5  # largest difference from a patch's mean that can be shown


def epithelium(x: Tensor) -> Tensor:
    """Row of the pigment epithelium in B-scans (n, 1, h, w), float32 (n, w): a parabola through the brightest rows.

    The brightest row of each column, sought with a preference for deep ones, is fitted by weighted least squares.
    Rows far from the parabola lose their weight round by round, so that drusen, which lift the epithelium, do not
    take the parabola along.
    """
    h, w = x.shape[2:]
    smooth = F.avg_pool2d(F.pad(x.float(), (3, 3, 1, 1), mode="replicate"), (3, 7), 1)[:, 0]
    row = (smooth + DEEPER * torch.linspace(0, 1, h, device=x.device)[:, None]).argmax(1).double()
    t = torch.linspace(-1, 1, w, dtype=torch.float64, device=x.device)
    powers = torch.stack([torch.ones_like(t), t, t.square()], 1)
    weight = torch.ones_like(row)
    for _ in range(ROUNDS):
        left = torch.einsum("wi,nw,wj->nij", powers, weight, powers)
        right = torch.einsum("wi,nw,nw->ni", powers, weight, row)
        fitted = torch.linalg.solve(left, right) @ powers.T
        weight = 1 / (1 + ((row - fitted) / (TOLERANCE * h)).square())
    return fitted.float()


def flattened(cohort: Cohort, rows: int | None = None) -> Cohort:
    """B-scans moved column by column until the pigment epithelium is level, and ``rows`` (half the height) of them.

    Of these rows a fifth lies below the epithelium. Columns move by whole pixels, so that the speckle stays as it is.
    All images and masks of the cohort move along, by the epithelium of ``x``; per-column values are left out.
    """
    x = cohort.x
    rows = x.shape[2] // 2 if rows is None else rows
    top = epithelium(x).round().long() + rows // 5 - rows + 1
    index = (top[:, None] + torch.arange(rows)[:, None]).clamp(0, x.shape[2] - 1)[:, None]
    kept = {name: t for name, t in cohort.tensors.items() if t.ndim == 1 or t.shape[2:] == x.shape[2:]}
    moved = {name: t if t.ndim == 1 else t.gather(2, index.expand(-1, t.shape[1], -1, -1)) for name, t in kept.items()}
    return replace(
        cohort,
        tensors=moved,
        units={name: unit for name, unit in cohort.units.items() if name in moved},
        window={name: window for name, window in cohort.window.items() if name in moved},
        classes={name: names for name, names in cohort.classes.items() if name in moved},
    )


def cut(x: Tensor, stride: int | None = None) -> Tensor:
    """Square patches (n * k, c, h, h) along images (n, c, h, w), side by side or every ``stride`` pixels.

    The k patches of an image follow one another. ValueError where the width cannot be covered.
    """
    c, h, w = x.shape[1:]
    stride = stride or h
    if w < h or (w - h) % stride:
        raise ValueError(f"images of {h} x {w} pixels can't be cut into patches of {h} every {stride}")
    return x.unfold(3, h, stride).permute(0, 3, 1, 2, 4).reshape(-1, c, h, h)


def joined(patches: Tensor, images: int) -> Tensor:
    """Inverse of `cut` for patches side by side: ``images`` images (n, c, h, k * h)."""
    k = len(patches) // images
    c, h, _ = patches.shape[1:]
    return patches.view(images, k, c, h, h).permute(0, 2, 3, 1, 4).reshape(images, c, h, k * h)


def levelled(patches: Tensor) -> Tensor:
    """Patches (n, c, h, w) minus their own mean, at a fixed scale, in [-1, 1].

    In decibels a gain is a number that is added, so without their mean patches no longer depend on it.
    """
    return ((patches - patches.flatten(1).mean(1).view(-1, 1, 1, 1)) / SPAN).clamp(-1, 1)


class Task(NamedTuple):
    """Normal images to learn from, and images that judge: ``ill`` bool (n,), None where nobody knows it."""

    train: Tensor
    test: Cohort
    ill: Tensor | None
    mask: Tensor | None = None
    note: str = ""


def task(dataset: str, size: int, n: int | None = None, seed: int = 0) -> Task:
    """Anomalies in real images: "retina_oct", another cohort with labels, or a folder of one's own.

    Of "retina_oct" the B-scans of one eye are learned, and its last ones judge with those of other eyes *and scanners*;
    all are laid flat. Elsewhere the class "normal" is learned, or the most frequent one if none has that name, and
    every other class counts as anomalous. Without labels, an empty mask is normal; without masks, every image, and
    then ``ill`` is None. ``n`` limits the images that judge.
    """
    if dataset == "retina_oct":
        train, normal = (flattened(load(dataset, split, size=size)) for split in ("train", "test"))
        other = flattened(load(dataset, "test", size=size, part="pathological"))
        test = replace(
            normal,
            tensors={"x": torch.cat([normal.x, other.x])},
            subjects=torch.cat([normal.subjects, other.subjects]),
            spacing=None,
            note="real OCT B-scans laid flat: the normal ones of one eye, the abnormal ones of other eyes and scanners",
        )
        return Task(train.x, test, torch.arange(len(test)) >= len(normal), note="one eye is learned")
    train, test = load(dataset, "train", size=size), load(dataset, "test", size=size)
    mask = test["mask"] != 0 if "mask" in test.tensors else None
    if "label" in train.tensors:
        names = [name.lower() for name in train.classes["label"]]
        normal = names.index("normal") if "normal" in names else int(train["label"].bincount().argmax())
        keep, ill = train["label"] == normal, test["label"] != normal
        note = f"class {train.classes['label'][normal]!r} is taken for normal, every other class for abnormal"
    elif mask is not None:
        keep, ill = ~(train["mask"] != 0).flatten(1).any(1), mask.flatten(1).any(1)
        note = "no labels.csv: an image with an empty mask is taken for normal"
    else:
        keep, ill = torch.ones(len(train), dtype=torch.bool), torch.zeros(len(test), dtype=torch.bool)
        note = "neither labels.csv nor masks: every image is taken for normal, and the held-out ones are only ranked"
    if not keep.any():
        raise ValueError(f"{dataset}: no normal image to learn from")
    if n is not None and n < len(test):
        chosen = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))[:n]
        test, ill, mask = test[chosen], ill[chosen], None if mask is None else mask[chosen]
    return Task(train.x[keep], test, ill if 0 < int(ill.sum()) < len(ill) else None, mask, note)
