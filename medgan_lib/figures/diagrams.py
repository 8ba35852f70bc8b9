"""Diagrams of who plays against whom: boxes on a grid and arrows between them, as SVG for light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from html import escape

from medgan_lib.figures import routes
from medgan_lib.figures.pictures import caption_text, check_alt, figcaption_tag
from medgan_lib.figures.routes import GAP, HEAD, HEIGHT, Rectangle, Route
from medgan_lib.figures.style import PALETTE
from medgan_lib.figures.symbols import SIZE, spoken, tspans, width

# Colour and opacity of what fills a box: thin enough that the page's own text stays readable on it, light or dark.
FILLS = {
    "noise": (PALETTE[4], 0.35),
    "data": (PALETTE[2], 0.35),
    "image": (PALETTE[2], 0.17),
    "generator": (PALETTE[0], 0.35),
    "critic": (PALETTE[1], 0.35),
    "encoder": (PALETTE[3], 0.35),
    "classifier": (PALETTE[5], 0.35),
    "loss": ("currentColor", 0.08),
}
ACCENT = PALETTE[1]  # of gradients; it stands out from white and from a dark page
WIDEST = 550  # units: a page 400 px wide leaves 337 px to a figure, so that text has 11 px at least
SYMBOL = 23  # units
MARGIN = 2  # units around everything, for the thickness of lines
PAD = 9  # units between the text of a box and its sides
DASH = "6 4"
SLOPE = 4.5  # units by which a network is higher at its open side


@dataclass(frozen=True)
class Box:
    """Something of a diagram: ``kind`` decides shape and colour, ``title`` says what it is, ``symbol`` its letter.

    ``kind``: "noise", "data", "image", "generator", "critic", "encoder", "classifier" or "loss". ``symbol``: as in
    formulas, ``p_data`` with a subscript. ``at``: (column, row), from the left and from the top; 0.5 is half way.
    """

    kind: str
    title: str
    symbol: str = ""
    _: KW_ONLY
    at: tuple[float, float]


@dataclass(frozen=True)
class Arrow:
    """From one box to another, by their keys, with what flows as ``label`` (a symbol, or words).

    ``kind``: "forward", or "gradient", which is dashed. ``bend``: 0 for the direct way; -1 runs above the two boxes
    and 1 below them, -2 and 2 further away.
    """

    start: str
    end: str
    label: str = ""
    kind: str = "forward"
    bend: float = 0


@dataclass(frozen=True, repr=False)
class Diagram:
    """An SVG in the colours of the page around it, with what it shows in words; shows itself as an HTML figure."""

    svg: str
    alt: str
    caption: str = ""

    def _repr_html_(self) -> str:
        return (
            '<figure class="medgan-figure" style="margin:1em 0;padding:0;text-align:center">'
            f"{self.svg}{figcaption_tag(self.caption)}</figure>"
        )

    def __repr__(self) -> str:
        return f"[diagram: {self.alt}]"


def diagram(
    boxes: Mapping[str, Box], arrows: Sequence[Arrow], *, alt: str | None = None, caption: str | None = None
) -> Diagram:
    """Who plays against whom: ``boxes`` by their keys, on a grid, and ``arrows`` between keys.

    ``alt``: what one sees in words; made from boxes and arrows where it is not given. Raises ValueError for no box,
    an unknown kind, an arrow from or to a box that isn't there, boxes on each other, an arrow through a box, more
    columns than can be read on a phone (about four) and empty alt.
    """
    check(boxes, arrows)
    alt = words(boxes, arrows) if alt is None else alt
    check_alt(alt)
    placed = place(boxes, arrows)
    return Diagram(draw(boxes, arrows, placed, alt), alt, caption_text(caption))


def check(boxes: Mapping[str, Box], arrows: Sequence[Arrow]) -> None:
    if not boxes:
        raise ValueError("a diagram needs at least one box")
    if unknown := [box.kind for box in boxes.values() if box.kind not in FILLS]:
        raise ValueError(f"no kind of box {', '.join(unknown)}; there are {', '.join(FILLS)}")
    for arrow in arrows:
        if missing := [key for key in (arrow.start, arrow.end) if key not in boxes]:
            raise ValueError(f"an arrow needs box {', '.join(missing)}; there are {', '.join(boxes)}")
        if arrow.start == arrow.end:
            raise ValueError(f"an arrow from {arrow.start} to itself")
        if arrow.kind not in ("forward", "gradient"):
            raise ValueError(f"no kind of arrow {arrow.kind}; there are forward, gradient")


def words(boxes: Mapping[str, Box], arrows: Sequence[Arrow]) -> str:
    """The diagram in words: every arrow with both its ends and what flows, then the boxes without an arrow."""
    def name(key: str) -> str:
        box = boxes[key]
        article = "" if box.kind in ("noise", "data", "image") else "the "
        return f"{article}{box.title}" + (f" {spoken(box.symbol)}" if box.symbol else "")

    parts = []
    for arrow in arrows:
        start, end, label = name(arrow.start), name(arrow.end), spoken(arrow.label)
        if arrow.kind == "gradient":
            parts.append(f"a gradient{f' ({label})' if label else ''} from {start} back to {end}")
        else:
            parts.append(f"{label or 'an arrow'} from {start} to {end}")
    used = {key for arrow in arrows for key in (arrow.start, arrow.end)}
    parts += [f"{name(key)} without an arrow" for key in boxes if key not in used]
    return f"Diagram: {'; '.join(parts)}."


def place(boxes: Mapping[str, Box], arrows: Sequence[Arrow]) -> dict[str, Rectangle]:
    """The rectangle of each box, in units; columns are as far apart as the labels between them need."""
    widths = {
        key: 2 * PAD + max(width(box.title), width(box.symbol, SYMBOL), 28) + 12 * (box.kind == "loss")
        for key, box in boxes.items()
    }
    gaps: dict[int, float] = {}
    for arrow in arrows:
        (x0, y0), (x1, y1) = sorted((boxes[arrow.start].at, boxes[arrow.end].at))
        if arrow.label and not arrow.bend and math.floor(x1) - math.floor(x0) == 1:
            # Above a level arrow there is no more room than between the columns, beside a steep one there is.
            needed = width(arrow.label) + HEAD + 12 if y0 == y1 else width(arrow.label) / 2 + GAP
            gaps[math.floor(x0)] = max(gaps.get(math.floor(x0), GAP), needed)
    placed = routes.grid({key: box.at for key, box in boxes.items()}, widths, gaps)
    for key, box in placed.items():
        for other, another in placed.items():
            if key < other and box.overlaps(another):
                raise ValueError(f"boxes {key} and {other} are on each other: give them another place with at=")
    return placed


def draw(boxes: Mapping[str, Box], arrows: Sequence[Arrow], placed: Mapping[str, Rectangle], alt: str) -> str:
    """The SVG: arrows, boxes on top, labels, and what dashes mean."""
    lines = routes.routes(placed, [(arrow.start, arrow.end, arrow.bend) for arrow in arrows])
    for arrow, line in zip(arrows, lines, strict=True):
        if through := routes.crossed(line, placed):
            raise ValueError(
                f"the arrow from {arrow.start} to {arrow.end} runs through box {through}: "
                "move a box, or let the arrow go around with bend=-1 or bend=1"
            )
    labels: list[Rectangle] = []
    texts = []
    for arrow, line in zip(arrows, lines, strict=True):
        if arrow.label:
            spot = routes.label_place(line, width(arrow.label), SIZE, placed.values(), lines, labels)
            labels.append(spot)
            texts.append(_text(arrow.label, spot.centre[0], spot.bottom - 4))
    ways = {key: _facing(key, arrows, placed) for key in boxes}
    left, top, right, bottom = _extent(
        [*labels, *(_with_stack(box, placed[key], ways[key]) for key, box in boxes.items()),
         *(Rectangle(x - 6, y - 6, x + 6, y + 6) for line in lines for x, y in line.points[1:-1])]
    )
    legend = ""
    if any(arrow.kind == "gradient" for arrow in arrows):
        bottom += 32
        legend = _line(Route(f"M{left + 8:g},{bottom - 12:g}h52", ((left + 60, bottom - 12),), 0.0), "gradient")
        legend += _text("gradient", left + 72, bottom - 6, anchor="start")
    wide, high = right - left, bottom - top
    if wide > WIDEST:
        raise ValueError(
            f"the diagram is {wide:.0f} units wide, and a phone shows the text of {WIDEST} at most: "
            "use fewer columns and more rows, or shorter titles and labels"
        )
    name = escape(alt, quote=True)
    return (
        f'<svg role="img" aria-label="{name}" viewBox="{left:.1f} {top:.1f} {wide:.1f} {high:.1f}"'
        f' xmlns="http://www.w3.org/2000/svg" style="width:100%;max-width:{wide:.1f}px;height:auto" font-size="{SIZE}"'
        f' fill="currentColor" stroke="none"><title>{escape(alt)}</title>'
        + "".join(_line(line, arrow.kind) for arrow, line in zip(arrows, lines, strict=True))
        + "".join(_box(box, placed[key], ways[key]) for key, box in boxes.items())
        + "".join(texts) + legend + "</svg>"
    )


def _extent(parts: Sequence[Rectangle]) -> tuple[float, float, float, float]:
    return (
        min(part.left for part in parts) - MARGIN, min(part.top for part in parts) - MARGIN,
        max(part.right for part in parts) + MARGIN, max(part.bottom for part in parts) + MARGIN,
    )


def _with_stack(box: Box, spot: Rectangle, facing: int) -> Rectangle:
    if box.kind != "data":
        return Rectangle(spot.left, spot.top - SLOPE, spot.right, spot.bottom + SLOPE)
    near, far = (8, 0) if facing >= 0 else (0, 8)
    return Rectangle(spot.left - near, spot.top - 8, spot.right + far, spot.bottom)


def _facing(key: str, arrows: Sequence[Arrow], placed: Mapping[str, Rectangle]) -> int:
    """1 where what flows through a box runs to the right, -1 to the left, 0 up or down."""
    ways = [placed[a.end].centre[0] - placed[a.start].centre[0] for a in arrows
            if a.kind == "forward" and key in (a.start, a.end)]
    return (sum(ways) > 1) - (sum(ways) < -1)


def _box(box: Box, spot: Rectangle, facing: int) -> str:
    colour, opacity = FILLS[box.kind]
    x, (_, middle) = spot.centre[0], spot.centre
    behind = ""
    if box.kind == "data":  # a stack, for there are many, behind where arrows leave
        near, far, way = (spot.left, spot.right, -1) if facing >= 0 else (spot.right, spot.left, 1)
        behind = "".join(
            f'<path d="M{far + way * d:g},{spot.top - d + 4:g}V{spot.top - d:g}H{near + way * d:g}V{spot.bottom - d:g}'
            f'h{-4 * way}" fill="none" stroke="currentColor" stroke-width="1.5"/>' for d in (4, 8)
        )
    text = _text(box.title, x, middle + 6, upright=True)
    if box.symbol:
        text = _text(box.title, x, middle - 7, upright=True) + _text(box.symbol, x, middle + 21, SYMBOL)
    return (
        f'{behind}<path d="{_outline(box.kind, spot, facing)}" fill="{colour}" fill-opacity="{opacity}"'
        f' stroke="currentColor" stroke-width="1.5" stroke-linejoin="round"/>{text}'
    )


def _outline(kind: str, spot: Rectangle, facing: int) -> str:
    """Noise is round at its ends, a loss pointed; a generator opens and what judges or encodes closes along its way."""
    left, top, right, bottom = spot.left, spot.top, spot.right, spot.bottom
    if kind == "noise":
        r = HEIGHT / 2.5
        return (f"M{left + r:g},{top:g}H{right - r:g}a{r:g},{r:g} 0 0 1 {r:g},{r:g}V{bottom - r:g}"
                f"a{r:g},{r:g} 0 0 1 {-r:g},{r:g}H{left + r:g}a{r:g},{r:g} 0 0 1 {-r:g},{-r:g}V{top + r:g}"
                f"a{r:g},{r:g} 0 0 1 {r:g},{-r:g}Z")
    if kind == "loss":
        y = (top + bottom) / 2
        return (f"M{left:g},{y:g}L{left + 10:g},{top:g}H{right - 10:g}"
                f"L{right:g},{y:g}L{right - 10:g},{bottom:g}H{left + 10:g}Z")
    # Half of the slope outside: what arrives in the middle of a side touches it.
    slope = SLOPE * facing * {"generator": 1, "critic": -1, "encoder": -1, "classifier": -1}.get(kind, 0)
    return (f"M{left:g},{top + slope:g}L{right:g},{top - slope:g}"
            f"V{bottom + slope:g}L{left:g},{bottom - slope:g}Z")


def _line(route: Route, kind: str) -> str:
    colour, dash = (ACCENT, f' stroke-dasharray="{DASH}"') if kind == "gradient" else ("currentColor", "")
    x, y = route.points[-1]
    head = "".join(
        f"{'L' if i else 'M'}{x + r * math.cos(route.angle + turn):.1f},{y + r * math.sin(route.angle + turn):.1f}"
        for i, (r, turn) in enumerate(((0.0, 0.0), (HEAD, math.pi - 0.42), (HEAD, math.pi + 0.42)))
    )
    return (
        f'<path d="{route.path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
        f'<path d="{head}Z" fill="{colour}"/>'
    )


def _text(text: str, x: float, y: float, size: float = SIZE, *, anchor: str = "middle", upright: bool = False) -> str:
    inside = escape(text) if upright else tspans(text, size)
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{inside}</text>'
