"""What is asked for on the command line and in the folder, all checked before anything costs time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medgan_lib import __version__
from medgan_lib.files.atomic import write_atomic
from medgan_lib.own_images.sides import Entry, Side
from medgan_lib.own_images.survey import Survey, grouped, inspect_folder, listed, surveyed

RUN = "run.json"
FIXED = ("method", "direction", "batch_size", "size", "width", "seed", "three_d")  # what a resumed run can't change


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
    """What a folder asks for: the images of ``source`` are to become like those of ``target``, which are their
    references if ``paired``. ``added`` are those of --also."""

    options: Options
    found: Survey
    source: Side
    target: Side
    added: list[Entry]

    @property
    def paired(self) -> bool:
        return self.found.kind == "paired"

    def unseen(self, side: Side) -> list[tuple[str, Entry]]:
        """Split and image of a side that were not trained on; where there is no such image, of all."""
        splits = [(self.found.splits[self.found.key(side.letter, entry.name)], entry) for entry in side.entries]
        return [pair for pair in splits if pair[0] != "train"] or splits


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


def begin(options: Options) -> None:
    """Make the folder of the run and note its settings, before anything costs time."""
    noted = {name: getattr(options, name) for name in FIXED}
    write_atomic(options.out / RUN, json.dumps({**noted, "version": __version__}, indent=1) + "\n")


def read_task(options: Options) -> Task:
    """What the data folder holds. Prints everything that the reader should know of."""
    found = inspect_folder(options.data)
    for line in found.notes:
        print(f"note: {line}")
    if found.kind == "plain":
        raise ValueError(f"{options.data} must hold two folders, A/ and B/, with images")
    if options.three_d and options.size:
        raise ValueError("--three-d keeps the size of volumes: leave out --size")
    if options.method == "pix2pix" and found.kind != "paired":
        there = " and ".join(names(side.entries) for side in found.sides.values())
        raise ValueError(
            f"pix2pix needs pairs, files of equal name in {options.data}/A and {options.data}/B. There are {there}: "
            "rename them, or use --method cyclegan"
        )
    source, target = (found.sides[letter] for letter in ("AB" if options.direction == "a2b" else "BA"))
    added = more(options.also, source)
    if target.channels == 3 and (grey := [e for e in (*source.entries, *added) if e.kind in ("nifti", "dicom")]):
        raise ValueError(f"the target has colours, which can't be written as NIfTI like {names(grey)}: use pictures")
    if options.three_d and (flat := [entry for entry in added if len(entry.size) != 3]):
        raise ValueError(f"--three-d needs volumes, and {names(flat)} in {options.also} are not")
    return Task(options, found, source, target, added)


def more(path: Path | None, source: Side) -> list[Entry]:
    """The images of --also, in the folder itself or in its A/ or B/, whichever the source is."""
    if path is None:
        return []
    inside = path / source.letter if (path / source.letter).is_dir() else path
    notes: list[str] = []
    found, broken = listed(inside, "--also: ", notes), []
    told: dict[str, list[str]] = {}
    entries = [surveyed(name, file, inside, 1, told, broken) for name, file in found.items()]
    for line in (*notes, *grouped(told)):
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


def names(entries: Sequence[Entry]) -> str:
    return ", ".join(entry.name for entry in entries[:3]) + (f" and {len(entries) - 3} more" if entries[3:] else "")
