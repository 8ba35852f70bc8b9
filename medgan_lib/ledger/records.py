"""Records: the values of several seeds of a chapter, as JSON, and what follows from them.

Among its "claims" a record has the values of gates, too; no gate is called as a claim is. A record says of which
edition its chapter was. Those of the first edition, made before there were gates, are kept as they are and in no tally.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgan_lib.files.atomic import write_atomic
from medgan_lib.ledger.claims import PROFILES, Claim, known_profile, load_claims, shipped
from medgan_lib.ledger.gates import SHARE, Gate, enough, gates_beside
from medgan_lib.ledger.verdicts import NOT_TESTABLE, Verdict, finite_number, verdict
from medgan_lib.ledger.words import criterion, format_number, gate_words

MIME = "application/vnd.medgan.claims+json"
EDITION = 2  # whose verdicts are counted
_RECORD_KEYS = (
    "chapter",
    "profile",
    "seeds",
    "seconds",
    "fingerprint",
    "parameters",
    "environment",
    "claims",
)


def entries_from_notebook(notebook: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """The values that an executed notebook (an nbformat node or plain dict) recorded, by claim id and name of gate.

    Raises:
        ValueError: the notebook shows no ledger, or two ledgers give one claim.
    """
    found: dict[str, dict[str, float | None]] = {}
    shown = False
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            entries = output.get("data", {}).get(MIME)
            if entries is None:
                continue
            shown = True
            for name, entry in entries.items():
                if name in found:
                    raise ValueError(f"claim {name} is shown by two ledgers of one notebook")
                found[name] = dict(entry)
    if not shown:
        raise ValueError("the notebook shows no ledger: its claims section must end with ledger.show()")
    return found


def gather(runs: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The entries of several runs, one per seed, as lists by claim: the "claims" of a record.

    Raises:
        ValueError: a claim that some run has no value for.
    """
    claims: dict[str, dict[str, Any]] = {}
    for name in sorted({name for run in runs for name in run}):
        without = [str(index + 1) for index, run in enumerate(runs) if name not in run]
        if without:
            raise ValueError(f"claim {name} has no value in run {', '.join(without)} of {len(runs)}")
        controls = [run[name].get("control") for run in runs]
        if None in controls and any(control is not None for control in controls):
            raise ValueError(f"claim {name} has a control in some runs only")
        claims[name] = {
            "value": [run[name]["value"] for run in runs],
            "control": None if None in controls else controls,
        }
        if all("of" in run[name] for run in runs):
            claims[name]["of"] = [run[name]["of"] for run in runs]
    return claims


def check_entries(entries: Iterable[str], chapter: str, profile: str, claims: Mapping[str, Claim]) -> None:
    """Raise ValueError, naming them, unless ``entries`` are the claims and gates that a run of the chapter records."""
    entries = set(entries)
    own = {name: claim for name, claim in claims.items() if claim.chapter == chapter}
    gates = dict.fromkeys(gate for claim in own.values() for gate in claim.gate)
    if stray := sorted(entries - set(own) - set(gates)):
        raise ValueError(
            f"value without a claim of chapter {chapter}: {', '.join(stray)}; "
            f"its claims and their gates are {', '.join((*own, *gates)) or 'none'}"
        )
    due = [claim for claim in own.values() if claim.expected_at(profile)]
    if silent := [claim.id for claim in due if claim.id not in entries]:
        raise ValueError(
            f"claim without a value in chapter {chapter} at profile {profile}: {', '.join(silent)}"
        )
    if shut := sorted({gate for claim in due for gate in claim.gate} - entries):
        raise ValueError(f"gate without a value in chapter {chapter} at profile {profile}: {', '.join(shut)}")
    if spoken := [name for name in own if name in entries and own[name].testable is not True]:
        raise ValueError(f"value for a claim that is declared not testable: {', '.join(spoken)}")


def write_record(
    path: str | Path,
    record: Mapping[str, Any],
    claims: Mapping[str, Claim] | None = None,
    gates: Mapping[str, Gate] | None = None,
) -> None:
    """Check a record, add its verdicts and write it atomically as JSON.

    Args:
        path: where to; folders are made. An earlier record stays whole until the new one replaces it.
        record: ``chapter``, ``profile``, ``seeds``, ``seconds`` (one per seed), ``fingerprint``,
            ``parameters``, ``environment`` and ``claims`` (see :func:`gather`); what else it has is kept.
        claims: the criteria; by default :func:`load_claims`.
        gates: by default :func:`load_gates`.

    Raises:
        ValueError: a claim without a value, a value without a claim, a value that is not finite, or a number
            of values that is not the number of seeds.
    """
    path = Path(path)
    claims = load_claims() if claims is None else claims
    gates = gates_beside(None) if gates is None else gates
    _check_record(record, f"record {path.name}")
    check_entries(record["claims"], record["chapter"], record["profile"], claims)
    judged = {}
    for name, entry in record["claims"].items():
        if name in claims:
            said = record_verdict(claims[name], record, gates).verdict
        else:
            said = "held" if enough([gates[name].holds(value) for value in entry["value"]]) else "did not hold"
        judged[name] = {"control": None, **entry, "verdict": said}
    text = json.dumps({**record, "claims": judged}, indent=2, allow_nan=False, default=_plain) + "\n"
    write_atomic(path, text)


def _plain(value: Any) -> float:
    """Scalars of NumPy and PyTorch, which ``json`` does not know."""
    return value.item()


def _check_record(record: Any, where: str) -> None:
    def demand(condition: bool, message: str) -> None:
        if not condition:
            raise ValueError(f"{where}: {message}")

    demand(isinstance(record, Mapping), "expected a JSON object")
    missing = [key for key in _RECORD_KEYS if key not in record]
    demand(not missing, f"missing {', '.join(missing)}")
    demand(isinstance(record["profile"], str), f"profile must be text, not {record['profile']!r}")
    known_profile(record["profile"])
    seeds, edition = record["seeds"], record.get("edition", 1)
    demand(isinstance(edition, int) and not isinstance(edition, bool), f"edition must be a number, not {edition!r}")
    demand(
        isinstance(seeds, list | tuple) and all(isinstance(seed, int) for seed in seeds),
        f"seeds must be a list of whole numbers, not {seeds!r}",
    )
    demand(
        bool(seeds) and len(set(seeds)) == len(seeds),
        f"seeds must be different from one another and at least one, not {seeds}",
    )
    seconds = record["seconds"]
    demand(isinstance(seconds, list | tuple), f"seconds must be a list, not {seconds!r}")
    demand(len(seconds) == len(seeds), f"{len(seeds)} seeds but {len(seconds)} values of seconds")
    demand(isinstance(record["claims"], Mapping), "claims must be a JSON object")
    for name, entry in record["claims"].items():
        demand(isinstance(entry, Mapping), f"claim {name} must be a JSON object")
        for what in ("value", "control", "of"):
            numbers = entry.get(what)
            if numbers is None and what != "value":
                continue
            if not isinstance(numbers, (list, tuple)) or len(numbers) != len(seeds):
                count = len(numbers) if isinstance(numbers, (list, tuple)) else "no list of"
                raise ValueError(f"{where}: claim {name} has {count} {what}s for {len(seeds)} seeds")
            for number in numbers:
                finite_number(name, what, number)


def load_record(profile: str, chapter: str, reference: str | Path | None = None) -> dict[str, Any] | None:
    """The recorded reference of a chapter at a profile, or None if there is none yet.

    Args:
        profile: one of ``PROFILES``.
        chapter: for example ``02_wasserstein``.
        reference: folder of records; by default the shipped one.

    Raises:
        ValueError: unknown profile, or a file that is damaged or belongs to another chapter or profile.
    """
    known_profile(profile)
    folder = _reference(reference)
    path = folder / profile / f"{chapter}.json" if folder else None
    if path is None or not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); record it again with make reference") from error
    _check_record(record, str(path))
    if (record["profile"], record["chapter"]) != (profile, chapter):
        raise ValueError(f"{path} is the record of {record['chapter']} at {record['profile']}; it was moved")
    return record


def load_first_edition(chapter: str, reference: str | Path | None = None) -> dict[str, Any] | None:
    """What the first edition recorded of a chapter on public data, or None.

    Raises:
        ValueError: the file is damaged.
    """
    folder = _reference(reference)
    path = folder / "first_edition" / f"{chapter}.json" if folder else None
    if path is None or not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); take it from the book's repository again") from error


def is_first_edition(record: Mapping[str, Any]) -> bool:
    """Whether the record's chapter has not been rebuilt yet: then its verdicts are in no tally."""
    return record.get("edition", 1) < EDITION


def load_records(profile: str | None = None, reference: str | Path | None = None) -> list[dict[str, Any]]:
    """All recorded references, or those of one profile, by profile and chapter."""
    folder = _reference(reference)
    profiles = PROFILES if profile is None else (known_profile(profile),)
    paths = [path for name in profiles for path in sorted((folder / name).glob("*.json"))] if folder else []
    return [record for path in paths if (record := load_record(path.parent.name, path.stem, folder))]


def _reference(reference: str | Path | None) -> Path | None:
    if reference is not None:
        return Path(reference)
    try:
        return shipped("reference")
    except FileNotFoundError:  # nothing was recorded yet
        return None


def record_verdict(
    claim: Claim, record: Mapping[str, Any], gates: Mapping[str, Gate] | None = None
) -> Verdict:
    """The verdict that a record gives.

    "not testable here" where its profile cannot test the claim, and where a gate of the claim did not hold, whatever
    the values are. ``gates`` are by default those shipped.
    """
    if claim.testable is True and not claim.expected_at(record["profile"]):
        return Verdict(NOT_TESTABLE, reason=f"tested at profile {', '.join(claim.profiles)}")
    if claim.testable is True and claim.gate:
        shut = shut_gate(claim, record, gates_beside(None) if gates is None else gates)
        if shut:
            return Verdict(NOT_TESTABLE, reason=shut)
    entry = record["claims"].get(claim.id)
    if entry is None:
        return unmeasured(claim)
    return verdict(claim, entry["value"], entry.get("control"), entry.get("of"))


def shut_gate(claim: Claim, record: Mapping[str, Any], gates: Mapping[str, Gate]) -> str:
    """Why the claim's numbers say nothing, in words; "" if enough seeds passed all gates of the claim.

    A record of the first edition has no gates and passes: it is in no tally.
    """
    passed, bad = [True] * len(record["seeds"]), []
    for name in claim.gate:
        gate = gates[name]
        entry = record["claims"].get(name)
        if entry is None and is_first_edition(record):
            continue
        if entry is None:
            return f"its gate was not measured: {gate.question}"
        held = [gate.holds(value) for value in entry["value"]]
        passed = [before and now for before, now in zip(passed, held, strict=True)]
        if not all(held):
            bad.append((sum(held), name))
    if enough(passed):
        return ""
    _, name = min(bad)
    gate, values = gates[name], record["claims"][name]["value"]
    every = "all its gates" if len(claim.gate) > 1 else "it"
    return (
        f"{gate.fails} {gate.metric}: {format_number(statistics.median(values), gate.unit)} (median), asked "
        f"{gate_words(gate)}; {every} held in {sum(passed)} of {len(values)} seeds, needed in {SHARE:.0%}"
    )


def unmeasured(claim: Claim) -> Verdict:
    return verdict(claim, (), None if claim.control is None else ())


@dataclass(frozen=True)
class Row:
    """One claim with what a record says about it, for tables.

    ``value`` and ``control`` are means over seeds (None if not recorded); ``stored`` is the verdict written
    with the record: it differs from ``verdict.verdict`` if the criterion was changed after the recorded run (None in
    the first edition, which had other verdicts).
    """

    claim: Claim
    criterion: str
    value: float | None
    control: float | None
    verdict: Verdict
    stored: str | None


def summary(
    claims: Mapping[str, Claim],
    record: Mapping[str, Any] | None,
    chapter: str | None = None,
    gates: Mapping[str, Gate] | None = None,
) -> list[Row]:
    """One row per claim of the record's chapter (``chapter`` where there is no record, else all claims)."""
    gates = gates_beside(None) if gates is None else gates
    chapter = record["chapter"] if record else chapter
    rows = []
    for claim in claims.values():
        if chapter not in (None, claim.chapter):
            continue
        entry = record["claims"].get(claim.id, {}) if record else {}
        result = record_verdict(claim, record, gates) if record else unmeasured(claim)
        rows.append(
            Row(
                claim,
                criterion(claim),
                _mean(entry.get("value")),
                _mean(entry.get("control")),
                result,
                None if record is None or is_first_edition(record) else entry.get("verdict"),
            )
        )
    return rows


def _mean(numbers: Sequence[float] | None) -> float | None:
    return math.fsum(numbers) / len(numbers) if numbers else None
