"""``data/registry.yml``: origin, checksums, licence and prepared form of every real data set."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from .cache import CHECKOUT


@cache
def registry() -> dict[str, dict[str, Any]]:
    """Every entry by name; from beside the package where it is installed, else from the checkout."""
    installed = Path(__file__).resolve().parents[1] / "registry.yml"
    path = installed if installed.is_file() else CHECKOUT / "data" / "registry.yml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def entry(name: str) -> dict[str, Any]:
    """The entry of a real data set. ValueError that lists them for an unknown name."""
    if name not in registry():
        raise ValueError(f"unknown data set {name!r}; there are {', '.join(registry())}")
    return registry()[name]
