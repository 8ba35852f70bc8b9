"""The first code cell of every notebook (tag ``setup``), identical everywhere.

The repository's address stands in one place, ``repository.url`` in ``_config.yml``; ``python -m pipeline setup`` writes
the cell with that address into every notebook, and a test checks that they agree.
"""

from pathlib import Path

import nbformat
import yaml

from pipeline import write_atomic

# Naming the present torch as a requirement pins it: pip either keeps it or refuses, and never installs another.
TEMPLATE = """\
# Where medgan_lib is missing (Colab), this installs it and leaves torch as it is; elsewhere it does nothing.
import os
from importlib import metadata, util

if util.find_spec("medgan_lib") is None:
    source = os.environ.get("MEDGAN_SOURCE", "medgan_lib @ git+{url}")
    %pip install -q "torch=={{metadata.version('torch')}}" "{{source}}\""""


def setup_cell(root: Path) -> str:
    """Source of the setup cell for the repository whose checkout is ``root``."""
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    return TEMPLATE.format(url=config["repository"]["url"])


def write_setup_cells(root: Path) -> list[Path]:
    """Give every notebook the setup cell, as a replacement or as its first code cell; the notebooks that changed."""
    changed = []
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        source = setup_cell(root)
        if not code or "setup" not in code[0].metadata.get("tags", []):
            position = notebook.cells.index(code[0]) if code else len(notebook.cells)
            code = [nbformat.v4.new_code_cell("", metadata={"tags": ["setup", "hide-input"]})]
            notebook.cells.insert(position, code[0])
        if code[0].source != source:
            code[0].source = source
            write_atomic(path, nbformat.writes(notebook) + "\n")
            changed.append(path)
    return changed
