"""What a chapter's numbers depend on, as a hash: its code, the modules it imports, its parameters, its data.

Comments, docstrings, line breaks and the page's prose change no number and no hash. Sources are compared as syntax
trees; imports are followed statically through ``medgan_lib``, those inside functions included.
"""

import ast
import hashlib
import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import yaml

import pipeline
from pipeline import profile_parameters

# They draw and tabulate numbers but never change one: a record stays valid when they do.
PRESENTATION = ("medgan_lib.figures", "medgan_lib.ledger")
# Set for each run by the pipeline; no part of what a chapter is.
PER_RUN = ("seed", "checkpoints")


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def canonical(node: Any) -> Any:
    """A syntax tree as nested lists, without docstrings; alike in all Python versions (unlike ``ast.dump``)."""
    if isinstance(node, list):
        return [canonical(item) for item in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
        node, clean=False
    ) is not None:
        fields["body"] = fields["body"][1:]
    kept = {k: v for k, v in fields.items() if v is not None and v != [] and k not in ("kind", "type_comment")}
    return [type(node).__name__, *([name, canonical(value)] for name, value in kept.items())]


def code_hash(source: str) -> str:
    """Hash of what ``source`` does."""
    return digest(canonical(ast.parse(source)))


def plain_python(source: str) -> str:
    """A cell's source with its magics (``%pip …``, ``!ls``) turned into strings, so that it can be parsed."""
    return re.sub(r"^(\s*)([%!].*)$", lambda match: match[1] + repr(match[2]), source, flags=re.MULTILINE)


def imported_names(source: str, package: str = "") -> set[str]:
    """Dotted names that ``source`` imports anywhere; ``package`` resolves relative imports.

    ``from a import b`` gives both ``a`` and ``a.b``, because ``b`` may be a module.
    """
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            names.update([module, *(f"{module}.{alias.name}" for alias in node.names)])
    return names


def module_file(name: str, root: Path) -> Path | None:
    """File of the module ``name`` below ``root``, or None if it is none (a class, another package)."""
    if name.split(".")[0] != "medgan_lib":
        return None
    path = root.joinpath(*name.split("."))
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


@cache
def _module(path: Path, name: str, mtime_ns: int) -> tuple[str, frozenset[str]]:
    source = path.read_text(encoding="utf-8")
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return code_hash(source), frozenset(imported_names(source, package))


def module_hashes(names: set[str], root: Path) -> dict[str, str]:
    """Hashes of the ``medgan_lib`` modules among ``names`` and of all that they import, directly or not."""
    found: dict[str, str] = {}
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        if "." in name:  # importing a.b runs a/__init__.py too
            waiting.update({name.rpartition(".")[0]} - found.keys())
        path = module_file(name, root)
        if path is not None and name not in found:
            found[name], imports = _module(path, name, path.stat().st_mtime_ns)
            waiting |= imports - found.keys()
    return found


def tags(cell: Any) -> list[str]:
    return cell.metadata.get("tags", [])


def default_parameters(notebook: Any) -> dict[str, Any]:
    """Values of the cell tagged ``parameters``: plain assignments of literals."""
    cells = [cell for cell in notebook.cells if "parameters" in tags(cell)]
    return {
        target.id: ast.literal_eval(statement.value)
        for cell in cells
        for statement in ast.parse(cell.source).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }


def cohort_modules(words: set[str], root: Path) -> set[str]:
    """The modules of the cohorts among ``words``: ``cohorts.load`` imports them by name, which no import shows."""
    table = root / "medgan_lib" / "cohorts" / "__init__.py"
    modules = {}
    for statement in ast.parse(table.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") in ("EMBEDDED", "REAL"):
            modules |= {name: module for name, (module, _) in ast.literal_eval(statement.value).items()}
    return {f"medgan_lib.cohorts.{modules[word]}" for word in words & modules.keys()}


def real_data(words: set[str], root: Path) -> dict[str, Any]:
    """Checksum in the registry and size on disk of every real data set among ``words``."""
    registry = root / "data" / "registry.yml"
    known = (yaml.safe_load(registry.read_text(encoding="utf-8")) or {}) if registry.exists() else {}
    folder = Path(os.environ.get("MEDGAN_DATA", root / "data" / "cache"))
    return {
        name: {"registry": digest(known[name]), "bytes": {
            file.name: file.stat().st_size for file in sorted((folder / name).glob("*.npz"))}}
        for name in sorted(words & known.keys())
    }


def components(chapter: str, profile: str, root: Path | None = None) -> dict[str, Any]:
    """The parts of a chapter's fingerprint at ``profile``, each comparable by itself."""
    root = root or pipeline.ROOT
    notebook = nbformat.read(root / "notebooks" / f"{chapter}.ipynb", as_version=4)
    cells = [
        plain_python(cell.source)
        for cell in notebook.cells
        if cell.cell_type == "code" and not {"setup", "parameters"} & set(tags(cell))
    ]
    imports = set().union(*map(imported_names, cells))
    parameters = {**default_parameters(notebook), **profile_parameters(profile).get(chapter, {}), "profile": profile}
    parameters = {name: value for name, value in parameters.items() if name not in PER_RUN}
    # A cohort is named by a parameter or in a cell: load(dataset), load("ring").
    nodes = (node for source in cells for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    words = {value for value in (*parameters.values(), *(node.value for node in nodes)) if isinstance(value, str)}
    return {
        "code": [code_hash(source) for source in cells],
        "modules": module_hashes(imports | cohort_modules(words, root), root),
        "parameters": parameters,
        "data": real_data(words, root),
    }


def run_fingerprint(chapter: str, profile: str) -> str:
    """Of an execution: when it changes, the chapter is executed again."""
    return digest(components(chapter, profile))


def record_fingerprint(chapter: str, profile: str) -> str:
    """Of a record: as that of an execution, without the modules that only present numbers.

    Of the data only what the registry says: a record is no staler where the data set is not on this machine.
    """
    parts = components(chapter, profile)
    parts["data"] = {name: value["registry"] for name, value in parts["data"].items()}
    parts["modules"] = {name: value for name, value in parts["modules"].items() if name not in PRESENTATION}
    return digest(parts)


current_fingerprint = record_fingerprint
