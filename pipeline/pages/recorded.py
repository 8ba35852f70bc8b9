"""What was recorded of a chapter, for a page that has no run of its own: pictures and claims in their cells' places."""

from __future__ import annotations

import re
import shutil
from html import escape
from typing import Any

import nbformat
from nbformat.v4 import new_markdown_cell, new_output

from medgan_lib import ledger
from medgan_lib.figures.pictures import figcaption_tag
from medgan_lib.figures.style import CARD
from pipeline import UserError, pictures
from pipeline.pages.context import STALE, Context
from pipeline.pages.markdown import html_block
from pipeline.pages.runs import private


def show(record: dict[str, Any], context: Context) -> tuple[list[dict[str, Any]], list[str]]:
    """The pictures of ``record``, copied to where pages find them, and the data sets whose licence forbids that.

    UserError for pictures that are not in order.
    """
    chapter, reference = record["chapter"], context.root / "book" / "reference"
    if wrong := pictures.problem(record, reference):
        raise UserError(wrong)
    # Asked again here: a data set may have been withdrawn since.
    source = context.notebook(chapter)
    hidden = record.get("pictures_withheld") or private(source, record["parameters"], context.root)
    entries = [] if hidden else record.get("pictures", [])
    if entries and context.static:
        place = context.static / "recorded" / record["profile"] / chapter
        place.mkdir(parents=True, exist_ok=True)
        for entry in entries:
            shutil.copy(reference / record["profile"] / chapter / entry["file"], place)
    return entries, hidden


def figure(entry: dict[str, Any], record: dict[str, Any]) -> str:
    """One recorded picture as HTML of a page that lies in a folder of the book."""
    return (
        '<figure class="medgan-figure" style="margin:1em 0;text-align:center"><img class="dark-light"'
        f' src="../_static/recorded/{record["profile"]}/{record["chapter"]}/{entry["file"]}"'
        f' alt="{escape(entry["alt"])}" width="{entry["width"]}" height="{entry["height"]}" loading="lazy"'
        f' style="{CARD}">{figcaption_tag(escape(entry["caption"]))}</figure>'
    )


def pictured(chapter: str, context: Context) -> dict[str, Any] | None:
    """The record whose pictures a page without a run shows: of the build's profile, else of ``cpu``, else ``full``."""
    found = {record["profile"]: record for record in context.records
             if record["chapter"] == chapter and record.get("pictures")}
    return next((found[profile] for profile in (context.profile, "cpu", "full") if profile in found), None)


def add_recorded(page: nbformat.NotebookNode, chapter: str, context: Context) -> str:
    """Put recorded pictures and the table of claims where cells of ``page`` would show theirs; a note that says so.

    A picture whose cell is no more stands below the title.
    """
    cells = {cell.id: cell for cell in page.cells if cell.cell_type == "code"}
    if cell := _claims_cell(page):
        claims = {claim.id: claim for claim in context.claims_of(chapter)}
        view = ledger.LedgerView(claims, {}, context.record(chapter), context.gates)
        cell.outputs = [new_output("display_data", {"text/html": view._repr_html_(), "text/plain": repr(view)})]
    record = pictured(chapter, context)
    entries = show(record, context)[0] if record else []
    homeless = []
    for entry in entries:
        if entry["cell"] in cells:
            cells[entry["cell"]].outputs.append(
                new_output("display_data", {"text/html": figure(entry, record), "text/plain": entry["alt"]}))
        elif record["profile"] != "full":  # they stand under "At full scale"
            homeless.append(html_block(figure(entry, record)))
    if homeless:
        page.cells.insert(1, new_markdown_cell("\n\n".join(homeless), id="recorded-pictures"))
    return _note(chapter, context, record if entries else None)


def _claims_cell(page: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    """The cell that ends by showing the chapter's ledger."""
    code = [cell for cell in page.cells if cell.cell_type == "code"]
    names = re.findall(r"^(\w+) = (?:\w+\.)*Ledger\(", "\n".join(cell.source for cell in code), re.MULTILINE)
    last = [(cell, cell.source.rstrip().rpartition("\n")[2]) for cell in code]
    return next((cell for cell, line in last if line in {f"{name}.show()" for name in names}), None)


def _note(chapter: str, context: Context, record: dict[str, Any] | None) -> str:
    command = "make book" + (f" PROFILE={context.profile}" if context.profile != "cpu" else "")
    if record:
        mark = f" {STALE}" if context.is_stale(record) else ""
        found = f"Pictures and numbers are those that were recorded at profile `{record['profile']}`{mark}."
    elif context.record(chapter):
        found = "Its numbers are those that were recorded; none of its pictures was."
    else:
        found = "Nothing of it is recorded yet."
    words = f"{found} `{command} CHAPTERS={chapter}` executes it."
    return f":::{{admonition}} Not yet executed here\n:class: note\n{words}\n:::"
