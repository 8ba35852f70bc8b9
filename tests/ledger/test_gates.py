"""The file of gates, and what follows from one that did not hold."""

import pytest
from ledgers import CLAIMS, GATES, entries, record_of

from medgan_lib import ledger
from medgan_lib.ledger import Ledger

TRAINED = [0.1, 0.2, 0.1, 0.3, 0.1]


def judged(claims, gates, values):
    record = record_of(entries() | {"trained-enough": {"value": values, "control": None}})
    return ledger.record_verdict(claims["07-more-modes"], record, gates)


def test_an_untrained_generator_says_nothing_whatever_its_values(claims, gates):
    assert judged(claims, gates, TRAINED).verdict == ledger.SUPPORTED
    result = judged(claims, gates, [0.9, 1.0, 1.1, 0.4, 0.8])
    assert result.verdict == ledger.NOT_TESTABLE and result.effect is None
    assert "The samples are noise." in result.reason and "held in 1 of 5 seeds" in result.reason
    assert "0.900 (median), asked at most 0.5" in result.reason
    worst = record_of({**entries(), "trained-enough": {"value": [1.0] * 5}})
    worst["claims"]["07-more-modes"]["value"] = [-100.0] * 5
    assert ledger.record_verdict(claims["07-more-modes"], worst, gates).verdict == ledger.NOT_TESTABLE


def test_one_bad_start_in_five_leaves_the_verdict_and_its_values(claims, gates):
    whole, one_bad = judged(claims, gates, TRAINED), judged(claims, gates, [0.1, 0.9, 0.1, 0.3, 0.1])
    assert one_bad == whole, "no seed is dropped"
    assert judged(claims, gates, [0.1, 0.9, 0.9, 0.3, 0.1]).verdict == ledger.NOT_TESTABLE


def test_four_of_five_seeds_must_pass_all_gates_of_a_claim(book, gates):
    (book / "claims.yml").write_text(CLAIMS.replace("gate: trained-enough", "gate: [trained-enough, game-is-on]"))
    claim = ledger.load_claims(book / "claims.yml")["07-more-modes"]

    def judged(trained, game):
        record = record_of(entries() | {"trained-enough": {"value": trained}, "game-is-on": {"value": game}})
        return ledger.record_verdict(claim, record, gates)

    assert judged([0.1, 0.1, 0.1, 0.1, 0.9], [70, 70, 70, 70, 50]).verdict == ledger.SUPPORTED
    result = judged([0.1, 0.1, 0.1, 0.1, 0.9], [50, 70, 70, 70, 70])
    assert result.verdict == ledger.NOT_TESTABLE and "all its gates held in 3 of 5 seeds" in result.reason


def test_the_worst_network_passes_the_gate_or_none(book):
    run = Ledger("02_wasserstein", claims=book / "claims.yml")
    assert run.gate("trained-enough", 0.1, 0.9, 0.2).value == 0.9
    gates = ledger.load_gates(book / "gates.yml")
    assert gates["game-is-on"].worst([70, 50, 99]) == 50 and gates["game-is-on"].worst([70, 54, 99]) == 99
    with pytest.raises(ValueError, match="needs a value"):
        Ledger("02_wasserstein", claims=book / "claims.yml").gate("trained-enough")


def test_a_gate_that_was_not_measured_is_shut_but_for_the_first_edition(claims, gates):
    record = record_of({name: entry for name, entry in entries().items() if name != "trained-enough"})
    result = ledger.record_verdict(claims["07-more-modes"], record, gates)
    assert result.verdict == ledger.NOT_TESTABLE and "its gate was not measured" in result.reason
    del record["edition"]
    assert ledger.record_verdict(claims["07-more-modes"], record, gates).verdict == ledger.SUPPORTED


def test_between_takes_both_ends(gates):
    game = gates["game-is-on"]
    assert [game.holds(value) for value in (54.9, 55, 70, 95, 95.1)] == [False, True, True, True, False]
    assert ledger.gate_words(game) == "between 55 and 95 %"
    assert ledger.gate_words(gates["trained-enough"]) == "at most 0.5"


@pytest.mark.parametrize(("old", "new", "message"), [
    ("  at_most: 0.5", "  at_most: many", "at_most takes a finite number"),
    ("  at_most: 0.5", "  at_most: .inf", "at_most takes a finite number"),
    ("  at_most: 0.5\n", "", "exactly one of at_least, at_most, between"),
    ("  at_most: 0.5", "  at_most: 0.5\n  at_least: 0.1", "exactly one of"),
    ("[55, 95]", "[95, 55]", "the wrong way round"),
    ("[55, 95]", "55", "between takes two finite numbers"),
    ("  metric: accuracy of D\n", "", "metric is missing"),
    ("  question: Does D know some?", "  question:", "question is missing"),
    ("game-is-on:", "trained-enough:", "'trained-enough' appears twice"),
    ("game-is-on:", "07-game:", "a name begins with a letter"),
    ("  unit:", "  units:", "unknown field units"),
    ('  unit: "%"', "  unit: yes", "unit must be text"),
    ("[55, 95]", "[0x1F, 95]", "is no plain whole number"),
])
def test_a_bad_file_of_gates_is_refused_with_its_name(book, old, new, message):
    assert old in GATES
    path = book / "gates.yml"
    path.write_text(GATES.replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as error:
        ledger.load_gates(path)
    assert str(path) in str(error.value)


def test_a_gate_that_names_nothing_is_refused(book):
    path = book / "claims.yml"
    path.write_text(CLAIMS.replace("gate: trained-enough", "gate: [trained-enough, no-gate]"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"claim 07-more-modes: there is no gate 'no-gate'; gates\.yml has trained-en"):
        Ledger("02_wasserstein", claims=path)
    (book / "gates.yml").unlink()
    with pytest.raises(ValueError, match=r"no gate 'trained-enough', 'no-gate'; gates\.yml has none"):
        Ledger("02_wasserstein", claims=path)


def test_a_run_measures_its_gates_once(book):
    run = Ledger("02_wasserstein", claims=book / "claims.yml")
    with pytest.raises(ValueError, match="asks for a gate 'game-is-on'; they ask for trained-enough"):
        run.gate("game-is-on", 70)
    with pytest.raises(ValueError, match="trained-enough: the value is nan"):
        run.gate("trained-enough", float("nan"))
    assert "held (asked: at most 0.5)" in repr(run.gate("trained-enough", 0.3))
    with pytest.raises(ValueError, match="already has a value"):
        run.gate("trained-enough", 0.3)
    other = Ledger("02_wasserstein", claims=book / "claims.yml")
    other.record("07-more-modes", 8, 3)
    other.record("08-loss-tracks-quality", 0.8)
    with pytest.raises(ValueError, match=r"gate without a value .* at profile cpu: trained-enough"):
        other.show()


def test_the_book_has_no_claim_with_an_unknown_gate():
    ledger.check_gates(ledger.load_claims(), ledger.load_gates())
