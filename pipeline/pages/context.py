"""What the generated parts of pages are about: one build, its claims, records, runs; and what prose says of a claim."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nbformat

from medgan_lib import ledger
from pipeline import UserError, read_json
from pipeline.fingerprint import record_fingerprint


@dataclass(frozen=True)
class Context:
    """What the generated parts are about: the profile and seed of the build, and each chapter's run folder.

    Recorded pictures that a page shows are copied to ``static``, the book's folder of files that stay as they are.
    """

    profile: str
    seed: int
    runs: dict[str, Path]
    root: Path
    static: Path | None = None

    @cached_property
    def claims(self) -> dict[str, Any]:
        return ledger.load_claims(self.root / "book" / "claims.yml")

    @cached_property
    def gates(self) -> dict[str, Any]:
        gates = ledger.gates_beside(self.root / "book" / "claims.yml")
        ledger.check_gates(self.claims, gates)
        return gates

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        return ledger.load_records(reference=self.root / "book" / "reference")

    def record(self, chapter: str) -> dict[str, Any] | None:
        """The record a chapter's page talks about: that of the build's profile, else of ``cpu``, else any."""
        found = {record["profile"]: record for record in self.records if record["chapter"] == chapter}
        return found.get(self.profile) or found.get("cpu") or next(iter(found.values()), None)

    def record_of(self, claim: Any) -> dict[str, Any] | None:
        """As `record`, of the profiles at which the claim is measured; where there is none, any of the chapter."""
        found = [record for record in self.records
                 if record["chapter"] == claim.chapter and claim.expected_at(record["profile"])]
        order = {self.profile: 0, "cpu": 1}
        return min(found, key=lambda record: order.get(record["profile"], 2), default=self.record(claim.chapter))

    def claims_of(self, chapter: str) -> list[Any]:
        return [claim for claim in self.claims.values() if claim.chapter == chapter]

    def verdict(self, claim: Any, record: dict[str, Any]) -> Any:
        return ledger.record_verdict(claim, record, self.gates)

    def row(self, claim: Any, record: dict[str, Any]) -> Any:
        return ledger.summary({claim.id: claim}, record, claim.chapter, self.gates)[0]

    def is_first_edition(self, chapter: str) -> bool:
        """Whether the chapter still waits to be rebuilt: what it measured is shown, and in no tally."""
        metadata = self.notebook(chapter).metadata
        return metadata.get("edition", 1) < ledger.EDITION

    def results(self, chapter: str) -> dict[str, Any] | None:
        folder = self.runs[chapter]
        return read_json(folder / "results.json") if (folder / "notebook.ipynb").exists() else None

    @cached_property
    def _notebooks(self) -> dict[str, Any]:
        return {}

    def notebook(self, chapter: str) -> Any:
        """The chapter's source."""
        if chapter not in self._notebooks:
            self._notebooks[chapter] = nbformat.read(self.root / "notebooks" / f"{chapter}.ipynb", as_version=4)
        return self._notebooks[chapter]

    def title(self, chapter: str) -> str:
        """"23. Few labels": the title in the chapter's source, after the number of its file."""
        cells = self.notebook(chapter).cells
        first = next((cell.source for cell in cells if cell.cell_type == "markdown"), "")
        match = re.search(r"^# (.+)$", first, re.MULTILINE)
        return f"{number(chapter)}. {match[1] if match else chapter}"

    def is_stale(self, record: dict[str, Any]) -> bool:
        """Whether the chapter's code, parameters or data changed since the record was made."""
        try:
            return record["fingerprint"] != record_fingerprint(record["chapter"], record["profile"])
        except (OSError, ValueError, SyntaxError):
            return True


def number(chapter: str) -> int:
    """The number in the name of a chapter's file: 23 stays 23 while others before it are missing."""
    return int(chapter[:2])


NOT_RECORDED = "not recorded yet"
PARTS = ("value", "control", "effect", "verdict")


def claim_role(claim_id: str, part: str, context: Context) -> str:
    """What ``{claim}`id` `` shows: value, control, unit, seeds and verdict, as a link to the claim in the ledger.

    With a ``part``, as in ``{claim}`id:value` ``, only that: mean value or control, effect with its interval, verdict.
    UserError for a claim or a part that does not exist.
    """
    if claim_id not in context.claims:
        raise UserError(f"{{claim}}`{claim_id}`: there is no such claim. {_similar(claim_id, context)}")
    if part and part not in PARTS:
        raise UserError(f"{{claim}}`{claim_id}:{part}`: there are {', '.join(PARTS)}")
    claim = context.claims[claim_id]
    record = context.record_of(claim)
    measured = record is not None and claim_id in record["claims"]
    old = f", {ledger.FIRST_EDITION}" if measured and ledger.is_first_edition(record) else ""
    if part == "verdict":
        return context.verdict(claim, record).verdict + old if record else NOT_RECORDED
    if not measured:
        said = context.verdict(claim, record).verdict if record else NOT_RECORDED
        return said if part else f"{{ref}}`{said} <claim-{claim_id}>`"
    row = context.row(claim, record)
    if part == "effect":
        return ledger.effect_words(claim, row.verdict) + old
    if part:
        mean = getattr(row, part)
        return "(none)" if mean is None else ledger.format_number(mean, claim.unit)
    return f"{{ref}}`{claim_words(claim, row, record)} <claim-{claim_id}>`"


def claim_words(claim: Any, row: Any, record: dict[str, Any]) -> str:
    """"107 against 128 HU, 5 seeds: supported"; what the first edition measured says so."""
    seeds = len(record["seeds"])
    old = f", {ledger.FIRST_EDITION}" if ledger.is_first_edition(record) else ""
    numbers = value_words(claim, row)
    return f"{numbers}, {seeds} seed{'s' * (seeds != 1)}: {row.verdict.verdict}{old}"


def value_words(claim: Any, row: Any) -> str:
    """"107 against 128 HU": the mean value, beside the control where there is one, and the unit once."""
    if row.control is None:
        return ledger.format_number(row.value, claim.unit)
    unit = claim.unit if claim.unit == "share" else ""  # a unit stands once, but a percentage is a way of writing
    return f"{ledger.format_number(row.value, unit)} against {ledger.format_number(row.control, claim.unit)}"


def _similar(claim_id: str, context: Context) -> str:
    import difflib

    near = difflib.get_close_matches(claim_id, context.claims, n=3, cutoff=0.5)
    return f"Did you mean {', '.join(near)}?" if near else "They are in book/claims.yml"


STALE = '<span class="stale" title="The code, parameters or data changed since">stale</span>'
