"""The parts of pages that are computed: verdicts, records, this run, deviations, data cards."""

from pipeline.errata.page import deviations, slips
from pipeline.pages.cards import data_cards
from pipeline.pages.context import Context, claim_role, number
from pipeline.pages.filling import GENERATED, fill
from pipeline.pages.front import highlight_problems, strip
from pipeline.pages.full_scale import add_full_scale
from pipeline.pages.ledger_page import ledger_pages
from pipeline.pages.recorded import add_recorded
from pipeline.pages.runs import status, withheld
from pipeline.pages.verdicts import at_a_glance, forest, opening, tally, verdicts

__all__ = [
    "GENERATED",
    "Context",
    "add_full_scale",
    "add_recorded",
    "at_a_glance",
    "claim_role",
    "data_cards",
    "deviations",
    "fill",
    "forest",
    "highlight_problems",
    "ledger_pages",
    "number",
    "opening",
    "slips",
    "status",
    "strip",
    "tally",
    "verdicts",
    "withheld",
]
