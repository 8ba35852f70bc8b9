"""Gather the runs of several seeds into the recorded reference ``book/reference/<profile>/<chapter>.json``."""

import contextlib
import math
from pathlib import Path
from typing import Any

import pipeline
from pipeline import Run, UserError, edition, pictures, read_json
from pipeline.fingerprint import record_fingerprint, without_training

SEEDS = 5
QUICK = 600  # seconds that seed 0 may take at ``full`` on a CPU for others to follow


class Found:
    """What there is of a chapter at a profile that a record can be made of: results of the present code, by seed.

    At ``full`` a record of the present code counts like its runs, which may have been made on a rented machine; that
    of another profile is made anew of runs.
    """

    def __init__(self, profile: str, chapter: str) -> None:
        self.profile, self.chapter = profile, chapter
        self.fingerprint = record_fingerprint(chapter, profile)
        self.path = pipeline.ROOT / "book" / "reference" / profile / f"{chapter}.json"
        known = read_json(self.path) if profile == "full" else None
        self.known = known if known and known.get("fingerprint") == self.fingerprint else None
        self.pictured = self.known is not None and pictures.problem(self.known, self.path.parents[1]) is None

    def recorded(self, seed: int) -> bool:
        """Whether the record has this seed, and with seed 0 its pictures."""
        return self.known is not None and seed in self.known["seeds"] and (seed > 0 or self.pictured)

    def results(self, seed: int) -> dict[str, Any] | None:
        if self.recorded(seed):
            return _part(self.known, seed)
        run = Run(self.profile, self.chapter, seed).results()
        return run if run and run["record_fingerprint"] == self.fingerprint else None

    def wanted(self, count: int | None) -> list[int]:
        """Seeds 0 … count-1; by default at ``full`` seed 0, and the others where that was quick or on a GPU."""
        if count is None and self.profile == "full":
            first = self.results(0)
            quick = first and (first["seconds"] <= QUICK or first["environment"].get("gpu"))
            return list(range(SEEDS if quick else 1))
        return list(range(SEEDS if count is None else count))

    def to_do(self, count: int | None) -> list[Run]:
        """What has to be executed."""
        return [Run(self.profile, self.chapter, seed) for seed in self.wanted(count) if self.results(seed) is None]

    def recordable(self, count: int | None) -> list[int]:
        """The seeds that a record is due of: all that are wanted, and at ``full`` as many as there are, with seed 0."""
        wanted = self.wanted(count)
        there = [seed for seed in wanted if self.results(seed) is not None]
        if self.profile == "full" and 0 in there:
            return sorted({*there, *(self.known or {"seeds": []})["seeds"]})
        return there if there == wanted else []


def _part(known: dict[str, Any], seed: int) -> dict[str, Any]:
    """What a record says of one of its seeds, in the form of a run's results."""
    at = known["seeds"].index(seed)
    claims = {
        name: {key: values[at] for key, values in entry.items() if isinstance(values, list)}
        for name, entry in known["claims"].items()
    }
    digests = known.get("first_updates", {}).get(str(seed), [])
    return {
        "seconds": known["seconds"][at], "environment": known["environment"], "parameters": known["parameters"],
        "claims": claims, "trainings": [{"digest": digest} for digest in digests],
    }


def record(profile: str, chapter: str, seeds: list[int]) -> Path:
    """Write the record of ``chapter`` at ``profile``.

    Raises:
        UserError: a seed's run is missing or was made by other code, parameters or data than the present ones, or
            the seeds by other versions of packages than each other; then nothing is written and an earlier record
            stays as it is.
    """
    from medgan_lib import ledger

    found = Found(profile, chapter)
    runs = {seed: found.results(seed) for seed in seeds}
    absent = [str(seed) for seed, run in runs.items() if run is None]
    if missing := [seed for seed in absent if Run(profile, chapter, int(seed)).results() is None]:
        raise UserError(f"{chapter}: no finished run at {profile!r} of seed {', '.join(missing)}; nothing recorded")
    if absent:
        raise UserError(f"{chapter}: the runs of seed {', '.join(absent)} are out of date; nothing recorded")
    results = [runs[seed] for seed in seeds]
    packages = results[0]["environment"].get("packages")
    if other := [seed for seed in seeds if runs[seed]["environment"].get("packages") != packages]:
        made = [found.path] if found.known else [Run(profile, chapter, seed).folder for seed in other]
        places = ", ".join(str(path.relative_to(pipeline.ROOT)) for path in made)
        raise UserError(f"{chapter}: the packages changed between seed {seeds[0]} and seed "
                        f"{', '.join(map(str, other))}; nothing recorded. Delete {places} and execute anew")
    known = found.known or {}
    kept = {key: known[key] for key in ("confirmed",) if key in known}
    with _pictures(found) as shown:
        ledger.write_record(found.path, {
            "chapter": chapter, "profile": profile, "edition": edition(chapter), "seeds": seeds,
            "seconds": [result["seconds"] for result in results], "fingerprint": found.fingerprint,
            "without_training": without_training(chapter, profile),
            "parameters": {k: v for k, v in results[0]["parameters"].items() if k not in ("seed", "checkpoints")},
            "environment": _environment(results),
            "first_updates": {str(seed): first_digests(runs[seed]) for seed in seeds}, **kept, **shown,
            "claims": ledger.gather([result["claims"] for result in results]),
        })
    return found.path


@contextlib.contextmanager
def _pictures(found: Found):
    """What the record says of pictures, where it has any: those it has already, or else those of the run of seed 0."""
    if not pictures.kept(found.profile, found.chapter):
        yield {}
    elif found.recorded(0):
        yield {key: found.known[key] for key in ("pictures", "pictures_withheld") if key in found.known}
    else:
        with pictures.recorded(Run(found.profile, found.chapter, 0), found.path.with_suffix("")) as shown:
            yield shown


def _environment(results: list[dict[str, Any]]) -> dict[str, Any]:
    """That of the first seed, and of all seeds what may differ: commits of the same code, machines, largest memory."""
    environment = dict(results[0]["environment"])
    environment |= {name: _each(results, name) for name in ("requirements", "commit", "cpu", "gpu")
                    if name in environment}
    for name in ("memory_mb", "gpu_memory_mb"):
        environment[name] = max(filter(None, (result["environment"].get(name) for result in results)), default=None)
    return environment


def first_digests(results: dict[str, Any]) -> list[str]:
    """A digest of the weights after the first updates of each training of a run, in their order."""
    return [training["digest"] for training in results.get("trainings", [])]


def _each(results: list[dict[str, Any]], name: str) -> str | None:
    """What the runs say under ``name``, each value once."""
    found = (value for result in results for value in (result["environment"].get(name) or "").split(", ") if value)
    return ", ".join(dict.fromkeys(found)) or None


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
