"""A picture inside HTML, with what one sees in words: encoding, captions, and arrays of images as bytes."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from medgan_lib.figures.style import CARD, DPI

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image


@dataclass(frozen=True, repr=False)
class Picture:
    """A PNG (a player's frame may be a WebP) with its alternative text; shows itself as an HTML figure."""

    png: bytes
    alt: str
    caption: str = ""

    def _repr_html_(self) -> str:
        return (
            '<figure class="medgan-figure" style="margin:1em 0;text-align:center">'
            f'{img_tag(self.png, self.alt)}{figcaption_tag(self.caption)}</figure>'
        )

    def __repr__(self) -> str:  # part of a notebook's output, so it must not change between runs
        return f"[picture: {self.alt}]"


def origin(cohort: Any) -> str:
    """The sentence that says what the images of a cohort are: every figure of a cohort carries it."""
    kind = "Real data" if cohort.origin == "real" else "Embedded data, not patients"
    parts = [f"{kind}: {cohort.name}"]
    if note := getattr(cohort, "note", ""):
        parts.append(note.rstrip("."))
    window, unit = (getattr(cohort, key, None) or {} for key in ("window", "units"))
    points = getattr(cohort, "tensors", {}).get("x")
    if "x" in window and unit.get("x") and (points is None or points.ndim > 2):  # points have no grey values
        low, high = window["x"]
        parts.append(f"black to white is {low:g} to {high:g} {unit['x']}")
    return "; ".join(parts) + "."


def check_alt(alt: str) -> None:
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError("alt must say in words what one sees in the figure")


def img_tag(png: bytes, alt: str, *, hidden: bool = False, more: str = "") -> str:
    # dark-light: the book's theme would otherwise change the contrast of the image on a dark page.
    kind, data = "webp" if png.startswith(b"RIFF") else "png", base64.b64encode(png).decode()
    style = (CARD.replace("display:block", "display:none") if hidden else CARD) + more
    return (
        f'<img class="dark-light" src="data:image/{kind};base64,{data}" alt="{escape(alt, quote=True)}"'
        f'{" hidden" if hidden else ""} style="{style}">'
    )


def figcaption_tag(caption: str) -> str:
    return f'<figcaption style="font-size:.9em;padding-top:.4em">{caption}</figcaption>' if caption else ""


def caption_text(caption: str | None, cohort: Any = None, title: str | None = None) -> str:
    parts = [f"<strong>{escape(title)}</strong>"] if title else []
    parts += [escape(caption)] if caption else []
    parts += [escape(origin(cohort))] if cohort is not None else []
    return " ".join(parts)


def as_array(values: Any) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().float().cpu().numpy()
    elif isinstance(values, (list, tuple)) and values and hasattr(values[0], "detach"):
        values = np.stack([as_array(v) for v in values])
    return np.asarray(values)


def as_images(x: Any) -> np.ndarray:
    """(n, 1 or 3, h, w), finite, from what `samples` accepts."""
    images = as_array(x)
    if images.ndim == 5:
        images = images[:, :, images.shape[2] // 2]
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise ValueError(f"expected images (n, h, w) or (n, 1 or 3, h, w), got {tuple(as_array(x).shape)}")
    if not np.isfinite(images).all():
        raise ValueError("images hold values that are not finite: training may have diverged")
    return images


def as_bytes(values: np.ndarray, window: tuple[float, float] | None) -> np.ndarray:
    low, high = window or (-1.0, 1.0)
    if not high > low:
        raise ValueError(f"window must be (low, high) with low < high, got {window}")
    return np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def same_size(images: list[Image]) -> list[Image]:
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


def rendered(fig: Figure, *, tight: bool) -> Image:
    """Draws a figure and takes it off pyplot's list, if it is there."""
    import sys

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    buffer = io.BytesIO()
    FigureCanvasAgg(fig)
    box = {"bbox_inches": "tight", "pad_inches": 0.08} if tight else {}
    fig.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata={"Software": None}, **box)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(fig)
    return Image.open(buffer).convert("RGB")


def png_bytes(image: Image, colours: int = 256) -> bytes:
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


def exact_png_bytes(pixels: np.ndarray) -> bytes:
    """(1 or 3, h, w) of bytes, pixel by pixel: what a reader judges must not differ in how it was stored."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def webp_bytes(image: Image, scale: float, quality: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    size = (round(image.width * scale), round(image.height * scale))
    image.resize(size, Image.Resampling.BOX).save(buffer, format="WEBP", quality=quality, method=4)
    return buffer.getvalue()


# How a player's frames are stored: the first that fits. Noisy images hardly compress without loss.
_LIGHTER = (
    png_bytes,
    lambda image: png_bytes(image, 64),
    lambda image: webp_bytes(image, 1, 60),
    lambda image: webp_bytes(image, 2 / 3, 60),
    lambda image: webp_bytes(image, 1 / 2, 60),
    lambda image: webp_bytes(image, 1 / 2, 40),
)
