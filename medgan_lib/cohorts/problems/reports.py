"""Templated sentences and tags that say what the simulation of `nodules` knows. They are no radiological language.

``size`` is small below 6 mm, large from 10 mm on; ``margin`` is smooth below 1/3, spiculated from 2/3 on; a place is
named where the centre lies more than 0.8 mm off the middle of the patch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from medgan_lib.cohorts.cohort import Cohort

SIZES, SIZE_EDGES = ("small", "medium", "large"), (6.0, 10.0)  # mm
MARGINS, MARGIN_EDGES = ("smooth", "lobulated", "spiculated"), (1 / 3, 2 / 3)
DENSITIES = ("solid", "part-solid")
PLACES = ("upper", "lower", "left", "right")
MIDDLE = 0.8  # mm, a centre nearer to the middle is on no side
TAGS = (*SIZES, *MARGINS, *DENSITIES, *PLACES)
GROUPS = (SIZES, MARGINS, DENSITIES)  # of each of them a nodule has exactly one tag

TEMPLATES = (
    "{size} {margin} {density} nodule in the {place}",
    "in the {place} there is a {size} nodule, {margin} and {density}",
    "{density} nodule of {size} size, {margin} rather than {other}, {place}",
    "{place}: {margin} nodule, {density}, {size}",
    "the nodule in the {place} is {size} and {density}, not {other} but {margin}",
)


class Reports(NamedTuple):
    """``sentences``, one a nodule; ``tags`` bool (n, 12) in the order of `TAGS`."""

    sentences: list[str]
    tags: Tensor


def describe(cohort: Cohort, seed: int = 0) -> Reports:
    """A sentence and the tags of every item of `nodules`.

    Template and the rejected margin of a sentence are drawn by ``seed`` and the item's subject, so an item has the same
    sentence in any subset. ValueError for a cohort without diameter, margin, part_solid and centre.
    """
    missing = [name for name in ("diameter", "margin", "part_solid", "centre") if name not in cohort.tensors]
    if missing:
        raise ValueError(f"cohort {cohort.name!r} has no {', '.join(missing)}: only 'nodules' can be described")
    size = torch.bucketize(cohort["diameter"], torch.tensor(SIZE_EDGES), right=True)
    margin = torch.bucketize(cohort["margin"], torch.tensor(MARGIN_EDGES), right=True)
    # -1 upper or left, 1 lower or right
    side = (cohort["centre"] > MIDDLE).long() - (cohort["centre"] < -MIDDLE).long()
    sentences = []
    for i, subject in enumerate(cohort.subjects.tolist()):
        rng = np.random.default_rng([seed, subject])
        own = MARGINS[margin[i]]
        others = [name for name in MARGINS if name != own]
        sentences.append(
            TEMPLATES[rng.integers(len(TEMPLATES))].format(
                size=SIZES[size[i]],
                margin=own,
                density=DENSITIES[cohort["part_solid"][i]],
                place=place(*side[i].tolist()),
                other=others[rng.integers(2)],
            )
        )
    groups = ((size, SIZES), (margin, MARGINS), (cohort["part_solid"], DENSITIES))
    columns = [value == k for value, names in groups for k in range(len(names))]
    columns += [side[:, axis] == sign for axis in range(2) for sign in (-1, 1)]
    return Reports(sentences, torch.stack(columns, 1))


def r_precision(score: Tensor, tags: Tensor, order: Tensor | None = None, *, others: int = 19, seed: int = 0) -> float:
    """How often the right report fits an image best, among ``others`` that say something else.

    ``score`` (n, k) are a reader's logits for the tags of n images, ``tags`` (n, k) bool those of n reports; report
    ``order[i]`` is the right one of image i (by default i). A report fits as well as its tags are likely together,
    each by itself. The others are drawn anew for each image, by ``seed``, out of those that differ in a tag. Guessing
    finds 1 / (others + 1). ValueError where there are too few of them.
    """
    order = torch.arange(len(score)) if order is None else order
    score, known = score.double(), tags.double()
    fits = logsigmoid(score) @ known.T + logsigmoid(-score) @ (1 - known).T
    generator, found = torch.Generator().manual_seed(seed), 0
    for i, right in enumerate(order.tolist()):
        different = torch.nonzero((tags != tags[right]).any(1)).flatten()
        if len(different) < others:
            raise ValueError(f"report {right} has only {len(different)} others that differ from it, not {others}")
        different = different[torch.randperm(len(different), generator=generator)[:others]]
        found += bool(fits[i, right] > fits[i, different].max())
    return found / len(score)


def place(down: int, right: int) -> str:
    """Words for a direction whose two coordinates are -1, 0 or 1: "upper left", "middle right", "middle"."""
    if not down and not right:
        return "middle"
    return f"{('upper', 'middle', 'lower')[down + 1]} {('left', 'middle', 'right')[right + 1]}"
