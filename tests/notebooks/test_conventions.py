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


# --- pages of rebuilt chapters: the pattern of CONTRIBUTING.md ---------------------------------------------------

REBUILT = [chapter for chapter in chapters() if edition(chapter) >= ledger.EDITION]
FOLDED = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
JARGON = re.compile(
    r"\b(ledgers?|claims?|profiles?|cohorts?|yardsticks?|gates?|fingerprints?|papermill|seeds?)\b", re.IGNORECASE)
CLAIM_ID = re.compile(r"\b\d\d-[a-z][a-z0-9-]+")


def folded(cell: nbformat.NotebookNode) -> bool:
    return bool(FOLDED & set(tags(cell)))


def prose(chapter: str) -> str:
    return "\n\n".join(cell.source for cell in read(chapter).cells if cell.cell_type == "markdown")


def section(chapter: str, heading: str) -> list[nbformat.NotebookNode]:
    """The cells from ``## heading`` up to the next such heading, cut there."""
    cells: list[nbformat.NotebookNode] = []
    for cell in read(chapter).cells:
        begins = cell.cell_type == "markdown" and re.search(r"^## .*", cell.source, re.MULTILINE)
        if begins and cells:
            break
        if cells or (begins and begins[0] == f"## {heading}"):
            cells.append(cell)
    assert cells, f"{chapter} has no section {heading!r}"
    return cells


@pytest.mark.parametrize("chapter", REBUILT)
def test_visible_code_fits_the_page(chapter: str) -> None:
    wrong = []
    for cell in read(chapter).cells:
        if cell.cell_type == "code" and not folded(cell):
            lines = cell.source.splitlines()
            wrong += [f"{cell.id}: {len(lines)} lines"] * (len(lines) > 15)
            wrong += [f"{cell.id}: {len(line)} columns" for line in lines if len(line) > 88]
    assert wrong == []


@pytest.mark.parametrize("chapter", REBUILT)
def test_setup_and_ledger_are_folded_and_trainings_are_not(chapter: str) -> None:
    for cell in read(chapter).cells:
        if cell.cell_type != "code":
            continue
        code = plain_python(cell.source)
        if {"setup", "parameters"} & set(tags(cell)) or re.search(r"^\s*L\.(record|gate|show)\(", code, re.MULTILINE):
            assert folded(cell), f"{cell.id} is for the machine: fold it"
        if re.search(r"\b(training\.fit|Yardstick\.train)\(", code):
            assert not folded(cell), f"{cell.id} trains: show it"


@pytest.mark.parametrize("chapter", REBUILT)
def test_the_first_screen_speaks_the_field_s_words(chapter: str) -> None:
    first = re.split(r"^## ", prose(chapter), maxsplit=1, flags=re.MULTILINE)[0]
    shown = re.sub(r"\{\w+\}`[^`]*`|\]\([^)]*\)", "", first)  # roles and addresses show no names
    assert CLAIM_ID.findall(shown) == [] and JARGON.findall(shown) == []
    assert "{claim}`" in first, "say what was found, with numbers out of the record"
    assert len(shown.split()) < 330, "a first screen is read in a minute"


@pytest.mark.parametrize("chapter", REBUILT)
def test_the_first_picture_comes_before_the_first_code(chapter: str) -> None:
    """The page begins with the picture of the cell that has the tag; until the first section, all code is folded."""
    cells = read(chapter).cells
    assert sum("opening" in tags(cell) for cell in cells) == 1
    for cell in cells:
        if cell.cell_type == "markdown" and re.search(r"^## ", cell.source, re.MULTILINE):
            break
        assert cell.cell_type == "markdown" or folded(cell), cell.id


@pytest.mark.parametrize("chapter", REBUILT)
def test_an_exercise_asks_to_build_or_change_something(chapter: str) -> None:
    cells = section(chapter, "Exercises")
    asking = [i for i, cell in enumerate(cells)
              if cell.cell_type == "markdown" and re.search(r"^\*\*\d+\. (Build|Change)\b", cell.source, re.MULTILINE)]
    assert asking, "at least one exercise is to build or to change something: **4. Build: …**"
    for i in asking:
        assert i + 1 == len(cells) or cells[i + 1].cell_type == "markdown", "its answer is not in the cell below"


@pytest.mark.parametrize("chapter", REBUILT)
def test_since_2018_has_references(chapter: str) -> None:
    text_of = "\n".join(cell.source for cell in section(chapter, "Since 2018"))
    keys = {key for found in re.findall(r"\{cite:\w\}`([^`]+)`", text_of) for key in found.split(",")}
    entry = re.compile(r"^@\w+\{(\w+),.*?^  year = \{(\d{4})\}", re.MULTILINE | re.DOTALL)
    years = dict(entry.findall(text("book/references.bib")))
    assert sum(int(years[key]) >= 2018 for key in keys) >= 3


@pytest.mark.parametrize("chapter", REBUILT)
def test_a_page_says_what_happened_with_recorded_numbers(chapter: str) -> None:
    happened = "\n".join(cell.source for cell in section(chapter, "What happened"))
    assert happened.count("{claim}`") >= 4
    for heading in ("What would fool you", "The claims"):
        section(chapter, heading)
