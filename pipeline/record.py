"""Gather the runs of several seeds into the recorded reference ``book/reference/<profile>/<chapter>.json``."""

from pathlib import Path

import pipeline
from pipeline import Run, UserError
from pipeline.fingerprint import record_fingerprint


def record(profile: str, chapter: str, seeds: list[int]) -> Path:
    """Write the record of ``chapter`` at ``profile``.

    Raises:
        UserError: a seed's run is missing or was made by other code, parameters or data than the present ones; then
            nothing is written and an earlier record stays as it is.
    """
    from medgan_lib import ledger

    fingerprint = record_fingerprint(chapter, profile)
    runs = {seed: Run(profile, chapter, seed).results() for seed in seeds}
    if missing := [str(seed) for seed, run in runs.items() if run is None]:
        raise UserError(f"{chapter}: no finished run at {profile!r} of seed {', '.join(missing)}; nothing recorded")
    if old := [str(seed) for seed, run in runs.items() if run["record_fingerprint"] != fingerprint]:
        raise UserError(f"{chapter}: the runs of seed {', '.join(old)} are out of date; nothing recorded")
    results = [runs[seed] for seed in seeds]
    environment = dict(results[0]["environment"])
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
