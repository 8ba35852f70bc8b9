"""Tables and raw HTML in MyST Markdown."""

from __future__ import annotations

import re


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    clean = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in [heads, *rows]]
    lines = [f"| {' | '.join(row)} |" for row in clean]
    return "\n".join([lines[0], "|" + "---|" * len(heads), *lines[1:]])


def html_block(html: str) -> str:
    return f"```{{raw}} html\n{html}\n```"


def escaped(text: str) -> str:
    """Plain text as Markdown that shows it; formulas between dollars stay formulas."""
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", text)
