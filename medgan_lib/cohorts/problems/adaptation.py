"""Domain adaptation problems: labelled images of a source domain and images of a target domain, without pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from medgan_lib.cohorts.cohort import Cohort


def two_domains(source: Cohort, target: Cohort, label: str = "label", seed: int = 0) -> dict[str, Tensor]:
    """What `methods.DANN` trains on: "x" and "label" of the source and "target", the images of the target alone.

    ``label`` names the source's labels, int64 or bool: classes (n,), or masks (n, 1, *size), which come out as
    (n, *size). Both domains are shuffled by ``seed`` and the shorter one is repeated to the length of the longer, so
    that every batch holds equally many of both. The labels of the target are looked at for one thing: whether they
    hold a class that the source hasn't. Raises ValueError for an empty domain, images of two sizes or numbers of
    channels, subjects that are in both domains of one cohort, labels that ``classes`` don't name, a source with a
    single class, or a class of the target that is missing in the source.
    """
    for what, cohort in (("source", source), ("target", target)):
        if not len(cohort):
            raise ValueError(f"the {what} domain ({cohort.name}) is empty")
    if source.x.shape[1:] != target.x.shape[1:]:
        raise ValueError(
            f"images of the source are {tuple(source.x.shape[1:])}, those of the target {tuple(target.x.shape[1:])}: "
            "both need the same channels and size"
        )
    shared = set(source.subjects.tolist()) & set(target.subjects.tolist())
    if shared and source.name == target.name:
        raise ValueError(f"{len(shared)} subjects are in both domains; split them first, by Cohort.split_by_subject")
    y = labels(source, label)
    present = y.unique()
    if len(present) < 2:
        raise ValueError(f"the source has a single class in {label!r}, {name(source, label, present[0])}")
    if label not in source.classes and present[-1] >= len(present):
        raise ValueError(f"{label!r} of {source.name} holds {present.tolist()}: it must be 0, 1, ... without a gap")
    if label in target.tensors:
        missing = [c for c in labels(target, label).unique() if c not in present]
        if missing:
            raise ValueError(
                f"the target has {', '.join(name(target, label, c) for c in missing)} in {label!r}, the source hasn't: "
                "nobody can learn it there"
            )
    n = max(len(source), len(target))
    draw = torch.Generator().manual_seed(seed)
    S, T = (torch.randperm(len(c), generator=draw).repeat(-(-n // len(c)))[:n] for c in (source, target))
    return {"x": source.x[S], "label": y[S], "target": target.x[T]}


def labels(cohort: Cohort, label: str = "label") -> Tensor:
    """Classes int64 (n,), or (n, *size) where ``label`` is a mask (n, 1, *size).

    Raises ValueError for another type or shape, and for values below 0 or beyond the classes that the cohort names.
    """
    y = cohort[label]
    if y.dtype not in (torch.int64, torch.bool):
        raise ValueError(f"{label!r} of {cohort.name} must be int64 or bool, not {y.dtype}")
    y = y.long()
    if y.ndim > 1:
        if y.shape[1:] != (1, *cohort.x.shape[2:]):
            raise ValueError(f"{label!r} of {cohort.name} is {tuple(y.shape)}, its images {tuple(cohort.x.shape)}")
        y = y[:, 0]
    values, names = y.unique().tolist(), cohort.classes.get(label)
    if values and (values[0] < 0 or (names and values[-1] >= len(names))):
        known = f"0 to {len(names) - 1}" if names else "numbers from 0"
        raise ValueError(f"{label!r} of {cohort.name} holds {values}, but its classes are {known}")
    return y


def name(cohort: Cohort, label: str, value: Tensor) -> str:
    names = cohort.classes.get(label)
    return names[int(value)] if names else f"class {int(value)}"
