"""``python -m pipeline <verb>``: what the Makefile calls. ``--help`` of each verb says what it takes."""

import argparse
import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from pipeline import PROFILES, ROOT, Run, UserError, choose_chapters


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline", description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)

    def verb(name: str, text: str, *options: str) -> None:
        sub = verbs.add_parser(name, help=text, description=text)
        for option in options:
            sub.add_argument(f"--{option}", **_OPTIONS[option])

    verb("book", "execute what changed and build the book", "profile", "chapters", "seed", "jobs")
    verb("reference", "execute with several seeds and record", "profile", "chapters", "seeds", "jobs", "minutes")
    text = "execute one seed of stale records and keep those whose numbers are the same"
    verb("confirm", text, "profile", "chapters", "jobs", "before")
    verb("test", "run every test, every chapter at ci, and the rendered book")
    verb("data", "fetch real data sets from their origins", "names")
    verb("bench", "compare the training loop with others")
    verb("lock", "pin all packages anew in requirements.txt and requirements-cuda.txt")
    verb("execute", "execute one chapter once (called by the others)", "profile", "chapters", "seed", "first-updates")
    verb("record", "record finished runs (called by Snakemake)", "profile", "chapters", "seeds")
    verb("setup", "write the setup cell into every notebook")
    verb("readme", "refresh the generated table in the README")
    return parser


def _whole(low: int):
    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < low:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {low}")
        return int(text)

    return number


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return number


_OPTIONS = {
    "profile": {"default": "cpu", "help": f"{', '.join(PROFILES)} (cpu)"},
    "chapters": {"default": "all", "help": "comma-separated names of notebooks (all)"},
    "seed": {"type": _whole(0), "default": 0, "help": "the random seed (0)"},
    "seeds": {"type": _whole(1), "default": None,
              "help": "how many seeds, from 0 on (5; at full 1, or 5 where it took at most 10 minutes or had a GPU)"},
    "jobs": {"type": _whole(1), "default": None, "help": "how many chapters side by side (cores)"},
    "minutes": {"type": _positive, "default": None, "help": "stop after so many minutes; the same command goes on"},
    "before": {"type": lambda text: Path(text).absolute(), "default": None,
               "help": "a checkout of the recorded code, to compare with what it gives on this machine (the record)"},
    "first-updates": {"action": "store_true", "help": "stop every training early, to compare its first weights"},
    "names": {"default": "", "help": "comma-separated names of data sets (all)"},
}


def main(arguments: list[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # killed politely: as if by Ctrl-C
    from pipeline import book

    jobs = getattr(args, "jobs", None) or os.cpu_count() or 1
    match args.verb:
        case "book":
            threads = 1 if args.profile == "ci" else None
            return book.book(args.profile, args.chapters, args.seed, jobs, ROOT / "_build" / "html", threads)
        case "reference":
            return book.reference(args.profile, args.chapters, args.seeds, jobs, args.minutes)
        case "confirm":
            return book.confirm_records(args.profile, args.chapters, jobs, args.before)
        case "test":
            return test(jobs)
        case "data":
            names = args.names.replace(",", " ").split()
            return subprocess.call([sys.executable, "-m", "medgan_lib.cohorts.fetch", *names], cwd=ROOT)
        case "bench":
            scripts = ("benchmarks/fit.py", "benchmarks/translate.py")
            return next((bad for script in scripts if (bad := subprocess.call([sys.executable, script], cwd=ROOT))), 0)
        case "lock":
            from pipeline.lock import lock

            lock()
        case "execute":
            from pipeline.execute import execute

            kind = "first_updates" if args.first_updates else "runs"
            chosen = choose_chapters(args.profile, args.chapters)
            if len(chosen) != 1:
                raise UserError(f"execute takes one chapter, not {len(chosen)}: --chapters 01_objectives")
            return execute(Run(args.profile, chosen[0], args.seed, kind))
        case "record":
            from pipeline.record import SEEDS, record

            for chapter in choose_chapters(args.profile, args.chapters):
                print(f"Recorded: {record(args.profile, chapter, list(range(args.seeds or SEEDS)))}")
        case "setup":
            from pipeline.setup_cell import write_setup_cells

            print(f"Changed: {', '.join(path.name for path in write_setup_cells(ROOT)) or 'nothing'}")
        case "readme":
            from pipeline.readme import refresh

            refresh(ROOT / "README.md")
    return 0


def test(jobs: int) -> int:
    """``make test``: the ci book, then one pytest run over units, notebooks (nbval) and the rendered book."""
    from pipeline import book

    html = ROOT / "_build" / "ci_html"
    executed = ROOT / "_build" / "runs" / "ci"
    shutil.rmtree(executed, ignore_errors=True)  # always anew: the run is the test
    try:
        status = book.book("ci", "all", 0, jobs, html, threads=1, early=False)
    except UserError as error:
        print(error, file=sys.stderr)
        status = 2
    notebooks = sorted(str(path.relative_to(ROOT)) for path in executed.glob("*/seed0/notebook.ipynb"))
    env = {
        **os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0",
        "MEDGAN_BOOK": str(html), "MEDGAN_PROGRESS": os.devnull, "MEDGAN_STATIC": "1",
        "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
    }
    # loadfile: a notebook's cells share one kernel, so they must stay together. In the order given, because else files
    # with few tests come last, and those that execute chapters have few: one process would wait minutes for the other.
    workers = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
    command = [sys.executable, "-m", "pytest", *workers, "-ra", *notebooks, "tests"]
    if notebooks:
        command += ["--nbval", "--nbval-sanitize-with", "tests/notebooks/sanitize.cfg"]
    return subprocess.call(command, cwd=ROOT, env=env) or status


if __name__ == "__main__":
    os.chdir(ROOT)
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"{error}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        sys.exit(f"{error.strerror}: {error.filename or ROOT}. What was finished is kept; the same command goes on.")
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on from here.", file=sys.stderr)
        sys.exit(130)
