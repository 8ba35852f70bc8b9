"""Translation problems: images y in domain A and x in domain B, paired or not, from any cohort that has both."""

from __future__ import annotations

from dataclasses import replace

import torch

from medgan_lib.cohorts import load
from medgan_lib.cohorts.cohort import Cohort


def pairs(
    name: str,
    split: str = "train",
    *,
    source: str = "t1",
    target: str = "ct",
    size: int | None = None,
    n: int | None = None,
    seed: int = 0,
    **switches,
) -> Cohort:
    """Aligned images ``y`` of contrast ``source`` and ``x`` of contrast ``target``, and what else the cohort has.

    ``name`` is "heads", "brain_mr_contrasts", or a folder with A/ and B/ that hold files of equal names, where A is
    the source and B the target. ``switches`` are the cohort's own. Raises as `medgan_lib.cohorts.load` does.
    """
    if name in ("heads", "brain_mr_contrasts"):
        found = load(name, split, size=size, n=n, seed=seed, contrasts=(source, target), **switches)
        rest = {key: key for key in found.tensors if key not in ("x", source, target)}
        return found.select(x=target, y=source, **rest)
    found = load(name, split, size=size, n=n, seed=seed, **switches)
    if "y" not in found.tensors:
        raise ValueError(f"{name!r} has no pairs: give 'heads', 'brain_mr_contrasts' or a folder with A/ and B/")
    return found


def unpaired(a: Cohort, b: Cohort, seed: int = 0) -> dict[str, torch.Tensor]:
    """``a.x`` as "y" and ``b.x`` as "x" with equally many items, in an order that has nothing to do with pairs.

    Both are shuffled by ``seed``; the shorter one is repeated to the length of the longer. ValueError where a subject
    is in both: it would make the problem a paired one in disguise.
    """
    shared = set(a.subjects.tolist()) & set(b.subjects.tolist())
    if shared and a.name == b.name:
        raise ValueError(f"{len(shared)} subjects are in both domains; split them first, by Cohort.split_by_subject")
    n = max(len(a), len(b))
    draw = torch.Generator().manual_seed(seed)
    order = [torch.randperm(len(c), generator=draw).repeat(-(-n // len(c)))[:n] for c in (a, b)]
    return {"y": a.x[order[0]], "x": b.x[order[1]]}


def domains(paired: Cohort, seed: int = 0) -> tuple[Cohort, Cohort]:
    """Two cohorts of other subjects each, the first in domain A and the second in domain B, both as ``x``.

    For a cohort of `pairs`: half the subjects give only their y, the other half only their x.
    """
    first, second = paired.split_by_subject((0.5, 0.5), seed=seed)
    a, b = first.select(x="y"), second.select(x="x")
    return replace(a, note=f"{a.note}, domain A"), replace(b, note=f"{b.note}, domain B")


def unpaired_cohorts(
    name: str,
    split: str = "train",
    *,
    source: str = "t1",
    target: str = "ct",
    size: int | None = None,
    n: int | None = None,
    seed: int = 0,
    **switches,
) -> tuple[Cohort, Cohort]:
    """Two cohorts that share no subject as far as is known, images of domain A and of domain B, both as ``x``.

    ``name`` is "heads" or "brain_mr_contrasts", whose subjects are divided among the domains (`domains`), "brain_mr_ct"
    (A is MR, B is CT; nobody knows which slices are of one patient), or a folder with A/ and B/. ``n`` is the number
    of images of each domain; where subjects are divided it is met as nearly as they allow. ``source`` and ``target``
    choose contrasts of the two cohorts that have several. Raises as `medgan_lib.cohorts.load` does.
    """
    if name in ("heads", "brain_mr_contrasts"):
        both = None if n is None else 2 * n
        paired = pairs(name, split, source=source, target=target, size=size, n=both, seed=seed, **switches)
        return domains(paired)
    first, second = ("mr", "ct") if name == "brain_mr_ct" else ("A", "B")
    a, b = (load(name, split, size=size, n=n, seed=seed, domain=domain, **switches) for domain in (first, second))
    return a, b
