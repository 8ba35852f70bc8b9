"""Prepared data sets for tests: small ones made here, and the copies on this machine."""

import numpy as np
import pytest

from medgan_lib.cohorts.cache import data_root
from medgan_lib.cohorts.public.prepared import layout
from medgan_lib.cohorts.registry import entry

PREPARED = data_root()  # before a test puts another folder in its place


def needs_copy(name):
    """The mark of a test of the prepared copy on this machine: skipped where a file of it is missing."""
    there = all((PREPARED / name / file).is_file() for file in layout(name))
    return pytest.mark.skipif(not there, reason=f"no prepared {name} in {PREPARED}; set MEDGAN_DATA")


def small(name, items=30, seed=0):
    """A valid prepared file's arrays with few items."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for number, (key, spec) in enumerate(entry(name)["arrays"].items()):
        shape = (items, *spec["shape"][1:])
        if key.endswith("_ids"):
            arrays[key] = np.arange(items, dtype=spec["dtype"]) + 1000 * number
        else:
            arrays[key] = rng.integers(0, spec.get("max", 255) + 1, shape).astype(spec["dtype"])
    return arrays
