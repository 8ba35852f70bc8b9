"""The section "At full scale" of a chapter's page: the recorded pictures and numbers, and how they were made."""

from __future__ import annotations

import statistics
from typing import Any

import nbformat
from nbformat.v4 import new_markdown_cell

from medgan_lib import ledger
from pipeline.pages import recorded
from pipeline.pages.context import STALE, Context, value_words
from pipeline.pages.markdown import html_block, table
from pipeline.pages.runs import machine_text
from pipeline.progress import duration


def add_full_scale(page: nbformat.NotebookNode, chapter: str, context: Context) -> None:
    """Put the section before the last one of ``page``, if there is a record.

    UserError for pictures that are not in order.
    """
    reference = context.root / "book" / "reference"
    if (record := ledger.load_record("full", chapter, reference)) is None:
        return
    shown, hidden = recorded.show(record, context)
    mark = f" {STALE}" if context.is_stale(record) else ""
    above = {output.data.get("text/html") for cell in page.cells for output in cell.get("outputs", [])
             if "data" in output}
    figures = [recorded.figure(entry, record) for entry in shown]
    text = [f"## At full scale\n\n{_made(record, shown, hidden)}{mark}"]
    text += [html_block(figure) for figure in figures if figure not in above]  # where nothing ran they stand there
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

