"""The ledger of one run: what a chapter records and the table that it shows."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgan_lib.ledger.claims import Claim, known_profile, load_claims
from medgan_lib.ledger.records import MIME, check_entries, load_record, record_verdict, unmeasured
from medgan_lib.ledger.verdicts import SUPPORTED, effects, finite_number, judge
from medgan_lib.ledger.words import criterion, effect_text, format_number, verdict_html


@dataclass(frozen=True)
class Entry:
    """What one run measured for one claim, in the claim's unit."""

    claim: Claim
    value: float
    control: float | None

    def __repr__(self) -> str:
        control = "" if self.control is None else f", control {self.control:.4g}"
        met = "" if self.claim.testable is not True else f": this run {'meets' if self.met else 'misses'} the criterion"
        return f"{self.claim.id}: {self.value:.4g}{control} {self.claim.unit}".rstrip() + met

    @property
    def effect(self) -> float:
        """This run's effect, oriented as in :func:`effects`."""
        return effects(self.claim, [self.value], None if self.control is None else [self.control])[0]

    @property
    def met(self) -> bool:
        """Whether this one run meets the criterion. That is no verdict, which takes several seeds."""
        claim = self.claim
        return (
            claim.testable is True
            and judge(
                claim.kind, self.effect, self.effect, claim.smallest_effect, 1e-9 * abs(claim.smallest_effect)
            )
            == SUPPORTED
        )


class Ledger:
    """The claims of one chapter and what this run measured for them.

    Args:
        chapter: the notebook's name, for example ``02_wasserstein``.
        profile: the scale of this run; its record is shown beside it (``ci`` shows the ``cpu`` record).
        claims: a claims file; by default the shipped one.
        reference: a folder of records; by default the shipped one, or ``reference`` beside ``claims`` if
            given.

    Raises:
        ValueError: unknown profile, or a chapter that has no claims.
    """

    def __init__(
        self,
        chapter: str,
        profile: str = "cpu",
        claims: str | Path | None = None,
        reference: str | Path | None = None,
    ) -> None:
        every = load_claims(claims)
        self.chapter = chapter
        self.profile = known_profile(profile)
        self.claims = {name: claim for name, claim in every.items() if claim.chapter == chapter}
        if not self.claims:
            chapters = sorted({claim.chapter for claim in every.values()})
            raise ValueError(f"no claims for chapter {chapter!r}; there are claims for {', '.join(chapters)}")
        if reference is None and claims is not None:
            reference = Path(claims).parent / "reference"
        self.reference = reference
        self.entries: dict[str, Entry] = {}

    def record(self, claim_id: str, value: Any, control: Any = None) -> Entry:
        """Note what this run measured for a claim.

        Args:
            claim_id: an id of this chapter in ``claims.yml``.
            value: a finite number, in the claim's unit (a scalar of NumPy or PyTorch will do).
            control: the same for the claim's control; None if it has none.

        Raises:
            ValueError: an unknown id, a second value for one claim, a value that is not a finite number, or a
                control that is missing or superfluous.
        """
        if claim_id not in self.claims:
            raise ValueError(
                f"unknown claim {claim_id!r}; chapter {self.chapter} has {', '.join(self.claims)}"
            )
        if claim_id in self.entries:
            raise ValueError(f"claim {claim_id} already has a value; one run gives one value")
        claim = self.claims[claim_id]
        if claim.testable is not True:
            raise ValueError(f"claim {claim_id} is declared not testable: {claim.testable}")
        entry = Entry(
            claim,
            finite_number(claim_id, "value", value),
            None if control is None else finite_number(claim_id, "control", control),
        )
        _ = entry.effect  # a missing control or a ratio of nothing should fail in the cell that caused it
        self.entries[claim_id] = entry
        return entry

    def show(self) -> LedgerView:
        """The table of this chapter's claims, as the last expression of a cell.

        Raises:
            ValueError: claims of this chapter that got no value.
        """
        check_entries(self.entries, self.chapter, self.profile, self.claims)
        shown = "cpu" if self.profile == "ci" else self.profile
        return LedgerView(self.claims, dict(self.entries), load_record(shown, self.chapter, self.reference))


@dataclass(frozen=True)
class LedgerView:
    """A chapter's claims as a table; in a notebook's output also as data, which the pipeline reads."""

    claims: Mapping[str, Claim]
    entries: Mapping[str, Entry]
    reference: Mapping[str, Any] | None

    def rows(self) -> list[tuple[str, str, str, str, str, str]]:
        """Claim, measured, control, criterion, this run, recorded verdict (HTML) of each claim."""
        rows = []
        for name, claim in self.claims.items():
            entry = self.entries.get(name)
            measured = control = run = "–"
            if entry:
                measured = f"{claim.metric}: {format_number(entry.value, claim.unit)}"
                if entry.control is not None:
                    control = f"{claim.control}: {format_number(entry.control, claim.unit)}"
                met = "met" if entry.met else "not met"
                run = f"this run: {effect_text(claim, entry.effect, claim.unit)}; criterion {met}"
            if claim.testable is not True:
                recorded = verdict_html(claim, unmeasured(claim))
            elif self.reference is None:
                recorded = "not recorded yet"
            else:
                result = record_verdict(claim, self.reference)
                recorded = verdict_html(claim, result, self.reference["profile"])
            rows.append((claim.claim, measured, control, criterion(claim), run, recorded))
        return rows

    def __repr__(self) -> str:
        plain = [
            [html.unescape(re.sub(r"<[^>]*>", " ", cell)).replace("  ", " ").strip() for cell in row]
            for row in self.rows()
        ]
        return "\n\n".join(
            "\n".join((f"{name}: {row[0]}", *(f"  {cell}" for cell in row[1:] if cell != "–")))
            for name, row in zip(self.claims, plain, strict=True)
        )

    def _repr_html_(self) -> str:
        names = ("Claim", "Measured", "Control", "Criterion", "This run", "Recorded verdict")
        head = "".join(f'<th scope="col" style="text-align:left">{name}</th>' for name in names)
        body = []
        for name, (claim, *cells, recorded) in zip(self.claims, self.rows(), strict=True):
            body.append(
                f'<tr><th scope="row" style="text-align:left;font-weight:normal"><code>{name}</code><br>'
                f"{html.escape(claim)}</th>"
                + "".join(f'<td style="text-align:left">{html.escape(cell)}</td>' for cell in cells)
                + f'<td style="text-align:left">{recorded}</td></tr>'
            )
        caption = "Claims of this chapter, what this run measured, and the recorded verdicts"
        return (
            f'<div role="region" aria-label="{caption}" tabindex="0" style="overflow-x:auto"><table>'
            f'<caption style="text-align:left;caption-side:top">{caption}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        data = {name: {"value": e.value, "control": e.control} for name, e in self.entries.items()}
        return {"text/plain": repr(self), "text/html": self._repr_html_(), MIME: data}
