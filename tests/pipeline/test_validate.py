"""What is refused before anything runs."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from checkouts import URL, chapter_cell, edit

from pipeline import (
    UserError,
    choose_chapters,
    profile_parameters,
    validate,
)
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
    with pytest.raises(UserError, match=r"no profile 'huge'; there are: cpu, real"):
        profile_parameters("huge")
    with pytest.raises(UserError, match=r"no chapter '02_bad' at profile 'real'; there are: 01_good"):
        choose_chapters("real", "01_good,02_bad")
    assert choose_chapters("cpu", "02_bad, 01_good") == ["01_good", "02_bad"]
    edit(checkout / "book" / "profiles" / "real.yml", "01_good", "01_god")
    with pytest.raises(UserError, match=r"names no chapter: 01_god"):
        choose_chapters("real")


def test_setup_cells_follow_the_one_address(checkout: Path) -> None:
    assert f'"medgan_lib @ git+{URL}"' in setup_cell(checkout)
    assert write_setup_cells(checkout) == []
    edit(checkout / "_config.yml", "someone", "someone-else")
    assert len(write_setup_cells(checkout)) == 2
    assert validate.problems() == []
