"""Chapters side by side: their order, the end of the time, failures, interrupts; and what records become of it all."""

import json
import math
import signal
import time
from pathlib import Path

import pytest
from checkouts import edit, finished

import pipeline
from medgan_lib import ledger
from pipeline import Run, book, pool
from pipeline.pool import Pool
from pipeline.shared import remove_outdated, shared_folder

# In place of the pipeline's own: leaves what the test has laid ready for it, or acts as the plan of its chapter says.
EXECUTE = """\
import json, os, pathlib, shutil, signal, sys, time
given = dict(zip(sys.argv[2::2], sys.argv[3::2]))
folder = pathlib.Path("_build/runs", given["--profile"], given["--chapters"], "seed" + given["--seed"])
with open("begun.txt", "a") as begun:
    begun.write(given["--chapters"] + " " + given["--seed"] + "\\n")
plan = json.loads(pathlib.Path("plan.json").read_text()).get(given["--chapters"], "")
print("log of", given["--chapters"])
if plan == "fail":
    (folder / "failed.ipynb").write_text("{}")
    sys.exit(1)
if plan == "deaf":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
if plan in ("deaf", "sleep") and not (folder / "saved").exists():
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        (folder / "saved").write_text("")
        sys.exit(130)
prepared = pathlib.Path("prepared", *folder.parts[-3:])
if prepared.exists():
    shutil.copytree(prepared, folder, dirs_exist_ok=True)
"""


@pytest.fixture
def plan(checkout: Path, monkeypatch: pytest.MonkeyPatch):
    """``plan(chapter="fail")`` says how executions go: "fail", "sleep" until interrupted, "deaf" to interrupts."""
    pipeline.write_atomic(checkout / "pipeline" / "__init__.py", "")
    pipeline.write_atomic(checkout / "pipeline" / "__main__.py", EXECUTE)
    monkeypatch.setattr(pool, "ROOT", checkout)
    (checkout / "plan.json").write_text("{}")
    return lambda **chapters: (checkout / "plan.json").write_text(json.dumps(chapters))


def begun(checkout: Path) -> list[str]:
    return (checkout / "begun.txt").read_text().splitlines()


def worked_off(made: Pool) -> int:
    """The largest number of processes that were at work together."""
    most = 0
    while made.busy():
        most = max(most, len(made.running))
        time.sleep(0.01)
    return most


def runs(*chapters: str, seed: int = 0) -> list[Run]:
    return [Run("full", chapter, seed) for chapter in chapters]


def test_seeds_0_and_long_chapters_come_first_and_more_may_follow(checkout: Path, plan) -> None:
    given = [*runs("03_short", seed=1), *runs("03_short", "01_long", "02_unknown")]
    made = Pool(given, 1, 1, {"03_short": 5, "01_long": 70}, math.inf, lambda run: runs("01_long", seed=1) + given)
    assert worked_off(made) == 1
    assert begun(checkout) == ["02_unknown 0", "01_long 0", "03_short 0", "01_long 1", "03_short 1"]
    assert made.left == [] and (given[0].folder / "log.txt").read_text() == "log of 03_short\n"


def test_so_many_at_a_time(checkout: Path, plan) -> None:
    made = Pool(runs(*(f"0{i}_chapter" for i in range(5))), 3, 1, {})
    assert worked_off(made) == 3 and len(begun(checkout)) == 5


def test_a_failure_stops_no_other(checkout: Path, plan) -> None:
    plan(**{"01_bad": "fail"})
    told = []
    made = Pool(runs("01_bad", "02_well", "03_well"), 1, 1, {"01_bad": 9}, math.inf, lambda run: told.append(run) or ())
    worked_off(made)
    assert told == runs("02_well", "03_well") and made.left == []


def test_when_time_is_up_what_runs_is_interrupted_and_nothing_begins(
    checkout: Path, plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "GRACE", 0.5)
    plan(**{"01_slow": "sleep", "02_deaf": "deaf"})
    given = runs("01_slow", "02_deaf", "03_later")
    started = time.monotonic()
    made = Pool(given, 2, 1, {"01_slow": 9, "02_deaf": 8, "03_later": 1}, started + 1.5)
    worked_off(made)
    assert time.monotonic() - started < 20, "a chapter that does not listen is ended"
    assert sorted(made.left) == given and sorted(begun(checkout)) == ["01_slow 0", "02_deaf 0"]
    assert (given[0].folder / "saved").exists()


def test_ctrl_c_lets_chapters_save_and_a_second_one_ends_them(checkout: Path, plan) -> None:
    plan(**{"01_slow": "sleep"})
    made = Pool(runs("01_slow"), 1, 1, {})
    until_begun(made, checkout)
    made.interrupt()
    assert made.left == runs("01_slow") and (made.left[0].folder / "saved").exists()

    plan(**{"01_slow": "deaf"})
    (made.left[0].folder / "saved").unlink()
    made = Pool(runs("01_slow"), 1, 1, {})
    until_begun(made, checkout)
    process = made.running[made.all[0]]
    busy, called = made.busy, []

    def pressed_again() -> bool:
        called.append(1)
        if len(called) == 2:
            raise KeyboardInterrupt
        return busy()

    made.busy = pressed_again
    made.interrupt()
    assert process.wait(10) == -signal.SIGKILL


def until_begun(made: Pool, checkout: Path) -> None:
    (checkout / "begun.txt").unlink(missing_ok=True)
    made.busy()
    end = time.monotonic() + 20
    while not (checkout / "begun.txt").exists() and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.3)  # it sets its handlers


@pytest.fixture
def recordable(checkout: Path, plan, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout in which `reference` runs with prepared results; chapter 02 has a claim of its own."""
    claims = ledger.load_claims(checkout / "book" / "claims.yml")
    monkeypatch.setattr("medgan_lib.ledger.records.load_claims", lambda: claims)
    monkeypatch.setattr(book, "check", lambda: None)
    monkeypatch.setattr(book, "ROOT", checkout)
    return checkout


def prepare(checkout: Path, run: Run, **changes) -> None:
    """Lay ready what an execution of ``run`` leaves."""
    if run.chapter == "02_bad":
        changes["claims"] = {"02-never": {"value": 3.0}}
    finished(run, '<figure class="medgan-figure"><img src="data:image/png;base64,' + DOT + '" alt="a dot"></figure>',
             **changes)
    place = checkout / "prepared" / run.profile / run.chapter / f"seed{run.seed}"
    place.parent.mkdir(parents=True, exist_ok=True)
    run.folder.rename(place)


DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="


def recorded(checkout: Path, chapter: str) -> dict:
    return json.loads((checkout / "book" / "reference" / "full" / f"{chapter}.json").read_text())


def test_in_short_time_what_finished_is_recorded_and_the_rest_goes_on(
    recordable: Path, plan, capsys: pytest.CaptureFixture
) -> None:
    for chapter in ("01_good", "02_bad"):
        prepare(recordable, Run("full", chapter, 0), seconds=2000)
    plan(**{"02_bad": "sleep"})
    assert book.reference("full", "all", None, 2, 0.1) == 0
    told = capsys.readouterr()
    assert "Recorded: book/reference/full/01_good.json" in told.out
    assert "Stopped after 0.1 minutes. Left: 02_bad. The same command goes on from here." in told.out
    first = recorded(recordable, "01_good")
    assert first["seeds"] == [0] and [entry["alt"] for entry in first["pictures"]] == ["a dot"]
    assert not (recordable / "book" / "reference" / "full" / "02_bad.json").exists()

    (recordable / "begun.txt").unlink()
    assert book.reference("full", "all", None, 2, 5) == 0
    assert begun(recordable) == ["02_bad 0"], "what is recorded isn't executed again"
    assert recorded(recordable, "02_bad")["seeds"] == [0] and "Stopped" not in capsys.readouterr().out


def test_other_seeds_follow_where_seed_0_was_quick_or_had_a_gpu(recordable: Path) -> None:
    slow = {"seconds": 601}
    for seed in range(5):
        prepare(recordable, Run("full", "01_good", seed))
    prepare(recordable, Run("full", "02_bad", 0), **slow)
    assert book.reference("full", "all", None, 2) == 0
    assert recorded(recordable, "01_good")["seeds"] == [0, 1, 2, 3, 4]
    assert recorded(recordable, "02_bad")["seeds"] == [0]
    assert set(begun(recordable)[:2]) == {"01_good 0", "02_bad 0"}

    on_a_gpu = {"gpu": "G", "memory_mb": 1, "gpu_memory_mb": 700, "packages": {"numpy": "2.0"}}
    (recordable / "book" / "reference" / "full" / "02_bad.json").unlink()
    finished(Run("full", "02_bad", 0), **slow, environment=on_a_gpu, claims={"02-never": {"value": 3.0}})
    for seed in range(1, 5):
        prepare(recordable, Run("full", "02_bad", seed), **slow)
    assert book.reference("full", "02_bad", None, 2) == 0
    made = recorded(recordable, "02_bad")
    assert made["seeds"] == [0, 1, 2, 3, 4] and made["environment"]["gpu_memory_mb"] == 700


def test_at_full_a_record_counts_like_its_runs_elsewhere(recordable: Path) -> None:
    """As on the next rented machine, which has the record and none of the runs."""
    prepare(recordable, Run("full", "01_good", 0))
    assert book.reference("full", "01_good", 1, 2) == 0
    before = recorded(recordable, "01_good")
    for seed in range(1, 3):
        prepare(recordable, Run("full", "01_good", seed))
    Run("full", "01_good", 0).folder.rename(recordable / "gone")
    (recordable / "begun.txt").unlink()
    assert book.reference("full", "01_good", 3, 1) == 0
    assert begun(recordable) == ["01_good 1", "01_good 2"]
    after = recorded(recordable, "01_good")
    assert after["seeds"] == [0, 1, 2] and after["claims"]["01-starts-over"]["value"] == [2.0, 3.0, 4.0]
    assert after["pictures"] == before["pictures"] and after["environment"]["commit"] == "c0, c1"

    assert book.reference("full", "01_good", 1, 1) == 0
    assert recorded(recordable, "01_good") == after, "fewer seeds take the place of none"
    (recordable / "book" / "reference" / "full" / "01_good" / "1.webp").unlink()
    (recordable / "begun.txt").unlink()
    assert book.reference("full", "01_good", None, 1) == 1, "seeds 3 and 4 were not laid ready"
    assert begun(recordable)[0] == "01_good 0", "for its pictures"
    assert (recordable / "book" / "reference" / "full" / "01_good" / "1.webp").exists()


def test_at_cpu_a_record_waits_for_all_its_seeds(recordable: Path, capsys: pytest.CaptureFixture) -> None:
    for seed in range(4):
        prepare(recordable, Run("cpu", "01_good", seed))
    assert book.reference("cpu", "01_good", None, 2) == 1
    assert len(begun(recordable)) == 5 and not (recordable / "book" / "reference").exists()
    told = capsys.readouterr().err
    assert "01_good seed 4 failed; it did not finish\n    log of 01_good" in told and "Not recorded: 01_good" in told
    prepare(recordable, Run("cpu", "01_good", 4))
    assert book.reference("cpu", "01_good", None, 2) == 0
    assert len(begun(recordable)) == 6


def test_networks_for_several_chapters_are_kept_for_one_state_of_the_code(checkout: Path) -> None:
    for name in ("training/loop.py", "objectives.py"):
        pipeline.write_atomic(checkout / "medgan_lib" / name, "from .deep import g\nX = 1  # one\n")
    before = shared_folder()
    before.mkdir(parents=True)
    remove_outdated()
    edit(checkout / "medgan_lib" / "training" / "loop.py", "# one", "# 1")
    edit(checkout / "medgan_lib" / "figures.py", "COLOUR = 1", "COLOUR = 2")
    assert shared_folder() == before and before.is_dir(), "what only shows numbers trains no network"
    loop, deep = "training/loop.py", "deep.py"
    for file, old, new in ((loop, "X = 1", "X = 2"), (loop, "import g", "import SCALE as g"), (deep, "= 2", "= 3")):
        edit(checkout / "medgan_lib" / file, old, new)
        assert shared_folder() != before
        before = shared_folder()
    remove_outdated()
    assert list((checkout / "_build" / "shared").iterdir()) == []
