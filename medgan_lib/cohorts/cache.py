"""Where data lie on this machine, and the cache of what is slow to simulate."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medgan_lib.files.atomic import atomic

CHECKOUT = Path(__file__).resolve().parents[2]


def _default_root() -> Path:
    """data/cache of the checkout if this is one, else the user's cache folder."""
    if (CHECKOUT / "data" / "registry.yml").is_file():
        return CHECKOUT / "data" / "cache"
    import pooch

    return Path(pooch.os_cache("medgan_lib"))


def data_root() -> Path:
    """Folder of the prepared real data sets: ``MEDGAN_DATA``, else the default folder."""
    return Path(os.environ["MEDGAN_DATA"]).expanduser() if os.environ.get("MEDGAN_DATA") else _default_root()


def cache_root() -> Path:
    """Folder of cached simulations: ``MEDGAN_CACHE``, else ``embedded`` in the default data folder."""
    if os.environ.get("MEDGAN_CACHE"):
        return Path(os.environ["MEDGAN_CACHE"]).expanduser()
    return _default_root() / "embedded"


def code_digest(function: Callable) -> str:
    """Hash of what the module of ``function`` does, and every module of this package that it uses at its top.

    Comments and docstrings don't count: they change no simulation.
    """
    package = __name__.split(".")[0]
    found, waiting = {}, [function.__module__]
    while waiting:
        name = waiting.pop()
        if name in found or name.split(".")[0] != package:
            continue
        module = sys.modules[name]
        tree = ast.parse(Path(module.__file__).read_bytes())
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and isinstance(
                body[0].value, ast.Constant
            ):
                node.body = body[1:]
        found[name] = ast.dump(tree)
        waiting += [
            value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) or ""
            for value in vars(module).values()
        ]
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def cached(name: str, parameters: dict[str, Any], build: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """``build()``, or what it gave earlier for the same ``parameters`` and the same code (`code_digest` of ``build``).

    The tensors are kept in ``cache_root()/<name>-<hash>.npz``. A cache that can't be written (read-only, disk full)
    costs a warning and nothing else; a damaged entry is made again.
    """
    sha = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode())
    sha.update(code_digest(build).encode())
    path = cache_root() / f"{name}-{sha.hexdigest()[:24]}.npz"
    if path.is_file():
        try:
            with np.load(path, allow_pickle=False) as stored:
                return {key: torch.from_numpy(stored[key]) for key in stored.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zipfile.zlib.error):
            warnings.warn(f"{path} is damaged; it is made again", stacklevel=2)
    tensors = build()
    try:
        with atomic(path) as file:
            np.savez(file, **{key: tensor.numpy() for key, tensor in tensors.items()})
    except OSError as error:
        reason = error.strerror or str(error)
        warnings.warn(
            f"{path.parent} can't be written ({reason}): going on without the cache, so {name!r} is simulated anew "
            "each time. Free some space, or set MEDGAN_CACHE to a folder you may write to.",
            stacklevel=2,
        )
    return tensors
