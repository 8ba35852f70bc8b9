"""The ledger: criteria are checked, verdicts follow from numbers alone, and nothing is half-written."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from medgan_lib import ledger
from medgan_lib.ledger import Claim, Ledger, verdict

CLAIMS = """
07-more-modes:
  section: "2.1"
  row: 7
  chapter: 02_wasserstein
  claim: The penalty keeps more modes than <clipping>.
  metric: modes covered
  unit: modes
  kind: greater
  smallest_effect: 3
  control: clipping
  seeds: 5
08-loss-tracks-quality:
  section: "2.1"
  row: 8
  chapter: 02_wasserstein
  claim: The estimate follows quality.
  metric: Spearman's rho
  unit:
  kind: at_least
  smallest_effect: 0.7
  control: null
  seeds: 5
  testable: true
  history: [{date: 2024-01-01, note: first wording}]
  profiles: [cpu]
09-scanners:
  section: "3"
  row: 9
  chapter: 02_wasserstein
  claim: It works on every scanner.
  testable: nobody lent us all scanners
10-other-chapter:
  section: "2.2"
  row: 10
  chapter: 03_mode_collapse
  claim: Less distance.
  metric: Fréchet distance
  kind: less
  effect: ratio
  smallest_effect: 1.25
  control: plain GAN
  seeds: 3
"""


@pytest.fixture
def book(tmp_path):
    (tmp_path / "claims.yml").write_text(CLAIMS, encoding="utf-8")
    return tmp_path


@pytest.fixture
def claims(book):
    return ledger.load_claims(book / "claims.yml")


# Student's t at 97.5 % has a closed form for two degrees of freedom.
T2 = 0.95 / math.sqrt(2 * 0.975 * 0.025)


def criterion(kind, smallest=1.0, effect="difference"):
    control = "control" if kind in ("greater", "less") else None
    return Claim("01-x", "2", 1, "01_x", "…", "metric", "mm", kind, smallest, effect, control, 5)


def record_of(entries, seeds=5, profile="cpu", **changes):
    record = {"chapter": "02_wasserstein", "profile": profile, "seeds": list(range(seeds)), "seconds": [1.5] * seeds,
              "fingerprint": "abc", "parameters": {"steps": 10}, "environment": {"device": "cpu"}, "claims": entries}
    return record | changes


def entries(seeds=5):
    return {"07-more-modes": {"value": [8.0, 7.0, 8.0, 8.0, 7.0][:seeds], "control": [3.0, 2.0, 4.0, 3.0, 3.0][:seeds]},
            "08-loss-tracks-quality": {"value": [0.9, 0.8, 0.85, 0.95, 0.9][:seeds], "control": None}}


# --- claims.yml ---


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


# --- verdicts ---


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


# --- words ---


@pytest.mark.parametrize(("number", "text"), [
    (0, "0"), (8, "8"), (1234, "1234"), (1234.5, "1234"), (0.123456, "0.123"), (12.345, "12.3"), (0.9996, "1.00"),
    (9.999, "10.0"), (-2.5, "−2.50"), (0.00123, "0.00123"), (0.0001234, "1.23×10⁻⁴"), (1.5e9, "1.50×10⁹"),
])
def test_numbers_have_three_significant_digits(number, text):
    assert ledger.format_number(number) == text
    assert ledger.format_number(number, "mm") == f"{text} mm"


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


@pytest.mark.parametrize("name", [ledger.SUPPORTED, ledger.NOT_SUPPORTED, ledger.CONTRADICTED, ledger.NOT_TESTABLE,
                                  ledger.NO_VERDICT])
def test_badges_say_the_verdict_in_words_on_the_pages_own_colours(name):
    shown = ledger.badge(name)
    assert name in shown
    assert "background" not in shown and "color:" not in shown.replace("border-color:", "")


# --- the ledger of a run ---


def full(book, profile="cpu"):
    run = Ledger("02_wasserstein", profile=profile, claims=book / "claims.yml")
    run.record("07-more-modes", torch.tensor(8), control=np.float32(3))
    run.record("08-loss-tracks-quality", 0.5)
    return run


def test_record_refuses_what_makes_no_sense(book):
    run = Ledger("02_wasserstein", claims=book / "claims.yml")
    with pytest.raises(ValueError, match="unknown claim '07-less-modes'; chapter 02_wasserstein has 07-more-modes"):
        run.record("07-less-modes", 1)
    with pytest.raises(ValueError, match="unknown claim '10-other-chapter'"):
        run.record("10-other-chapter", 1, 2)
    with pytest.raises(ValueError, match="needs its control"):
        run.record("07-more-modes", 8)
    with pytest.raises(ValueError, match="the value is nan"):
        run.record("08-loss-tracks-quality", torch.tensor(math.nan))
    with pytest.raises(ValueError, match="must be one number"):
        run.record("08-loss-tracks-quality", torch.zeros(2))
    with pytest.raises(ValueError, match="not testable: nobody lent"):
        run.record("09-scanners", 1)
    assert run.record("08-loss-tracks-quality", 0.7).met
    with pytest.raises(ValueError, match="already has a value"):
        run.record("08-loss-tracks-quality", 0.8)
    with pytest.raises(ValueError, match=r"claim without a value .*: 07-more-modes$"):
        run.show()


def test_a_claim_is_needed_only_at_its_profiles(book):
    for profile in ("ci", "cpu"):
        run = Ledger("02_wasserstein", profile=profile, claims=book / "claims.yml")
        run.record("07-more-modes", 8, 3)
        with pytest.raises(ValueError, match="08-loss-tracks-quality"):
            run.show()
    run = Ledger("02_wasserstein", profile="real", claims=book / "claims.yml")
    run.record("07-more-modes", 8, 3)
    run.show()


def test_unknown_chapter_and_profile_list_what_exists(book):
    with pytest.raises(ValueError, match="claims for 02_wasserstein, 03_mode_collapse"):
        Ledger("04_latent", claims=book / "claims.yml")
    with pytest.raises(ValueError, match="there are ci, cpu, real, gpu"):
        Ledger("02_wasserstein", profile="tpu", claims=book / "claims.yml")


def test_one_run_shows_a_reading_and_no_verdict(book):
    shown = full(book).show()._repr_html_()
    assert "this run: +5 modes; criterion met" in shown and "this run: 0.500; criterion not met" in shown
    assert shown.count("not recorded yet") == 2 and "nobody lent us all scanners" in shown
    assert "&lt;clipping&gt;" in shown and "<clipping>" not in shown
    assert ledger.SUPPORTED not in shown.replace(ledger.NOT_SUPPORTED, "")


def test_the_recorded_verdict_stands_beside_the_run(book, claims):
    path = book / "reference" / "cpu" / "02_wasserstein.json"
    ledger.write_record(path, record_of(entries()), claims)
    for profile in ("cpu", "ci"):
        shown = full(book, profile).show()
        assert "supported</span>" in shown._repr_html_() and "profile cpu" in shown._repr_html_()
        assert "+4.60 modes (95 % interval +3.92 to +5.28), 5 seeds; profile cpu" in shown._repr_html_()
        assert "✓ supported" in repr(shown) and "<" not in repr(shown).replace("<clipping>", "")


def test_the_table_is_accessible(book):
    from html.parser import HTMLParser

    class Tags(HTMLParser):
        found, open = [], []

        def handle_starttag(self, tag, attributes):
            self.found.append((tag, dict(attributes)))
            if tag != "br":
                self.open.append(tag)

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    parser = Tags()
    parser.feed(full(book).show()._repr_html_())
    assert not parser.open
    tags = [tag for tag, _ in parser.found]
    assert tags.count("caption") == 1
    assert [a["scope"] for tag, a in parser.found if tag == "th"] == ["col"] * 6 + ["row"] * 3
    region = parser.found[0][1]  # a table that scrolls must be reachable by keyboard and have a name
    assert region["tabindex"] == "0" and region["role"] == "region" and region["aria-label"]


def test_values_travel_through_an_executed_notebook(book):
    import nbformat
    from IPython.core.formatters import DisplayFormatter

    data, _ = DisplayFormatter().format(full(book).show())
    output = nbformat.v4.new_output("execute_result", data)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("text"),
                                               nbformat.v4.new_code_cell("run.show()", outputs=[output])])
    notebook = nbformat.reads(nbformat.writes(notebook), as_version=4)
    assert ledger.entries_from_notebook(notebook) == {
        "07-more-modes": {"value": 8.0, "control": 3.0}, "08-loss-tracks-quality": {"value": 0.5, "control": None}}
    notebook.cells.append(notebook.cells[1])
    with pytest.raises(ValueError, match="07-more-modes is shown by two ledgers"):
        ledger.entries_from_notebook(notebook)
    with pytest.raises(ValueError, match="shows no ledger"):
        ledger.entries_from_notebook(nbformat.v4.new_notebook())


# --- records ---


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


def test_a_record_comes_back_as_written_with_its_verdicts(book, claims):
    path = book / "reference" / "cpu" / "02_wasserstein.json"
    ledger.write_record(path, record_of(entries(), parameters={"lr": np.float32(0.5)}), claims)
    record = ledger.load_record("cpu", "02_wasserstein", book / "reference")
    assert record["parameters"] == {"lr": 0.5} and record["seconds"] == [1.5] * 5
    assert record["claims"]["07-more-modes"] == entries()["07-more-modes"] | {"verdict": "supported"}
    assert [r["chapter"] for r in ledger.load_records(reference=book / "reference")] == ["02_wasserstein"]
    assert ledger.load_records("gpu", book / "reference") == []
    assert ledger.load_record("real", "02_wasserstein", book / "reference") is None
    assert [p.name for p in path.parent.iterdir()] == ["02_wasserstein.json"]


@pytest.mark.parametrize(("change", "message"), [
    (lambda r: r["claims"].pop("07-more-modes"), "claim without a value .*: 07-more-modes"),
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
    (lambda r: r.pop("environment"), "missing environment"),
])
def test_a_bad_record_is_refused_and_the_old_one_stays(book, claims, change, message):
    path = book / "reference" / "cpu" / "02_wasserstein.json"
    ledger.write_record(path, record_of(entries()), claims)
    before = path.read_bytes()
    record = record_of(entries())
    change(record)
    with pytest.raises(ValueError, match=message):
        ledger.write_record(path, record, claims)
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


def test_a_failed_write_leaves_the_old_record_and_no_debris(book, claims, monkeypatch):
    path = book / "reference" / "cpu" / "02_wasserstein.json"
    ledger.write_record(path, record_of(entries()), claims)
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        ledger.write_record(path, record_of(entries(3), seeds=3), claims)
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


def test_a_damaged_or_moved_record_is_named(book, claims):
    path = book / "reference" / "cpu" / "02_wasserstein.json"
    ledger.write_record(path, record_of(entries()), claims)
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(ValueError, match=r"02_wasserstein.json is damaged .*record it again"):
        ledger.load_record("cpu", "02_wasserstein", book / "reference")
    path.write_text(text.replace('"profile": "cpu"', '"profile": "gpu"'), encoding="utf-8")
    with pytest.raises(ValueError, match="is the record of 02_wasserstein at gpu"):
        ledger.load_record("cpu", "02_wasserstein", book / "reference")


def test_summary_recomputes_and_shows_a_moved_criterion(book, claims):
    path = book / "reference" / "cpu" / "02_wasserstein.json"
    ledger.write_record(path, record_of(entries()), claims)
    record = json.loads(path.read_text(encoding="utf-8"))
    rows = ledger.summary(claims, record)
    assert [row.claim.id for row in rows] == ["07-more-modes", "08-loss-tracks-quality", "09-scanners"]
    assert [row.verdict.verdict for row in rows] == ["supported", "supported", "not testable here"]
    assert (rows[0].value, rows[0].control, rows[0].stored) == (pytest.approx(7.6), pytest.approx(3), "supported")
    (book / "claims.yml").write_text(CLAIMS.replace("smallest_effect: 3", "smallest_effect: 6"), encoding="utf-8")
    row = ledger.summary(ledger.load_claims(book / "claims.yml"), record)[0]
    assert (row.verdict.verdict, row.stored) == (ledger.NOT_SUPPORTED, "supported")


def test_summary_without_a_record_has_every_claim(claims):
    assert [row.verdict.verdict for row in ledger.summary(claims, None)] == [
        "no verdict", "no verdict", "not testable here", "no verdict"]
    assert [row.claim.id for row in ledger.summary(claims, None, "03_mode_collapse")] == ["10-other-chapter"]


def test_a_claim_outside_its_profiles_is_not_judged(claims):
    record = record_of({"07-more-modes": entries()["07-more-modes"]}, profile="real")
    result = ledger.record_verdict(claims["08-loss-tracks-quality"], record)
    assert (result.verdict, result.reason) == (ledger.NOT_TESTABLE, "tested at profile cpu")


def test_the_ledger_is_light_to_import():
    code = "import sys, medgan_lib.ledger; print({'torch', 'scipy', 'yaml', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
