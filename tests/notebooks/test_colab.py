"""A lone notebook in an empty folder, where torch is installed but medgan_lib is not, runs from its first cell."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import nbformat
import papermill
import pytest

from pipeline import ROOT, chapters, profile_parameters

PROBE = """
import json, medgan_lib, torch
from importlib import metadata
from medgan_lib import ledger
print(json.dumps({"torch": torch.__file__, "torch_version": torch.__version__, "medgan_lib": medgan_lib.__file__,
                  "claims": len(ledger.load_claims())}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """medgan_lib built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
               "--disable-pip-version-check", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def colab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment that borrows this one's packages, but not medgan_lib."""
    folder = tmp_path_factory.mktemp("colab")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(subprocess.run([python, "-c", query], check=True, capture_output=True, text=True).stdout.strip())
    # A .pth inside a folder that is itself added by a .pth is not read: the checkout's stays out.
    (own / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def clean_environment(wheel: Path) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {**env, "MEDGAN_SOURCE": str(wheel), "MEDGAN_PROGRESS": os.devnull, "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("chapter", chapters()[:1])  # setup cells are identical: one stands for all
def test_lone_notebook_runs(chapter: str, wheel: Path, colab: Path, tmp_path: Path) -> None:
    env = clean_environment(wheel)
    missing = subprocess.run([colab, "-c", "import medgan_lib"], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert "No module named 'medgan_lib'" in missing.stderr

    notebook = papermill.execute_notebook(
        ROOT / "notebooks" / f"{chapter}.ipynb", None, prepare_only=True, progress_bar=False,
        parameters={**profile_parameters("ci")[chapter], "profile": "ci", "seed": 0},
    )
    notebook.cells.append(nbformat.v4.new_code_cell(PROBE))
    nbformat.write(notebook, tmp_path / "lone.ipynb")
    command = [colab, "-c", "import sys; from nbclient.cli import main; sys.exit(main())", "--inplace", "lone.ipynb"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]

    executed = nbformat.read(tmp_path / "lone.ipynb", as_version=4)
    found = json.loads("".join(output.get("text", "") for output in executed.cells[-1].outputs))
    import torch

    assert found["torch"] == torch.__file__
    assert found["torch_version"] == torch.__version__
    assert Path(found["medgan_lib"]).is_relative_to(colab.parent.parent)
    assert found["claims"] > 0
