"""Which subjects of a folder train, validate and test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medgan_lib import files
from medgan_lib.cohorts.cohort import SPLITS

SHARES = {"test": 0.15, "val": 0.15}  # of the subjects, at least one each; the others are "train"


def split_subjects(keys: Mapping[str, str], kind: str, notes: list[str]) -> tuple[dict[str, str], dict[str, int]]:
    """Split and subject number of every key, from the key's subject.

    70 % of the subjects are "train", 15 % "val", 15 % "test", drawn from the sorted names in a way that no seed
    changes. In an unpaired folder those in A only, those in B only and those in both are divided each on their own, so
    that no side is left without training images.
    """
    sides: dict[str, set[str]] = {}
    for key, subject in keys.items():
        sides.setdefault(subject, set()).add(key[0] if kind == "unpaired" else "")
    pools = [
        {subject for subject, here in sides.items() if here == where}
        for where in sorted({frozenset(here) for here in sides.values()}, key=sorted)
    ]
    of: dict[str, str] = {}
    for pool in pools:
        people = sorted(pool, key=lambda name: files.finding.natural(Path(name)))
        people = [people[i] for i in np.random.default_rng(0).permutation(len(people))]
        for order, (part, share) in enumerate(SHARES.items(), 2):
            count = max(1, round(share * len(pool))) if len(pool) >= order else 0
            of |= dict.fromkeys(people[:count], part)
            people = people[count:]
        of |= dict.fromkeys(people, "train")
    if len(keys) > 1 or len(pools) > 1:
        counts = {part: sum(one == part for one in of.values()) for part in SPLITS}
        notes.append("subjects: " + ", ".join(f"{count} {part}" for part, count in counts.items()))
    else:
        notes.append("there is one image: it is for training, and nothing is left to validate or test")
    numbers = {subject: number for number, subject in enumerate(sorted(of))}
    return {key: of[subject] for key, subject in keys.items()}, {key: numbers[subject] for key, subject in keys.items()}
