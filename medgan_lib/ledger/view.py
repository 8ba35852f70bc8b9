"""The ledger of one run: what a chapter records and the table that it shows."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medgan_lib.ledger.claims import Claim, known_profile, load_claims
from medgan_lib.ledger.gates import Gate, check_gates, gates_beside
from medgan_lib.ledger.records import (
    MIME,
    check_entries,
    is_first_edition,
    load_record,
    record_verdict,
    unmeasured,
)
from medgan_lib.ledger.verdicts import SUPPORTED, effects, finite_number, judge
from medgan_lib.ledger.words import badge, criterion, effect_text, format_number, gate_words, verdict_html


@dataclass(frozen=True)
class Entry:
    """What one run measured for one claim, in the claim's unit; of a share also of how many."""

    claim: Claim
    value: float
    control: float | None = None
    of: int | None = None

    def __repr__(self) -> str:
        control = "" if self.control is None else f", control {self.control:.4g}"
        met = "" if self.claim.testable is not True else f": this run {'meets' if self.met else 'misses'} the criterion"
        return f"{self.claim.id}: {self.value:.4g}{control} {self.claim.unit}".rstrip() + met

    @property
    def effect(self) -> float:
        """This run's effect, as :func:`effects` has it."""
        return effects(self.claim, [self.value], None if self.control is None else [self.control])[0]

    @property
    def met(self) -> bool:
        """Whether this one run meets the criterion. That is no verdict, which takes several seeds."""
        return self.claim.testable is True and judge(self.claim, self.effect, self.effect) == SUPPORTED

    def data(self) -> dict[str, float | int | None]:
        """As the notebook's output and the record have it."""
        known = {"value": self.value, "control": self.control}
        return known if self.of is None else {**known, "of": self.of}


@dataclass(frozen=True)
class Passage:
    """What one run measured at a gate."""

    gate: Gate
    value: float

    def __repr__(self) -> str:
        return f"{self.gate.id}: {self.gate.metric} {self.value:.4g} {self.gate.unit}".rstrip() + f": {self.words}"

    @property
    def words(self) -> str:
        """Whether the gate held, and what it asks for."""
        return f"{'held' if self.gate.holds(self.value) else 'did not hold'} (asked: {gate_words(self.gate)})"

    def data(self) -> dict[str, float | None]:
        return {"value": self.value, "control": None}


class Ledger:
    """The claims of one chapter and what this run measured for them.

    Args:
        chapter: the notebook's name, for example ``02_wasserstein``.
        profile: the scale of this run; its record is shown beside it (``ci`` shows the ``cpu`` record).
        claims: a claims file; by default the shipped one.
        reference: a folder of records; by default the shipped one, or ``reference`` beside ``claims`` if
            given.

    Raises:
        ValueError: unknown profile, a chapter that has no claims, or a claim whose gate does not exist.
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
        gates = gates_beside(claims)
        check_gates(self.claims, gates)
        asked = dict.fromkeys(name for claim in self.claims.values() for name in claim.gate)
        self.gates = {name: gates[name] for name in asked}
        self.known_gates = gates
        self.entries: dict[str, Entry] = {}
        self.passages: dict[str, Passage] = {}

    def gate(self, name: str, *values: Any) -> Passage:
        """Note what this run measured at a gate, whose bounds are in ``gates.yml``.

        A value for each network that the claims behind the gate compare, controls of the same kind included: the worst
        of them is kept, so that no trained network passes for an untrained one.

        Raises:
            ValueError: no claim of this chapter asks for this gate, it has a value already, or the value is not a
                finite number.
        """
        if name not in self.gates:
            asked = ", ".join(self.gates) or "none"
            raise ValueError(f"no claim of chapter {self.chapter} asks for a gate {name!r}; they ask for {asked}")
        if name in self.passages:
            raise ValueError(f"gate {name} already has a value; give those of all networks in one call")
        if not values:
            raise ValueError(f"gate {name} needs a value")
        gate = self.gates[name]
        self.passages[name] = Passage(gate, gate.worst([finite_number(name, "value", value) for value in values]))
        return self.passages[name]

    def record(self, claim_id: str, value: Any, control: Any = None, *, of: int | None = None) -> Entry:
        """Note what this run measured for a claim.

        Args:
            claim_id: an id of this chapter in ``claims.yml``.
            value: a finite number, in the claim's unit (a scalar of NumPy or PyTorch will do).
            control: the same for the claim's control; None if it has none.
            of: of a share, the number of trials that value and control are a share of.

        Raises:
            ValueError: an unknown id, a second value for one claim, a value that is not a finite number or not in the
                range of its scale, a control that is missing or superfluous, or the same of ``of``.
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
        if (claim.scale == "share") != (of is not None):
            need = "is a share: say of how many, of=n" if of is None else f"is no share but a {claim.scale}"
            raise ValueError(f"claim {claim_id} {need}")
        if of is not None and (isinstance(of, bool) or not isinstance(of, int) or of < 1):
            raise ValueError(f"claim {claim_id}: of is {of!r}, but must be a whole number of at least 1")
        entry = Entry(
            claim,
            finite_number(claim_id, "value", value),
            None if control is None else finite_number(claim_id, "control", control),
            of,
        )
        _ = entry.effect  # a missing control or a ratio of nothing should fail in the cell that caused it
        self.entries[claim_id] = entry
        return entry

    def show(self) -> LedgerView:
        """The table of this chapter's claims, as the last expression of a cell.

        Raises:
            ValueError: claims of this chapter, or gates of theirs, that got no value.
        """
        check_entries((*self.entries, *self.passages), self.chapter, self.profile, self.claims)
        shown = "cpu" if self.profile == "ci" else self.profile
        record = load_record(shown, self.chapter, self.reference)
        return LedgerView(self.claims, dict(self.entries), record, self.known_gates, dict(self.passages))


@dataclass(frozen=True)
class LedgerView:
    """A chapter's claims as a table; in a notebook's output also as data, which the pipeline reads."""

    claims: Mapping[str, Claim]
    entries: Mapping[str, Entry]
    reference: Mapping[str, Any] | None
    gates: Mapping[str, Gate] = field(default_factory=dict)
    passages: Mapping[str, Passage] = field(default_factory=dict)

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
                result = record_verdict(claim, self.reference, self.gates)
                old = is_first_edition(self.reference)
                recorded = verdict_html(claim, result, self.reference["profile"], old)
            rows.append((claim.claim, measured, control, criterion(claim), run, recorded))
        return rows

    def __repr__(self) -> str:
        plain = [
            (*cells, html.unescape(re.sub(r"<[^>]*>", " ", recorded)).replace("  ", " ").strip())
            for *cells, recorded in self.rows()
        ]
        gates = [f"gate {passage!r}" for passage in self.passages.values()]
        return "\n\n".join([*gates, *(
            "\n".join((f"{name}: {row[0]}", *(f"  {cell}" for cell in row[1:] if cell != "–")))
            for name, row in zip(self.claims, plain, strict=True)
        )])

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
        return self._gates_html() + (
            f'<div role="region" aria-label="{caption}" tabindex="0" style="overflow-x:auto">'
            '<table style="font-size:.8em">'
            f'<caption style="text-align:left;caption-side:top">{caption}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        )

    def _gates_html(self) -> str:
        """A line a gate: its question, what this run measured, and whether it held."""
        lines = []
        for one in self.passages.values():
            held = badge("gate held" if one.gate.holds(one.value) else "gate did not hold")
            words = f"{one.gate.question} {one.gate.metric}: {format_number(one.value, one.gate.unit)}, {one.words}."
            lines.append(f"<li>{held} {html.escape(words)}</li>")
        return f'<ul style="list-style:none;padding-left:0">{"".join(lines)}</ul>' if lines else ""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        data = {name: entry.data() for name, entry in {**self.entries, **self.passages}.items()}
        return {"text/plain": repr(self), "text/html": self._repr_html_(), MIME: data}
