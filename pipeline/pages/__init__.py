"""The parts of pages that are computed: verdicts, records, this run, deviations, data cards."""

from pipeline.errata.page import deviations, slips
from pipeline.pages.cards import data_cards
from pipeline.pages.context import Context, number
from pipeline.pages.filling import GENERATED, fill
from pipeline.pages.runs import cover_player, status, withheld
from pipeline.pages.verdicts import forest, ledger_pages, opening, verdicts

__all__ = [
    "GENERATED",
    "Context",
    "cover_player",
    "data_cards",
    "deviations",
    "fill",
    "forest",
    "ledger_pages",
    "number",
    "opening",
    "slips",
    "status",
    "verdicts",
    "withheld",
]
