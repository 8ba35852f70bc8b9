"""A player of frames in the page, moved by a slider, without a kernel."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgan_lib.figures.grids import grid_image
from medgan_lib.figures.pictures import (
    _LIGHTER,
    Picture,
    as_array,
    as_images,
    caption_text,
    check_alt,
    figcaption_tag,
    img_tag,
    rendered,
    same_size,
)

if TYPE_CHECKING:
    from PIL.Image import Image


_PLAYER_BYTES = 290_000  # of the frames of one player, so that its HTML stays under 400 kB


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
            img_tag(frame.png, f"{frame.alt} ({label})", hidden=i < last)
            for i, (frame, label) in enumerate(zip(self.frames, self.labels, strict=True))
        )
        label = escape(self.labels[last], quote=True)
        return (
            f'<figure class="medgan-player" data-player="{name}" data-fps="{self.fps:g}"'
            f" data-labels='{escape(json_attribute(self.labels), quote=True)}' role=\"group\""
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
            f"{figcaption_tag(self.caption)}</figure><script>\n{script(name)}</script>"
        )

    def __repr__(self) -> str:
        return f"[player with {len(self.frames)} frames: {self.alt}]"


# The slider moves natively by mouse, touch and arrow keys. Playing runs once to the end; it never starts by itself,
# and a reader who asked the system for less motion gets one frame a second at most.
def script(name: str) -> str:
    """The page's script for the one element called ``name``."""
    return Path(__file__).with_name("players.js").read_text(encoding="utf-8").replace("NAME", name)


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
        check_alt(text)
    if not frames:
        raise ValueError("a player needs at least one frame")
    if not len(frames) == len(labels) == len(alts):
        raise ValueError(f"{len(frames)} frames, {len(labels)} labels and {len(alts)} alt texts: need one each")
    if not fps > 0:
        raise ValueError(f"fps must be positive, got {fps}")
    images = same_size([frame_image(frame, window, columns, cohort) for frame in frames])
    for encode in _LIGHTER:
        encoded = [encode(image) for image in images]
        if sum(map(len, encoded)) <= _PLAYER_BYTES:
            break
    pictures = tuple(Picture(data, text) for data, text in zip(encoded, alts, strict=True))
    title = alt if isinstance(alt, str) else alts[-1]
    return Player(pictures, tuple(labels), fps, title, caption_text(caption, cohort))


def json_attribute(labels: Iterable[str | int]) -> str:
    import json

    return json.dumps(list(labels))


def frame_image(frame: Any, window: tuple[float, float] | None, columns: int, cohort: Any) -> Image:
    from PIL import Image

    if isinstance(frame, Picture):
        frame = frame.png
    if isinstance(frame, bytes):
        return Image.open(io.BytesIO(frame)).convert("RGB")
    if hasattr(frame, "savefig"):
        return rendered(frame, tight=False)
    values = as_array(frame)
    if values.ndim == 2:
        values = values[None, None]
    elif values.ndim == 3 and values.shape[0] in (1, 3):
        values = values[None]
    elif values.ndim == 3 and values.shape[-1] == 3:
        values = values.transpose(2, 0, 1)[None]
    if values.ndim != 4:
        raise ValueError(f"a frame is an image, a batch of images, a figure or PNG bytes; got shape {values.shape}")
    spacing = getattr(cohort, "spacing", None)
    return grid_image(as_images(values), columns, window, spacing[-1] if spacing else None)
