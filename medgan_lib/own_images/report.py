"""Scores, previews and the page of ``python -m medgan_lib translate``."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medgan_lib import figures, metrics
from medgan_lib.files.atomic import atomic
from medgan_lib.own_images.scores import SMALLEST, Item, features, fidelity_scores, like, percentiles
from medgan_lib.own_images.sides import Side

PREVIEWS = 8  # pictures of each split
JUDGED = 400  # slices of each side that the two-sample test looks at, at most
TITLES = {
    "val": "validation, not trained on: compare settings by this",
    "test": "test, not trained on: look once, at the end",
    "train": "TRAINING images, as there are no others: whether the networks could fit, nothing about new images",
    "also": "the folder of --also: no references",
}


@dataclass
class Report:
    """Collects `Item`s one by one, and keeps of each its scores, some numbers and perhaps a picture, not its images.

    ``cut`` in [-1, 1] separates the foreground of target images. ``real`` are features of target images that were not
    trained on, for each split; with them outputs are judged as a set.
    """

    method: str
    source: Side
    target: Side
    cut: float
    seed: int
    notes: Sequence[str]
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    features: dict[tuple[str, str], list[Tensor]] = field(default_factory=dict)
    percentiles: dict[tuple[str, str], list[Tensor]] = field(default_factory=dict)
    pictures: list[tuple[str, figures.Picture]] = field(default_factory=list)

    def add(self, item: Item, folder: Path) -> None:
        row: dict[str, Any] = {"image": item.name}
        baseline = like(item.y, item.x)
        if item.reference is not None:
            for name, x in ((self.method, item.x), ("identity", baseline)):
                row[name] = fidelity_scores(x, item.reference, self.target.window, self.cut)
        if item.restored is not None:
            row.setdefault(self.method, {})["cycle"] = metrics.mae(
                item.restored[None], item.y[None], self.source.window
            )
            for name, x in ((self.method, item.x), ("identity", baseline)):
                self.judge(item.split, name, x)
        self.rows.setdefault(item.split, []).append(row)
        if len(self.rows[item.split]) <= PREVIEWS:
            picture = preview(item, self.source, self.target)
            name = f"{item.split}_{item.name}.png"
            with atomic(folder / name) as file:
                file.write(picture.png)
            self.pictures.append((f"{item.split}: {item.name}", picture))

    def add_real(self, split: str, x: Tensor) -> None:
        """A target image (channels, *size) that was not trained on."""
        self.judge(split, "real", x)

    def judge(self, split: str, name: str, x: Tensor) -> None:
        self.features.setdefault((split, name), []).append(features(x))
        self.percentiles.setdefault((split, name), []).append(percentiles(x))

    def scores(self) -> dict[str, Any]:
        """What metrics.json holds."""
        splits = {}
        for split in self.splits():
            rows = self.rows[split]
            splits[split] = {
                "what": TITLES[split],
                "images": len(rows),
                **{name: self.mean(split, name) for name in (self.method, "identity") if self.mean(split, name)},
                "each": rows,
            }
        return {
            "source": {"folder": self.source.letter, "units": self.source.units, "window": self.source.window},
            "target": {"folder": self.target.letter, "units": self.target.units, "window": self.target.window},
            "how": self.how(),
            "splits": splits,
            "notes": self.notes,
        }

    def mean(self, split: str, name: str) -> dict[str, Any]:
        """Means over the images of a split, and the two-sample test, of the method or the identity."""
        each = [row[name] for row in self.rows[split] if name in row]
        keys = list(dict.fromkeys(key for scores in each for key in scores))
        found: dict[str, Any] = {key: average([scores.get(key) for scores in each]) for key in keys}
        if (split, name) in self.features and (split, "real") in self.features:
            ours, real = (torch.stack(self.percentiles[split, who]).mean(0) for who in (name, "real"))
            found["grey_values"] = float((ours - real).abs().mean() * self.target.window.span / 2)
            found["two_sample"] = self.two_sample(split, name)
        return found

    def two_sample(self, split: str, name: str) -> list[float] | None:
        """Accuracy and 95 % interval of a classifier that tells outputs from target images; None for too few."""
        real, fake = self.features[split, "real"], self.features[split, name]
        groups = torch.cat([torch.full((len(part),), number) for number, part in enumerate(real)])
        real, fake = torch.cat(real), torch.cat(fake)
        keep = torch.arange(0, len(real), max(len(real) // JUDGED, 1))
        try:
            test = metrics.two_sample_test(
                real[keep], fake[:: max(len(fake) // JUDGED, 1)], self.seed, groups=groups[keep]
            )
        except ValueError:  # fewer than ten slices or four images
            return None
        return [test.accuracy, test.low, test.high]

    def how(self) -> str:
        """What the numbers mean."""
        text = (
            f"Means over images; data range {self.target.range_text}, values beyond it clipped. Identity: the input, "
            f"its window {self.source.range_text} rescaled to that of the target."
        )
        if self.compared:
            cut = float(self.target.in_units(torch.tensor(self.cut)))
            text += (
                f" Foreground: reference above {cut:.4g} {self.target.units}, midway between the means on either side "
                f"of it in the training targets. SSIM: mean over axial slices, Gaussian window of {SMALLEST} pixels."
            )
        if self.method == "cyclegan":
            text += (
                f" Cycle: mean absolute error in {self.source.units} of the input restored from the output. Grey "
                "values: mean distance between the percentiles of outputs and of target images. Two-sample: share of "
                "slices that a classifier of grey values and spectra tells right from target images, with its 95 % "
                "interval; 0.5 is chance, and fewer than four images or ten slices are too few."
            )
        return text

    @property
    def compared(self) -> bool:
        return any("mae" in row.get("identity", {}) for rows in self.rows.values() for row in rows)

    def warnings(self) -> list[str]:
        """Where the training did not pay."""
        found = []
        for split in self.splits():
            ours, identity = (self.mean(split, name).get("mae") for name in (self.method, "identity"))
            if ours is not None and identity is not None and ours >= identity:
                found.append(
                    f"{count(len(self.rows[split]))} ({split}): the outputs are no nearer to their references than the "
                    "rescaled inputs. More --steps may help."
                )
        return found

    def splits(self) -> list[str]:
        return [split for split in TITLES if split in self.rows]

    def table(self, split: str) -> list[list[str]]:
        """Rows of text, the first one the names of the columns."""
        units = self.target.units
        columns = {
            "mae": f"MAE [{units}]", "mae_foreground": f"MAE foreground [{units}]", "psnr": "PSNR [dB]", "ssim": "SSIM",
            "cycle": f"cycle [{self.source.units}]", "grey_values": f"grey values [{units}]",
            "two_sample": "two-sample",
        }  # fmt: skip
        means = {name: self.mean(split, name) for name in (self.method, "identity")}
        shown = [key for key in columns if any(key in scores for scores in means.values())]
        rows = [[name, *(number(key, scores.get(key)) for key in shown)] for name, scores in means.items()]
        return [["", *(columns[key] for key in shown)], *rows] if shown else []

    def text(self) -> str:
        lines = []
        for split in self.splits():
            lines += ["", f"{count(len(self.rows[split]))}, {TITLES[split]}"]
            table = self.table(split)
            if table:
                widths = [max(map(len, column)) for column in zip(*table, strict=True)]
                lines += [
                    "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in table
                ]
        lines += ["", *self.warnings()] if self.warnings() else []
        return "\n".join([*lines, "", textwrap.fill(self.how(), 110)])

    def html(self) -> str:
        """One page that needs no other file."""
        title = f"{self.method}: {self.source.letter} to {self.target.letter}"
        parts = [f"<h1>{escape(title)}</h1>"]
        for split in self.splits():
            parts.append(f"<h2>{escape(count(len(self.rows[split])))}, {escape(TITLES[split])}</h2>")
            table = self.table(split)
            if table:
                head, *body = (
                    "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)
                    for row, tag in zip(table, ("th", "td", "td"), strict=True)
                )
                body = "".join(f"<tr>{row}</tr>" for row in body)
                parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
        parts += [f"<p>{escape(text)}</p>" for text in (*self.warnings(), self.how())]
        if self.notes:
            parts.append(
                "<h2>Notes on the data</h2><ul>" + "".join(f"<li>{escape(n)}</li>" for n in self.notes) + "</ul>"
            )
        parts += [f"<h2>{escape(name)}</h2>{picture._repr_html_()}" for name, picture in self.pictures]
        return PAGE.replace("TITLE", escape(title)).replace("BODY", "\n".join(parts))


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>TITLE</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse } th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #ccc }
th:first-child, td:first-child { text-align: left }
h2 { font-size: 1.1rem; margin-top: 2rem }
</style></head><body>
BODY
</body></html>
"""


def average(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def number(key: str, value: Any) -> str:
    if value is None:
        return "–"
    if key == "two_sample":
        return "{:.2f} ({:.2f} to {:.2f})".format(*value)
    digits = {"psnr": 2, "ssim": 3}.get(key)
    return f"{value:.{digits}f}" if digits else f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"


def count(n: int) -> str:
    return f"{n} image" + "s" * (n != 1)


def preview(item: Item, source: Side, target: Side) -> figures.Picture:
    """Input, output and, where there is one, the reference and how far the output is from it; or the input restored."""
    panels = [(f"input {source.letter}", item.y, source), ("output", item.x, target)]
    difference, units = None, target.units
    if item.reference is not None:
        panels.append((f"reference {target.letter}", item.reference, target))
        difference = target.in_units(item.x) - target.in_units(item.reference)
    elif item.restored is not None:
        panels.append((f"restored {source.letter}", item.restored, source))
        difference, units = source.in_units(item.restored) - source.in_units(item.y), source.units
    n = len(panels) + (difference is not None)
    height, width = item.x.shape[-2:]
    spacing = (item.image.spacing or (1.0, 1.0))[-2:]
    tall = height * spacing[0] / (width * spacing[1])
    figure, axes = figures.subplots(1, n, size=(3.2 * n, min(max(2.9 * tall, 1.5), 8) + 0.9), squeeze=False)
    keywords = {"aspect": spacing[0] / spacing[1], "interpolation": "nearest"}
    for axis, (name, x, side) in zip(axes[0], panels, strict=False):
        plane = (middle(x) / 2 + 0.5).permute(1, 2, 0).numpy()
        axis.imshow(plane, cmap="gray", vmin=0, vmax=1, **keywords)
        axis.set_title(f"{name}\n{side.range_text}", fontsize=11)
    alt = f"{item.name}, side by side: " + ", ".join(name for name, *_ in panels)
    if difference is not None:
        plane = middle(difference).mean(0).numpy()
        most = float(abs(plane).max()) or 1.0
        shown = axes[0, -1].imshow(plane, cmap="RdBu_r", vmin=-most, vmax=most, **keywords)
        figure.colorbar(shown, ax=axes[0, -1], shrink=0.8, label=units)
        base = panels[2][0] if item.reference is not None else "input"
        taken = "output" if item.reference is not None else "restored"
        axes[0, -1].set_title(f"{taken} − {base}\n{units}", fontsize=11)
        mean = float(abs(plane).mean())
        alt += f", and their difference, which is {mean:.3g} {units} on average and {most:.3g} at most"
    for axis in axes[0]:
        axis.set_axis_off()
    where = f"axial slice {item.x.shape[1] // 2 + 1} of {item.x.shape[1]}" if item.x.ndim == 4 else ""
    return figures.picture(figure, alt=alt + ".", caption=where)


def middle(x: Tensor) -> Tensor:
    """The middle axial slice (channels, h, w)."""
    return x if x.ndim == 3 else x[:, x.shape[1] // 2]
