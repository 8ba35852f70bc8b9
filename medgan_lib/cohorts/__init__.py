"""What a chapter trains on: `load` gives a `Cohort` by name or from a folder, `names` lists what exists.

Embedded cohorts (simulated, or bundled with a library) need no download and their truth is known. Real ones are read
from a folder of prepared data sets, see `medgan_lib.cohorts.public.prepared`, and a reader's own images from any
folder, see `medgan_lib.own_images`.
"""

from __future__ import annotations

import inspect
import os
from functools import partial
from importlib import import_module

from .cohort import SPLITS, Cohort, Window

__all__ = ["Cohort", "Window", "load", "names"]

# name -> (module, function); imported on use, as some need heavy packages
EMBEDDED = {
    "ring": ("simulated.toys", "ring"),
    "grid": ("simulated.toys", "grid"),
    "lines": ("simulated.toys", "lines"),
    "digits": ("simulated.digits", "load"),
    "stacked_digits": ("simulated.stacked", "digits"),
    "digits_on_photos": ("simulated.digits_on_photos", "load"),
    "heads": ("simulated.heads", "load"),
    "nodules": ("simulated.nodules", "load"),
    "vessels": ("simulated.vessels", "load"),
    "chests": ("simulated.chests", "load"),
    "retinas": ("simulated.retinas", "load"),
    "glands_simulated": ("simulated.glands", "load"),
    "ultrasound": ("simulated.ultrasound", "load"),
}
REAL = {
    "mnist": ("public.mnist", "load"),
    "stacked_mnist": ("simulated.stacked", "mnist"),
    "mnist_on_photos": ("simulated.digits_on_photos", "mnist"),
    "lung_nodules": ("public.lung_nodules", "load"),
    "brain_mr_contrasts": ("public.brain_mr_contrasts", "load"),
    "brain_mr_ct": ("public.brain_mr_ct", "load"),
    "pneumonia_mnist": ("public.pneumonia_mnist", "load"),
    "blood_cells": ("public.blood_cells", "load"),
    "glands": ("public.glands", "load"),
    "carotid_arteries": ("public.carotid_arteries", "load"),
    "retina_oct": ("public.retina_oct", "load"),
    "retina_vessels": ("public.retina_vessels", "load"),
}
# Of any path. The room lies above this one, so it is named in full and imported on use only.
FOLDER = ("medgan_lib.own_images.tensors", "show")


def names() -> tuple[str, ...]:
    """Every name `load` knows, the embedded cohorts first."""
    return (*EMBEDDED, *REAL)


def load(
    name: str, split: str = "train", *, size: int | None = None, n: int | None = None, seed: int = 0, **switches
) -> Cohort:
    """Items of one split of a cohort.

    ``size`` is the edge of the image in pixels (None: what is natural for it). ``n`` is the number of items (None:
    the default number of a simulation, all of a fixed set). ``seed`` draws a simulation's subjects, or which n of a
    fixed set. ``switches`` are the cohort's own, e.g. ``load("lines", theta=0.5)``. Splits never share a subject.
    ``name`` may also be the path of a folder: anything with a slash, a dot or ~ in front, or that exists, unless it
    is the name of a cohort. What was found in it is printed, see `medgan_lib.own_images.tensors.show`.

    ValueError: unknown name, split or switch (the message lists what exists), a size it can't have, more items than
    there are. FileNotFoundError: real data that is not on this machine (the message says how to get it).
    """
    path = str(name)
    own_folder = name not in names() and (
        "/" in path or os.sep in path or path.startswith((".", "~")) or os.path.exists(path)
    )
    if name not in names() and not own_folder:
        raise ValueError(
            f"unknown cohort {name!r}; there are {', '.join(names())}, and paths of folders with your own images"
        )
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r} of {name!r}; there are {', '.join(SPLITS)}")
    for what, value in (("n", n), ("size", size)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{what} of {name!r} must be a positive whole number, it is {value!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**20:
        raise ValueError(f"seed must be a whole number from 0 to {2**20 - 1}, it is {seed!r}")
    if own_folder:
        module, function = FOLDER
        loader = partial(getattr(import_module(module), function), name)
    else:
        module, function = (EMBEDDED | REAL)[name]
        loader = getattr(import_module(f".{module}", __name__), function)
    own = [p for p in inspect.signature(loader).parameters if p not in ("split", "size", "n", "seed")]
    unknown = sorted(set(switches) - set(own))
    if unknown:
        has = f"it has {', '.join(own)}" if own else "it has none"
        raise ValueError(f"cohort {name!r} has no switch {', '.join(unknown)}; {has}")
    return loader(split, size=size, n=n, seed=seed, **switches)
