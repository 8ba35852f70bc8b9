"""Effects, intervals and verdicts."""

import math

import numpy as np
import pytest
from ledgers import T4, criterion
from scipy import stats

from medgan_lib import ledger
from medgan_lib.ledger import verdict
from medgan_lib.ledger.verdicts import fieller, korn_graubard


def test_the_interval_is_students_on_paired_differences():
    # differences 1 … 5: mean 3, standard deviation √2.5, standard error √0.5
    result = verdict(criterion("greater"), [11, 22, 33, 44, 55], [10, 20, 30, 40, 50])
    half = T4 * math.sqrt(0.5)
    assert (result.effect, result.low, result.high, result.n) == pytest.approx((3, 3 - half, 3 + half, 5), rel=1e-12)


def test_a_ratio_is_averaged_on_the_log_scale():
    result = verdict(criterion("greater", 1.5, "ratio"), [2, 2, 4, 8, 8], [1] * 5)
    assert result.effect == pytest.approx(4)
    assert result.low * result.high == pytest.approx(16)  # symmetric on the log scale
    swapped = verdict(criterion("less", 1.5, "ratio"), [1] * 5, [2, 2, 4, 8, 8])
    assert (1 / swapped.effect, 1 / swapped.high, 1 / swapped.low) == pytest.approx(
        (result.effect, result.low, result.high))
    assert swapped.verdict == result.verdict == ledger.SUPPORTED


NOISE = [-0.1, 0.0, 0.1, 0.05, -0.05]


@pytest.mark.parametrize(("kind", "effect", "smallest", "centre", "expected"), [
    ("greater", "difference", 1.0, 2.0, ledger.SUPPORTED),
    ("greater", "difference", 1.0, 1.0, ledger.RIGHT_DIRECTION),  # about the smallest effect: half the interval below
    ("greater", "difference", 1.0, 0.5, ledger.RIGHT_DIRECTION),  # real but smaller than asked
    ("greater", "difference", 1.0, 0.0, ledger.UNDECIDED),
    ("greater", "difference", 1.0, -0.5, ledger.CONTRADICTED),
    ("less", "difference", 1.0, -2.0, ledger.SUPPORTED),
    ("less", "difference", 1.0, -0.5, ledger.RIGHT_DIRECTION),
    ("less", "difference", 1.0, 0.05, ledger.UNDECIDED),
    ("less", "difference", 1.0, 0.5, ledger.CONTRADICTED),
    ("greater", "ratio", 1.2, 5.0, ledger.SUPPORTED),  # 15/10
    ("greater", "ratio", 1.2, 1.0, ledger.RIGHT_DIRECTION),  # 11/10
    ("greater", "ratio", 1.2, 0.0, ledger.UNDECIDED),
    ("greater", "ratio", 1.2, -1.0, ledger.CONTRADICTED),  # 9/10
    ("less", "ratio", 1.2, -5.0, ledger.SUPPORTED),  # 5/10
    ("less", "ratio", 1.2, -1.0, ledger.RIGHT_DIRECTION),  # 9/10
    ("less", "ratio", 1.2, 1.0, ledger.CONTRADICTED),
    ("at_least", "difference", 10.0, 1.0, ledger.SUPPORTED),  # 11, the bound 10, what misses it by up to 1 is nearly it
    ("at_least", "difference", 10.0, 0.0, ledger.RIGHT_DIRECTION),
    ("at_least", "difference", 10.0, -0.5, ledger.RIGHT_DIRECTION),
    ("at_least", "difference", 10.0, -1.0, ledger.UNDECIDED),
    ("at_least", "difference", 10.0, -1.5, ledger.CONTRADICTED),
    ("at_most", "difference", 10.0, -1.0, ledger.SUPPORTED),
    ("at_most", "difference", 10.0, 0.5, ledger.RIGHT_DIRECTION),
    ("at_most", "difference", 10.0, 1.0, ledger.UNDECIDED),
    ("at_most", "difference", 10.0, 1.5, ledger.CONTRADICTED),
])
def test_verdicts(kind, effect, smallest, centre, expected):
    claim = criterion(kind, smallest, effect, margin=1.0)
    values = [10 + centre + noise for noise in NOISE]
    assert verdict(claim, values, [10.0] * 5 if claim.control else None).verdict == expected


@pytest.mark.parametrize(("kind", "sign"), [("at_least", 1), ("at_most", -1)])
def test_a_bound_without_margin_is_kept_missed_or_open(kind, sign):
    claim = criterion(kind, 10.0)
    found = [verdict(claim, [10 + sign * centre + noise for noise in NOISE]).verdict for centre in (1, 0, -1)]
    assert found == [ledger.SUPPORTED, ledger.UNDECIDED, ledger.CONTRADICTED]


@pytest.mark.parametrize("kind", ["greater", "less"])
def test_without_variance_the_point_decides(kind):
    sign = 1 if kind == "greater" else -1
    claim = criterion(kind, 0.2)
    # 0.3 − 0.1 is a hair below 0.2 in floating point and must still count
    assert verdict(claim, [sign * 0.3] * 5, [sign * 0.1] * 5).verdict == ledger.SUPPORTED
    assert verdict(claim, [0.1] * 5, [0.1] * 5).verdict == ledger.UNDECIDED  # a tie contradicts nothing
    assert verdict(claim, [sign * 0.1] * 5, [0.0] * 5).verdict == ledger.RIGHT_DIRECTION
    assert verdict(claim, [sign * -0.1] * 5, [0.0] * 5).verdict == ledger.CONTRADICTED
    result = verdict(claim, [sign * 3] * 5, [0] * 5)
    assert (result.low, result.high) == (sign * 3, sign * 3)


def test_four_seeds_give_no_verdict_but_the_effect():
    result = verdict(criterion("greater"), [5, 6, 5, 6], [1, 1, 1, 1])
    assert (result.verdict, result.effect, result.low, result.n) == (ledger.NO_VERDICT, 4.5, None, 4)
    assert "4 of 5 planned seeds" in ledger.effect_words(criterion("greater"), result)
    assert verdict(criterion("at_least"), []).verdict == ledger.NO_VERDICT


# --- intervals that stay where the numbers are ------------------------------------------------------------------------


def test_a_correlation_has_fishers_interval():
    r = [0.9, 0.95, 0.8, 0.97, 0.85]
    result = verdict(criterion("at_least", 0.5, scale="correlation"), r)
    z = np.arctanh(r)
    half = T4 * z.std(ddof=1) / math.sqrt(5)
    assert (result.low, result.high) == pytest.approx((math.tanh(z.mean() - half), math.tanh(z.mean() + half)))
    assert result.effect == pytest.approx(math.tanh(z.mean()))


@pytest.mark.parametrize("values", [[1, 1, 1, 1, -1], [1, 1, 1, 1, 1], [-1, 1, -1, 1, 0.2], [0.99, 1, 0.98, 1, 0.9]])
def test_correlations_keep_their_range_whatever_they_are(values):
    result = verdict(criterion("at_least", 0.95, scale="correlation"), values)
    assert -1 <= result.low <= result.effect <= result.high <= 1
    student = verdict(criterion("at_least", 0.95), values)
    assert min(values) == 1 or student.high > result.high or student.low < -1


def test_a_correlation_that_turns_over_is_undecided_about_its_sign():
    turned = verdict(criterion("greater", 0.5, scale="correlation"), [1, 1, 1, -1, 1], [0.0] * 5)
    assert turned.verdict == ledger.UNDECIDED and -2 <= turned.low < 0 < turned.high <= 2


@pytest.mark.parametrize(("scale", "held", "missed"), [("yes_no", 1, 0), ("sign", 1, -1)])
def test_one_answer_a_run_has_clopper_and_pearsons_interval(scale, held, missed):
    for k in range(6):
        result = verdict(criterion("at_least", 0.5, scale=scale), [held] * k + [missed] * (5 - k))
        exact = stats.binomtest(k, 5).proportion_ci(0.95, method="exact")
        spread = held - missed
        assert (result.low, result.high) == pytest.approx((missed + spread * exact.low, missed + spread * exact.high))
    half = (held + missed) / 2
    found = [verdict(criterion("at_least", half, scale=scale), [held] * n).verdict for n in (5, 6)]
    assert found == [ledger.UNDECIDED, ledger.SUPPORTED], "five of five say at least 48 %, six of six at least 54 %"


def test_k_of_n_has_an_exact_interval_where_seeds_agree():
    # 18 of 20 in every seed: 90 of 100
    result = verdict(criterion("at_least", 0.7, scale="share"), [0.9] * 5, of=[20] * 5)
    exact = stats.binomtest(90, 100).proportion_ci(0.95, method="exact")
    assert (result.low, result.high) == pytest.approx((exact.low, exact.high))
    assert result.verdict == ledger.SUPPORTED
    low, high = korn_graubard([1.0] * 5, [20] * 5)[1:]
    assert high == 1.0 and low == pytest.approx(0.025 ** (1 / 100))
    assert korn_graubard([0.0] * 5, [20] * 5)[1:] == pytest.approx((0.0, 1 - 0.025 ** (1 / 100)))


def test_k_of_n_is_less_certain_where_seeds_differ():
    alike = korn_graubard([0.5] * 5, [1000] * 5)
    apart = korn_graubard([0.1, 0.9, 0.2, 0.8, 0.5], [1000] * 5)
    assert alike[2] - alike[1] < 0.03 and apart[2] - apart[1] > 0.5
    assert 0 <= apart[1] < 0.5 < apart[2] <= 1


def test_k_of_n_covers_the_truth_as_often_as_it_says():
    draw = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        shares = draw.binomial(40, np.clip(draw.normal(0.8, 0.05, 5), 0, 1)) / 40
        _, low, high = korn_graubard(list(shares), [40] * 5)
        inside += low <= 0.8 <= high
    assert inside / 2000 > 0.94


def test_a_difference_of_shares_stays_inside_minus_one_and_one():
    result = verdict(criterion("greater", 0.2, scale="share"), [1.0] * 5, [0.0] * 5, of=[4] * 5)
    assert result.low < result.effect == 1.0 == result.high and result.low > 0.7
    # Newcombe (1998), method 10 for 56/70 against 48/80 has Wilson's intervals; with exact ones a little wider
    result = verdict(criterion("greater", 0.01, scale="share"), [0.8] * 5, [0.6] * 5, of=[14] * 5)
    assert result.low == pytest.approx(0.04, abs=0.03) and result.high == pytest.approx(0.35, abs=0.03)


def test_a_difference_of_opposed_shares_covers_the_truth():
    """Where the control falls as the value rises, their errors add up; independence would miss 10 to 14 %."""
    draw = np.random.default_rng(2)
    claim, missed = criterion("greater", 0.1, scale="share"), 0
    for _ in range(1500):
        shares = draw.binomial(50, np.clip(draw.normal(0.6, 0.1, 5), 0, 1)) / 50
        result = verdict(claim, shares, 1 - shares, of=[50] * 5)
        missed += not result.low <= 0.2 <= result.high
    assert missed / 1500 < 0.05


def test_a_ratio_of_numbers_near_zero_has_fiellers_interval():
    values, controls = [2e-4, 6e-3, 1e-5, 2e-3, 9e-4], [0.35, 0.4, 0.33, 0.38, 0.36]
    claim = criterion("less", 1.5, "ratio_of_means")
    result = verdict(claim, values, controls)
    assert result.verdict == ledger.SUPPORTED and 0 <= result.low < result.effect < result.high < 0.03
    assert verdict(claim, [0.0] * 5, controls).verdict == ledger.SUPPORTED
    more = criterion("greater", 1.5, "ratio_of_means")
    unsure = verdict(more, [1.0] * 5, [0.001, 2.0, 0.002, 0.001, 1.0])
    assert unsure.verdict == ledger.UNDECIDED and unsure.low is None and "may be 0" in unsure.reason
    logs = verdict(criterion("less", 1.5, "ratio"), values, controls)
    assert "more than tenfold between seeds" in logs.reason and result.reason == ""


def test_the_far_end_of_a_wide_interval_forgives_nothing_at_the_near_one():
    wide = [0.05, 1, 1, 0.3245946990784331, 0.3245946990784331]
    result = verdict(criterion("greater", 1.25, "ratio_of_means"), [1.0] * 5, wide)
    assert result.low < 1 < 1e6 < result.high and result.verdict == ledger.UNDECIDED


def test_fiellers_interval_covers_the_truth_as_often_as_it_says():
    draw = np.random.default_rng(1)
    pairs = draw.normal([3.0, 2.0], [0.6, 0.3], size=(4000, 5, 2))
    ends = [fieller(list(pair[:, 0]), list(pair[:, 1])) for pair in pairs]
    inside = np.mean([low <= 1.5 <= high for _, low, high in ends])
    assert 0.94 < inside < 0.96


def test_wrong_support_is_as_rare_as_promised():
    """With the true effect exactly the smallest that counts, 2.5 % of experiments support the claim."""
    draws = np.random.default_rng(0).normal(1.0, 1.0, size=(4000, 5))
    claim = criterion("greater", 1.0)
    wrong = sum(verdict(claim, row, np.zeros(5)).verdict == ledger.SUPPORTED for row in draws)
    assert 0.018 < wrong / 4000 < 0.033  # three standard errors


# --- checks and bad values --------------------------------------------------------------------------------------------


def test_a_check_passes_if_every_seed_keeps_it_and_is_no_verdict():
    check = criterion("at_most", 1e-6, check=True)
    assert verdict(check, [1e-7] * 5).verdict == ledger.PASSED
    assert verdict(check, [1e-7, 1e-7, 2e-6, 1e-7, 1e-7]).verdict == ledger.FAILED, "the mean would hide one"
    assert verdict(check, [1e-7]).verdict == ledger.PASSED, "one seed shows what is true by construction"
    assert not {ledger.PASSED, ledger.FAILED} & set(ledger.VERDICTS) and len(ledger.VERDICTS) == 5


@pytest.mark.parametrize(("claim", "values", "controls", "message"), [
    (criterion("greater"), [1, math.nan, 2], [0, 0, 0], "01-x: the value is nan"),
    (criterion("greater"), [1, 1, 2], [0, math.inf, 0], "01-x: the control is inf"),
    (criterion("greater"), [1, 1, 2], [0, 0], "3 values but 2 controls"),
    (criterion("greater"), [1, 1, 2], None, r"needs its control \(control\)"),
    (criterion("at_least"), [1, 1, 2], [1, 1, 1], "takes no control"),
    (criterion("greater", 2.0, "ratio"), [1, 0, 2], [1, 1, 1], "ratio_of_means takes values that are 0"),
    (criterion("greater", 2.0, "ratio_of_means"), [1, -1, 2], [1, 1, 1], "positive values and controls"),
    (criterion("less", 2.0, "ratio_of_means"), [1, 1, 2], [1, 0, 1], "positive values and controls"),
    (criterion("at_least"), ["0.9"] * 5, None, "must be one number, not '0.9'"),
    (criterion("at_least"), [1e200] * 5, None, "too large for any unit"),
    (criterion("at_least"), [[1, 2]], None, "must be one number"),
    (criterion("at_least"), ["many"], None, "must be one number"),
    (criterion("at_least", scale="correlation"), [1.2], None, "is 1.2, but a correlation lies in -1 to 1"),
    (criterion("at_least", scale="share"), [-0.1], None, "a share lies in 0 to 1"),
    (criterion("at_least", scale="yes_no"), [0.5], None, "must be 0 or 1"),
    (criterion("at_least", scale="sign"), [0.0], None, "must be -1 or 1"),
    (criterion("at_least", scale="share"), [0.5] * 5, None, r"record\(…, of=n\)"),
])
def test_bad_values_are_refused(claim, values, controls, message):
    with pytest.raises(ValueError, match=message):
        verdict(claim, values, controls)


@pytest.mark.parametrize("of", [[0] * 5, [-3] * 5, [2.5] * 5, [True] * 5])
def test_a_share_of_nothing_is_refused(of):
    with pytest.raises(ValueError, match="a share is one of whole numbers of at least 1"):
        verdict(criterion("at_least", scale="share"), [1.0] * 5, of=of)
