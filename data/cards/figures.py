"""The figures of the data cards, made by hand after a simulation has changed: `python data/cards/figures.py heads`.

A function for each cohort gives its figures by switch. They go to `book/_static/cards/<cohort>-<switch>.webp`; the
card shows them by `![what one sees](../../book/_static/cards/<cohort>-<switch>.webp)`, and that text is the one here.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medgan_lib import cohorts, figures
from medgan_lib.cohorts.simulated import digits_on_photos
from medgan_lib.cohorts.simulated.vessels import FAMILIES, to_mm
from medgan_lib.files.atomic import atomic
from medgan_lib.physics import tubes

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


def chests() -> Iterator[tuple[str, figures.Picture]]:
    cohort = cohorts.load("chests", "val", size=192, n=3, device=1.0)
    added = cohort.to_units(cohort.x) - cohort.to_units(cohort["without_device"])
    rows = {"x": cohort.x, "without_device": cohort["without_device"], "what the device adds": added}
    window = dict.fromkeys(rows, (-1.0, 1.0)) | {"what the device adds": (0.0, 1.3)}
    yield "device", figures.compare(rows, window=window, cohort=cohort, alt=alt("chests", "device"))


def photographs() -> Iterator[tuple[str, figures.Picture]]:
    pairs = [cohorts.load("digits_on_photos", n=8, seed=1, textured=textured) for textured in (False, True)]
    rows = [torch.cat(tuple(part.x.permute(0, 2, 3, 1)), 1) / 2 + 0.5 for part in pairs]
    figure, (above, below) = figures.subplots(2, 1, size=(6.4, 5.0), gridspec_kw={"height_ratios": (1, 1.3)})
    above.imshow(torch.cat(rows).numpy(), interpolation="nearest")
    above.set_yticks([14, 42], ["any patch", "textured"])
    above.set_xticks([])
    above.grid(False)
    bins = np.arange(0, 100, 2.5)
    for textured, style in ((False, {"color": "#999999"}), (True, {"color": figures.PALETTE[0], "alpha": 0.7})):
        found = digits_on_photos.texture(digits_on_photos._tiles(textured)["train"], 28).ravel()
        found = found[found >= digits_on_photos.TEXTURE] if textured else found
        below.hist(found, bins=bins, density=True, label="textured" if textured else "any patch", **style)
    below.set_xlabel("standard deviation of the grey value in a patch")
    below.set_ylabel("share")
    below.set_yticks([])
    below.legend()
    yield "textured", figures.picture(figure, alt=alt("digits_on_photos", "textured"), cohort=pairs[0])


def _arteries(trees: Sequence[Sequence[Tensor]], texts: Sequence[str], alone: bool) -> tuple[Any, Any]:
    """A figure of trees, each some (4, points) mm, at one scale; and axes of radii below unless ``alone``."""
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    figure, axes = figures.subplots(1, 1, size=(6.4, 2.2 if alone else 5.2))
    figure.set_layout_engine("none")
    axes.set_position((0.12, 0.13, 0.86, 0.3))
    boxes = [torch.cat([tube[:3] for tube in tree], 1) for tree in trees]
    half = max(float((box.amax(1) - box.amin(1)).max()) for box in boxes) / 2
    for k, (tree, box) in enumerate(zip(trees, boxes, strict=True)):
        low, high = (0.08, 0.9) if alone else (0.48, 0.48)
        place = figure.add_axes((k / len(trees), low, 1 / len(trees), high), projection="3d")
        for tube, colour in zip(tree, (figures.PALETTE[1], figures.PALETTE[0]), strict=False):
            faces = tubes.corners(tubes.surface(tube[:3], tube[3], 20)).numpy()
            colours = [colour] * len(faces)
            place.add_collection3d(
                Poly3DCollection(faces, facecolors=colours, edgecolors=colours, linewidths=0.1, shade=True)
            )
        middle = (box.amax(1) + box.amin(1)) / 2
        for name, at in zip("xyz", middle.tolist(), strict=True):
            getattr(place, f"set_{name}lim")(at - half, at + half)
        place.set_box_aspect((1, 1, 1), zoom=1.7 if alone else 1.5)
        place.view_init(75, -88)
        place.axis("off")
        place.text2D(0.5, 0.98, texts[k], transform=place.transAxes, ha="center", va="top")
    if alone:
        axes.remove()
    axes.set_xlabel("mm from the start")
    axes.set_ylabel("radius, mm")
    return figure, axes


def vessels() -> Iterator[tuple[str, figures.Picture]]:
    four = cohorts.load("vessels", "val", n=200, size=128, families=FAMILIES, lengths=(100, 130))
    chosen = [int((four["label"] == k).nonzero()[0]) for k in range(len(FAMILIES))]
    figure, _ = _arteries([[to_mm(four, four.x)[i]] for i in chosen], list(FAMILIES), True)
    yield "families", figures.picture(figure, alt=alt("vessels", "families"), cohort=four)

    wide = cohorts.load("vessels", "val", n=60, size=128, lengths=(40, 220))
    chosen = [int((wide["length"] - wanted).abs().argmin()) for wanted in (50, 100, 155, 210)]
    main = to_mm(wide, wide.x)
    figure, _ = _arteries([[main[i]] for i in chosen], [f"{wide['length'][i]:.0f} mm" for i in chosen], True)
    yield "lengths", figures.picture(figure, alt=alt("vessels", "lengths"), cohort=wide)

    narrowed = cohorts.load("vessels", "val", n=60, size=128, stenosis=1.0)
    chosen = [int((narrowed["stenosis_degree"] - wanted).abs().argmin()) for wanted in (0.5, 0.75)]
    tree = to_mm(narrowed, narrowed.x)
    texts = [f"{100 * narrowed['stenosis_degree'][i]:.0f} % at {narrowed['stenosis_place'][i]:.2f}" for i in chosen]
    figure, axes = _arteries([[tree[i]] for i in chosen], texts, False)
    for i, text, dash in zip(chosen, texts, figures.DASHES, strict=False):
        along = torch.linspace(0, float(narrowed["length"][i]), 128)
        axes.plot(along, narrowed.to_units(narrowed["healthy_radius"][i, 0], "healthy_radius"), color="#999999")
        axes.plot(along, tree[i, 3], color=figures.PALETTE[1], ls=dash, label=text)
    axes.set_ylim(0)
    axes.legend()
    yield "stenosis", figures.picture(figure, alt=alt("vessels", "stenosis"), cohort=narrowed)

    forked = cohorts.load("vessels", "val", n=60, size=128, branch=1.0)
    main, side = (to_mm(forked, forked[key]) for key in ("x", "branch"))
    chosen = [int((forked["branch_place"] - wanted).abs().argmin()) for wanted in (0.2, 0.45)]
    texts = [f"at {forked['branch_place'][i]:.2f}" for i in chosen]
    figure, axes = _arteries([[main[i], side[i]] for i in chosen], texts, False)
    for i, text, dash in zip(chosen, texts, figures.DASHES, strict=False):
        along = float(forked["length"][i]) * torch.linspace(0, 1, 128)
        start = float(forked["length"][i] * forked["branch_place"][i])
        axes.plot(along, main[i, 3], color=figures.PALETTE[1], ls=dash, label=text)
        out = start + float(forked["branch_length"][i]) * torch.linspace(0, 1, 128)
        axes.plot(out, side[i, 3], color=figures.PALETTE[0], ls=dash)
    axes.set_ylim(0)
    axes.legend()
    yield "branch", figures.picture(figure, alt=alt("vessels", "branch"), cohort=forked)


COHORTS = {"heads": heads, "chests": chests, "digits_on_photos": photographs, "vessels": vessels}


def main(names: list[str]) -> None:
    for cohort in names or COHORTS:
        for switch, picture in COHORTS[cohort]():
            path = FIGURES / f"{cohort}-{switch}.webp"
            write(picture, path)
            print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
