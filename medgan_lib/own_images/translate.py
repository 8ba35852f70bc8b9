"""Translation of a reader's own images: what ``python -m medgan_lib translate`` does.

Nothing here chooses anything by a score: the networks of the last step translate the validation and the test images,
and the scores are written down.
"""

from __future__ import annotations

import math
import os

import torch
from torch import Tensor

from medgan_lib.cohorts.problems.translation import unpaired
from medgan_lib.methods.cyclegan import CycleGAN
from medgan_lib.methods.translation import Pix2Pix, Translation
from medgan_lib.networks.translators import PatchCritic, ResNetTranslator, UNet
from medgan_lib.own_images.apply import write_results
from medgan_lib.own_images.padding import pad
from medgan_lib.own_images.sides import text
from medgan_lib.own_images.task import Options, Task, begin, check, read_task
from medgan_lib.own_images.tensors import load_folder
from medgan_lib.training import fit

CHECKPOINT = "checkpoint.pt"
LEAST = 16  # pixels along an edge: a patch of the critic needs them
# Bytes that training holds per pixel, image of a batch, and channel of the width; measured, with a margin.
HELD = {"pix2pix": 160, "cyclegan": 260}


def run(options: Options) -> None:
    """The whole command. Raises ValueError, OSError or FloatingPointError with a message for the reader."""
    check(options)
    task = read_task(options)
    images = training_images(task)
    check_memory(task, images)
    method = build(task, images)
    begin(options)
    checkpoint = options.out / CHECKPOINT
    print(f"Training on {len(images['x'])} images, {text(images['x'].shape[2:])} pixels.", flush=True)
    done = fit(
        method, images, steps=options.steps, batch_size=options.batch, seed=options.seed, device=options.device,
        checkpoint=checkpoint,
        # bfloat16 convolutions of small volumes now and then give gradients that are no numbers (AVX-512, torch 2.13)
        precision="float32" if options.three_d else "auto",
    )  # fmt: skip
    print(f"{done.steps} steps in {done.seconds:.0f} s on {done.device} in {done.precision}.", flush=True)
    method.to(done.device)
    write_results(task, method, images)
    print(f"\nTranslated images, previews, metrics.json and report.html are in {options.out}")


def training_images(task: Task) -> dict[str, Tensor]:
    """ "y" (source) and "x" (target) for `fit`, float32 (n, channels, *size), sizes that the networks can take."""
    options = task.options
    how = {"size": options.size, "whole": options.three_d}
    if options.method == "pix2pix":
        pairs = load_folder(options.data, "train", **how)
        y, x = ("y", "x") if options.direction == "a2b" else ("x", "y")
        images = {"y": pairs[y], "x": pairs[x]}
    else:
        sides = [load_folder(options.data, "train", domain=side.letter, **how) for side in (task.source, task.target)]
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
            f"a step on {options.batch} x {text(images['x'].shape[2:])} pixels with --width {options.width} needs "
            f"about {need / 1e9:.1f} GB of memory, and there are {there / 1e9:.1f} GB: choose a smaller {ways}"
        )


def memory(device: str) -> int:
    """Bytes that are free on a GPU, or that the machine has."""
    if device.startswith("cuda") or (device == "auto" and torch.cuda.is_available()):
        return torch.cuda.mem_get_info("cuda" if device == "auto" else device)[0]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
