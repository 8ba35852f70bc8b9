"""The parts of pages that are computed: verdicts, records, this run, deviations, data cards.

Prose pages and chapters hold marks that `fill` replaces: ``<!-- generated: ledger -->`` by a whole block, and
``{number}`07-some-claim:effect` `` by a number of the recorded reference, so that prose never types a number.
"""

import ast
import importlib.util
import math
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nbformat
import yaml

from pipeline import UserError, read_json
from pipeline.fingerprint import default_parameters, plain_python, record_fingerprint, tags


@dataclass(frozen=True)
class Context:
    """What the generated parts are about: the profile and seed of the build, and each chapter's run folder."""

    profile: str
    seed: int
    runs: dict[str, Path]
    root: Path

    @cached_property
    def claims(self) -> dict[str, Any]:
        from medgan_lib import ledger

        return ledger.load_claims(self.root / "book" / "claims.yml")

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        from medgan_lib import ledger

        return ledger.load_records(reference=self.root / "book" / "reference")

    def record(self, chapter: str) -> dict[str, Any] | None:
        """The record a chapter's page talks about: that of the build's profile, else of ``cpu``, else any."""
        found = {record["profile"]: record for record in self.records if record["chapter"] == chapter}
        return found.get(self.profile) or found.get("cpu") or next(iter(found.values()), None)

    def results(self, chapter: str) -> dict[str, Any] | None:
        folder = self.runs[chapter]
        return read_json(folder / "results.json") if (folder / "notebook.ipynb").exists() else None

    def title(self, chapter: str) -> str:
        notebook = nbformat.read(self.root / "notebooks" / f"{chapter}.ipynb", as_version=4)
        first = next((cell.source for cell in notebook.cells if cell.cell_type == "markdown"), "")
        match = re.search(r"^# (.+)$", first, re.MULTILINE)
        return match[1] if match else chapter

    def is_stale(self, record: dict[str, Any]) -> bool:
        """Whether the chapter's code, parameters or data changed since the record was made."""
        try:
            return record["fingerprint"] != record_fingerprint(record["chapter"], record["profile"])
        except (OSError, ValueError, SyntaxError):
            return True


def fill(text: str, context: Context) -> str:
    """``text`` with its marks replaced. Raises UserError for a mark that does not exist."""

    def block(match: re.Match) -> str:
        if match[1] not in GENERATED:
            raise UserError(f"no generated part {match[1]!r}; there are: {', '.join(GENERATED)}")
        return GENERATED[match[1]](context)

    text = re.sub(r"<!-- generated: ([\w-]+) -->", block, text)
    return re.sub(r"\{number\}`([\w-]+):(\w+)`", lambda match: number(match[1], match[2], context), text)


def number(claim_id: str, what: str, context: Context) -> str:
    """Mean ``value`` or ``control``, ``effect`` with its interval, or ``verdict``, from the claim's record."""
    from medgan_lib import ledger

    if claim_id not in context.claims:
        raise UserError(f"unknown claim {claim_id!r}; there are: {', '.join(context.claims)}")
    claim = context.claims[claim_id]
    record = context.record(claim.chapter)
    if record is None or (what != "verdict" and claim_id not in record["claims"]):
        return "(not recorded yet)"
    result = ledger.record_verdict(claim, record)
    if what == "verdict":
        return result.verdict
    if what == "effect":
        return ledger.effect_words(claim, result)
    if what not in ("value", "control"):
        raise UserError(f"{claim_id}:{what}: there are value, control, effect and verdict")
    row = next(row for row in ledger.summary(context.claims, record) if row.claim.id == claim_id)
    mean = getattr(row, what)
    return "(none)" if mean is None else ledger.format_number(mean, claim.unit)


# --- cover and ledger ---------------------------------------------------------------------------------------------


def verdicts(context: Context) -> str:
    """Cover: the verdicts in numbers, chapter by chapter, and the effects in one picture."""
    from medgan_lib import ledger

    lines = ["| Chapter | Claims | Verdicts |", "|---|---|---|"]
    for chapter in context.runs:
        claims = [claim for claim in context.claims.values() if claim.chapter == chapter]
        record = context.record(chapter)
        rows = ledger.summary(context.claims, record, chapter)
        counts = Counter(row.verdict.verdict for row in rows)
        shown = " ".join(f"{ledger.badge(name)} {n}" for name, n in counts.most_common())
        where = f"{len(record['seeds'])} seeds at `{record['profile']}`" if record else "not recorded yet"
        stale = f" {STALE}" if record and context.is_stale(record) else ""
        link = f"[{context.title(chapter)}](../notebooks/{chapter}.ipynb)"
        lines.append(f"| {link} | {len(claims)} | {shown} ({where}){stale} |")
    return "\n".join(lines)


def forest(context: Context, chapter: str | None = None) -> str:
    """The effect of every claim (of one chapter) with its interval, in units of the smallest effect that counts."""
    from medgan_lib import figures, ledger

    results = [
        (claim, ledger.record_verdict(claim, record))
        for claim in context.claims.values()
        if claim.testable is True and chapter in (None, claim.chapter) and (record := context.record(claim.chapter))
    ]
    points = [(claim, result, scaled(claim, result)) for claim, result in results if result.low is not None]
    points = [point for point in points if point[2] is not None]
    if not points:
        return ""
    figure, axis = figures.subplots(size=(6.4, 1.4 + 0.42 * len(points)))
    shown = ("supported", "not supported at this scale", "contradicted")
    for i, (_, result, (middle, low, high)) in enumerate(points):
        colour = {"supported": "#009E73", "contradicted": "#D55E00"}.get(result.verdict, "#555555")
        marker = {"supported": "o", "contradicted": "X"}.get(result.verdict, "s")
        axis.plot([low, high], [i, i], color=colour, lw=3, solid_capstyle="butt")
        axis.plot(middle, i, marker, color=colour, ms=9, clip_on=False)
    axis.axvline(1, color="black", lw=1.2, ls="--")
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks(range(len(points)), [claim.id for claim, *_ in points], fontsize=11)
    axis.set_xscale("symlog", linthresh=1)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.invert_yaxis()
    axis.set_xlabel("effect / smallest effect that counts")
    counts = Counter(result.verdict for _, result, _ in points)
    words = ", ".join(f"{counts[name]} {name}" for name in shown if counts[name])
    picture = figures.picture(
        figure,
        alt=f"Effects of {len(points)} claims with 95 % intervals over seeds, relative to the smallest effect that "
        f"counts (dashed line at 1): {words}.",
        caption="Each claim's recorded effect with its 95 % interval. Right of the dashed line: at least as large as "
        "the book asked for beforehand. Circle: supported; square: not supported at this scale; cross: contradicted.",
    )
    return f"## The claims at a glance\n\n{html_block(picture._repr_html_())}"


def opening(chapter: str, context: Context) -> str:
    """What a chapter came to and what it costs, for the top of its page: nothing where nothing is recorded."""
    records = [record for record in context.records if record["chapter"] == chapter]
    if not records:
        return ""
    rows = [
        [f"`{record['profile']}`", f"{sum(record['seconds']) / len(record['seconds']):.0f} s",
         _memory(record["environment"]), _machine(record["environment"])]
        for record in records
    ]
    shown = context.record(chapter)["profile"]
    cost = table(["Profile", "Time for a seed", "Memory", "Machine"], rows)
    return f"{forest(context, chapter)}\n\n*The claims above were recorded at profile* `{shown}`.\n\n{cost}"


def scaled(claim: Any, result: Any) -> tuple[float, float, float] | None:
    """Effect and interval over the smallest effect; None where that makes no sense (bounds, other than effects)."""
    if claim.kind not in ("greater", "less"):
        return None
    if claim.effect == "ratio":
        unit = math.log(claim.smallest_effect)
        return tuple(math.log(value) / unit for value in (result.effect, result.low, result.high))
    return tuple(value / claim.smallest_effect for value in (result.effect, result.low, result.high))


STALE = '<span class="stale" title="The code, parameters or data changed since">stale</span>'


def ledger_pages(context: Context) -> str:
    """Every claim with its criterion and what each recorded profile says about it, grouped by chapter."""
    from medgan_lib import ledger

    parts = []
    for chapter in context.runs:
        parts.append(f"## {context.title(chapter)}\n\n[Open the chapter](../notebooks/{chapter}.ipynb)\n")
        for claim in (claim for claim in context.claims.values() if claim.chapter == chapter):
            facts = [claim.claim, "", f"Review, {_section(claim.section)}."]
            if claim.testable is True:
                against = f", compared with: {claim.control}" if claim.control else ""
                facts += ["", f"**Measure.** {claim.metric}{against}.", f"**Criterion.** {ledger.criterion(claim)}."]
            if claim.history:
                facts += ["", "**The criterion before.** " + "; ".join(map(str, claim.history)) + "."]
            parts += [f"(claim-{claim.id})=\n### `{claim.id}`\n", "\n".join(facts), "", _evidence(claim, context), ""]
    return "\n".join(parts)


def _section(section: str) -> str:
    return section if re.match(r"(?i)sec|tab|fig|eq", section) else f"Sec. {section}"


def _evidence(claim: Any, context: Context) -> str:
    from medgan_lib import ledger

    records = [record for record in context.records if record["chapter"] == claim.chapter]
    if claim.testable is not True:
        return f"{ledger.badge(ledger.NOT_TESTABLE)} {claim.testable}"
    results = context.results(claim.chapter)
    rows = []
    for record in records:
        row = next(row for row in ledger.summary(context.claims, record) if row.claim.id == claim.id)
        stale = f" {STALE}" if context.is_stale(record) else ""
        seeds = f"{len(record['seeds'])} seeds"
        changed = " (criterion changed since)" if row.stored not in (None, row.verdict.verdict) else ""
        rows.append([
            f"`{record['profile']}`, {seeds}{stale}", _number(row.value, claim), _number(row.control, claim),
            ledger.effect_words(claim, row.verdict) or "–", ledger.badge(row.verdict.verdict) + changed,
        ])
    entry = (results or {}).get("claims", {}).get(claim.id)
    if entry:
        one = ledger.Entry(claim, entry["value"], entry.get("control"))
        rows.append([
            f"this run, `{context.profile}`, seed {context.seed}", _number(one.value, claim),
            _number(one.control, claim), "–", f"criterion {'met' if one.met else 'not met'} (one seed is no verdict)",
        ])
    if not rows:
        return ledger.badge(ledger.NO_VERDICT) + " Nothing recorded yet."
    return table(["Run", "Value", "Control", "Effect", "Verdict"], rows)


def _number(value: float | None, claim: Any) -> str:
    from medgan_lib import ledger

    return "–" if value is None else ledger.format_number(value, claim.unit)


# --- status -------------------------------------------------------------------------------------------------------


def _confirmed(record: dict[str, Any]) -> str:
    """Whether the code changed after the record, and which seed gave the same numbers with the present one."""
    if (found := record.get("confirmed")) is None:
        return ""
    where = ", with the recorded code on one machine" if found.get("against") == "code" else ""
    return f" (code changed since; seed {found['seed']} gives the same{where})"


def status(context: Context) -> str:
    """Time, memory, hardware and versions of this run and of every record."""
    now = []
    for chapter, folder in context.runs.items():
        results, link = context.results(chapter), f"[{context.title(chapter)}](../notebooks/{chapter}.ipynb)"
        if results is None:
            state = "**failed**" if (folder / "failed.ipynb").exists() else "not executed"
            now.append([link, state, "–", "–", "–", "–"])
        else:
            environment = results["environment"]
            now.append([link, "done", f"{results['seconds']:.0f} s", _memory(environment), _machine(environment),
                        _made_with(environment)])
    recorded = []
    for record in context.records:
        seconds, environment = record["seconds"], record["environment"]
        recorded.append([
            record["chapter"], f"`{record['profile']}`" + (f" {STALE}" if context.is_stale(record) else ""),
            str(len(seconds)) + _confirmed(record),
            f"{sum(seconds) / len(seconds):.0f} s (longest {max(seconds):.0f} s)",
            _memory(environment), _machine(environment), _made_with(environment),
        ])
    text = [f"## This build\n\nProfile `{context.profile}`, seed {context.seed}.\n"]
    text.append("The last column has the commit (with + where the code differed from it) and the first digits of the "
                "SHA-256 of `requirements.txt`.\n")
    text.append(table(["Chapter", "State", "Time", "Memory", "Machine", "Made with"], now))
    text.append("\n## Recorded references\n")
    heads = ["Chapter", "Profile", "Seeds", "Time for a seed", "Memory", "Machine", "Made with"]
    text.append(table(heads, recorded) if recorded else "Nothing is recorded yet: `make reference` does it.")
    return "\n".join(text)


def _memory(environment: dict[str, Any]) -> str:
    megabytes = environment.get("memory_mb")
    return f"{megabytes / 1000:.1f} GB" if megabytes else "–"


def _machine(environment: dict[str, Any]) -> str:
    device = environment.get("gpu") or environment.get("cpu") or environment.get("device", "")
    threads = environment.get("threads")
    parts = [device, f"{threads} thread{'s' * (threads != 1)}" if threads else ""]
    parts += [f"{name} {environment[key]}" for key, name in (("torch", "torch"), ("python", "Python"))
              if environment.get(key)]
    if environment.get("precision"):
        parts.append(environment["precision"])
    return ", ".join(part for part in parts if part)


def _made_with(environment: dict[str, Any]) -> str:
    """Commits and digests of the pinned packages; a dash for what was recorded before both were kept."""
    found = [environment.get("commit"), environment.get("requirements")]
    return ", ".join(f"`{value}`" for values in found if values for value in values.split(", ")) or "–"


# --- does the code match the maths? -------------------------------------------------------------------------------


def deviations(context: Context) -> str:
    """What widely used code computes instead of the equations: a table, computed here, and the gradients' figure."""
    mutants = _mutants(context)
    if mutants is None:
        return "The re-created deviations are in `tests/mutants.py`, which this copy does not have."
    rows = []
    for mutant in mutants.values():
        if not mutant.seen:
            continue
        projects = "; ".join(f"[{repo}](https://github.com/{repo}) `{path}`" for repo, path in mutant.seen)
        what = mutant.deviation[0].upper() + mutant.deviation[1:]
        rows.append([mutant.equation, f"{what}. Seen in {projects}", _measured(mutant)])
    heads = ["Equation", "What is computed instead", "Measured here"]
    return "\n\n".join([table(heads, rows), _gradients_figure(mutants)])


def _mutants(context: Context) -> dict[str, Any] | None:
    path = context.root / "tests" / "mutants.py"
    if not path.exists():
        return None
    spec = importlib.util.spec_from_file_location("_mutants_of_the_book", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[spec.name]
    return module.MUTANTS


def _measured(mutant: Any) -> str:
    """In words: a number that the deviation changes, and what it should be."""
    measures = {"objective": _measured_objective, "penalty": _measured_penalty, "step": _measured_step,
                "information": _measured_information, "condition": _measured_condition,
                "adaptation": _measured_adaptation}
    return measures[mutant.part](mutant.code)


def _measured_objective(deviant: Any) -> str:
    """A gradient that clearly differs, at the least extreme of some outputs of D: of G's loss, else of D's loss."""
    import torch

    from medgan_lib.objectives import OBJECTIVES

    exact = OBJECTIVES[deviant.name]
    logits = torch.tensor([0.0, 2.0, -2.0, 5.0, -5.0, 20.0, -20.0, 30.0, -30.0, 90.0, -90.0])
    for player, gradient in (("G", generator_gradient), ("D", discriminator_gradient)):
        ours, theirs = gradient(exact, logits), gradient(deviant, logits)
        error = (ours - theirs).abs() / ours.abs().clamp_min(1)
        clear = int((error > error.max() / 2).int().argmax())
        if error[clear] > 1e-3:
            return (f"gradient of {player}'s loss at output {_short(logits[clear])}: {_short(theirs[clear])} "
                    f"instead of {_short(ours[clear])}")
    return "equal at the outputs tried"


def generator_gradient(objective: Any, logits: Any) -> Any:
    """d (generator's loss of one sample) / d (D's output on it), for each of ``logits`` (n,)."""
    return _each(objective.generator, logits)


def discriminator_gradient(objective: Any, logits: Any) -> Any:
    """d (D's loss) / d (its output on one generated sample), for each of ``logits`` (n,)."""
    import torch

    return _each(lambda fake: objective.discriminator(torch.ones_like(fake), fake), logits)


def _each(loss: Callable[[Any], Any], logits: Any) -> Any:
    import torch

    logits = logits.detach().clone().requires_grad_(True)
    return torch.autograd.grad(sum(loss(logit[None]) for logit in logits), logits)[0]


def _measured_penalty(deviant: Callable[..., Any]) -> str:
    """Eq. 4 for a critic with gradients of norm 1 nearly everywhere, on 32 grey images of 8 x 8 pixels."""
    import torch

    from medgan_lib.objectives import gradient_penalty

    def value(penalty: Callable[..., Any]) -> str:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            real, fake = torch.randn(32, 1, 8, 8) + 3, torch.randn(32, 1, 8, 8)
            try:
                result = penalty(lambda x: x.flatten(1).norm(dim=1) + 0.02 * x.flatten(1).sum(1), real, fake)
            except RuntimeError:
                return "an error"
            return _short(result.detach())

    return f"penalty of a nearly 1-Lipschitz critic: {value(deviant)} instead of {value(gradient_penalty)}"


def _measured_step(deviant: type) -> str:
    """How far D's weights are from where they should be after one step, relative to the way they should have gone."""
    import torch

    from medgan_lib.methods import GAN
    from medgan_lib.networks import MLP

    def weights(method: type, steps: int) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            G, D = MLP(2, 2, width=16), MLP(2, 1, width=16)
            G.latent = 2
            settings = {"clip": 0.05} if "lip" in method.__name__ or clips else {"penalty": 10.0}
            gan = method(G, D, "wgan" if "clip" in settings else "wgan-gp", n_critic=2, lr=1e-2, **settings)
            for _ in range(steps):
                gan.step({"x": torch.randn(64, 2) + 4})
            return torch.nn.utils.parameters_to_vector(gan.D.parameters()).detach()

    clips = "Clip" in deviant.__name__
    start, exact, got = weights(GAN, 0), weights(GAN, 2), weights(deviant, 2)
    off = (got - exact).norm() / (exact - start).norm()
    return f"after two steps the critic's weights are off by {100 * off:.0f} % of the way they went"


def _measured_information(deviant: type) -> str:
    """The gradient that G gets from the information alone: with lambda = 1 less that with lambda = 0."""
    import torch

    from medgan_lib.methods import Codes, InfoGAN
    from medgan_lib.networks import MLP

    def length(method: type) -> str:
        found = []
        for lam in (1.0, 0.0):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                G, D, Q = MLP(4 + 2, 2, width=16), MLP(2, 1, width=16), MLP(2, 4, width=16)
                gan = method(G, D, Q, Codes((4,)), lam=lam)
                try:
                    gan.update_G(256)
                except RuntimeError:
                    return "an error"
            found.append(torch.cat([p.grad.flatten() for p in G.parameters()]))
        return f"one of length {_short((found[0] - found[1]).norm())}"

    return f"gradient of the information on G: {length(deviant)} instead of {length(InfoGAN)}"


def _measured_condition(deviant: type) -> str:
    """D's loss after the same few steps of a small game."""
    import torch

    from medgan_lib.methods import ConditionalGAN
    from medgan_lib.networks import MLP, Conditioned

    def loss(method: type) -> str:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            G, D = Conditioned(MLP(4, 2, width=16), 2, 2), Conditioned(MLP(4, 1, width=16), 2, 2)
            gan = method(G, D, "gan", classes=2)
            for _ in range(20):
                history = gan.step({"x": torch.randn(256, 2) + 4, "label": torch.arange(256) % 2})
            return _short(history["loss_D"])

    return f"D's loss after 20 steps: {loss(deviant)} instead of {loss(ConditionalGAN)}"


def _measured_adaptation(deviant: type) -> str:
    """The weight of the adversary when it should have risen to 1."""
    from torch import nn

    from medgan_lib.methods import DANN

    def risen(method: type) -> str:
        dann = method(nn.Identity(), nn.Identity(), nn.Linear(1, 1), lam=1.0, rise=100)
        dann.done.fill_(100)
        return _short(dann.weight())

    return f"weight at the end of the rise: {risen(deviant)} instead of {risen(DANN)}"


def _short(value: Any) -> str:
    from medgan_lib import ledger

    return ledger.format_number(float(value) if abs(float(value)) > 1e-12 else 0.0)


def _gradients_figure(mutants: dict[str, Any]) -> str:
    import torch

    from medgan_lib import figures
    from medgan_lib.objectives import OBJECTIVES

    logits = torch.linspace(-100, 100, 801)
    lines = [("Eq. 1", OBJECTIVES["gan"]), ("Eq. 2", OBJECTIVES["gan-ma"])]
    lines += [
        (name, mutant.code) for name, mutant in mutants.items()
        if mutant.part == "objective" and mutant.seen and mutant.code.name == "gan-ma"
    ]
    figure, axis = figures.subplots(size=(6.4, 4.2))
    for i, (name, objective) in enumerate(lines):
        own = i < 2
        axis.plot(logits, generator_gradient(objective, logits), label=name, lw=5 if own else 2,
                  alpha=0.45 if own else 1, color=figures.PALETTE[i], ls="-" if own else figures.DASHES[i])
    axis.set(xlabel="logit of D on a generated sample", ylabel="gradient of the generator's loss")
    axis.legend(loc="lower right", fontsize=11)
    picture = figures.picture(
        figure,
        alt="Gradient of the generator's loss over logits from -100 to 100. Eq. 1 is zero left of 0 and -1 right of "
        "it, Eq. 2 the other way round. With a constant inside the logarithm the gradient of Eq. 2 is lost below a "
        "logit of about -18; with a sigmoid before the cross-entropy it is lost at the far left.",
        caption="The two generator losses and two ways to compute Eq. 2 that lose its gradient where D is sure, "
        "which is where Eq. 2 was meant to help.",
    )
    return html_block(picture._repr_html_())


def slips(context: Context) -> str:
    """The review's own slips, with the difference each would make where it makes one."""
    import torch

    from medgan_lib.objectives import gradient_penalty

    x = torch.zeros(4, 1, 32, 32)
    half, unit = (
        lambda v, scale=scale: scale * v.flatten(1).sum(1) / 32 for scale in (0.5, 1.0)
    )
    two, one = (float(gradient_penalty(half, x, x, one_sided=side)) for side in (False, True))
    barless = float((torch.full((32 * 32,), 1 / 32) - 1).square().mean())
    right = float(gradient_penalty(unit, x, x))
    sides = ("05-critic-orders-distances", "05-one-sided-critic-orders-distances")
    on_a_line = ""
    if all(name in context.claims for name in sides):
        both, spared = (number(name, "value", context) for name in sides)
        on_a_line = (
            "On a line, where a slope changes sign only through zero, the rank correlation of critic and distance was "
            f"{both} two-sided and {spared} one-sided (means over the recorded seeds). "
        )
    rows = [
        ["Sec. 2.1 and Eq. 4", "The text asks for a gradient norm below 1; the equation and Table 1 pull it to 1 from "
         "both sides.", f"A critic of slope 0.5 pays {_short(two)} two-sided and {_short(one)} one-sided. "
         f"{on_a_line}"
         "[Chapter 2](../notebooks/02_wasserstein.ipynb) trains both."],
        ["Table 1", "In one typesetting the penalty has no norm bars, so 1 is taken from each entry of the gradient.",
         f"A gradient of norm 1 on 32² pixels then costs {_short(barless)} (mean over pixels) instead of "
         f"{_short(right)}."],
        ["Sec. 2.2", "The code that InfoGAN recovers is called x in one sentence; it is c.", "A letter, no number."],
        ["Eq. 7", "It is likened to Eq. 1, but there is no z: the generator's only input is the image y.",
         "The expectation is over y alone, and one image has one translation."],
        ["Fig. 9", "The caption uses (g) for two panels.", "A letter, no number."],
    ]
    return table(["Where", "What", "What it changes"], rows)


# --- data ---------------------------------------------------------------------------------------------------------


def data_cards(context: Context) -> str:
    """The data cards, those of embedded cohorts first, each with what the registry knows of it."""
    registry_path = context.root / "data" / "registry.yml"
    registry = yaml.safe_load(registry_path.read_text(encoding="utf-8")) if registry_path.exists() else {}
    cards = {path.stem: path.read_text(encoding="utf-8") for path in (context.root / "data" / "cards").glob("*.md")}
    parts = []
    for name in sorted(cards, key=lambda name: (name in registry, name)):
        card = re.sub(r"^(#+) ", r"#\1 ", cards[name].strip(), flags=re.MULTILINE)
        if not card.startswith("## "):
            card = f"## {name}\n\n{card}"
        parts.append(f"(data-{name.replace('_', '-')})=\n{_with_figures(card, name, context)}")
        if name in registry:
            facts = [[key, _fact(value)] for key, value in registry[name].items() if _is_fact(value)]
            parts.append(table(["In the registry", ""], facts))
    return "\n\n".join(parts) or "There are no data cards yet."


def _with_figures(card: str, name: str, context: Context) -> str:
    """Paths of a card's figures as the page Data sees them. UserError for one that is missing or says nothing."""

    def figure(match: re.Match) -> str:
        if not match[1].strip():
            raise UserError(f"data/cards/{name}.md: a figure without alt text ({match[2]})")
        if not (context.root / "book" / "_static" / "cards" / match[2]).is_file():
            raise UserError(f"data/cards/{name}.md shows {match[2]}, which data/cards/figures.py has not made")
        return f"![{match[1]}](../_static/cards/{match[2]}){{.dark-light}}"  # keeps its contrast on a dark page

    return re.sub(r"!\[([^\]]*)\]\(\.\./\.\./book/_static/cards/([^)\s]+)\)", figure, card)


def _is_fact(value: Any) -> bool:
    return isinstance(value, (str, int, float)) or (
        isinstance(value, list) and all(isinstance(item, (str, int, float)) for item in value)
    )


def _fact(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"`{text}`" if re.fullmatch(r"[0-9a-f]{32,}", text) else text


# --- Markdown -----------------------------------------------------------------------------------------------------


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    clean = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in [heads, *rows]]
    lines = [f"| {' | '.join(row)} |" for row in clean]
    return "\n".join([lines[0], "|" + "---|" * len(heads), *lines[1:]])


def html_block(html: str) -> str:
    return f"```{{raw}} html\n{html}\n```"


def cover_player(context: Context) -> str:
    """The last player, else the last picture, of this build's last chapter that has one."""
    folders = [folder for folder in reversed(context.runs.values()) if not withheld(folder, context.root)]
    shown = [_html_outputs(path) for folder in folders if (path := folder / "notebook.ipynb").exists()]
    for kind in ("medgan-player", "medgan-figure"):
        for outputs in shown:
            if found := [html for html in outputs if f'<figure class="{kind}"' in html]:
                return html_block(found[-1])
    return ""


def withheld(folder: Path, root: Path) -> list[str]:
    """The data sets in a run whose images may not be published: those with ``publish: false`` in the registry.

    A run uses what its parameters or its code name, unless the code only compares with the name.
    """
    path, results = root / "data" / "registry.yml", read_json(folder / "results.json")
    if not path.exists() or not results or not (folder / "notebook.ipynb").exists():
        return []
    registry = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    private = {name for name, about in registry.items() if about.get("publish") is False}
    notebook = nbformat.read(folder / "notebook.ipynb", as_version=4)
    words = {str(value) for value in {**default_parameters(notebook), **results["parameters"]}.values()}
    waiting: list[ast.AST] = [
        ast.parse(plain_python(cell.source))
        for cell in notebook.cells
        if cell.cell_type == "code" and not {"parameters", "injected-parameters"} & set(tags(cell))
    ]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Constant):
            words.add(str(node.value))
        elif not isinstance(node, ast.Compare):
            waiting += ast.iter_child_nodes(node)
    return sorted(private & words)


def _html_outputs(path: Path) -> list[str]:
    cells = nbformat.read(path, as_version=4).cells
    return [output.get("data", {}).get("text/html", "") for cell in cells for output in cell.get("outputs", [])]


GENERATED: dict[str, Callable[[Context], str]] = {
    "cover": cover_player,
    "verdicts": verdicts,
    "forest": forest,
    "ledger": ledger_pages,
    "status": status,
    "deviations": deviations,
    "slips": slips,
    "data-cards": data_cards,
}
