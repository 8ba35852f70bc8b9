"""Bring chapters up to date, build the pages, and say what came out."""

import contextlib
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline import ROOT, Run, UserError, chapters, choose_chapters, read_json, validate, write_atomic
from pipeline.fingerprint import record_fingerprint, run_fingerprint, without_training
from pipeline.progress import Display, duration, watch
from pipeline.record import confirm, confirm_by_first_updates, first_digests, record

# What the pages are made of, besides the executed notebooks.
SOURCES = (
    "_config.yml", "_toc.yml", "book", "notebooks", "medgan_lib", "pipeline", "data/cards", "data/registry.yml",
)


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


def execute_all(runs: list[Run], jobs: int, threads: int | None = None) -> list[Run]:
    """Execute ``runs`` side by side, ``jobs`` at a time; those that failed.

    ``threads`` is what each kernel gets; by default the cores are shared out among the jobs.
    """
    cores = os.cpu_count() or 1
    threads = threads or max(1, cores // min(jobs, len(runs)))
    for run in runs:
        for name in ("progress.json", "training.json", "failed.ipynb"):
            (run.folder / name).unlink(missing_ok=True)
    profile = runs[0].profile
    targets = [str((run.folder / "results.json").relative_to(ROOT)) for run in runs]
    names = ",".join(sorted({run.chapter for run in runs}))
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", "Snakefile", "--cores", str(jobs), "--keep-going",
        "--rerun-incomplete", "--rerun-triggers", "mtime", "--nolock", "--nocolor", "--quiet", "all",
        "--config", f"profile={profile}", f"chapters={names}", "--", *targets,
    ]
    env = {**os.environ, "MEDGAN_THREADS": str(threads), "MEDGAN_PIPELINE_PID": str(os.getpid())}
    log = ROOT / "_build" / "snakemake.log"
    print(f"Executing {len(runs)} run{'s' * (len(runs) > 1)} at profile {profile}, {min(jobs, len(runs))} at a time, "
          f"{threads} thread{'s' * (threads > 1)} each.", flush=True)
    with log.open("w") as output:
        # A session of its own: an interrupt reaches it once, from here, whether it came from a terminal or by kill.
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=output, start_new_session=True)
    display = Display(runs, usual_seconds(profile, runs))
    try:
        watch(display, lambda: process.poll() is None)
    except KeyboardInterrupt:
        _interrupt(process)
        display.update()
        raise
    failed = stale(runs)
    if process.returncode and not failed:
        failed = runs
    for run in failed:
        _explain(run, log)
    return failed


def _interrupt(process: subprocess.Popen) -> None:
    """Interrupt Snakemake and the chapters, which save what they trained; end them for good if they don't."""
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(30)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        os.killpg(process.pid, signal.SIGKILL)


def _explain(run: Run, log: Path) -> None:
    """Say where a failed run's notebook is, and the last lines of its log (of Snakemake's, if it never began)."""
    own, kept = run.folder / "log.txt", run.folder / "failed.ipynb"
    lines = (own if own.exists() and own.stat().st_size else log).read_text(errors="replace").splitlines()
    where = f"the notebook with the error: {kept.relative_to(ROOT)}" if kept.exists() else "it did not finish"
    print("\n".join([f"{run.name} failed; {where}", *(f"    {line}" for line in lines[-8:])]), file=sys.stderr)


def usual_seconds(profile: str, runs: list[Run]) -> dict[str, float]:
    """Mean recorded duration of each chapter that has a record."""
    found = {}
    for chapter in {run.chapter for run in runs}:
        known = read_json(ROOT / "book" / "reference" / profile / f"{chapter}.json")
        if known and known.get("seconds"):
            found[chapter] = sum(known["seconds"]) / len(known["seconds"])
    return found


def pages_digest(profile: str, seed: int) -> str:
    """Hash of everything the pages are made of."""
    files = [
        file
        for name in SOURCES
        for file in ([ROOT / name] if (ROOT / name).is_file() else sorted((ROOT / name).rglob("*")))
        if file.is_file() and "__pycache__" not in file.parts
    ]
    for chapter in chapters():
        folder = Run(profile, chapter, seed).folder
        files += [folder / name for name in ("notebook.ipynb", "results.json", "failed.ipynb")]
    sums = hashlib.sha256(f"{profile} {seed}".encode())
    for file in files:
        content = file.read_bytes() if file.exists() else b"absent"
        sums.update(f"{file.relative_to(ROOT)} {hashlib.sha256(content).hexdigest()}\n".encode())
    return sums.hexdigest()


def build_pages(profile: str, seed: int, html: Path) -> bool:
    """Build the pages in ``html`` unless they are up to date; whether there was anything to do."""
    from pipeline import stage

    digest = pages_digest(profile, seed)
    mark = html.with_name(f"{html.name}.digest")
    if (html / "index.html").exists() and mark.exists() and mark.read_text() == digest:
        return False
    print("Building the pages …", flush=True)
    mark.unlink(missing_ok=True)
    sources = html.with_name(html.name.replace("html", "stage"))
    stage.stage(profile, seed, stage_dir=sources)
    stage.build(sources, html)
    write_atomic(mark, digest)
    return True


def book(profile: str, names: str, seed: int, jobs: int, html: Path, threads: int | None = None) -> int:
    """``make book``: execute what changed, build the pages; the exit status."""
    check()
    chosen = choose_chapters(profile, names)
    if not chosen:
        raise UserError(f"no chapter runs at profile {profile!r}: book/profiles/{profile}.yml is empty")
    runs = [Run(profile, chapter, seed) for chapter in chosen]
    with lock():
        todo = stale(runs)
        failed = execute_all(todo, jobs, threads) if todo else []
        built = build_pages(profile, seed, html)
    print(verdict_summary(runs))
    if not todo and not built:
        print("Nothing changed since the last time.")
    print(f"The book: {html / 'index.html'}")
    if failed:
        print(f"FAILED: {', '.join(run.name for run in failed)}", file=sys.stderr)
    return bool(failed)


def reference(profile: str, names: str, count: int, jobs: int) -> int:
    """``make reference``: execute the chapters with seeds 0 … count-1, one thread each, and record them."""
    check()
    chosen = choose_chapters(profile, names)
    runs = [Run(profile, chapter, seed) for seed in range(count) for chapter in chosen]
    with lock():
        todo = unrecordable(runs)
        # One thread whatever JOBS is: rounding depends on the number of threads, and a record must not.
        failed = execute_all(todo, jobs, threads=1) if todo else []
        for chapter in chosen:
            if not any(run.chapter == chapter for run in failed):
                print(f"Recorded: {record(profile, chapter, list(range(count))).relative_to(ROOT)}")
    if failed:
        print(f"Not recorded: {', '.join(sorted({run.chapter for run in failed}))}", file=sys.stderr)
    return bool(failed)


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
        failed += execute_all(todo, jobs, threads=1) if todo else []
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
        print("No other record is stale.")
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
