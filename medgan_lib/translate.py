"""Translation of a reader's own images: what ``python -m medgan_lib translate`` does.

Nothing here chooses anything by a score: the networks of the last step translate the validation and the test images,
and the scores are written down.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medgan_lib import __version__, files
from medgan_lib.cohorts import folder
from medgan_lib.cohorts.problems.translation import unpaired
from medgan_lib.files.atomic import atomic
from medgan_lib.methods.base import evaluating
from medgan_lib.methods.cyclegan import CycleGAN
from medgan_lib.methods.translation import Pix2Pix, Translation
from medgan_lib.networks.translators import PatchCritic, ResNetTranslator, UNet
from medgan_lib.training import fit
from medgan_lib.translate_report import Item, Report, Side, slices, threshold

RUN, CHECKPOINT, RESULTS = "run.json", "checkpoint.pt", ("outputs", "previews", "metrics.json", "report.html")
FIXED = ("method", "direction", "batch_size", "size", "width", "seed", "three_d")  # what a resumed run can't change
LEAST = 16  # pixels along an edge: a patch of the critic needs them
# Bytes that training holds per pixel, image of a batch, and channel of the width; measured, with a margin.
HELD = {"pix2pix": 160, "cyclegan": 260}


@dataclass(frozen=True)
class Options:
    """The command line; ``python -m medgan_lib translate --help`` says what each means."""

    method: str
    data: Path
    out: Path
    steps: int = 2000
    batch_size: int | None = None
    size: int | None = None
    width: int = 32
    seed: int = 0
    device: str = "auto"
    three_d: bool = False
    direction: str = "a2b"
    resume: bool = False
    also: Path | None = None

    @property
    def batch(self) -> int:
        return self.batch_size or (1 if self.three_d else 8)


@dataclass(frozen=True)
class Task:
    """What a folder asks for: ``sources`` are to become like ``targets``, which are their references if ``paired``."""

    options: Options
    paired: bool
    source: Side
    target: Side
    sources: list[folder.Entry]
    targets: list[folder.Entry]
    added: list[folder.Entry]
    splits: dict[str, str]
    notes: list[str]

    def split(self, side: Side, entry: folder.Entry) -> str:
        return self.splits[entry.name if self.paired else f"{side.letter}/{entry.name}"]

    def unseen(self, side: Side, entries: list[folder.Entry]) -> Iterator[tuple[str, folder.Entry]]:
        """Split and entry of what was not trained on; where there is no such image, of all."""
        splits = [(self.split(side, entry), entry) for entry in entries]
        return iter([pair for pair in splits if pair[0] != "train"] or splits)


def run(options: Options) -> None:
    """The whole command. Raises ValueError, OSError or FloatingPointError with a message for the reader."""
    check(options)
    task = read_task(options)
    images = training_images(task)
    check_memory(task, images)
    method = build(task, images)
    begin(options)
    checkpoint = options.out / CHECKPOINT
    print(f"Training on {len(images['x'])} images, {size_text(images['x'])} pixels.", flush=True)
    done = fit(
        method, images, steps=options.steps, batch_size=options.batch, seed=options.seed, device=options.device,
        checkpoint=checkpoint,
    )  # fmt: skip
    print(f"{done.steps} steps in {done.seconds:.0f} s on {done.device} in {done.precision}.", flush=True)
    method.to(done.device)
    write_results(task, method, images)
    print(f"\nTranslated images, previews, metrics.json and report.html are in {options.out}")


# --- before the training --------------------------------------------------------------------------------------------


def check(options: Options) -> None:
    """That data and device are there, and that ``out`` is new, or a run to go on with."""
    for path in (options.data, options.also):
        if path is not None and not path.is_dir():
            raise FileNotFoundError(f"{path}: no such folder")
    devices = ["auto", "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if options.device not in devices and not (options.device == "cuda" and devices[2:]):
        raise ValueError(f"--device {options.device} isn't there: choose one of {', '.join(devices)}")
    if options.out.resolve().is_relative_to(options.data.resolve()):
        raise ValueError(
            f"--out {options.out} lies in the data folder, where results would be taken for images: choose another"
        )
    if options.out.is_dir():
        there = {path.name for path in options.out.iterdir()}
        if RUN in there and not options.resume:
            raise ValueError(f"{options.out} holds a run: go on with it by --resume, or choose another --out")
        if there and RUN not in there:
            raise ValueError(f"{options.out} holds other files: choose another --out, which need not exist")
    elif options.out.exists():
        raise ValueError(f"{options.out} is a file: choose another --out, which need not exist")
    known = settings(options.out)
    if known is None and options.resume:
        print(f"note: there is no run in {options.out} yet; this begins one")
    for name in FIXED:
        mine = getattr(options, name)
        if known is not None and known.get(name) != mine:
            flag = "--" + name.replace("_", "-")
            raise ValueError(
                f"{flag} was {known.get(name)} in {options.out} and is {mine} now: use the same, or another --out"
            )


def settings(out: Path) -> dict[str, Any] | None:
    """The settings of the run in a folder, None if there is none."""
    path = out / RUN
    if not path.is_file():
        return None
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        known = None
    if not isinstance(known, dict):
        raise ValueError(f"{path} is damaged: choose another --out")
    return known


def read_task(options: Options) -> Task:
    """What the data folder holds. Prints everything that the reader should know of."""
    found = folder.problem(options.data)
    for line in found.problems:
        print(f"note: {line}")
    if found.kind == "plain":
        raise ValueError(f"{options.data} must hold two folders, A/ and B/, with images")
    if options.three_d and options.size:
        raise ValueError("--three-d keeps the size of volumes: leave out --size")
    if options.method == "pix2pix" and found.kind != "paired":
        raise ValueError(
            f"pix2pix needs pairs, files of equal name in {options.data}/A and {options.data}/B. There are "
            f"{names(found.A)} and {names(found.B)}: rename them, or use --method cyclegan"
        )
    a = (Side("A", found.units_A, found.window_A, found.channels_A), found.A)
    b = (Side("B", found.units_B, found.window_B, found.channels_B), found.B)
    (source, sources), (target, targets) = (a, b) if options.direction == "a2b" else (b, a)
    sources, added = list(sources), more(options.also, source)
    if target.channels == 3 and (grey := [e for e in (*sources, *added) if e.kind in ("nifti", "dicom")]):
        raise ValueError(f"the target has colours, which can't be written as NIfTI like {names(grey)}: use pictures")
    if options.three_d and (flat := [entry for entry in added if len(entry.size) != 3]):
        raise ValueError(f"--three-d needs volumes, and {names(flat)} in {options.also} are not")
    paired = found.kind == "paired"
    return Task(
        options, paired, source, target, sources, list(targets), added, dict(found.splits), list(found.problems)
    )


def more(path: Path | None, source: Side) -> list[folder.Entry]:
    """The images of --also, in the folder itself or in its A/ or B/, whichever the source is."""
    if path is None:
        return []
    inside = path / source.letter if (path / source.letter).is_dir() else path
    notes: list[str] = []
    found, broken = folder.listed(inside, "--also: ", notes), []
    entries = [folder.surveyed(name, file, inside, 1, notes, broken) for name, file in found.items()]
    for line in notes:
        print(f"note: {line}")
    if broken or not entries:
        raise ValueError(f"images in {inside} can't be used:\n  " + "\n  ".join(broken or ["there are none"]))
    maybe = ("signal", "HU")  # without air in it nobody can tell CT by its values
    if other := [
        e for e in entries if e.units != source.units and (e.kind == "dicom" or (e.units, source.units) != maybe)
    ]:
        raise ValueError(
            f"{names(other)} in {inside} have other units than the source: {other[0].units}, not {source.units}"
        )
    return entries


def names(entries: list[folder.Entry]) -> str:
    return ", ".join(entry.name for entry in entries[:3]) + (f" and {len(entries) - 3} more" if entries[3:] else "")


def training_images(task: Task) -> dict[str, Tensor]:
    """ "y" (source) and "x" (target) for `fit`, float32 (n, channels, *size), sizes that the networks can take."""
    options = task.options
    how = {"size": options.size, "whole": options.three_d}
    if options.method == "pix2pix":
        pairs = folder.load(options.data, "train", **how)
        y, x = ("y", "x") if options.direction == "a2b" else ("x", "y")
        images = {"y": pairs[y], "x": pairs[x]}
    else:
        sides = [folder.load(options.data, "train", domain=side.letter, **how) for side in (task.source, task.target)]
        images = unpaired(*sides, seed=options.seed)
    return {key: pad(image, (LEAST,) * (image.ndim - 2))[0] for key, image in images.items()}


def build(task: Task, images: dict[str, Tensor]) -> Translation:
    """The method with its networks, initialised by the seed."""
    options, a, b = task.options, images["y"].shape[1], images["x"].shape[1]
    of = {"width": options.width, "dims": images["x"].ndim - 2}
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(options.seed)
        if options.method == "pix2pix":
            return Pix2Pix(UNet(a, b, **of), PatchCritic(a + b, **of))
        return CycleGAN(
            ResNetTranslator(a, b, **of), ResNetTranslator(b, a, **of), PatchCritic(b, **of), PatchCritic(a, **of)
        )


def check_memory(task: Task, images: dict[str, Tensor]) -> None:
    options = task.options
    pixels = options.batch * math.prod(images["x"].shape[2:])
    need = pixels * options.width * HELD[options.method]
    there = memory(options.device)
    if need > there:
        ways = "--size, --width or --batch-size" + (", or leave out --three-d" if options.three_d else "")
        raise ValueError(
            f"a step on {options.batch} x {size_text(images['x'])} pixels with --width {options.width} needs about "
            f"{need / 1e9:.1f} GB of memory, and there are {there / 1e9:.1f} GB: choose a smaller {ways}"
        )


def memory(device: str) -> int:
    """Bytes that are free on a GPU, or that the machine has."""
    if device.startswith("cuda") or (device == "auto" and torch.cuda.is_available()):
        return torch.cuda.mem_get_info("cuda" if device == "auto" else device)[0]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def size_text(x: Tensor) -> str:
    return " x ".join(map(str, x.shape[2:]))


def begin(options: Options) -> None:
    """Make the folder of the run and note its settings, before anything costs time."""
    noted = {name: getattr(options, name) for name in FIXED}
    save(options.out / RUN, json.dumps({**noted, "version": __version__}, indent=1) + "\n")


def save(path: Path, text: str) -> None:
    with atomic(path) as file:
        file.write(text.encode())


# --- after the training ---------------------------------------------------------------------------------------------


def write_results(task: Task, method: Translation, images: dict[str, Tensor]) -> None:
    """Outputs, previews and scores, all new or all as they were: made aside, and put in place when complete."""
    options = task.options
    aside = options.out / ".unfinished"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        report = Report(options.method, task.source, task.target, threshold(images["x"]), options.seed, task.notes)
        if options.method == "cyclegan":
            for split, entry in task.unseen(task.target, task.targets):
                values = folder.channelled(files.read(entry.path).values, task.target.channels)
                report.add_real(split, task.target.scaled(values))
        for item in translated(task, method, tuple(images["x"].shape[2:])):
            values = task.target.in_units(item.x).numpy()
            files.write(aside / "outputs" / item.split, values, item.image, units=task.target.units)
            report.add(item, aside / "previews")
        save(aside / "metrics.json", json.dumps(report.scores(), indent=1, allow_nan=False) + "\n")
        save(aside / "report.html", report.html())
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
    references = {entry.name: entry for entry in task.targets} if task.paired else {}
    unseen = [*task.unseen(task.source, task.sources), *(("also", entry) for entry in task.added)]
    for split, entry in unseen:
        image = files.read(entry.path)
        y = task.source.scaled(folder.channelled(image.values, task.source.channels))
        x = apply(method.G, y, image.spacing, task.options, shape)
        reference = restored = None
        if split != "also" and entry.name in references:
            values = files.read(references[entry.name].path).values
            reference = task.target.scaled(folder.channelled(values, task.target.channels))
        if isinstance(method, CycleGAN):
            restored = apply(method.G_A, x, image.spacing, task.options, shape)
        yield Item(entry.name, split, image, y, x, reference, restored)


def apply(
    G: nn.Module, y: Tensor, spacing: tuple[float, ...] | None, options: Options, shape: tuple[int, ...]
) -> Tensor:
    """G of an image (channels, *size) in [-1, 1], slice by slice or as a whole, on the CPU, in the image's own size.

    The image is brought to what the network was trained on, ``shape``, as `folder.load` does (a larger image is padded
    to its own size, as no pixel may be lost), and the output is brought back.
    """
    parts = y[None] if options.three_d else slices(y)
    size = parts.shape[2:]
    if options.size:
        new = folder.fitted(size, spacing and spacing[-2:], options.size)
        parts = F.interpolate(parts, new, mode="bilinear", antialias=True)
    padded, crop = pad(parts, shape)
    device = next(G.parameters()).device
    with evaluating(G):
        x = torch.cat([G(part.to(device)).cpu() for part in padded.split(options.batch)])[crop]
    if options.size:
        x = F.interpolate(x, size, mode="bilinear", antialias=True)
    return x[0] if options.three_d or y.ndim == 3 else x.transpose(0, 1)


def pad(x: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, tuple]:
    """x (n, channels, *size) with a border of its minimum to multiples of 8, at least ``shape``, and what crops it."""
    step = folder.MULTIPLE
    full = [max(math.ceil(size / step) * step, least) for size, least in zip(x.shape[2:], shape, strict=True)]
    crop = (..., *folder.centred(x.shape[2:], full))
    padded = x.new_full((*x.shape[:2], *full), x.min().item())
    padded[crop] = x
    return padded, crop
