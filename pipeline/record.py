"""Gather the runs of several seeds into the recorded reference ``book/reference/<profile>/<chapter>.json``."""

import math
from pathlib import Path
from typing import Any

import pipeline
from pipeline import Run, UserError
from pipeline.fingerprint import record_fingerprint


def record(profile: str, chapter: str, seeds: list[int]) -> Path:
    """Write the record of ``chapter`` at ``profile``.

    Raises:
        UserError: a seed's run is missing or was made by other code, parameters or data than the present ones, or
            the seeds by other versions of packages than each other; then nothing is written and an earlier record
            stays as it is.
    """
    from medgan_lib import ledger

    fingerprint = record_fingerprint(chapter, profile)
    runs = {seed: Run(profile, chapter, seed).results() for seed in seeds}
    if missing := [str(seed) for seed, run in runs.items() if run is None]:
        raise UserError(f"{chapter}: no finished run at {profile!r} of seed {', '.join(missing)}; nothing recorded")
    if old := [str(seed) for seed, run in runs.items() if run["record_fingerprint"] != fingerprint]:
        raise UserError(f"{chapter}: the runs of seed {', '.join(old)} are out of date; nothing recorded")
    results = [runs[seed] for seed in seeds]
    packages = results[0]["environment"].get("packages")
    if other := [seed for seed in seeds if runs[seed]["environment"].get("packages") != packages]:
        folders = ", ".join(str(Run(profile, chapter, seed).folder.relative_to(pipeline.ROOT)) for seed in other)
        raise UserError(f"{chapter}: the packages changed between seed {seeds[0]} and seed "
                        f"{', '.join(map(str, other))}; nothing recorded. Delete {folders} and execute anew")
    environment = dict(results[0]["environment"])
    environment |= {name: _each(results, name) for name in ("requirements", "commit")}
    environment["memory_mb"] = max(result["environment"]["memory_mb"] for result in results)
    parameters = {k: v for k, v in results[0]["parameters"].items() if k not in ("seed", "checkpoints")}
    path = pipeline.ROOT / "book" / "reference" / profile / f"{chapter}.json"
    ledger.write_record(path, {
        "chapter": chapter, "profile": profile, "seeds": seeds,
        "seconds": [result["seconds"] for result in results],
        "fingerprint": fingerprint, "parameters": parameters, "environment": environment,
        "claims": ledger.gather([result["claims"] for result in results]),
    })
    return path


def _each(results: list[dict[str, Any]], name: str) -> str | None:
    """What the runs say under ``name``, each value once: seeds may be executed at several commits of the same code."""
    return ", ".join(dict.fromkeys(value for result in results if (value := result["environment"].get(name)))) or None


def confirm(profile: str, chapter: str, seed: int, before: dict[str, Any] | None = None) -> Path:
    """Make the record of ``chapter`` valid for the present code, on the evidence of one run.

    For changes that are not meant to change a number (a clearer function, a corrected figure): where every value and
    control of the run equals the recorded one of its seed, the record takes the present fingerprint, and notes under
    "confirmed" which seed was executed and which fingerprint all its values were recorded with. Nine digits have to
    agree: two processors of one family already differ in the last one, and a training spreads any other difference.

    On a processor that rounds in another way no training gives the recorded numbers. ``before``, the results of the
    recorded code for that seed on this machine, then takes their place in the comparison.

    Raises:
        UserError: no record, a seed that is not in it, a run that is missing or out of date, other parameters, a
            number that differs, or ``before`` of other code than the recorded one; then the record stays as it is.
    """
    from medgan_lib import ledger

    known = ledger.load_record(profile, chapter, pipeline.ROOT / "book" / "reference")
    run, fingerprint = Run(profile, chapter, seed).results(), record_fingerprint(chapter, profile)
    if known is None or seed not in known["seeds"]:
        raise UserError(f"{chapter}: there is no record of seed {seed} at {profile!r} to confirm")
    if run is None or run["record_fingerprint"] != fingerprint:
        raise UserError(f"{chapter}: the run of seed {seed} at {profile!r} is missing or out of date")
    if changed := [k for k, v in known["parameters"].items() if run["parameters"].get(k) != v]:
        raise UserError(f"{chapter}: parameters differ from the record's: {', '.join(changed)}. Record it anew")
    at = known["seeds"].index(seed)
    ours = {name: (entry["value"], entry.get("control")) for name, entry in run["claims"].items()}
    if before is None:
        theirs = {
            name: (entry["value"][at], None if entry["control"] is None else entry["control"][at])
            for name, entry in known["claims"].items()
        }
    elif before["record_fingerprint"] != known["fingerprint"]:
        raise UserError(f"{chapter}: the checkout to compare with does not hold the code that was recorded")
    else:
        theirs = {name: (entry["value"], entry.get("control")) for name, entry in before["claims"].items()}
    if changed := [name for name in theirs | ours if not _same(theirs.get(name), ours.get(name))]:
        shown = "; ".join(f"{name} was {theirs.get(name)} and is {ours.get(name)}" for name in changed)
        other = "the record" if before is None else "the recorded code"
        raise UserError(f"{chapter}: seed {seed} at {profile!r} gives other numbers than {other}: {shown}. "
                        f"Record it anew: make reference PROFILE={profile} CHAPTERS={chapter}")
    path = pipeline.ROOT / "book" / "reference" / profile / f"{chapter}.json"
    if known["fingerprint"] != fingerprint:
        recorded = known.get("confirmed", {}).get("recorded_with", known["fingerprint"])
        ledger.write_record(path, {
            **known, "fingerprint": fingerprint,
            "confirmed": {"seed": seed, "recorded_with": recorded, "against": "record" if before is None else "code"},
        })
    return path


def _same(one: tuple[float | None, ...] | None, other: tuple[float | None, ...] | None) -> bool:
    """Whether value and control agree to nine digits; what is missing agrees with what is missing."""
    if one is None or other is None:
        return False
    return all(
        a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12))
        for a, b in zip(one, other, strict=True)
    )
