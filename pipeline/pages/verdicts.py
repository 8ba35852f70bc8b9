"""The cover, the ledger and the opening of a chapter: claims with what was recorded of them."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any

from medgan_lib import ledger
from pipeline.pages.context import STALE, Context
from pipeline.pages.markdown import html_block, table
from pipeline.pages.runs import machine_text, memory_text


def verdicts(context: Context) -> str:
    """Cover: the verdicts in numbers, chapter by chapter, and the effects in one picture."""
    lines = ["| Chapter | Claims | Verdicts |", "|---|---|---|"]
    for chapter in context.runs:
        claims = [claim for claim in context.claims.values() if claim.chapter == chapter]
        record = context.record(chapter)
        rows = ledger.summary(context.claims, record, chapter)
        counts = Counter(row.verdict.verdict for row in rows)
        shown = " ".join(f"{ledger.badge(name)} {n}" for name, n in counts.most_common())
        where = f"{len(record['seeds'])} seeds at `{record['profile']}`" if record else "not recorded yet"
        stale = f" {STALE}" if record and context.is_stale(record) else ""
        link = f"[{context.title(chapter)}](../notebooks/{chapter}.ipynb)"
        lines.append(f"| {link} | {len(claims)} | {shown} ({where}){stale} |")
    return "\n".join(lines)


def forest(context: Context, chapter: str | None = None) -> str:
    """The effect of every claim (of one chapter) with its interval, in units of the smallest effect that counts."""
    from medgan_lib import figures

    results = [
        (claim, ledger.record_verdict(claim, record))
        for claim in context.claims.values()
        if claim.testable is True and chapter in (None, claim.chapter) and (record := context.record(claim.chapter))
    ]
    points = [(claim, result, scaled(claim, result)) for claim, result in results if result.low is not None]
    points = [point for point in points if point[2] is not None]
    if not points:
        return ""
    figure, axis = figures.subplots(size=(6.4, 1.4 + 0.42 * len(points)))
    shown = ("supported", "not supported at this scale", "contradicted")
    for i, (_, result, (middle, low, high)) in enumerate(points):
        colour = {"supported": "#009E73", "contradicted": "#D55E00"}.get(result.verdict, "#555555")
        marker = {"supported": "o", "contradicted": "X"}.get(result.verdict, "s")
        axis.plot([low, high], [i, i], color=colour, lw=3, solid_capstyle="butt")
        axis.plot(middle, i, marker, color=colour, ms=9, clip_on=False)
    axis.axvline(1, color="black", lw=1.2, ls="--")
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks(range(len(points)), [claim.id for claim, *_ in points], fontsize=11)
    axis.set_xscale("symlog", linthresh=1)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.invert_yaxis()
    axis.set_xlabel("effect / smallest effect that counts")
    counts = Counter(result.verdict for _, result, _ in points)
    words = ", ".join(f"{counts[name]} {name}" for name in shown if counts[name])
    picture = figures.picture(
        figure,
        alt=f"Effects of {len(points)} claims with 95 % intervals over seeds, relative to the smallest effect that "
        f"counts (dashed line at 1): {words}.",
        caption="Each claim's recorded effect with its 95 % interval. Right of the dashed line: at least as large as "
        "the book asked for beforehand. Circle: supported; square: not supported at this scale; cross: contradicted.",
    )
    return f"## The claims at a glance\n\n{html_block(picture._repr_html_())}"


def opening(chapter: str, context: Context) -> str:
    """What a chapter came to and what it costs, for the top of its page: nothing where nothing is recorded."""
    records = [record for record in context.records if record["chapter"] == chapter]
    if not records:
        return ""
    rows = [
        [f"`{record['profile']}`", f"{sum(record['seconds']) / len(record['seconds']):.0f} s",
         memory_text(record["environment"]), machine_text(record["environment"])]
        for record in records
    ]
    shown = context.record(chapter)["profile"]
    cost = table(["Profile", "Time for a seed", "Memory", "Machine"], rows)
    return f"{forest(context, chapter)}\n\n*The claims above were recorded at profile* `{shown}`.\n\n{cost}"


def scaled(claim: Any, result: Any) -> tuple[float, float, float] | None:
    """Effect and interval over the smallest effect; None where that makes no sense (bounds, other than effects)."""
    if claim.kind not in ("greater", "less"):
        return None
    if claim.effect == "ratio":
        unit = math.log(claim.smallest_effect)
        return tuple(math.log(value) / unit for value in (result.effect, result.low, result.high))
    return tuple(value / claim.smallest_effect for value in (result.effect, result.low, result.high))


def ledger_pages(context: Context) -> str:
    """Every claim with its criterion and what each recorded profile says about it, grouped by chapter."""
    parts = []
    for chapter in context.runs:
        parts.append(f"## {context.title(chapter)}\n\n[Open the chapter](../notebooks/{chapter}.ipynb)\n")
        for claim in (claim for claim in context.claims.values() if claim.chapter == chapter):
            facts = [claim.claim, "", f"Review, {_section(claim.section)}."]
            if claim.testable is True:
                against = f", compared with: {claim.control}" if claim.control else ""
                facts += ["", f"**Measure.** {claim.metric}{against}.", f"**Criterion.** {ledger.criterion(claim)}."]
            if claim.history:
                facts += ["", "**The criterion before.** " + "; ".join(map(str, claim.history)) + "."]
            parts += [f"(claim-{claim.id})=\n### `{claim.id}`\n", "\n".join(facts), "", _evidence(claim, context), ""]
    return "\n".join(parts)


def _section(section: str) -> str:
    return section if re.match(r"(?i)sec|tab|fig|eq", section) else f"Sec. {section}"


def _evidence(claim: Any, context: Context) -> str:
    records = [record for record in context.records if record["chapter"] == claim.chapter]
    if claim.testable is not True:
        return f"{ledger.badge(ledger.NOT_TESTABLE)} {claim.testable}"
    results = context.results(claim.chapter)
    rows = []
    for record in records:
        row = next(row for row in ledger.summary(context.claims, record) if row.claim.id == claim.id)
        stale = f" {STALE}" if context.is_stale(record) else ""
        seeds = f"{len(record['seeds'])} seeds"
        changed = " (criterion changed since)" if row.stored not in (None, row.verdict.verdict) else ""
        rows.append([
            f"`{record['profile']}`, {seeds}{stale}", number_text(row.value, claim), number_text(row.control, claim),
            ledger.effect_words(claim, row.verdict) or "–", ledger.badge(row.verdict.verdict) + changed,
        ])
    entry = (results or {}).get("claims", {}).get(claim.id)
    if entry:
        one = ledger.Entry(claim, entry["value"], entry.get("control"))
        rows.append([
            f"this run, `{context.profile}`, seed {context.seed}", number_text(one.value, claim),
            number_text(one.control, claim), "–",
            f"criterion {'met' if one.met else 'not met'} (one seed is no verdict)",
        ])
    if not rows:
        return ledger.badge(ledger.NO_VERDICT) + " Nothing recorded yet."
    return table(["Run", "Value", "Control", "Effect", "Verdict"], rows)


def number_text(value: float | None, claim: Any) -> str:
    return "–" if value is None else ledger.format_number(value, claim.unit)
