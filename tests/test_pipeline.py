"""The pipeline on a small checkout of its own: what re-executes a chapter, what is refused, what survives a crash."""

import ast
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import pipeline
from pipeline import (
    Run,
    UserError,
    book,
    choose_chapters,
    definitions,
    environment,
    fingerprint,
    profile_parameters,
    progress,
    validate,
)
from pipeline.execute import Progress
from pipeline.record import confirm, record
from pipeline.setup_cell import setup_cell, write_setup_cells

CHECKOUT = Path(__file__).resolve().parent.parent
URL = "https://example.org/someone/book"
PARAMETERS = 'profile = "gpu"\nseed = 0\ncheckpoints = None\ndataset = "ring"\nsteps = 100'
GOOD = """\
import json, os, time
from medgan_lib import ledger
state = f"{checkpoints}/state.json"
start = json.load(open(state))["step"] if os.path.exists(state) else 0
for step in range(start, steps):
    time.sleep(0.05)
    open(state + ".part", "w").write(json.dumps({"step": step + 1}))
    os.replace(state + ".part", state)
book = ledger.Ledger("01_good", profile, claims="CLAIMS")
book.record("01-starts-over", start)
book.show()"""


def notebook(*cells: str) -> Any:
    made = new_notebook(cells=[
        new_markdown_cell("# Title"),
        new_code_cell("", metadata={"tags": ["setup"]}),
        new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        *map(new_code_cell, cells),
    ])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return made



@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a library of four modules, a good chapter and a bad one."""
    for name in ("notebooks", "book/profiles", "medgan_lib/cohorts"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "_config.yml").write_text(f"repository:\n  url: {URL}\n")
    files = {
        "__init__.py": "",
        "direct.py": "def f():\n    from .deep import g\n    return g()\n",
        "deep.py": '"""Doc."""\n\nSCALE = 2  # twice\nOTHER = 5\n\n\ndef g():\n    """Doc."""\n    return SCALE\n',
        "unrelated.py": "X = 1\n",
        "figures.py": "COLOUR = 1\n",
        "cohorts/__init__.py": 'EMBEDDED = {"ring": ("toys", "ring")}\nREAL = {"lungs": ("real", "lungs")}\n'
        'FOLDER = ("toys", "ring")\n',
        "cohorts/toys.py": "N = 3\n\n\ndef ring(split):\n    return N\n",
        "cohorts/real.py": "N = 7\n\n\ndef lungs(split):\n    return N\n",
    }
    for name, text in files.items():
        (tmp_path / "medgan_lib" / name).write_text(text)
    claim = {"section": "2", "claim": "It is so.", "metric": "steps", "kind": "at_least", "smallest_effect": 1,
             "seeds": 3}
    (tmp_path / "book" / "claims.yml").write_text(json.dumps({
        "01-starts-over": {**claim, "row": 1, "chapter": "01_good"},
        "02-never": {**claim, "row": 2, "chapter": "02_bad"},
    }))
    (tmp_path / "book" / "profiles" / "cpu.yml").write_text("01_good: {steps: 40}\n02_bad:\n")
    (tmp_path / "book" / "profiles" / "real.yml").write_text("01_good: {dataset: lungs}\n")
    good = GOOD.replace("CLAIMS", str(tmp_path / "book" / "claims.yml"))
    bad = '1 / 0\nledger.record("02-never", 1)'
    uses = "import medgan_lib.figures\nfrom medgan_lib import direct\nuse = direct.f, medgan_lib.figures.COLOUR"
    for name, cells in {"01_good": (uses, good), "02_bad": (bad,)}.items():
        nbformat.write(notebook(*cells), tmp_path / "notebooks" / f"{name}.ipynb")
    write_setup_cells(tmp_path)
    monkeypatch.setattr(pipeline, "ROOT", tmp_path)
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    os.utime(path, ns=(0, time.time_ns()))  # two edits within a clock tick must not look like one


def chapter_cell(checkout: Path, number: int, change: Any) -> None:
    path = checkout / "notebooks" / "01_good.ipynb"
    content = nbformat.read(path, as_version=4)
    content.cells[number].source = change(content.cells[number].source)
    nbformat.write(content, path)


# --- fingerprints ---------------------------------------------------------------------------------------------


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
    before, real = (fingerprint.run_fingerprint("01_good", profile) for profile in ("cpu", "real"))
    edit(checkout / "medgan_lib" / "cohorts" / "toys.py", "N = 3", "N = 4")
    assert fingerprint.run_fingerprint("01_good", "cpu") != before
    assert fingerprint.run_fingerprint("01_good", "real") == real


def test_presentation_belongs_to_the_run_but_not_to_the_record(checkout: Path) -> None:
    run, kept = fingerprint.run_fingerprint("01_good", "cpu"), fingerprint.record_fingerprint("01_good", "cpu")
    edit(checkout / "medgan_lib" / "figures.py", "COLOUR = 1", "COLOUR = 2")
    assert fingerprint.run_fingerprint("01_good", "cpu") != run
    assert fingerprint.record_fingerprint("01_good", "cpu") == kept


def test_parameters_count_and_only_those_of_the_profile(checkout: Path) -> None:
    before, real = (fingerprint.run_fingerprint("01_good", profile) for profile in ("cpu", "real"))
    edit(checkout / "book" / "profiles" / "cpu.yml", "steps: 40", "steps: 41")
    assert fingerprint.run_fingerprint("01_good", "cpu") != before
    assert fingerprint.run_fingerprint("01_good", "real") == real
    changed = fingerprint.run_fingerprint("01_good", "cpu")
    chapter_cell(checkout, 2, lambda source: source.replace("steps = 100", "steps = 200"))  # overridden at cpu
    assert fingerprint.run_fingerprint("01_good", "cpu") == changed
    assert fingerprint.run_fingerprint("01_good", "real") != real


def test_code_and_real_data_count(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "data" / "lungs").mkdir(parents=True)
    (checkout / "data" / "registry.yml").write_text("lungs: {sha256: abc}\n")
    monkeypatch.setenv("MEDGAN_DATA", str(checkout / "data"))
    before, cpu = (fingerprint.run_fingerprint("01_good", profile) for profile in ("real", "cpu"))
    record = fingerprint.record_fingerprint("01_good", "real")
    (checkout / "data" / "lungs" / "images.npz").write_bytes(b"1234")
    arrived = fingerprint.run_fingerprint("01_good", "real")
    assert fingerprint.record_fingerprint("01_good", "real") == record, "a record is as good without the data at hand"
    edit(checkout / "data" / "registry.yml", "abc", "abd")
    assert len({before, arrived, fingerprint.run_fingerprint("01_good", "real")}) == 3
    assert fingerprint.run_fingerprint("01_good", "cpu") == cpu
    chapter_cell(checkout, 4, lambda source: source.replace("start, steps", "start, steps + 1"))
    assert fingerprint.run_fingerprint("01_good", "cpu") != cpu


def test_imports_of_every_form_are_seen() -> None:
    source = "import a.b as c\nfrom ..d import e\nfrom . import f\nimport i.j\ndef g():\n    if g:\n        import h"
    found = set(definitions.imported(ast.parse(source), "medgan_lib.cohorts"))
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


# --- what is refused --------------------------------------------------------------------------------------------


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


# --- records ------------------------------------------------------------------------------------------------------


def finished(run: Run, **changes: Any) -> None:
    results = {"fingerprint": fingerprint.run_fingerprint(run.chapter, run.profile),
               "record_fingerprint": fingerprint.record_fingerprint(run.chapter, run.profile),
               "parameters": {"steps": 40, "seed": run.seed, "checkpoints": "x"}, "seconds": 1.5,
               "environment": {"memory_mb": 100 + run.seed, "requirements": "d1", "commit": f"c{run.seed // 2}",
                               "packages": {"numpy": "2.0"}},
               "claims": {"01-starts-over": {"value": 2.0 + run.seed}}}
    pipeline.write_atomic(run.folder / "notebook.ipynb", "{}")
    pipeline.write_atomic(run.folder / "results.json", json.dumps({**results, **changes}))


def test_a_record_needs_every_seed_and_none_out_of_date(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medgan_lib import ledger

    claims = ledger.load_claims(checkout / "book" / "claims.yml")
    monkeypatch.setattr(ledger, "load_claims", lambda: claims)
    runs = [Run("cpu", "01_good", seed) for seed in range(3)]
    for run in runs[:2]:
        finished(run)
    with pytest.raises(UserError, match="no finished run at 'cpu' of seed 2"):
        record("cpu", "01_good", [0, 1, 2])
    finished(runs[2], record_fingerprint="old")
    with pytest.raises(UserError, match="seed 2 are out of date"):
        record("cpu", "01_good", [0, 1, 2])
    assert not (checkout / "book" / "reference").exists()
    finished(runs[2])
    written = json.loads(record("cpu", "01_good", [0, 1, 2]).read_text())
    assert written["seeds"] == [0, 1, 2]
    assert written["seconds"] == [1.5] * 3
    assert written["claims"]["01-starts-over"]["value"] == [2.0, 3.0, 4.0]
    assert written["parameters"] == {"steps": 40}
    assert written["environment"] == {"memory_mb": 102, "requirements": "d1", "commit": "c0, c1",
                                      "packages": {"numpy": "2.0"}}
    assert written["fingerprint"] == fingerprint.current_fingerprint("01_good", "cpu")


def test_a_record_is_made_with_one_set_of_packages(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medgan_lib import ledger

    claims = ledger.load_claims(checkout / "book" / "claims.yml")
    monkeypatch.setattr(ledger, "load_claims", lambda: claims)
    for seed in range(3):
        finished(Run("cpu", "01_good", seed))
    finished(Run("cpu", "01_good", 2), environment={"memory_mb": 1, "packages": {"numpy": "2.1"}})
    with pytest.raises(UserError, match=r"between seed 0 and seed 2; .* Delete _build/runs/cpu/01_good/seed2 and"):
        record("cpu", "01_good", [0, 1, 2])
    assert not (checkout / "book" / "reference").exists()


def git(folder: Path, *arguments: str) -> str:
    author = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    done = subprocess.run(["git", *author, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_run_knows_its_commit_and_whether_code_differed_from_it(tmp_path: Path) -> None:
    root = tmp_path / "book"
    for name in ("medgan_lib/gan.py", "notebooks/01.ipynb", "README.md", "requirements.txt"):
        pipeline.write_atomic(root / name, "1")
    assert environment.commit(root) is None, "no repository"
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "another project")
    assert environment.commit(root) is None, "the repository around it is another one's"
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    head = git(root, "rev-parse", "HEAD")[:12]
    assert environment.commit(root) == head
    for name in ("README.md", "book/reference/cpu/01.json"):
        pipeline.write_atomic(root / name, "2")
    assert environment.commit(root) == head, "words and records are no code"
    pipeline.write_atomic(root / "medgan_lib" / "new.py", "2")
    assert environment.commit(root) == f"{head}+"
    made = environment.made_with(root)
    assert made["requirements"] == hashlib.sha256(b"1").hexdigest()[:12] and made["commit"] == f"{head}+"
    assert made["packages"]["torch"] == metadata.version("torch")


def test_a_record_outlives_a_change_only_if_a_seed_gives_the_same_numbers(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medgan_lib import ledger

    claims = ledger.load_claims(checkout / "book" / "claims.yml")
    monkeypatch.setattr(ledger, "load_claims", lambda: claims)
    runs = [Run("cpu", "01_good", seed) for seed in range(3)]
    for run in runs:
        finished(run)
    with pytest.raises(UserError, match="no record of seed 0"):
        confirm("cpu", "01_good", 0)
    path = record("cpu", "01_good", [0, 1, 2])
    before = json.loads(path.read_text())
    edit(checkout / "medgan_lib" / "deep.py", "return SCALE", "return SCALE + 0")
    assert before["fingerprint"] != fingerprint.current_fingerprint("01_good", "cpu")
    with pytest.raises(UserError, match="out of date"):
        confirm("cpu", "01_good", 1)
    refused = {"other numbers.*was \\(3.0.*is \\(3.0000001": {"claims": {"01-starts-over": {"value": 3.0000001}}},
               "parameters differ.*steps": {"parameters": {"steps": 41}},
               "other numbers.*02-more": {"claims": {**{"01-starts-over": {"value": 3.0}}, "02-more": {"value": 1}}}}
    for message, changes in refused.items():
        finished(runs[1], **changes)
        with pytest.raises(UserError, match=message):
            confirm("cpu", "01_good", 1)
        assert json.loads(path.read_text()) == before
    # The last digits are the processor's, not the code's.
    finished(runs[1], claims={"01-starts-over": {"value": 3.0000000000000004}})
    after = json.loads(confirm("cpu", "01_good", 1).read_text())
    assert after["fingerprint"] == fingerprint.current_fingerprint("01_good", "cpu")
    assert after["confirmed"] == {"seed": 1, "recorded_with": before["fingerprint"], "against": "record"}
    assert {**after, "fingerprint": 0, "confirmed": 0} == {**before, "fingerprint": 0, "confirmed": 0}
    edit(checkout / "medgan_lib" / "deep.py", "return SCALE + 0", "return 0 + SCALE")
    finished(runs[2])
    again = json.loads(confirm("cpu", "01_good", 2).read_text())
    assert again["confirmed"] == {"seed": 2, "recorded_with": before["fingerprint"], "against": "record"}


def test_on_a_processor_that_rounds_otherwise_the_recorded_code_is_compared_with(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from medgan_lib import ledger

    claims = ledger.load_claims(checkout / "book" / "claims.yml")
    monkeypatch.setattr(ledger, "load_claims", lambda: claims)
    monkeypatch.setattr(book, "check", lambda: None)
    monkeypatch.setattr(book, "ROOT", checkout)
    runs = [Run("cpu", "01_good", seed) for seed in range(3)]
    for run in runs:
        finished(run)
    path = record("cpu", "01_good", [0, 1, 2])
    known = json.loads(path.read_text())
    before = checkout.parent / "before"
    shutil.copytree(checkout, before)
    with pytest.raises(UserError, match="is no checkout of this book"):
        book.confirm_records("cpu", "01_good", 1, before)
    pipeline.write_atomic(before / "pipeline" / "__main__.py", "")
    edit(checkout / "medgan_lib" / "deep.py", "return SCALE", "return SCALE + 0")
    finished(runs[0], claims={"01-starts-over": {"value": 2.1}})  # this machine's number, and not the recorded one
    theirs = before / runs[0].folder.relative_to(checkout) / "results.json"
    with pytest.raises(UserError, match="other numbers than the record"):
        confirm("cpu", "01_good", 0)
    called = []

    def execute(command: list[str], cwd: Path, env: dict[str, str]) -> int:
        called.append((command[1:4], cwd, env["PYTHONPATH"], env["MEDGAN_THREADS"]))
        value = {"record_fingerprint": known["fingerprint"], "claims": {"01-starts-over": {"value": 2.1}}}
        pipeline.write_atomic(theirs, json.dumps(value))
        return 0

    monkeypatch.setattr(book.subprocess, "call", execute)
    assert json.loads(theirs.read_text())["record_fingerprint"] == known["fingerprint"]
    assert book.confirm_records("cpu", "01_good", 1, before) == 1  # it gave 2.0, before and after the change differ
    assert "other numbers than the recorded code" in capsys.readouterr().err and not called
    theirs.unlink()
    assert book.confirm_records("cpu", "01_good", 1, before) == 0
    assert called == [(["-m", "pipeline", "execute"], before, str(before), "1")]
    after = json.loads(path.read_text())
    assert after["claims"] == known["claims"] and after["confirmed"]["against"] == "code"
    assert after["fingerprint"] == fingerprint.current_fingerprint("01_good", "cpu")
    with pytest.raises(UserError, match="does not hold the code that was recorded"):
        confirm("cpu", "01_good", 0, json.loads(theirs.read_text()))


def test_only_what_is_unfinished_or_changed_is_stale(checkout: Path) -> None:
    runs = [Run("cpu", "01_good", seed) for seed in range(3)]
    finished(runs[0])
    finished(runs[1], fingerprint="old")
    assert book.stale(runs) == runs[1:]


# --- progress -------------------------------------------------------------------------------------------------------


def test_a_line_says_cell_step_and_time_left(checkout: Path) -> None:
    run = Run("cpu", "01_good", 3)
    state = {"state": "running", "cell": 4, "cells": 9, "began": 100.0, "cell_began": 110.0, "seconds": 0,
             "expected": [40.0, 20.0]}
    training = {"label": "GAN wgan-gp", "step": 50, "steps": 200, "left": 100.0}
    assert progress.line(run, state, None, None, 120.0) == "01_good seed 3  cell 4/9 · 20 s, about 50 s left"
    assert progress.line(run, state, training, None, 120.0) == (
        "01_good seed 3  cell 4/9 · GAN wgan-gp step 50/200 · 20 s, about 2 min left")
    first = {**state, "expected": None}
    assert "left" not in progress.line(run, first, None, None, 120.0)
    assert "about 60 s left" in progress.line(run, first, None, 80.0, 120.0)


def test_expected_times_come_from_the_last_run(checkout: Path) -> None:
    run = Run("cpu", "01_good", 0)
    pipeline.write_atomic(run.folder.parent / "timing.json", json.dumps({"starts": [0, 1, 5], "seconds": 7}))
    counted = Progress(run, 3)
    counted.cell()
    counted.cell()
    assert json.loads((run.folder / "progress.json").read_text())["expected"] == [4, 2]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("out", [io.StringIO(), Terminal()], ids=["log", "terminal"])
def test_display(checkout: Path, out: io.StringIO) -> None:
    run = Run("cpu", "01_good", 0)
    counted = Progress(run, 3)
    shown = progress.Display([run], {}, out)
    now = time.time()
    for second in range(11):
        shown.update(now + second)
    counted.write("done")
    shown.update(now + 12)
    lines = out.getvalue().replace("\x1b[1F\x1b[J", "").splitlines()
    assert lines[-1].startswith("01_good  done in")
    assert len(lines) == (12 if out.isatty() else 4), "a log gets a line every five seconds, a terminal redraws"
    assert ("\x1b[1F" in out.getvalue()) == out.isatty()


# --- the whole way ----------------------------------------------------------------------------------------------


def test_lock_keeps_a_second_pipeline_out(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "ROOT", checkout)
    with book.lock(), pytest.raises(UserError, match=f"process {os.getpid()} already works"), book.lock():
        pass
    with book.lock():
        pass


def test_a_failing_chapter_and_a_killed_pipeline_lose_nothing(checkout: Path) -> None:
    shutil.copytree(CHECKOUT / "pipeline", checkout / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "requirements.txt"):
        shutil.copy(CHECKOUT / name, checkout)
    shutil.rmtree(checkout / "medgan_lib")
    shutil.copytree(CHECKOUT / "medgan_lib", checkout / "medgan_lib", ignore=shutil.ignore_patterns("__pycache__"))
    chapter_cell(checkout, 3, lambda source: "import medgan_lib.figures")
    env = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-m", "pipeline", "reference", "--seeds", "1", "--jobs", "2"]
    folder = checkout / "_build" / "runs" / "cpu" / "01_good" / "seed0"

    process = subprocess.Popen(command, cwd=checkout, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(list(folder.glob("checkpoints/*/state.json"))) == 1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: json.loads((folder / "progress.json").read_text())["state"] != "running")
    assert json.loads((folder / "progress.json").read_text())["state"] == "interrupted"

    second = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True)
    assert second.returncode == 1
    assert "ZeroDivisionError" in second.stdout + second.stderr
    assert "_build/runs/cpu/02_bad/seed0/failed.ipynb" in second.stderr
    failed = nbformat.read(folder.parents[1] / "02_bad" / "seed0" / "failed.ipynb", as_version=4)
    assert "ZeroDivisionError" in [output.get("ename") for cell in failed.cells for output in cell.get("outputs", ())]
    assert "Not recorded: 02_bad" in second.stderr
    kept = json.loads((checkout / "book" / "reference" / "cpu" / "01_good.json").read_text())
    assert 0 < kept["claims"]["01-starts-over"]["value"][0] < 40, "the second run went on where the first was killed"
    assert kept["environment"]["threads"] == 1
    assert kept["environment"]["memory_mb"] > 50
    assert kept["environment"]["cpu_capability"]
    pinned = (CHECKOUT / "requirements.txt").read_bytes()
    assert kept["environment"]["requirements"] == hashlib.sha256(pinned).hexdigest()[:12]
    assert kept["environment"]["packages"]["numpy"] == metadata.version("numpy")
    assert kept["environment"]["commit"] is None, "the copy is no repository"
    assert not (folder / "checkpoints").exists()


def wait_for(condition: Any, seconds: float = 60) -> None:
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "it did not come about in time"
        time.sleep(0.05)
