"""What re-executes a chapter, and what makes a record stale."""

import ast
from pathlib import Path

import pytest
from checkouts import chapter_cell, edit

from pipeline import (
    UserError,
    fingerprint,
    syntax,
)


def test_words_do_not_change_a_fingerprint(checkout: Path) -> None:
    before = fingerprint.run_fingerprint("01_good", "cpu")
    edit(checkout / "medgan_lib" / "deep.py", "# twice", "# two times")
    edit(checkout / "medgan_lib" / "deep.py", '"""Doc."""', '"""Other\n    words."""')
    chapter_cell(checkout, 0, lambda source: "# Another title")
    chapter_cell(checkout, 3, lambda source: source + "  # why")
    assert fingerprint.run_fingerprint("01_good", "cpu") == before


def test_a_constant_in_a_module_imported_by_a_module_inside_a_function_does(checkout: Path) -> None:
    before = fingerprint.components("01_good", "cpu")
    assert set(before.definitions) == {
        f"medgan_lib.{name}" for name in ("direct.f", "deep.g", "deep.SCALE", "figures.COLOUR", "cohorts.toys.ring",
                                          "cohorts.toys.N")}
    edit(checkout / "medgan_lib" / "deep.py", "SCALE = 2", "SCALE = 3")
    after = fingerprint.components("01_good", "cpu")
    changed = {name for name in after.definitions if after.definitions[name] != before.definitions[name]}
    assert changed == {"medgan_lib.deep.SCALE", "medgan_lib.deep.g", "medgan_lib.direct.f"}, "it and its users"
    assert after.digest() != before.digest()


def moved(checkout: Path) -> None:
    """`deep` becomes a package of two renamed modules, `direct` another file with a renamed function."""
    library = checkout / "medgan_lib"
    (library / "deep.py").unlink()
    (library / "direct.py").unlink()
    (library / "depths").mkdir()
    (library / "depths" / "__init__.py").write_text("from .below import g\n")
    (library / "depths" / "below.py").write_text("from ..numbers import SCALE as factor\n\n\ndef g():\n"
                                                 "    return factor\n")
    (library / "numbers.py").write_text("OTHER = 5\nSCALE = 2\n")
    (library / "straight.py").write_text("from . import depths\n\n\ndef h():\n    return depths.g()\n")
    chapter_cell(checkout, 3, lambda source: source.replace("import direct", "import straight").replace(
        "direct.f", "straight.h"))


def test_moving_and_renaming_does_not(checkout: Path) -> None:
    before = fingerprint.run_fingerprint("01_good", "cpu"), fingerprint.record_fingerprint("01_good", "cpu")
    moved(checkout)
    assert (fingerprint.run_fingerprint("01_good", "cpu"), fingerprint.record_fingerprint("01_good", "cpu")) == before
    edit(checkout / "medgan_lib" / "numbers.py", "SCALE = 2", "SCALE = 3")
    assert fingerprint.run_fingerprint("01_good", "cpu") != before[0]


def test_exchanging_two_functions_that_are_both_reached_does(checkout: Path) -> None:
    """The same set of definitions, and of names: only who calls whom differs."""
    for name, factor in (("one", 1), ("two", 2)):
        (checkout / "medgan_lib" / f"{name}.py").write_text(f"def scale():\n    return {factor}\n")
    direct = checkout / "medgan_lib" / "direct.py"
    direct.write_text("from . import one, two\n\n\ndef f():\n    return one.scale() - two.scale()\n")
    before = fingerprint.run_fingerprint("01_good", "cpu")
    edit(direct, "one.scale() - two.scale()", "two.scale() - one.scale()")
    assert fingerprint.run_fingerprint("01_good", "cpu") != before


def test_a_variable_that_has_the_name_of_a_function_is_not_that_function(checkout: Path) -> None:
    edit(checkout / "medgan_lib" / "deep.py", "return SCALE", "OTHER = SCALE\n    return [X for X in (OTHER,)]")
    edit(checkout / "medgan_lib" / "deep.py", "OTHER = 5", "from medgan_lib.unrelated import X\nOTHER = 5")
    before = fingerprint.components("01_good", "cpu")
    assert not {"medgan_lib.deep.OTHER", "medgan_lib.unrelated.X"} & set(before.definitions)
    edit(checkout / "medgan_lib" / "deep.py", "OTHER = 5", "OTHER = 6")
    assert fingerprint.run_fingerprint("01_good", "cpu") == before.digest()


@pytest.mark.parametrize(("old", "new"), [
    ("import math as m\n", "import cmath as m\n"),
    ("from math import sqrt as m\n", "from cmath import sqrt as m\n"),
    ("from math import sqrt as m\n", "from math import exp as m\n"),
])
def test_what_another_package_is_asked_for_does(checkout: Path, old: str, new: str) -> None:
    direct = checkout / "medgan_lib" / "direct.py"
    direct.write_text(f"{old}\n\ndef f():\n    return m\n")
    before = fingerprint.run_fingerprint("01_good", "cpu")
    edit(direct, old, new)
    assert fingerprint.run_fingerprint("01_good", "cpu") != before


@pytest.mark.parametrize(("old", "new", "matters"), [
    ("OTHER = 5", "OTHER = 6", False),
    ("OTHER = 5", "OTHER = 5\n\n\ndef h():\n    return SCALE", False),
    ("OTHER = 5", "OTHER = 5\nprint(OTHER)", True),  # does something whoever imports it
    ("return SCALE", "return SCALE * 2", True),
    ("return SCALE", "return globals()['OTHER']", True),
    ("return SCALE", "import medgan_lib.unrelated as u; return getattr(u, 'X')", True),  # any of it may be meant
], ids=str)
def test_of_a_module_counts_what_the_chapter_can_reach(checkout: Path, old: str, new: str, matters: bool) -> None:
    before = fingerprint.run_fingerprint("01_good", "cpu")
    edit(checkout / "medgan_lib" / "deep.py", old, new)
    assert (fingerprint.run_fingerprint("01_good", "cpu") != before) is matters


def test_another_cohort_in_the_table_does_not(checkout: Path) -> None:
    before = fingerprint.run_fingerprint("01_good", "cpu")
    edit(checkout / "medgan_lib" / "cohorts" / "__init__.py", "EMBEDDED = {", 'EMBEDDED = {"grid": ("toys", "grid"), ')
    assert fingerprint.run_fingerprint("01_good", "cpu") == before
    edit(checkout / "medgan_lib" / "cohorts" / "__init__.py", '("toys", "ring")', '("real", "lungs")')
    assert fingerprint.run_fingerprint("01_good", "cpu") != before


def test_an_unrelated_module_does_not(checkout: Path) -> None:
    before = fingerprint.run_fingerprint("01_good", "cpu")
    edit(checkout / "medgan_lib" / "unrelated.py", "X = 1", "X = 2")
    edit(checkout / "medgan_lib" / "cohorts" / "real.py", "N = 7", "N = 8")
    assert fingerprint.run_fingerprint("01_good", "cpu") == before


def test_a_cohort_that_is_named_does(checkout: Path) -> None:
    """``cohorts.load`` imports a cohort's module by its name."""
    before, full = (fingerprint.run_fingerprint("01_good", profile) for profile in ("cpu", "full"))
    edit(checkout / "medgan_lib" / "cohorts" / "toys.py", "N = 3", "N = 4")
    assert fingerprint.run_fingerprint("01_good", "cpu") != before
    assert fingerprint.run_fingerprint("01_good", "full") == full


def test_presentation_belongs_to_the_run_but_not_to_the_record(checkout: Path) -> None:
    run, kept = fingerprint.run_fingerprint("01_good", "cpu"), fingerprint.record_fingerprint("01_good", "cpu")
    edit(checkout / "medgan_lib" / "figures.py", "COLOUR = 1", "COLOUR = 2")
    assert fingerprint.run_fingerprint("01_good", "cpu") != run
    assert fingerprint.record_fingerprint("01_good", "cpu") == kept


def test_parameters_count_and_only_those_of_the_profile(checkout: Path) -> None:
    before, full = (fingerprint.run_fingerprint("01_good", profile) for profile in ("cpu", "full"))
    edit(checkout / "book" / "profiles" / "cpu.yml", "steps: 40", "steps: 41")
    assert fingerprint.run_fingerprint("01_good", "cpu") != before
    assert fingerprint.run_fingerprint("01_good", "full") == full
    changed = fingerprint.run_fingerprint("01_good", "cpu")
    chapter_cell(checkout, 2, lambda source: source.replace("steps = 100", "steps = 200"))  # overridden at cpu
    assert fingerprint.run_fingerprint("01_good", "cpu") == changed
    assert fingerprint.run_fingerprint("01_good", "full") != full


def test_code_and_real_data_count(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "data" / "lungs").mkdir(parents=True)
    (checkout / "data" / "registry.yml").write_text("lungs: {sha256: abc}\n")
    monkeypatch.setenv("MEDGAN_DATA", str(checkout / "data"))
    before, cpu = (fingerprint.run_fingerprint("01_good", profile) for profile in ("full", "cpu"))
    record = fingerprint.record_fingerprint("01_good", "full")
    (checkout / "data" / "lungs" / "images.npz").write_bytes(b"1234")
    arrived = fingerprint.run_fingerprint("01_good", "full")
    assert fingerprint.record_fingerprint("01_good", "full") == record, "a record is as good without the data at hand"
    edit(checkout / "data" / "registry.yml", "abc", "abd")
    assert len({before, arrived, fingerprint.run_fingerprint("01_good", "full")}) == 3
    assert fingerprint.run_fingerprint("01_good", "cpu") == cpu
    chapter_cell(checkout, 4, lambda source: source.replace("start, steps", "start, steps + 1"))
    assert fingerprint.run_fingerprint("01_good", "cpu") != cpu


def test_imports_of_every_form_are_seen() -> None:
    source = "import a.b as c\nfrom ..d import e\nfrom . import f\nimport i.j\ndef g():\n    if g:\n        import h"
    found = set(syntax.imported(ast.parse(source), "medgan_lib.cohorts"))
    assert found == {
        ("c", ("a.b", "")), ("e", ("medgan_lib.d", "e")), ("f", ("medgan_lib.cohorts", "f")), ("h", ("h", "")),
        ("", ("h", "")), ("i", ("i", "")), ("", ("i.j", "")),
    }


def test_a_module_that_the_fingerprint_does_not_know_stops_a_run(checkout: Path) -> None:
    """A computed name hides a cohort: its module is loaded, but its changes would change no hash."""
    computed = "from importlib import import_module\nimport_module('medgan_lib.' + 'unre' + 'lated')"
    chapter_cell(checkout, 3, lambda source: f"{source}\n{computed}")
    before = fingerprint.run_fingerprint("01_good", "cpu")
    edit(checkout / "medgan_lib" / "unrelated.py", "X = 1", "X = 2")
    assert fingerprint.run_fingerprint("01_good", "cpu") == before, "unseen: so the run must not count"
    names = sorted(fingerprint.components("01_good", "cpu").modules)
    fingerprint.check_imports(names, "01_good", "cpu")
    with pytest.raises(UserError, match=r"01_good imported medgan_lib\.unrelated, .*unnoticed"):
        fingerprint.check_imports([*names, "medgan_lib.unrelated"], "01_good", "cpu")
