"""Gather the runs of several seeds into the recorded reference ``book/reference/<profile>/<chapter>.json``."""

import math
from pathlib import Path
from typing import Any

import pipeline
from pipeline import Run, UserError, read_json
from pipeline.fingerprint import record_fingerprint, without_training


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
        "fingerprint": fingerprint, "without_training": without_training(chapter, profile), "parameters": parameters,
        "environment": environment, "first_updates": {str(seed): first_digests(runs[seed]) for seed in seeds},
        "claims": ledger.gather([result["claims"] for result in results]),
    })
    return path


def first_digests(results: dict[str, Any]) -> list[str]:
    """A digest of the weights after the first updates of each training of a run, in their order."""
    return [training["digest"] for training in results.get("trainings", [])]


def _each(results: list[dict[str, Any]], name: str) -> str | None:
    """What the runs say under ``name``, each value once: seeds may be executed at several commits of the same code."""
    return ", ".join(dict.fromkeys(value for result in results if (value := result["environment"].get(name)))) or None


def confirm_by_first_updates(profile: str, chapter: str, seed: int, theirs: list[str] | None = None) -> Path:
    """Make the record of ``chapter`` valid for a present training loop or losses of other code, within seconds.

    Where nothing else changed, equal weights, buffers and losses after the first updates of every training speak for
    equal numbers (not where the loop does something later only): the record takes the present fingerprint and notes
    how. ``theirs`` are the digests that the recorded code gives on this
    machine, in place of those in the record. A training that starts from what an earlier one learned in full has other
    first weights here, where the earlier one stopped, too: then the chapter has to be executed as a whole.

    Raises:
        UserError: other things changed too, the record holds no digests, or weights differ; then nothing is written.
    """
    from medgan_lib import ledger

    known = ledger.load_record(profile, chapter, pipeline.ROOT / "book" / "reference")
    if known is None or known.get("without_training") != without_training(chapter, profile):
        raise UserError(f"{chapter}: more changed than the training loop and the losses")
    theirs = theirs or known.get("first_updates", {}).get(str(seed)) or []
    results = read_json(Run(profile, chapter, seed, "first_updates").folder / "results.json")
    if results is None or results["record_fingerprint"] != record_fingerprint(chapter, profile):
        raise UserError(f"{chapter}: the first updates of seed {seed} at {profile!r} are missing or out of date")
    ours = first_digests(results)
    if len(ours) != len(theirs) or not ours:
        raise UserError(f"{chapter}: {len(ours)} trainings here, {len(theirs)} in the record")
    if other := [str(i) for i, (a, b) in enumerate(zip(ours, theirs, strict=True), 1) if a != b]:
        raise UserError(f"{chapter}: other weights after the first updates of training {', '.join(other)} "
                        f"of {len(ours)}")
    return _confirmed(known, seed, "first updates")


def _confirmed(known: dict[str, Any], seed: int, against: str) -> Path:
    """Write ``known`` with the present fingerprint, and how it was confirmed."""
    from medgan_lib import ledger

    chapter, profile = known["chapter"], known["profile"]
    fingerprint = record_fingerprint(chapter, profile)
    path = pipeline.ROOT / "book" / "reference" / profile / f"{chapter}.json"
    if known["fingerprint"] != fingerprint:
        recorded = known.get("confirmed", {}).get("recorded_with", known["fingerprint"])
        ledger.write_record(path, {
            **known, "fingerprint": fingerprint, "without_training": without_training(chapter, profile),
            "confirmed": {"seed": seed, "recorded_with": recorded, "against": against},
        })
    return path


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
    known["first_updates"] = {str(seed): first_digests(run)} | known.get("first_updates", {})
    return _confirmed(known, seed, "record" if before is None else "code")


def _same(one: tuple[float | None, ...] | None, other: tuple[float | None, ...] | None) -> bool:
    """Whether value and control agree to nine digits; what is missing agrees with what is missing."""
    if one is None or other is None:
        return False
    return all(
        a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12))
        for a, b in zip(one, other, strict=True)
    )
