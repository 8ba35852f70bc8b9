"""The pictures of a recorded run: taken out of its notebook, made small, kept beside the record and checked.

They lie in ``book/reference/<profile>/<chapter>/``; the record lists them under "pictures", each with the cell that
made it and its alternative text. Records at ``full`` have them, and those at ``cpu`` of chapters that were rebuilt.
"""

import base64
import contextlib
import hashlib
import io
import os
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
from PIL import Image

import pipeline
from pipeline import Run, UserError, edition
from pipeline.fingerprint import tags

MOST = 6
BYTES = 80_000  # of each picture
ENTRY = ("file", "cell", "alt", "caption", "width", "height", "sha256")  # what a record says of each
FIGURES = {"medgan-figure", "medgan-player"}


def kept(profile: str, chapter: str) -> bool:
    """Whether a record of ``chapter`` at ``profile`` has pictures."""
    from medgan_lib import ledger

    return profile == "full" or (profile == "cpu" and edition(chapter) >= ledger.EDITION)


class _Figures(HTMLParser):
    """Figures in HTML: of each the images, ``(data URI, alternative text)``, and the caption without its markup."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[list[tuple[str, str]], list[str]]] = []
        self.inside = self.caption = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attributes}
        if tag == "figure" and FIGURES & set(values.get("class", "").split()):
            self.inside = True
            self.found.append(([], []))
        elif self.inside and tag == "img" and values.get("src", "").startswith("data:image/"):
            self.found[-1][0].append((values["src"], values.get("alt", "")))
        elif self.inside and tag == "figcaption":
            self.caption = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "figcaption":
            self.caption = False
        elif tag == "figure":
            self.inside = False

    def handle_data(self, data: str) -> None:
        if self.caption:
            self.found[-1][1].append(data)


def figures(notebook: Any) -> list[dict[str, str]]:
    """``uri``, ``alt``, ``caption`` and ``cell`` of the figures to record, in their order.

    They are the first of the cells tagged ``picture``, or without such cells the last of the notebook. Of a player it
    is the last frame.
    """
    from medgan_lib import ledger

    chosen = [cell for cell in notebook.cells if "picture" in tags(cell)]
    found = []
    for cell in chosen or notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if ledger.MIME in data:
                continue
            parser = _Figures()
            parser.feed(data.get("text/html", ""))
            found += [{"uri": images[-1][0], "alt": images[-1][1], "caption": " ".join("".join(caption).split()),
                       "cell": cell.id}
                      for images, caption in parser.found if images]
    return found[:MOST] if chosen else found[-MOST:]


def small(image: Image.Image) -> tuple[bytes, tuple[int, int]]:
    """The picture as WebP of at most `BYTES`, and its size: as good as it fits, and smaller only then."""
    image = image.convert("RGB")
    for scale in (1.0, 0.8, 0.64, 0.5, 0.4, 0.32, 0.25, 0.2, 0.15, 0.1):
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        scaled = image if scale == 1 else image.resize(size, Image.Resampling.LANCZOS)
        for settings in ({"lossless": True}, {"quality": 90}, {"quality": 75}, {"quality": 60}):
            buffer = io.BytesIO()
            scaled.save(buffer, format="WEBP", method=4, **settings)
            if buffer.tell() <= BYTES:
                return buffer.getvalue(), size
    raise UserError(f"a picture of {image.width} × {image.height} pixels can't be stored in {BYTES} bytes")


@contextlib.contextmanager
def recorded(run: Run, folder: Path) -> Iterator[dict[str, Any]]:
    """What a record says about the pictures of ``run``; they replace those in ``folder`` if the block succeeds.

    The record is to be written in the block. Until its end the new pictures lie in a folder of their own.
    """
    from pipeline.pages import withheld

    new, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    for rest in (new, old):  # of an execution that was killed
        shutil.rmtree(rest, ignore_errors=True)
    if private := withheld(run.folder, pipeline.ROOT):
        index = {"pictures": [], "pictures_withheld": private}
    else:
        notebook = nbformat.read(run.folder / "notebook.ipynb", as_version=4)
        index = {"pictures": [_stored(figure, new / f"{number}.webp")
                              for number, figure in enumerate(figures(notebook), 1)]}
    try:
        yield index
        if folder.exists():
            os.replace(folder, old)
        if new.exists():
            os.replace(new, folder)
    finally:
        for rest in (new, old):
            shutil.rmtree(rest, ignore_errors=True)


def _stored(figure: dict[str, str], path: Path) -> dict[str, Any]:
    """Write one figure; what the record says about it."""
    data = base64.b64decode(figure["uri"].partition(",")[2])
    content, (width, height) = small(Image.open(io.BytesIO(data)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return {"file": path.name, "cell": figure["cell"], "alt": figure["alt"], "caption": figure["caption"],
            "width": width, "height": height, "sha256": hashlib.sha256(content).hexdigest()[:16]}


def problem(record: dict[str, Any], reference: Path) -> str | None:
    """What is wrong with the pictures of a record, or None; ``reference`` is the folder of all records.

    One at ``full`` lists them, if there are none an empty list; at ``cpu`` not every record does.
    """
    profile, chapter = record["profile"], record["chapter"]
    name = f"book/reference/{profile}/{chapter}"
    again = f"make reference PROFILE={profile} CHAPTERS={chapter} makes it anew"
    if profile != "full" and "pictures" not in record:
        return None
    if not isinstance(record.get("pictures"), list):
        return f"{name}.json lists no pictures; {again}"
    listed = [entry.get("file") if isinstance(entry, dict) else None for entry in record["pictures"]]
    named = all(isinstance(file, str) and re.fullmatch(r"\d+\.webp", file) for file in listed)
    if not named or len(set(listed)) < len(listed) or any(set(ENTRY) - set(entry) for entry in record["pictures"]):
        return f"{name}.json: each picture needs {', '.join(ENTRY)}, and a file of its own such as 1.webp; {again}"
    for entry in record["pictures"]:
        file, where = reference / profile / chapter / entry["file"], f"{name}/{entry['file']}"
        if not file.is_file():
            return f"{where} is missing, which the record of {chapter} lists; {again}"
        if hashlib.sha256(file.read_bytes()).hexdigest()[:16] != entry["sha256"]:
            return f"{where} is damaged, or not the picture that the record of {chapter} lists; {again}"
    return None
