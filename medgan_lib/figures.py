"""Figures that work in the rendered book, in Jupyter and on Colab: grids, curves, comparisons, a frame player, a quiz.

Every function takes ``alt``, what one sees, and returns an object whose HTML carries its picture inside: no file, no
kernel and no network is needed to show it, and two equal runs give equal HTML. Text stays readable when the page is
400 pixels wide, and pictures keep their own white card, so that they can be read on a dark page too.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

# Okabe and Ito's colours, which colour-blind readers can tell apart, without their yellow (too pale on white).
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)), (0, (1, 1)), (0, (9, 3)), "-")

_WIDTH = 672  # px a picture aims at: the width of the book's column
_DPI = 110
_TEXT = 20  # px of text drawn into pictures: about 12 px where a page is 400 px wide
_GAP = 3  # px between the tiles of a grid
_PLAYER_BYTES = 290_000  # of the frames of one player, so that its HTML stays under 400 kB
_STYLE = {
    "font.size": 13,
    "axes.titlesize": 14,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "lines.linewidth": 2.0,
    "legend.frameon": False,
    "figure.facecolor": "white",
}
_CARD = "display:block;max-width:100%;height:auto;margin:0 auto;background:#fff;border-radius:4px"


@dataclass(frozen=True, repr=False)
class Picture:
    """A PNG (a player's frame may be a WebP) with its alternative text; shows itself as an HTML figure."""

    png: bytes
    alt: str
    caption: str = ""

    def _repr_html_(self) -> str:
        return (
            '<figure class="medgan-figure" style="margin:1em 0;text-align:center">'
            f'{_img(self.png, self.alt)}{_figcaption(self.caption)}</figure>'
        )

    def __repr__(self) -> str:  # part of a notebook's output, so it must not change between runs
        return f"[picture: {self.alt}]"


@dataclass(frozen=True, repr=False)
class Player:
    """Frames behind a slider and a play button; shows itself as HTML that needs no kernel and no network."""

    frames: tuple[Picture, ...]
    labels: tuple[str, ...]
    fps: float
    alt: str
    caption: str = ""

    def _repr_html_(self) -> str:
        last = len(self.frames) - 1
        name = hashlib.sha256(b"".join(f.png for f in self.frames) + repr(self.labels).encode()).hexdigest()[:12]
        pictures = "".join(
            _img(frame.png, f"{frame.alt} ({label})", hidden=i < last)
            for i, (frame, label) in enumerate(zip(self.frames, self.labels, strict=True))
        )
        label = escape(self.labels[last], quote=True)
        return (
            f'<figure class="medgan-player" data-player="{name}" data-fps="{self.fps:g}"'
            f" data-labels='{escape(_json(self.labels), quote=True)}' role=\"group\""
            f' aria-label="{escape("Player: " + self.alt, quote=True)}"'
            ' style="margin:1em auto;max-width:46em;text-align:center">'
            f"{pictures}"
            '<div style="display:flex;gap:.75em;align-items:center;justify-content:center;padding:.5em 0">'
            '<button type="button" aria-label="Play" style="font:inherit;width:2.75em;height:2.75em;flex:none;'
            'border:1px solid currentColor;border-radius:50%;background:transparent;color:inherit;cursor:pointer">'
            '<span aria-hidden="true">&#9654;&#xFE0E;</span></button>'
            f'<input type="range" min="0" max="{last}" step="1" value="{last}" aria-label="Frame"'
            f' aria-valuetext="{label}" style="flex:1 1 8em;min-width:4em;height:2.75em;cursor:pointer">'
            f'<output aria-live="polite" style="flex:0 1 auto;min-width:7em;text-align:left;'
            f'font-variant-numeric:tabular-nums">{label}</output></div>'
            f"{_figcaption(self.caption)}</figure><script>{_SCRIPT.replace('NAME', name)}</script>"
        )

    def __repr__(self) -> str:
        return f"[player with {len(self.frames)} frames: {self.alt}]"


# The slider moves natively by mouse, touch and arrow keys. Playing runs once to the end; it never starts by itself,
# and a reader who asked the system for less motion gets one frame a second at most.
_SCRIPT = """
document.querySelectorAll('[data-player="NAME"]:not([data-ready])').forEach(function (player) {
  player.setAttribute("data-ready", "");
  var labels = JSON.parse(player.getAttribute("data-labels")), images = player.querySelectorAll("img");
  var slider = player.querySelector("input"), button = player.querySelector("button");
  var output = player.querySelector("output"), timer = null;
  var calm = window.matchMedia && window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  var wait = 1000 / Math.min(Number(player.getAttribute("data-fps")), calm ? 1 : 60);
  function show(i) {
    images.forEach(function (image, k) { image.hidden = k !== i; image.style.display = k === i ? "block" : "none"; });
    slider.value = i;
    slider.setAttribute("aria-valuetext", labels[i]);
    output.textContent = labels[i];
  }
  function play(on) {
    if (timer) { clearInterval(timer); timer = null; }
    output.setAttribute("aria-live", on ? "off" : "polite");
    button.setAttribute("aria-label", on ? "Pause" : "Play");
    button.firstElementChild.textContent = on ? "\\u275A\\u275A" : "\\u25B6\\uFE0E";
    if (on) { timer = setInterval(step, wait); }
  }
  function step() {
    var next = Number(slider.value) + 1;
    if (next < labels.length) { show(next); }
    if (next >= labels.length - 1) { play(false); }
  }
  slider.addEventListener("input", function () { play(false); show(Number(slider.value)); });
  button.addEventListener("click", function () {
    if (!timer && Number(slider.value) === labels.length - 1) { show(0); }
    play(!timer);
  });
});
"""


@dataclass(frozen=True, repr=False)
class Quiz:
    """Images of which the reader says whether each is real; shows itself as HTML that needs no kernel and no network.

    Where no script runs, it is a sheet of numbered images with the answers folded away below.
    """

    pictures: tuple[Picture, ...]
    real: tuple[bool, ...]
    alt: str
    caption: str = ""
    observer: float | None = None

    def _repr_html_(self) -> str:
        content = b"".join(picture.png for picture in self.pictures) + repr((self.real, self.observer)).encode()
        name = hashlib.sha256(content).hexdigest()[:12]
        tiles = "".join(
            '<span data-tile style="display:inline-block;width:18%;min-width:56px;padding:1%;vertical-align:top">'
            f"{_img(picture.png, picture.alt, more=';width:100%;image-rendering:pixelated')}"
            f"<span>{number}</span></span>"
            for number, picture in enumerate(self.pictures, 1)
        )
        answers = ", ".join(str(number) for number, real in enumerate(self.real, 1) if real)
        button = (
            '<button type="button" style="font:inherit;min-width:7em;min-height:2.75em;margin:.25em;padding:0 .75em;'
            'border:1px solid currentColor;border-radius:1.4em;background:transparent;color:inherit;cursor:pointer"'
        )
        observer = "" if self.observer is None else f' data-observer="{self.observer:.6g}"'
        return (
            f'<figure class="medgan-quiz" data-quiz="{name}" data-real="{_json([int(real) for real in self.real])}"'
            f'{observer} role="group" aria-label="{escape("Quiz: " + self.alt, quote=True)}"'
            ' style="margin:1em auto;max-width:46em;text-align:center">'
            f"<div data-tiles>{tiles}</div>"
            '<output aria-live="polite" style="display:block;min-height:3.2em;padding:.5em 0"></output>'
            f"<div data-buttons hidden>{button}>Real</button>{button}>Generated</button>{button}>Start again</button>"
            f"</div><details><summary>Answers</summary>Real: {answers}. The others are generated.</details>"
            f"{_figcaption(self.caption)}</figure><script>{_QUIZ_SCRIPT.replace('NAME', name)}</script>"
        )

    def __repr__(self) -> str:
        return f"[quiz with {len(self.pictures)} images: {self.alt}]"


# One image at a time; at the end all of them with what they are, and the share of right answers with the interval of
# Wilson (1927), so that nobody takes 13 of 20 for skill.
_QUIZ_SCRIPT = """
document.querySelectorAll('[data-quiz="NAME"]:not([data-ready])').forEach(function (quiz) {
  quiz.setAttribute("data-ready", "");
  var real = JSON.parse(quiz.getAttribute("data-real")), tiles = quiz.querySelectorAll("[data-tile]");
  var output = quiz.querySelector("output"), row = quiz.querySelector("[data-buttons]");
  var buttons = row.querySelectorAll("button"), observer = quiz.getAttribute("data-observer"), answers = [];
  function word(k) { return real[k] ? "real" : "generated"; }
  function percent(share) { return Math.round(100 * share); }
  function result() {
    var n = real.length, right = 0, made = 0, fooled = 0, z = 1.96;
    answers.forEach(function (answer, k) {
      right += answer === real[k] ? 1 : 0;
      made += 1 - real[k];
      fooled += answer && !real[k] ? 1 : 0;
    });
    var middle = (right + z * z / 2) / (n + z * z);
    var half = z / (n + z * z) * Math.sqrt(right * (n - right) / n + z * z / 4);
    var coin = middle - half > 0.5 ? "better than" : middle + half < 0.5 ? "worse than" : "not to be told from";
    return right + " of " + n + " right: " + percent(right / n) + " % (95 % interval " + percent(middle - half) +
      " to " + percent(middle + half) + " %), " + coin + " tossing a coin. You took " + fooled + " of " + made +
      " generated images for real." + (observer === null ? "" : " The trained observer has " +
      percent(Number(observer)) + " % of these images right.");
  }
  function show() {
    var at = answers.length, n = real.length, done = at === n;
    tiles.forEach(function (tile, k) {
      tile.style.display = done || k === at ? "inline-block" : "none";
      tile.style.width = done ? "18%" : "min(336px, 96%)";
      tile.lastElementChild.textContent = done ? (answers[k] === real[k] ? "\u2713 " : "\u2717 ") + word(k) : "";
    });
    var last = !at ? "" : (answers[at - 1] === real[at - 1] ? "Right" : "Wrong") + ", that was " + word(at - 1) + ". ";
    output.textContent = last + (done ? result() : "Image " + (at + 1) + " of " + n + ": real or generated?");
    buttons.forEach(function (button, k) { button.style.display = done === (k === 2) ? "" : "none"; });
  }
  function answer(value) {
    answers.push(value);
    show();
    if (answers.length === real.length) { buttons[2].focus(); }
  }
  buttons[0].addEventListener("click", function () { answer(1); });
  buttons[1].addEventListener("click", function () { answer(0); });
  buttons[2].addEventListener("click", function () { answers = []; show(); buttons[0].focus(); });
  quiz.querySelector("details").style.display = "none";
  row.hidden = false;
  show();
});
"""


def subplots(rows: int = 1, columns: int = 1, *, size: tuple[float, float] | None = None, **keywords: Any):
    """``matplotlib.pyplot.subplots`` in the book's style: fonts for small screens, safe colours; ``size`` in inches.

    The figure is not registered anywhere: show it with `picture`.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({**_STYLE, "axes.prop_cycle": mpl.cycler(color=PALETTE)}):
        figure = Figure(figsize=size or (6.4, 3.8 * rows), dpi=_DPI, layout="constrained")
        axes = figure.subplots(rows, columns, **keywords)
    return figure, axes


def picture(fig: Figure, *, alt: str, caption: str | None = None, cohort: Any = None) -> Picture:
    """A matplotlib figure as a `Picture`; closes it, so that a notebook does not show it twice."""
    _need(alt)
    image = _render(fig, tight=True)
    return Picture(_png(image), alt, _caption(caption, cohort))


def samples(
    x: Any,
    *,
    alt: str,
    cohort: Any = None,
    columns: int = 8,
    window: tuple[float, float] | None = None,
    title: str | None = None,
    caption: str | None = None,
    scale_mm: float | None = None,
) -> Picture:
    """A grid of images, with a scale bar where ``cohort.spacing`` is known, which the caption of the cohort follows.

    ``x``: (n, h, w), (n, 1 or 3, h, w), or volumes (n, 1, d, h, w), whose middle slice is shown. ``window``: the
    values shown black and white, (-1, 1) by default. ``scale_mm``: length of the scale bar, by default a round number
    near a quarter of an image. Raises ValueError for other shapes, no image, values that are not finite, empty alt.
    """
    _need(alt)
    spacing = getattr(cohort, "spacing", None)
    image = _grid(_images(x), columns, window, spacing[-1] if spacing else None, scale_mm)
    return Picture(_png(image), alt, _caption(caption, cohort, title))


def compare(
    rows: Mapping[str, Any],
    *,
    alt: str,
    columns: Sequence[str] = (),
    cohort: Any = None,
    window: tuple[float, float] | Mapping[str, tuple[float, float]] | None = None,
    caption: str | None = None,
) -> Picture:
    """Rows of images under each other: ``{"row label": images}``, each (n, h, w) or (n, channels, h, w), n equal.

    ``columns`` labels the columns. ``window`` is one for all rows or one for each row label (error maps).
    """
    _need(alt)
    from PIL import Image

    groups = {name: _images(images) for name, images in rows.items()}
    counts = {len(images) for images in groups.values()}
    if len(counts) != 1:
        raise ValueError(f"rows need equally many images, got { {k: len(v) for k, v in groups.items()} }")
    count = counts.pop()
    if columns and len(columns) != count:
        raise ValueError(f"{len(columns)} column labels for {count} columns")
    strips = []
    for name, images in groups.items():
        limits = window.get(name) if isinstance(window, Mapping) else window
        strip = _grid(images, count, limits)
        width = strip.width
        if columns and not strips:
            strips.append(_text_strip(list(columns), width))
        strips += [_text_strip([name], width, left=True), strip]
    spacing = getattr(cohort, "spacing", None)
    if spacing:
        strips.append(_scale_bar(width, spacing[-1] * images.shape[-1] * count / width, images.shape[-1] * spacing[-1]))
    sheet = Image.new("RGB", (max(s.width for s in strips), sum(s.height for s in strips)), "white")
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return Picture(_png(sheet), alt, _caption(caption, cohort))


def curves(
    histories: Mapping[str, Any],
    *,
    alt: str,
    keys: Iterable[str] | None = None,
    labels: Mapping[str, str] | None = None,
    x: Any = None,
    smooth: int = 1,
    xlabel: str = "training step",
    ylabel: str = "",
    title: str = "",
    yscale: str = "linear",
    caption: str | None = None,
    cohort: Any = None,
) -> Picture:
    """One line for each history: (steps,), or (seeds, steps) as the mean with a band from lowest to highest seed.

    ``keys`` picks and orders the histories, ``labels`` renames them, ``x`` (steps,) replaces the step number,
    ``smooth`` is the length of a moving average. Raises ValueError for an unknown key or another shape.
    """
    _need(alt)
    keys = list(histories) if keys is None else list(keys)
    if unknown := [key for key in keys if key not in histories]:
        raise ValueError(f"no history {', '.join(unknown)}; there are: {', '.join(histories)}")
    figure, axis = subplots()
    for i, key in enumerate(keys):
        values = np.atleast_2d(_array(histories[key]).astype(float))
        if values.ndim != 2 or values.size == 0:
            raise ValueError(f"{key}: expected (steps,) or (seeds, steps), got {tuple(_array(histories[key]).shape)}")
        values = np.stack([_moving_average(row, smooth) for row in values])
        steps = np.arange(values.shape[1]) if x is None else _array(x)
        colour = PALETTE[i % len(PALETTE)]
        axis.plot(steps, values.mean(0), color=colour, ls=DASHES[i % len(DASHES)], label=(labels or {}).get(key, key))
        if len(values) > 1:
            axis.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.2, lw=0)
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title, yscale=yscale)
    if len(keys) > 1:
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.18), "ncols": min(3, len(keys))}
        axis.legend(**below, frameon=False, fontsize=13)
    return picture(figure, alt=alt, caption=caption, cohort=cohort)


def player(
    frames: Sequence[Any],
    *,
    alt: str | Sequence[str],
    labels: Sequence[Any],
    fps: float = 4,
    window: tuple[float, float] | None = None,
    columns: int = 8,
    caption: str | None = None,
    cohort: Any = None,
) -> Player:
    """Frames behind a slider and a play button. It opens on the last frame, the result.

    A frame is an image (h, w), (1 or 3, h, w) or (h, w, 3), a batch (n, channels, h, w) that is laid out as in
    `samples`, a matplotlib figure, a `Picture`, or PNG bytes. ``labels``: a short text for each frame ("step 200").
    ``alt``: one text for all, or one for each frame. Frames of different sizes are centred on one canvas.
    Raises ValueError where the numbers of frames, labels and alts differ or there is no frame.
    """
    frames, labels = list(frames), [str(label) for label in labels]
    alts = list(alt) if isinstance(alt, (list, tuple)) else [alt] * max(1, len(frames))
    for text in alts:
        _need(text)
    if not frames:
        raise ValueError("a player needs at least one frame")
    if not len(frames) == len(labels) == len(alts):
        raise ValueError(f"{len(frames)} frames, {len(labels)} labels and {len(alts)} alt texts: need one each")
    if not fps > 0:
        raise ValueError(f"fps must be positive, got {fps}")
    images = _same_size([_frame(frame, window, columns, cohort) for frame in frames])
    for encode in _LIGHTER:
        encoded = [encode(image) for image in images]
        if sum(map(len, encoded)) <= _PLAYER_BYTES:
            break
    pictures = tuple(Picture(data, text) for data, text in zip(encoded, alts, strict=True))
    title = alt if isinstance(alt, str) else alts[-1]
    return Player(pictures, tuple(labels), fps, title, _caption(caption, cohort))


def quiz(
    real: Any,
    generated: Any,
    *,
    alt: str,
    caption: str | None = None,
    cohort: Any = None,
    seed: int = 0,
    window: tuple[float, float] | None = None,
    observer: float | None = None,
) -> Quiz:
    """A visual Turing test in the page: the reader says of one image after the other whether it is real.

    real, generated: images as in `samples`, all of one size; they are mixed in an order that ``seed`` decides.
    observer: share in [0, 1] of these images that a classifier gets right, told at the end beside the reader's score.
    Raises ValueError where there is no image of one of the two kinds, sizes differ or ``observer`` is no share.
    """
    _need(alt)
    real, generated = _images(real), _images(generated)
    if real.shape[1:] != generated.shape[1:]:
        raise ValueError(f"real images are {real.shape[1:]}, generated ones {generated.shape[1:]}: sizes would tell")
    if observer is not None and not 0 <= observer <= 1:
        raise ValueError(f"observer is a share in [0, 1], got {observer}")
    images = np.concatenate([real, generated])
    order = np.random.default_rng(seed).permutation(len(images))
    pictures = tuple(Picture(_exact_png(image), alt) for image in _bytes(images[order], window))
    return Quiz(pictures, tuple(bool(k < len(real)) for k in order), alt, _caption(caption, cohort), observer)


def origin(cohort: Any) -> str:
    """The sentence that says what the images of a cohort are: every figure of a cohort carries it."""
    kind = "Real data" if cohort.origin == "real" else "Embedded data, not patients"
    parts = [f"{kind}: {cohort.name}"]
    if note := getattr(cohort, "note", ""):
        parts.append(note.rstrip("."))
    window, unit = (getattr(cohort, key, None) or {} for key in ("window", "units"))
    if "x" in window and unit.get("x"):
        low, high = window["x"]
        parts.append(f"black to white is {low:g} to {high:g} {unit['x']}")
    return "; ".join(parts) + "."


def _need(alt: str) -> None:
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError("alt must say in words what one sees in the figure")


def _json(labels: Sequence[str]) -> str:
    import json

    return json.dumps(list(labels))


def _img(png: bytes, alt: str, *, hidden: bool = False, more: str = "") -> str:
    # dark-light: the book's theme would otherwise change the contrast of the image on a dark page.
    kind, data = "webp" if png.startswith(b"RIFF") else "png", base64.b64encode(png).decode()
    style = (_CARD.replace("display:block", "display:none") if hidden else _CARD) + more
    return (
        f'<img class="dark-light" src="data:image/{kind};base64,{data}" alt="{escape(alt, quote=True)}"'
        f'{" hidden" if hidden else ""} style="{style}">'
    )


def _figcaption(caption: str) -> str:
    return f'<figcaption style="font-size:.9em;padding-top:.4em">{caption}</figcaption>' if caption else ""


def _caption(caption: str | None, cohort: Any = None, title: str | None = None) -> str:
    parts = [f"<strong>{escape(title)}</strong>"] if title else []
    parts += [escape(caption)] if caption else []
    parts += [escape(origin(cohort))] if cohort is not None else []
    return " ".join(parts)


def _array(values: Any) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().float().cpu().numpy()
    elif isinstance(values, (list, tuple)) and values and hasattr(values[0], "detach"):
        values = np.stack([_array(v) for v in values])
    return np.asarray(values)


def _images(x: Any) -> np.ndarray:
    """(n, 1 or 3, h, w), finite, from what `samples` accepts."""
    images = _array(x)
    if images.ndim == 5:
        images = images[:, :, images.shape[2] // 2]
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise ValueError(f"expected images (n, h, w) or (n, 1 or 3, h, w), got {tuple(_array(x).shape)}")
    if not np.isfinite(images).all():
        raise ValueError("images hold values that are not finite: training may have diverged")
    return images


def _bytes(values: np.ndarray, window: tuple[float, float] | None) -> np.ndarray:
    low, high = window or (-1.0, 1.0)
    if not high > low:
        raise ValueError(f"window must be (low, high) with low < high, got {window}")
    return np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _grid(
    images: np.ndarray,
    columns: int,
    window: tuple[float, float] | None,
    spacing: float | None = None,
    scale_mm: float | None = None,
) -> Image:
    """Tiles, enlarged by a whole number so that every pixel stays a square, on white, with a scale bar below."""
    from PIL import Image

    n, channels, height, width = images.shape
    columns = max(1, min(columns, n))
    rows = math.ceil(n / columns)
    zoom = max(1, round((_WIDTH / columns - _GAP) / width))
    tiles = _bytes(images, window).repeat(zoom, 2).repeat(zoom, 3)
    h, w = height * zoom + _GAP, width * zoom + _GAP
    sheet = np.full((channels, rows * h - _GAP, columns * w - _GAP), 255, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // columns * h, i % columns * w
        sheet[:, top : top + h - _GAP, left : left + w - _GAP] = tile
    image = Image.fromarray(sheet[0] if channels == 1 else sheet.transpose(1, 2, 0))
    if spacing is None:
        return image
    bar = _scale_bar(image.width, spacing / zoom, width * spacing, scale_mm)
    whole = Image.new(image.mode, (image.width, image.height + bar.height), "white")
    whole.paste(image, (0, 0))
    whole.paste(bar, (0, image.height))
    return whole


def _scale_bar(width: int, mm_per_px: float, tile_mm: float, scale_mm: float | None = None) -> Image:
    """A white strip with a black bar of ``scale_mm``, or of a round number of mm near a quarter of a tile."""
    from PIL import Image, ImageDraw

    if scale_mm is None:
        exponent = 10.0 ** math.floor(math.log10(tile_mm / 4))
        scale_mm = max(m * exponent for m in (1, 2, 5) if m * exponent <= tile_mm / 4)
    strip = Image.new("L", (width, _TEXT + 12), 255)
    draw, length = ImageDraw.Draw(strip), scale_mm / mm_per_px
    draw.rectangle((4, strip.height // 2 - 3, 4 + length, strip.height // 2 + 3), fill=0)
    draw.text((length + 14, strip.height // 2), f"{scale_mm:g} mm", fill=0, font=_font(), anchor="lm")
    return strip


def _text_strip(texts: Sequence[str], width: int, *, left: bool = False) -> Image:
    from PIL import Image, ImageDraw

    strip = Image.new("L", (width, _TEXT + 12), 255)
    draw = ImageDraw.Draw(strip)
    for i, text in enumerate(texts):
        place = (2, strip.height // 2) if left else ((i + 0.5) * width / len(texts), strip.height // 2)
        draw.text(place, text, fill=0, font=_font(), anchor="lm" if left else "mm")
    return strip


def _font() -> Any:
    from pathlib import Path

    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", _TEXT)


def _moving_average(values: np.ndarray, length: int) -> np.ndarray:
    if length <= 1 or len(values) < length:
        return values
    window = np.ones(length)
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


def _frame(frame: Any, window: tuple[float, float] | None, columns: int, cohort: Any) -> Image:
    from PIL import Image

    if isinstance(frame, Picture):
        frame = frame.png
    if isinstance(frame, bytes):
        return Image.open(io.BytesIO(frame)).convert("RGB")
    if hasattr(frame, "savefig"):
        return _render(frame, tight=False)
    values = _array(frame)
    if values.ndim == 2:
        values = values[None, None]
    elif values.ndim == 3 and values.shape[0] in (1, 3):
        values = values[None]
    elif values.ndim == 3 and values.shape[-1] == 3:
        values = values.transpose(2, 0, 1)[None]
    if values.ndim != 4:
        raise ValueError(f"a frame is an image, a batch of images, a figure or PNG bytes; got shape {values.shape}")
    spacing = getattr(cohort, "spacing", None)
    return _grid(_images(values), columns, window, spacing[-1] if spacing else None)


def _same_size(images: list[Image]) -> list[Image]:
    from PIL import Image

    width, height = max(i.width for i in images), max(i.height for i in images)
    same = []
    for image in images:
        if image.size != (width, height):
            canvas = Image.new("RGB", (width, height), "white")
            canvas.paste(image.convert("RGB"), ((width - image.width) // 2, (height - image.height) // 2))
            image = canvas
        same.append(image)
    return same


def _render(fig: Figure, *, tight: bool) -> Image:
    """Draws a figure and takes it off pyplot's list, if it is there."""
    import sys

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    buffer = io.BytesIO()
    FigureCanvasAgg(fig)
    box = {"bbox_inches": "tight", "pad_inches": 0.08} if tight else {}
    fig.savefig(buffer, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None}, **box)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(fig)
    return Image.open(buffer).convert("RGB")


def _png(image: Image, colours: int = 256) -> bytes:
    """A small PNG without date or software in it: grey where the image is grey, a palette otherwise."""
    from PIL import Image, ImageChops

    if image.mode != "L":
        red, green, blue = image.convert("RGB").split()
        if not ImageChops.difference(red, green).getbbox() and not ImageChops.difference(green, blue).getbbox():
            image = red
    if image.mode == "L":
        if colours < 256:
            levels = colours - 1
            image = image.point([round(round(v * levels / 255) * 255 / levels) for v in range(256)])
    else:
        image = image.convert("RGB").quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _exact_png(pixels: np.ndarray) -> bytes:
    """(1 or 3, h, w) of bytes, pixel by pixel: what a reader judges must not differ in how it was stored."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _webp(image: Image, scale: float, quality: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    size = (round(image.width * scale), round(image.height * scale))
    image.resize(size, Image.Resampling.BOX).save(buffer, format="WEBP", quality=quality, method=4)
    return buffer.getvalue()


# How a player's frames are stored: the first that fits. Noisy images hardly compress without loss.
_LIGHTER = (
    _png,
    lambda image: _png(image, 64),
    lambda image: _webp(image, 1, 60),
    lambda image: _webp(image, 2 / 3, 60),
    lambda image: _webp(image, 1 / 2, 60),
    lambda image: _webp(image, 1 / 2, 40),
)
