"""From notebooks to a book: validate, execute, record, stage, build. Run as ``python -m pipeline <verb>``.

Everything is found relative to ``ROOT``, the checkout; executed things live under ``RUNS``:
``_build/runs/<profile>/<chapter>/seed<k>/{notebook.ipynb,results.json,log.txt,checkpoints/<fingerprint>/}``, and what
was executed for its first updates only, under ``_build/first_updates``.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from medgan_lib.files.atomic import write_atomic as write_atomic
from medgan_lib.ledger.claims import FORMER_PROFILES
from medgan_lib.ledger.claims import PROFILES as PROFILES

ROOT = Path(__file__).resolve().parent.parent


class UserError(ValueError):
    """Something the user can put right; the message, a line a problem, is shown without traceback."""


class Run(NamedTuple):
    """One execution of one notebook; ``kind`` "first_updates" is one in which every training stops early."""

    profile: str
    chapter: str
    seed: int
    kind: str = "runs"

    @property
    def folder(self) -> Path:
        return ROOT / "_build" / self.kind / self.profile / self.chapter / f"seed{self.seed}"

    @property
    def name(self) -> str:
        return self.chapter if self.seed == 0 else f"{self.chapter} seed {self.seed}"

    def results(self) -> dict[str, Any] | None:
        """What the run left, or None where it did not finish."""
        path = self.folder / "results.json"
        return read_json(path) if (self.folder / "notebook.ipynb").exists() else None


def chapters() -> list[str]:
    """Names of all chapters, in the order of the book."""
    return sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def edition(chapter: str) -> int:
    """Of which edition the chapter is: the notebook's metadata say it."""
    text = (ROOT / "notebooks" / f"{chapter}.ipynb").read_text(encoding="utf-8")
    return int(json.loads(text)["metadata"].get("edition", 1))


def profile_parameters(profile: str) -> dict[str, dict[str, Any]]:
    """What ``profile`` sets in every chapter that runs at it: nothing at ``full``, where notebooks' own values hold.

    The others are files of parameters in ``book/profiles``.
    """
    if profile in FORMER_PROFILES:
        raise UserError(f"there is no profile {profile!r} any more: {FORMER_PROFILES[profile]!r} took its place "
                        "(public data, the values of the notebooks themselves)")
    if profile not in PROFILES:
        raise UserError(f"no profile {profile!r}; there are: {', '.join(PROFILES)}")
    if profile == "full":
        return {chapter: {} for chapter in chapters()}
    values = yaml.safe_load((ROOT / "book" / "profiles" / f"{profile}.yml").read_text(encoding="utf-8")) or {}
    if not isinstance(values, dict):
        raise UserError(f"book/profiles/{profile}.yml must be a mapping from chapter to parameters")
    if unknown := sorted(set(values) - set(chapters())):
        raise UserError(f"book/profiles/{profile}.yml names no chapter: {', '.join(unknown)}; "
                        f"there are: {', '.join(chapters())}")
    return {chapter: values[chapter] or {} for chapter in chapters() if chapter in values}


def choose_chapters(profile: str, names: str = "all") -> list[str]:
    """The chapters that a comma-separated list (or ``all``) means at ``profile``."""
    present = list(profile_parameters(profile))
    if names == "all":
        return present
    chosen = [name for name in names.replace(",", " ").split() if name]
    if not chosen:
        raise UserError(f"{names!r} names no chapter; there are: {', '.join(present) or 'none'}")
    if unknown := [name for name in chosen if name not in present]:
        raise UserError(f"no chapter {', '.join(map(repr, unknown))} at profile {profile!r}; there are: "
                        f"{', '.join(present) or 'none'}")
    return sorted(set(chosen))


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in ``path``; None where there is none or it is unreadable (then it is made anew)."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
