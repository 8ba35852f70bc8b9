"""What a chapter's numbers depend on, as a hash: its code, what it reaches of the library, parameters, data.

Comments, docstrings, line breaks, the page's prose, and where in the library a definition lies change no number and
no hash (see `pipeline.definitions`). A function, class or constant that no reached code refers to is left out, so that
a new network in a module makes no chapter stale that doesn't use it.
"""

import ast
import os
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import yaml

import pipeline
from pipeline import UserError, profile_parameters
from pipeline.definitions import DEPTH, Library, Module, digest, library
from pipeline.syntax import Target, canonical, given, imported, references, texts

# They draw and tabulate numbers but never change one: a record stays valid when they do.
PRESENTATION = ("medgan_lib.figures", "medgan_lib.ledger")
# The loop and the losses. Where only these changed, the first updates of each training show whether numbers can change.
# Methods and networks are not among them: they also do what follows a training, which no first update shows.
TRAINING = ("medgan_lib.training", "medgan_lib.objectives")
# Set for each run by the pipeline; no part of what a chapter is.
PER_RUN = ("seed", "checkpoints")
# In medgan_lib/cohorts/__init__.py: name -> (module there, function), and the one that loads any folder, its module in
# full. A chapter depends on the cohorts that it names only.
COHORT_TABLES = ("EMBEDDED", "REAL", "FOLDER")


def code_hash(source: str) -> str:
    """Hash of what ``source`` does by itself."""
    return digest(canonical(ast.parse(source)))


def plain_python(source: str) -> str:
    """A cell's source with its magics (``%pip …``, ``!ls``) turned into strings, so that it can be parsed."""
    try:
        ast.parse(source)
        return source  # a % at the start of a line may also go on with an expression, or lie in a text
    except SyntaxError:
        pass
    return re.sub(r"^(\s*)([%!].*)$", lambda match: match[1] + repr(match[2]), source, flags=re.MULTILINE)


def tags(cell: Any) -> list[str]:
    return cell.metadata.get("tags", [])


def default_parameters(notebook: Any) -> dict[str, Any]:
    """Values of the cell tagged ``parameters``: plain assignments of literals."""
    cells = [cell for cell in notebook.cells if "parameters" in tags(cell)]
    found = {}
    for statement in (statement for cell in cells for statement in ast.parse(cell.source).body):
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) | ast.AnnAssign(
                    target=ast.Name(id=name), value=ast.expr() as value):
                found[name] = ast.literal_eval(value)
            case ast.Expr(value=ast.Constant()):
                pass
            case _:  # it would change numbers unseen
                raise ValueError(f"the parameters cell may only hold NAME = LITERAL, not {ast.unparse(statement)}")
    return found


def cohort_loaders(strings: set[str], dataset: str, root: Path) -> dict[str, Target]:
    """The loading functions of the cohorts among ``strings``: ``cohorts.load`` finds them by name, not by import.

    ``dataset`` may also be the path of a folder of a reader's own images.
    """
    file = root / "medgan_lib" / "cohorts" / "__init__.py"
    tables = {
        name: ast.literal_eval(statement.value)
        for statement in ast.parse(file.read_text(encoding="utf-8")).body
        for name in given(statement)
        if name in COHORT_TABLES
    }
    known = tables["EMBEDDED"] | tables["REAL"]
    found = {}
    for name in sorted(strings & known.keys()):
        module, function = known[name]
        found[name] = Target(f"medgan_lib.cohorts.{module}", function)
    if dataset.startswith((".", "/", "~")):
        found[dataset] = Target(*tables["FOLDER"])
    return found


def real_data(words: set[str], root: Path) -> dict[str, Any]:
    """Checksum in the registry and size on disk of every real data set among ``words``."""
    registry = root / "data" / "registry.yml"
    known = (yaml.safe_load(registry.read_text(encoding="utf-8")) or {}) if registry.exists() else {}
    return {
        name: {"registry": digest(known[name]), "bytes": {
            file.name: file.stat().st_size for file in sorted((_cache(root) / name).glob("*.npz"))}}
        for name in sorted(words & known.keys())
    }


def _cache(root: Path) -> Path:
    return Path(os.environ.get("MEDGAN_DATA", root / "data" / "cache"))


class Parts(NamedTuple):
    """The parts of a chapter's fingerprint, each comparable by itself.

    ``code`` a hash a cell; ``definitions`` hashes by name; ``cohorts`` the hash of each named cohort's loader;
    ``modules`` those of the library that a run may import, by itself no part of the fingerprint.
    """

    code: list[str]
    definitions: dict[str, str]
    cohorts: dict[str, str]
    parameters: dict[str, Any]
    data: dict[str, Any]
    modules: frozenset[str]

    def digest(self) -> str:
        # Of the definitions what they do, not what they are called or where they lie.
        return digest([self.code, sorted(self.definitions.values()), self.cohorts, self.parameters, self.data])


def components(
    chapter: str, profile: str, root: Path | None = None, left_out: tuple[str, ...] = ()
) -> Parts:
    """What ``chapter`` depends on at ``profile``; modules ``left_out`` count for nothing."""
    root = root or pipeline.ROOT
    names = (f"notebooks/{chapter}.ipynb", f"book/profiles/{profile}.yml", "data/registry.yml", "medgan_lib/**/*.py")
    files = [*(file for name in names for file in sorted(root.glob(name))), *sorted(_cache(root).glob("*/*.npz"))]
    stamp = tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)
    return _components(chapter, profile, root, left_out, stamp)


@cache
def _components(chapter: str, profile: str, root: Path, left_out: tuple[str, ...], stamp: tuple) -> Parts:
    """`components` for files in the state ``stamp``: one command asks for the same several times."""
    notebook = nbformat.read(root / "notebooks" / f"{chapter}.ipynb", as_version=4)
    trees = [
        ast.parse(plain_python(cell.source))
        for cell in notebook.cells
        if cell.cell_type == "code" and not {"setup", "parameters"} & set(tags(cell))
    ]
    parameters = {**default_parameters(notebook), **profile_parameters(profile).get(chapter, {}), "profile": profile}
    parameters = {name: value for name, value in parameters.items() if name not in PER_RUN}
    # A cohort is named by a parameter or in a cell: load(dataset), load("ring").
    constants = (node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant))
    strings = {value for value in (*_leaves(list(parameters.values())), *constants) if isinstance(value, str)}
    known = library(root, left_out, tuple(f"medgan_lib.cohorts.{name}" for name in COHORT_TABLES))
    codes, modules = _cells(trees, known)
    loaders = cohort_loaders(strings, str(parameters.get("dataset", "")), root)
    reached = known.reach(codes, modules, loaders.values())
    return Parts(
        code=[digest(known.render(code, DEPTH)) for code in codes],
        definitions=reached.hashes,
        cohorts={name: reached.hashes.get(".".join(loader), "missing") for name, loader in loaders.items()},
        parameters=parameters,
        # A cohort may be made of another's data, as stacked_mnist is of mnist, which its loader names.
        data=real_data(strings | _loader_words(known, loaders), root),
        modules=reached.modules,
    )


def _leaves(value: Any) -> list[Any]:
    """What lists and mappings hold, however deep."""
    if isinstance(value, dict):
        return [leaf for item in value.items() for leaf in _leaves(list(item))]
    return [leaf for item in value for leaf in _leaves(item)] if isinstance(value, list | tuple) else [value]


def _loader_words(known: Library, loaders: dict[str, Target]) -> set[str]:
    """Texts in the functions that load the named cohorts, and in what these functions call or name."""
    found: set[str] = set()
    for loader in loaders.values():
        reached = known.reach((), (), [loader]).hashes
        for module in {name.rpartition(".")[0] for name in reached if name.startswith("medgan_lib.cohorts.")}:
            for one in (known.module(module) or Module((), {}, frozenset())).definitions:
                if one.gives and f"{module}.{'+'.join(one.gives)}" in reached:
                    found.update(texts(one.code))
    return found


def _cells(trees: list[ast.Module], known: Library) -> tuple[list[Any], list[str]]:
    """Cells as code in which names that an import of any cell brings are resolved, and the modules they import."""
    names: dict[str, tuple[Target, ...]] = {}
    for tree in trees:
        for key, target in imported(tree, ""):
            names[key] = tuple(dict.fromkeys((*names.get(key, ()), target)))
    modules = {name for targets in names.values() for target in targets
               for name in (target.module, f"{target.module}.{target.name}")}
    return [known.code(tree, names) for tree in trees], sorted(modules)


def run_fingerprint(chapter: str, profile: str) -> str:
    """Of an execution: when it changes, the chapter is executed again."""
    return components(chapter, profile).digest()


def record_fingerprint(chapter: str, profile: str, left_out: tuple[str, ...] = PRESENTATION) -> str:
    """Of a record: as that of an execution, without the modules that only present numbers.

    Of the data only what the registry says: a record is no staler where the data set is not on this machine.
    """
    parts = components(chapter, profile, left_out=left_out)
    return parts._replace(data={name: value["registry"] for name, value in parts.data.items()}).digest()


def without_training(chapter: str, profile: str) -> str:
    """As `record_fingerprint`, but a change of the training loop or of a loss does not change it.

    Where a cell itself asks for losses they count: it may compute numbers of them, which no training shows.
    """
    training = [module for module in TRAINING if module == "medgan_lib.training" or not _asks_for(chapter, module)]
    return record_fingerprint(chapter, profile, (*PRESENTATION, *training))


def _asks_for(chapter: str, module: str) -> bool:
    """Whether a cell of the chapter refers to something in ``module``."""
    notebook = nbformat.read(pipeline.ROOT / "notebooks" / f"{chapter}.ipynb", as_version=4)
    trees = [ast.parse(plain_python(cell.source)) for cell in notebook.cells if cell.cell_type == "code"]
    known = library(pipeline.ROOT)
    ends = (end.targets[0] for code in _cells(trees, known)[0] for reference in references(code)
            for target in reference.targets for end in known.follow(target, reference.rest))
    return any(f"{end.module}.".startswith(f"{module}.") for end in ends)


def check_imports(loaded: list[str], chapter: str, profile: str) -> None:
    """UserError if a run imported a module of the library that the chapter's fingerprint does not know.

    Then its hash would not notice a change of that module: for example where the name of a cohort is computed.
    """
    known = components(chapter, profile).modules
    if unknown := sorted(set(loaded) - known):
        raise UserError(
            f"{chapter} imported {', '.join(unknown)}, which its code does not show, so a change there would go "
            "unnoticed. Write names of cohorts and modules out, as in {\"mnist\": \"mnist_on_photos\"}[dataset]"
        )
