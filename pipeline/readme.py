"""The table of durations in the README, made from the records."""

import re
import statistics
from pathlib import Path
from typing import Any

from pipeline import UserError, write_atomic
from pipeline.progress import duration

BLOCK = re.compile(r"(<!-- durations: begin[^\n]*-->\n).*?(<!-- durations: end -->)", re.DOTALL)


def durations(records: list[dict[str, Any]]) -> str:
    """A Markdown table, a row a record: mean time and largest memory of one seed, and the machine."""
    rows = ["| chapter | profile | time | memory | machine |", "|---|---|---|---|---|"]
    for record in records:
        where = record["environment"]
        machine = where["gpu"] or f"{where['cpu']}, {where['threads']} thread{'s' * (where['threads'] > 1)}"
        rows.append(
            f"| {record['chapter']} | {record['profile']} | {duration(statistics.fmean(record['seconds']))} "
            f"| {where['memory_mb'] / 1000:.1f} GB | {machine} |"
        )
    return "\n".join(rows if records else ["Nothing is recorded yet."]) + "\n"


def filled(text: str) -> str:
    """The README's ``text`` with the table as the records have it."""
    from medgan_lib import ledger

    if not BLOCK.search(text):
        raise UserError("README.md lacks the lines '<!-- durations: begin -->' and '<!-- durations: end -->'")
    table = durations(ledger.load_records())
    return BLOCK.sub(lambda match: match[1] + table + match[2], text)


def refresh(path: Path) -> None:
    write_atomic(path, filled(path.read_text(encoding="utf-8")))
