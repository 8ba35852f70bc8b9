"""A small checkout with a good chapter and a bad one, and one whose pages are looked at."""

import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from checkouts import GOOD, URL, notebook
from nbformat.v4 import new_markdown_cell, new_notebook
from staged_books import CLAIMS, GATES, RECORD, source

import pipeline
from pipeline.setup_cell import write_setup_cells


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a library of four modules, a good chapter and a bad one."""
    for name in ("notebooks", "book/profiles", "medgan_lib/cohorts"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "_config.yml").write_text(f"repository:\n  url: {URL}\n")
    files = {
        "__init__.py": "",
        "direct.py": "def f():\n    from .deep import g\n    return g()\n",
        "deep.py": '"""Doc."""\n\nSCALE = 2  # twice\nOTHER = 5\n\n\ndef g():\n    """Doc."""\n    return SCALE\n',
        "unrelated.py": "X = 1\n",
        "figures.py": "COLOUR = 1\n",
        "cohorts/__init__.py": 'EMBEDDED = {"ring": ("toys", "ring")}\nREAL = {"lungs": ("real", "lungs")}\n'
        'FOLDER = ("toys", "ring")\n',
        "cohorts/toys.py": "N = 3\n\n\ndef ring(split):\n    return N\n",
        "cohorts/real.py": "N = 7\n\n\ndef lungs(split):\n    return N\n",
    }
    for name, text in files.items():
        (tmp_path / "medgan_lib" / name).write_text(text)
    claim = {"source": "review", "place": "Sec. 2", "protocol": "simulated", "claim": "It is so.", "metric": "steps",
             "kind": "at_least", "bound": 1, "seeds": 5}
    (tmp_path / "book" / "claims.yml").write_text(json.dumps({
        "01-starts-over": {**claim, "row": 1, "chapter": "01_good"},
        "02-never": {**claim, "row": 2, "chapter": "02_bad"},
    }))
    (tmp_path / "book" / "profiles" / "cpu.yml").write_text("01_good: {steps: 40, dataset: ring}\n02_bad:\n")
    (tmp_path / "book" / "profiles" / "ci.yml").write_text("01_good: {steps: 1}\n")
    good = GOOD.replace("CLAIMS", str(tmp_path / "book" / "claims.yml"))
    bad = '1 / 0\nledger.record("02-never", 1)'
    uses = "import medgan_lib.figures\nfrom medgan_lib import direct\nuse = direct.f, medgan_lib.figures.COLOUR"
    for name, cells in {"01_good": (uses, good), "02_bad": (bad,)}.items():
        nbformat.write(notebook(*cells), tmp_path / "notebooks" / f"{name}.ipynb")
    write_setup_cells(tmp_path)
    monkeypatch.setattr(pipeline, "ROOT", tmp_path)
    return tmp_path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with the book's own prose and configuration, two small chapters, three claims and one record."""
    shutil.copy(pipeline.ROOT / "_config.yml", tmp_path / "_config.yml")
    contents = (pipeline.ROOT / "_toc.yml").read_text()
    contents = re.sub(r" *- file: notebooks/(?!01_|02_).*\n", "", contents)
    empty = r"  - caption: .*\n    chapters:\n(?=  - caption|\Z)"
    (tmp_path / "_toc.yml").write_text(re.sub(empty, "", contents))
    shutil.copytree(pipeline.ROOT / "book", tmp_path / "book", ignore=shutil.ignore_patterns("reference", "profiles"))
    (tmp_path / "book" / "claims.yml").write_text(CLAIMS)
    (tmp_path / "book" / "gates.yml").write_text(GATES)
    (tmp_path / "book" / "reference" / "cpu").mkdir(parents=True)
    (tmp_path / "book" / "reference" / "cpu" / "01_objectives.json").write_text(json.dumps(RECORD))
    (tmp_path / "notebooks").mkdir()
    nbformat.write(source(), tmp_path / "notebooks" / "01_objectives.ipynb")
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Wasserstein\n\nText.", id="t")]),
                   tmp_path / "notebooks" / "02_wasserstein.ipynb")
    return tmp_path
