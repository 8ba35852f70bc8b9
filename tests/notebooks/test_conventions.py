"""The repository's own rules: notebooks, style, and the files that must agree with one another."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from medgan_lib import ledger
from pipeline import ROOT, Run, chapters, edition, profile_parameters, readme, validate
from pipeline.fingerprint import plain_python, run_fingerprint, tags

LONGEST_CELL = 40  # lines; ten are long for a reader, and a folded cell may hold a few more


def read(chapter: str) -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "notebooks" / f"{chapter}.ipynb", as_version=4)


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_claims_profiles_and_notebooks_fit_together() -> None:
    assert validate.problems() == []


def test_claims_of_rebuilt_chapters_can_be_judged() -> None:
    """Extremes of noisy numbers are no statistics, and a bound needs a margin that a reader would care about."""
    extremes = re.compile(r"\b(smallest|largest|lowest|highest|minimum|maximum|best|worst)\b")
    claims = [claim for claim in ledger.load_claims().values()
              if claim.testable is True and not claim.check and edition(claim.chapter) >= ledger.EDITION]
    assert [claim.id for claim in claims if extremes.search(claim.metric)] == []
    assert [claim.id for claim in claims if claim.kind in ledger.BOUNDS and claim.margin == 0] == []


def test_ruff() -> None:
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "--output-format", "concise", "."], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("chapter", chapters())
def test_every_chapter_runs_at_ci_and_at_cpu(chapter: str) -> None:
    assert chapter in profile_parameters("ci")
    assert chapter in profile_parameters("cpu")


@pytest.mark.parametrize("chapter", chapters())
def test_a_chapter_begins_with_its_title_and_its_cells_can_be_read(chapter: str) -> None:
    notebook = read(chapter)
    assert notebook.cells[0].source.startswith("# ")
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids), "cell ids tell the pages which output belongs where"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert len(cell.source.splitlines()) <= LONGEST_CELL, cell.source[:200]


@pytest.mark.parametrize("chapter", chapters())
def test_a_chapter_seeds_through_its_parameter(chapter: str) -> None:
    """A literal seed would make all seeds of a record the same run; only a measuring network may stay the same."""
    code = [plain_python(cell.source) for cell in read(chapter).cells
            if cell.cell_type == "code" and "parameters" not in tags(cell)]
    calls = [node for source in code for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    fits = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "fit"]
    for call in fits:
        fixed = any(keyword.arg == "seed" and isinstance(keyword.value, ast.Constant) for keyword in call.keywords)
        assert not fixed or "Classifier(" in ast.unparse(call.args[0]), ast.unparse(call)


@pytest.mark.parametrize("chapter", chapters())
def test_a_chapter_ran_at_ci(chapter: str) -> None:
    if "MEDGAN_BOOK" not in os.environ:
        pytest.skip("make test executes the chapters and sets MEDGAN_BOOK; this is a run of single tests")
    results = Run("ci", chapter, 0).results()
    assert results is not None, f"{chapter} failed at ci: see _build/runs/ci/{chapter}/seed0/log.txt"
    assert results["fingerprint"] == run_fingerprint(chapter, "ci")


def test_the_ci_book_was_built() -> None:
    if "MEDGAN_BOOK" not in os.environ:
        pytest.skip("make test builds the book and sets MEDGAN_BOOK; this is a run of single tests")
    assert (Path(os.environ["MEDGAN_BOOK"]) / "index.html").exists(), "see _build/sphinx.log"


def test_the_table_in_the_readme_is_that_of_the_records() -> None:
    assert readme.filled(text("README.md")) == text("README.md"), "run .venv/bin/python -m pipeline readme"


def test_the_address_is_the_same_everywhere() -> None:
    address = yaml.safe_load(text("_config.yml"))["repository"]["url"]
    assert yaml.safe_load(text("CITATION.cff"))["repository-code"] == address


def test_every_make_target_is_in_its_help() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.+)$", text("Makefile"), re.MULTILINE)
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"make (\w+)", shown)) == set(phony.split()) - {"help"}
