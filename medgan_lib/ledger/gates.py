"""Gates: what must hold before the numbers of a claim say anything about a method.

A generator that is no better than a Gaussian, a judge that cannot read real images, a discriminator that always or
never knows: whatever such networks score, it is no evidence for or against the method. ``gates.yml`` has the gates
with their bounds, committed with the criteria. A chapter measures a gate in each run, and a claim that names a gate
which did not hold is "not testable here".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgan_lib.ledger.claims import Claim, read_mapping, shipped

# Of a record's seeds, so many must pass: one bad start in five does not make a method untrained. No seed is dropped
# from the claim's interval for it, as choosing seeds would be choosing results.
SHARE = 0.8
_KINDS = ("at_least", "at_most", "between")


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One entry of ``gates.yml``.

    ``question`` is what it asks, ``fails`` what follows where it does not hold, both in words for readers; ``metric``
    and ``unit`` say what is measured; ``low`` and ``high`` are the bounds, infinite where there is none.
    """

    id: str
    question: str
    fails: str
    metric: str
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high

    def worst(self, values: Sequence[float]) -> float:
        """Of several values the one that holds least."""
        return min(values, key=lambda value: min(value - self.low, self.high - value))


def enough(held: Sequence[bool]) -> bool:
    """Whether so many seeds passed that the others may be bad luck."""
    return bool(held) and sum(held) >= SHARE * len(held) - 1e-9


def load_gates(path: str | Path | None = None) -> dict[str, Gate]:
    """Read and check the gates: those in ``path``, by default those shipped beside the claims.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a gate with a missing or unknown field, or bounds that make no sense.
    """
    path = shipped("gates.yml") if path is None else Path(path)
    return {name: _gate(name, entry, path) for name, entry in read_mapping(path, "names to gates").items()}


def gates_beside(claims: str | Path | None) -> dict[str, Gate]:
    """The gates in the folder of a claims file; none where that folder has no file of gates."""
    if claims is None:
        return load_gates()
    path = Path(claims).with_name("gates.yml")
    return load_gates(path) if path.exists() else {}


def _gate(name: str, entry: Any, path: Path) -> Gate:
    def demand(condition: bool, message: str) -> None:
        if not condition:
            raise ValueError(f"{path}: gate {name!r}: {message}")

    demand(re.fullmatch(r"[a-z][a-z0-9-]+", name) is not None, "a name begins with a letter and has a-z, 0-9, hyphens")
    demand(isinstance(entry, dict), "expected a mapping of fields")
    known = ("question", "fails", "metric", "unit", *_KINDS)
    if unknown := sorted(str(key) for key in entry if key not in known):
        demand(False, f"unknown field {', '.join(unknown)}; known are {', '.join(known)}")
    for key in ("question", "fails", "metric"):
        demand(isinstance(entry.get(key), str) and bool(entry[key].strip()), f"{key} is missing or no text")
    bounds = [key for key in _KINDS if key in entry]
    demand(len(bounds) == 1, f"needs exactly one of {', '.join(_KINDS)}")
    value = entry[bounds[0]]
    numbers = value if bounds[0] == "between" and isinstance(value, list) else [value]
    demand(
        len(numbers) == (2 if bounds[0] == "between" else 1)
        and all(isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in numbers),
        f"{bounds[0]} takes {'two finite numbers' if bounds[0] == 'between' else 'a finite number'}",
    )
    low = numbers[0] if bounds[0] != "at_most" else -math.inf
    high = numbers[-1] if bounds[0] != "at_least" else math.inf
    demand(low < high, "the bounds of between are the wrong way round")
    unit = "" if entry.get("unit") is None else entry["unit"]
    demand(isinstance(unit, str), "unit must be text (put it in quotes)")
    texts = {key: entry[key] for key in ("question", "fails", "metric")}
    return Gate(id=name, **texts, unit=unit, low=float(low), high=float(high))


def check_gates(claims: Mapping[str, Claim], gates: Mapping[str, Gate]) -> None:
    """ValueError, naming the claim, where a claim asks for a gate that does not exist."""
    for claim in claims.values():
        if unknown := [name for name in claim.gate if name not in gates]:
            raise ValueError(
                f"claim {claim.id}: there is no gate {', '.join(map(repr, unknown))}; "
                f"gates.yml has {', '.join(gates) or 'none'}"
            )
