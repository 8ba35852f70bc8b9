"""What a step of ``fit`` costs on a GPU: precision, memory format and a captured graph, for five trainings.

Each variant trains networks of its own on images that lie on the GPU, as `fit` does: draw a batch, make a step, keep
the losses. "graph" is the same step, captured once as a CUDA graph and replayed; it needs Adam with capturable=True
and can't be used where a step depends on a number in Python (ProgressiveGAN, UnrolledGAN, CycleGAN with decay).
Run as ``python benchmarks/gpu.py --out gpu.json``; a table in Markdown is written beside the JSON file.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from common import machine, save
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from medgan_lib.methods import GAN, CycleGAN, Method, Pix2Pix
from medgan_lib.networks import Critic, Generator, PatchCritic, UNet
from medgan_lib.training.placement import place, under_autocast
from medgan_lib.training.sampler import Sampler

Batch = dict[str, Tensor]
Step = Callable[[], dict[str, Tensor]]
WARM, PROFILED, ROUNDS = 5, 3, 7
ROUND = 0.15  # seconds that a round should take


class Setting(NamedTuple):
    """What is trained: ``method(size, width)`` on ``batch`` images a minibatch."""

    method: Callable[[int, int], Method]
    size: int
    batch: int
    width: int


class Variant(NamedTuple):
    tf32: bool = True
    bfloat16: bool = False
    channels_last: bool = True
    graph: bool = False
    tuned: bool = False  # torch.backends.cudnn.benchmark


def gan(size: int, width: int) -> GAN:
    return GAN(Generator((1, size, size), width=width), Critic((1, size, size), width))


def wgan_gp(size: int, width: int) -> GAN:
    players = Generator((1, size, size), width=width), Critic((1, size, size), width)
    return GAN(*players, "wgan-gp", n_critic=2, ema=0.99)


def pix2pix(size: int, width: int) -> Pix2Pix:
    return Pix2Pix(UNet(width=width), PatchCritic(2, width=width))


def cyclegan(size: int, width: int) -> CycleGAN:
    return CycleGAN(*(UNet(width=width) for _ in "BA"), *(PatchCritic(width=width) for _ in "BA"))


SETTINGS = {
    "GAN": Setting(gan, 32, 64, 64),
    "Pix2Pix": Setting(pix2pix, 64, 8, 32),
    "CycleGAN": Setting(cyclegan, 64, 8, 32),
    "WGAN-GP, large": Setting(wgan_gp, 128, 16, 128),
    "Pix2Pix, large": Setting(pix2pix, 128, 16, 64),
}
VARIANTS = {
    "float32": Variant(tf32=False),
    "float32, channels-first": Variant(tf32=False, channels_last=False),
    "TF32": Variant(),
    "TF32, channels-first": Variant(channels_last=False),
    "TF32, tuned": Variant(tuned=True),
    "bfloat16": Variant(bfloat16=True),
    "bfloat16, channels-first": Variant(bfloat16=True, channels_last=False),
    "TF32, graph": Variant(graph=True),
    "TF32, graph, channels-first": Variant(graph=True, channels_last=False),
    "TF32, graph, tuned": Variant(graph=True, tuned=True),
}


@contextlib.contextmanager
def arithmetic(variant: Variant) -> Iterator[None]:
    """TF32 in matrix products and convolutions or in neither, and cuDNN's search for the fastest algorithm."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = variant.tf32
    torch.backends.cudnn.benchmark = variant.tuned
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = before


def drawing(method: Method, setting: Setting, device: torch.device, variant: Variant) -> Callable[[], Batch]:
    """A function that draws the next minibatches as `fit` does, or the same with channels first."""
    draw = torch.Generator().manual_seed(1)
    shape = (8 * setting.batch, 1, setting.size, setting.size)
    images = {key: torch.rand(shape, generator=draw) * 2 - 1 for key in "xy"}
    sampler = Sampler(images, setting.batch * method.draws, device, None)
    if variant.channels_last:
        return sampler.draw
    return lambda: {key: images.contiguous() for key, images in sampler.draw().items()}


def captured(method: Method, draw: Callable[[], Batch]) -> Step:
    """One step as a CUDA graph. Replays draw other noise each time, as the generator's state is part of the graph."""
    for optimizer in method.optimizers().values():
        for group in optimizer.param_groups:
            group["capturable"] = True
    static = {key: images.clone() for key, images in draw().items()}
    side = torch.cuda.Stream()  # what the first steps set up must not be captured
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM):
            method.step(static)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        losses = method.step(static)

    def step() -> dict[str, Tensor]:
        for key, images in draw().items():
            static[key].copy_(images)
        graph.replay()
        return losses

    return step


def waited(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(step: Step, device: torch.device, rounds: int) -> list[float]:
    """Milliseconds a step in each round; all rounds have as many steps as fill `ROUND` seconds, 2 to 100."""
    begin = waited(device)
    step()
    steps = min(max(int(ROUND / (waited(device) - begin)), 2), 100)
    times = []
    for _ in range(rounds):
        begin = waited(device)
        for _ in range(steps):
            step()
        times.append(1000 * (waited(device) - begin) / steps)
    return times


def launches(step: Step) -> tuple[float, float]:
    """Calls a step with which the host starts work on the GPU, and kernels and copies a step that the GPU runs."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        for _ in range(PROFILED):
            step()
        torch.cuda.synchronize()
    starts = ("cudaLaunch", "cuLaunch", "cudaMemcpyAsync", "cudaMemsetAsync", "cudaGraphLaunch")
    events = seen.events()
    host = sum(event.name.startswith(starts) for event in events)
    # ranges such as "Optimizer.step#Adam.step" lie on the GPU's timeline, too
    gpu = sum(event.device_type == torch.autograd.DeviceType.CUDA and "#" not in event.name for event in events)
    return host / PROFILED, gpu / PROFILED


def measured(setting: Setting, variant: Variant, device: torch.device, rounds: int) -> dict:
    """All figures of one variant of one training, or under "left_out" why there are none."""
    if variant.graph and device.type != "cuda":
        return {"left_out": "a graph is captured on a CUDA GPU only"}
    torch.manual_seed(0)
    method = setting.method(setting.size, setting.width).train()
    if variant.channels_last:
        place(method, device)
    else:
        method.to(device)
    draw = drawing(method, setting, device, variant)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    precision = "bfloat16" if variant.bfloat16 else "float32"
    with arithmetic(variant), under_autocast(method, device, precision):
        step = captured(method, draw) if variant.graph else (lambda: method.step(draw()))
        for _ in range(WARM):
            losses = {key: loss.item() for key, loss in step().items()}
        times = timed(step, device, rounds)
        host, gpu = launches(step) if device.type == "cuda" else (None, None)
        last = {key: loss.item() for key, loss in step().items()}
    median = statistics.median(times)
    return {
        "ms": round(median, 4),
        "ms_from_to": [round(min(times), 4), round(max(times), 4)],
        "images_per_second": round(1000 * setting.batch * method.draws / median, 1),
        "launches": host,
        "kernels": gpu,
        "memory_mb": round(torch.cuda.max_memory_allocated() / 1e6, 1) if device.type == "cuda" else None,
        "losses": losses,
        "finite": all(torch.tensor([*losses.values(), *last.values()]).isfinite().tolist()),
    }


def table(report: dict) -> str:
    """The figures in Markdown, a section a training."""
    lines = ["{device}, {threads} threads, torch {torch}".format(**report)]
    for name, rows in report["trainings"].items():
        setting = report["settings"][name]
        lines += ["", "## {}: {} x {}, batch {}, width {}".format(name, *[setting["size"]] * 2, *setting["rest"]), ""]
        lines += ["| variant | ms a step (from to) | images/s | launches | kernels | MB | finite |"]
        lines += ["|---|---|---|---|---|---|---|"]
        for variant, row in rows.items():
            reason = row.get("left_out") or row.get("failed")
            if reason:
                lines.append(f"| {variant} | {reason} | | | | | |")
                continue
            figures = ["–" if row[key] is None else f"{row[key]:.0f}" for key in ("launches", "kernels", "memory_mb")]
            low, high = row["ms_from_to"]
            cells = [f"{row['ms']:.2f} ({low:.2f} to {high:.2f})", f"{row['images_per_second']:.0f}", *figures]
            lines.append(f"| {variant} | {' | '.join(cells)} | {'yes' if row['finite'] else 'NO'} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda (default) or cpu")
    parser.add_argument("--small", action="store_true", help="tiny networks, few steps: whether it runs, not how fast")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file, and the table beside it")
    chosen = parser.parse_args()
    device = torch.device(chosen.device)
    settings, rounds = SETTINGS, ROUNDS
    if chosen.small:
        settings, rounds = {name: s._replace(size=16, batch=2, width=4) for name, s in SETTINGS.items()}, 1

    report = machine() | {"settings": {n: {"size": s.size, "rest": [s.batch, s.width]} for n, s in settings.items()}}
    report["trainings"] = {}
    for name, setting in settings.items():
        rows = report["trainings"][name] = {}
        for label, variant in VARIANTS.items():
            begin = time.perf_counter()
            try:
                rows[label] = measured(setting, variant, device, rounds)
            except RuntimeError as error:  # one variant that doesn't run must not cost the figures of the others
                rows[label] = {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
            gc.collect()
            said = rows[label].get("left_out") or rows[label].get("failed") or f"{rows[label]['ms']:.2f} ms a step"
            print(f"{name}: {label}: {said} ({time.perf_counter() - begin:.1f} s)", flush=True)
        save(chosen.out, report)  # after each, so that a run that is cut short leaves what it has
        if chosen.out is not None:
            chosen.out.with_suffix(".md").write_text(table(report), encoding="utf-8")
    print(table(report))
    if any(
        "failed" in row or row.get("finite") is False for rows in report["trainings"].values() for row in rows.values()
    ):
        raise SystemExit("a variant failed or has losses that aren't finite: see the table")


if __name__ == "__main__":
    main()
