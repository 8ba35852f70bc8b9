"""What a run writes to a file to be continued, what must agree for that, and a digest of the weights."""

from __future__ import annotations

import hashlib
import io
import os
import textwrap
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medgan_lib.files.atomic import atomic

FORMAT = "medgan_lib checkpoint 2"
REMEDY = "Delete or rename the file to train anew."


def file_of(checkpoint: str | os.PathLike | None, name: str | None) -> Path | None:
    """The file that `fit` keeps its state in: ``checkpoint`` itself, or ``<checkpoint>/<name>.pt``; None for none.

    ValueError for a name that can't be that of a file in the folder, a folder without a name, and a file with one.
    """
    if name is not None:
        if not isinstance(name, str) or not name.strip() or name != name.strip() or name.startswith("."):
            raise ValueError(f"name is {name!r}, but must be a text such as 'wgan-gp', which a file is called by")
        if any(character in "/\\" or not character.isprintable() for character in name):
            raise ValueError(f"name is {name!r}: a file in the folder, so without /, \\ and control characters")
    if checkpoint is None:
        return None
    path = Path(checkpoint)
    if name is None:
        if path.is_dir():
            raise ValueError(f"checkpoint {path} is a folder: say name= for the file in it")
        return path
    if path.is_file():
        raise ValueError(f"checkpoint {path} is a file: with name={name!r} it must be the folder of that file")
    return path / f"{name}.pt"


def signature(method: nn.Module, cohort: Any, tensors: dict[str, Tensor], **settings: Any) -> dict[str, str]:
    """What must agree for a checkpoint to belong to a run, as text."""
    plain = int | float | str | bool | tuple | list | None
    shown = {
        name: getattr(value, "name", value)
        for name, value in vars(method).items()
        if not name.startswith("_") and name != "training"
    }
    optimizers = {
        name: (
            type(optimizer).__name__,
            [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups],
        )
        for name, optimizer in method.optimizers().items()
    }
    return {
        "method": f"{type(method).__module__}.{type(method).__qualname__}",
        "settings": repr({name: value for name, value in shown.items() if isinstance(value, plain)}),
        "optimizers": repr(optimizers),
        "networks": repr(method),
        "parameters": repr({name: tuple(value.shape) for name, value in method.state_dict().items()}),
        "cohort": cohort.digest() if hasattr(cohort, "digest") else digest_of_data(tensors),
        **{name: str(value) for name, value in settings.items()},
    }


def check_same(path: Path, theirs: dict[str, str], ours: dict[str, str]) -> None:
    """ValueError, one line for each difference, unless a checkpoint's signature is that of the run."""
    lines = [difference(key, str(theirs.get(key)), value) for key, value in ours.items() if theirs.get(key) != value]
    if lines:
        raise ValueError("\n  ".join([f"{path} belongs to another run. {REMEDY}", *lines]))


def difference(key: str, old: str, new: str) -> str:
    """One line that shows where two texts part, however long they are."""
    same = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    start = max(same - 20, 0)
    old, new = (textwrap.shorten(text[start:], 60, placeholder=" …") for text in (old, new))
    return f"{key}: {'… ' if start else ''}{old} in the file, {'… ' if start else ''}{new} here"


def digest_of_data(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(as_bytes(tensor))
    return digest.hexdigest()


def digest_of_weights(method: nn.Module, history: Tensor) -> str:
    """16 hexadecimal digits of the SHA-256 of all parameters and buffers of a method, in their order, and of what its
    steps returned until now, ``history`` (steps, scalars). Waits for the device.
    """
    digest = hashlib.sha256()
    for tensor in (*method.parameters(), *method.buffers(), history):
        digest.update(as_bytes(tensor))
    return digest.hexdigest()[:16]


def as_bytes(tensor: Tensor) -> Any:
    """The bytes of a tensor in the order of its axes, however it lies in memory."""
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()


def write(path: Path, state: dict[str, Any]) -> None:
    """Puts a checkpoint in place of the last one in one go: after a crash the file is the old or the new one.

    OSError, which says what to do, where it can't be written; the last one stays.
    """
    buffer = io.BytesIO()  # so that a full disk shows as an OSError and not as an error of torch's archive
    torch.save(state, buffer)
    try:
        with atomic(path) as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror or error}: the checkpoint of step {state['step']} couldn't be written. Free some space"
            " or choose another folder, then repeat the call; an earlier checkpoint is still there and whole",
            str(path),
        ) from error


def read(path: Path) -> dict[str, Any]:
    """What `write` wrote. ValueError for a file that is something else."""
    data = io.BytesIO(path.read_bytes())  # so that an OSError is about the file and not about what it holds
    try:
        state = torch.load(data, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has no common error for a broken file
        # torch's own text would advise to load the file without the safe unpickler
        raise ValueError(unreadable(path, error)) from None
    if not (
        isinstance(state, dict)
        and state.get("format") == FORMAT
        and isinstance(state.get("signature"), dict)
        and isinstance(state.get("step"), int)
    ):
        raise ValueError(unreadable(path, TypeError("not a checkpoint of fit")))
    return state


def unreadable(path: Path, error: Exception) -> str:
    return (
        f"{path} can't be read as a checkpoint ({type(error).__name__}): it's truncated, damaged, of another version"
        f" or not from fit. {REMEDY}"
    )


def portable(value: Any) -> Any:
    """A copy on the CPU of what a snapshot returned, made of nothing but what a safe checkpoint can hold."""
    if value is None:
        return None
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)  # NumPy's numbers pass for floats, but not in a safe checkpoint
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, list | tuple):
        return [portable(item) for item in value]
    if isinstance(value, dict):
        return {key: portable(item) for key, item in value.items()}
    raise TypeError(
        f"on_snapshot returned a {type(value).__name__};"
        " return a tensor, a number, a string, lists and dicts of them, or None"
    )
