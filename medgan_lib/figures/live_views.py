"""Views that answer: by widgets in a running kernel, by a picture or a player of the same in the rendered page.

One call gives both. What a notebook stores of a view always holds its still version, as HTML that needs no kernel;
where a person can move widgets, it holds the view of the widgets too, which Jupyter then prefers.

The variable MEDGAN_STATIC of the environment, set to anything but "0" or nothing, leaves the widgets out. The pipeline
sets it for its kernels: nobody watches there, two executions must store the same, and no state of a widget belongs into
a book. Jupyter, Colab and VS Code don't set it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import sys
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from medgan_lib.figures.pictures import Picture, check_alt, figcaption_tag, img_tag
from medgan_lib.figures.players import Player

if TYPE_CHECKING:
    from ipywidgets import HTML, Widget

STATIC = "MEDGAN_STATIC"
TEXT = "margin:0;line-height:1.4;white-space:normal;overflow-wrap:break-word"  # widgets have lines 28 px high
VIEW = "application/vnd.jupyter.widget-view+json"


def interactive() -> bool:
    """Whether widgets would answer: in a Jupyter kernel with ipywidgets, unless MEDGAN_STATIC forbids them."""
    if os.environ.get(STATIC, "0") not in ("", "0"):
        return False
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if getattr(shell, "kernel", None) is None:  # a script, or IPython in a terminal
        return False
    try:
        import ipywidgets  # noqa: F401
    except ImportError:
        return False
    return True


class LiveView:
    """What every live view is: a still version, a widget, and a notebook's output that holds what fits.

    ``widget`` is the live version, made when it is first asked for (ImportError without ipywidgets); ``still`` the
    other one, a `Picture` or a `Player`. Both stay the same objects however often the view is shown.
    """

    def __init__(self, alt: str, caption: str = "") -> None:
        check_alt(alt)
        self.alt, self.caption = alt, caption

    @functools.cached_property
    def still(self) -> Picture | Player:
        return self._still()

    @functools.cached_property
    def widget(self) -> Widget:
        return self._widget()

    def _still(self) -> Picture | Player:
        raise NotImplementedError

    def _widget(self) -> Widget:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return self.still._repr_html_()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        if not interactive():
            return {"text/html": self._repr_html_(), "text/plain": repr(self)}
        # Written out, as ipywidgets 7 has no method for it.
        view = {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id}
        if "google.colab" in sys.modules:  # its pages choose by an order of their own: leave them no choice
            return {VIEW: view, "text/plain": repr(self)}
        return {VIEW: view, "text/html": self._repr_html_(), "text/plain": repr(self)}

    def __repr__(self) -> str:  # part of a notebook's output, so it must not change between runs
        return f"[live view: {self.alt}]"


class Screen:
    """A picture among widgets, with alternative text, and a line below it that says what went wrong.

    ``width`` is the largest, ``flex`` how it takes its place among what stands beside it, both as in CSS.
    """

    def __init__(self, width: str, caption: str = "", flex: str = "0 0 auto") -> None:
        import ipywidgets

        self.picture: Picture | None = None
        # An <img> in HTML, as `ipywidgets.Image` has no alternative text.
        self.image: HTML = ipywidgets.HTML()
        self.trouble: HTML = ipywidgets.HTML()
        self.box = ipywidgets.VBox(
            [self.image, self.trouble, ipywidgets.HTML(f'<figure style="{TEXT}">{figcaption_tag(caption)}</figure>')],
            layout={"flex": flex, "max_width": width, "min_width": "0"},
        )

    def show(self, picture: Picture) -> None:
        self.picture = picture
        width, height = size_of(picture.png)
        # With its shape given, nothing below jumps while the browser decodes the next picture.
        self.image.value = img_tag(picture.png, picture.alt, more=f";width:100%;aspect-ratio:{width}/{height}")

    def clear(self, message: str) -> None:
        """No picture, but why there is none."""
        self.picture, self.image.value = None, ""
        self.trouble.value = f'<div role="status" style="{TEXT}">{escape(message)}</div>'

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Inside, an error is told in the panel, and raised: a widget's callback has no cell to show it in."""
        if self.trouble.value:
            self.trouble.value = ""
        try:
            yield
        except Exception as error:
            text = escape(f"{type(error).__name__}: {error}")
            self.trouble.value = f'<div role="alert" style="{TEXT};color:#b00020">{text}</div>'
            raise


def size_of(png: bytes) -> tuple[int, int]:
    """Width and height of a PNG in pixels."""
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


@contextlib.contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Inside, Python's, NumPy's and PyTorch's random numbers start from ``seed``; afterwards they go on as before."""
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() and torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(list(devices)):
            random.seed(seed)
            np.random.seed(seed)
            torch.random.default_generator.manual_seed(seed)
            for device in devices:
                torch.cuda.default_generators[device].manual_seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
