"""Small prepared data sets for tests."""

import numpy as np

from medgan_lib.cohorts.registry import entry


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
