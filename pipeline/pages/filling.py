"""The marks that prose pages and chapters hold, and what takes their place.

``<!-- generated: ledger -->`` becomes a whole block, and ``{claim}`07-some-claim` `` what was recorded of that claim,
so that prose never types a number.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pipeline import UserError
from pipeline.errata.page import deviations, slips
from pipeline.pages.cards import data_cards
from pipeline.pages.context import Context, claim_role
from pipeline.pages.front import strip
from pipeline.pages.ledger_page import gates, ledger_pages
from pipeline.pages.runs import status
from pipeline.pages.verdicts import verdicts


def fill(text: str, context: Context) -> str:
    """``text`` with its marks replaced. Raises UserError for a mark that does not exist."""

    def block(match: re.Match) -> str:
        if match[1] not in GENERATED:
            raise UserError(f"no generated part {match[1]!r}; there are: {', '.join(GENERATED)}")
        return GENERATED[match[1]](context)

    text = re.sub(r"<!-- generated: ([\w-]+) -->", block, text)
    return re.sub(r"\{claim\}`([^`:]*):?([^`]*)`", lambda match: claim_role(match[1], match[2], context), text)


GENERATED: dict[str, Callable[[Context], str]] = {
    "strip": strip,
    "verdicts": verdicts,
    "ledger": ledger_pages,
    "gates": gates,
    "status": status,
    "deviations": deviations,
    "slips": slips,
    "data-cards": data_cards,
}
