"""What a fingerprint must see, however it is written; and, as failures that are expected, what it does not see yet."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from checkouts import chapter_cell, edit

from pipeline import fingerprint

CASES = yaml.safe_load(Path(__file__).with_name("fingerprint_cases.yml").read_text(encoding="utf-8"))


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / "medgan_lib" / name).write_text(text)


def limited(case: dict[str, Any]) -> Any:
    return pytest.mark.xfail(strict=True, reason=case["limit"]) if "limit" in case else ()


@pytest.mark.parametrize("name", [pytest.param(name, marks=limited(case)) for name, case in CASES.items()])
def test_a_change_of_the_library_is_seen(checkout: Path, name: str) -> None:
    case = CASES[name]
    write(checkout, case["files"])
    before = fingerprint.record_fingerprint("01_good", "cpu")
    edit(checkout / "medgan_lib" / case["edit"]["file"], case["edit"]["old"], case["edit"]["new"])
    assert (fingerprint.record_fingerprint("01_good", "cpu") == before) is case.get("same", False)


@pytest.mark.parametrize("module", ["direct", "mid"])
def test_what_a_star_brings_cannot_be_followed(checkout: Path, module: str) -> None:
    write(checkout, {
        "direct.py": "from . import mid\n\ndef f():\n    return mid.g()\n", "mid.py": "from .deep import g\n",
        f"{module}.py": "from .deep import *\n\ndef f():\n    return SCALE\n",
    })
    with pytest.raises(ValueError, match=r"from medgan_lib\.deep import \*: what it brings can't be followed"):
        fingerprint.record_fingerprint("01_good", "cpu")


def cell_matters(checkout: Path, old: str, new: str) -> bool:
    """Whether putting ``new`` in the place of ``old`` in a cell changes the fingerprint."""
    chapter_cell(checkout, 3, lambda source: f"{source}\n{old}")
    before = fingerprint.record_fingerprint("01_good", "cpu")
    chapter_cell(checkout, 3, lambda source: source.replace(old, new))
    return before != fingerprint.record_fingerprint("01_good", "cpu")


def test_the_order_of_imports_in_a_cell(checkout: Path) -> None:
    write(checkout, {"one.py": "def s():\n    return 1\n", "two.py": "def s():\n    return 2\n"})
    one, two = "from medgan_lib.one import s\n", "from medgan_lib.two import s\n"
    assert cell_matters(checkout, f"{one}{two}print(s())", f"{two}{one}print(s())")


def test_a_parameter_with_an_annotation(checkout: Path) -> None:
    chapter_cell(checkout, 2, lambda source: f"{source}\nlr: float = 0.1")
    before = fingerprint.record_fingerprint("01_good", "cpu")
    chapter_cell(checkout, 2, lambda source: source.replace("0.1", "0.2"))
    assert fingerprint.record_fingerprint("01_good", "cpu") != before


def test_parameters_that_are_no_plain_assignment_are_refused(checkout: Path) -> None:
    chapter_cell(checkout, 2, lambda source: f"{source}\na, b = 0.1, 3")
    with pytest.raises(ValueError, match="only hold NAME = LITERAL"):
        fingerprint.record_fingerprint("01_good", "cpu")


def test_cohorts_in_a_list_of_parameters(checkout: Path) -> None:
    edit(checkout / "book/profiles/cpu.yml", "steps: 40", "steps: 40, datasets: [lungs]")
    before = fingerprint.record_fingerprint("01_good", "cpu")
    edit(checkout / "medgan_lib/cohorts/real.py", "N = 7", "N = 8")
    assert fingerprint.record_fingerprint("01_good", "cpu") != before


def test_a_percent_sign_is_not_always_a_magic(checkout: Path) -> None:
    chapter_cell(checkout, 3, lambda source: f"{source}\nx = (7\n    % 3)")
    assert cell_matters(checkout, "y = \'\'\'\n%a\'\'\'", "y = \'\'\'\n%b\'\'\'")


def test_a_variable_of_a_cell_hides_a_module_in_its_scope_only(checkout: Path) -> None:
    code = ("g = lambda direct: direct\ndef h():\n    k = [medgan_lib for medgan_lib in 'a']\n"
            "    return medgan_lib.deep.OTHER")
    chapter_cell(checkout, 3, lambda source: f"{source}\n{code}")
    before = fingerprint.record_fingerprint("01_good", "cpu")
    edit(checkout / "medgan_lib/deep.py", "OTHER = 5", "OTHER = 6")
    assert fingerprint.record_fingerprint("01_good", "cpu") != before


@pytest.mark.xfail(strict=True, reason="only a chapter's own texts and parameters name cohorts")
def test_a_cohort_that_the_library_names(checkout: Path) -> None:
    edit(checkout / "medgan_lib/cohorts/__init__.py", "FOLDER", "def load(name):\n    return name\n\nFOLDER")
    write(checkout, {"direct.py": "from .cohorts import load\ndef f():\n    return load('lungs')\n"})
    before = fingerprint.record_fingerprint("01_good", "cpu")
    edit(checkout / "medgan_lib/cohorts/real.py", "N = 7", "N = 8")
    assert fingerprint.record_fingerprint("01_good", "cpu") != before


def test_first_updates_say_nothing_of_losses_that_a_cell_asks_for(checkout: Path) -> None:
    write(checkout, {
        "objectives.py": "def loss():\n    return 1\n",
        "methods.py": "from .objectives import loss\n\n\ndef step():\n    return loss()\n",
    })
    chapter_cell(checkout, 3, lambda source: f"{source}\nfrom medgan_lib.methods import step\nstep()")
    before = fingerprint.without_training("01_good", "cpu")
    edit(checkout / "medgan_lib/objectives.py", "return 1", "return 2")
    assert fingerprint.without_training("01_good", "cpu") == before
    chapter_cell(checkout, 3, lambda source: f"{source}\nfrom medgan_lib import objectives\nobjectives.loss()")
    before = fingerprint.without_training("01_good", "cpu")
    edit(checkout / "medgan_lib/objectives.py", "return 2", "return 3")
    assert fingerprint.without_training("01_good", "cpu") != before


def test_data_of_a_cohort_that_is_made_of_another(checkout: Path) -> None:
    (checkout / "data").mkdir()
    (checkout / "data/registry.yml").write_text("scans: {sha256: abc}\n")
    edit(checkout / "medgan_lib/cohorts/real.py", "return N", "return entry('scans'), N")
    before = fingerprint.record_fingerprint("01_good", "full")
    edit(checkout / "data/registry.yml", "abc", "abd")
    assert fingerprint.record_fingerprint("01_good", "full") != before
