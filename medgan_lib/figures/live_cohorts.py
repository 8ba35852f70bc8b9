"""A picker of cohorts: what there is, what each switch does to it, and the line of code that loads it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from html import escape
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from medgan_lib.figures.grids import grid_image, text_strip
from medgan_lib.figures.live_views import TEXT, LiveView, Screen
from medgan_lib.figures.pictures import Picture, as_array, as_images, caption_text, origin, png_bytes, rendered
from medgan_lib.figures.plots import subplots
from medgan_lib.figures.style import DASHES, PALETTE, WIDTH

if TYPE_CHECKING:
    from ipywidgets import HTML, Widget
    from PIL.Image import Image

# What is worth a look, of switches that take more than yes, no, or one of a few words; the first is the loader's own
# value. Yes or no, and words that a loader's types list, need no line here.
CHOICES: dict[str, dict[str, tuple[Any, ...]]] = {
    "ring": {"k": (8, 4, 16), "sigma": (0.02, 0.1, 0.3)},
    "grid": {"k": (5, 3), "sigma": (0.05, 0.2)},
    "lines": {"theta": (1.0, 0.5, 0.0)},
    "digits": {"size": (None, 32)},
    "digits_on_photos": {"size": (None, 64)},
    "heads": {
        "size": (None, 32, 128),
        "contrasts": (("t1",), ("t2",), ("flair",), ("gre",), ("ct",)),
        "protocol": ("A", "B"),
        "lesion": (None, 1.0),
        "atrophy": (None, 1.0),
        "undersampling": (None, 2, 4),
    },
    "nodules": {"size": (None, 64)},
    "vessels": {"size": (None, 128), "stenosis": (0.0, 1.0), "branch": (0.0, 1.0)},
    "chests": {
        "size": (None, 128),
        "opacity": (0.5, 0.0, 1.0),
        "dose": (1.0, 0.1, 0.01),
        "device": (0.0, 1.0),
    },
    "retinas": {"size": (None, 128), "abnormal": (0.0, 1.0), "kinds": (("drusen", "fluid"), ("drusen",), ("fluid",))},
    "glands_simulated": {"size": (None, 128)},
    "ultrasound": {"size": (None, 128), "lesion": (0.0, 1.0)},
    "brain_mr_contrasts": {"contrasts": (("t1", "t2", "flair"), ("t1",), ("t2",), ("flair",))},
    "brain_mr_ct": {"domain": ("mr", "ct")},
    "blood_cells": {"sites": (("Tecom", "CellaVision"), ("Tecom",), ("CellaVision",))},
    "carotid_arteries": {"part": ("centrelines", "profiles")},
    "retina_oct": {"part": ("volume", "pathological")},
}
SPLITS = ("train", "val", "test")
COUNTS = (16, 4, 8, 32, 64, 512)
ABSENT = (FileNotFoundError, ValueError)  # what `cohorts.load` raises, with words that say what to do


def cohort_picker(
    cohorts: ModuleType,
    names: Sequence[str] | None = None,
    *,
    alt: str,
    caption: str | None = None,
    columns: int = 8,
) -> CohortPicker:
    """Choose a cohort and its switches, and see samples, the facts, and the line that loads them.

        figures.cohort_picker(cohorts, ["digits", "heads"], alt="Samples of the embedded cohorts")

    In the page, a sheet with a row for each cohort of images. Nothing is downloaded: of a cohort that is not on this
    machine the panel says how to get it.

    Args:
        cohorts: the module `medgan_lib.cohorts`.
        names: of cohorts; None: all embedded ones. In a chapter they have to be written out, as its fingerprint must
            know which cohorts it needs.
        alt: what one sees; the name of the cohort is added to it.
        columns: images in a row.

    Raises:
        ValueError: an unknown name or none, columns below 1, empty alt.
    """
    names = list(cohorts.EMBEDDED) if names is None else list(names)
    if not names or (unknown := [name for name in names if name not in cohorts.names()]):
        raise ValueError(f"no cohort {', '.join(unknown) if names else ''}; there are {', '.join(cohorts.names())}")
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    return CohortPicker(cohorts, names, columns, alt, caption_text(caption))


def switches(cohorts: ModuleType, name: str) -> dict[str, tuple[Any, ...]]:
    """The switches of a cohort with the values to choose from, the loader's own value first."""
    module, function = (cohorts.EMBEDDED | cohorts.REAL)[name]
    loader = getattr(import_module(f".{module}", cohorts.__name__), function)
    types, known = get_type_hints(loader), CHOICES.get(name, {})
    found = {}
    for switch, parameter in inspect.signature(loader).parameters.items():
        if switch in known:
            found[switch] = known[switch]
        elif isinstance(parameter.default, bool):
            found[switch] = (parameter.default, not parameter.default)
        elif get_origin(types.get(switch)) is Literal:
            found[switch] = (parameter.default, *(v for v in get_args(types[switch]) if v != parameter.default))
    return found


def code(name: str, split: str, options: Mapping[str, Any]) -> str:
    """The line that loads it."""
    return f"cohorts.load({', '.join([repr(name), f'split={split!r}', *(f'{k}={v!r}' for k, v in options.items())])})"


def overview(cohort: Any, columns: int) -> Image:
    """Items of a cohort as one picture: images, points in the plane, or curves."""
    x = as_array(cohort.x)
    if x.ndim > 3:
        if x.shape[1] == 2:  # real and imaginary part: the former
            x = x[:, :1]
        return grid_image(as_images(x), columns, None, cohort.spacing[-1] if cohort.spacing else None)
    figure, axis = subplots(size=(6.4, 4.8))
    if x.ndim == 2:
        for i, (key, tensor) in enumerate(cohort.tensors.items()):
            if tensor.ndim == 2:
                axis.plot(*as_array(tensor).T, "o^"[i % 2], color=PALETTE[i % len(PALETTE)], ms=5, label=key)
        axis.set(aspect="equal")
    else:
        for i, channel in enumerate(x[0]):
            axis.plot(channel, color=PALETTE[i % len(PALETTE)], ls=DASHES[i % len(DASHES)], label=f"channel {i}")
        axis.set(xlabel="point along the first item", ylabel="x")
    if len(axis.lines) > 1:
        axis.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=12)
    return rendered(figure, tight=False)


class CohortPicker(LiveView):
    """The panel of `cohort_picker`.

    After ``widget`` was asked for: ``name``, ``split``, ``n``, ``seed`` and ``controls`` (by switch) are its widgets,
    ``code`` the line of what is shown, ``cohort`` the cohort itself (None where it can't be loaded), and
    ``screen.picture`` what one sees of it.
    """

    name: Any
    split: Any
    n: Any
    seed: Any
    controls: dict[str, Any]
    screen: Screen
    code: str
    cohort: Any

    def __init__(self, cohorts: ModuleType, names: Sequence[str], columns: int, alt: str, caption: str) -> None:
        super().__init__(alt, caption)
        self.cohorts, self.names, self.columns = cohorts, list(names), columns

    def _still(self) -> Picture:
        from PIL import Image

        strips, shown = [], []
        for name in self.names:
            try:
                cohort = self.cohorts.load(name, "train", n=self.columns)
            except FileNotFoundError:
                strips.append(text_strip([f"{name}: not on this machine"], WIDTH, left=True))
                continue
            x = as_array(cohort.x)
            if x.ndim > 3 and x.shape[1] in (1, 3):
                row = grid_image(as_images(x), self.columns, None)
                size = (WIDTH, round(row.height * WIDTH / row.width))
                strips += [text_strip([name], WIDTH, left=True), row.resize(size, Image.Resampling.BICUBIC)]
                shown.append(name)
        strips = strips or [text_strip([f"{name}: no images"], WIDTH, left=True) for name in self.names]
        sheet = Image.new("RGB", (WIDTH, sum(strip.height for strip in strips)), "white")
        top = 0
        for strip in strips:
            sheet.paste(strip, (0, top))
            top += strip.height
        kinds = {"Embedded data, not patients": self.cohorts.EMBEDDED, "Real data": self.cohorts.REAL}
        told = {kind: ", ".join(name for name in shown if name in known) for kind, known in kinds.items()}
        caption = [self.caption, *(f"{kind}: {names}." for kind, names in told.items() if names)]
        return Picture(png_bytes(sheet), self.alt, " ".join(caption).strip())

    def _widget(self) -> Widget:
        import ipywidgets

        style, wide = {"description_width": "8em"}, {"width": "auto"}
        self.screen = Screen("50em", self.caption)
        self.name = ipywidgets.Dropdown(options=self.names, description="cohort", style=style, layout=wide)
        self.split = ipywidgets.Dropdown(options=SPLITS, description="split", style=style, layout=wide)
        self.n = ipywidgets.Dropdown(options=COUNTS, description="n", style=style, layout=wide)
        self.seed = ipywidgets.BoundedIntText(value=0, min=0, max=999, description="seed", style=style, layout=wide)
        self.switches = ipywidgets.VBox(layout={"overflow": "hidden"})
        self.facts: HTML = ipywidgets.HTML()
        self.line: HTML = ipywidgets.HTML()
        for control in (self.split, self.n, self.seed):
            control.observe(self._changed, "value")
        self.name.observe(self._other, "value")
        self._other()
        left = ipywidgets.VBox([self.name, self.split, self.n, self.seed, self.switches],
                               layout={"flex": "1 1 16em", "min_width": "0"})
        right = ipywidgets.VBox([self.line, self.screen.box, self.facts], layout={"flex": "2 1 24em", "min_width": "0"})
        return ipywidgets.HBox([left, right], layout={"flex_flow": "row wrap", "max_width": "72em", "grid_gap": "1em"})

    def _other(self, _: Any = None) -> None:
        """Another cohort has other switches."""
        import ipywidgets

        self.values, self.controls = switches(self.cohorts, self.name.value), {}
        for switch, values in self.values.items():
            if isinstance(values[0], bool):
                control = ipywidgets.Checkbox(value=values[0], description=switch, indent=True,
                                              style={"description_width": "8em"}, layout={"width": "auto"})
            else:  # by their place in the list: a Dropdown takes the value None for no choice
                control = ipywidgets.Dropdown(options=[(words(value), i) for i, value in enumerate(values)], value=0,
                                              description=switch, style={"description_width": "8em"},
                                              layout={"width": "auto"})
            control.observe(self._changed, "value")
            self.controls[switch] = control
        self.switches.children = list(self.controls.values())
        self._changed()

    def options(self) -> dict[str, Any]:
        """The arguments for `cohorts.load` beside name and split: those that differ from the loader's own, and n."""
        chosen = {switch: control.value if isinstance(values[0], bool) else values[control.value]
                  for (switch, values), control in zip(self.values.items(), self.controls.values(), strict=True)}
        size = {key: value for key, value in chosen.items() if key == "size" and value is not None}
        seed = {"seed": self.seed.value} if self.seed.value else {}
        own = {key: value for key, value in chosen.items() if key != "size" and value != self.values[key][0]}
        return size | {"n": self.n.value} | seed | own

    def _changed(self, _: Any = None) -> None:
        name, options = self.name.value, self.options()
        self.code, self.cohort = code(name, self.split.value, options), None
        shown = f'<code style="{TEXT}">{escape(self.code)}</code>'
        with self.screen.guarded():
            try:
                self.cohort = self.cohorts.load(name, self.split.value, **options)
            except ABSENT as error:
                self.screen.clear(str(error))
                self.facts.value, self.line.value = "", shown
                return
            self.screen.show(Picture(png_bytes(overview(self.cohort, self.columns)), f"{self.alt}: {name}"))
            self.facts.value, self.line.value = facts(self.cohort), shown


def words(value: Any) -> str:
    if value is None:
        return "not set"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def facts(cohort: Any) -> str:
    """A table of what is known of a cohort, as HTML."""
    x = cohort.tensors["x"]
    told = {
        "what": origin(SimpleNamespace(name=cohort.name, origin=cohort.origin, note=cohort.note)),
        "shape of x": "×".join(map(str, x.shape)),
        "units of x": cohort.units.get("x", ""),
        "window of x": " to ".join(f"{value:g}" for value in cohort.window.get("x", ())),
        "mm per pixel": " × ".join(f"{mm:.3g}" for mm in cohort.spacing or ()),
        "subjects": str(len(cohort.subjects.unique())),
        "also known": ", ".join(key for key in cohort.tensors if key != "x"),
    }
    head = '<th scope="row" style="text-align:left;vertical-align:top;padding-right:1em;white-space:nowrap">'
    rows = "".join(
        f'<tr>{head}{key}</th>'
        f'<td style="text-align:left">{escape(value)}</td></tr>'
        for key, value in told.items() if value
    )
    return f'<table style="line-height:1.4">{rows}</table>'
