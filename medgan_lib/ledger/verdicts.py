"""What measured values say about a claim: effects, their interval over seeds, the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from medgan_lib.ledger.claims import MINIMUM_SEEDS, Claim

SUPPORTED = "supported"
NOT_SUPPORTED = "not supported at this scale"
CONTRADICTED = "contradicted"
NOT_TESTABLE = "not testable here"
NO_VERDICT = "no verdict"


@dataclass(frozen=True)
class Verdict:
    """What the measured values say about one claim.

    ``effect``, ``low`` and ``high`` are the mean effect and its 95 % interval over ``n`` seeds, oriented as
    :func:`verdict` explains; None where they cannot be computed. ``reason`` goes with "not testable here".
    """

    verdict: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    reason: str = ""


def effects(claim: Claim, values: Iterable[Any], controls: Iterable[Any] | None = None) -> list[float]:
    """The effect seen with each seed: positive (a ratio: above 1) where the claim's direction holds.

    ``greater``: value − control, or value / control. ``less``: control − value, or control / value.
    ``at_least``, ``at_most``: the value itself.

    Raises:
        ValueError: a value that is not a finite number; controls missing, superfluous or of another number; a
            ratio with a value or control that is not positive.
    """
    values = [finite_number(claim.id, "value", value) for value in values]
    if (controls is None) != (claim.control is None):
        wanted = "takes no control" if claim.control is None else f"needs its control ({claim.control})"
        raise ValueError(f"claim {claim.id} {wanted}")
    if controls is not None:
        controls = [finite_number(claim.id, "control", control) for control in controls]
        if len(controls) != len(values):
            raise ValueError(f"claim {claim.id}: {len(values)} values but {len(controls)} controls")
    if claim.kind in ("at_least", "at_most"):
        return values
    pairs = [
        (v, c) if claim.kind == "greater" else (c, v) for v, c in zip(values, controls or (), strict=True)
    ]
    if claim.effect == "difference":
        return [a - b for a, b in pairs]
    if any(a <= 0 or b <= 0 for a, b in pairs):
        raise ValueError(f"claim {claim.id}: a ratio needs positive values and controls")
    return [a / b for a, b in pairs]


def verdict(claim: Claim, values: Iterable[Any], controls: Iterable[Any] | None = None) -> Verdict:
    """Judge a claim by its values, one per seed.

    A seed changes initialisation, sampling and mini-batches for the value and its control alike, so the two
    form a pair, and the effect is taken within each pair (:func:`effects`) before averaging. The interval is
    Student's t with n − 1 degrees of freedom on the effects, at 95 %, two-sided: if the true mean effect
    were exactly the smallest that counts, "supported" would come out wrongly in 2.5 % of experiments. Ratios
    are averaged on the log scale, where "twice" and "half" are equally far from "no change": the mean is
    geometric and the interval stays positive. The interval covers what a seed changes, not another data set,
    and claims are judged one by one with no correction for their number.

    - ``greater``, ``less``: supported if the whole interval is at or beyond ``smallest_effect``;
      contradicted if all of it lies on the wrong side of no effect (0, for a ratio 1).
    - ``at_least``, ``at_most``: supported if the whole interval keeps the bound; contradicted if all of it
      breaks the bound.
    - otherwise "not supported at this scale"; "no verdict" with fewer than 3 seeds.

    Counts (modes, passed checks) often agree in all seeds. The t interval is then the single point, and the
    point decides; that is right for a quantity no seed changes and optimistic for one whose rare failures
    were not seen, which only more seeds would show. Comparisons forgive rounding, one part in 10⁹.

    Args:
        claim: the criterion.
        values: one number per seed, in the claim's unit.
        controls: as many numbers, or None if the claim has no control.

    Raises:
        ValueError: see :func:`effects`.
    """
    if claim.testable is not True:
        return Verdict(NOT_TESTABLE, reason=str(claim.testable))
    each = effects(claim, values, controls)
    n = len(each)
    if n == 0:
        return Verdict(NO_VERDICT)
    ratio = claim.effect == "ratio"
    scale = [math.log(effect) for effect in each] if ratio else each
    mean = math.fsum(scale) / n
    if n < MINIMUM_SEEDS:
        return Verdict(NO_VERDICT, math.exp(mean) if ratio else mean, n=n)

    from scipy.special import stdtrit  # the quantile of Student's t

    spread = math.sqrt(math.fsum((effect - mean) ** 2 for effect in scale) / (n - 1))
    half = float(stdtrit(n - 1, 0.975)) * spread / math.sqrt(n)
    bound = math.log(claim.smallest_effect) if ratio else claim.smallest_effect
    tolerance = 1e-9 * max(abs(bound), *map(abs, scale))
    name = judge(claim.kind, mean - half, mean + half, bound, tolerance)
    summary = (mean, mean - half, mean + half)
    return Verdict(name, *(map(math.exp, summary) if ratio else summary), n=n)


def judge(kind: str, low: float, high: float, bound: float, tolerance: float) -> str:
    if kind == "at_most":
        kept, broken = high <= bound + tolerance, low > bound + tolerance
    else:
        kept = low >= bound - tolerance
        broken = high < (bound if kind == "at_least" else 0.0) - tolerance
    return SUPPORTED if kept else CONTRADICTED if broken else NOT_SUPPORTED


def finite_number(name: str, what: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"claim {name}: the {what} must be one number, not {value!r:.80}") from error
    if not math.isfinite(number):
        raise ValueError(f"claim {name}: the {what} is {number}; find out why before it is recorded")
    return number
