"""The page of data: cards, and what the registry knows."""

from __future__ import annotations

import re
from typing import Any

import yaml

from pipeline import UserError
from pipeline.pages.context import Context
from pipeline.pages.markdown import table


def data_cards(context: Context) -> str:
    """The data cards, those of embedded cohorts first, each with what the registry knows of it."""
    registry_path = context.root / "data" / "registry.yml"
    registry = yaml.safe_load(registry_path.read_text(encoding="utf-8")) if registry_path.exists() else {}
    cards = {path.stem: path.read_text(encoding="utf-8") for path in (context.root / "data" / "cards").glob("*.md")}
    parts = []
    for name in sorted(cards, key=lambda name: (name in registry, name)):
        card = re.sub(r"^(#+) ", r"#\1 ", cards[name].strip(), flags=re.MULTILINE)
        if not card.startswith("## "):
            card = f"## {name}\n\n{card}"
        parts.append(f"(data-{name.replace('_', '-')})=\n{_with_figures(card, name, context)}")
        if name in registry:
            facts = [[key, _fact(value)] for key, value in registry[name].items() if _is_fact(value)]
            parts.append(table(["In the registry", ""], facts))
    return "\n\n".join(parts) or "There are no data cards yet."


def _with_figures(card: str, name: str, context: Context) -> str:
    """Paths of a card's figures as the page Data sees them. UserError for one that is missing or says nothing."""

    def figure(match: re.Match) -> str:
        if not match[1].strip():
            raise UserError(f"data/cards/{name}.md: a figure without alt text ({match[2]})")
        if not (context.root / "book" / "_static" / "cards" / match[2]).is_file():
            raise UserError(f"data/cards/{name}.md shows {match[2]}, which data/cards/figures.py has not made")
        return f"![{match[1]}](../_static/cards/{match[2]}){{.dark-light}}"  # keeps its contrast on a dark page

    return re.sub(r"!\[([^\]]*)\]\(\.\./\.\./book/_static/cards/([^)\s]+)\)", figure, card)


def _is_fact(value: Any) -> bool:
    return isinstance(value, (str, int, float)) or (
        isinstance(value, list) and all(isinstance(item, (str, int, float)) for item in value)
    )


def _fact(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"`{text}`" if re.fullmatch(r"[0-9a-f]{32,}", text) else text
