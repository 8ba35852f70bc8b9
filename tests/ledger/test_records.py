"""Records of several seeds."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from ledgers import CLAIMS, entries, record_of

from medgan_lib import ledger


def test_runs_are_gathered_by_claim():
    runs = [{"b": {"value": 1.0, "control": 2.0}, "a": {"value": 3.0, "control": None}},
            {"a": {"value": 4.0, "control": None}, "b": {"value": 5.0, "control": 6.0}}]
    assert ledger.gather(runs) == {"a": {"value": [3.0, 4.0], "control": None},
                                   "b": {"value": [1.0, 5.0], "control": [2.0, 6.0]}}
    del runs[1]["a"]
    with pytest.raises(ValueError, match="claim a has no value in run 2 of 2"):
        ledger.gather(runs)
    runs[1] = {"a": {"value": 1.0, "control": 1.0}, "b": {"value": 5.0, "control": 6.0}}
    with pytest.raises(ValueError, match="claim a has a control in some runs only"):
        ledger.gather(runs)


def test_a_record_comes_back_as_written_with_its_verdicts(book, claims, gates):
    path = book / "reference" / "cpu" / "02_wasserstein.json"
    ledger.write_record(path, record_of(entries(), parameters={"lr": np.float32(0.5)}), claims, gates)
    record = ledger.load_record("cpu", "02_wasserstein", book / "reference")
    assert record["parameters"] == {"lr": 0.5} and record["seconds"] == [1.5] * 5
    assert record["claims"]["07-more-modes"] == entries()["07-more-modes"] | {"verdict": "supported"}
    assert [r["chapter"] for r in ledger.load_records(reference=book / "reference")] == ["02_wasserstein"]
    assert record["claims"]["trained-enough"] == entries()["trained-enough"] | {"verdict": "held"}
    assert record["edition"] == 2, "what else a record has is kept"
    assert ledger.load_records("full", book / "reference") == []
    assert ledger.load_record("full", "02_wasserstein", book / "reference") is None
    for former in ("real", "gpu"):
        with pytest.raises(ValueError, match=f"there is no profile '{former}' any more: 'full' took its place"):
            ledger.load_record(former, "02_wasserstein", book / "reference")
    assert [p.name for p in path.parent.iterdir()] == ["02_wasserstein.json"]


@pytest.mark.parametrize(("change", "message"), [
    (lambda r: r["claims"].pop("07-more-modes"), "claim without a value .*: 07-more-modes"),
    (lambda r: r["claims"].pop("trained-enough"), "gate without a value .*: trained-enough"),
    (lambda r: r["claims"]["trained-enough"]["value"].pop(), "trained-enough has 4 values for 5 seeds"),
    (lambda r: r["claims"].update({"07-typo": {"value": [1.0] * 5}}), "value without a claim .*: 07-typo"),
    (lambda r: r["claims"].update({"10-other-chapter": {"value": [1.0] * 5}}), "value without a claim .*: 10-other"),
    (lambda r: r["claims"].update({"09-scanners": {"value": [1.0] * 5}}), "not testable: 09-scanners"),
    (lambda r: r["claims"]["07-more-modes"]["value"].pop(), "07-more-modes has 4 values for 5 seeds"),
    (lambda r: r["claims"]["07-more-modes"]["control"].append(1.0), "07-more-modes has 6 controls for 5 seeds"),
    (lambda r: r["claims"]["07-more-modes"].update(control=None), "07-more-modes needs its control"),
    (lambda r: r["claims"]["07-more-modes"].update(value=3.0), "07-more-modes has no list of values"),
    (lambda r: r["claims"]["08-loss-tracks-quality"]["value"].__setitem__(2, math.nan), "08-loss.* value is nan"),
    (lambda r: r.update(seeds=[0, 1, 2, 3, 3]), "different from one another"),
    (lambda r: r.update(seconds=[1.0]), "5 seeds but 1 values of seconds"),
    (lambda r: r.update(profile="tpu"), "unknown profile 'tpu'"),
    (lambda r: r.update(profile=["cpu"]), "profile must be text"),
    (lambda r: r.update(edition="2"), "edition must be a number, not '2'"),
    (lambda r: r.update(seeds=5), "seeds must be a list of whole numbers, not 5"),
    (lambda r: r.update(seeds="01234"), "seeds must be a list of whole numbers"),
    (lambda r: r.update(seconds=None), "seconds must be a list"),
    (lambda r: r.update(claims=[]), "claims must be a JSON object"),
    (lambda r: r["claims"].update({"07-more-modes": None}), "claim 07-more-modes must be a JSON object"),
    (lambda r: r["claims"]["trained-enough"].update(value=["0.1"] * 5), "trained-enough: the value must be one number"),
    (lambda r: r.pop("environment"), "missing environment"),
])
def test_a_bad_record_is_refused_and_the_old_one_stays(book, claims, gates, change, message):
    path = book / "reference" / "cpu" / "02_wasserstein.json"
    ledger.write_record(path, record_of(entries()), claims, gates)
    before = path.read_bytes()
    record = record_of(entries())
    change(record)
    with pytest.raises(ValueError, match=message):
        ledger.write_record(path, record, claims, gates)
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


def test_a_failed_write_leaves_the_old_record_and_no_debris(book, claims, gates, monkeypatch):
    path = book / "reference" / "cpu" / "02_wasserstein.json"
    ledger.write_record(path, record_of(entries()), claims, gates)
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        ledger.write_record(path, record_of(entries(3), seeds=3), claims, gates)
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


def test_a_damaged_or_moved_record_is_named(book, claims, gates):
    path = book / "reference" / "cpu" / "02_wasserstein.json"
    ledger.write_record(path, record_of(entries()), claims, gates)
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(ValueError, match=r"02_wasserstein.json is damaged .*record it again"):
        ledger.load_record("cpu", "02_wasserstein", book / "reference")
    path.write_text(text.replace('"profile": "cpu"', '"profile": "full"'), encoding="utf-8")
    with pytest.raises(ValueError, match="is the record of 02_wasserstein at full"):
        ledger.load_record("cpu", "02_wasserstein", book / "reference")


def test_summary_recomputes_and_shows_a_moved_criterion(book, claims, gates):
    path = book / "reference" / "cpu" / "02_wasserstein.json"
    ledger.write_record(path, record_of(entries()), claims, gates)
    record = json.loads(path.read_text(encoding="utf-8"))
    rows = ledger.summary(claims, record, gates=gates)
    assert [row.claim.id for row in rows] == ["07-more-modes", "08-loss-tracks-quality", "09-scanners"]
    assert [row.verdict.verdict for row in rows] == ["supported", "supported", "not testable here"]
    assert (rows[0].value, rows[0].control, rows[0].stored) == (pytest.approx(7.6), pytest.approx(3), "supported")
    (book / "claims.yml").write_text(CLAIMS.replace("smallest_effect: 3", "smallest_effect: 6"), encoding="utf-8")
    row = ledger.summary(ledger.load_claims(book / "claims.yml"), record, gates=gates)[0]
    assert (row.verdict.verdict, row.stored) == (ledger.RIGHT_DIRECTION, "supported")
    del record["edition"]
    assert ledger.summary(claims, record, gates=gates)[0].stored is None, "the first edition had other verdicts"


def test_summary_without_a_record_has_every_claim(claims):
    assert [row.verdict.verdict for row in ledger.summary(claims, None)] == [
        "no verdict", "no verdict", "not testable here", "no verdict"]
    assert [row.claim.id for row in ledger.summary(claims, None, "03_mode_collapse")] == ["10-other-chapter"]


def test_a_claim_outside_its_profiles_is_not_judged(claims):
    record = record_of({"07-more-modes": entries()["07-more-modes"]}, profile="full")
    result = ledger.record_verdict(claims["08-loss-tracks-quality"], record)
    assert (result.verdict, result.reason) == (ledger.NOT_TESTABLE, "tested at profile cpu")


def test_the_ledger_is_light_to_import():
    code = "import sys, medgan_lib.ledger; print({'torch', 'scipy', 'yaml', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_records_of_the_first_edition_are_found_and_told_from_others(book, claims, gates):
    path = book / "reference" / "first_edition" / "02_wasserstein.json"
    path.parent.mkdir(parents=True)
    old = {key: value for key, value in record_of(entries(), profile="real").items() if key != "edition"}
    path.write_text(json.dumps(old), encoding="utf-8")
    found = ledger.load_first_edition("02_wasserstein", book / "reference")
    assert found == old and ledger.is_first_edition(found) and not ledger.is_first_edition(record_of(entries()))
    assert ledger.load_records(reference=book / "reference") == []
    assert ledger.load_first_edition("03_mode_collapse", book / "reference") is None
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"first_edition/02_wasserstein.json is damaged"):
        ledger.load_first_edition("02_wasserstein", book / "reference")


def test_shares_keep_what_they_are_a_share_of():
    runs = [{"a": {"value": 0.5, "control": None, "of": 20}}, {"a": {"value": 0.6, "control": None, "of": 10}}]
    assert ledger.gather(runs) == {"a": {"value": [0.5, 0.6], "control": None, "of": [20, 10]}}
