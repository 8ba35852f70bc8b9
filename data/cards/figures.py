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
    def load(n: int = 3, **switches) -> cohorts.Cohort:
        return cohorts.load("heads", n=n, **switches)

    def show(switch: str, rows: dict, cohort: cohorts.Cohort, columns: list[str] | tuple = (), **look):
        return switch, figures.compare(rows, columns=columns, cohort=cohort, alt=alt("heads", switch), **look)

    names = ("t1", "t2", "flair", "gre", "ct")
    cohort = load(size=128, contrasts=names)
    rows = [[cohort[name][k] for name in names] for k in (0, 2)]
    yield show("contrasts", dict(zip(("one person", "another"), rows, strict=True)), cohort, [n.upper() for n in names])

    ill = load(6, size=128, contrasts=("flair",), lesion=1.0, atrophy=1.0, slices_per_subject=2)
    k = int(ill["mask"].flatten(1).sum(1).argmax())
    only = load(6, size=128, contrasts=("flair",), lesion=1.0, slices_per_subject=2)
    lesion, tumour = only.x[k], ill["mask"][k].float() * 2 - 1
    yield show("lesion", {"FLAIR": [ill["healthy"][k], lesion, tumour, ill.x[k], ill["change"][k]]}, ill,
               ["healthy", "lesion", "mask", "and atrophy", "change"])  # fmt: skip

    rows = {f"protocol {p}": load(size=160, contrasts=names[:4], protocol=p) for p in "AB"}
    yield show("protocol", {label: [c[name][2] for name in names[:4]] for label, c in rows.items()}, rows["protocol A"],
               [n.upper() for n in names[:4]])  # fmt: skip

    found = {wide: load(size=128, contrasts=("t1",), levels=wide, slices_per_subject=5, n=5)
             for wide in ((-16, 74), (5, 30))}  # fmt: skip
    yield show("levels", {f"levels={wide}": c.x for wide, c in found.items()}, found[5, 30])

    ratios = (5, 15, 55, 200)
    rows = {f"{240 / size:g} mm voxels": [load(1, size=size, snr=snr).x[0] for snr in ratios] for size in (80, 160)}
    yield show("snr", rows, load(1, size=160), [f"snr={snr}" for snr in ratios])

    windows = ((-1000, 2000), (-100, 100), (0, 80))
    shown = {window: load(6, size=112, contrasts=("ct",), lesion=1.0, slices_per_subject=2, ct_window=window)
             for window in windows}  # fmt: skip
    columns = [f"{low} to {high} HU" for low, high in windows]
    yield show("ct-window", {"CT": [c.x[k] for c in shown.values()]}, shown[0, 80], columns)

    part = {"contrasts": ("t2",), "size": 216, "complex": True}
    rows = {"all lines": load(**part).x[2], "one line in 3": load(undersampling=3, **part).x[2]}
    rows = {label: [real, imaginary, (real**2 + imaginary**2).sqrt()] for label, (real, imaginary) in rows.items()}
    yield show("complex", rows, load(**part), ["real", "imaginary", "magnitude"], window=(-0.5, 0.5))

    some = {"contrasts": ("t2",), "size": 104, "n": 6}
    close, far = load(volume=(6, 4.0), **some), load(slices_per_subject=6, **some)
    yield show("volume", {"volume=(6, 4.0)": close.x, "slices_per_subject=6": far.x}, far)

    shares = (1.0, 0.25, 0.05)
    rows = {"CT": [load(size=112, contrasts=("ct",), dose=dose, ct_window=(-100, 100)).x[2] for dose in shares]}
    yield show("dose", rows, load(size=112), [f"dose={dose:g}" for dose in shares])


COHORTS = {"heads": heads}


def main(names: list[str]) -> None:
    for cohort in names or COHORTS:
        for switch, picture in COHORTS[cohort]():
            path = FIGURES / f"{cohort}-{switch}.webp"
            write(picture, path)
            print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
