"""A visual Turing test in the page: is this image real?"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from medgan_lib.figures.pictures import (
    Picture,
    as_bytes,
    as_images,
    caption_text,
    check_alt,
    exact_png_bytes,
    figcaption_tag,
    img_tag,
)
from medgan_lib.figures.players import json_attribute


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
            f"{img_tag(picture.png, picture.alt, more=';width:100%;image-rendering:pixelated')}"
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
            f'<figure class="medgan-quiz" data-quiz="{name}" data-real="{json_attribute(map(int, self.real))}"'
            f'{observer} role="group" aria-label="{escape("Quiz: " + self.alt, quote=True)}"'
            ' style="margin:1em auto;max-width:46em;text-align:center">'
            f"<div data-tiles>{tiles}</div>"
            '<output aria-live="polite" style="display:block;min-height:3.2em;padding:.5em 0"></output>'
            f"<div data-buttons hidden>{button}>Real</button>{button}>Generated</button>{button}>Start again</button>"
            f"</div><details><summary>Answers</summary>Real: {answers}. The others are generated.</details>"
            f"{figcaption_tag(self.caption)}</figure><script>\n{script(name)}</script>"
        )

    def __repr__(self) -> str:
        return f"[quiz with {len(self.pictures)} images: {self.alt}]"


# One image at a time; at the end all of them with what they are, and the share of right answers with the interval of
# Wilson (1927), so that nobody takes 13 of 20 for skill.
def script(name: str) -> str:
    """The page's script for the one element called ``name``."""
    return Path(__file__).with_name("quizzes.js").read_text(encoding="utf-8").replace("NAME", name)


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
    check_alt(alt)
    real, generated = as_images(real), as_images(generated)
    if real.shape[1:] != generated.shape[1:]:
        raise ValueError(f"real images are {real.shape[1:]}, generated ones {generated.shape[1:]}: sizes would tell")
    if observer is not None and not 0 <= observer <= 1:
        raise ValueError(f"observer is a share in [0, 1], got {observer}")
    images = np.concatenate([real, generated])
    order = np.random.default_rng(seed).permutation(len(images))
    pictures = tuple(Picture(exact_png_bytes(image), alt) for image in as_bytes(images[order], window))
    return Quiz(pictures, tuple(bool(k < len(real)) for k in order), alt, caption_text(caption, cohort), observer)
