"""The ledger: every claim as some sentences, with what was recorded of it, and filters that need no kernel."""

from __future__ import annotations

import html
from typing import Any

from medgan_lib import ledger
from pipeline.pages.context import STALE, Context, value_words
from pipeline.pages.markdown import escaped, html_block, table

SOURCES = {
    "review": ("the review", "The review says so: {place}."),
    "paper": ("the paper of the method", "A paper says so: {place}."),
    "ours": ("this book asks", "A question of this book, on the review's {place}."),
}
DATA = {
    "same data": "the data that it was said of",
    "public data": "other real data than it was said of",
    "simulated": "simulated data",
}
CHECKS = "checks of the code"


def ledger_pages(context: Context) -> str:
    """Every claim with its criterion and what each recorded profile says about it, grouped by chapter."""
    parts = [html_block(_filters(context))]
    for chapter in context.runs:
        claims = context.claims_of(chapter)
        link = f"[Open the chapter](../notebooks/{chapter}.ipynb)"
        old = f" {ledger.badge(ledger.FIRST_EDITION)}" if context.is_first_edition(chapter) else ""
        parts.append(f"## {context.title(chapter)}\n\n{link}{old}\n")
        parts += [_claim(claim, context) for claim in claims if not claim.check]
        if checks := [claim for claim in claims if claim.check]:
            parts.append("**Checks.** True by construction, so these are tests of the code and count as no claims.\n")
            parts += [_claim(claim, context) for claim in checks]
    return "\n".join(parts)


def gates(context: Context) -> str:
    """The gates as a table: what each asks, and what it demands of which number."""
    rows = [[gate.question, f"{gate.metric}: {ledger.gate_words(gate)}"] for gate in context.gates.values()]
    return table(["Gate", "Holds where"], rows)


def _claim(claim: Any, context: Context) -> str:
    """One claim: what is claimed and by whom, what was asked for, and what came out, in sentences."""
    record = context.record_of(claim)
    result = context.verdict(claim, record) if record else None
    if claim.testable is not True:
        said, found = ledger.NOT_TESTABLE, [f"Not testable here: {escaped(claim.testable)}"]
    else:
        said = result.verdict if result else ledger.NO_VERDICT
        found = [_asked(claim, context), *_found(claim, context)]
    classes = " ".join([
        "medgan-claim", _class("verdict", CHECKS if claim.check else said), _class("source", claim.source),
        *sorted({_class("data", claim.protocol_at(profile)) for profile in claim.profiles if claim.testable is True}),
        _class("chapter", claim.chapter),
    ])
    history = ["*Changed:* " + escaped(" ".join(claim.history))] if claim.history else []
    text = "\n\n".join([f"**{escaped(claim.claim)}** {ledger.badge(said)}", _whence(claim), *found, *history])
    return f"(claim-{claim.id})=\n::::{{container}} {classes}\n{text}\n::::\n"


def _whence(claim: Any) -> str:
    key, _, rest = (part.strip() for part in claim.place.partition(","))
    where = escaped(claim.place)
    if claim.source == "paper":
        where = f"{{cite:t}}`{key}`" + (f", {escaped(rest)}" if rest else "")
    return SOURCES[claim.source][1].format(place=where)


def _asked(claim: Any, context: Context) -> str:
    control = f"; beside it: {escaped(claim.control)}" if claim.control and claim.kind in ledger.BOUNDS else ""
    text = f"Measured by: {escaped(claim.metric)}{control}. Asked for beforehand: {escaped(ledger.criterion(claim))}."
    for name in claim.gate:
        gate = context.gates[name]
        asked = escaped(f"{gate.question} ({gate.metric}: {ledger.gate_words(gate)})")
        text += f" It counts only if this holds: {asked}"
    return text


def _found(claim: Any, context: Context) -> list[str]:
    """A sentence for each record, and one for this build's run."""
    sentences = []
    for record in (record for record in context.records if record["chapter"] == claim.chapter):
        if claim.expected_at(record["profile"]):
            sentences.append(_recorded(claim, record, f"At `{record['profile']}`", context))
    first = ledger.load_first_edition(claim.chapter, context.root / "book" / "reference")
    if first and claim.id in first["claims"]:
        where = {**first, "profile": claim.profiles[0]}  # its profile is gone; what matters is that it has values
        sentences.append(_recorded(claim, where, "On public data", context))
    entry = ((context.results(claim.chapter) or {}).get("claims") or {}).get(claim.id)
    if entry:
        one = ledger.Entry(claim, entry["value"], entry.get("control"), entry.get("of"))
        met = "meets" if one.met else "does not meet"
        numbers = escaped(value_words(claim, one))
        sentences.append(f"This build, `{context.profile}`, seed {context.seed}: {numbers}; it {met} the criterion, "
                         "which is no verdict.")
    return sentences or ["Nothing is recorded yet."]


def _recorded(claim: Any, record: dict[str, Any], where: str, context: Context) -> str:
    row = context.row(claim, record)
    seeds = len(record["seeds"])
    old = ledger.is_first_edition(record)
    marks = f" {ledger.badge(ledger.FIRST_EDITION)}" if old else ""
    if not old and context.is_stale(record):
        marks += f" {STALE}"
    data = "" if old else f" on {DATA[claim.protocol_at(record['profile'])]}"
    head = f"{where}, {seeds} seed{'s' * (seeds != 1)}{data}{marks}: "
    if row.value is None:
        return f"{head}no value. {ledger.badge(row.verdict.verdict)} {row.verdict.reason}".strip()
    effect = None if claim.kind in ledger.BOUNDS else row.verdict.effect
    words = [
        "" if effect is None else ledger.effect_text(claim, effect, claim.unit),
        ledger.interval_words(claim, row.verdict), row.verdict.reason,
    ]
    tail = "".join(f", {one}" for one in words if one)
    changed = " (the criterion changed since)" if row.stored not in (None, row.verdict.verdict) else ""
    return f"{head}{escaped(value_words(claim, row) + tail)}. {ledger.badge(row.verdict.verdict)}{changed}"


def _filters(context: Context) -> str:
    """Menus that leave only some claims on the page; shown by the page's script, as they do nothing without it."""
    chapters = {chapter: context.title(chapter) for chapter in context.runs}
    menus = [
        _menu("verdict", "Verdict", {name: name for name in (*ledger.VERDICTS, ledger.NO_VERDICT, CHECKS)}),
        _menu("source", "Who says so", {key: words for key, (words, _) in SOURCES.items()}),
        _menu("data", "Measured on", DATA),
        _menu("chapter", "Chapter", chapters),
    ]
    return (
        '<form class="medgan-filters" hidden aria-label="Choose claims">'
        + "".join(menus)
        + '<label>Words <input type="search" name="words" placeholder="for example: critic"></label>'
        '<button type="reset">Show all</button><output aria-live="polite"></output></form>'
    )


def _menu(name: str, label: str, options: dict[str, str]) -> str:
    every = "".join(
        f'<option value="{_class(name, key)}">{html.escape(words)}</option>' for key, words in options.items()
    )
    return f'<label>{label} <select name="{name}"><option value="">all</option>{every}</select></label>'


def _class(kind: str, value: str) -> str:
    """A word for HTML's class attribute: "verdict-right-direction"."""
    return f"{kind}-{value.replace(' ', '-').replace('_', '-')}"
