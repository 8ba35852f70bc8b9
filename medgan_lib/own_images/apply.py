"""Trained networks applied to every image that was not trained on; outputs, previews and scores put in place."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from medgan_lib import files
from medgan_lib.files.atomic import write_atomic
from medgan_lib.methods.cyclegan import CycleGAN
from medgan_lib.methods.translation import Translation
from medgan_lib.networks import batched
from medgan_lib.own_images.padding import fitted, pad, slices
from medgan_lib.own_images.report import Report
from medgan_lib.own_images.scores import Item, threshold
from medgan_lib.own_images.sides import Side
from medgan_lib.own_images.task import Options, Task

RESULTS = ("outputs", "previews", "metrics.json", "report.html")


def write_results(task: Task, method: Translation, images: dict[str, Tensor]) -> None:
    """Outputs, previews and scores, all new or all as they were: made aside, and put in place when complete."""
    options = task.options
    aside = options.out / ".unfinished"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        report = Report(
            options.method, task.source, task.target, threshold(images["x"]), options.seed, task.found.notes
        )
        if options.method == "cyclegan":
            for split, entry in task.unseen(task.target):
                report.add_real(split, seen(task.target, files.read(entry.path)))
        for item in translated(task, method, tuple(images["x"].shape[2:])):
            values = task.target.in_units(item.x).numpy()
            files.write(aside / "outputs" / item.split, values, item.image, units=task.target.units)
            report.add(item, aside / "previews")
        write_atomic(aside / "metrics.json", json.dumps(report.scores(), indent=1, allow_nan=False) + "\n")
        write_atomic(aside / "report.html", report.html())
        for name in RESULTS:
            put(aside / name, options.out / name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    print(report.text())


def put(made: Path, place: Path) -> None:
    """A file or folder in the place of what an earlier call left there."""
    if place.is_dir():
        shutil.rmtree(place)
    os.replace(made, place)


def translated(task: Task, method: Translation, shape: tuple[int, ...]) -> Iterator[Item]:
    """Every image that was not trained on, one at a time."""
    references = {entry.name: entry for entry in task.target.entries} if task.paired else {}
    unseen = [*task.unseen(task.source), *(("also", entry) for entry in task.added)]
    for split, entry in unseen:
        image = files.read(entry.path)
        y = seen(task.source, image)
        x = apply(method.G, y, image.spacing, task.options, shape)
        reference = restored = None
        if split != "also" and entry.name in references:
            reference = seen(task.target, files.read(references[entry.name].path))
        if isinstance(method, CycleGAN):
            restored = apply(method.G_A, x, image.spacing, task.options, shape)
        yield Item(entry.name, split, image, y, x, reference, restored)


def seen(side: Side, image: files.Image) -> Tensor:
    """An image as the networks of its side see it: float32 (channels, *size) in [-1, 1]."""
    return side.scaled(side.values(image))


def apply(
    G: nn.Module, y: Tensor, spacing: tuple[float, ...] | None, options: Options, shape: tuple[int, ...]
) -> Tensor:
    """G of an image (channels, *size) in [-1, 1], slice by slice or as a whole, on the CPU, in the image's own size.

    The image is brought to what the network was trained on, ``shape``, as `load_folder` does (a larger image is padded
    to its own size, as no pixel may be lost), and the output is brought back.
    """
    parts = y[None] if options.three_d else slices(y)
    size = parts.shape[2:]
    if options.size:
        new = fitted(size, spacing and spacing[-2:], options.size)
        parts = F.interpolate(parts, new, mode="bilinear", antialias=True)
    padded, crop = pad(parts, shape)
    x = batched(G, padded, options.batch)[crop]
    if options.size:
        x = F.interpolate(x, size, mode="bilinear", antialias=True)
    return x[0] if options.three_d or y.ndim == 3 else x.transpose(0, 1)
