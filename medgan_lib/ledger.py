"""Claims, their measured values, and the verdicts that follow from them.

``claims.yml`` says, before anything is measured, what each claim of the review amounts to: a figure of
merit, a control, a direction and the smallest effect that counts. A chapter records one value (and one
control) per claim and run; the pipeline gathers the runs of several seeds in a record; a verdict is computed
from a record whenever it is shown, and never typed.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from medgan_lib.files.atomic import write_atomic

MIME = "application/vnd.medgan.claims+json"
PROFILES = ("ci", "cpu", "real", "gpu")
KINDS = ("greater", "less", "at_least", "at_most")
EFFECTS = ("difference", "ratio")

SUPPORTED = "supported"
NOT_SUPPORTED = "not supported at this scale"
CONTRADICTED = "contradicted"
NOT_TESTABLE = "not testable here"
NO_VERDICT = "no verdict"
MINIMUM_SEEDS = 3

# The mark repeats in shape what the colour says; mid-tone colours are seen on light and dark pages.
_BADGES = {
    SUPPORTED: ("✓", "#1a9850"),
    NOT_SUPPORTED: ("○", "#b8860b"),
    CONTRADICTED: ("✗", "#d6404e"),
    NOT_TESTABLE: ("–", "#808080"),
    NO_VERDICT: ("…", "#808080"),
}
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


# --- claims -----------------------------------------------------------------------------------


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

    path = _shipped("claims.yml") if path is None else Path(path)

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


def _shipped(name: str) -> Path:
    """A file or folder beside the installed package, else in the checkout's ``book``."""
    here = Path(__file__).resolve().parent
    places = (here / name, here.parent / "book" / name)
    for place in places:
        if place.exists():
            return place
    raise FileNotFoundError(f"{name} is neither at {places[0]} nor at {places[1]}; reinstall medgan_lib")


# --- verdicts ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What the measured values say about one claim.

    ``effect``, ``low`` and ``high`` are the mean effect and its 95 % interval over ``n`` seeds, oriented as
    :func:`verdict` explains; None where they cannot be computed. ``reason`` goes with "not testable here".
    """

    verdict: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    reason: str = ""


def effects(claim: Claim, values: Iterable[Any], controls: Iterable[Any] | None = None) -> list[float]:
    """The effect seen with each seed: positive (a ratio: above 1) where the claim's direction holds.

    ``greater``: value − control, or value / control. ``less``: control − value, or control / value.
    ``at_least``, ``at_most``: the value itself.

    Raises:
        ValueError: a value that is not a finite number; controls missing, superfluous or of another number; a
            ratio with a value or control that is not positive.
    """
    values = [_scalar(claim.id, "value", value) for value in values]
    if (controls is None) != (claim.control is None):
        wanted = "takes no control" if claim.control is None else f"needs its control ({claim.control})"
        raise ValueError(f"claim {claim.id} {wanted}")
    if controls is not None:
        controls = [_scalar(claim.id, "control", control) for control in controls]
        if len(controls) != len(values):
            raise ValueError(f"claim {claim.id}: {len(values)} values but {len(controls)} controls")
    if claim.kind in ("at_least", "at_most"):
        return values
    pairs = [
        (v, c) if claim.kind == "greater" else (c, v) for v, c in zip(values, controls or (), strict=True)
    ]
    if claim.effect == "difference":
        return [a - b for a, b in pairs]
    if any(a <= 0 or b <= 0 for a, b in pairs):
        raise ValueError(f"claim {claim.id}: a ratio needs positive values and controls")
    return [a / b for a, b in pairs]


def verdict(claim: Claim, values: Iterable[Any], controls: Iterable[Any] | None = None) -> Verdict:
    """Judge a claim by its values, one per seed.

    A seed changes initialisation, sampling and mini-batches for the value and its control alike, so the two
    form a pair, and the effect is taken within each pair (:func:`effects`) before averaging. The interval is
    Student's t with n − 1 degrees of freedom on the effects, at 95 %, two-sided: if the true mean effect
    were exactly the smallest that counts, "supported" would come out wrongly in 2.5 % of experiments. Ratios
    are averaged on the log scale, where "twice" and "half" are equally far from "no change": the mean is
    geometric and the interval stays positive. The interval covers what a seed changes, not another data set,
    and claims are judged one by one with no correction for their number.

    - ``greater``, ``less``: supported if the whole interval is at or beyond ``smallest_effect``;
      contradicted if all of it lies on the wrong side of no effect (0, for a ratio 1).
    - ``at_least``, ``at_most``: supported if the whole interval keeps the bound; contradicted if all of it
      breaks the bound.
    - otherwise "not supported at this scale"; "no verdict" with fewer than 3 seeds.

    Counts (modes, passed checks) often agree in all seeds. The t interval is then the single point, and the
    point decides; that is right for a quantity no seed changes and optimistic for one whose rare failures
    were not seen, which only more seeds would show. Comparisons forgive rounding, one part in 10⁹.

    Args:
        claim: the criterion.
        values: one number per seed, in the claim's unit.
        controls: as many numbers, or None if the claim has no control.

    Raises:
        ValueError: see :func:`effects`.
    """
    if claim.testable is not True:
        return Verdict(NOT_TESTABLE, reason=str(claim.testable))
    each = effects(claim, values, controls)
    n = len(each)
    if n == 0:
        return Verdict(NO_VERDICT)
    ratio = claim.effect == "ratio"
    scale = [math.log(effect) for effect in each] if ratio else each
    mean = math.fsum(scale) / n
    if n < MINIMUM_SEEDS:
        return Verdict(NO_VERDICT, math.exp(mean) if ratio else mean, n=n)

    from scipy.special import stdtrit  # the quantile of Student's t

    spread = math.sqrt(math.fsum((effect - mean) ** 2 for effect in scale) / (n - 1))
    half = float(stdtrit(n - 1, 0.975)) * spread / math.sqrt(n)
    bound = math.log(claim.smallest_effect) if ratio else claim.smallest_effect
    tolerance = 1e-9 * max(abs(bound), *map(abs, scale))
    name = _judge(claim.kind, mean - half, mean + half, bound, tolerance)
    summary = (mean, mean - half, mean + half)
    return Verdict(name, *(map(math.exp, summary) if ratio else summary), n=n)


def _judge(kind: str, low: float, high: float, bound: float, tolerance: float) -> str:
    if kind == "at_most":
        kept, broken = high <= bound + tolerance, low > bound + tolerance
    else:
        kept = low >= bound - tolerance
        broken = high < (bound if kind == "at_least" else 0.0) - tolerance
    return SUPPORTED if kept else CONTRADICTED if broken else NOT_SUPPORTED


def _scalar(name: str, what: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"claim {name}: the {what} must be one number, not {value!r:.80}") from error
    if not math.isfinite(number):
        raise ValueError(f"claim {name}: the {what} is {number}; find out why before it is recorded")
    return number


# --- words ------------------------------------------------------------------------------------


def format_number(value: float, unit: str = "", *, signed: bool = False) -> str:
    """``value`` with three significant digits (whole numbers in full) and its unit: "0.0123 mm"."""
    size = abs(value)
    if size < 1e6 and float(value).is_integer():
        text = f"{size:.0f}"
    elif 1e-3 <= size < 1e6:
        text = f"{size:.{max(0, 2 - math.floor(math.log10(float(f'{size:.2e}'))))}f}"
    else:
        text = _typeset(f"{size:.2e}")
    sign = "−" if value < 0 else "+" if signed and value > 0 else ""
    return f"{sign}{text} {unit}".strip()


def _typeset(number: str) -> str:
    """A formatted number with a true minus and a power of ten: "1.23e-05" becomes "1.23×10⁻⁵"."""
    mantissa, _, exponent = number.partition("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")) if exponent else ""
    return mantissa.replace("-", "−") + (f"×10{raised}" if raised else "")


def criterion(claim: Claim) -> str:
    """What must be seen for the claim to hold, in words: "at least 3 modes more than clipping"."""
    if claim.testable is not True:
        return NOT_TESTABLE
    factor = claim.effect == "ratio"
    inverse = factor and claim.kind == "less"
    number = _typeset(f"{1 / claim.smallest_effect:.3g}" if inverse else f"{claim.smallest_effect:g}")
    if factor:
        return f"at {'least' if claim.kind == 'greater' else 'most'} {number} times {claim.control}"
    amount = f"{number} {claim.unit}".strip()
    if claim.kind in ("at_least", "at_most"):
        return f"{claim.kind.replace('_', ' ')} {amount}"
    return f"at least {amount} {'more' if claim.kind == 'greater' else 'less'} than {claim.control}"


def effect_words(claim: Claim, result: Verdict) -> str:
    """Mean effect (value minus control, or value / control), interval and number of seeds, in words."""
    if result.effect is None:
        return result.reason
    text = _effect(claim, result.effect, claim.unit)
    if result.low is not None and result.high is not None:
        ends = sorted((_natural(claim, result.low), _natural(claim, result.high)))
        text += f" (95 % interval {' to '.join(_signed(claim, end) for end in ends)})"
    planned = f" of {claim.seeds} planned" if result.n < claim.seeds else ""
    return f"{text}, {result.n}{planned} seed{'' if result.n == 1 and not planned else 's'}"


def _natural(claim: Claim, effect: float) -> float:
    """The oriented effect as readers expect it: value − control, value / control."""
    if claim.kind != "less":
        return effect
    return 1 / effect if claim.effect == "ratio" else -effect


def _signed(claim: Claim, number: float, unit: str = "") -> str:
    if claim.effect == "ratio":
        return f"×{format_number(number)}"
    return format_number(number, unit, signed=claim.kind in ("greater", "less"))


def _effect(claim: Claim, effect: float, unit: str) -> str:
    return _signed(claim, _natural(claim, effect), unit)


def badge(name: str) -> str:
    """A verdict as HTML: mark, words and border; the text keeps the page's own colour."""
    mark, colour = _BADGES[name]
    return (
        f'<span style="border:1px solid {colour};border-left-width:.4em;border-radius:.3em;'
        f'padding:.05em .4em;white-space:nowrap"><span aria-hidden="true">{mark} </span>'
        f"{html.escape(name)}</span>"
    )


def verdict_html(claim: Claim, result: Verdict, profile: str = "") -> str:
    """Badge, effect with interval, number of seeds and the profile that they were measured at, as HTML."""
    where = f"profile {profile}" if profile and result.n else ""
    words = "; ".join(part for part in (effect_words(claim, result), where) if part)
    return badge(result.verdict) + (f"<br>{html.escape(words)}" if words else "")


# --- records ----------------------------------------------------------------------------------


def entries_from_notebook(notebook: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """The values that an executed notebook (an nbformat node or plain dict) recorded, by claim id.

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
    return claims


def check_entries(entries: Iterable[str], chapter: str, profile: str, claims: Mapping[str, Claim]) -> None:
    """Raise ValueError, naming the claims, unless ``entries`` are what a run of the chapter must record."""
    entries = set(entries)
    own = {name: claim for name, claim in claims.items() if claim.chapter == chapter}
    if stray := sorted(entries - set(own)):
        raise ValueError(
            f"value without a claim of chapter {chapter}: {', '.join(stray)}; "
            f"its claims are {', '.join(own) or 'none'}"
        )
    if silent := [name for name, claim in own.items() if claim.expected_at(profile) and name not in entries]:
        raise ValueError(
            f"claim without a value in chapter {chapter} at profile {profile}: {', '.join(silent)}"
        )
    if spoken := [name for name in own if name in entries and own[name].testable is not True]:
        raise ValueError(f"value for a claim that is declared not testable: {', '.join(spoken)}")


def write_record(
    path: str | Path, record: Mapping[str, Any], claims: Mapping[str, Claim] | None = None
) -> None:
    """Check a record, add its verdicts and write it atomically as JSON.

    Args:
        path: where to; folders are made. An earlier record stays whole until the new one replaces it.
        record: ``chapter``, ``profile``, ``seeds``, ``seconds`` (one per seed), ``fingerprint``,
            ``parameters``, ``environment`` and ``claims`` (see :func:`gather`).
        claims: the criteria; by default :func:`load_claims`.

    Raises:
        ValueError: a claim without a value, a value without a claim, a value that is not finite, or a number
            of values that is not the number of seeds.
    """
    path = Path(path)
    claims = load_claims() if claims is None else claims
    _check_record(record, f"record {path.name}")
    check_entries(record["claims"], record["chapter"], record["profile"], claims)
    judged = {
        name: {
            "value": entry["value"],
            "control": entry.get("control"),
            "verdict": record_verdict(claims[name], record).verdict,
        }
        for name, entry in record["claims"].items()
    }
    text = json.dumps({**record, "claims": judged}, indent=2, allow_nan=False, default=_plain) + "\n"
    write_atomic(path, text)


def _plain(value: Any) -> float:
    """Scalars of NumPy and PyTorch, which ``json`` does not know."""
    return value.item()


def _check_record(record: Any, where: str) -> None:
    if not isinstance(record, Mapping):
        raise ValueError(f"{where}: expected a JSON object")
    if missing := [key for key in _RECORD_KEYS if key not in record]:
        raise ValueError(f"{where}: missing {', '.join(missing)}")
    _known_profile(record["profile"])
    seeds = record["seeds"]
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"{where}: seeds must be different from one another and at least one, not {seeds}")
    if len(record["seconds"]) != len(seeds):
        raise ValueError(f"{where}: {len(seeds)} seeds but {len(record['seconds'])} values of seconds")
    for name, entry in record["claims"].items():
        for what in ("value", "control"):
            numbers = entry.get(what)
            if numbers is None and what == "control":
                continue
            if not isinstance(numbers, (list, tuple)) or len(numbers) != len(seeds):
                count = len(numbers) if isinstance(numbers, (list, tuple)) else "no list of"
                raise ValueError(f"{where}: claim {name} has {count} {what}s for {len(seeds)} seeds")
            for number in numbers:
                _scalar(name, what, number)


def load_record(profile: str, chapter: str, reference: str | Path | None = None) -> dict[str, Any] | None:
    """The recorded reference of a chapter at a profile, or None if there is none yet.

    Args:
        profile: one of ``PROFILES``.
        chapter: for example ``02_wasserstein``.
        reference: folder of records; by default the shipped one.

    Raises:
        ValueError: unknown profile, or a file that is damaged or belongs to another chapter or profile.
    """
    _known_profile(profile)
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


def records(profile: str | None = None, reference: str | Path | None = None) -> list[dict[str, Any]]:
    """All recorded references, or those of one profile, by profile and chapter."""
    folder = _reference(reference)
    profiles = PROFILES if profile is None else (_known_profile(profile),)
    paths = [path for name in profiles for path in sorted((folder / name).glob("*.json"))] if folder else []
    return [record for path in paths if (record := load_record(path.parent.name, path.stem, folder))]


def _reference(reference: str | Path | None) -> Path | None:
    if reference is not None:
        return Path(reference)
    try:
        return _shipped("reference")
    except FileNotFoundError:  # nothing was recorded yet
        return None


def _known_profile(profile: str) -> str:
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}; there are {', '.join(PROFILES)}")
    return profile


def record_verdict(claim: Claim, record: Mapping[str, Any]) -> Verdict:
    """The verdict that a record gives; "not testable here" where its profile cannot test the claim."""
    if claim.testable is True and not claim.expected_at(record["profile"]):
        return Verdict(NOT_TESTABLE, reason=f"tested at profile {', '.join(claim.profiles)}")
    entry = record["claims"].get(claim.id)
    return verdict(claim, entry["value"], entry.get("control")) if entry else _unmeasured(claim)


def _unmeasured(claim: Claim) -> Verdict:
    return verdict(claim, (), None if claim.control is None else ())


@dataclass(frozen=True)
class Row:
    """One claim with what a record says about it, for tables.

    ``value`` and ``control`` are means over seeds (None if not recorded); ``stored`` is the verdict written
    with the record: it differs from ``verdict.verdict`` if the criterion was changed after the recorded run.
    """

    claim: Claim
    criterion: str
    value: float | None
    control: float | None
    verdict: Verdict
    stored: str | None


def summary(
    claims: Mapping[str, Claim], record: Mapping[str, Any] | None, chapter: str | None = None
) -> list[Row]:
    """One row per claim of the record's chapter (``chapter`` where there is no record, else all claims)."""
    chapter = record["chapter"] if record else chapter
    rows = []
    for claim in claims.values():
        if chapter not in (None, claim.chapter):
            continue
        entry = record["claims"].get(claim.id, {}) if record else {}
        result = record_verdict(claim, record) if record else _unmeasured(claim)
        rows.append(
            Row(
                claim,
                criterion(claim),
                _mean(entry.get("value")),
                _mean(entry.get("control")),
                result,
                entry.get("verdict"),
            )
        )
    return rows


def _mean(numbers: Sequence[float] | None) -> float | None:
    return math.fsum(numbers) / len(numbers) if numbers else None


# --- the ledger of a run ----------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """What one run measured for one claim, in the claim's unit."""

    claim: Claim
    value: float
    control: float | None

    def __repr__(self) -> str:
        control = "" if self.control is None else f", control {self.control:.4g}"
        met = "" if self.claim.testable is not True else f": this run {'meets' if self.met else 'misses'} the criterion"
        return f"{self.claim.id}: {self.value:.4g}{control} {self.claim.unit}".rstrip() + met

    @property
    def effect(self) -> float:
        """This run's effect, oriented as in :func:`effects`."""
        return effects(self.claim, [self.value], None if self.control is None else [self.control])[0]

    @property
    def met(self) -> bool:
        """Whether this one run meets the criterion. That is no verdict, which takes several seeds."""
        claim = self.claim
        return (
            claim.testable is True
            and _judge(
                claim.kind, self.effect, self.effect, claim.smallest_effect, 1e-9 * abs(claim.smallest_effect)
            )
            == SUPPORTED
        )


class Ledger:
    """The claims of one chapter and what this run measured for them.

    Args:
        chapter: the notebook's name, for example ``02_wasserstein``.
        profile: the scale of this run; its record is shown beside it (``ci`` shows the ``cpu`` record).
        claims: a claims file; by default the shipped one.
        reference: a folder of records; by default the shipped one, or ``reference`` beside ``claims`` if
            given.

    Raises:
        ValueError: unknown profile, or a chapter that has no claims.
    """

    def __init__(
        self,
        chapter: str,
        profile: str = "cpu",
        claims: str | Path | None = None,
        reference: str | Path | None = None,
    ) -> None:
        every = load_claims(claims)
        self.chapter = chapter
        self.profile = _known_profile(profile)
        self.claims = {name: claim for name, claim in every.items() if claim.chapter == chapter}
        if not self.claims:
            chapters = sorted({claim.chapter for claim in every.values()})
            raise ValueError(f"no claims for chapter {chapter!r}; there are claims for {', '.join(chapters)}")
        if reference is None and claims is not None:
            reference = Path(claims).parent / "reference"
        self.reference = reference
        self.entries: dict[str, Entry] = {}

    def record(self, claim_id: str, value: Any, control: Any = None) -> Entry:
        """Note what this run measured for a claim.

        Args:
            claim_id: an id of this chapter in ``claims.yml``.
            value: a finite number, in the claim's unit (a scalar of NumPy or PyTorch will do).
            control: the same for the claim's control; None if it has none.

        Raises:
            ValueError: an unknown id, a second value for one claim, a value that is not a finite number, or a
                control that is missing or superfluous.
        """
        if claim_id not in self.claims:
            raise ValueError(
                f"unknown claim {claim_id!r}; chapter {self.chapter} has {', '.join(self.claims)}"
            )
        if claim_id in self.entries:
            raise ValueError(f"claim {claim_id} already has a value; one run gives one value")
        claim = self.claims[claim_id]
        if claim.testable is not True:
            raise ValueError(f"claim {claim_id} is declared not testable: {claim.testable}")
        entry = Entry(
            claim,
            _scalar(claim_id, "value", value),
            None if control is None else _scalar(claim_id, "control", control),
        )
        _ = entry.effect  # a missing control or a ratio of nothing should fail in the cell that caused it
        self.entries[claim_id] = entry
        return entry

    def show(self) -> LedgerView:
        """The table of this chapter's claims, as the last expression of a cell.

        Raises:
            ValueError: claims of this chapter that got no value.
        """
        check_entries(self.entries, self.chapter, self.profile, self.claims)
        shown = "cpu" if self.profile == "ci" else self.profile
        return LedgerView(self.claims, dict(self.entries), load_record(shown, self.chapter, self.reference))


@dataclass(frozen=True)
class LedgerView:
    """A chapter's claims as a table; in a notebook's output also as data, which the pipeline reads."""

    claims: Mapping[str, Claim]
    entries: Mapping[str, Entry]
    reference: Mapping[str, Any] | None

    def rows(self) -> list[tuple[str, str, str, str, str, str]]:
        """Claim, measured, control, criterion, this run, recorded verdict (HTML) of each claim."""
        rows = []
        for name, claim in self.claims.items():
            entry = self.entries.get(name)
            measured = control = run = "–"
            if entry:
                measured = f"{claim.metric}: {format_number(entry.value, claim.unit)}"
                if entry.control is not None:
                    control = f"{claim.control}: {format_number(entry.control, claim.unit)}"
                met = "met" if entry.met else "not met"
                run = f"this run: {_effect(claim, entry.effect, claim.unit)}; criterion {met}"
            if claim.testable is not True:
                recorded = verdict_html(claim, _unmeasured(claim))
            elif self.reference is None:
                recorded = "not recorded yet"
            else:
                result = record_verdict(claim, self.reference)
                recorded = verdict_html(claim, result, self.reference["profile"])
            rows.append((claim.claim, measured, control, criterion(claim), run, recorded))
        return rows

    def __repr__(self) -> str:
        plain = [
            [html.unescape(re.sub(r"<[^>]*>", " ", cell)).replace("  ", " ").strip() for cell in row]
            for row in self.rows()
        ]
        return "\n\n".join(
            "\n".join((f"{name}: {row[0]}", *(f"  {cell}" for cell in row[1:] if cell != "–")))
            for name, row in zip(self.claims, plain, strict=True)
        )

    def _repr_html_(self) -> str:
        names = ("Claim", "Measured", "Control", "Criterion", "This run", "Recorded verdict")
        head = "".join(f'<th scope="col" style="text-align:left">{name}</th>' for name in names)
        body = []
        for name, (claim, *cells, recorded) in zip(self.claims, self.rows(), strict=True):
            body.append(
                f'<tr><th scope="row" style="text-align:left;font-weight:normal"><code>{name}</code><br>'
                f"{html.escape(claim)}</th>"
                + "".join(f'<td style="text-align:left">{html.escape(cell)}</td>' for cell in cells)
                + f'<td style="text-align:left">{recorded}</td></tr>'
            )
        caption = "Claims of this chapter, what this run measured, and the recorded verdicts"
        return (
            f'<div role="region" aria-label="{caption}" tabindex="0" style="overflow-x:auto"><table>'
            f'<caption style="text-align:left;caption-side:top">{caption}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        data = {name: {"value": e.value, "control": e.control} for name, e in self.entries.items()}
        return {"text/plain": repr(self), "text/html": self._repr_html_(), MIME: data}
