"""A trained generator that answers in the page itself: its weights travel with the page; no kernel is needed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medgan_lib.figures.grids import grid_image, text_strip
from medgan_lib.figures.live_program import Program, run
from medgan_lib.figures.live_sliders import step
from medgan_lib.figures.live_views import LiveView, Screen
from medgan_lib.figures.pictures import Picture, as_images, caption_text, check_alt, figcaption_tag, img_tag, png_bytes
from medgan_lib.figures.playgrounds import Stream

if TYPE_CHECKING:
    from ipywidgets import Widget
    from torch import Tensor, nn

MOST = 300_000  # bytes of weights in a page
BOUND = 0.02  # largest difference between the page's image and G's, in parts of the window, from black to white
COLUMNS = 5  # images in a row of the still version
STEP = 0.1


@dataclass(frozen=True)
class Slider:
    """``value`` times ``direction``; 0 is where it starts."""

    direction: np.ndarray
    low: float
    high: float
    step: float

    first = 0.0

    def moved(self, value: float) -> np.ndarray:
        return value * self.direction

    def shown(self) -> list[tuple[str, float]]:
        return [(f"{value:.3g}", value) for value in np.linspace(self.low, self.high, COLUMNS).tolist()]


@dataclass(frozen=True)
class Choice:
    """One of several offsets; the first is where it starts."""

    offsets: dict[str, np.ndarray]

    @property
    def first(self) -> str:
        return next(iter(self.offsets))

    def moved(self, value: str) -> np.ndarray:
        return self.offsets[value]

    def shown(self) -> list[tuple[str, str]]:
        return [(option, option) for option in self.offsets]


def live(
    G: nn.Module,
    controls: Mapping[str, Any],
    *,
    start: Tensor,
    alt: str,
    window: tuple[float, float] | None = None,
    seed: int = 0,
    noise: Sequence[int] | slice | None = None,
    caption: str | None = None,
    cohort: Any = None,
) -> LiveModel:
    """A trained generator that the reader moves, in the page without a kernel, and in a notebook by widgets.

        figures.live(G, {"thickness": direction, "digit": {str(k): offsets[k] for k in range(10)}},
                     start=z, alt="A digit that the network makes")

    The page gets G's weights as float16 and a script that computes what G does. That it does is checked here: wherever
    the controls can bring it, the images differ by at most 2 % of the window. G is copied as it is at the call; it
    runs in evaluation mode. At most 300 kB of weights fit into a page, 112,500 numbers (`networks.Generator` for
    32 x 32 pixels takes 155 kB with width=16, latent=32, 243 kB with latent=64); of a larger network a page has the
    still version, which says so, and only a running notebook moves it.

    Args:
        G: maps vectors (n, k) to images (n, 1 or 3, height, width) by linear layers, 2-D convolutions (transposed or
            not), batch norm with running statistics, ReLU, leaky ReLU, tanh, sigmoid, nearest upsampling, slices,
            concatenation, sums and products. A network that takes (z, y) needs a module around it that takes one
            vector and cuts it: ``self.G(v[:, :64], v[:, 64:])``.
        controls: by label either a direction (k,), whose slider goes from -3 to 3; or (direction, low, high); or a
            choice, a dict with an offset (k,) for each option, of which the first is chosen at the start. The vector
            is start + slider * direction + ... + offset + ...
        start: the vector (k,) of the first picture, with all sliders at 0.
        alt: what one sees; how the controls stand is added to it.
        window: the values shown black and white, (-1, 1) by default.
        seed: of the random numbers behind "New noise".
        noise: entries of the vector that "New noise" draws anew, from a standard normal; by default all that belong
            to no choice and to no slider of a single entry, such as a code. None left: there is no such button.
        cohort: of what the images are, for the caption.

    Raises:
        ValueError: for what a page cannot compute, with the name of the layer; a page's images that differ from G's;
            controls that make no sense; empty alt.
    """
    from medgan_lib.figures.live_export import export, prepared

    check_alt(alt)
    origin = _vector(start, "start")
    made = {label: _control(str(label), control, len(origin)) for label, control in controls.items()}
    places = _noise_places(noise, made, len(origin))
    if not made and not places:
        raise ValueError("live needs a control or noise: there is nothing to move")
    low, high = window or (-1.0, 1.0)
    if not low < high:
        raise ValueError(f"window must be (low, high) with low < high, got {window}")
    G = prepared(G)
    program = export(G, origin)
    words = caption_text(caption, cohort)
    if len(program.weights) > MOST:
        words += f" Its {program.numbers:,} numbers are too many for a page: they move in a running notebook."
    view = LiveModel(G, program, made, origin, places, (float(low), float(high)), int(seed), alt.strip(), words)
    view.check()
    return view


def _vector(values: Any, what: str, size: int | None = None) -> Tensor:
    import torch

    found = torch.as_tensor(values).detach().cpu().float()
    if found.ndim != 1 or not len(found) or not found.isfinite().all() or len(found) != (size or len(found)):
        wanted = f"{size} " if size else ""
        raise ValueError(f"{what} must be a vector of {wanted}finite numbers, got shape {tuple(found.shape)}")
    return found


def _control(label: str, control: Any, size: int) -> Slider | Choice:
    if not label.strip():
        raise ValueError("a control needs a label")
    if isinstance(control, Mapping):
        if not control:
            raise ValueError(f"{label}: a choice needs options: option -> offset")
        return Choice({str(option): _vector(offset, f"{label}, {option}", size).numpy()
                       for option, offset in control.items()})  # fmt: skip
    if not isinstance(control, tuple):
        return Slider(_vector(control, label, size).numpy(), -3.0, 3.0, STEP)
    if len(control) != 3 or not (control[1] < control[2] and control[1] <= 0 <= control[2]) or not all(
        map(math.isfinite, control[1:])
    ):
        raise ValueError(f"{label}: expected (direction, low, high) with low < high and 0 between, got {control[1:]}")
    direction, low, high = control
    return Slider(_vector(direction, label, size).numpy(), float(low), float(high), step(low, high))


def _noise_places(noise: Any, controls: Mapping[str, Slider | Choice], size: int) -> list[int]:
    if noise is None:
        taken = set()
        for control in controls.values():
            moves = list(control.offsets.values()) if isinstance(control, Choice) else [control.direction]
            entries = set(np.flatnonzero(np.any(moves, axis=0)).tolist())
            taken |= entries if isinstance(control, Choice) or len(entries) == 1 else set()
        return [i for i in range(size) if i not in taken]
    places = list(range(size))[noise] if isinstance(noise, slice) else [int(i) for i in noise]
    if len(set(places)) < len(places) or not all(0 <= i < size for i in places):
        raise ValueError(f"noise must name entries from 0 to {size - 1}, each once")
    return places


class LiveModel(LiveView):
    """A generator with its controls, made by `live`.

    ``values`` has what the widgets stand at, by label. After ``widget`` was asked for, ``controls`` has them by label,
    ``noise_button`` and ``back`` are the buttons (the former may be None), ``screen.picture`` is what is shown.
    """

    controls: dict[str, Any]
    noise_button: Any
    back: Any
    screen: Screen

    def __init__(
        self, G: nn.Module, program: Program, moves: Mapping[str, Slider | Choice], start: Tensor, noise: list[int],
        window: tuple[float, float], seed: int, alt: str, caption: str,
    ) -> None:
        super().__init__(alt, caption)
        self.G, self.program, self.moves, self.start = G, program, dict(moves), start
        self.noise, self.window, self.seed = noise, window, seed
        self.values: dict[str, Any] = {label: move.first for label, move in self.moves.items()}
        self.drawn = 0

    def vector(self, values: Mapping[str, Any], drawn: int = 0) -> Tensor:
        """Where the controls at ``values`` bring it, after "New noise" was pressed ``drawn`` times."""
        import torch

        v = self.start.double().numpy().copy()
        if drawn:
            v[self.noise] = Stream(self.seed).normal(drawn * len(self.noise))[-len(self.noise) :]
        for label, move in self.moves.items():
            v += move.moved(values[label])
        return torch.from_numpy(v).float()

    def images(self, vectors: Sequence[Tensor]) -> np.ndarray:
        """(n, channels, height, width) of G itself."""
        import torch

        with torch.no_grad():
            return as_images(torch.cat([self.G(v[None]) for v in vectors]))  # one by one, as in the page

    def rows(self) -> list[tuple[str, list[str], list[Tensor]]]:
        """Label, words and vectors of every row of the still version, which shows what the controls do."""
        first = {label: move.first for label, move in self.moves.items()}
        found = []
        if self.noise:
            words = ["first", *map(str, range(1, COLUMNS))]
            found.append(("New noise", words, [self.vector(first, drawn) for drawn in range(COLUMNS)]))
        for label, move in self.moves.items():
            shown = [(word, self.vector({**first, label: value})) for word, value in move.shown()]
            for i in range(0, len(shown), COLUMNS):
                words, vectors = zip(*shown[i : i + COLUMNS], strict=True)
                found.append(("" if i else label, list(words), list(vectors)))
        return found

    def check(self) -> None:
        """ValueError unless the page shows what G makes, as the controls stand and wherever one of them can go."""
        vectors = [v for _, _, some in self.rows() for v in some]
        wanted = self.images(vectors)
        found = np.stack([run(self.program, v).numpy() for v in vectors])
        differs = float(np.abs(found - wanted).max()) / (self.window[1] - self.window[0])
        if not differs <= BOUND:
            raise ValueError(
                f"the page's images would differ from G's by {100 * differs:.1f} % of the window, and at most "
                f"{100 * BOUND:.0f} % may be: G draws random numbers, treats some vectors differently, or its weights "
                "need more than float16"
            )

    def _still(self) -> Picture:
        from PIL import Image

        strips = []
        for label, words, vectors in self.rows():
            images = self.images(vectors)
            blank = np.full((COLUMNS - len(images), *images.shape[1:]), self.window[1])
            row = grid_image(np.concatenate([images, blank]), COLUMNS, self.window)
            numbers = text_strip(words + [""] * len(blank), row.width)
            strips += [text_strip([label], row.width, left=True)] * bool(label) + [row, numbers]
        sheet = Image.new("RGB", (max(s.width for s in strips), sum(s.height for s in strips)), "white")
        top = 0
        for strip in strips:
            sheet.paste(strip, (0, top))
            top += strip.height
        rows = ["new noise"] * bool(self.noise) + list(self.moves)
        return Picture(png_bytes(sheet), f"{self.alt.rstrip('.')}. A row of images for each of: {', '.join(rows)}.",
                       self.caption)  # fmt: skip

    def _repr_html_(self) -> str:
        if len(self.program.weights) > MOST:
            return super()._repr_html_()
        _, height, width = self.program.shape
        by = [[_short(offset) for offset in move.offsets.values()] if isinstance(move, Choice) else
              _short(move.direction) for move in self.moves.values()]  # fmt: skip
        model = json.dumps(
            {"alt": self.alt, "operations": self.program.operations, "shape": self.program.shape, "seed": self.seed,
             "window": self.window, "start": _short(self.start.numpy()), "noise": self.noise, "controls": by},
            separators=(",", ":"), ensure_ascii=False,
        )  # fmt: skip
        labels = repr([(label, getattr(move, "offsets", {}).keys()) for label, move in self.moves.items()])
        about = (model, self.program.weights, labels, self.caption)
        name = hashlib.sha256("\n".join(about).encode()).hexdigest()[:12]
        rows = "".join(_row(label, move) for label, move in self.moves.items())
        buttons = "".join(
            f'<button type="button" data-do="{key}" style="{_PILL}">{words}</button>'
            for key, words in (("noise", "New noise"), ("back", "Back to the start")) if key == "back" or self.noise
        )
        told = '<output data-told aria-live="polite" style="font-size:.85em"></output>' if self.noise else ""
        return (
            f'<figure class="medgan-figure medgan-live" data-live-model="{name}" role="group"'
            f' aria-label="{escape("Live model: " + self.alt, quote=True)}"'
            f" data-model='{escape(model, quote=False).replace(chr(39), '&#39;')}'"
            f' data-weights="{self.program.weights}"'
            ' style="margin:1em auto;max-width:46em;text-align:center">'
            f"{img_tag(self.still.png, self.still.alt)}"
            '<div data-live hidden>'
            '<div style="display:flex;flex-wrap:wrap;align-items:flex-start;justify-content:center;gap:1em;'
            'text-align:left">'
            f'<canvas role="img" aria-label="{escape(self.alt, quote=True)}" width="{width}" height="{height}"'
            ' style="flex:1 1 18em;min-width:0;max-width:min(26em,100%);height:auto;align-self:flex-start;'
            'border-radius:4px;image-rendering:pixelated"></canvas>'
            f'<div style="flex:1 1 17em;min-width:0">{rows}'
            f'<div style="display:flex;flex-wrap:wrap;align-items:center;gap:.5em;padding-top:.5em">{buttons}{told}'
            "</div></div></div></div>"
            f"{figcaption_tag(self.caption)}</figure><script>\n{script(name)}</script>"
        )

    def picture(self, values: Mapping[str, Any], drawn: int = 0) -> Picture:
        """One large picture for ``values``, of G itself."""
        image = grid_image(self.images([self.vector(values, drawn)]), 1, self.window)
        told = [f"{label} {value if isinstance(value, str) else f'{value:.3g}'}" for label, value in values.items()]
        told += [f"noise {drawn}"] * bool(drawn)
        return Picture(png_bytes(image), self.alt + (f" ({', '.join(told)})" if told else ""))

    def _widget(self) -> Widget:
        import ipywidgets

        self.screen = Screen("26em", self.caption, flex="1 1 20em")
        style = {"description_width": f"{0.55 * max(map(len, self.moves), default=0) + 0.5}em"}
        self.controls = {
            label: ipywidgets.Dropdown(
                options=list(move.offsets), description=label, style=style, layout={"width": "auto"}
            )
            if isinstance(move, Choice)
            else ipywidgets.FloatSlider(
                value=0, min=move.low, max=move.high, step=move.step, description=label, continuous_update=True,
                readout_format=".2f" if move.high - move.low < 20 else ".0f", style=style, layout={"width": "auto"},
            )
            for label, move in self.moves.items()
        }  # fmt: skip
        place = {"width": "auto", "align_self": "flex-end"}
        self.noise_button = ipywidgets.Button(description="New noise", layout=place) if self.noise else None
        self.back = ipywidgets.Button(description="Back to the start", layout=place)
        if self.noise_button:
            self.noise_button.on_click(self._renewed)
        self.back.on_click(self._to_start)
        for control in self.controls.values():
            control.observe(self._moved, "value")
        self._moved()
        buttons = [button for button in (self.noise_button, self.back) if button]
        left = ipywidgets.VBox([*self.controls.values(), *buttons], layout={"flex": "1 1 17em", "min_width": "0"})
        both = {"flex_flow": "row wrap", "max_width": "52em", "grid_gap": "1em"}
        return ipywidgets.HBox([left, self.screen.box], layout=both)

    def _moved(self, _: Any = None) -> None:
        self.values = {label: control.value for label, control in self.controls.items()}
        with self.screen.guarded():
            self.screen.show(self.picture(self.values, self.drawn))

    def _renewed(self, _: Any = None) -> None:
        self.drawn += 1
        self._moved()

    def _to_start(self, _: Any = None) -> None:
        self.drawn = 0
        for control in self.controls.values():  # else every control that moves would draw
            control.unobserve(self._moved, "value")
        for label, control in self.controls.items():
            control.value = self.moves[label].first
            control.observe(self._moved, "value")
        self._moved()


_PILL = (
    "font:inherit;min-height:2.75em;padding:0 1em;border:1px solid currentColor;border-radius:1.4em;"
    "background:transparent;color:inherit;cursor:pointer"
)
_BOX = (
    "font:inherit;display:block;width:100%;min-width:0;min-height:2.75em;box-sizing:border-box;padding:0 .4em;"
    "border:1px solid #767676;border-radius:4px;background:#fff;color:#1a1a1a"
)


def _row(label: str, move: Slider | Choice) -> str:
    name = escape(label, quote=True)
    if isinstance(move, Choice):
        options = "".join(f"<option>{escape(option)}</option>" for option in move.offsets)
        return (
            '<div data-row style="padding-bottom:.5em"><label style="display:block;margin:0">'
            f'<span style="font-size:.9em">{name}</span>'
            f'<select data-control data-label="{name}" autocomplete="off" style="{_BOX}">{options}</select>'
            "</label></div>"
        )
    places = move.low / move.step  # else 0, where it starts, would be no step of the slider
    by = f"{move.step:g}" if abs(places - round(places)) < 1e-6 else "any"
    return (
        '<div data-row style="display:grid;grid-template-columns:1fr auto;padding-bottom:.25em">'
        f'<label style="display:contents"><span style="font-size:.9em">{name}</span>'
        f'<input type="range" data-control data-label="{name}" autocomplete="off" min="{move.low:g}"'
        f' max="{move.high:g}" step="{by}" value="0" aria-valuetext="0" style="grid-row:2;grid-column:1/3;width:100%;'
        'min-width:0;font:inherit;height:2.75em;margin:0;cursor:pointer"></label>'
        '<output aria-live="off" style="font-size:.9em;font-variant-numeric:tabular-nums">0</output></div>'
    )


def _short(values: np.ndarray) -> list[float]:
    """Six digits, and no ".0"."""
    rounded = [float(f"{value:.6g}") for value in values.tolist()]
    return [int(value) if value.is_integer() else value for value in rounded]


def script(name: str) -> str:
    """The page's script for the one element called ``name``."""
    return Path(__file__).with_name("live_models.js").read_text(encoding="utf-8").replace("NAME", name)
