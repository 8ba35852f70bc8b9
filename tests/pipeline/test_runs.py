"""Running chapters: progress, locks, crashes."""

import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import nbformat
import pytest
from checkouts import CHECKOUT, chapter_cell

import pipeline
from pipeline import Run, UserError, book, progress
from pipeline.execute import Progress, gpu_memory_mb
from pipeline.pages.runs import memory_text


def test_a_line_says_cell_step_and_time_left(checkout: Path) -> None:
    run = Run("cpu", "01_good", 3)
    state = {"state": "running", "cell": 4, "cells": 9, "began": 100.0, "cell_began": 110.0, "seconds": 0,
             "expected": [40.0, 20.0]}
    training = {"label": "GAN wgan-gp", "step": 50, "steps": 200, "left": 100.0}
    assert progress.line(run, state, None, None, 120.0) == "01_good seed 3  cell 4/9 · 20 s, about 50 s left"
    assert progress.line(run, state, training, None, 120.0) == (
        "01_good seed 3  cell 4/9 · GAN wgan-gp step 50/200 · 20 s, about 2 min left")
    first = {**state, "expected": None}
    assert "left" not in progress.line(run, first, None, None, 120.0)
    assert "about 60 s left" in progress.line(run, first, None, 80.0, 120.0)


def test_expected_times_come_from_the_last_run(checkout: Path) -> None:
    run = Run("cpu", "01_good", 0)
    pipeline.write_atomic(run.folder.parent / "timing.json", json.dumps({"starts": [0, 1, 5], "seconds": 7}))
    counted = Progress(run, 3)
    counted.cell()
    counted.cell()
    assert json.loads((run.folder / "progress.json").read_text())["expected"] == [4, 2]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("out", [io.StringIO(), Terminal()], ids=["log", "terminal"])
def test_display(checkout: Path, out: io.StringIO) -> None:
    run = Run("cpu", "01_good", 0)
    counted = Progress(run, 3)
    shown = progress.Display([run], {}, out)
    now = time.time()
    for second in range(11):
        shown.update(now + second)
    counted.write("done")
    shown.update(now + 12)
    lines = out.getvalue().replace("\x1b[1F\x1b[J", "").splitlines()
    assert lines[-1].startswith("01_good  done in")
    assert len(lines) == (12 if out.isatty() else 4), "a log gets a line every five seconds, a terminal redraws"
    assert ("\x1b[1F" in out.getvalue()) == out.isatty()


def test_lock_keeps_a_second_pipeline_out(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "ROOT", checkout)
    with book.lock(), pytest.raises(UserError, match=f"process {os.getpid()} already works"), book.lock():
        pass
    with book.lock():
        pass


@pytest.fixture
def whole(checkout: Path) -> Path:
    """The checkout with the real pipeline and library."""
    for name in ("pipeline", "medgan_lib"):
        shutil.rmtree(checkout / name, ignore_errors=True)
        shutil.copytree(CHECKOUT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "requirements.txt", "book/gates.yml"):
        shutil.copy(CHECKOUT / name, checkout / name)
    chapter_cell(checkout, 3, lambda source: "import os, medgan_lib.figures\nos.environ.get('MEDGAN_SHARED')")
    return checkout


def test_a_failing_chapter_and_a_killed_pipeline_lose_nothing(whole: Path) -> None:
    checkout, env = whole, {**os.environ, "PYTHONPATH": str(whole)}
    command = [sys.executable, "-m", "pipeline", "reference", "--seeds", "1", "--jobs", "2"]
    folder = checkout / "_build" / "runs" / "cpu" / "01_good" / "seed0"

    process = subprocess.Popen(command, cwd=checkout, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(list(folder.glob("checkpoints/*/state.json"))) == 1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: json.loads((folder / "progress.json").read_text())["state"] != "running")
    assert json.loads((folder / "progress.json").read_text())["state"] == "interrupted"
    interrupted = json.loads(next(folder.glob("checkpoints/*/seconds.json")).read_text())["seconds"]

    second = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True)
    assert second.returncode == 1
    assert "ZeroDivisionError" in second.stdout + second.stderr
    assert "_build/runs/cpu/02_bad/seed0/failed.ipynb" in second.stderr
    failed = nbformat.read(folder.parents[1] / "02_bad" / "seed0" / "failed.ipynb", as_version=4)
    assert "ZeroDivisionError" in [output.get("ename") for cell in failed.cells for output in cell.get("outputs", ())]
    assert "Not recorded: 02_bad" in second.stderr
    kept = json.loads((checkout / "book" / "reference" / "cpu" / "01_good.json").read_text())
    assert 0 < kept["claims"]["01-starts-over"]["value"][0] < 40, "the second run went on where the first was killed"
    assert kept["seconds"][0] > (took := json.loads((folder.parent / "timing.json").read_text())["seconds"]) > 0
    assert took + interrupted == pytest.approx(kept["seconds"][0], abs=0.2), "both executions count"
    assert kept["environment"]["threads"] == 1
    assert kept["environment"]["memory_mb"] > 50
    assert kept["environment"]["cpu_capability"]
    pinned = (CHECKOUT / "requirements.txt").read_bytes()
    assert kept["environment"]["requirements"] == hashlib.sha256(pinned).hexdigest()[:12]
    assert kept["environment"]["packages"]["numpy"] == metadata.version("numpy")
    assert kept["environment"]["commit"] is None, "the copy is no repository"
    assert kept["environment"]["gpu_memory_mb"] is None and kept["edition"] == 1
    assert kept["parameters"] == {"profile": "cpu", "dataset": "ring", "steps": 40}
    assert not (folder / "checkpoints").exists()
    shown = json.dumps(nbformat.read(folder / "notebook.ipynb", as_version=4))
    assert re.search(r"_build/shared/[0-9a-f]{16}'", shown), "where chapters share networks"


def test_on_a_cluster_snakemake_executes_and_records(whole: Path) -> None:
    pytest.importorskip("snakemake")
    chapter_cell(whole, 4, lambda source: source.replace("{checkpoints}/", ""))  # there are none at ci
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "reference", "--config", "profile=ci", "seeds=1"]
    done = subprocess.run(command, cwd=whole, env={**os.environ, "PYTHONPATH": str(whole)}, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    kept = json.loads((whole / "book" / "reference" / "ci" / "01_good.json").read_text())
    assert kept["seeds"] == [0]
    shown = json.dumps(nbformat.read(Run("ci", "01_good", 0).folder / "notebook.ipynb", as_version=4))
    assert "_build/shared" not in shown, "at ci every chapter trains its own"


def test_memory_is_that_of_the_process_and_the_largest_of_a_training_on_the_gpu() -> None:
    assert gpu_memory_mb([{"memory": 12.5}, {"memory": None}, {"memory": 900.0}, {}]) == 900
    assert gpu_memory_mb([{"memory": None}]) is None and gpu_memory_mb([]) is None
    assert memory_text({"memory_mb": 1500, "gpu_memory_mb": 900.0}) == "1.5 GB, 0.9 GB on the GPU"
    assert memory_text({"memory_mb": 1500, "gpu_memory_mb": None}) == "1.5 GB" and memory_text({}) == "–"


def wait_for(condition: Any, seconds: float = 60) -> None:
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "it did not come about in time"
        time.sleep(0.05)
