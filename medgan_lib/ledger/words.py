"""Numbers, criteria and verdicts in words, as pages show them."""

from __future__ import annotations

import html
import math

from medgan_lib.ledger.claims import Claim
from medgan_lib.ledger.verdicts import CONTRADICTED, NO_VERDICT, NOT_SUPPORTED, NOT_TESTABLE, SUPPORTED, Verdict

# The mark repeats in shape what the colour says; mid-tone colours are seen on light and dark pages.
_BADGES = {
    SUPPORTED: ("✓", "#1a9850"),
    NOT_SUPPORTED: ("○", "#b8860b"),
    CONTRADICTED: ("✗", "#d6404e"),
    NOT_TESTABLE: ("–", "#808080"),
    NO_VERDICT: ("…", "#808080"),
}


def format_number(value: float, unit: str = "", *, signed: bool = False) -> str:
    """``value`` with three significant digits (whole numbers in full) and its unit: "0.0123 mm"."""
    size = abs(value)
    if size < 1e6 and float(value).is_integer():
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
    factor = claim.effect == "ratio"
    inverse = factor and claim.kind == "less"
    number = _typeset(f"{1 / claim.smallest_effect:.3g}" if inverse else f"{claim.smallest_effect:g}")
    if factor:
        return f"at {'least' if claim.kind == 'greater' else 'most'} {number} times {claim.control}"
    amount = f"{number} {claim.unit}".strip()
    if claim.kind in ("at_least", "at_most"):
        return f"{claim.kind.replace('_', ' ')} {amount}"
    return f"at least {amount} {'more' if claim.kind == 'greater' else 'less'} than {claim.control}"


def effect_words(claim: Claim, result: Verdict) -> str:
    """Mean effect (value minus control, or value / control), interval and number of seeds, in words."""
    if result.effect is None:
        return result.reason
    text = effect_text(claim, result.effect, claim.unit)
    if result.low is not None and result.high is not None:
        ends = sorted((_natural(claim, result.low), _natural(claim, result.high)))
        text += f" (95 % interval {' to '.join(_signed(claim, end) for end in ends)})"
    planned = f" of {claim.seeds} planned" if result.n < claim.seeds else ""
    return f"{text}, {result.n}{planned} seed{'' if result.n == 1 and not planned else 's'}"


def _natural(claim: Claim, effect: float) -> float:
    """The oriented effect as readers expect it: value − control, value / control."""
    if claim.kind != "less":
        return effect
    return 1 / effect if claim.effect == "ratio" else -effect


def _signed(claim: Claim, number: float, unit: str = "") -> str:
    if claim.effect == "ratio":
        return f"×{format_number(number)}"
    return format_number(number, unit, signed=claim.kind in ("greater", "less"))


def effect_text(claim: Claim, effect: float, unit: str) -> str:
    return _signed(claim, _natural(claim, effect), unit)


def badge(name: str) -> str:
    """A verdict as HTML: mark, words and border; the text keeps the page's own colour."""
    mark, colour = _BADGES[name]
    return (
        f'<span style="border:1px solid {colour};border-left-width:.4em;border-radius:.3em;'
        f'padding:.05em .4em;white-space:nowrap"><span aria-hidden="true">{mark} </span>'
        f"{html.escape(name)}</span>"
    )


def verdict_html(claim: Claim, result: Verdict, profile: str = "") -> str:
    """Badge, effect with interval, number of seeds and the profile that they were measured at, as HTML."""
    where = f"profile {profile}" if profile and result.n else ""
    words = "; ".join(part for part in (effect_words(claim, result), where) if part)
    return badge(result.verdict) + (f"<br>{html.escape(words)}" if words else "")
