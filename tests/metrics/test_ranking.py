"""Area under the ROC curve against its definition, and intervals against experiments that can be repeated."""

import math

import pytest
import torch

from medgan_lib.metrics import ranking


def scores(n=60, seed=0, ties=True):
    draw = torch.Generator().manual_seed(seed)
    positive = torch.rand(n, generator=draw) < 0.4
    score = torch.randn(n, generator=draw) + 0.8 * positive
    return (score * 4).round() / 4 if ties else score, positive


def check_pairs():
    for seed in range(5):
        score, positive = scores(seed=seed)
        won = [
            1.0 if a > b else 0.5 if a == b else 0.0
            for a in score[positive].tolist()
            for b in score[~positive].tolist()
        ]
        assert math.isclose(ranking.auc(score, positive), sum(won) / len(won), rel_tol=1e-12)
        assert math.isclose(ranking.auc(-score, positive), 1 - ranking.auc(score, positive), rel_tol=1e-12)


def check_value():
    score, positive = scores()
    assert math.isclose(ranking.auc_interval(score, positive).value, ranking.auc(score, positive), rel_tol=1e-12)


def check_curve():
    score, positive = scores()
    false, true = ranking.roc_curve(score, positive)
    assert math.isclose(torch.trapezoid(true, false).item(), ranking.auc(score, positive), rel_tol=1e-12)
    thresholds = [math.inf, *sorted(set(score.tolist()), reverse=True)]
    for found, part in ((false, score[~positive]), (true, score[positive])):
        wanted = [(part >= threshold).double().mean().item() for threshold in thresholds]
        torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64))


def check_copies():
    """Four copies of every item that are known as one subject's are worth no more than the item."""
    score, positive = scores()
    once = ranking.auc_interval(score, positive)
    four = ranking.auc_interval(score.repeat(4), positive.repeat(4), torch.arange(60).repeat(4))
    assert all(math.isclose(a, b, rel_tol=1e-9) for a, b in zip(once, four, strict=True))
    alone = ranking.auc_interval(score.repeat(4), positive.repeat(4))
    assert 1.7 < (once.high - once.low) / (alone.high - alone.low) < 2.3  # one over the root of four


def check_coverage():
    """95 % of the intervals hold the true area, also where all the images of a subject share an offset."""
    held = []
    true = 0.5 * (1 + math.erf(1.0 / math.sqrt(2 * (1 + 0.25)) / math.sqrt(2)))  # two normals of variance 1.25, apart 1
    for trial in range(200):
        draw = torch.Generator().manual_seed(trial)
        ill = torch.arange(60) < 30
        offset = torch.randn(60, generator=draw)
        score = (offset + 1.0 * ill)[:, None] + 0.5 * torch.randn(60, 4, generator=draw)
        subjects = torch.arange(60)[:, None].expand(60, 4).flatten()
        found = ranking.auc_interval(score.flatten(), ill.repeat_interleave(4), subjects, draws=300, seed=trial)
        held.append(found.low <= true <= found.high)
    assert 0.90 <= sum(held) / len(held) <= 0.985


CHECKS = {
    "pairs": check_pairs,
    "value": check_value,
    "curve": check_curve,
    "copies": check_copies,
    "coverage": check_coverage,
}


@pytest.mark.parametrize("check", CHECKS)
def test_it_is_what_it_says(check):
    CHECKS[check]()


def ties_won(above, below):
    return (above[:, None] >= below).double()


def turned(above, below):
    return (above[:, None] < below).double() + 0.5 * (above[:, None] == below).double()


real_parts, real_interval = ranking._parts, ranking.auc_interval


def swapped(score, positive):
    return real_parts(-score, positive)


def by_image(score, positive, subjects=None, **options):
    return real_interval(score, positive, None, **options)


def halved(score, positive, subjects=None, **options):
    value, low, high = real_interval(score, positive, subjects, **options)
    return ranking.AUC(value, (value + low) / 2, (value + high) / 2)


MUTANTS = {
    "a tie is won": ("_ahead", ties_won, ("value",)),
    "turned round": ("_ahead", turned, ("value",)),
    "higher is negative": ("_parts", swapped, ("pairs", "curve")),
    "images for subjects": ("auc_interval", by_image, ("copies", "coverage")),
    "half the interval": ("auc_interval", halved, ("coverage",)),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_are_rejected(mutant, monkeypatch):
    name, code, checks = MUTANTS[mutant]
    monkeypatch.setattr(ranking, name, code)
    for check in checks:
        with pytest.raises(AssertionError):
            CHECKS[check]()


def test_subjects_that_have_both_kinds_and_the_same_seed():
    score, positive = scores(n=120, ties=False)
    subjects = torch.arange(120) % 20
    found = ranking.auc_interval(score, positive, subjects)
    assert found == ranking.auc_interval(score, positive, subjects)
    assert found != ranking.auc_interval(score, positive, subjects, seed=1)
    assert 0 < found.low < found.value < found.high < 1
    single = ranking.auc_interval(score, positive, torch.zeros(120, dtype=torch.int64))  # one subject: nothing to draw
    assert single.low == pytest.approx(single.value) == pytest.approx(single.high)
    assert str(ranking.AUC(0.5, 0.25, 0.75)) == "0.500 [0.250, 0.750]"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": torch.full((4,), torch.nan)}, "4 of 4 scores are not finite"),
        ({"positive": torch.ones(4, dtype=torch.bool)}, "4 positive and 0 negative items"),
        ({"positive": torch.tensor([0, 1, 0, 1])}, "expected scores"),
        ({"score": torch.zeros(3)}, "expected scores"),
        ({"subjects": torch.arange(3)}, "3 subjects for 4 items"),
    ],
)
def test_impossible_input_says_so(change, message):
    positive = torch.tensor([True, False, True, False])
    with pytest.raises(ValueError, match=message):
        ranking.auc_interval(**({"score": torch.arange(4.0), "positive": positive} | change))
