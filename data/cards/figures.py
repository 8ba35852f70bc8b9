"""The figures of the data cards, made by hand after a simulation has changed: `python data/cards/figures.py heads`.

A function for each cohort gives its figures by switch. They go to `book/_static/cards/<cohort>-<switch>.webp`; the
card shows them by `![what one sees](../../book/_static/cards/<cohort>-<switch>.webp)`, and that text is the one here.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from medgan_lib import cohorts, figures
from medgan_lib.files.atomic import atomic

HERE = Path(__file__).parent
FIGURES = HERE.parents[1] / "book" / "_static" / "cards"
MOST = 40_000  # bytes of a figure


def alt(cohort: str, switch: str) -> str:
    """What the card says one sees in a figure. Raises ValueError where it does not show it."""
    path = f"../../book/_static/cards/{cohort}-{switch}.webp"
    card = (HERE / f"{cohort}.md").read_text(encoding="utf-8")
    found = re.search(rf"!\[([^\]]+)\]\({re.escape(path)}\)", card)
    if not found:
        raise ValueError(f"{cohort}.md shows no figure of {switch}: write ![what one sees]({path}) into it")
    return " ".join(found[1].split())


def write(picture: figures.Picture, path: Path) -> None:
    """The best WebP within `MOST` bytes. Raises ValueError where even a poor one is larger."""
    from PIL import Image

    image = Image.open(io.BytesIO(picture.png)).convert("RGB")
    for quality in (90, 75, 60, 45, 30):
        buffer = io.BytesIO()
        image.save(buffer, format="WEBP", quality=quality, method=6)
        if buffer.tell() <= MOST:
            with atomic(path) as file:
                file.write(buffer.getvalue())
            return
    raise ValueError(f"{path.name} is larger than {MOST} bytes: show fewer or smaller images")


def heads() -> Iterator[tuple[str, figures.Picture]]:
    names = ("t1", "t2", "flair", "gre", "ct")
    cohort = cohorts.load("heads", size=128, n=3, contrasts=names)
    rows = [[cohort[name][k, 0] for name in names] for k in (0, 2)]
    titles = [name.upper() for name in names]
    yield "contrasts", figures.compare(
        dict(zip(("one person", "another"), rows, strict=True)),
        columns=titles, cohort=cohort, alt=alt("heads", "contrasts"),
    )  # fmt: skip


COHORTS = {"heads": heads}


def main(names: list[str]) -> None:
    for cohort in names or COHORTS:
        for switch, picture in COHORTS[cohort]():
            path = FIGURES / f"{cohort}-{switch}.webp"
            write(picture, path)
            print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
