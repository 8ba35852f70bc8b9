"""Show how far the running chapters are: a block redrawn in a terminal, a line now and then in a log."""

import shutil
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from pipeline import Run, read_json

LOG_EVERY = 5.0  # seconds between lines about one chapter where the output is no terminal


def duration(seconds: float) -> str:
    """``8 s``, ``3 min``, ``1 h 20 min``."""
    seconds = max(0, round(seconds))
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def seconds_left(
    state: dict[str, Any], training: dict[str, Any] | None, usual: float | None, now: float
) -> float | None:
    """Estimate from this chapter's last run, cell by cell, or else its recorded duration, and the training step."""
    expected = state.get("expected")
    here, after = expected or (0.0, 0.0)
    here = max(here - (now - state["cell_began"]), 0.0)
    if training and training.get("left") is not None:
        here = max(here, float(training["left"]))
    if expected is None and usual is not None:
        return max(usual - (now - state["began"]), here)
    return here + after if expected or here else None


def line(run: Run, state: dict[str, Any], training: dict[str, Any] | None, usual: float | None, now: float) -> str:
    """One line about a running, finished or failed chapter."""
    took = duration(state["seconds"])
    if state["state"] == "done":
        return f"{run.name}  done in {took}"
    if state["state"] == "failed":
        return f"{run.name}  FAILED in cell {state['cell']} of {state['cells']}: {_short(state['error'])}"
    if state["state"] == "interrupted":
        return f"{run.name}  interrupted; its training checkpoints are kept"
    parts = [f"{run.name}  cell {state['cell']}/{state['cells']}" if state["cell"] else f"{run.name}  starting"]
    if training:
        parts.append(f"{training['label']} step {training['step']}/{training['steps']}")
    left = seconds_left(state, training, usual, now)
    parts.append(duration(now - state["began"]) + (f", about {duration(left)} left" if left is not None else ""))
    return " · ".join(parts)


def _short(text: str, width: int = 300) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"


class Display:
    """Prints the state of ``runs`` whenever :meth:`update` is called."""

    def __init__(self, runs: list[Run], usual: dict[str, float], out: TextIO = sys.stdout) -> None:
        self.runs, self.usual, self.out = runs, usual, out
        self.live = out.isatty()
        self.drawn = 0
        self.printed: dict[Run, tuple[float, str]] = {}
        self.final: set[Run] = set()

    def update(self, now: float | None = None) -> None:
        now = time.time() if now is None else now
        lines = []
        for run in self.runs:
            state = read_json(run.folder / "progress.json")
            if run in self.final or state is None:
                continue
            training = read_json(run.folder / "training.json") if state["state"] == "running" else None
            # A training that began before this cell belongs to an earlier one.
            if training and (run.folder / "training.json").stat().st_mtime < state["cell_began"]:
                training = None
            text = line(run, state, training, self.usual.get(run.chapter), now)
            if state["state"] != "running":
                self.final.add(run)
                self.clear()
                print(text, file=self.out, flush=True)
            elif self.live:
                lines.append(text)
            elif self._due(run, text, now):
                self.printed[run] = (now, text)
                print(text, file=self.out, flush=True)
        if self.live:
            self.clear()
            width = shutil.get_terminal_size().columns - 1
            waiting = len(self.runs) - len(self.final) - len(lines)
            if waiting:
                lines.append(f"{waiting} waiting")
            for text in lines:
                print(text[:width], file=self.out)
            self.drawn = len(lines)
            self.out.flush()

    def _due(self, run: Run, text: str, now: float) -> bool:
        last, before = self.printed.get(run, (float("-inf"), ""))
        return now - last >= LOG_EVERY and text != before

    def clear(self) -> None:
        """Take the block away, so that something else can be printed."""
        if self.live and self.drawn:
            print(f"\x1b[{self.drawn}F\x1b[J", end="", file=self.out)
            self.drawn = 0


def watch(display: Display, running: Callable[[], bool], every: float = 0.5) -> None:
    """Update ``display`` until ``running()`` is false."""
    while running():
        display.update()
        time.sleep(every)
    display.update()
