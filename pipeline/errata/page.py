"""The page that asks whether code matches the maths: deviations of public code, and slips of the review."""

from __future__ import annotations

from functools import cache
from typing import Any

from pipeline.errata.measured import generator_gradient, measured, short
from pipeline.pages.context import Context, claim_role
from pipeline.pages.markdown import html_block, table


def deviations(context: Context) -> str:
    """What widely used code computes instead of the equations: a table, computed here, and the gradients' figure."""
    return _deviations()


@cache  # seconds; the same each time that one command builds the pages
def _deviations() -> str:
    from pipeline.errata.deviations import MUTANTS

    rows = []
    for mutant in MUTANTS.values():
        if not mutant.seen:
            continue
        projects = "; ".join(f"[{repo}](https://github.com/{repo}) `{path}`" for repo, path in mutant.seen)
        what = mutant.deviation[0].upper() + mutant.deviation[1:]
        rows.append([mutant.equation, f"{what}. Seen in {projects}", measured(mutant)])
    heads = ["Equation", "What is computed instead", "Measured here"]
    return "\n\n".join([table(heads, rows), _gradients_figure(MUTANTS)])


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
        both, spared = (claim_role(name, "value", context) for name in sides)
        on_a_line = (
            "On a line, where a slope changes sign only through zero, the rank correlation of critic and distance was "
            f"{both} two-sided and {spared} one-sided (means over the recorded seeds). "
        )
    rows = [
        ["Sec. 2.1 and Eq. 4", "The text asks for a gradient norm below 1; the equation and Table 1 pull it to 1 from "
         "both sides.", f"A critic of slope 0.5 pays {short(two)} two-sided and {short(one)} one-sided. "
         f"{on_a_line}"
         "[Chapter 2](../notebooks/02_wasserstein.ipynb) trains both."],
        ["Table 1", "In one typesetting the penalty has no norm bars, so 1 is taken from each entry of the gradient.",
         f"A gradient of norm 1 on 32² pixels then costs {short(barless)} (mean over pixels) instead of "
         f"{short(right)}."],
        ["Sec. 2.2", "The code that InfoGAN recovers is called x in one sentence; it is c.", "A letter, no number."],
        ["Eq. 7", "It is likened to Eq. 1, but there is no z: the generator's only input is the image y.",
         "The expectation is over y alone, and one image has one translation."],
        ["Fig. 9", "The caption uses (g) for two panels.", "A letter, no number."],
    ]
    return table(["Where", "What", "What it changes"], rows)
