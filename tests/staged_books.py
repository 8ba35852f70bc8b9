"""A checkout of two chapters with claims, a gate, a record and a run, for tests of pages."""

import hashlib
import io
import json
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from pipeline import pages, stage

CLAIMS = """
01-loss-equals-formula:
  {source: review, place: "Sec. 2.1, Eq. 1", protocol: same data, row: 1, chapter: 01_objectives, check: true,
   claim: Eq. 1 equals the formula., metric: largest error, kind: at_most, bound: 1.0e-6, seeds: 5}
02-does-not-saturate:
  {source: paper, place: "goodfellow2014, Sec. 3", protocol: simulated, row: 2, chapter: 01_objectives,
   claim: Eq. 2 keeps its gradient., metric: gradient, unit: per logit, kind: greater, smallest_effect: 0.5,
   control: Eq. 1, gate: game-is-on, seeds: 5}
08-people-like-it:
  {source: ours, place: Sec. 2.1, row: 8, chapter: 02_wasserstein, claim: People like it., testable: needs readers}
"""
GATES = 'game-is-on: {question: "Is it on?", fails: It is off., metric: accuracy of D, between: [0.55, 0.95]}'
RECORD = {
    "chapter": "01_objectives", "profile": "cpu", "edition": 2, "seeds": [0, 1, 2, 3, 4],
    "seconds": [5, 6, 7, 6, 6], "fingerprint": "abc",
    "parameters": {}, "environment": {"device": "cpu", "cpu": "A processor", "gpu": None, "threads": 1,
                                      "torch": "9.9.9", "python": "3.11", "memory_mb": 1234, "commit": "abc+",
                                      "requirements": "d1, d2"},
    "claims": {"01-loss-equals-formula": {"value": [1e-7] * 5, "control": None, "verdict": "check passed"},
               "02-does-not-saturate": {"value": [0.9, 1.0, 1.1, 1, 1], "control": [0] * 5, "verdict": "supported"},
               "game-is-on": {"value": [0.7] * 5, "control": None, "verdict": "held"}},
}


def source() -> nbformat.NotebookNode:
    return new_notebook(metadata={"edition": 2}, cells=[
        new_markdown_cell("# Objectives\n\nNew prose, {claim}`02-does-not-saturate:value`.", id="title"),
        new_code_cell("import medgan_lib", id="setup", metadata={"tags": ["setup"]}),
        new_code_cell('profile = "full"\nsteps = 100', id="scale", metadata={"tags": ["parameters"]}),
        new_code_cell("picture", id="best", metadata={"tags": ["hide-input", "opening"]}),
        new_markdown_cell("## The claims", id="claims"),
        new_code_cell("6 * 7", id="work"),
    ])


def executed(*outputs: nbformat.NotebookNode) -> nbformat.NotebookNode:
    notebook = source()
    notebook.cells[0].source = "# Objectives\n\nOld prose."
    injected = new_code_cell('# Parameters\nsteps = 3\ncheckpoints = "checkpoints/abc"', id="injected",
                             metadata={"tags": ["injected-parameters"]})
    notebook.cells.insert(3, injected)
    notebook.cells[-1].outputs = list(outputs) or [new_output("execute_result", {"text/plain": "42"})]
    return notebook


def put_run(root: Path, *outputs: nbformat.NotebookNode, fingerprint: str = "old") -> Path:
    folder = root / "_build" / "runs" / "cpu" / "01_objectives" / "seed0"
    folder.mkdir(parents=True)
    nbformat.write(executed(*outputs), folder / "notebook.ipynb")
    results = {"chapter": "01_objectives", "profile": "cpu", "seed": 0, "fingerprint": fingerprint, "seconds": 12.3,
               "environment": RECORD["environment"], "parameters": {},
               "claims": {"01-loss-equals-formula": {"value": 1e-7, "control": None},
                          "02-does-not-saturate": {"value": 0.25, "control": 0.0}, "game-is-on": {"value": 0.7}}}
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def context(root: Path) -> pages.Context:
    runs = {name: root / "_build/runs/cpu" / name / "seed0" for name in ("01_objectives", "02_wasserstein")}
    return pages.Context("cpu", 0, runs, root)


def staged(root: Path, chapter: str = "01_objectives") -> nbformat.NotebookNode:
    return nbformat.read(stage.stage("cpu", root=root) / "notebooks" / f"{chapter}.ipynb", as_version=4)


def text(notebook: nbformat.NotebookNode) -> str:
    return "\n".join(cell.source for cell in notebook.cells)


def add_pictures(root: Path, profile: str, *cells: str, **changes: object) -> None:
    """Give the record of chapter 01 at ``profile`` a picture of each of ``cells``, and ``changes``."""
    folder = root / "book" / "reference" / profile / "01_objectives"
    folder.mkdir(parents=True)
    entries = []
    for number, cell in enumerate(cells, 1):
        buffer = io.BytesIO()
        Image.new("L", (20 + number, 10)).save(buffer, format="WEBP")
        (folder / f"{number}.webp").write_bytes(buffer.getvalue())
        entries.append({"file": f"{number}.webp", "cell": cell, "alt": f'A "picture" of {cell}', "caption": "1 < 2",
                        "width": 20 + number, "height": 10,
                        "sha256": hashlib.sha256(buffer.getvalue()).hexdigest()[:16]})
    record = {**RECORD, "profile": profile, "pictures": entries, **changes}
    folder.with_suffix(".json").write_text(json.dumps(record))
