"""What measured values say about a claim: effects, their interval over seeds, the verdict.

Intervals fit the number (``Claim.scale``), so that none leaves its range:

- ``mean``: Student's t over seeds.
- a ``ratio``: t on the log scale, where "twice" and "half" are equally far from "no change". It is for numbers away
  from 0: the logarithm of what comes near 0 is mostly noise. A ``ratio_of_means`` has Fieller's interval, for these.
- ``correlation``: t on Fisher's z.
- ``share``, k of n in every run: Korn and Graubard's (1998) exact interval, in which n counts for less where seeds
  differ by more than chance.
- ``yes_no`` (0 or 1) and ``sign`` (-1 or 1), one in every run: Clopper and Pearson's exact interval.

A difference of two such bounded numbers has Newcombe's interval, made of those of both (Zou 2007). The promise of 95 %
is exact for numbers that spread like a Gaussian, and near it for others: lognormal ratios of means can do worse.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from medgan_lib.ledger.claims import BOUNDS, MINIMUM_SEEDS, Claim

SUPPORTED = "supported"
RIGHT_DIRECTION = "right direction"
UNDECIDED = "undecided"
CONTRADICTED = "contradicted"
NOT_TESTABLE = "not testable here"
VERDICTS = (SUPPORTED, RIGHT_DIRECTION, UNDECIDED, CONTRADICTED, NOT_TESTABLE)
# No verdicts: too few seeds for one, and what a check comes to.
NO_VERDICT = "no verdict"
PASSED = "check passed"
FAILED = "check failed"

LARGEST_CORRELATION = 0.9999  # Fisher's z of 1 is infinite
NEAR_ZERO = 10.0  # numbers that differ by more than this factor between seeds are no good for logarithms
LARGEST = 1e100  # squares of larger ones overflow
Interval = tuple[float, float, float]  # estimate, lower end, upper end


@dataclass(frozen=True)
class Verdict:
    """What the measured values say about one claim.

    ``effect``, ``low`` and ``high`` are the effect and its 95 % interval over ``n`` seeds, as :func:`effects` gives
    them; None where they cannot be computed. ``reason`` says why where numbers alone don't.
    """

    verdict: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    reason: str = ""


def effects(claim: Claim, values: Iterable[Any], controls: Iterable[Any] | None = None) -> list[float]:
    """The effect seen with each seed: value − control, or value / control; of a bound the value itself.

    Raises:
        ValueError: a value that is not a finite number, or outside the range of the claim's scale; controls missing,
            superfluous or of another number; a ratio with numbers that are not positive (of means, values may be 0).
    """
    values = [_scaled_number(claim, "value", value) for value in values]
    if (controls is None) != (claim.control is None):
        wanted = "takes no control" if claim.control is None else f"needs its control ({claim.control})"
        raise ValueError(f"claim {claim.id} {wanted}")
    if controls is None:
        return values
    controls = [_scaled_number(claim, "control", control) for control in controls]
    if len(controls) != len(values):
        raise ValueError(f"claim {claim.id}: {len(values)} values but {len(controls)} controls")
    if claim.kind in BOUNDS:
        return values
    pairs = list(zip(values, controls, strict=True))
    if claim.effect == "difference":
        return [value - control for value, control in pairs]
    zero = claim.effect == "ratio_of_means"
    if any(value < 0 or (value == 0 and not zero) or control <= 0 for value, control in pairs):
        hint = "" if zero else "; effect: ratio_of_means takes values that are 0"
        raise ValueError(f"claim {claim.id}: a ratio needs positive values and controls{hint}")
    return [value / control for value, control in pairs]


def verdict(
    claim: Claim,
    values: Iterable[Any],
    controls: Iterable[Any] | None = None,
    of: Sequence[int] | None = None,
) -> Verdict:
    """Judge a claim by its values, one per seed.

    A seed changes initialisation, sampling and mini-batches for the value and its control alike, so the two form a
    pair, and the effect is taken within each pair before averaging. The interval is two-sided, at 95 %: if the true
    effect were exactly the smallest that counts, "supported" would come out wrongly in 2.5 % of experiments. It covers
    what a seed changes, not another data set, and claims are judged one by one with no correction for their number.

    - supported: the whole interval is at or beyond the smallest effect that counts;
    - right direction: all of it is on the claim's side of no effect, but not beyond the smallest effect;
    - contradicted: all of it is on the wrong side of no effect;
    - undecided: it holds no effect.

    For a bound, the bound is the smallest effect, and what misses the bound by ``margin`` is no effect. With fewer than
    5 seeds there is no verdict. A check passes if every seed keeps its bound.

    Counts (modes, say) often agree in all seeds. The t interval is then the single point, and the point decides; that
    is right for a quantity no seed changes and optimistic for one whose rare failures were not seen, which only more
    seeds would show. Comparisons forgive rounding, one part in 10⁹.

    Args:
        claim: the criterion.
        values: one number per seed, in the claim's unit.
        controls: as many numbers, or None if the claim has no control.
        of: of a ``share``, how many trials each seed's value and control are a share of.

    Raises:
        ValueError: see :func:`effects`; a share without ``of``.
    """
    if claim.testable is not True:
        return Verdict(NOT_TESTABLE, reason=str(claim.testable))
    values = list(values)
    controls = None if controls is None else list(controls)
    each = effects(claim, values, controls)
    if not each:
        return Verdict(NO_VERDICT)
    if claim.check:
        kept = all(judge(claim, effect, effect) == SUPPORTED for effect in each)
        return Verdict(PASSED if kept else FAILED, math.fsum(each) / len(each), n=len(each))
    if len(each) < MINIMUM_SEEDS:
        return Verdict(NO_VERDICT, _center(claim, each), n=len(each))
    middle, low, high = _interval(claim, [float(v) for v in values], controls, each, of)
    if math.isinf(low) or math.isinf(high):
        return Verdict(UNDECIDED, middle, n=len(each), reason="the control may be 0, so the ratio may be anything")
    reason = ""
    if claim.effect == "ratio" and (_near_zero(values) or _near_zero(controls or ())):
        reason = "its numbers differ more than tenfold between seeds, where a ratio means little"
    return Verdict(judge(claim, low, high), middle, low, high, len(each), reason)


def judge(claim: Claim, low: float, high: float) -> str:
    """The verdict that an interval gives, whatever made it."""
    counts, nothing = thresholds(claim)
    if claim.kind in ("less", "at_most"):
        low, high, counts, nothing = -high, -low, -counts, -nothing
    # In units of the criterion alone: the far end of a wide interval must not forgive anything at the near one.
    tolerance = 1e-9 * max(abs(counts), abs(nothing))
    if low >= counts - tolerance:
        return SUPPORTED
    if high < nothing - tolerance:
        return CONTRADICTED
    return RIGHT_DIRECTION if low > nothing + tolerance else UNDECIDED


def thresholds(claim: Claim) -> tuple[float, float]:
    """The smallest effect that counts, and no effect, as :func:`effects` measures them."""
    if claim.kind in BOUNDS:
        return claim.bound, claim.bound - (claim.margin if claim.kind == "at_least" else -claim.margin)
    up = claim.kind == "greater"
    if claim.effect != "difference":
        return (claim.smallest_effect if up else 1 / claim.smallest_effect), 1.0
    return (claim.smallest_effect if up else -claim.smallest_effect), 0.0


def _center(claim: Claim, each: Sequence[float]) -> float:
    """The mean effect, geometric for ratios."""
    if claim.effect == "ratio":
        return math.exp(math.fsum(map(math.log, each)) / len(each))
    return math.fsum(each) / len(each)


def _interval(
    claim: Claim,
    values: list[float],
    controls: list[Any] | None,
    each: list[float],
    of: Sequence[int] | None,
) -> Interval:
    numbers = [float(control) for control in controls or ()]
    if claim.effect == "ratio_of_means":
        return fieller(values, numbers)
    if claim.effect == "ratio":
        return _transformed(each, math.log, math.exp)
    if claim.scale == "mean":
        return student(each)
    one = _bounded(claim, of)
    if claim.kind in BOUNDS:
        return one(values)
    return _difference(one(values), one(numbers), _covariance(values, numbers) < 0)


def _bounded(claim: Claim, of: Sequence[int] | None) -> Callable[[list[float]], Interval]:
    """The interval of a number whose range is limited."""
    match claim.scale:
        case "correlation":
            most = LARGEST_CORRELATION
            return lambda numbers: _transformed(
                [min(max(number, -most), most) for number in numbers], math.atanh, math.tanh
            )
        case "share":
            if of is None:
                raise ValueError(f"claim {claim.id}: a share needs the number that it is a share of: record(…, of=n)")
            if any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in of):
                raise ValueError(f"claim {claim.id}: a share is one of whole numbers of at least 1, not of {list(of)}")
            return lambda numbers: korn_graubard(numbers, of)
        case "yes_no":
            return lambda numbers: korn_graubard(numbers, [1] * len(numbers))
        case _:

            def sign(numbers: list[float]) -> Interval:
                share = korn_graubard([(number + 1) / 2 for number in numbers], [1] * len(numbers))
                return tuple(2 * number - 1 for number in share)

            return sign


def student(numbers: Sequence[float]) -> Interval:
    """Mean and Student's 95 % interval."""
    from scipy.special import stdtrit  # the quantile of Student's t

    n = len(numbers)
    mean = math.fsum(numbers) / n
    spread = math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / (n - 1))
    half = float(stdtrit(n - 1, 0.975)) * spread / math.sqrt(n)
    return mean, mean - half, mean + half


def _transformed(
    numbers: Sequence[float], there: Callable[[float], float], back: Callable[[float], float]
) -> Interval:
    return tuple(map(back, student([there(number) for number in numbers])))


def fieller(values: Sequence[float], controls: Sequence[float]) -> Interval:
    """The ratio of the means of pairs and its 95 % interval (Fieller 1954); infinite where the control may be 0.

    Both are numbers that are not negative, so neither is their ratio.
    """
    from scipy.special import stdtrit

    n = len(values)
    v, c = math.fsum(values) / n, math.fsum(controls) / n
    weight = float(stdtrit(n - 1, 0.975)) ** 2 / n / (n - 1)

    def spread(one: Sequence[float], a: float, other: Sequence[float], b: float) -> float:
        return weight * math.fsum((x - a) * (y - b) for x, y in zip(one, other, strict=True))

    a = c * c - spread(controls, c, controls, c)
    if a <= 0:
        return v / c, -math.inf, math.inf
    b = v * c - spread(values, v, controls, c)
    root = math.sqrt(max(0.0, b * b - a * (v * v - spread(values, v, values, v))))
    return v / c, max(0.0, (b - root) / a), (b + root) / a


def _near_zero(numbers: Sequence[Any]) -> bool:
    found = [float(number) for number in numbers]
    return bool(found) and min(found) <= max(found) / NEAR_ZERO


def korn_graubard(shares: Sequence[float], of: Sequence[int]) -> Interval:
    """A share pooled over seeds with Clopper and Pearson's 95 % interval of the effective number of trials.

    ``shares`` of each seed, and ``of`` how many trials. Where seeds differ by more than binomial chance, the trials of
    one seed repeat each other, and count for less (Korn and Graubard 1998). With one trial a seed this is Clopper and
    Pearson's interval.
    """
    from scipy.special import betaincinv, stdtrit

    m, n = len(shares), sum(of)
    k = math.fsum(share * number for share, number in zip(shares, of, strict=True))
    p = k / n
    if n > m and 0 < p < 1:
        between = math.fsum((number * (share - p)) ** 2 for share, number in zip(shares, of, strict=True))
        between *= m / (m - 1) / n**2
        fewer = p * (1 - p) / between if between > 0 else math.inf
        shrink = (float(stdtrit(n - 1, 0.975)) / float(stdtrit(m - 1, 0.975))) ** 2
        n = min(n, fewer * shrink)
        k = p * n
    low = 0.0 if k <= 0 else float(betaincinv(k, n - k + 1, 0.025))
    high = 1.0 if k >= n else float(betaincinv(k + 1, n - k, 0.975))
    return p, low, high


def _difference(value: Interval, control: Interval, opposed: bool) -> Interval:
    """Newcombe's interval of a difference, as if value and control were independent.

    Pairs that rise together make it too wide, which is safe. Where they are ``opposed``, the control falling as the
    value rises, the errors of both add up.
    """
    (v, v_low, v_high), (c, c_low, c_high) = value, control
    together = (lambda a, b: a + b) if opposed else math.hypot
    return v - c, v - c - together(v - v_low, c_high - c), v - c + together(v_high - v, c - c_low)


def _covariance(values: Sequence[float], controls: Sequence[float]) -> float:
    v, c = math.fsum(values) / len(values), math.fsum(controls) / len(controls)
    return math.fsum((a - v) * (b - c) for a, b in zip(values, controls, strict=True))


_RANGES = {"correlation": (-1.0, 1.0), "share": (0.0, 1.0), "yes_no": (0.0, 1.0), "sign": (-1.0, 1.0)}


def _scaled_number(claim: Claim, what: str, value: Any) -> float:
    number = finite_number(claim.id, what, value)
    low, high = _RANGES.get(claim.scale, (-math.inf, math.inf))
    slack = 1e-6  # a correlation in float32 may be 1.0000001
    if not low - slack <= number <= high + slack:
        raise ValueError(f"claim {claim.id}: the {what} is {number}, but a {claim.scale} lies in {low:g} to {high:g}")
    if claim.scale in ("yes_no", "sign") and number not in (low, high):
        raise ValueError(f"claim {claim.id}: the {what} is {number}, but must be {low:g} or {high:g}")
    return min(max(number, low), high)


def finite_number(name: str, what: str, value: Any) -> float:
    try:
        number = float("text" if isinstance(value, str) else value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"claim {name}: the {what} must be one number, not {value!r:.80}") from error
    if math.isfinite(number) and abs(number) > LARGEST:
        raise ValueError(f"claim {name}: the {what} is {number:g}, too large for any unit; find out why")
    if not math.isfinite(number):
        raise ValueError(f"claim {name}: the {what} is {number}; find out why before it is recorded")
    return number
