"""What the benchmarks share: loops take turns in one run, and the median of several rounds counts."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

Loop = Callable[[int], None]


def options(text: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="steps of each loop in a round (default 20)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the median counts (default 5)")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 6 steps: whether it runs, not how fast")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.steps, chosen.rounds = 6, 3
    os.environ["MEDGAN_PROGRESS"] = os.devnull  # the table is the output
    return chosen


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def measure(loops: dict[str, Loop], batch: int, steps: int, rounds: int) -> dict[str, list[float]]:
    """Images a second of each loop in each round; the loops take turns, so that a slow minute hits them alike."""
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for round_ in range(rounds + 1):
        for name, loop in loops.items():
            begin = time.perf_counter()
            loop(max(steps // 4, 1) if round_ == 0 else steps)  # the first round only warms up
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if round_:
                rates[name].append(batch * steps / (time.perf_counter() - begin))
    return rates


def table(title: str, rates: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Prints the median of each loop and its share of "plain"; returns both."""
    medians = {name: statistics.median(values) for name, values in rates.items()}
    shares = {name: median / medians["plain"] for name, median in medians.items()}
    print(f"\n{title}\n")
    for name, values in rates.items():
        spread = f"({min(values):.0f} to {max(values):.0f})"
        print(f"{name:22} {medians[name]:9.0f}  {spread:16} {shares[name]:5.2f} x plain")
    return {"median": medians, "times_plain": shares}


def machine() -> dict[str, str | int]:
    chip = platform.processor() or platform.machine()
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"{chip} CPU",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def save(path: Path | None, report: dict) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n")
