"""What a chapter's numbers depend on, as a hash: its code, what it uses of the modules it imports, parameters, data.

Comments, docstrings, line breaks and the page's prose change no number and no hash. Sources are compared as syntax
trees; imports are followed statically through ``medgan_lib``, those inside functions included. Of a module counts what
can be reached: a function, class or constant whose name no reached code mentions is left out, so that a new network
in a module makes no chapter stale that doesn't use it.
"""

import ast
import hashlib
import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import yaml

import pipeline
from pipeline import profile_parameters

# They draw and tabulate numbers but never change one: a record stays valid when they do.
PRESENTATION = ("medgan_lib.figures", "medgan_lib.ledger")
# Set for each run by the pipeline; no part of what a chapter is.
PER_RUN = ("seed", "checkpoints")
# In medgan_lib/cohorts/__init__.py: name -> (module, function).
COHORT_TABLES = ("EMBEDDED", "REAL")


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


class Statement(NamedTuple):
    """A statement at the top of a module: the names it gives, what it mentions and imports, its hash.

    One that gives no name does something by itself and always counts.
    """

    gives: frozenset[str]
    mentions: frozenset[str]
    imports: frozenset[str]
    code: str


def mentioned(source: str) -> set[str]:
    """Identifiers in ``source``, and strings that could be one: they may reach a definition through ``getattr``."""
    words = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=word) | ast.Attribute(attr=word):
                words.add(word)
            case ast.Constant(value=str(word)) if word.isidentifier():
                words.add(word)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                words.update(part for alias in aliases for part in alias.name.split("."))
    return words


def given(statement: ast.stmt) -> set[str]:
    """Names that a definition, an assignment or an import puts into its module."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.Assign(targets=targets):
            return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            return {alias.asname or alias.name.split(".")[0] for alias in aliases}
    return set()


def statements(source: str, package: str) -> list[Statement]:
    """The statements of a module in order, an import of several names taken apart.

    Left out are those that no number depends on: docstrings, ``__all__``, what only a type checker reads, and the
    tables of cohorts, of which `module_hashes` takes the cohorts that are named.
    """
    found = []
    for node in ast.parse(source).body:
        names = given(node)
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        checker = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        if text or checker or future or names & {"__all__", *COHORT_TABLES}:
            continue
        parts = [node]
        if isinstance(node, ast.ImportFrom):
            parts = [ast.ImportFrom(node.module, [alias], node.level) for alias in node.names]
        for part in parts:
            plain = ast.unparse(_without_docstrings(part))
            found.append(Statement(
                frozenset(given(part)), frozenset(mentioned(plain)), frozenset(imported_names(plain, package)),
                digest(canonical(part)),
            ))
    return found


def _without_docstrings(statement: ast.stmt) -> ast.stmt:
    for node in ast.walk(statement):
        definition = isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        if definition and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return statement


@cache
def _module(path: Path, name: str, mtime_ns: int) -> list[Statement]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return statements(path.read_text(encoding="utf-8"), package)


def module_hashes(names: set[str], words: set[str], root: Path) -> dict[str, str]:
    """Hashes of what can be reached of ``medgan_lib`` from code that imports ``names`` and mentions ``words``."""
    modules: dict[str, list[Statement]] = {}
    used: dict[str, set[int]] = {}
    waiting, words, grew = set(names), set(words), True
    while waiting or grew:
        while waiting:
            name = waiting.pop()
            if "." in name:  # importing a.b runs a/__init__.py too
                waiting.update({name.rpartition(".")[0]} - modules.keys())
            path = module_file(name, root)
            if path is not None and name not in modules:
                modules[name], used[name] = _module(path, name, path.stat().st_mtime_ns), set()
        grew = False
        for name, content in modules.items():
            for number, statement in enumerate(content):
                if number not in used[name] and (not statement.gives or statement.gives & words):
                    used[name].add(number)
                    words |= statement.mentions
                    waiting |= statement.imports - modules.keys()
                    grew = True
    return {name: digest([content[i].code for i in sorted(used[name])]) for name, content in modules.items()}


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


def cohort_sources(words: set[str], root: Path) -> tuple[set[str], set[str]]:
    """Modules and functions of the cohorts among ``words``: ``cohorts.load`` finds them by name, without an import."""
    table = root / "medgan_lib" / "cohorts" / "__init__.py"
    known = {}
    for statement in ast.parse(table.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and given(statement) & set(COHORT_TABLES):
            known |= ast.literal_eval(statement.value)
    found = [known[word] for word in words & known.keys()]
    return {f"medgan_lib.cohorts.{module}" for module, _ in found}, {function for _, function in found}


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
    strings = {value for value in (*parameters.values(), *(node.value for node in nodes)) if isinstance(value, str)}
    modules, functions = cohort_sources(strings, root)
    words = strings.union(functions, *map(mentioned, cells))
    return {
        "code": [code_hash(source) for source in cells],
        "modules": module_hashes(imports | modules, words, root),
        "parameters": parameters,
        "data": real_data(strings, root),
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
