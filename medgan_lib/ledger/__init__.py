"""What follows from a measurement: claims, verdicts, records.

``claims.yml`` says, before anything is measured, what each claim of the review amounts to: a figure of
merit, a control, a direction and the smallest effect that counts. A chapter records one value (and one
control) per claim and run; the pipeline gathers the runs of several seeds in a record; a verdict is computed
from a record whenever it is shown, and never typed.
"""

from medgan_lib.ledger.claims import EFFECTS, KINDS, PROFILES, Claim, load_claims
from medgan_lib.ledger.records import (
    MIME,
    Row,
    check_entries,
    entries_from_notebook,
    gather,
    load_record,
    load_records,
    record_verdict,
    summary,
    write_record,
)
from medgan_lib.ledger.verdicts import (
    CONTRADICTED,
    MINIMUM_SEEDS,
    NO_VERDICT,
    NOT_SUPPORTED,
    NOT_TESTABLE,
    SUPPORTED,
    Verdict,
    effects,
    verdict,
)
from medgan_lib.ledger.view import Entry, Ledger, LedgerView
from medgan_lib.ledger.words import badge, criterion, effect_words, format_number, verdict_html

__all__ = [
    "CONTRADICTED",
    "EFFECTS",
    "KINDS",
    "MIME",
    "MINIMUM_SEEDS",
    "NOT_SUPPORTED",
    "NOT_TESTABLE",
    "NO_VERDICT",
    "PROFILES",
    "SUPPORTED",
    "Claim",
    "Entry",
    "Ledger",
    "LedgerView",
    "Row",
    "Verdict",
    "badge",
    "check_entries",
    "criterion",
    "effect_words",
    "effects",
    "entries_from_notebook",
    "format_number",
    "gather",
    "load_claims",
    "load_record",
    "load_records",
    "record_verdict",
    "summary",
    "verdict",
    "verdict_html",
    "write_record",
]
