"""The front page's strip of results: pictures of records, a sentence each, chosen in ``book/highlights.yml``."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Any

import yaml

from medgan_lib import ledger
from pipeline import UserError
from pipeline.pages.context import PARTS, Context, claim_role
from pipeline.pages.markdown import html_block
from pipeline.pages.recorded import show

FILE = "highlights.yml"
KEYS = {"chapter", "picture", "text"}
FOCUS = ("left", "right", "top", "bottom", "center")
ROLE = r"\{claim\}`([^`:]*):?([^`]*)`"


def highlights(root: Path) -> list[dict[str, str]]:
    """The entries of the file, in their order. UserError for one that is none."""
    path = root / "book" / FILE
    entries = (yaml.safe_load(path.read_text(encoding="utf-8")) or []) if path.exists() else []
    for number, entry in enumerate(entries, 1):
        keys = set(entry) if isinstance(entry, dict) else set()
        if not KEYS <= keys <= KEYS | {"focus"} or not all(isinstance(value, str) for value in entry.values()):
            raise UserError(f"book/{FILE}, entry {number}: needs the texts {', '.join(sorted(KEYS))}; may have focus")
        if set(entry.get("focus", "").split()) - set(FOCUS):
            raise UserError(f"book/{FILE}, entry {number}: focus is made of {', '.join(FOCUS)}, not {entry['focus']!r}")
    return entries


def strip(context: Context) -> str:
    """The tiles of what is recorded: an entry without its picture or its numbers is left out until it has them."""
    tiles = [_tile(entry, found, context) for entry in highlights(context.root)
             if (found := _picture(entry, context)) and _numbers(entry["text"], context)]
    row = 3 if len(tiles) % 2 or len(tiles) > 4 else 2  # in a row, where there is room: two or four leave no gap
    return html_block(f'<div class="medgan-strip" style="--row:{row}">{"".join(tiles)}</div>') if tiles else ""


def _picture(entry: dict[str, str], context: Context) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The picture that an entry asks for, by its cell or its file, and the record that has it."""
    records = [record for record in context.records if record["chapter"] == entry["chapter"]]
    order = {context.profile: 0, "cpu": 1}
    for record in sorted(records, key=lambda record: order.get(record["profile"], 2)):
        if any(entry["picture"] in (one.get("cell"), one.get("file")) for one in record.get("pictures", [])):
            for one in show(record, context)[0]:
                if entry["picture"] in (one["cell"], one["file"]):
                    return one, record
    return None


def _numbers(text: str, context: Context) -> bool:
    """Whether every claim of the text was measured, by networks that passed its gates."""
    claims = [context.claims.get(name) for name, _ in re.findall(ROLE, text)]
    records = [claim and context.record_of(claim) for claim in claims]
    return all(
        record and claim.id in record["claims"] and context.verdict(claim, record).verdict != ledger.NOT_TESTABLE
        for claim, record in zip(claims, records, strict=True)
    )


def _tile(entry: dict[str, str], found: tuple[dict[str, Any], dict[str, Any]], context: Context) -> str:
    picture, record = found
    text = re.sub(ROLE, lambda match: claim_role(match[1], match[2], context), entry["text"])
    source = f"../_static/recorded/{record['profile']}/{record['chapter']}/{picture['file']}"
    focus = f' style="object-position:{entry["focus"]}"' if "focus" in entry else ""
    return (
        f'<a class="medgan-tile" href="../notebooks/{entry["chapter"]}.html"><img class="dark-light" src="{source}"'
        f' alt="{escape(picture["alt"])}" width="{picture["width"]}" height="{picture["height"]}"{focus}>'
        f"<span>{escape(text)}</span></a>"
    )


def highlight_problems(root: Path, claims: dict[str, Any], cells: dict[str, set[str]]) -> list[str]:
    """A line for each chapter, picture or claim of ``book/highlights.yml`` that there is not.

    ``cells`` are the ids of each chapter's code cells, which name pictures.
    """
    try:
        entries = highlights(root)
    except (UserError, yaml.YAMLError) as error:
        return [str(error)]
    found = []
    for number, entry in enumerate(entries, 1):
        where, chapter, picture = f"book/{FILE}, entry {number}", entry["chapter"], entry["picture"]
        if chapter not in cells:
            found.append(f"{where}: there is no chapter {chapter!r}")
        elif picture not in cells[chapter] and not re.fullmatch(r"\d\.webp", picture):
            found.append(f"{where}: picture {picture!r} is no cell of {chapter} and no file such as 1.webp")
        for name, part in re.findall(ROLE, entry["text"]):
            if name not in claims:
                found.append(f"{where}: there is no claim {name!r} in book/claims.yml")
            elif part not in PARTS:
                found.append(f"{where}: {{claim}}`{name}:{part}`: a part is needed, one of {', '.join(PARTS)}")
    return found
