"""Two players step by step: what D says everywhere in the plane, and where G's points are pulled."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medgan_lib.figures.live_views import LiveView, Screen, own_randomness
from medgan_lib.figures.pictures import Picture, caption_text, png_bytes, rendered
from medgan_lib.figures.players import Player, player
from medgan_lib.figures.plots import subplots
from medgan_lib.figures.style import PALETTE

if TYPE_CHECKING:
    from ipywidgets import Widget
    from matplotlib.figure import Figure
    from torch import Tensor, nn

PROBABILITY = ("gan", "gan-ma")  # objectives whose D returns a logit; of the others the value itself is shown
REAL, GENERATED = "#1a1a1a", "#9c27b0"  # as in the playground; orange is where D takes points for real
POINTS, ARROWS, GRID = 256, 64, 61
LONGEST = 0.12  # length of the longest arrow, as a share of the plane's width
AT_ONCE = 5  # steps between two pictures while it runs
LAST = 5000  # steps after which a run stops: nobody may be watching any more


def stepper(
    method: nn.Module,
    x: Any,
    *,
    alt: str,
    caption: str | None = None,
    cohort: Any = None,
    steps_shown: Sequence[int] = (0, 1, 5, 20, 50, 100, 200, 500),
    batch_size: int = 256,
    span: float | None = None,
    output: Literal["probability", "value"] | None = None,
    seed: int = 0,
) -> Stepper:
    """A two-dimensional game to step through: D's output as colour, real and generated points, the pull on them.

        figures.stepper(methods.GAN(MLP(2, 2), MLP(2, 1)), cohorts.load("ring").x, alt="Eight clouds on a ring")

    The arrows are minus the gradient of G's loss with respect to the generated points, as G's next update has it. The
    method that is given stays as it is: a copy plays, on the CPU, with random numbers of its own. In the page, a player
    of the states after ``steps_shown`` steps by the same code.

    Args:
        method: G maps noise to points (n, 2), D maps points to one value each. It has ``update_D(x)``, and
            ``update_G(n)`` or ``update_G_against_answer(x)``, as `methods.GAN` and those made of it.
        x: the real points (n, 2), or a cohort of them.
        alt: what one sees; the number of steps is added to it.
        steps_shown: rising numbers of steps, from 0.
        batch_size: points of a minibatch.
        span: the plane is shown from -span to span along both axes; by default 1.4 times the largest coordinate.
        output: whether D's output is a logit, shown as the probability that a point is real, or a value to show as it
            is. None: by the method's ``objective``.
        seed: of the copy's random numbers.

    Raises:
        ValueError: other shapes, a method without these updates, steps that do not rise, empty alt.
    """
    import torch

    x = x if isinstance(x, torch.Tensor) else x.x
    steps_shown = [int(steps) for steps in steps_shown]
    if not steps_shown or steps_shown[0] < 0 or sorted(set(steps_shown)) != steps_shown:
        raise ValueError(f"steps_shown must rise from 0 or more, got {steps_shown}")
    return Stepper(Game(method, x, batch_size, span, output, seed), steps_shown, alt, caption_text(caption, cohort))


class Game:
    """A copy of a method on the CPU, with random numbers of its own, and a record of its losses.

    ``updates`` counts those of "D" and of "G". ``losses`` has for each player pairs (updates of both before, loss).
    """

    def __init__(
        self, method: nn.Module, x: Tensor, batch_size: int, span: float | None, output: str | None, seed: int
    ) -> None:
        if missing := [name for name in ("G", "D", "update_D") if not hasattr(method, name)]:
            raise ValueError(f"{type(method).__name__} has no {', '.join(missing)}: a stepper needs two players")
        if not (hasattr(method, "update_G") or hasattr(method, "update_G_against_answer")):
            raise ValueError(f"{type(method).__name__} has no update_G: a stepper needs two players")
        if x.ndim != 2 or x.shape[1] != 2 or not len(x):
            raise ValueError(f"expected real points (n, 2), got {tuple(x.shape)}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if output not in (None, "probability", "value"):
            raise ValueError(f"output must be 'probability', 'value' or None, got {output!r}")
        self.x, self.batch_size, self.seed = x.detach().cpu().float(), batch_size, seed
        self.span = float(1.4 * self.x.abs().max()) if span is None else float(span)
        self.output = output or ("probability" if getattr(method, "objective", "gan") in PROBABILITY else "value")
        self.first = copied(method)
        self.restart()

    def restart(self) -> None:
        """Back to the method that was given, and to the first random number."""
        import torch

        self.method = copied(self.first).train()
        self.updates = {"D": 0, "G": 0}
        self.losses: dict[str, list[tuple[int, float]]] = {"D": [], "G": []}
        with own_randomness(self.seed):
            self.random = torch.get_rng_state()

    def play(self, who: Literal["D", "G", "both"], steps: int = 1) -> None:
        """So many updates of D, of G, or steps of the method, which update both."""
        import torch

        draws = getattr(self.method, "draws", 1)
        with own_randomness(0):
            torch.set_rng_state(self.random)
            for _ in range(steps):
                if who == "both":
                    losses = self.method.step({"x": self.batch(draws)})
                    self.note("D", losses["loss_D"], draws)
                    if "loss_G" in losses:  # it stands still in `DiscriminatorOnly`
                        self.note("G", losses["loss_G"])
                elif who == "D":
                    self.note("D", self.method.update_D(self.batch())["loss_D"])
                else:
                    self.note("G", update_g(self.method, self.batch())["loss_G"])
            self.random = torch.get_rng_state()

    def batch(self, draws: int = 1) -> Tensor:
        import torch

        return self.x[torch.randint(len(self.x), (draws * self.batch_size,))]

    def note(self, who: str, loss: Tensor, updates: int = 1) -> None:
        value = float(loss)
        if not np.isfinite(value):
            raise FloatingPointError(f"the loss of {who} became {value}: go back to the start, or use a lower rate")
        self.updates[who] += updates
        self.losses[who].append((sum(self.updates.values()), value))

    def pulled(self) -> tuple[np.ndarray, np.ndarray]:
        """Generated points, and minus the gradient of G's loss there, each (POINTS, 2); the noise is always the same.

        Taken from a real update of a copy, so it is what this method does, whatever its loss.
        """
        outputs, pulls = [], []

        def watch(_: nn.Module, __: Any, points: Tensor) -> None:
            if points.requires_grad:
                outputs.append(points.detach().clone())
                points.register_hook(lambda gradient: pulls.append(-len(gradient) * gradient))

        scratch = copied(self.method).train()
        scratch.G.register_forward_hook(watch)
        with own_randomness(self.seed + 1):
            size, self.batch_size = self.batch_size, POINTS
            try:
                update_g(scratch, self.batch())
            finally:
                self.batch_size = size
        return outputs[-1].numpy(), pulls[-1].numpy()

    def opinion(self) -> np.ndarray:
        """D's output (GRID, GRID) on the plane, row by row from the lowest; a probability for logits."""
        import torch

        axis = torch.linspace(-self.span, self.span, GRID)
        plane = torch.cartesian_prod(axis, axis).flip(1)
        judge = copied(self.method.D).eval()
        with torch.no_grad():
            said = judge(plane)
        if said.numel() != len(plane):
            raise ValueError(f"D must give one value for each point, it gave {tuple(said.shape)} for {len(plane)}")
        said = said.sigmoid() if self.output == "probability" else said
        return said.reshape(GRID, GRID).numpy()

    def told(self) -> str:
        """How far it is, in words."""
        d, g = self.updates["D"], self.updates["G"]
        losses = [f"loss of {who} {self.losses[who][-1][1]:.3g}" for who in "DG" if self.losses[who]]
        return ", ".join([f"{d} updates of D, {g} of G", *losses])

    def figure(self) -> Figure:
        """The plane, and below it the losses of both players."""
        import matplotlib as mpl

        figure, (plane, curve) = subplots(2, 1, size=(6.4, 7.68))
        figure.set_layout_engine("none")  # places are given, which is several times as fast
        plane.set_position((0.07, 0.285, 0.82, 0.683))
        curve.set_position((0.07, 0.075, 0.82, 0.105))
        # In bands: few colours, so that a small file shows them as they are.
        colours = mpl.colors.LinearSegmentedColormap.from_list("opinion", ["#7fb8dc", "#ffffff", "#f0a878"], N=20)
        said = self.opinion()
        at = np.linspace(-self.span, self.span, GRID)
        if self.output == "probability":
            norm, levels = mpl.colors.Normalize(0, 1), [0.1, 0.3, 0.5, 0.7, 0.9]
            colour_is = "colour: D(x), 1 is real"
        else:  # a critic's values have no zero: half of the plane above the middle colour, half below
            middle, reach = float(np.median(said)), float(np.ptp(said)) or 1.0
            norm, levels = mpl.colors.Normalize(middle - reach / 2, middle + reach / 2), 9
            colour_is = "colour: D(x), higher is more real"
        image = plane.imshow(said, origin="lower", extent=(at[0], at[-1]) * 2, cmap=colours, norm=norm,
                             interpolation="bilinear")
        if np.ptp(said) > 1e-9:
            lines = plane.contour(at, at, said, levels=levels, colors="#777777", linewidths=0.8)
            plane.clabel(lines, fontsize=10, fmt="%.2g")
        points, pulls = self.pulled()
        strength = np.linalg.norm(pulls, axis=1)
        plane.plot(*points.T, "D", color=GENERATED, ms=5.5, mec="white", mew=0.5, label="generated")
        plane.plot(*self.x[:POINTS].T, "o", color=REAL, ms=5.5, mec="white", mew=0.5, label="real")
        if strength.max() > 0:
            arrows = pulls[:ARROWS] * (2 * self.span * LONGEST / strength[:ARROWS].max())
            plane.quiver(*points[:ARROWS].T, *arrows.T, angles="xy", scale_units="xy", scale=1, width=0.004,
                         color="#222222", zorder=3)
        plane.set(xlim=(at[0], at[-1]), ylim=(at[0], at[-1]), aspect="equal", axisbelow=False)
        plane.grid(False)
        plane.set_title(f"{self.updates['D']} updates of D, {self.updates['G']} of G", loc="left", fontsize=13)
        plane.set_title(colour_is, loc="right", fontsize=13)
        plane.legend(loc="upper left", bbox_to_anchor=(-0.03, -0.05), ncols=2, handletextpad=0, columnspacing=0.8,
                     frameon=False, fontsize=12)
        plane.text(1, -0.072, f"arrows: pull on G, on average {strength.mean():.2g}", ha="right", va="top", fontsize=12,
                   transform=plane.transAxes)
        bar = figure.colorbar(image, cax=figure.add_axes((0.905, 0.285, 0.025, 0.683)))
        if self.output == "probability":
            bar.set_ticks([0, 0.5, 1], labels=["0", "½", "1"])
        bar.outline.set_visible(False)
        for at_x, who, colour, dash in ((0, "D", PALETTE[2], "-"), (0.22, "G", GENERATED, (0, (6, 2)))):
            curve.plot(*zip(*self.losses[who], strict=True) if self.losses[who] else ([], []), color=colour, ls=dash)
            curve.text(at_x, 1.08, f"loss of {who}", color=colour, fontsize=12, transform=curve.transAxes)
        curve.set(xlabel="updates of both players")
        curve.xaxis.get_major_locator().set_params(integer=True)
        if not any(self.losses.values()):
            curve.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
        return figure


def copied(module: nn.Module) -> nn.Module:
    """A copy on the CPU that shares nothing with its original; of a method with its optimizers."""
    twin = copy.deepcopy(module).cpu()
    for optimizer in getattr(twin, "optimizers", dict)().values():
        optimizer.load_state_dict(optimizer.state_dict())  # brings its state to where its parameters are
    return twin


def update_g(method: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """One update of G; against the unrolled D where the method has such."""
    if hasattr(method, "update_G_against_answer"):
        return method.update_G_against_answer(x)
    return method.update_G(len(x))


class Stepper(LiveView):
    """The panel of `stepper`: ``game`` plays; ``buttons`` by what they say, ``run`` and ``screen`` are its widgets."""

    buttons: dict[str, Any]
    run: Any
    screen: Screen

    def __init__(self, game: Game, steps_shown: Sequence[int], alt: str, caption: str) -> None:
        super().__init__(alt, caption)
        self.game, self.steps_shown = game, list(steps_shown)
        self.task: asyncio.Task | None = None

    def picture(self) -> Picture:
        return Picture(png_bytes(rendered(self.game.figure(), tight=False)), f"{self.alt} ({self.game.told()})")

    def _still(self) -> Player:
        game = copy.copy(self.game)  # the same start, but another game
        game.restart()
        frames, done = [], 0
        for steps in self.steps_shown:
            game.play("both", steps - done)
            done = steps
            frames.append(game.figure())
        labels = [f"step {steps}" for steps in self.steps_shown]
        found = player(frames, alt=self.alt, labels=labels, fps=1.5)
        return Player(found.frames, found.labels, found.fps, self.alt, self.caption)

    def _widget(self) -> Widget:
        import ipywidgets

        self.screen = Screen("38em", self.caption)
        actions: dict[str, tuple[Callable[[], None], str]] = {
            "D only": (lambda: self.game.play("D"), "One update of the discriminator"),
            "G only": (lambda: self.game.play("G"), "One update of the generator"),
            "Both": (lambda: self.game.play("both"), "One step: every player once"),
            "10 times": (lambda: self.game.play("both", 10), "Ten steps of both"),
            "Back to the start": (self.game.restart, "The networks as they were given"),
        }
        self.buttons = {}
        for label, (action, tooltip) in actions.items():
            button = ipywidgets.Button(description=label, tooltip=tooltip, layout={"width": "auto"})
            button.on_click(lambda _, action=action: self._act(action))
            self.buttons[label] = button
        self.run = ipywidgets.ToggleButton(description="Run", tooltip="Steps of both until you stop",
                                           layout={"width": "auto", "min_width": "5em"})
        self.run.observe(self._run_changed, "value")
        self.counter = ipywidgets.HTML()
        self._act(lambda: None)
        *steps, back = self.buttons.values()
        row = ipywidgets.HBox([*steps, self.run, back], layout={"flex_flow": "row wrap"})
        return ipywidgets.VBox([row, self.counter, self.screen.box], layout={"max_width": "46em"})

    def _act(self, action: Callable[[], None]) -> None:
        with self.screen.guarded():
            action()
            self.screen.show(self.picture())
            self.counter.value = f'<div class="medgan-counter" aria-live="polite">{self.game.told()}</div>'

    def _run_changed(self, change: Any) -> None:
        self.run.description = "Stop" if change["new"] else "Run"
        if change["new"]:
            self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        """Steps until the button is up. Between pictures the kernel answers: cells run, and buttons work."""
        try:
            for _ in range(LAST // AT_ONCE):
                if not self.run.value:
                    break
                self._act(lambda: self.game.play("both", AT_ONCE))
                await asyncio.sleep(0.05)
        finally:
            self.run.value = False
