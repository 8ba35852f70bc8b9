"""Where runs find networks that several chapters need: trained by the first that asks, for one state of the code."""

import ast
import shutil
from pathlib import Path

import pipeline
from pipeline.definitions import digest
from pipeline.fingerprint import PRESENTATION
from pipeline.syntax import PACKAGE, canonical


def shared_folder() -> Path:
    """``_build/shared/<hash>`` of the present code of the library, but for what only presents numbers.

    All of it, for a training may lie in any room: the yardstick's lies in ``metrics``. Comments and docstrings change
    no hash.
    """
    package = pipeline.ROOT / PACKAGE
    left_out = {name.rpartition(".")[2] for name in PRESENTATION}
    files = [file for file in sorted(package.rglob("*.py"))
             if file.relative_to(package).parts[0].removesuffix(".py") not in left_out]
    trees = {file.relative_to(package): ast.parse(file.read_text(encoding="utf-8")) for file in files}
    # With imports, which `canonical` leaves out: here nothing else says where a name leads.
    codes = [[str(path), canonical(tree), [ast.unparse(node) for node in ast.walk(tree)
                                           if isinstance(node, ast.Import | ast.ImportFrom)]]
             for path, tree in trees.items()]
    return pipeline.ROOT / "_build" / "shared" / digest(codes)


def remove_outdated() -> None:
    """Remove what was trained by other code."""
    present = shared_folder()
    for folder in present.parent.glob("*"):
        if folder != present:
            shutil.rmtree(folder, ignore_errors=True)
