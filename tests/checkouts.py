"""A small checkout for tests of the pipeline: two chapters, a library of a few modules."""

import json
import os
import time
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import pipeline
from pipeline import Run, fingerprint

CHECKOUT = Path(__file__).resolve().parent.parent


URL = "https://example.org/someone/book"


PARAMETERS = 'profile = "full"\nseed = 0\ncheckpoints = None\ndataset = "lungs"\nsteps = 100'


GOOD = """\
import json, os, time
from medgan_lib import ledger
state = f"{checkpoints}/state.json"
start = json.load(open(state))["step"] if os.path.exists(state) else 0
for step in range(start, steps):
    time.sleep(0.05)
    open(state + ".part", "w").write(json.dumps({"step": step + 1}))
    os.replace(state + ".part", state)
book = ledger.Ledger("01_good", profile, claims="CLAIMS")
book.record("01-starts-over", start)
book.show()"""


def notebook(*cells: str) -> Any:
    made = new_notebook(cells=[
        new_markdown_cell("# Title"),
        new_code_cell("", metadata={"tags": ["setup"]}),
        new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        *map(new_code_cell, cells),
    ])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return made


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    os.utime(path, ns=(0, time.time_ns()))  # two edits within a clock tick must not look like one


def chapter_cell(checkout: Path, number: int, change: Any) -> None:
    path = checkout / "notebooks" / "01_good.ipynb"
    content = nbformat.read(path, as_version=4)
    content.cells[number].source = change(content.cells[number].source)
    nbformat.write(content, path)


def finished(run: Run, *outputs: Any, **changes: Any) -> None:
    """What an execution of ``run`` leaves; ``outputs`` are HTML, a cell each."""
    results = {"fingerprint": fingerprint.run_fingerprint(run.chapter, run.profile),
               "record_fingerprint": fingerprint.record_fingerprint(run.chapter, run.profile),
               "parameters": {"steps": 40, "seed": run.seed, "checkpoints": "x"}, "seconds": 1.5,
               "environment": {"memory_mb": 100 + run.seed, "requirements": "d1", "commit": f"c{run.seed // 2}",
                               "packages": {"numpy": "2.0"}},
               "claims": {"01-starts-over": {"value": 2.0 + run.seed}}}
    cells = [new_code_cell("show()", id=f"cell-{i}", outputs=[new_output("display_data", {"text/html": html})])
             for i, html in enumerate(outputs, 1)]
    pipeline.write_atomic(run.folder / "notebook.ipynb", nbformat.writes(new_notebook(cells=cells)))
    pipeline.write_atomic(run.folder / "results.json", json.dumps({**results, **changes}))
