"""Claims and their criteria, as ``claims.yml`` has them: what each statement of the review amounts to.

A figure of merit, a control, a direction and the smallest effect that counts, written down before anything is measured.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

PROFILES = ("ci", "cpu", "full")
# Names that profiles once had, for those who come with an old command or an old notebook.
FORMER_PROFILES = {"real": "full", "gpu": "full"}
COMPARISONS = ("greater", "less")
BOUNDS = ("at_least", "at_most")
KINDS = (*COMPARISONS, *BOUNDS)
EFFECTS = ("difference", "ratio", "ratio_of_means")
# What sort of number a run gives, which decides the interval: see `verdicts`.
SCALES = ("mean", "correlation", "share", "yes_no", "sign")
SOURCES = ("review", "paper", "ours")
PROTOCOLS = ("same data", "public data", "simulated")
MINIMUM_SEEDS = 5


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One line of ``claims.yml``: a statement and the criterion by which it is judged.

    ``source`` says who states it: the ``review``, the ``paper`` of the method, or this book (``ours``). ``place`` is
    where, as exactly as can be said: "Sec. 2.1, Eq. 4", or for a paper its key in the bibliography first:
    "metz2017, Fig. 2". ``protocol`` says how near our data are to those of the source, for all profiles or by profile.

    ``kind`` ``greater``/``less`` compares with a control and asks for ``smallest_effect``, a difference or (``effect``
    ``ratio`` or ``ratio_of_means``) a factor. ``at_least``/``at_most`` compare with ``bound``; a bound that is missed
    by no more than ``margin`` is nearly kept. ``scale`` is what sort of number a run gives (`SCALES`). ``gate`` names
    what must hold before the numbers say anything (`gates`). A ``check`` is true by construction: a test of the code,
    and not counted among the claims. ``testable`` is True or the reason why the claim cannot be tested here; then no
    criterion is needed.
    """

    id: str
    row: int
    chapter: str
    claim: str
    source: str = "review"
    place: str = ""
    protocol: str | Mapping[str, str] = ""
    metric: str = ""
    unit: str = ""
    kind: str = ""
    scale: str = "mean"
    effect: str = "difference"
    smallest_effect: float = math.nan
    bound: float = math.nan
    margin: float = 0.0
    control: str | None = None
    gate: tuple[str, ...] = ()
    check: bool = False
    seeds: int = 0
    testable: bool | str = True
    history: tuple[Any, ...] = field(default=())
    profiles: tuple[str, ...] = ("cpu", "full")

    def expected_at(self, profile: str) -> bool:
        """Whether a run at ``profile`` must give a value; ``ci`` runs everything that ``cpu`` does."""
        return self.testable is True and ("cpu" if profile == "ci" else profile) in self.profiles

    def protocol_at(self, profile: str) -> str:
        """One of `PROTOCOLS`, or nothing where the claim has no value at ``profile``."""
        profile = "cpu" if profile == "ci" else profile
        return self.protocol if isinstance(self.protocol, str) else self.protocol.get(profile, "")


_ALWAYS = ("source", "place", "row", "chapter", "claim")
_CRITERION = ("metric", "kind", "protocol", "seeds")
_RANGES = {"correlation": (-0.9999, 0.9999), "share": (0, 1), "yes_no": (0, 1), "sign": (-1, 1)}


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
    path = shipped("claims.yml") if path is None else Path(path)
    return {name: _claim(name, entry, path) for name, entry in read_mapping(path, "claim ids to claims").items()}


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """The mapping in a YAML file. ValueError where it is none, is empty, or has a key twice."""
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML keeps the last of two equal keys without a word; here that would lose a claim."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
            keys = [key.value for key, _ in node.value]
            for key in keys:
                if keys.count(key) > 1:
                    raise ValueError(f"{path}: {key!r} appears twice, near line {node.start_mark.line + 1}")
            return super().construct_mapping(node, deep)

        def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
            """YAML reads 010 as 8 and 1:30 as 90."""
            if not re.fullmatch(r"[-+]?(0|[1-9][0-9]{0,17})", node.value):
                where = f"{path}, line {node.start_mark.line + 1}"
                raise ValueError(f"{where}: {node.value[:30]} is no plain whole number; write it out, or quote text")
            return int(node.value)

    Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_yaml_int)
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: {error}") from error
    if not isinstance(data, dict) or not data:
        raise ValueError(f"{path}: expected a mapping from {what}")
    return {str(name): entry for name, entry in data.items()}


def _claim(name: str, entry: Any, path: Path) -> Claim:
    def demand(condition: bool, message: str) -> None:
        if not condition:
            raise ValueError(f"{path}: claim {name!r}: {message}")

    demand(
        re.fullmatch(r"\d\d-[a-z0-9-]+", name) is not None,
        "an id is the row's two digits, a hyphen and a slug of a-z, 0-9 and hyphens",
    )
    demand(isinstance(entry, dict), "expected a mapping of fields")
    known = [one.name for one in fields(Claim) if one.name != "id"]
    unknown = sorted(str(key) for key in entry if key not in known)
    demand(not unknown, f"unknown field {', '.join(unknown)}; known are {', '.join(known)}")
    testable = entry.get("testable", True)
    demand(
        testable is True
        or (isinstance(testable, str) and testable.strip().lower() not in ("", "true", "false", "yes", "no")),
        "testable is true, or the reason why the claim cannot be tested here",
    )
    needed = _ALWAYS + (_CRITERION if testable is True else ())
    missing = [key for key in needed if entry.get(key) in (None, "")]
    demand(not missing, f"missing field {', '.join(missing)}")

    entry = {key: value for key, value in entry.items() if value is not None}
    for key in ("source", "place", "chapter", "claim", "metric", "unit", "control"):
        text = entry.get(key, "")
        demand(isinstance(text, str), f"{key} must be text (put it in quotes)")
        demand(
            text == text.strip() and not set(text) & set("`\n") and (key != "unit" or not set(text) & set("<>")),
            f"{key} must be one line without blanks at its ends or backticks (a unit: without < and >)",
        )
        demand(bool(text) or key not in entry, f"{key} is empty")
    demand(
        _whole(entry["row"]) and name.startswith(f"{entry['row']:02d}-"),
        f"row is {entry['row']!r}, but the id begins with {name[:2]}",
    )
    demand(
        re.fullmatch(r"\d\d_[a-z0-9_]+", entry["chapter"]) is not None,
        f"chapter {entry['chapter']!r} is not a notebook's name such as 02_wasserstein",
    )
    demand(entry["source"] in SOURCES, f"source {entry['source']!r} is none of {', '.join(SOURCES)}")
    history = entry.get("history", [])
    demand(
        isinstance(history, list) and all(isinstance(one, str) for one in history), "history must be a list of texts"
    )
    demand(isinstance(entry.get("check", False), bool), "check is true or false")
    profiles = entry.get("profiles", ["cpu"])
    measured = [profile for profile in PROFILES if profile != "ci"]  # ci runs what cpu does
    whole = isinstance(profiles, list) and all(isinstance(one, str) for one in profiles)
    for former in FORMER_PROFILES if whole else ():
        took = FORMER_PROFILES[former]
        demand(former not in profiles, f"there is no profile {former!r} any more: {took!r} took its place")
    demand(
        whole and bool(profiles) and set(profiles) <= set(measured) and len(set(profiles)) == len(profiles),
        f"profiles must be a list out of {', '.join(measured)}",
    )
    gate = entry.get("gate", [])
    gate = [gate] if isinstance(gate, str) else gate
    demand(
        isinstance(gate, list) and all(isinstance(one, str) for one in gate),
        "gate is the name of a gate, or a list of names",
    )
    demand(not (gate and entry.get("check")), "a check is true by construction and needs no gate")
    if testable is True:
        _check_protocol(entry["protocol"], entry.get("profiles", ["cpu", "full"]), demand)
        _check_criterion(entry, demand)
    entry["gate"] = gate
    for key in ("history", "profiles", "gate"):
        if key in entry:
            entry[key] = tuple(entry[key])
    return Claim(id=name, **entry)


def _check_protocol(protocol: Any, profiles: list[str], demand: Any) -> None:
    one_each = isinstance(protocol, dict)
    values = list(protocol.values()) if one_each else [protocol]
    demand(all(value in PROTOCOLS for value in values), f"protocol {protocol!r}: there are {', '.join(PROTOCOLS)}")
    demand(
        not one_each or set(protocol) == set(profiles),
        f"protocol by profile must name each of {', '.join(profiles)}, and no other",
    )


def _check_criterion(entry: dict[str, Any], demand: Any) -> None:
    """Demands what a criterion needs, and turns its numbers into floats."""
    kind, effect, scale = entry["kind"], entry.get("effect", "difference"), entry.get("scale", "mean")
    demand(kind in KINDS, f"kind {kind!r} is none of {', '.join(KINDS)}")
    demand(effect in EFFECTS, f"effect {effect!r} is none of {', '.join(EFFECTS)}")
    demand(scale in SCALES, f"scale {scale!r} is none of {', '.join(SCALES)}")
    demand(scale == "mean" or effect == "difference", f"scale {scale} takes no ratio")
    demand(
        _whole(entry["seeds"]) and entry["seeds"] >= MINIMUM_SEEDS,
        f"seeds must be a whole number, at least {MINIMUM_SEEDS}",
    )
    numbers = ("smallest_effect",) if kind in COMPARISONS else ("bound", "margin")
    others = {"smallest_effect", "bound", "margin"} - set(numbers)
    if stray := sorted(others & set(entry)):
        demand(False, f"kind {kind} takes no {', '.join(stray)}, but {numbers[0]}")
    demand(numbers[0] in entry, f"kind {kind} needs {numbers[0]}")
    for key in numbers:
        value = entry.get(key, 0)
        hint = "; YAML wants 1.0e-3 for 1e-3" if isinstance(value, str) else ""
        demand(_number(value) and math.isfinite(value), f"{key} must be a finite number{hint}")
        entry[key] = float(value)
    if kind in COMPARISONS:
        demand(bool(entry.get("control")), f"kind {kind} needs a control to compare with")
        demand(
            entry["smallest_effect"] > (0 if effect == "difference" else 1),
            "smallest_effect must be above 1 for a ratio and above 0 for a difference: a tie is none",
        )
    else:
        demand(effect == "difference", f"kind {kind} compares with a bound and takes no ratio")
        demand(entry["margin"] >= 0, "margin must not be below 0")
        low, high = _RANGES.get(scale, (-math.inf, math.inf))
        demand(low <= entry["bound"] <= high, f"bound must lie in {low:g} to {high:g}, where a {scale} does")


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
    if profile in FORMER_PROFILES:
        raise ValueError(f"there is no profile {profile!r} any more: {FORMER_PROFILES[profile]!r} took its place")
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}; there are {', '.join(PROFILES)}")
    return profile
