"""The file of claims."""

import pytest
from ledgers import CLAIMS

from medgan_lib import ledger


def test_claims_are_read_in_order_with_defaults(claims):
    assert list(claims) == ["07-more-modes", "08-loss-tracks-quality", "09-scanners", "10-other-chapter"]
    assert claims["07-more-modes"].effect == "difference" and claims["07-more-modes"].profiles == ("cpu", "real", "gpu")
    assert claims["08-loss-tracks-quality"].unit == "" and claims["08-loss-tracks-quality"].control is None
    assert claims["09-scanners"].testable == "nobody lent us all scanners"


@pytest.mark.parametrize(("old", "new", "message"), [
    ("08-loss-tracks-quality:", "07-more-modes:", "'07-more-modes' appears twice"),
    ("  seeds: 3", "  seeds: 3\n  seeds: 5", "'seeds' appears twice"),
    ("  kind: less", "  kind: lesser", "kind 'lesser' is none of greater, less, at_least, at_most"),
    ("  kind: less", "  kidn: less", "unknown field kidn"),
    ("  kind: less\n", "", "missing field kind"),
    ("07-more-modes", "7-more-modes", "an id is"),
    ("07-more-modes", "07-More", "an id is"),
    ("  row: 7", "  row: 8", "row is 8, but the id begins with 07"),
    ('  section: "2.2"', "  section: 2.2", "section must be text"),
    ("  chapter: 03_mode_collapse", "  chapter: mode collapse", "not a notebook's name"),
    ("  smallest_effect: 1.25", "  smallest_effect: 1", "a tie is none"),
    ("  smallest_effect: 3", "  smallest_effect: 0", "a tie is none"),
    ("  smallest_effect: 3", "  smallest_effect: .nan", "finite number"),
    ("  smallest_effect: 3", "  smallest_effect: true", "finite number"),
    ("  control: clipping\n", "", "needs a control"),
    ("  seeds: 3", "  seeds: 2", "at least 3"),
    ("  testable: true", "  testable: false", "testable is true, or the reason"),
    ("  profiles: [cpu]", "  profiles: [tpu]", "profiles must be a list out of ci, cpu, real, gpu"),
    ("  profiles: [cpu]", "  profiles: [cpu]\n  effect: ratio", "takes no ratio"),
    ("  seeds: 3", "  seeds: [", "not valid YAML"),
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
