"""Bring chapters up to date, build the pages, and say what came out."""

import contextlib
import fcntl
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import ROOT, Run, UserError, choose_chapters, read_json, validate
from pipeline.build import build_pages
from pipeline.fingerprint import record_fingerprint, run_fingerprint, without_training
from pipeline.pool import Pool
from pipeline.progress import Display, duration, watch
from pipeline.record import Found, confirm, confirm_by_first_updates, first_digests, record
from pipeline.shared import remove_outdated
from pipeline.updates import Updates


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """Keep two pipelines out of one checkout. The system drops the lock with its process, however that ends."""
    path = ROOT / "_build" / "lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise UserError(f"process {file.read().strip()} already works in this checkout; wait for it") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def check() -> None:
    if found := validate.problems():
        raise UserError("\n".join(found))


def stale(runs: list[Run]) -> list[Run]:
    """Those of ``runs`` that never finished or whose code, parameters or data changed since."""
    current = {(run.chapter, run.profile): run_fingerprint(run.chapter, run.profile) for run in runs}
    return [
        run for run in runs
        if (results := run.results()) is None or results.get("fingerprint") != current[run.chapter, run.profile]
    ]


def unrecordable(runs: list[Run]) -> list[Run]:
    """Those of ``runs`` that a record can't take: never finished, or what can change a number changed since.

    That is less than what makes a page out of date: figures and the ledger's words don't count.
    """
    current = {(run.chapter, run.profile): record_fingerprint(run.chapter, run.profile) for run in runs}
    return [
        run for run in runs
        if (run.results() or {}).get("record_fingerprint") != current[run.chapter, run.profile]
    ]


class Outcome(NamedTuple):
    """Runs that failed, and those that time was too short for: the same command goes on with them."""

    failed: list[Run]
    left: list[Run]


def execute_all(
    runs: list[Run],
    jobs: int,
    threads: int | None = None,
    end: float = math.inf,
    finished: Callable[[Run], Iterable[Run]] = lambda run: (),
) -> Outcome:
    """Execute ``runs`` side by side, ``jobs`` at a time, until ``end`` (of ``time.monotonic()``) at the latest.

    ``threads`` is what each kernel gets; by default the cores are shared out among the jobs. ``finished`` is told of
    each run that succeeded, and may give more to do.
    """
    threads = threads or max(1, (os.cpu_count() or 1) // min(jobs, len(runs)))
    remove_outdated()
    profile = runs[0].profile
    print(f"Executing {len(runs)} run{'s' * (len(runs) > 1)} at profile {profile}, {min(jobs, len(runs))} at a time, "
          f"{threads} thread{'s' * (threads > 1)} each.", flush=True)

    def succeeded(run: Run) -> Iterable[Run]:
        display.clear()
        return finished(run)

    known = usual_seconds(profile, runs)
    pool = Pool(runs, jobs, threads, usual_seconds("cpu", runs) | known, end, succeeded)
    display = Display(pool.all, known)
    try:
        watch(display, pool.busy)
    except KeyboardInterrupt:
        pool.interrupt()
        display.update()
        raise
    failed = [run for run in stale(pool.all) if run not in pool.left]
    for run in failed:
        _explain(run)
    return Outcome(failed, [run for run in pool.all if run in pool.left])


def _explain(run: Run) -> None:
    """Say where a failed run's notebook is, and the last lines of its log."""
    log, kept = run.folder / "log.txt", run.folder / "failed.ipynb"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    if kept.exists():
        where = f"the notebook with the error: {kept.relative_to(ROOT)}"
    elif run.results() is not None:
        where = "its code, parameters or data changed while it ran; the same command executes it again"
    else:
        where = "it did not finish"
    print("\n".join([f"{run.name} failed; {where}", *(f"    {line}" for line in lines[-8:])]), file=sys.stderr)


def usual_seconds(profile: str, runs: list[Run]) -> dict[str, float]:
    """Mean recorded duration of each chapter that has a record."""
    found = {}
    for chapter in {run.chapter for run in runs}:
        known = read_json(ROOT / "book" / "reference" / profile / f"{chapter}.json")
        if known and known.get("seconds"):
            found[chapter] = sum(known["seconds"]) / len(known["seconds"])
    return found


def book(
    profile: str, names: str, seed: int, jobs: int, html: Path, threads: int | None = None, early: bool = True
) -> int:
    """``make book``: execute what changed, build the pages; the exit status.

    If ``early``, there are pages at once, and those of chapters that finished while others run.
    """
    check()
    chosen = choose_chapters(profile, names)
    if not chosen:
        raise UserError(f"no chapter runs at profile {profile!r}: book/profiles/{profile}.yml is empty")
    runs = [Run(profile, chapter, seed) for chapter in chosen]
    with lock():
        todo, failed = stale(runs), []
        there = (html / "index.html").exists()
        if todo and early and (len(todo) > 1 or not there):
            failed = _execute_beside_pages(todo, jobs, threads, html, there)
        elif todo:
            failed = execute_all(todo, jobs, threads).failed
        built = build_pages(profile, seed, html)
    print(verdict_summary(runs))
    if not todo and not built:
        print("Nothing changed since the last time.")
    print(f"The book: {html / 'index.html'}")
    if failed:
        print(f"FAILED: {', '.join(run.name for run in failed)}", file=sys.stderr)
    return bool(failed)


def _execute_beside_pages(
    todo: list[Run], jobs: int, threads: int | None, html: Path, there: bool
) -> list[Run]:
    """Execute ``todo``, with a book to read from the beginning, if none is ``there`` yet; the runs that failed."""
    pages = partial(build_pages, todo[0].profile, todo[0].seed, html, False)
    if not there:
        print("Building a first book of what is recorded, a minute or two …", flush=True)
        pages()
    print(f"The book can be read now: {html / 'index.html'}\n"
          "Chapters follow: each page is replaced soon after its chapter has been executed.", flush=True)
    with Updates(pages) as updates:
        if there:
            updates.due()  # of earlier text or code
        return execute_all(todo, jobs, threads, finished=updates.due).failed


def reference(profile: str, names: str, count: int | None, jobs: int, minutes: float | None = None) -> int:
    """``make reference``: execute the chapters with seeds 0 … count-1, one thread each, and record them.

    A chapter is recorded as soon as it is through, so that an interruption, or the end of ``minutes``, loses nothing.
    """
    end = math.inf if minutes is None else time.monotonic() + 60 * minutes
    check()
    chosen, unrecorded = choose_chapters(profile, names), set()

    def finished(run: Run) -> list[Run]:
        found = Found(profile, run.chapter)
        try:
            if seeds := found.recordable(count):
                print(f"Recorded: {record(profile, run.chapter, seeds).relative_to(ROOT)}", flush=True)
                unrecorded.discard(run.chapter)
        except ValueError as error:  # such as a value without a claim: the others go on
            print(f"{run.chapter}: {error}", file=sys.stderr)
            unrecorded.add(run.chapter)
        return found.to_do(count)

    with lock():
        todo = [run for chapter in chosen for run in finished(Run(profile, chapter, 0))]
        # One thread whatever JOBS is: rounding depends on the number of threads, and a record must not.
        failed, left = execute_all(todo, jobs, 1, end, finished) if todo else Outcome([], [])
    unrecorded |= {run.chapter for run in failed}
    if left:
        print(f"Stopped after {minutes:g} minutes. Left: {', '.join(run.name for run in left)}. The same command goes "
              "on from here.")
    if unrecorded:
        print(f"Not recorded: {', '.join(sorted(unrecorded))}", file=sys.stderr)
    return bool(unrecorded)


def confirm_records(profile: str, names: str, jobs: int, before: Path | None = None) -> int:
    """``make confirm``: execute one recorded seed of each chapter whose record is stale, and compare.

    ``before`` is another checkout, of the recorded code: its runs, made here, are compared with instead of the record.
    """
    check()
    if before and not (before / "pipeline" / "__main__.py").is_file():
        raise UserError(f"{before} is no checkout of this book. Make one of the commit that wrote the record: "
                        "git worktree add DIR COMMIT")
    known = {name: read_json(ROOT / "book" / "reference" / profile / f"{name}.json") for name in
             choose_chapters(profile, names)}
    runs = [
        Run(profile, name, min(value["seeds"])) for name, value in known.items()
        if value and value["fingerprint"] != record_fingerprint(name, profile)
    ]
    failed = []
    with lock():
        runs = [run for run in runs if not first_updates_agree(run, known[run.chapter], before)]
        todo = unrecordable(runs)
        failed += execute_all(todo, jobs, threads=1).failed if todo else []
        for run in runs:
            if run in failed:
                continue
            try:
                theirs = recorded_code(before, run, known[run.chapter]["fingerprint"]) if before else None
                print(f"Confirmed: {confirm(*run[:3], theirs).relative_to(ROOT)}")
            except UserError as error:
                print(error, file=sys.stderr)
                failed.append(run)
    if not any(known.values()):
        print(f"Nothing is recorded at profile {profile!r}.")
    elif not runs and not failed:
        print("No record is stale.")
    return bool(failed)


def first_updates_agree(run: Run, known: dict[str, Any], before: Path | None) -> bool:
    """Whether only the training loop or losses changed since the record, and first updates show that nothing follows.

    Then the record is confirmed. Else it says why not, and the whole chapter has to be executed.
    """
    if known.get("without_training") != without_training(run.chapter, run.profile):
        return False
    early = run._replace(kind="first_updates")
    try:
        print(f"Executing the first updates of {run.name}: only the training loop or a loss changed.", flush=True)
        theirs = first_digests(recorded_code(before, early, known["fingerprint"])) if before else None
        recorded_code(ROOT, early, record_fingerprint(run.chapter, run.profile))
        print(f"Confirmed by first updates: {confirm_by_first_updates(*run[:3], theirs).relative_to(ROOT)}")
        return True
    except UserError as error:
        print(f"{error}; the chapter is executed as a whole.", file=sys.stderr)
        return False


def recorded_code(before: Path, run: Run, fingerprint: str) -> dict[str, Any]:
    """The results of ``run`` in a checkout, made there unless they are there with this record fingerprint.

    UserError if they can't be made.
    """
    path = before / run.folder.relative_to(ROOT) / "results.json"
    if (read_json(path) or {}).get("record_fingerprint") != fingerprint:
        if before != ROOT:
            print(f"Executing {run.name} in {before}, 1 thread.", flush=True)
        command = [sys.executable, "-m", "pipeline", "execute", "--profile", run.profile, "--chapters", run.chapter,
                   "--seed", str(run.seed), *(["--first-updates"] if run.kind == "first_updates" else [])]
        env = {**os.environ, "MEDGAN_THREADS": "1", "PYTHONPATH": str(before)}
        if subprocess.call(command, cwd=before, env=env):
            raise UserError(f"{run.name} failed in {before}; see {path.parent / 'log.txt'}")
    return read_json(path)


def verdict_summary(runs: list[Run]) -> str:
    """A line a claim: what this run measured, whether that meets the criterion, and the recorded verdict."""
    from medgan_lib import ledger

    claims, lines = ledger.load_claims(), []
    for run in runs:
        results = run.results()
        if results is None:
            continue
        lines.append(f"{run.name} ({run.profile}, {duration(results['seconds'])})")
        if run.profile == "ci":  # it only shows that the code runs; its numbers mean nothing
            continue
        known = ledger.load_record(run.profile, run.chapter)
        for claim in (claim for claim in claims.values() if claim.chapter == run.chapter):
            verdict = ledger.record_verdict(claim, known) if known else None
            recorded = f"{verdict.verdict} ({verdict.n} seeds)" if verdict and verdict.n else (
                verdict.verdict if verdict else "none")
            entry = results["claims"].get(claim.id)
            if entry is None:
                lines.append(f"  –  {claim.id}: not measured here; recorded: {recorded}")
                continue
            met = ledger.Entry(claim, entry["value"], entry.get("control")).met
            control = "" if entry.get("control") is None else f" against {entry['control']:.4g}"
            lines.append(f"  {'✓' if met else '✗'}  {claim.id}: {entry['value']:.4g}{control} "
                         f"({'meets' if met else 'does not meet'} the criterion); recorded: {recorded}")
    return "\n".join(lines)
