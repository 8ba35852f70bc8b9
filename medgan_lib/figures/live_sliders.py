"""Sliders over a trained network: what it makes of every setting."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from medgan_lib.figures.grids import grid_image, scale_bar, text_strip
from medgan_lib.figures.live_views import LiveView, Screen, own_randomness
from medgan_lib.figures.pictures import Picture, as_array, as_images, caption_text, png_bytes
from medgan_lib.figures.players import frame_image
from medgan_lib.figures.style import GAP, WIDTH

if TYPE_CHECKING:
    from ipywidgets import Widget
    from PIL.Image import Image


def sliders(
    draw: Callable[..., Any],
    controls: Mapping[str, tuple[float, float, float]],
    *,
    alt: str,
    caption: str | None = None,
    cohort: Any = None,
    columns: int = 5,
    window: tuple[float, float] | None = None,
) -> Sliders:
    """A slider for each number that ``draw`` takes, and the picture of it; in the page, a row for each slider.

        figures.sliders(lambda slant, width: G(torch.tensor([[slant, width]])),
                        {"slant": (-2, 2, 0), "width": (-2, 2, 0)}, alt="A seven")

    Args:
        draw: is called with one float for each of ``controls``, in their order. Returns an image (h, w) or
            (1 or 3, h, w), images (n, 1 or 3, h, w), a matplotlib figure or a `Picture`. Gradients are off. Random
            numbers (Python's, NumPy's, PyTorch's) start anew from 0 for each call, so that equal settings give equal
            pictures; the caller's go on as if nothing had been drawn. Networks must be in evaluation mode.
        controls: (low, high, start) by label, a short text, with its unit where there is one.
        alt: what one sees; the settings are added to it.
        cohort: of what the images are: for the caption, and for a scale bar where its ``spacing`` is known.
        columns: settings in each row of the still version, equally spaced from low to high; all other sliders stand at
            their start there.
        window: the values shown black and white, (-1, 1) by default.

    Raises:
        ValueError: no controls, a range that isn't low < high with start in it, fewer than two columns, empty alt;
            when it is shown, for what ``draw`` returns if that is no picture.
    """
    if not controls:
        raise ValueError("sliders need at least one control: label -> (low, high, start)")
    for label, (low, high, start) in controls.items():
        if not (low < high and low <= start <= high and math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"{label}: expected low < high with start between, got {(low, high, start)}")
    if columns < 2:
        raise ValueError(f"columns must be at least 2, got {columns}")
    return Sliders(draw, controls, columns, window, cohort, alt, caption_text(caption, cohort))


class Sliders(LiveView):
    """One slider for each number that ``draw`` takes; made by `sliders`.

    ``values`` has the numbers by label, as the sliders stand. After ``widget`` was asked for, ``controls`` has the
    sliders by label, ``back`` the button, and ``screen.picture`` what is shown.
    """

    controls: dict[str, Any]
    back: Any
    screen: Screen

    def __init__(
        self,
        draw: Callable[..., Any],
        controls: Mapping[str, tuple[float, float, float]],
        columns: int,
        window: tuple[float, float] | None,
        cohort: Any,
        alt: str,
        caption: str,
    ) -> None:
        super().__init__(alt, caption)
        self.draw, self.columns, self.window, self.cohort = draw, columns, window, cohort
        self.ranges = {label: (float(low), float(high)) for label, (low, high, _) in controls.items()}
        self.start = {label: float(start) for label, (_, _, start) in controls.items()}
        self.values = dict(self.start)

    def drawn(self, values: Mapping[str, float]) -> Any:
        """What ``draw`` gives for ``values``: the same whenever it is asked."""
        import torch

        with own_randomness(0), torch.no_grad():
            return self.draw(*(values[label] for label in self.ranges))

    def picture(self, values: Mapping[str, float]) -> Picture:
        """One large picture for ``values``."""
        image = frame_image(self.drawn(values), self.window, 8, self.cohort)
        told = ", ".join(f"{label} {value:.3g}" for label, value in values.items())
        return Picture(png_bytes(image), f"{self.alt} ({told})")

    def _widget(self) -> Widget:
        import ipywidgets

        self.screen = Screen("26em", self.caption, flex="1 1 20em")
        longest = max(map(len, self.ranges))
        self.controls = {
            label: ipywidgets.FloatSlider(
                value=self.start[label], min=low, max=high, step=step(low, high), description=label,
                continuous_update=True, readout_format=".2f" if high - low < 20 else ".0f",
                style={"description_width": f"{0.55 * longest + 0.5}em"}, layout={"width": "auto"},
            )
            for label, (low, high) in self.ranges.items()
        }  # fmt: skip
        place = {"width": "auto", "align_self": "flex-end"}
        self.back = ipywidgets.Button(description="Back to the start", layout=place)
        self.back.on_click(self._to_start)
        for slider in self.controls.values():
            slider.observe(self._moved, "value")
        self._moved()
        left = ipywidgets.VBox([*self.controls.values(), self.back], layout={"flex": "1 1 17em", "min_width": "0"})
        both = {"flex_flow": "row wrap", "max_width": "52em", "grid_gap": "1em"}
        return ipywidgets.HBox([left, self.screen.box], layout=both)

    def _moved(self, _: Any = None) -> None:
        self.values = {label: slider.value for label, slider in self.controls.items()}
        with self.screen.guarded():
            self.screen.show(self.picture(self.values))

    def _to_start(self, _: Any = None) -> None:
        for slider in self.controls.values():  # else every slider that moves would draw
            slider.unobserve(self._moved, "value")
        for label, slider in self.controls.items():
            slider.value = self.start[label]
            slider.observe(self._moved, "value")
        self._moved()

    def _still(self) -> Picture:
        from PIL import Image

        strips, pixels = [], None
        for label, (low, high) in self.ranges.items():
            steps = np.linspace(low, high, self.columns).tolist()
            outcomes = [self.drawn({**self.start, label: value}) for value in steps]
            singles = [single(outcome) for outcome in outcomes]
            if all(one is not None for one in singles):
                pixels = singles[0].shape[-1]
                row = grid_image(as_images(np.concatenate(singles)), self.columns, self.window)
            else:
                row = side_by_side([frame_image(outcome, self.window, 4, None) for outcome in outcomes])
            numbers = text_strip([f"{value:.3g}" for value in steps], row.width)
            strips += [text_strip([label], row.width, left=True), row, numbers]
        spacing = getattr(self.cohort, "spacing", None)
        if spacing and pixels:
            shown = (row.width + GAP) / self.columns - GAP  # px of an image in the sheet
            strips.append(scale_bar(row.width, spacing[-1] * pixels / shown, pixels * spacing[-1]))
        sheet = Image.new("RGB", (max(s.width for s in strips), sum(s.height for s in strips)), "white")
        top = 0
        for strip in strips:
            sheet.paste(strip, (0, top))
            top += strip.height
        return Picture(png_bytes(sheet), self.alt, self.caption)


def single(outcome: Any) -> np.ndarray | None:
    """(1, channels, h, w) of an outcome that is one image; None where it is several, a figure or a `Picture`."""
    if isinstance(outcome, (Picture, bytes)) or hasattr(outcome, "savefig"):
        return None
    values = as_array(outcome)
    if values.ndim == 2:
        return values[None, None]
    if values.ndim == 3 and len(values) in (1, 3):
        return values[None]
    return values if values.ndim == 4 and len(values) == 1 else None


def side_by_side(pictures: list[Image]) -> Image:
    """Pictures in a row that is as wide as a page's column."""
    from PIL import Image

    width = WIDTH // len(pictures) - GAP
    height = max(round(picture.height * width / picture.width) for picture in pictures)
    sheet = Image.new("RGB", (len(pictures) * (width + GAP) - GAP, height), "white")
    for i, picture in enumerate(pictures):
        size = (width, round(picture.height * width / picture.width))
        sheet.paste(picture.resize(size, Image.Resampling.LANCZOS), (i * (width + GAP), 0))
    return sheet


def step(low: float, high: float) -> float:
    """About a hundredth of a range, as 1, 2 or 5 times a power of ten."""
    rough = (high - low) / 100
    power = 10.0 ** math.floor(math.log10(rough))
    return round(max(m * power for m in (1, 2, 5) if m * power <= rough * 1.0001), 12)
