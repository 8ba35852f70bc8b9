"""Heads for tests, with a cache of their own."""

from medgan_lib import cohorts
from medgan_lib.cohorts.simulated import heads

MR = ("t1", "t2", "flair", "gre")


LABEL = {name: index for index, name in enumerate(heads.LABELS)}


def load(n=12, split="train", **switches):
    return cohorts.load("heads", split, n=n, **switches)


def median(cohort, contrast, label):
    return float(cohort.to_units(cohort[contrast], contrast)[cohort["labels"] == LABEL[label]].median())
