"""A small GAN that trains in the page, on points in the plane; where no script runs, a picture of the same training."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medgan_lib.figures.pictures import caption_text, check_alt, figcaption_tag, img_tag, png_bytes, rendered
from medgan_lib.figures.plots import subplots

if TYPE_CHECKING:
    from torch import Tensor

RATES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
STEPS_OF_D = (1, 5)
TITLES = {
    "gan": "GAN (Eq. 1)", "gan-ma": "GAN-MA (Eq. 2)", "lsgan": "LSGAN", "wgan": "WGAN, clipping", "wgan-gp": "WGAN-GP",
}
BATCH, LAMBDA, CLIP, VIEW = 64, 10, 0.01, 1.6  # as in the script
ALONE, TOGETHER = 30, 800  # steps of D, then of both, in the picture for pages without scripts
BLUE, ORANGE, PURPLE, DARK = "#5ca5d6", "#f39c46", "#9c27b0", "#1a1a1a"


def _centres() -> dict[str, dict[str, Any]]:
    """Each kind of data is a mixture of equal round clouds: their centres, and their one standard deviation."""
    turns = [k * math.pi / 4 for k in range(8)]
    half = [k * math.pi / 19 for k in range(20)]
    upper = [(0.8 * math.cos(t) - 0.4, 0.8 * math.sin(t) - 0.2) for t in half]
    found = {
        "ring of 8": (0.07, [(math.cos(t), math.sin(t)) for t in turns]),
        "one blob": (0.2, [(0.6, 0.5)]),
        "two moons": (0.06, upper + [(-x, -y) for x, y in upper]),
        "line": (0.05, [(1.1 * t / 12, 0.7 * t / 12) for t in range(-12, 13)]),
    }
    return {
        name: {"sigma": sigma, "centres": [[round(x, 3) + 0.0, round(y, 3) + 0.0] for x, y in places]}
        for name, (sigma, places) in found.items()
    }


DATA = _centres()


@dataclass(frozen=True, repr=False)
class Playground:
    """A GAN in the plane with its controls; shows itself as HTML that needs no kernel and no network.

    Where no script runs, it is ``png``: the start, D after a few steps alone, and both after many; ``words`` say it.
    """

    png: bytes
    alt: str
    words: str
    choices: tuple[tuple[str, Any], ...]
    caption: str = ""

    def _repr_html_(self) -> str:
        name = hashlib.sha256(self.png + repr((self.choices, self.alt)).encode()).hexdigest()[:12]
        chosen = dict(self.choices)
        pill = (
            "font:inherit;min-height:2.75em;padding:0 .3em;border:1px solid currentColor;border-radius:1.4em;"
            "background:transparent;color:inherit;cursor:pointer"
        )
        buttons = "".join(
            f'<button type="button" data-do="{key}" style="{pill}{wide}">{label}</button>'
            for key, label, wide in (
                ("run", "Run", ";font-weight:bold"), ("both", "Both: one step", ""), ("d", "D: one step", ""),
                ("g", "G: one step", ""), ("again", "Start again", ";grid-column:span 2"),
            )
        )
        rates = {rate: f"{rate:g}" for rate in RATES}
        settings = "".join((
            _select("data", "Data", {key: key for key in DATA}, chosen["data"]),
            _select("objective", "Objective", TITLES, chosen["objective"]),
            _select("lr_d", "Learning rate of D", rates, chosen["lr_d"]),
            _select("lr_g", "Learning rate of G", rates, chosen["lr_g"]),
            _select("d_steps", "Steps of D per G", {k: str(k) for k in STEPS_OF_D}, chosen["d_steps"]),
            _setting("Seed", f'<input type="number" data-choice="seed" autocomplete="off" min="0" max="9999" step="1"'
                             f' value="{chosen["seed"]}" style="{_BOX}">'),
        ))
        points = escape(json.dumps(DATA, separators=(",", ":")), quote=True)
        card = "background:#fff;color:#1a1a1a;border-radius:4px;padding:6px"
        return (
            f'<figure class="medgan-playground" data-playground="{name}" data-points="{points}" role="group"'
            f' aria-label="{escape("Playground: " + self.alt, quote=True)}"'
            ' style="margin:1em auto;max-width:46em;text-align:center">'
            f'{img_tag(self.png, self.alt + ". " + self.words)}'
            '<div data-live hidden>'
            '<div style="display:flex;flex-wrap:wrap;align-items:flex-start;gap:.75em;text-align:left">'
            f'<div style="flex:4 1 18em;min-width:0;max-width:100%;box-sizing:border-box;{card}">'
            '<canvas role="img" aria-label="" style="display:block;width:100%;aspect-ratio:1"></canvas>'
            f'<div style="font-size:.85em;line-height:1.4;padding-top:.4em">{_LEGEND}</div></div>'
            '<div style="flex:1 1 17em;min-width:0">'
            f'<div style="display:grid;grid-template-columns:1fr 1fr;gap:.4em">{buttons}</div>'
            '<output aria-live="polite" style="display:block;min-height:7.5em;padding:.75em 0;font-size:.9em;'
            'line-height:1.5;white-space:pre-line;font-variant-numeric:tabular-nums"></output>'
            '<div style="display:grid;grid-template-columns:4fr 5fr;gap:.4em .6em;padding-top:.5em">'
            f'{settings}</div></div><div style="flex:1 1 100%;min-width:0;box-sizing:border-box;{card}">'
            '<div style="font-size:.85em">Loss of <span style="color:#00684d">D (solid)</span>, of '
            '<span style="color:#8e24aa">G (dashed)</span></div>'
            '<canvas role="img" aria-label="" style="display:block;width:100%;height:84px"></canvas></div></div></div>'
            f"{figcaption_tag(self.caption)}</figure><script>\n{script(name)}</script>"
        )

    def __repr__(self) -> str:  # part of a notebook's output, so it must not change between runs
        return f"[playground: {self.alt}]"


_BOX = (
    "font:inherit;display:block;width:100%;min-width:0;min-height:2.75em;box-sizing:border-box;padding:0 .2em;"
    "border:1px solid #767676;border-radius:4px;background:#fff;color:#1a1a1a"
)
_SIGN = '<span aria-hidden="true" style="color:{}">{}</span> '
_LEGEND = (
    f"{_SIGN.format(DARK, '●')}real points. {_SIGN.format(PURPLE, '◆')}generated points, with arrows along "
    f"−∂L<sub>G</sub>/∂x: the way G’s loss falls. {_SIGN.format(ORANGE, '■')}orange: D takes points there for real, "
    f"{_SIGN.format(BLUE, '■')}blue: for generated; line: undecided."
)


def _setting(label: str, control: str) -> str:
    return (
        '<label style="display:flex;flex-direction:column;justify-content:flex-end;min-width:0;margin:0">'
        f'<span style="font-size:.8em">{label}</span>{control}</label>'
    )


def _select(name: str, label: str, titles: dict[Any, str], chosen: Any) -> str:
    options = "".join(
        f'<option value="{key}"{" selected" if key == chosen else ""}>{title}</option>' for key, title in titles.items()
    )
    return _setting(label, f'<select data-choice="{name}" autocomplete="off" style="{_BOX}">{options}</select>')


# The first part is what a GAN is, for whoever reads the page's source; the second one draws and listens.
def script(name: str) -> str:
    """The page's script for the one element called ``name``."""
    parts = (Path(__file__).with_name(file) for file in ("playgrounds.js", "playgrounds_page.js"))
    return "".join(part.read_text(encoding="utf-8") for part in parts).replace("NAME", name)


def playground(
    data: str = "ring of 8",
    objective: str = "gan-ma",
    *,
    alt: str,
    lr: tuple[float, float] = (0.01, 0.003),
    d_steps: int = 1,
    seed: int = 1,
    caption: str | None = None,
) -> Playground:
    """A GAN on points in the plane that the reader trains in the page, step by step or running.

        figures.playground("ring of 8", alt="A small GAN learns eight clouds of points on a ring")

    All arguments but the texts are what the controls are set to at first. D (2-32-32-1) and G (2-16-16-2) have leaky
    ReLU and Adam with beta1 0.5, batches of 64 and the losses of `medgan_lib.objectives`; ``wgan`` clips D's weights
    to 0.01, ``wgan-gp`` has lambda 10 and is steady with ``lr=(0.003, 0.001), d_steps=5``. Nothing starts by itself.

    Args:
        data: "ring of 8", "one blob", "two moons" or "line".
        objective: "gan", "gan-ma", "lsgan", "wgan" or "wgan-gp".
        alt: what one sees; what the picture for pages without scripts shows is added to it.
        lr: learning rates of D and of G, each one of `RATES`.
        d_steps: steps of D before each of G, 1 or 5.
        seed: of the random numbers, from 0 to 9999; equal seeds give equal trainings.

    Raises:
        ValueError: empty alt, or a value that the controls do not have.
    """
    check_alt(alt)
    lr_d, lr_g = lr
    for what, value, known in (
        ("data", data, DATA), ("objective", objective, TITLES), ("lr of D", lr_d, RATES), ("lr of G", lr_g, RATES),
        ("d_steps", d_steps, STEPS_OF_D), ("seed", seed, range(10000)),
    ):
        if value not in known:
            there = "0 to 9999" if what == "seed" else ", ".join(map(str, known))
            raise ValueError(f"no {what} {value!r}; there is {there}")
    choices = {"data": data, "objective": objective, "lr_d": lr_d, "lr_g": lr_g, "d_steps": d_steps, "seed": seed}
    png, words = _still(**choices)
    return Playground(png, alt.strip().rstrip("."), words, tuple(choices.items()), caption_text(caption))


class Stream:
    """The script's random numbers: mulberry32, and normal ones by Box and Muller."""

    def __init__(self, seed: int) -> None:
        self.state = seed % 2**32

    def uniform(self, n: int) -> np.ndarray:
        """(n,) numbers in [0, 1)."""
        low = np.uint64(0xFFFFFFFF)
        s = (np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x6D2B79F5) + np.uint64(self.state)) & low
        self.state = int(s[-1]) if n else self.state
        t = (s ^ (s >> np.uint64(15))) * (s | np.uint64(1)) & low
        t = (t + ((t ^ (t >> np.uint64(7))) * (t | np.uint64(61)) & low) & low) ^ t
        return (t ^ (t >> np.uint64(14))) / 2.0**32

    def normal(self, n: int) -> np.ndarray:
        """(n,) numbers, two uniform ones for each."""
        return _normal(self.uniform(2 * n).reshape(n, 2))


def _normal(u: np.ndarray) -> np.ndarray:
    return np.sqrt(-2 * np.log(1 - u[:, 0])) * np.cos(2 * np.pi * u[:, 1])


class Twin:
    """The script's training in torch, number by number: the same start, batches and steps, in float64.

    ``D`` and ``G`` are the networks, ``real`` (160, 2) and ``z`` (120, 2) what is shown.
    """

    def __init__(self, data: str, objective: str, lr_d: float, lr_g: float, d_steps: int, seed: int) -> None:
        import torch

        self.stream, self.data, self.objective, self.d_steps = Stream(seed), DATA[data], objective, d_steps
        self.D, self.G = self._network(2, 32, 32, 1), self._network(2, 16, 16, 2)
        self.real, self.z = self._points(160), self._noise(120)
        self.optimizers = [
            torch.optim.Adam(net.parameters(), lr, (0.5, 0.999)) for net, lr in ((self.D, lr_d), (self.G, lr_g))
        ]

    def _network(self, *sizes: int) -> Any:
        import torch
        from torch import nn

        layers: list[nn.Module] = []
        for ins, outs in itertools.pairwise(sizes):
            linear = nn.Linear(ins, outs, dtype=torch.float64)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(1.4 * self.stream.normal(ins * outs) / ins**0.5).view(outs, ins))
                linear.bias.copy_(torch.from_numpy(0.3 * self.stream.normal(outs)))
            layers += [linear, nn.LeakyReLU(0.2)]
        return nn.Sequential(*layers[:-1])

    def _points(self, n: int) -> Tensor:
        import torch

        u, centres = self.stream.uniform(5 * n).reshape(n, 5), np.asarray(self.data["centres"])
        spread = np.stack([_normal(u[:, 1:3]), _normal(u[:, 3:])], axis=1)
        return torch.from_numpy(centres[(u[:, 0] * len(centres)).astype(int)] + self.data["sigma"] * spread)

    def _noise(self, n: int) -> Tensor:
        import torch

        return torch.from_numpy(self.stream.normal(2 * n).reshape(n, 2))

    def step_d(self) -> float:
        """One step of D; its loss before it."""
        import torch

        from medgan_lib.objectives import OBJECTIVES, clip_weights_, gradient_penalty

        real, fake = self._points(BATCH), self.G(self._noise(BATCH)).detach()
        loss = OBJECTIVES[self.objective].discriminator(self.D(real), self.D(fake))
        if self.objective == "wgan-gp":
            mixed = torch.lerp(fake, real, torch.from_numpy(self.stream.uniform(BATCH))[:, None])
            loss = loss + LAMBDA * gradient_penalty(self.D, mixed, mixed)  # between a point and itself is the point
        self._update(0, loss)
        if self.objective == "wgan":
            clip_weights_(self.D, CLIP)
        return loss.item()

    def step_g(self) -> float:
        """One step of G; its loss before it."""
        from medgan_lib.objectives import OBJECTIVES

        loss = OBJECTIVES[self.objective].generator(self.D(self.G(self._noise(BATCH))))
        self._update(1, loss)
        return loss.item()

    def step_both(self) -> tuple[float, float]:
        """The steps of D that go with one of G, and that one; the last loss of each."""
        losses = [self.step_d() for _ in range(self.d_steps)]
        return losses[-1], self.step_g()

    def _update(self, player: int, loss: Tensor) -> None:
        import torch

        optimizer = self.optimizers[player]
        parameters = optimizer.param_groups[0]["params"]
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        optimizer.step()

    def generated(self) -> tuple[np.ndarray, np.ndarray]:
        """The shown points (120, 2), and minus the gradient of G's loss at each, times their number."""
        import torch

        from medgan_lib.objectives import OBJECTIVES

        x = self.G(self.z).detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(OBJECTIVES[self.objective].generator(self.D(x)), x)
        return x.detach().numpy(), -len(x) * gradient.numpy()

    def reached(self) -> tuple[float, int]:
        """Share of the shown generated points within three standard deviations of a centre, and centres so reached."""
        x, _ = self.generated()
        apart = np.linalg.norm(x[:, None] - np.asarray(self.data["centres"]), axis=2) < 3 * self.data["sigma"]
        return float(apart.any(1).mean()), int(apart.any(0).sum())

    def judged(self, x: np.ndarray) -> np.ndarray:
        """What D makes of points (n, 2): from -1, generated, to 1, real. A critic's values start between its means."""
        import torch

        with torch.no_grad():
            said = self.D(torch.from_numpy(x)).squeeze(1)
            if self.objective.startswith("wgan"):
                said = said - (self.D(self.real).mean() + self.D(self.G(self.z)).mean()) / 2
                return (said / said.abs().max().clamp_min(1e-12)).numpy()
            return (2 * (said.clamp(0, 1) if self.objective == "lsgan" else said.sigmoid()) - 1).numpy()


@functools.lru_cache(16)
def _still(**choices: Any) -> tuple[bytes, str]:
    """The picture for pages without scripts, and what it shows."""
    twin = Twin(**choices)
    figure, axes = subplots(1, 3, size=(6.4, 2.45))
    near, reached = [], 0
    for axis, title, steps, step in zip(
        axes, ("start", f"D alone: {ALONE} steps", f"then both: {TOGETHER}"), (0, ALONE, TOGETHER),
        (None, twin.step_d, twin.step_both), strict=True,
    ):
        for _ in range(steps):
            step()
        _draw(axis, twin, title)
        share, reached = twin.reached()
        near.append(f"{100 * share:.0f} %")
    places = len(twin.data["centres"])
    words = (
        f"Three pictures of points in the plane over D's output as colour: at the start, where {near[0]} of the "
        f"generated points lie near real ones; after {ALONE} steps of D alone, which show it where the real points "
        f"are; and after {TOGETHER} more steps of both, with {near[2]} near real ones, at {reached} of {places} places."
    )
    return png_bytes(rendered(figure, tight=True), 64), words


def _draw(axis: Any, twin: Twin, title: str) -> None:
    import matplotlib as mpl

    at = np.linspace(-VIEW, VIEW, 81)
    plane = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)
    judged = twin.judged(plane).reshape(len(at), -1)
    colours = mpl.colors.LinearSegmentedColormap.from_list("judged", [BLUE, "#ffffff", ORANGE])
    axis.contourf(at, at, judged, np.linspace(-1, 1, 12), cmap=colours)
    axis.contour(at, at, judged, [0], colors="#444444", linewidths=1)
    axis.plot(*twin.real.numpy().T, ".", color=DARK, ms=3)
    x, pull = twin.generated()
    arrows = 0.23 * pull / (1 + np.linalg.norm(pull, axis=1, keepdims=True))
    axis.quiver(*x.T, *arrows.T, angles="xy", scale_units="xy", scale=1, width=0.006, color="#6a1b9a")
    axis.plot(*x.T, "D", color=PURPLE, ms=3.5, mec="white", mew=0.5)
    axis.set(xlim=(-VIEW, VIEW), ylim=(-VIEW, VIEW), aspect="equal", xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    axis.set_title(title, fontsize=13)
    axis.grid(False)
