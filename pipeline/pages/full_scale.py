"""The section "At full scale" of a chapter's page: the recorded pictures and numbers, and how they were made."""

from __future__ import annotations

import shutil
import statistics
from html import escape
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_markdown_cell

from medgan_lib import ledger
from medgan_lib.figures.pictures import figcaption_tag
from medgan_lib.figures.style import CARD
from pipeline import UserError, pictures
from pipeline.pages.context import STALE, Context, value_words
from pipeline.pages.markdown import html_block, table
from pipeline.pages.runs import machine_text, private
from pipeline.progress import duration


def add_full_scale(page: nbformat.NotebookNode, chapter: str, context: Context, static: Path) -> None:
    """Put the section before the last one of ``page``, and its pictures into ``static``, if there is a record.

    UserError for pictures that are not in order.
    """
    reference = context.root / "book" / "reference"
    if (record := ledger.load_record("full", chapter, reference)) is None:
        return
    if wrong := pictures.problem(record, reference):
        raise UserError(wrong)
    source = nbformat.read(context.root / "notebooks" / f"{chapter}.ipynb", as_version=4)
    # Asked again here: a data set may have been withdrawn since.
    hidden = record.get("pictures_withheld") or private(source, record["parameters"], context.root)
    shown = [] if hidden else record["pictures"]
    for entry in shown:
        (static / "full" / chapter).mkdir(parents=True, exist_ok=True)
        shutil.copy(reference / "full" / chapter / entry["file"], static / "full" / chapter)
    mark = f" {STALE}" if context.is_stale(record) else ""
    text = [f"## At full scale\n\n{_made(record, shown, hidden)}{mark}"]
    text += [html_block(_figure(entry, chapter)) for entry in shown]
    text.append(_numbers(chapter, record, context))
    heads = [i for i, cell in enumerate(page.cells) if cell.cell_type == "markdown" and cell.source.startswith("## ")]
    page.cells.insert(heads[-1] if heads else len(page.cells), new_markdown_cell("\n\n".join(text), id="full-scale"))


def _made(record: dict[str, Any], shown: list[Any], hidden: list[str]) -> str:
    seeds, seconds = record["seeds"], record["seconds"]
    numbers = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds[:-1]))} and {seeds[-1]}"
    text = (f"Recorded at profile `full` with {numbers}, {duration(statistics.fmean(seconds))} for a seed, on "
            f"{machine_text(record['environment'])}.")
    if hidden:
        return f"{text} Its pictures are not published: licence of {', '.join(f'`{name}`' for name in hidden)}."
    return f"{text} The pictures are those of seed {min(seeds)}." if shown else text


def _numbers(chapter: str, record: dict[str, Any], context: Context) -> str:
    """What was measured of each claim, as a table: nothing where no claim of the chapter is for this scale."""
    rows = []
    for claim in context.claims_of(chapter):
        if claim.check or claim.id not in record["claims"]:
            continue
        row = context.row(claim, record)
        rows.append([f"{{ref}}`{claim.claim} <claim-{claim.id}>`", value_words(claim, row),
                     ledger.badge(row.verdict.verdict)])
    seeds = len(record["seeds"])
    few = f"With {seeds} seed{'s' * (seeds != 1)} there is no verdict." if seeds < ledger.MINIMUM_SEEDS else ""
    return f"{table(['Claim', 'Measured', 'Verdict'], rows)}\n\n{few}" if rows else ""


def _figure(entry: dict[str, Any], chapter: str) -> str:
    return (
        '<figure class="medgan-figure" style="margin:1em 0;text-align:center">'
        f'<img class="dark-light" src="../_static/full/{chapter}/{entry["file"]}" alt="{escape(entry["alt"])}"'
        f' width="{entry["width"]}" height="{entry["height"]}" loading="lazy" style="{CARD}">'
        f"{figcaption_tag(escape(entry['caption']))}</figure>"
    )
