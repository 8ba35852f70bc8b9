"""Whole images against random crops of them in ``fit``: seconds a step, and the most memory that the process held.

Pix2Pix with a U-Net on 12 RGB pairs of 640 x 480 pixels, batch 4, as they come and as crops of 128 x 128. Each way runs
in a process of its own, one after the other. Run as ``python benchmarks/crops.py``.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import torch
from common import device, machine, options, save

from medgan_lib.methods import Pix2Pix
from medgan_lib.networks import PatchCritic, UNet
from medgan_lib.training import fit

IMAGES, SIZE, BATCH, CROP = 12, (480, 640), 4, 128


def measured(crop: int | None, steps: int) -> dict[str, float]:
    """Seconds a step and MB: what a GPU held at most, or by how much the process grew at most on a CPU."""
    torch.manual_seed(0)
    x = torch.rand(IMAGES, 3, *SIZE) * 2 - 1
    cohort = {"x": x, "y": x.flip(-1)}
    method = Pix2Pix(UNet(3, 3), PatchCritic(6))
    settings = {"batch_size": BATCH, "device": str(device()), "crop": crop}
    fit(method, cohort, steps=1, **settings | {"crop": 16, "batch_size": 1})  # loads what is loaded once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    begin = time.perf_counter()
    fit(method, cohort, steps=steps, **settings)
    seconds = (time.perf_counter() - begin) / steps
    if torch.cuda.is_available():
        return {"seconds": seconds, "memory": torch.cuda.max_memory_allocated() / 1e6}
    return {"seconds": seconds, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3 - before}


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        crop, steps = json.loads(sys.argv[2])
        print(json.dumps(measured(crop, steps)))
        return
    chosen = options(__doc__)
    found = {}
    for crop in (None, CROP):
        command = [sys.executable, "-W", "ignore", __file__, "--one", json.dumps([crop, chosen.steps])]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[f"crop {crop}"] = figures = json.loads(done.stdout)
        print(f"crop {crop!s:5} {figures['seconds']:8.3f} s a step  {figures['memory']:8.0f} MB")
    save(chosen.out, machine() | found)


if __name__ == "__main__":
    main()
