"""Numbers and criteria in words."""

import dataclasses

import pytest
from ledgers import criterion

from medgan_lib import ledger
from medgan_lib.ledger import verdict


@pytest.mark.parametrize(("number", "text"), [
    (0, "0"), (8, "8"), (1234, "1234"), (1234.5, "1234"), (0.123456, "0.123"), (12.345, "12.3"), (0.9996, "1.00"),
    (9.999, "10.0"), (-2.5, "−2.50"), (0.00123, "0.00123"), (0.0001234, "1.23×10⁻⁴"), (1.5e9, "1.50×10⁹"),
])
def test_numbers_have_three_significant_digits(number, text):
    assert ledger.format_number(number) == text
    assert ledger.format_number(number, "mm") == f"{text} mm"


@pytest.mark.parametrize(("number", "text", "difference"), [
    (0.553, "55 %", "+55 points"), (0.0123, "1.2 %", "+1.2 points"), (0.1, "10 %", "+10 points"),
    (1, "100 %", "+100 points"), (-0.05, "−5 %", "−5 points"), (0, "0 %", "0 points"),
])
def test_shares_are_read_as_percentages_and_their_differences_as_points(number, text, difference):
    assert ledger.format_number(number, "share") == text
    assert ledger.format_number(number, "share", signed=True) == difference


def test_criteria_of_shares():
    one = dataclasses.replace(criterion("at_least", 0.4), unit="share")
    other = dataclasses.replace(criterion("greater", 0.1), unit="share")
    assert ledger.criterion(one) == "at least 40 %"
    assert ledger.criterion(other) == "at least 10 points more than control"
    words = ledger.effect_words(other, verdict(other, [0.5, 0.6, 0.7, 0.6, 0.6], [0.3] * 5))
    assert words == "+30 points (95 % interval +21 to +39), 5 seeds"
    words = ledger.effect_words(one, verdict(one, [0.5, 0.6, 0.7, 0.6, 0.6]))
    assert words == "60 % (95 % interval 51 to 69), 5 seeds"


def test_criteria_in_words(claims):
    words = [ledger.criterion(claim) for claim in claims.values()]
    assert words == ["at least 3 modes more than clipping", "at least 0.7", "not testable here",
                     "at most 0.8 times plain GAN"]


def test_bounds_are_written_as_people_write_them():
    assert ledger.criterion(criterion("at_most", 1e-6)) == "at most 1×10⁻⁶ mm"
    assert ledger.criterion(criterion("at_least", -0.5)) == "at least −0.5 mm"
    assert ledger.criterion(criterion("less", 1.1, "ratio")) == "at most 0.909 times control"


def test_effects_read_as_value_against_control():
    less = criterion("less")
    assert ledger.effect_words(less, verdict(less, [1, 1, 1, 1, 1], [3, 3, 3, 3, 3])) == (
        "−2 mm (95 % interval −2 to −2), 5 seeds")
    ratio = criterion("less", 1.5, "ratio")
    words = ledger.effect_words(ratio, verdict(ratio, [4, 5, 6, 5, 5], [10] * 5))
    assert words.startswith("×0.496 (95 % interval ×0.4") and words.endswith("), 5 seeds")


@pytest.mark.parametrize("name", [*ledger.VERDICTS, ledger.NO_VERDICT, ledger.PASSED, ledger.FAILED, "first edition"])
def test_badges_say_the_verdict_in_words_on_the_pages_own_colours(name):
    shown = ledger.badge(name)
    assert name in shown
    assert "background" not in shown and "color:" not in shown.replace("border-color:", "")
