"""The file of claims."""

import pytest
from ledgers import CLAIMS

from medgan_lib import ledger


def test_claims_are_read_in_order_with_defaults(claims):
    assert list(claims) == ["07-more-modes", "08-loss-tracks-quality", "09-scanners", "10-other-chapter"]
    modes = claims["07-more-modes"]
    assert (modes.effect, modes.scale, modes.profiles, modes.gate, modes.check) == (
        "difference", "mean", ("cpu", "full"), ("trained-enough",), False)
    assert [modes.protocol_at(name) for name in ledger.PROFILES] == ["simulated", "simulated", "public data"]
    assert claims["10-other-chapter"].protocol_at("full") == "simulated"
    assert claims["08-loss-tracks-quality"].unit == "" and claims["08-loss-tracks-quality"].control is None
    assert claims["09-scanners"].testable == "nobody lent us all scanners"


@pytest.mark.parametrize(("old", "new", "message"), [
    ("08-loss-tracks-quality:", "07-more-modes:", "'07-more-modes' appears twice"),
    ("  seeds: 5", "  seeds: 5\n  seeds: 6", "'seeds' appears twice"),
    ("  kind: less", "  kind: lesser", "kind 'lesser' is none of greater, less, at_least, at_most"),
    ("  kind: less", "  kidn: less", "unknown field kidn"),
    ("  kind: less\n", "", "missing field kind"),
    ("07-more-modes", "7-more-modes", "an id is"),
    ("07-more-modes", "07-More", "an id is"),
    ("  row: 7", "  row: 8", "row is 8, but the id begins with 07"),
    ("  place: Sec. 2.2", "  place: 2.2", "place must be text"),
    ("  place: Sec. 2.2\n", "", "missing field place"),
    ("  seeds: 5", "  seeds: 010", "line .*: 010 is no plain whole number; write it out"),
    ("  smallest_effect: 3", "  smallest_effect: 1:30", "1:30 is no plain whole number"),
    ("  smallest_effect: 3", "  smallest_effect: 1e-3", "must be a finite number; YAML wants 1.0e-3"),
    ("  smallest_effect: 3", "  smallest_effect: " + "9" * 400, "is no plain whole number"),
    ("  testable: true", '  testable: "true"', "testable is true, or the reason"),
    ("  unit: modes", "  unit: <b>", "unit must be one line without"),
    ("  metric: modes covered", '  metric: " "', "metric must be one line without blanks at its ends"),
    ("  metric: modes covered", "  metric: modes `covered`", "or backticks"),
    ("history: [The", "history: [{a: b}, The", "history must be a list of texts"),
    ("  profiles: [cpu]", "  profiles: [[cpu]]", "profiles must be a list"),
    ("  profiles: [cpu]", "  profiles: [cpu, cpu]", "profiles must be a list"),
    ("  profiles: [cpu]", "  profiles: [ci]", "profiles must be a list"),
    ("  gate: trained-enough", "  gate: trained-enough\n  check: true", "needs no gate"),
    ("  bound: 0.7", "  bound: 1.5", "bound must lie in -0.9999 to 0.9999, where a correlation does"),
    ("  effect: ratio", "  effect: quotient", "none of difference, ratio, ratio_of_means"),
    ("  source: review", "  source: hearsay", "source 'hearsay' is none of review, paper, ours"),
    ("  protocol: simulated\n", "", "missing field protocol"),
    ("  protocol: simulated", "  protocol: made up", "there are same data, public data, simulated"),
    ("{cpu: simulated, full: public data}", "{cpu: simulated}", "must name each of cpu, full, and no other"),
    ("  gate: trained-enough", "  gate: 3", "gate is the name of a gate, or a list"),
    ("  scale: correlation", "  scale: percent", "scale 'percent' is none of mean, correlation, share"),
    ("  effect: ratio", "  effect: ratio\n  scale: share", "scale share takes no ratio"),
    ("  bound: 0.7", "  bound: 0.7\n  margin: -1", "margin must not be below 0"),
    ("  bound: 0.7", "  smallest_effect: 0.7", "kind at_least takes no smallest_effect, but bound"),
    ("  smallest_effect: 3", "  bound: 3", "kind greater takes no bound, but smallest_effect"),
    ("  bound: 0.7\n", "", "kind at_least needs bound"),
    ("  chapter: 03_mode_collapse", "  chapter: mode collapse", "not a notebook's name"),
    ("  smallest_effect: 1.25", "  smallest_effect: 1", "a tie is none"),
    ("  smallest_effect: 3", "  smallest_effect: 0", "a tie is none"),
    ("  smallest_effect: 3", "  smallest_effect: .nan", "finite number"),
    ("  smallest_effect: 3", "  smallest_effect: true", "finite number"),
    ("  control: clipping\n", "", "needs a control"),
    ("  seeds: 5", "  seeds: 4", "at least 5"),
    ("  testable: true", "  testable: true\n  check: 1", "check is true or false"),
    ("  testable: true", "  testable: false", "testable is true, or the reason"),
    ("  profiles: [cpu]", "  profiles: [tpu]", "profiles must be a list out of cpu, full"),
    ("  profiles: [cpu]", "  profiles: [real]", "there is no profile 'real' any more: 'full' took its place"),
    ("  profiles: [cpu]", "  profiles: [cpu]\n  effect: ratio", "takes no ratio"),
    ("  seeds: 5", "  seeds: [", "not valid YAML"),
])
def test_a_bad_claims_file_is_refused_with_its_name(book, old, new, message):
    assert old in CLAIMS
    path = book / "claims.yml"
    path.write_text(CLAIMS.replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as error:
        ledger.load_claims(path)
    assert str(path) in str(error.value)


def test_a_claims_file_cannot_run_code(book):
    (book / "claims.yml").write_text("01-x: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ValueError, match="not valid YAML"):
        ledger.load_claims(book / "claims.yml")


def test_a_file_that_is_no_text_is_named(book):
    (book / "claims.yml").write_bytes(b"01-x: \xff\xfe")
    with pytest.raises(ValueError, match=r"claims.yml is no text in UTF-8"):
        ledger.load_claims(book / "claims.yml")
