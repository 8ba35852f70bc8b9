"""Numbers, criteria and verdicts in words, as pages show them."""

from __future__ import annotations

import html
import math

from medgan_lib.ledger.claims import BOUNDS, COMPARISONS, Claim
from medgan_lib.ledger.gates import Gate
from medgan_lib.ledger.verdicts import (
    CONTRADICTED,
    FAILED,
    NO_VERDICT,
    NOT_TESTABLE,
    PASSED,
    RIGHT_DIRECTION,
    SUPPORTED,
    UNDECIDED,
    Verdict,
)

# The mark repeats in shape what the colour says; mid-tone colours are seen on light and dark pages.
BADGES = {
    SUPPORTED: ("✓", "#1a9850"),
    RIGHT_DIRECTION: ("↗", "#3b8ec2"),
    UNDECIDED: ("○", "#b8860b"),
    CONTRADICTED: ("✗", "#d6404e"),
    NOT_TESTABLE: ("–", "#808080"),
    NO_VERDICT: ("…", "#808080"),
    PASSED: ("✓", "#808080"),
    FAILED: ("✗", "#d6404e"),
}
FIRST_EDITION = "first edition"


SHARE = "share"


def format_number(value: float, unit: str = "", *, signed: bool = False) -> str:
    """``value`` with three significant digits (whole numbers in full) and its unit: "0.0123 mm".

    The unit "share" is for numbers from 0 to 1 that are read as a percentage: 0.553 becomes "55 %", and a difference
    (``signed``) of 0.05 "+5 points".
    """
    size = abs(value)
    if unit == SHARE:
        text, unit = f"{100 * size:.{int(0 < size < 0.0995)}f}".removesuffix(".0"), "points" if signed else "%"
    elif size < 1e6 and float(value).is_integer():
        text = f"{size:.0f}"
    elif 1e-3 <= size < 1e6:
        text = f"{size:.{max(0, 2 - math.floor(math.log10(float(f'{size:.2e}'))))}f}"
    else:
        text = _typeset(f"{size:.2e}")
    sign = "−" if value < 0 else "+" if signed and value > 0 else ""
    return f"{sign}{text} {unit}".strip()


def _typeset(number: str) -> str:
    """A formatted number with a true minus and a power of ten: "1.23e-05" becomes "1.23×10⁻⁵"."""
    mantissa, _, exponent = number.partition("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")) if exponent else ""
    return mantissa.replace("-", "−") + (f"×10{raised}" if raised else "")


def criterion(claim: Claim) -> str:
    """What must be seen for the claim to hold, in words: "at least 3 modes more than clipping"."""
    if claim.testable is not True:
        return NOT_TESTABLE
    if claim.kind in BOUNDS:
        return f"{claim.kind.replace('_', ' ')} {_amount(claim.bound, claim.unit)}"
    if claim.effect != "difference":
        inverse = claim.kind == "less"
        number = _typeset(f"{1 / claim.smallest_effect:.3g}" if inverse else f"{claim.smallest_effect:g}")
        return f"at {'most' if inverse else 'least'} {number} times {claim.control}"
    amount = _amount(claim.smallest_effect, claim.unit)
    if claim.unit == SHARE:  # of differences a percentage could be one of the control
        amount = amount.replace("%", "points")
    return f"at least {amount} {'more' if claim.kind == 'greater' else 'less'} than {claim.control}"


def _amount(asked: float, unit: str) -> str:
    """A number of a criterion, as it was set down."""
    return f"{100 * asked:g} %" if unit == SHARE else f"{_typeset(f'{asked:g}')} {unit}".strip()


def gate_words(gate: Gate) -> str:
    """What a gate asks for, in words: "at least 0.9"."""
    if math.isinf(gate.high):
        return f"at least {_typeset(f'{gate.low:g}')} {gate.unit}".strip()
    if math.isinf(gate.low):
        return f"at most {_typeset(f'{gate.high:g}')} {gate.unit}".strip()
    return f"between {_typeset(f'{gate.low:g}')} and {_typeset(f'{gate.high:g}')} {gate.unit}".strip()


def effect_words(claim: Claim, result: Verdict) -> str:
    """Mean effect (value − control, or value / control), interval and number of seeds, in words."""
    if result.effect is None:
        return result.reason
    text = effect_text(claim, result.effect, claim.unit)
    if result.low is not None:
        text += f" ({interval_words(claim, result)})"
    planned = f" of {claim.seeds} planned" if result.n < claim.seeds else ""
    text += f", {result.n}{planned} seed{'' if result.n == 1 and not planned else 's'}"
    return f"{text}; {result.reason}" if result.reason else text


def interval_words(claim: Claim, result: Verdict) -> str:
    """The interval over seeds, in words; "" where there is none."""
    if result.low is None or result.high is None:
        return ""
    unit = SHARE if claim.unit == SHARE else ""  # the effect has the unit; percent is a way of writing
    ends = (_signed(claim, end, unit) for end in (result.low, result.high))
    low, high = (text.removesuffix(" points").removesuffix(" %") for text in ends)
    return f"95 % interval {low} to {high}"


def _signed(claim: Claim, number: float, unit: str = "") -> str:
    if claim.effect != "difference":
        return f"×{format_number(number)}"
    return format_number(number, unit, signed=claim.kind in COMPARISONS)


def effect_text(claim: Claim, effect: float, unit: str) -> str:
    return _signed(claim, effect, unit)


def badge(name: str) -> str:
    """A verdict as HTML: mark, words and border; the text keeps the page's own colour."""
    mark, colour = BADGES.get(name, ("", "#808080"))
    sign = f'<span aria-hidden="true">{mark} </span>' if mark else ""
    return (
        f'<span style="border:1px solid {colour};border-left-width:.4em;border-radius:.3em;'
        f'padding:.05em .4em;white-space:nowrap">{sign}{html.escape(name)}</span>'
    )


def verdict_html(claim: Claim, result: Verdict, profile: str = "", first_edition: bool = False) -> str:
    """Badge, effect with interval, number of seeds and the profile that they were measured at, as HTML."""
    where = f"profile {profile}" if profile and result.n else ""
    words = "; ".join(part for part in (effect_words(claim, result), where) if part)
    marks = badge(result.verdict) + (f" {badge(FIRST_EDITION)}" if first_edition else "")
    return marks + (f"<br>{html.escape(words)}" if words else "")
