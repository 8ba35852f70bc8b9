"""What a run records and shows."""

import math

import pytest
import torch
from ledgers import entries, full, record_of

from medgan_lib import ledger
from medgan_lib.ledger import Ledger


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
        run.gate("trained-enough", 0.2)
        run.record("07-more-modes", 8, 3)
        with pytest.raises(ValueError, match="08-loss-tracks-quality"):
            run.show()
    run = Ledger("02_wasserstein", profile="full", claims=book / "claims.yml")
    run.gate("trained-enough", 0.2)
    run.record("07-more-modes", 8, 3)
    run.show()


def test_unknown_chapter_and_profile_list_what_exists(book):
    with pytest.raises(ValueError, match="claims for 02_wasserstein, 03_mode_collapse"):
        Ledger("04_latent", claims=book / "claims.yml")
    with pytest.raises(ValueError, match="there are ci, cpu, full"):
        Ledger("02_wasserstein", profile="tpu", claims=book / "claims.yml")
    with pytest.raises(ValueError, match="there is no profile 'gpu' any more: 'full' took its place"):
        Ledger("02_wasserstein", profile="gpu", claims=book / "claims.yml")


def test_one_run_shows_a_reading_and_no_verdict(book):
    shown = full(book).show()._repr_html_()
    assert "this run: +5 modes; criterion met" in shown and "this run: 0.500; criterion not met" in shown
    assert shown.count("not recorded yet") == 2 and "nobody lent us all scanners" in shown
    assert "&lt;clipping&gt;" in shown and "<clipping>" not in shown
    assert ledger.SUPPORTED not in shown
    assert "gate held</span> Are the samples better than noise?" in shown


def test_the_recorded_verdict_stands_beside_the_run(book, claims, gates):
    path = book / "reference" / "cpu" / "02_wasserstein.json"
    ledger.write_record(path, record_of(entries()), claims, gates)
    for profile in ("cpu", "ci"):
        shown = full(book, profile).show()
        assert "supported</span>" in shown._repr_html_() and "profile cpu" in shown._repr_html_()
        assert "+4.60 modes (95 % interval +3.92 to +5.28), 5 seeds; profile cpu" in shown._repr_html_()
        assert "first edition" not in shown._repr_html_()
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
    # A table that scrolls must be reachable by keyboard and have a name.
    region = next(attributes for tag, attributes in parser.found if tag == "div")
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
        "07-more-modes": {"value": 8.0, "control": 3.0}, "08-loss-tracks-quality": {"value": 0.5, "control": None},
        "trained-enough": {"value": 0.25, "control": None}}
    notebook.cells.append(notebook.cells[1])
    with pytest.raises(ValueError, match="07-more-modes is shown by two ledgers"):
        ledger.entries_from_notebook(notebook)
    with pytest.raises(ValueError, match="shows no ledger"):
        ledger.entries_from_notebook(nbformat.v4.new_notebook())


def test_a_verdict_of_the_first_edition_is_marked(book, claims, gates):
    path = book / "reference" / "cpu" / "02_wasserstein.json"
    ledger.write_record(path, record_of(entries(), edition=1), claims, gates)
    shown = full(book).show()._repr_html_()
    assert shown.count("first edition</span>") == 2 and "supported</span>" in shown


def test_a_share_says_of_how_many(book):
    text = (book / "claims.yml").read_text(encoding="utf-8").replace("scale: correlation", "scale: share")
    (book / "claims.yml").write_text(text, encoding="utf-8")
    run = Ledger("02_wasserstein", claims=book / "claims.yml")
    with pytest.raises(ValueError, match="is a share: say of how many, of=n"):
        run.record("08-loss-tracks-quality", 0.5)
    with pytest.raises(ValueError, match=r"of is 2\.5"):
        run.record("08-loss-tracks-quality", 0.5, of=2.5)
    with pytest.raises(ValueError, match="is no share but a mean"):
        run.record("07-more-modes", 8, 3, of=10)
    assert run.record("08-loss-tracks-quality", 0.5, of=40).data() == {"value": 0.5, "control": None, "of": 40}
