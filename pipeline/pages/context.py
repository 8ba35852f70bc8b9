"""What the generated parts of pages are about: one build, its claims, records and runs; and single numbers of them."""

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
    """What the generated parts are about: the profile and seed of the build, and each chapter's run folder."""

    profile: str
    seed: int
    runs: dict[str, Path]
    root: Path

    @cached_property
    def claims(self) -> dict[str, Any]:
        return ledger.load_claims(self.root / "book" / "claims.yml")

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        return ledger.load_records(reference=self.root / "book" / "reference")

    def record(self, chapter: str) -> dict[str, Any] | None:
        """The record a chapter's page talks about: that of the build's profile, else of ``cpu``, else any."""
        found = {record["profile"]: record for record in self.records if record["chapter"] == chapter}
        return found.get(self.profile) or found.get("cpu") or next(iter(found.values()), None)

    def results(self, chapter: str) -> dict[str, Any] | None:
        folder = self.runs[chapter]
        return read_json(folder / "results.json") if (folder / "notebook.ipynb").exists() else None

    def title(self, chapter: str) -> str:
        notebook = nbformat.read(self.root / "notebooks" / f"{chapter}.ipynb", as_version=4)
        first = next((cell.source for cell in notebook.cells if cell.cell_type == "markdown"), "")
        match = re.search(r"^# (.+)$", first, re.MULTILINE)
        return match[1] if match else chapter

    def is_stale(self, record: dict[str, Any]) -> bool:
        """Whether the chapter's code, parameters or data changed since the record was made."""
        try:
            return record["fingerprint"] != record_fingerprint(record["chapter"], record["profile"])
        except (OSError, ValueError, SyntaxError):
            return True


def number(claim_id: str, what: str, context: Context) -> str:
    """Mean ``value`` or ``control``, ``effect`` with its interval, or ``verdict``, from the claim's record."""
    if claim_id not in context.claims:
        raise UserError(f"unknown claim {claim_id!r}; there are: {', '.join(context.claims)}")
    claim = context.claims[claim_id]
    record = context.record(claim.chapter)
    if record is None or (what != "verdict" and claim_id not in record["claims"]):
        return "(not recorded yet)"
    result = ledger.record_verdict(claim, record)
    if what == "verdict":
        return result.verdict
    if what == "effect":
        return ledger.effect_words(claim, result)
    if what not in ("value", "control"):
        raise UserError(f"{claim_id}:{what}: there are value, control, effect and verdict")
    row = next(row for row in ledger.summary(context.claims, record) if row.claim.id == claim_id)
    mean = getattr(row, what)
    return "(none)" if mean is None else ledger.format_number(mean, claim.unit)


STALE = '<span class="stale" title="The code, parameters or data changed since">stale</span>'
