"""Effects, intervals and verdicts."""

import math

import numpy as np
import pytest
from ledgers import T2, criterion

from medgan_lib import ledger
from medgan_lib.ledger import verdict


def test_the_interval_is_students_on_paired_differences():
    # differences 1, 2, 3: mean 2, standard error 1/sqrt(3), t with 2 degrees of freedom
    result = verdict(criterion("greater"), [11, 22, 33], [10, 20, 30])
    half = T2 / math.sqrt(3)
    assert (result.effect, result.low, result.high, result.n) == pytest.approx((2, 2 - half, 2 + half, 3), rel=1e-12)


def test_a_ratio_is_averaged_on_the_log_scale():
    result = verdict(criterion("greater", 1.5, "ratio"), [2, 4, 8], [1, 1, 1])
    assert result.effect == pytest.approx(4)
    assert result.low * result.high == pytest.approx(16)  # symmetric on the log scale
    assert result.high / result.effect == pytest.approx(math.exp(T2 * math.log(2) / math.sqrt(3)))
    swapped = verdict(criterion("less", 1.5, "ratio"), [1, 1, 1], [2, 4, 8])
    assert (swapped.effect, swapped.low, swapped.high) == (result.effect, result.low, result.high)


NOISE = [-0.1, 0.0, 0.1, 0.05, -0.05]


@pytest.mark.parametrize(("kind", "effect", "smallest", "centre", "expected"), [
    ("greater", "difference", 1.0, 2.0, ledger.SUPPORTED),
    ("greater", "difference", 1.0, 1.0, ledger.NOT_SUPPORTED),  # about the smallest effect: half the interval below
    ("greater", "difference", 1.0, 0.5, ledger.NOT_SUPPORTED),  # real but too small
    ("greater", "difference", 1.0, 0.0, ledger.NOT_SUPPORTED),
    ("greater", "difference", 1.0, -0.5, ledger.CONTRADICTED),
    ("less", "difference", 1.0, -2.0, ledger.SUPPORTED),
    ("less", "difference", 1.0, 0.5, ledger.CONTRADICTED),
    ("greater", "ratio", 1.2, 5.0, ledger.SUPPORTED),  # 15/10
    ("greater", "ratio", 1.2, 1.0, ledger.NOT_SUPPORTED),  # 11/10
    ("greater", "ratio", 1.2, -1.0, ledger.CONTRADICTED),  # 9/10
    ("less", "ratio", 1.2, -5.0, ledger.SUPPORTED),  # 5/10
    ("at_least", "difference", 10.0, 1.0, ledger.SUPPORTED),  # 11 and the bound 10
    ("at_least", "difference", 10.0, 0.0, ledger.NOT_SUPPORTED),
    ("at_least", "difference", 10.0, -1.0, ledger.CONTRADICTED),
    ("at_most", "difference", 10.0, -1.0, ledger.SUPPORTED),
    ("at_most", "difference", 10.0, 0.0, ledger.NOT_SUPPORTED),
    ("at_most", "difference", 10.0, 1.0, ledger.CONTRADICTED),
])
def test_verdicts(kind, effect, smallest, centre, expected):
    claim = criterion(kind, smallest, effect)
    values = [10 + centre + noise for noise in NOISE]
    assert verdict(claim, values, [10.0] * 5 if claim.control else None).verdict == expected


@pytest.mark.parametrize("kind", ["greater", "less"])
def test_without_variance_the_point_decides(kind):
    sign = 1 if kind == "greater" else -1
    claim = criterion(kind, 0.2)
    # 0.3 − 0.1 is a hair below 0.2 in floating point and must still count
    assert verdict(claim, [sign * 0.3] * 5, [sign * 0.1] * 5).verdict == ledger.SUPPORTED
    assert verdict(claim, [0.1] * 5, [0.1] * 5).verdict == ledger.NOT_SUPPORTED  # a tie contradicts nothing
    assert verdict(claim, [sign * -0.1] * 5, [0.0] * 5).verdict == ledger.CONTRADICTED
    result = verdict(claim, [sign * 3] * 4, [0] * 4)
    assert (result.low, result.high) == (3, 3)


def test_few_seeds_give_no_verdict_but_the_effect():
    result = verdict(criterion("greater"), [5, 6], [1, 1])
    assert (result.verdict, result.effect, result.low, result.n) == (ledger.NO_VERDICT, 4.5, None, 2)
    assert "2 of 5 planned seeds" in ledger.effect_words(criterion("greater"), result)
    assert verdict(criterion("at_least"), []).verdict == ledger.NO_VERDICT


@pytest.mark.parametrize(("claim", "values", "controls", "message"), [
    (criterion("greater"), [1, math.nan, 2], [0, 0, 0], "01-x: the value is nan"),
    (criterion("greater"), [1, 1, 2], [0, math.inf, 0], "01-x: the control is inf"),
    (criterion("greater"), [1, 1, 2], [0, 0], "3 values but 2 controls"),
    (criterion("greater"), [1, 1, 2], None, r"needs its control \(control\)"),
    (criterion("at_least"), [1, 1, 2], [1, 1, 1], "takes no control"),
    (criterion("greater", 2.0, "ratio"), [1, 0, 2], [1, 1, 1], "positive"),
    (criterion("less", 2.0, "ratio"), [1, 1, 2], [1, -1, 1], "positive"),
    (criterion("at_least"), [[1, 2]], None, "must be one number"),
    (criterion("at_least"), ["many"], None, "must be one number"),
])
def test_bad_values_are_refused(claim, values, controls, message):
    with pytest.raises(ValueError, match=message):
        verdict(claim, values, controls)


def test_wrong_support_is_as_rare_as_promised():
    """With the true effect exactly the smallest that counts, 2.5 % of experiments support the claim."""
    draws = np.random.default_rng(0).normal(1.0, 1.0, size=(4000, 5))
    claim = criterion("greater", 1.0)
    wrong = sum(verdict(claim, row, np.zeros(5)).verdict == ledger.SUPPORTED for row in draws)
    assert 0.018 < wrong / 4000 < 0.033  # three standard errors
