"""Claims and their criteria, as ``claims.yml`` has them: what each statement of the review amounts to.

A figure of merit, a control, a direction and the smallest effect that counts, written down before anything is measured.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

PROFILES = ("ci", "cpu", "real", "gpu")
KINDS = ("greater", "less", "at_least", "at_most")
EFFECTS = ("difference", "ratio")
MINIMUM_SEEDS = 3


@dataclass(frozen=True)
class Claim:
    """One line of ``claims.yml``: a statement of the review and the criterion by which it is judged.

    ``kind`` ``greater``/``less`` compares with a control, ``at_least``/``at_most`` with the bound that
    ``smallest_effect`` then is. ``effect`` ``ratio`` measures ``greater``/``less`` as a factor instead of a
    difference. ``testable`` is True or the reason why the claim cannot be tested here; then no criterion is
    needed.
    """

    id: str
    section: str
    row: int
    chapter: str
    claim: str
    metric: str = ""
    unit: str = ""
    kind: str = ""
    smallest_effect: float = math.nan
    effect: str = "difference"
    control: str | None = None
    seeds: int = 0
    testable: bool | str = True
    history: tuple[Any, ...] = ()
    profiles: tuple[str, ...] = ("cpu", "real", "gpu")

    def expected_at(self, profile: str) -> bool:
        """Whether a run at ``profile`` must give a value; ``ci`` runs everything that ``cpu`` does."""
        return self.testable is True and ("cpu" if profile == "ci" else profile) in self.profiles


_ALWAYS = ("section", "row", "chapter", "claim")
_CRITERION = ("metric", "kind", "smallest_effect", "seeds")


def load_claims(path: str | Path | None = None) -> dict[str, Claim]:
    """Read and check the claims.

    Args:
        path: a claims file; by default the one shipped beside the package, else the checkout's.

    Returns:
        Claims by id, in the file's order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: two claims with one id, a missing or unknown field, or a field that makes no sense.
    """
    import yaml

    path = shipped("claims.yml") if path is None else Path(path)

    class Loader(yaml.SafeLoader):
        """YAML keeps the last of two equal keys without a word; here that would lose a claim."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
            keys = [key.value for key, _ in node.value]
            for key in keys:
                if keys.count(key) > 1:
                    raise ValueError(f"{path}: {key!r} appears twice, near line {node.start_mark.line + 1}")
            return super().construct_mapping(node, deep)

    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(data, dict) or not data:
        raise ValueError(f"{path}: expected a mapping from claim ids to claims")
    return {str(name): _claim(str(name), entry, path) for name, entry in data.items()}


def _claim(name: str, entry: Any, path: Path) -> Claim:
    def demand(condition: bool, message: str) -> None:
        if not condition:
            raise ValueError(f"{path}: claim {name!r}: {message}")

    demand(
        re.fullmatch(r"\d\d-[a-z0-9-]+", name) is not None,
        "an id is the row's two digits, a hyphen and a slug of a-z, 0-9 and hyphens",
    )
    demand(isinstance(entry, dict), "expected a mapping of fields")
    known = [field.name for field in fields(Claim) if field.name != "id"]
    unknown = sorted(str(key) for key in entry if key not in known)
    demand(not unknown, f"unknown field {', '.join(unknown)}; known are {', '.join(known)}")
    testable = entry.get("testable", True)
    demand(
        testable is True or (isinstance(testable, str) and bool(testable.strip())),
        "testable is true, or the reason why the claim cannot be tested here",
    )
    needed = _ALWAYS + (_CRITERION if testable is True else ())
    missing = [key for key in needed if entry.get(key) in (None, "")]
    demand(not missing, f"missing field {', '.join(missing)}")

    entry = {key: value for key, value in entry.items() if value is not None}
    texts = ("section", "chapter", "claim", "metric", "unit", "control")
    for key in texts:
        demand(isinstance(entry.get(key, ""), str), f"{key} must be text (put it in quotes)")
    demand(
        _whole(entry["row"]) and name.startswith(f"{entry['row']:02d}-"),
        f"row is {entry['row']!r}, but the id begins with {name[:2]}",
    )
    demand(
        re.fullmatch(r"\d\d_[a-z0-9_]+", entry["chapter"]) is not None,
        f"chapter {entry['chapter']!r} is not a notebook's name such as 02_wasserstein",
    )
    demand(isinstance(entry.get("history", []), list), "history must be a list")
    profiles = entry.get("profiles", ["cpu"])
    demand(
        isinstance(profiles, list) and bool(profiles) and set(profiles) <= set(PROFILES),
        f"profiles must be a list out of {', '.join(PROFILES)}",
    )
    if testable is True:
        kind, effect, smallest = entry["kind"], entry.get("effect", "difference"), entry["smallest_effect"]
        demand(kind in KINDS, f"kind {kind!r} is none of {', '.join(KINDS)}")
        demand(effect in EFFECTS, f"effect {effect!r} is none of {', '.join(EFFECTS)}")
        demand(_number(smallest) and math.isfinite(smallest), "smallest_effect must be a finite number")
        demand(
            _whole(entry["seeds"]) and entry["seeds"] >= MINIMUM_SEEDS,
            f"seeds must be a whole number, at least {MINIMUM_SEEDS}",
        )
        if kind in ("greater", "less"):
            demand(bool(entry.get("control")), f"kind {kind} needs a control to compare with")
            demand(
                smallest > (1 if effect == "ratio" else 0),
                "smallest_effect must be above 1 for a ratio and above 0 for a difference: a tie is none",
            )
        else:
            demand(effect == "difference", f"kind {kind} compares with a bound and takes no ratio")
        entry["smallest_effect"] = float(smallest)
    for key in ("history", "profiles"):
        if key in entry:
            entry[key] = tuple(entry[key])
    return Claim(id=name, **entry)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def shipped(name: str) -> Path:
    """A file or folder beside the installed package, else in the checkout's ``book``."""
    package = Path(__file__).resolve().parents[1]
    places = (package / name, package.parent / "book" / name)
    for place in places:
        if place.exists():
            return place
    raise FileNotFoundError(f"{name} is neither at {places[0]} nor at {places[1]}; reinstall medgan_lib")


def known_profile(profile: str) -> str:
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}; there are {', '.join(PROFILES)}")
    return profile
