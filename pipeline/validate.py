"""What must hold before anything is executed: well-formed claims and notebooks that fit them."""

import ast
import contextlib
import re
from pathlib import Path
from typing import Any

import nbformat

import pipeline
from pipeline.fingerprint import default_parameters, plain_python, tags
from pipeline.setup_cell import setup_cell

# The pipeline sets these in every notebook, so every notebook must have them.
ALWAYS_PARAMETERS = ("profile", "seed", "checkpoints")


def recorded_claims(notebook: Any, call: str = "record") -> list[str]:
    """Claim ids in calls ``….record("id", …)``, in order; of another ``call``, what stands first in it."""
    return [
        node.args[0].value
        for cell in notebook.cells
        if cell.cell_type == "code"
        for node in ast.walk(ast.parse(plain_python(cell.source)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == call
        and node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)
    ]


def notebook_problems(path: Path, setup: str, claims: dict[str, Any]) -> list[str]:
    """One line a problem of the notebook at ``path``; ``setup`` is what its setup cell must be."""
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        parameters = default_parameters(notebook)
        recorded = recorded_claims(notebook)
    except (nbformat.ValidationError, nbformat.reader.NotJSONError) as error:
        return [f"{path.name}: not a valid notebook: {str(error).splitlines()[0]}"]
    except (SyntaxError, ValueError) as error:
        return [f"{path.name}: a cell is not plain Python, or a parameter is no literal: {error}"]
    problems = []
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if sum("parameters" in tags(cell) for cell in code) != 1:
        problems.append("needs exactly one cell tagged 'parameters'")
    elif missing := [name for name in ALWAYS_PARAMETERS if name not in parameters]:
        problems.append(f"its parameters cell lacks {', '.join(missing)}")
    if not code or "setup" not in tags(code[0]) or code[0].source.strip() != setup.strip():
        problems.append("its first code cell must be the setup cell: run `.venv/bin/python -m pipeline setup`")
    if any(cell.outputs or cell.execution_count for cell in code):
        problems.append("holds outputs: run `.venv/bin/nbstripout notebooks/*.ipynb`")
    own = [name for name, claim in claims.items() if claim.chapter == path.stem and claim.testable is True]
    gates = {gate for name in own for gate in claims[name].gate}
    if shut := sorted(gates - set(recorded_claims(notebook, "gate"))):
        problems.append(f"gates without a value (no .gate(\"name\", …) call): {', '.join(shut)}")
    if silent := sorted(set(own) - set(recorded)):
        problems.append(f"claims without a value (no .record(\"id\", …) call): {', '.join(silent)}")
    if stray := sorted(set(recorded) - set(own)):
        problems.append(f"values without a claim in book/claims.yml: {', '.join(stray)}")
    if twice := sorted({name for name in recorded if recorded.count(name) > 1}):
        problems.append(f"claims recorded twice: {', '.join(twice)}")
    return [f"{path.name}: {problem}" for problem in problems]


def unknown_marks(claims: dict[str, Any], root: Path) -> list[str]:
    """A line for each ``{claim}`id` `` in a notebook or on a page of prose whose claim there is not."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted((root / "book").glob("*.md"))}
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        with contextlib.suppress(nbformat.ValidationError, nbformat.reader.NotJSONError):  # named elsewhere
            cells = nbformat.read(path, as_version=4).cells
            texts[path] = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return [
        f"{path.name}: {{claim}}`{name}`: there is no such claim in book/claims.yml"
        for path, text in texts.items() for name in re.findall(r"\{claim\}`([^`:]*)", text) if name not in claims
    ]


def unknown_papers(claims: dict[str, Any], root: Path) -> list[str]:
    """A line for each claim of a paper whose place does not begin with a key of the bibliography."""
    path = root / "book" / "references.bib"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    known = set(re.findall(r"^@\w+\{\s*([^,\s]+)", text, re.MULTILINE))
    return [
        f"book/claims.yml: claim {claim.id!r}: place begins with {key!r}, which is no key of book/references.bib"
        for claim in claims.values()
        if claim.source == "paper" and (key := claim.place.partition(",")[0]) not in known
    ]


def _code_cells(path: Path) -> set[str]:
    """Ids of a notebook's code cells; none of one that is no notebook, which is said elsewhere."""
    with contextlib.suppress(nbformat.ValidationError, nbformat.reader.NotJSONError):
        return {cell.id for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"}
    return set()


def problems(root: Path | None = None) -> list[str]:
    """Everything wrong with the claims, the profiles and the notebooks of the checkout, one line each."""
    from medgan_lib.ledger import check_gates, gates_beside, load_claims
    from pipeline.pages import highlight_problems

    root = root or pipeline.ROOT
    try:
        claims = load_claims(root / "book" / "claims.yml")
        check_gates(claims, gates_beside(root / "book" / "claims.yml"))
        setup = setup_cell(root)
        profiles = {name: pipeline.profile_parameters(name) for name in pipeline.PROFILES}
    except (ValueError, OSError) as error:
        return [str(error)]
    found = [*unknown_papers(claims, root), *unknown_marks(claims, root)]
    chapters = pipeline.chapters()
    cells = {chapter: _code_cells(root / "notebooks" / f"{chapter}.ipynb") for chapter in chapters}
    found += highlight_problems(root, claims, cells)
    if homeless := sorted({claim.chapter for claim in claims.values()} - set(chapters)):
        found.append(f"book/claims.yml: claims of chapters that do not exist: {', '.join(homeless)}; "
                     f"there are: {', '.join(chapters)}")
    for chapter in chapters:
        path = root / "notebooks" / f"{chapter}.ipynb"
        wrong = notebook_problems(path, setup, claims)
        found += wrong
        if wrong:
            continue
        known = default_parameters(nbformat.read(path, as_version=4))
        for profile, values in profiles.items():
            if unknown := sorted(set(values.get(chapter, {})) - set(known)):
                found.append(f"book/profiles/{profile}.yml: {chapter} has no parameter {', '.join(unknown)}; "
                             f"it has: {', '.join(known)}")
    return found
