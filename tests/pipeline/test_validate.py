"""What is refused before anything runs."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from checkouts import CHECKOUT, URL, chapter_cell, edit

from medgan_lib import ledger
from pipeline import PROFILES, UserError, choose_chapters, edition, fingerprint, profile_parameters, validate
from pipeline.__main__ import main
from pipeline.setup_cell import setup_cell, write_setup_cells


def test_a_sound_checkout_has_no_problems(checkout: Path) -> None:
    assert validate.problems() == []


@pytest.mark.parametrize(("number", "change", "words"), [
    (1, lambda source: source + "\nx = 1", "setup cell"),
    (2, lambda source: source.replace("seed = 0\n", ""), "lacks seed"),
    (2, lambda source: source.replace("100", "10 * 10 + len('')"), "no literal"),
    (2, lambda source: source.replace("steps", "stages"), "has no parameter steps"),
    (4, lambda source: source.replace("01-starts-over", "01-else"), "claims without a value"),
    (4, lambda source: source + '\nbook.record("09-more", 1)', "values without a claim in book/claims.yml: 09-more"),
    (4, lambda source: source + '\nbook.record("01-starts-over", 1)', "recorded twice: 01-starts-over"),
    (4, lambda source: source + "\n(", "not plain Python"),
])
def test_a_notebook_that_breaks_a_rule_is_named(checkout: Path, number: int, change: Any, words: str) -> None:
    chapter_cell(checkout, number, change)
    assert any("01_good" in problem and words in problem for problem in validate.problems()), validate.problems()


def test_notebooks_without_parameters_or_with_outputs_or_damaged_are_named(checkout: Path) -> None:
    path = checkout / "notebooks" / "01_good.ipynb"
    content = nbformat.read(path, as_version=4)
    content.cells[2].metadata.tags = []
    content.cells[3].outputs = [nbformat.v4.new_output("stream", text="1")]
    nbformat.write(content, path)
    (checkout / "notebooks" / "02_bad.ipynb").write_text("{")
    found = "\n".join(validate.problems())
    assert "01_good.ipynb: needs exactly one cell tagged 'parameters'" in found
    assert "01_good.ipynb: holds outputs" in found
    assert "02_bad.ipynb: not a valid notebook" in found


def test_two_claims_with_one_id_and_claims_of_no_chapter_are_refused(checkout: Path) -> None:
    path = checkout / "book" / "claims.yml"
    text = path.read_text()
    edit(path, '"chapter": "02_bad"', '"chapter": "02_gone"')
    assert any("02_gone" in problem and "01_good, 02_bad" in problem for problem in validate.problems())
    path.write_text(text.replace("02-never", "01-starts-over"))
    assert "twice" in validate.problems()[0]


def test_unknown_names_list_what_exists(checkout: Path) -> None:
    with pytest.raises(UserError, match=r"no profile 'huge'; there are: ci, cpu, full"):
        profile_parameters("huge")
    with pytest.raises(UserError, match=r"no chapter '02_bad' at profile 'ci'; there are: 01_good"):
        choose_chapters("ci", "01_good,02_bad")
    assert choose_chapters("cpu", "02_bad, 01_good") == ["01_good", "02_bad"]
    edit(checkout / "book" / "profiles" / "ci.yml", "01_good", "01_god")
    with pytest.raises(UserError, match=r"names no chapter: 01_god"):
        choose_chapters("ci")


def test_a_profile_of_old_leads_to_the_one_that_took_its_place(checkout: Path) -> None:
    for name in ("real", "gpu"):
        with pytest.raises(UserError, match=rf"^there is no profile '{name}' any more: 'full' took its place \(.*\)$"):
            choose_chapters(name)
        done = subprocess.run([sys.executable, "-m", "pipeline", "reference", "--profile", name], cwd=CHECKOUT,
                              capture_output=True, text=True)
        assert done.returncode == 1 and done.stderr.startswith(f"there is no profile '{name}' any more: 'full' took")
    with pytest.raises(ValueError, match="'full' took its place"):
        ledger.Ledger("01_good", profile="gpu", claims=checkout / "book" / "claims.yml")


def test_at_full_every_chapter_has_its_own_values(checkout: Path) -> None:
    assert profile_parameters("full") == {"01_good": {}, "02_bad": {}}
    assert PROFILES is ledger.PROFILES and PROFILES == ("ci", "cpu", "full")
    assert fingerprint.components("01_good", "full").parameters == {"profile": "full", "dataset": "lungs", "steps": 100}


def test_a_chapter_is_of_the_first_edition_unless_it_says_otherwise(checkout: Path) -> None:
    path = checkout / "notebooks" / "01_good.ipynb"
    assert edition("01_good") == 1
    content = nbformat.read(path, as_version=4)
    content.metadata["edition"] = 2
    nbformat.write(content, path)
    assert edition("01_good") == 2


@pytest.mark.parametrize(("option", "value", "words"), [
    ("minutes", "0", "not a positive number"), ("minutes", "soon", "not a positive number"),
    ("minutes", "inf", "not a positive number"), ("jobs", "0", "not a whole number of at least 1"),
])
def test_options_of_a_recording_are_looked_at_first(
    option: str, value: str, words: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        main(["reference", f"--{option}", value])
    assert words in capsys.readouterr().err


def test_setup_cells_follow_the_one_address(checkout: Path) -> None:
    assert f'"medgan_lib @ git+{URL}"' in setup_cell(checkout)
    assert write_setup_cells(checkout) == []
    edit(checkout / "_config.yml", "someone", "someone-else")
    assert len(write_setup_cells(checkout)) == 2
    assert validate.problems() == []


def test_a_gate_that_names_nothing_or_is_not_measured_is_named(checkout: Path) -> None:
    edit(checkout / "book" / "claims.yml", '"chapter": "01_good"', '"chapter": "01_good", "gate": "is-trained"')
    assert validate.problems() == ["claim 01-starts-over: there is no gate 'is-trained'; gates.yml has none"]
    (checkout / "book" / "gates.yml").write_text(
        "is-trained: {question: Trained, fails: Not trained., metric: loss, at_most: 1}")
    assert any("gates without a value (no .gate(\"name\", …) call): is-trained" in one for one in validate.problems())
    chapter_cell(checkout, 4, lambda source: source.replace("book.show", "book.gate('is-trained', 0.5)\nbook.show"))
    assert validate.problems() == []


def test_prose_that_speaks_of_no_claim_is_named_before_anything_runs(checkout: Path) -> None:
    path = checkout / "notebooks" / "01_good.ipynb"
    content = nbformat.read(path, as_version=4)
    content.cells[0].source += " {claim}`01-starts-over` and {claim}`01-starts-under:value`"
    nbformat.write(content, path)
    (checkout / "book" / "page.md").write_text("{claim}`09-none`")
    assert validate.problems() == [f"{name}: {{claim}}`{claim}`: there is no such claim in book/claims.yml"
                                   for name, claim in (("page.md", "09-none"), ("01_good.ipynb", "01-starts-under"))]


def test_one_chapter_is_executed_and_no_name_is_no_chapter(checkout: Path) -> None:
    with pytest.raises(UserError, match="execute takes one chapter, not 2"):
        main(["execute", "--profile", "cpu"])
    with pytest.raises(UserError, match="',' names no chapter; there are: 01_good, 02_bad"):
        choose_chapters("cpu", ",")


def test_a_paper_that_is_not_in_the_bibliography_is_named(checkout: Path) -> None:
    edit(checkout / "book" / "claims.yml", '"source": "review", "place": "Sec. 2"',
         '"source": "paper", "place": "metz2017, Fig. 2"')
    assert len(validate.problems()) == 2 and "'metz2017', which is no key" in validate.problems()[0]
    (checkout / "book" / "references.bib").write_text("@inproceedings{metz2017,\n title = {Unrolled}}")
    assert validate.problems() == []
