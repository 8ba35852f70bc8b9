"""From executed notebooks and prose to the sources of a book that Sphinx can make pages of (`pipeline.build`).

A page is its source notebook's prose around the executed copy's code and outputs. So a change of prose needs no
execution, and a chapter without a run still has its page, which says that nothing was run.
"""

import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat import NotebookNode

import pipeline
from pipeline import UserError, pages, read_json
from pipeline.fingerprint import code_hash, plain_python, run_fingerprint, tags
from pipeline.publish import sync

# Sphinx's settings are Jupyter Book's for _config.yml, less the extension for remote kernels: the book asks no network.
CONF = """\
from pathlib import Path
from jupyter_book.config import get_final_config

here = Path(__file__).parent
settings, _ = get_final_config(user_yaml=here / "_config.yml", sourcedir=here, cli_config={
    "external_toc_path": "_toc.yml", "latex_individualpages": False})
settings["extensions"].remove("sphinx_thebe")
globals().update(settings)
"""
# Outputs that only mean something while a kernel runs.
LIVE = ("application/vnd.jupyter.widget-view+json",)


def stage(
    profile: str,
    seed: int = 0,
    *,
    runs_dir: Path | None = None,
    stage_dir: Path | None = None,
    root: Path | None = None,
) -> Path:
    """Bring the book's sources in ``stage_dir`` up to date; returns ``stage_dir``. What needs no change keeps its time.

    Executed chapters are taken from ``runs_dir`` (``<profile>/<chapter>/seed<k>/``), where there are any.
    Raises UserError where a chapter of the table of contents has no notebook, or a picture has no alt text.
    """
    root = root or pipeline.ROOT
    runs_dir, stage_dir = runs_dir or root / "_build" / "runs", stage_dir or root / "_build" / "stage"
    runs = {name: runs_dir / profile / name / f"seed{seed}" for name in toc_chapters(root)}
    if missing := [name for name in runs if not (root / "notebooks" / f"{name}.ipynb").exists()]:
        raise UserError(f"_toc.yml names {', '.join(missing)}, but notebooks/ has no such notebook")
    new = stage_dir.with_name(f"{stage_dir.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    (new / "notebooks").mkdir(parents=True)
    shutil.copytree(root / "book" / "_static", new / "_static")
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(root / name, new / name)
    (new / "conf.py").write_text(CONF, encoding="utf-8")
    shutil.copytree(
        root / "book", new / "book", ignore=shutil.ignore_patterns("_static", "profiles", "reference", "*.yml")
    )
    context = pages.Context(profile, seed, runs, root, new / "_static")
    for path in (new / "book").glob("*.md"):
        path.write_text(pages.fill(path.read_text(encoding="utf-8"), context), encoding="utf-8")
    for name, folder in runs.items():
        source = nbformat.read(root / "notebooks" / f"{name}.ipynb", as_version=4)
        page = chapter_page(source, folder, name, context)
        pages.add_full_scale(page, name, context)
        nbformat.write(page, new / "notebooks" / f"{name}.ipynb")
    sync(new, stage_dir)
    shutil.rmtree(new)
    return stage_dir


def toc_chapters(root: Path) -> list[str]:
    """Names of the notebooks in the table of contents, in its order."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    files = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [Path(file).name for file in files if file.startswith("notebooks/")]


def chapter_page(source: NotebookNode, folder: Path, name: str, context: pages.Context) -> NotebookNode:
    """The notebook to render for one chapter: merged with its run, or else with what was recorded of it."""
    profile, private = context.profile, pages.withheld(folder, context.root)
    executed, results = folder / "notebook.ipynb", read_json(folder / "results.json")
    if executed.exists() and results:
        page = merge(source, nbformat.read(executed, as_version=4))
        notice = "" if is_current(results, name, profile) else (
            ":::{warning}\nThe outputs on this page come from an earlier version of this chapter's code, parameters or "
            f"data. `make book PROFILE={profile} CHAPTERS={name}` makes them anew.\n:::"
        )
    else:
        page = merge(source, NotebookNode(cells=[]))
        recorded = pages.add_recorded(page, name, context)
        notice = failed(folder, profile) if (folder / "failed.ipynb").exists() else recorded
    for i, cell in enumerate(page.cells):
        if cell.cell_type == "markdown":
            cell.source = pages.fill(cell.source, context)
        else:
            renew_ledger(cell, name, context)
            if private:
                withhold(cell, private)
            tidy(cell, f"{name}, code cell {i}")
    _number_title(page, name)
    _open_with_picture(page)
    if result := pages.opening(name, context):
        page.cells.insert(1, nbformat.v4.new_markdown_cell(result, id="recorded-result"))
    else:
        _add_to_claims(page, pages.at_a_glance(name, context))
    if private:
        page.cells.insert(1, nbformat.v4.new_markdown_cell(not_published(folder, private), id="not-published"))
    if notice:
        page.cells.insert(1, nbformat.v4.new_markdown_cell(notice, id="notice"))
    page.metadata.pop("widgets", None)
    page.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return page


def _number_title(page: NotebookNode, name: str) -> None:
    """Put the number of the chapter's file before its title; Sphinx itself would count chapters that are there."""
    for cell in page.cells:
        if cell.cell_type == "markdown" and re.search(r"^# ", cell.source, re.MULTILINE):
            cell.source = re.sub(r"^# ", f"# {pages.number(name)}. ", cell.source, count=1, flags=re.MULTILINE)
            return


def _open_with_picture(page: NotebookNode) -> None:
    """Move the cell with the tag ``opening`` below the title, without its code: a page begins with its best picture.

    In the notebook it stands where the picture can be made.
    """
    for cell in page.cells:
        if "opening" in tags(cell):
            page.cells.remove(cell)
            if cell.outputs:
                cell.metadata["tags"] = ["remove-input"]
                page.cells.insert(1, cell)
            return


def _add_to_claims(page: NotebookNode, result: str) -> None:
    """Put what the records came to below the heading of the chapter's claims."""
    places = [i for i, cell in enumerate(page.cells) if cell.cell_type == "markdown" and "## The claims" in cell.source]
    if result and places:
        page.cells.insert(places[0] + 1, nbformat.v4.new_markdown_cell(result, id="recorded-result"))


def merge(source: NotebookNode, executed: NotebookNode) -> NotebookNode:
    """``source`` with the outputs of ``executed``, cell by cell through their ids.

    The cell of injected parameters becomes a folded note: the page shows the source's own parameters, and what this
    run used instead.
    """
    page = nbformat.from_dict(source)
    outputs = {cell.id: cell for cell in executed.cells if cell.cell_type == "code"}
    injected = [cell.source for cell in executed.cells if "injected-parameters" in tags(cell)]
    cells = []
    for cell in page.cells:
        if cell.cell_type == "code":
            run = outputs.get(cell.id)
            same = run is not None and code_hash(plain_python(run.source)) == code_hash(plain_python(cell.source))
            cell.outputs = run.outputs if same else []
            cell.execution_count = None
        cells.append(cell)
        if "parameters" in tags(cell) and injected:
            cells.append(nbformat.v4.new_markdown_cell(_parameters_note(injected[-1]), id="parameters-of-this-run"))
    page.cells = cells
    return page


def _parameters_note(code: str) -> str:
    lines = [line for line in code.splitlines() if line.strip() and not line.startswith(("#", "checkpoints ="))]
    listing = "\n".join(lines)
    return (
        ":::{admonition} The run on this page used these values instead\n:class: dropdown note\n"
        f"```python\n{listing}\n```\n:::"
    )


def is_current(results: dict[str, Any], name: str, profile: str) -> bool:
    try:
        return results.get("fingerprint") == run_fingerprint(name, profile)
    except (OSError, ValueError):  # the profile or the notebook is gone: what is shown can't be up to date
        return False


def failed(folder: Path, profile: str) -> str:
    """The notice on the page of a chapter whose execution failed."""
    where = "/".join(folder.parts[-4:])  # only what a reader can use: the path inside the checkout
    return (
        f":::{{error}}\nThis chapter failed at profile `{profile}`. What its page shows was recorded elsewhere. The "
        f"log is `{where}/log.txt`, the notebook with the error `{where}/failed.ipynb`.\n:::"
    )


def not_published(folder: Path, names: list[str]) -> str:
    """The notice on the page of a chapter whose run must not be shown."""
    where = "/".join(folder.parts[-4:])
    return (
        f":::{{note}}\nThis run used {', '.join(f'`{name}`' for name in names)}, whose licence is not known to allow "
        f"that its images are shown, so the figures are left out. The executed notebook, `{where}/notebook.ipynb`, has "
        "them.\n:::"
    )


def withhold(cell: NotebookNode, names: list[str]) -> None:
    """Put words in the place of every output that could show an image; plain text and the table of claims stay."""
    from medgan_lib import ledger

    words = {"text/markdown": f"*Not published: licence of {', '.join(names)}.*"}
    cell.outputs = [
        output
        if output.output_type == "stream" or ledger.MIME in output.data or set(output.data) <= {"text/plain"}
        else nbformat.v4.new_output("display_data", words)
        for output in cell.outputs
    ]


def renew_ledger(cell: NotebookNode, chapter: str, context: pages.Context) -> None:
    """Draw the table of claims anew: a record made after the run must show without another run."""
    from medgan_lib import ledger

    for output in cell.outputs:
        data = output.get("data", {})
        if ledger.MIME not in data:
            continue
        claims = {claim.id: claim for claim in context.claims_of(chapter)}
        entries, passages = {}, {}
        for name, value in data[ledger.MIME].items():
            if name in claims:
                entries[name] = ledger.Entry(claims[name], value["value"], value.get("control"), value.get("of"))
            elif name in context.gates:
                passages[name] = ledger.Passage(context.gates[name], value["value"])
        view = ledger.LedgerView(claims, entries, context.record(chapter), context.gates, passages)
        data["text/html"], data["text/plain"] = view._repr_html_(), repr(view)


def tidy(cell: NotebookNode, where: str) -> None:
    """Drop progress bars, stderr and live widgets from a code cell's outputs; see that every picture has alt text."""
    if "setup" in tags(cell):
        cell.metadata["tags"] = sorted({*tags(cell), "hide-cell"})
    kept = []
    for output in cell.outputs:
        if output.output_type == "stream":
            text = "\n".join(line for line in re.sub(r"[^\n]*\r", "", output.text).split("\n") if "it/s]" not in line)
            if output.name == "stderr" or not text.strip():
                continue
            output.text = text
        data = output.get("data", {})
        if any(kind in data for kind in LIVE) and "text/html" not in data:  # else it has a still version
            continue
        for kind in [kind for kind in data if kind.startswith("application/vnd.")]:
            del data[kind]
        has_alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt")
        if not has_alt and "text/html" not in data and any(kind.startswith("image/") for kind in data):
            raise UserError(f"{where}: a picture without alt text; show it with figures.picture(fig, alt=…)")
        kept.append(output)
    cell.outputs = kept
