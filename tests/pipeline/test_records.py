"""Records: what they need, and how they outlive a change."""

import hashlib
import json
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
from checkouts import edit, finished

import pipeline
from medgan_lib import ledger
from pipeline import (
    Run,
    UserError,
    book,
    environment,
    fingerprint,
)
from pipeline.record import confirm, confirm_by_first_updates, record


def test_a_record_needs_every_seed_and_none_out_of_date(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = ledger.load_claims(checkout / "book" / "claims.yml")
    monkeypatch.setattr("medgan_lib.ledger.records.load_claims", lambda: claims)
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
    assert written["environment"] == {"memory_mb": 102, "gpu_memory_mb": None, "requirements": "d1",
                                      "commit": "c0, c1", "packages": {"numpy": "2.0"}}
    assert written["edition"] == 1 and "pictures" not in written
    assert written["fingerprint"] == fingerprint.record_fingerprint("01_good", "cpu")


def test_a_record_is_made_with_one_set_of_packages(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = ledger.load_claims(checkout / "book" / "claims.yml")
    monkeypatch.setattr("medgan_lib.ledger.records.load_claims", lambda: claims)
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
    claims = ledger.load_claims(checkout / "book" / "claims.yml")
    monkeypatch.setattr("medgan_lib.ledger.records.load_claims", lambda: claims)
    runs = [Run("cpu", "01_good", seed) for seed in range(3)]
    for run in runs:
        finished(run)
    with pytest.raises(UserError, match="no record of seed 0"):
        confirm("cpu", "01_good", 0)
    path = record("cpu", "01_good", [0, 1, 2])
    before = json.loads(path.read_text())
    edit(checkout / "medgan_lib" / "deep.py", "return SCALE", "return SCALE + 0")
    assert before["fingerprint"] != fingerprint.record_fingerprint("01_good", "cpu")
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
    assert after["fingerprint"] == fingerprint.record_fingerprint("01_good", "cpu")
    assert after["confirmed"] == {"seed": 1, "recorded_with": before["fingerprint"], "against": "record"}
    new = {"fingerprint": 0, "without_training": 0, "confirmed": 0}
    assert after | new == before | new
    edit(checkout / "medgan_lib" / "deep.py", "return SCALE + 0", "return 0 + SCALE")
    finished(runs[2])
    again = json.loads(confirm("cpu", "01_good", 2).read_text())
    assert again["confirmed"] == {"seed": 2, "recorded_with": before["fingerprint"], "against": "record"}


def test_on_a_processor_that_rounds_otherwise_the_recorded_code_is_compared_with(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    claims = ledger.load_claims(checkout / "book" / "claims.yml")
    monkeypatch.setattr("medgan_lib.ledger.records.load_claims", lambda: claims)
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
    assert after["fingerprint"] == fingerprint.record_fingerprint("01_good", "cpu")
    with pytest.raises(UserError, match="does not hold the code that was recorded"):
        confirm("cpu", "01_good", 0, json.loads(theirs.read_text()))


def test_only_what_is_unfinished_or_changed_is_stale(checkout: Path) -> None:
    runs = [Run("cpu", "01_good", seed) for seed in range(3)]
    finished(runs[0])
    finished(runs[1], fingerprint="old")
    assert book.stale(runs) == runs[1:]


def with_a_training_loop(checkout: Path) -> None:
    """The chapter also trains, by a loop in the room whose changes first updates can vouch for."""
    pipeline.write_atomic(checkout / "medgan_lib" / "training.py", "def fit(steps):\n    return 2 * steps\n")
    edit(checkout / "medgan_lib" / "direct.py", "    return g()", "    from .training import fit\n    return fit(g())")


def early(run: Run, *digests: str) -> Run:
    """What an execution of the first updates leaves."""
    run = run._replace(kind="first_updates")
    finished(run, trainings=[{"digest": digest} for digest in digests])
    return run


def test_a_change_of_the_loop_alone_is_confirmed_by_first_updates(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = ledger.load_claims(checkout / "book" / "claims.yml")
    monkeypatch.setattr("medgan_lib.ledger.records.load_claims", lambda: claims)
    with_a_training_loop(checkout)
    run = Run("cpu", "01_good", 0)
    finished(run, trainings=[{"digest": "aa"}, {"digest": "bb"}])
    path = record("cpu", "01_good", [0])
    before = json.loads(path.read_text())
    assert before["first_updates"] == {"0": ["aa", "bb"]}

    edit(checkout / "medgan_lib" / "training.py", "2 * steps", "steps + steps")
    assert fingerprint.record_fingerprint("01_good", "cpu") != before["fingerprint"]
    assert fingerprint.without_training("01_good", "cpu") == before["without_training"]
    with pytest.raises(UserError, match="missing or out of date"):
        confirm_by_first_updates("cpu", "01_good", 0)
    for digests, words in ((("aa", "cc"), "other weights .* training 2 of 2"), (("aa",), "1 trainings here, 2 in"),
                           ((), "0 trainings here")):
        early(run, *digests)
        with pytest.raises(UserError, match=words):
            confirm_by_first_updates("cpu", "01_good", 0)
        assert json.loads(path.read_text()) == before
    early(run, "aa", "bb")
    after = json.loads(confirm_by_first_updates("cpu", "01_good", 0).read_text())
    assert after["fingerprint"] == fingerprint.record_fingerprint("01_good", "cpu")
    assert after["claims"] == before["claims"]
    assert after["confirmed"] == {"seed": 0, "recorded_with": before["fingerprint"], "against": "first updates"}

    edit(checkout / "medgan_lib" / "deep.py", "SCALE = 2", "SCALE = 3")  # not only the loop
    early(run, "aa", "bb")
    with pytest.raises(UserError, match="more changed than the training loop"):
        confirm_by_first_updates("cpu", "01_good", 0)


def test_a_chapter_whose_first_updates_differ_is_executed_as_a_whole(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    claims = ledger.load_claims(checkout / "book" / "claims.yml")
    monkeypatch.setattr("medgan_lib.ledger.records.load_claims", lambda: claims)
    monkeypatch.setattr(book, "check", lambda: None)
    monkeypatch.setattr(book, "ROOT", checkout)
    with_a_training_loop(checkout)
    run = Run("cpu", "01_good", 0)
    finished(run, trainings=[{"digest": "aa"}])
    record("cpu", "01_good", [0])
    called = []

    def execute(command: list[str], cwd: Path, env: dict[str, str]) -> int:
        called.append(command[-1])
        early(run, found)
        return 0

    monkeypatch.setattr(book.subprocess, "call", execute)
    monkeypatch.setattr(book, "execute_all", lambda runs, *_, **__: called.append("whole") or book.Outcome(runs, []))
    found = "bb"
    edit(checkout / "medgan_lib" / "training.py", "2 * steps", "steps + steps")
    assert book.confirm_records("cpu", "01_good", 1) == 1
    assert called == ["--first-updates", "whole"]
    assert "other weights after the first updates of training 1 of 1" in capsys.readouterr().err
    found = "aa"
    edit(checkout / "medgan_lib" / "training.py", "steps + steps", "steps * 2")
    assert book.confirm_records("cpu", "01_good", 1) == 0
    assert called == ["--first-updates", "whole", "--first-updates"]
    assert "Confirmed by first updates" in capsys.readouterr().out
