"""What this build and the records were made with and how long they took; what of a run may be shown."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import nbformat
import yaml

from pipeline import read_json
from pipeline.fingerprint import default_parameters, plain_python, tags
from pipeline.pages.context import STALE, Context
from pipeline.pages.markdown import table


def _confirmed(record: dict[str, Any]) -> str:
    """Whether the code changed after the record, and which seed gave the same numbers with the present one."""
    if (found := record.get("confirmed")) is None:
        return ""
    where = {"code": ", with the recorded code on one machine",
             "first updates": " weights after the first updates of each training"}.get(found.get("against"), "")
    return f" (code changed since; seed {found['seed']} gives the same{where})"


def status(context: Context) -> str:
    """Time, memory, hardware and versions of this run and of every record."""
    now = []
    for chapter, folder in context.runs.items():
        results, link = context.results(chapter), f"[{context.title(chapter)}](../notebooks/{chapter}.ipynb)"
        if results is None:
            state = "**failed**" if (folder / "failed.ipynb").exists() else "not executed"
            now.append([link, state, "–", "–", "–", "–"])
        else:
            environment = results["environment"]
            done = f"{results['seconds']:.0f} s"
            now.append([link, "done", done, memory_text(environment), machine_text(environment),
                        _made_with(environment)])
    recorded = []
    for record in context.records:
        seconds, environment = record["seconds"], record["environment"]
        recorded.append([
            record["chapter"], f"`{record['profile']}`" + (f" {STALE}" if context.is_stale(record) else ""),
            str(len(seconds)) + _confirmed(record),
            f"{sum(seconds) / len(seconds):.0f} s (longest {max(seconds):.0f} s)",
            memory_text(environment), machine_text(environment), _made_with(environment),
        ])
    text = [f"## This build\n\nProfile `{context.profile}`, seed {context.seed}.\n"]
    text.append("The last column has the commit (with + where the code differed from it) and the first digits of the "
                "SHA-256 of `requirements.txt`.\n")
    text.append(table(["Chapter", "State", "Time", "Memory", "Machine", "Made with"], now))
    text.append("\n## Recorded references\n")
    heads = ["Chapter", "Profile", "Seeds", "Time for a seed", "Memory", "Machine", "Made with"]
    text.append(table(heads, recorded) if recorded else "Nothing is recorded yet: `make reference` does it.")
    return "\n".join(text)


def memory_text(environment: dict[str, Any]) -> str:
    """The largest memory of a run, and what its trainings took on a GPU."""
    memory, gpu = environment.get("memory_mb"), environment.get("gpu_memory_mb")
    return (f"{memory / 1000:.1f} GB" if memory else "–") + (f", {gpu / 1000:.1f} GB on the GPU" if gpu else "")


def machine_text(environment: dict[str, Any]) -> str:
    device = environment.get("gpu") or environment.get("cpu") or environment.get("device", "")
    threads = environment.get("threads")
    parts = [device, f"{threads} thread{'s' * (threads != 1)}" if threads else ""]
    parts += [f"{name} {environment[key]}" for key, name in (("torch", "torch"), ("python", "Python"))
              if environment.get(key)]
    if environment.get("precision"):
        parts.append(environment["precision"])
    return ", ".join(part for part in parts if part)


def _made_with(environment: dict[str, Any]) -> str:
    """Commits and digests of the pinned packages; a dash for what was recorded before both were kept."""
    found = [environment.get("commit"), environment.get("requirements")]
    return ", ".join(f"`{value}`" for values in found if values for value in values.split(", ")) or "–"


def withheld(folder: Path, root: Path) -> list[str]:
    """The data sets in a run whose images may not be published."""
    results, path = read_json(folder / "results.json"), folder / "notebook.ipynb"
    return private(nbformat.read(path, as_version=4), results["parameters"], root) if results and path.exists() else []


def private(notebook: nbformat.NotebookNode, parameters: dict[str, Any], root: Path) -> list[str]:
    """The data sets that a notebook uses at ``parameters`` and that have ``publish: false`` in the registry.

    It uses what its parameters or its code name, unless the code only compares with the name.
    """
    path = root / "data" / "registry.yml"
    registry = yaml.safe_load(path.read_text(encoding="utf-8")) or {} if path.exists() else {}
    withheld = {name for name, about in registry.items() if about.get("publish") is False}
    words = {str(value) for value in {**default_parameters(notebook), **parameters}.values()}
    waiting: list[ast.AST] = [
        ast.parse(plain_python(cell.source))
        for cell in notebook.cells
        if cell.cell_type == "code" and not {"parameters", "injected-parameters"} & set(tags(cell))
    ]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Constant):
            words.add(str(node.value))
        elif not isinstance(node, ast.Compare):
            waiting += ast.iter_child_nodes(node)
    return sorted(withheld & words)
