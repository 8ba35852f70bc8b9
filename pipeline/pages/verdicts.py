"""What was recorded of the claims: counted, for the front page, and in one picture, for the opening of a chapter."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from typing import Any

from medgan_lib import ledger
from pipeline.pages.context import STALE, Context
from pipeline.pages.markdown import html_block, table
from pipeline.pages.runs import machine_text, memory_text

LABEL = 66  # characters of a claim on one line of the forest plot
MARKERS = {
    ledger.SUPPORTED: ("o", "#009E73"),
    ledger.RIGHT_DIRECTION: ("^", "#0072B2"),
    ledger.UNDECIDED: ("s", "#555555"),
    ledger.CONTRADICTED: ("X", "#D55E00"),
}
FIRST_EDITION_NOTE = """\
:::{admonition} First edition
:class: note first-edition
This chapter has not been rebuilt yet. Its networks were trained briefly, and no gate says whether they were trained \
well enough: its verdicts are shown, but counted nowhere. {doc}`/book/how_to_read` says what that means.
:::

"""


def tally(context: Context, chapters: list[str] | None = None) -> Counter[str]:
    """How many claims came to each verdict in the chapters that have been rebuilt, and their checks.

    What the first edition recorded is not counted: it could not tell "refuted" from "untrained".
    """
    counts: Counter[str] = Counter()
    for chapter in context.runs if chapters is None else chapters:
        if context.is_first_edition(chapter):
            continue
        for claim in context.claims_of(chapter):
            record = context.record_of(claim)
            if record is None or ledger.is_first_edition(record):
                continue
            found = context.verdict(claim, record).verdict
            if not claim.check or found in (ledger.PASSED, ledger.FAILED):
                counts[found] += 1
    return counts


def verdicts(context: Context) -> str:
    """Front page: the verdicts in numbers, all of them, and folded chapter by chapter."""
    old = [chapter for chapter in context.runs if context.is_first_edition(chapter)]
    counts = tally(context)
    claims = sum(n for name, n in counts.items() if name in ledger.VERDICTS)
    lines = []
    if claims:
        shown = ", ".join(f"{counts[name]} {name}" for name in ledger.VERDICTS if counts[name])
        lines.append(f"**{claims} claim{'s' * (claims != 1)} so far: {shown}.** Checks of the code are listed apart.\n")
    if old:
        badge = ledger.badge(ledger.FIRST_EDITION)
        some = "One chapter is" if len(old) == 1 else f"{len(old)} chapters are"
        lines.append(f"{some} of the {badge}: their networks were trained briefly, so their verdicts "
                     "are shown in the [ledger](ledger.md) and counted nowhere.\n")
    every = table(["Chapter", "Claims", "Verdicts"], [_row(chapter, context) for chapter in context.runs])
    text = "\n".join([*lines, f":::{{dropdown}} Chapter by chapter\n{every}\n:::"])
    return f"::::{{container}} medgan-tally\n{text}\n::::"


def _row(chapter: str, context: Context) -> list[str]:
    claims = [claim for claim in context.claims_of(chapter) if not claim.check]
    record = context.record(chapter)
    if context.is_first_edition(chapter):
        said = ledger.badge(ledger.FIRST_EDITION)
    elif record is None:
        said = "not recorded yet"
    else:
        counts = tally(context, [chapter])
        shown = " ".join(f"{ledger.badge(name)} {counts[name]}" for name in ledger.BADGES if counts[name])
        said = f"{shown} ({len(record['seeds'])} seeds at `{record['profile']}`)"
    # A record of the first edition stays as it is, whatever became of the code.
    stale = f" {STALE}" if record and not context.is_first_edition(chapter) and context.is_stale(record) else ""
    return [f"[{context.title(chapter)}](../notebooks/{chapter}.ipynb)", str(len(claims)), said + stale]


def forest(context: Context, chapter: str) -> str:
    """The effect of every claim of a chapter with its interval, in units of the smallest effect that counts."""
    from medgan_lib import figures

    results = [
        (claim, context.verdict(claim, record))
        for claim in context.claims_of(chapter)
        if claim.testable is True and not claim.check and (record := context.record_of(claim))
    ]
    points = [(claim, result, scaled(claim, result)) for claim, result in results if result.low is not None]
    points = [point for point in points if point[2] is not None]
    if not points:
        return ""
    labels = [textwrap.wrap(claim.claim, LABEL) for claim, *_ in points]
    figure, axis = figures.subplots(size=(6.4, 1.4 + sum(0.3 + 0.21 * len(label) for label in labels)))
    line = 0.0  # of text, from the top; each claim stands above its interval
    for (_, result, (middle, low, high)), label in zip(points, labels, strict=True):
        axis.text(0.0, line, "\n".join(label), fontsize=11, va="top", transform=axis.get_yaxis_transform())
        line += len(label) + 0.7
        marker, colour = MARKERS[result.verdict]
        axis.plot([low, high], [line, line], color=colour, lw=3, solid_capstyle="butt")
        axis.plot(middle, line, marker, color=colour, ms=9, clip_on=False)
        line += 0.9
    axis.axvline(1, color="black", lw=1.2, ls="--", zorder=0.5)
    axis.axvline(0, color="black", lw=0.8, zorder=0.5)
    axis.set_ylim(line, -0.3)
    axis.set_yticks([])
    axis.set_xscale("symlog", linthresh=1)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_xlabel("effect / smallest effect that counts")
    counts = Counter(result.verdict for _, result, _ in points)
    words = ", ".join(f"{counts[name]} {name}" for name in MARKERS if counts[name])
    picture = figures.picture(
        figure,
        alt=f"Effects of {len(points)} claims with 95 % intervals over seeds, relative to the smallest effect that "
        f"counts (dashed line at 1): {words}.",
        caption="Each claim's recorded effect with its 95 % interval. Right of the dashed line: at least as large as "
        "the book asked for beforehand; left of 0: the other way round. Circle: supported; triangle: right direction; "
        "square: undecided; cross: contradicted.",
    )
    return html_block(picture._repr_html_())


def opening(chapter: str, context: Context) -> str:
    """What stands above a chapter of the first edition: its mark, what it came to, what it costs."""
    if not context.is_first_edition(chapter):
        return ""
    return f"{FIRST_EDITION_NOTE}{at_a_glance(chapter, context)}"


def at_a_glance(chapter: str, context: Context) -> str:
    """What a chapter came to and what it costs, from its records: nothing where nothing is recorded."""
    records = [record for record in context.records if record["chapter"] == chapter]
    if not records:
        return ""
    rows = [
        [f"`{record['profile']}`", f"{sum(record['seconds']) / len(record['seconds']):.0f} s",
         memory_text(record["environment"]), machine_text(record["environment"])]
        for record in records
    ]
    cost = table(["Profile", "Time for a seed", "Memory", "Machine"], rows)
    seeds = len(context.record(chapter)["seeds"])
    recorded = f"*Recorded at profile* `{context.record(chapter)['profile']}` *with {seeds} seed{'s' * (seeds != 1)}.*"
    return f"{forest(context, chapter)}\n\n{recorded}\n\n{cost}"


def scaled(claim: Any, result: Any) -> tuple[float, float, float] | None:
    """Effect and interval over the smallest effect; None where that makes no sense (bounds, other than effects)."""
    if claim.kind in ledger.BOUNDS:
        return None
    counts, _ = ledger.thresholds(claim)
    ends = (result.effect, result.low, result.high)
    if claim.effect != "difference":
        middle, one, other = (math.log(max(value, 1e-9)) / math.log(counts) for value in ends)
    else:
        middle, one, other = (value / counts for value in ends)
    return middle, min(one, other), max(one, other)
