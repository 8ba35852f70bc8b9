"""Execute one notebook at one profile and seed: papermill injects the parameters, nbclient runs the cells.

Leaves in the run's folder ``notebook.ipynb`` and ``results.json`` (written last: it marks success), ``log.txt``, and
while it runs ``progress.json`` (cell) and ``training.json`` (step, written by ``training.fit``). A failing notebook is
kept as ``failed.ipynb``. An interrupted one leaves its training checkpoints, and the next execution goes on from them.
"""

import asyncio
import json
import os
import platform
import re
import resource
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from pipeline import ROOT, Run, UserError, profile_parameters, read_json, write_atomic
from pipeline.environment import made_with
from pipeline.fingerprint import check_imports, default_parameters, record_fingerprint, run_fingerprint
from pipeline.shared import shared_folder

UPDATES = 50  # after so many, `training.fit` notes a digest of the weights
# Asked of the kernel itself, which has torch loaded: this process has not.
ENVIRONMENT = """\
import json, sys, threadpoolctl, torch
print(json.dumps({
    "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    "threads": torch.get_num_threads(), "torch": torch.__version__,
    # Which instructions PyTorch and OpenBLAS chose: sums round differently with others.
    "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    "blas": sorted({lib["architecture"] for lib in threadpoolctl.threadpool_info() if lib.get("architecture")}),
    "modules": sorted(name for name in sys.modules if name.partition(".")[0] == "medgan_lib")}))"""


def execute(run: Run) -> int:
    """Execute ``run``; the exit status: 0 done, 1 failed, 130 interrupted."""
    folder = run.folder
    folder.mkdir(parents=True, exist_ok=True)
    fingerprint, record = run_fingerprint(run.chapter, run.profile), record_fingerprint(run.chapter, run.profile)
    made = made_with()  # now: by the end the checkout may be another one
    for name in ("notebook.ipynb", "results.json", "failed.ipynb", "training.json", "trainings.jsonl"):
        (folder / name).unlink(missing_ok=True)
    for old in (folder / "checkpoints").glob("*"):
        if old.name != fingerprint:
            shutil.rmtree(old, ignore_errors=True)
    _stop_with_parent()

    notebook, parameters = parameterized(run, fingerprint)
    progress = Progress(run, sum(cell.cell_type == "code" for cell in notebook.cells))
    failure, environment = _run_cells(notebook, run, progress)
    earlier = folder / "checkpoints" / fingerprint / "seconds.json"  # what executions took that this one goes on from
    seconds = round(progress.seconds() + (read_json(earlier) or {"seconds": 0})["seconds"], 1)
    if failure == "KeyboardInterrupt":
        if earlier.parent.exists():
            write_atomic(earlier, json.dumps({"seconds": seconds}))
        progress.write("interrupted")
        return 130
    if failure is None:
        try:
            check_imports(environment.pop("modules"), run.chapter, run.profile)
            claims = claims_of(notebook, run) if run.kind == "runs" else {}
        except UserError as error:
            failure = str(error)
        except ValueError as error:
            failure = f"ledger: {error}"
    if failure is not None:
        _write_notebook(notebook, folder / "failed.ipynb")
        progress.write("failed", error=failure.splitlines()[-1])
        print(failure, file=sys.stderr)
        return 1

    trained = trainings(folder)
    memory = {"memory_mb": peak_memory_mb(), "gpu_memory_mb": gpu_memory_mb(trained)}
    _write_notebook(notebook, folder / "notebook.ipynb")
    results = {
        "chapter": run.chapter, "profile": run.profile, "seed": run.seed, "fingerprint": fingerprint,
        "record_fingerprint": record, "parameters": parameters, "claims": claims, "seconds": seconds,
        "environment": {**environment, **made, **memory}, "trainings": trained,
    }
    write_atomic(folder / "results.json", json.dumps(results, indent=1, allow_nan=False))
    write_atomic(folder.parent / "timing.json", json.dumps({"starts": progress.starts, "seconds": progress.seconds()}))
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    progress.write("done")
    return 0


def parameterized(run: Run, fingerprint: str) -> tuple[Any, dict[str, Any]]:
    """The source notebook with the run's parameters injected, and all values that its parameters then have.

    ``checkpoints`` is relative to the run's folder, where the kernel works, so that no machine's path gets into the
    book. At ``ci`` there are none: there a second execution must train again and come to the same output. Nor where
    trainings stop early: they must not be taken for whole ones.
    """
    import papermill

    values = profile_parameters(run.profile).get(run.chapter)
    if values is None:
        raise UserError(f"{run.chapter} does not run at profile {run.profile!r}")
    checkpoints = None if run.profile == "ci" or run.kind != "runs" else f"checkpoints/{fingerprint}"
    if checkpoints:
        (run.folder / checkpoints).mkdir(parents=True, exist_ok=True)
    parameters = {**values, "profile": run.profile, "seed": run.seed, "checkpoints": checkpoints}
    source = ROOT / "notebooks" / f"{run.chapter}.ipynb"
    notebook = papermill.execute_notebook(
        source, None, parameters=parameters, prepare_only=True, progress_bar=False, kernel_name="python3"
    )
    del notebook.metadata["papermill"]  # paths and times
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
    return notebook, {**default_parameters(notebook), **parameters}


def trainings(folder: Path) -> list[dict[str, Any]]:
    """What `training.fit` noted of each training of a run, in their order: settings, and a digest of first weights."""
    path = folder / "trainings.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _run_cells(notebook: Any, run: Run, progress: "Progress") -> tuple[str | None, dict[str, Any]]:
    """Run all cells in place; the error's traceback (None if there was none), and the environment."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    interrupted = []

    def interrupt() -> None:
        interrupted.append(asyncio.ensure_future(client.km.interrupt_kernel()))

    def started(cell: Any, cell_index: int) -> None:
        # In place of nbclient's own handlers, which end the kernel: ours lets training.fit save its state first.
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, interrupt)
        if interrupted:
            raise KeyboardInterrupt
        if cell.cell_type == "code" and cell is not probe:
            progress.cell()

    def ended(cell: Any, cell_index: int, **_: Any) -> None:
        if cell_index == len(notebook.cells) - 2:
            progress.stop()

    probe = nbformat.v4.new_code_cell(ENVIRONMENT)
    notebook.cells.append(probe)
    threads, folder = os.environ.get("MEDGAN_THREADS", "1"), run.folder
    env = {
        **os.environ, "PYTHONPATH": str(ROOT),  # this checkout's medgan_lib, whatever else is installed
        "MEDGAN_PROGRESS": str(folder / "training.json"), "PYTHONHASHSEED": "0",
        "MEDGAN_TRAININGS": str(folder / "trainings.jsonl"),
        "MEDGAN_STATIC": "1",  # of live views the still version: nobody moves a slider here
        "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads,
    }
    # Whatever the shell exports. At ci, and where trainings stop early, nothing is taken from other chapters.
    env["MEDGAN_FIRST_UPDATES"] = str(UPDATES) if run.kind == "first_updates" else ""
    env["MEDGAN_SHARED"] = "" if run.profile == "ci" or run.kind != "runs" else str(shared_folder())
    client = NotebookClient(
        notebook, timeout=None, kernel_name="python3", record_timing=False, coalesce_streams=True,
        on_cell_start=started, on_cell_executed=ended,
        resources={"metadata": {"path": str(folder)}}, extra_arguments=["--log-level=ERROR"],
    )
    try:
        client.execute(env=env)
    except (KeyboardInterrupt, asyncio.CancelledError):  # the latter before the first cell
        return "KeyboardInterrupt", {}
    except CellExecutionError as error:
        if interrupted:
            return "KeyboardInterrupt", {}
        return re.sub(r"\x1b\[[0-9;]*m", "", error.traceback).strip(), {}
    except DeadKernelError:
        return "the kernel died (out of memory?)", {}
    finally:
        notebook.cells.remove(probe)
    values = json.loads("".join(output.get("text", "") for output in probe.outputs))
    for name, fallback in (("device", "cpu"), ("precision", "float32")):
        values[name] = ", ".join(sorted({training[name] for training in trainings(folder)})) or fallback
    return None, {**values, "cpu": cpu_name(), "python": platform.python_version()}


def claims_of(notebook: Any, run: Run) -> dict[str, dict[str, Any]]:
    """Measured values and controls by claim, read from the outputs; ValueError if one is missing or extra."""
    from medgan_lib import ledger

    claims = ledger.load_claims()
    own = any(claim.chapter == run.chapter and claim.expected_at(run.profile) for claim in claims.values())
    entries = ledger.entries_from_notebook(notebook) if own else {}
    ledger.check_entries(entries, run.chapter, run.profile, claims)
    return entries


class Progress:
    """Which cell runs, and how long the rest took the last time."""

    def __init__(self, run: Run, cells: int) -> None:
        self.path, self.cells = run.folder / "progress.json", cells
        self.began, self.starts = time.time(), []
        self.ended: float | None = None
        last = read_json(run.folder.parent / "timing.json") or {}
        self.last = [*last["starts"], last["seconds"]] if len(last.get("starts", [])) == cells else None
        self.write("running")

    def cell(self) -> None:
        self.starts.append(round(time.time() - self.began, 2))
        self.write("running")

    def stop(self) -> None:
        self.ended = time.time()

    def seconds(self) -> float:
        return round((self.ended or time.time()) - self.began, 1)

    def write(self, state: str, **more: Any) -> None:
        """Say where we are. ``expected``: seconds this cell and those after it took the last time, or None."""
        number = len(self.starts)
        expected = None
        if self.last and number:
            expected = [self.last[number] - self.last[number - 1], self.last[-1] - self.last[number]]
        write_atomic(self.path, json.dumps({
            "state": state, "cell": number, "cells": self.cells, "began": self.began, "cell_began": time.time(),
            "expected": expected, "seconds": self.seconds(), **more,
        }))


def _stop_with_parent() -> None:
    """Interrupt this process when the pipeline that started it is gone (killed): no orphan trains on unseen."""
    parent = os.environ.get("MEDGAN_PIPELINE_PID")
    if not parent or os.getppid() != int(parent):
        return

    def watch() -> None:
        # Its child no more: also where nobody took notice of its death, and it still counts as a process.
        while os.getppid() == int(parent):
            time.sleep(1)
        while True:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)

    threading.Thread(target=watch, daemon=True).start()


def _write_notebook(notebook: Any, path: Path) -> None:
    import nbformat

    write_atomic(path, nbformat.writes(notebook))


def peak_memory_mb() -> int:
    """Largest resident memory of the kernel, which has ended, in MB."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))


def gpu_memory_mb(trained: list[dict[str, Any]]) -> float | None:
    """Largest memory that a training of the run took on a GPU, in MB; None where all were on a CPU."""
    return max(filter(None, (training.get("memory") for training in trained)), default=None)


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    match = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return match[1] if match else platform.processor() or platform.machine()
