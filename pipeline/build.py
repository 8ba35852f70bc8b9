"""From staged sources to HTML that a reader may have open: Sphinx works in a folder of its own, then changes follow."""

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path

import yaml

import pipeline
from pipeline import Run, UserError, chapters, write_atomic
from pipeline.publish import sync

# What the pages are made of, besides the executed notebooks.
SOURCES = (
    "_config.yml", "_toc.yml", "book", "notebooks", "medgan_lib", "pipeline", "data/cards", "data/registry.yml",
    "requirements.txt",
)
START = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>To the book</title>
<meta http-equiv="refresh" content="0; url={page}.html"></head>
<body><p><a href="{page}.html">To the book</a></p></body></html>
"""

# MathJax's speech rules, 20 MB, which only its own menu can ask for.
LEFT_OUT = ("_static/mathjax/sre",)


def sources_digest(profile: str, seed: int) -> str:
    """Hash of everything the pages are made of but the runs."""
    root = pipeline.ROOT
    files = [
        file
        for name in SOURCES
        for file in ([root / name] if (root / name).is_file() else sorted((root / name).rglob("*")))
        if file.is_file() and "__pycache__" not in file.parts
    ]
    return _digest(f"{profile} {seed}", files)


def pages_digest(profile: str, seed: int) -> str:
    """Hash of everything the pages are made of."""
    runs = [Run(profile, chapter, seed).folder for chapter in chapters()]
    names = ("notebook.ipynb", "results.json", "failed.ipynb")
    return _digest(sources_digest(profile, seed), [folder / name for folder in runs for name in names])


def _digest(begin: str, files: list[Path]) -> str:
    sums = hashlib.sha256(begin.encode())
    for file in files:
        content = file.read_bytes() if file.exists() else b"absent"
        sums.update(f"{file.relative_to(pipeline.ROOT)} {hashlib.sha256(content).hexdigest()}\n".encode())
    return sums.hexdigest()


def build_pages(
    profile: str, seed: int, html: Path, last: bool = True, stop: Callable[[], bool] = lambda: False
) -> bool:
    """Build the pages in ``html`` unless they are up to date; whether there was anything to do.

    The ``last`` build of a command is from scratch, so that nothing of earlier ones is left: where Sphinx goes on, the
    search loses some of what it knew of pages that did not change. Builds before it are quick, and end early where
    ``stop()``.
    """
    from pipeline import stage

    digest, mark = pages_digest(profile, seed), html.with_name(f"{html.name}.digest")
    passing = f"{digest}, to be built from scratch"
    if (html / "index.html").exists() and mark.exists():
        known = mark.read_text(encoding="utf-8")
        if known == digest or (known == passing and not last):
            return False
    if last:
        print("Building the pages …", flush=True)
    made_of = sources_digest(profile, seed)
    mark.unlink(missing_ok=True)
    sources = html.with_name(html.name.replace("html", "stage"))
    stage.stage(profile, seed, stage_dir=sources)
    if stop():
        return False
    build(sources, html, "" if last else made_of)
    write_atomic(mark, digest if last else passing)
    return True


def build(stage_dir: Path | None = None, html_dir: Path | None = None, made_of: str = "") -> Path:
    """Make HTML from the staged sources; any warning fails the build. Returns the path of the start page.

    ``made_of`` stands for everything but the runs that pages are made of. Where the build before had the same, Sphinx
    goes on from it: only pages of which the staged source changed are made anew. Else, or without it, all are.

    The pages replace those of an earlier build only when all of them are made.
    Raises UserError with the warnings, and the log's place, where the build fails.
    """
    stage_dir = stage_dir or pipeline.ROOT / "_build" / "stage"
    html_dir = html_dir or pipeline.ROOT / "_build" / "html"
    work, log = stage_dir.parent / f"sphinx_{html_dir.name}", stage_dir.parent / "sphinx.log"
    new, mark = work / "html", work / "made_of"
    if not made_of or not mark.exists() or mark.read_text(encoding="utf-8") != made_of:
        shutil.rmtree(work, ignore_errors=True)
    mark.unlink(missing_ok=True)  # until this build is through: one that was interrupted is no ground to build on
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "-n", "--keep-going", "-d", str(work / "doctrees")]
    with log.open("w", encoding="utf-8") as file:
        status = subprocess.run([*command, str(stage_dir), str(new)], stdout=file, stderr=subprocess.STDOUT).returncode
    if status:
        raise UserError(f"the book was not built; the whole log is {log}\n{_warnings(log)}")
    root = yaml.safe_load((stage_dir / "_toc.yml").read_text(encoding="utf-8"))["root"]
    (new / "index.html").write_text(START.format(page=root), encoding="utf-8")
    sync(new, html_dir, LEFT_OUT)
    if made_of:
        mark.write_text(made_of, encoding="utf-8")
    else:
        shutil.rmtree(work)
    return html_dir / "index.html"


def _warnings(log: Path) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(encoding="utf-8", errors="replace"))
    lines = [line for line in text.splitlines() if re.search(r"WARNING|ERROR|Error|CRITICAL", line)]
    return unescape("\n".join(lines[:20] or text.splitlines()[-20:]))
