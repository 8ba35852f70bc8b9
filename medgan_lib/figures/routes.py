"""Where the boxes of a diagram stand and where its arrows run: a grid, its gaps, curves between the sides of boxes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Point = tuple[float, float]

HEIGHT = 66  # units of a box
ROW = 112  # units from one row to the next
LANE = 34  # units between the boxes and a bent arrow, for each unit of its bend
GAP = 40  # units between two columns at least
HEAD = 11  # units that the head of an arrow is long
STEP = 26  # units between arrows on one side of a box at most
_SAMPLES = 48


@dataclass(frozen=True)
class Rectangle:
    """Left, top, right, bottom in units."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def centre(self) -> Point:
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def overlaps(self, other: Rectangle, margin: float = 0.0) -> bool:
        return (
            self.left < other.right + margin and other.left < self.right + margin
            and self.top < other.bottom + margin and other.top < self.bottom + margin
        )

    def holds(self, point: Point, margin: float = 0.0) -> bool:
        x, y = point
        return self.left - margin < x < self.right + margin and self.top - margin < y < self.bottom + margin


@dataclass(frozen=True)
class Route:
    """The SVG path of an arrow, points along it, and the direction in which it arrives (radians)."""

    path: str
    points: tuple[Point, ...]
    angle: float


def grid(
    places: Mapping[str, Point], widths: Mapping[str, float], gaps: Mapping[int, float]
) -> dict[str, Rectangle]:
    """Boxes on the grid: columns as wide as their widest box, ``gaps`` units wide between one and the next.

    A place between two columns or rows is between their middles.
    """
    columns = range(math.floor(min(x for x, _ in places.values())), math.ceil(max(x for x, _ in places.values())) + 1)
    middles, right = {}, 0.0
    for column in columns:
        wide = max((widths[key] for key, (x, _) in places.items() if x == column), default=0.0)
        left = right + (gaps.get(column - 1, GAP) if column > columns[0] else 0.0)
        middles[column], right = left + wide / 2, left + wide
    boxes = {}
    for key, (column, row) in places.items():
        low, share = math.floor(column), column - math.floor(column)
        x = middles[low] + (share * (middles[low + 1] - middles[low]) if share else 0.0)
        y, half = row * ROW, widths[key] / 2
        boxes[key] = Rectangle(x - half, y - HEIGHT / 2, x + half, y + HEIGHT / 2)
    return boxes


def sides(start: Rectangle, end: Rectangle, bend: float) -> tuple[str, str]:
    """The side on which an arrow leaves its start and the one on which it enters its end."""
    if bend:
        return ("top", "top") if bend < 0 else ("bottom", "bottom")
    if start.right < end.left:
        return "right", "left"
    if end.right < start.left:
        return "left", "right"
    return ("bottom", "top") if start.bottom < end.top else ("top", "bottom")


def routes(boxes: Mapping[str, Rectangle], arrows: Sequence[tuple[str, str, float]]) -> list[Route]:
    """One route for each arrow (start, end, bend); arrows on one side of a box stand side by side."""
    ends: dict[tuple[str, str], list[tuple[float, int, int]]] = {}
    for i, (start, end, bend) in enumerate(arrows):
        leaves, enters = sides(boxes[start], boxes[end], bend)
        for which, (key, side, other) in enumerate(((start, leaves, end), (end, enters, start))):
            # In the order of what is at their other ends, so that they do not cross.
            there = boxes[other].centre[0 if side in ("top", "bottom") else 1]
            ends.setdefault((key, side), []).append((there, i, which))
    ports: dict[tuple[int, int], Point] = {}
    for (key, side), found in ends.items():
        for rank, (_, i, which) in enumerate(sorted(found)):
            ports[i, which] = _port(boxes[key], side, rank - (len(found) - 1) / 2, len(found))
    made = []
    for i, (start, end, bend) in enumerate(arrows):
        first, last = ports[i, 0], ports[i, 1]
        if bend:
            made.append(_over(first, last, bend, boxes[start], boxes[end]))
        else:
            made.append(_curve(first, last, sides(boxes[start], boxes[end], 0)[0] in ("left", "right")))
    return made


def _port(box: Rectangle, side: str, rank: float, count: int) -> Point:
    """A place on a side, ``rank`` steps from its middle; equal steps on all boxes keep parallel arrows straight."""
    x, y = box.centre
    if side in ("left", "right"):
        step = min(STEP, (box.bottom - box.top) / (count + 1))
        return (box.left if side == "left" else box.right), y + rank * step
    step = min(STEP, (box.right - box.left) / (count + 1))
    return x + rank * step, (box.top if side == "top" else box.bottom)


def _curve(first: Point, last: Point, sideways: bool) -> Route:
    """A line that leaves and arrives at right angles to the sides of the boxes."""
    (x0, y0), (x1, y1) = first, last
    pull = ((x1 - x0) / 2, 0.0) if sideways else (0.0, (y1 - y0) / 2)
    a, b = (x0 + pull[0], y0 + pull[1]), (x1 - pull[0], y1 - pull[1])
    points = tuple(_bezier(first, a, b, last, k / _SAMPLES) for k in range(_SAMPLES + 1))
    path = f"M{_at(first)}C{_at(a)} {_at(b)} {_at(last)}"
    return Route(path, points, math.atan2(pull[1], pull[0]))


def _over(first: Point, last: Point, bend: float, start: Rectangle, end: Rectangle) -> Route:
    """Up from the one box (down for a positive bend), along, and back to the other, with round corners."""
    (x0, y0), (x1, y1) = first, last
    y = (max(start.bottom, end.bottom) if bend > 0 else min(start.top, end.top)) + bend * LANE
    radius = min(12.0, abs(x1 - x0) / 2, abs(y - y0), abs(y1 - y))
    across, along = math.copysign(radius, y - y0), math.copysign(radius, x1 - x0)
    path = (
        f"M{_at(first)}V{y - across:g}Q{_at((x0, y))} {_at((x0 + along, y))}"
        f"H{x1 - along:g}Q{_at((x1, y))} {_at((x1, y - across))}V{y1:g}"
    )
    points = [*_line(first, (x0, y)), *_line((x0, y), (x1, y)), *_line((x1, y), last)]
    return Route(path, tuple(points), math.copysign(math.pi / 2, -bend))


def _line(first: Point, last: Point) -> Iterable[Point]:
    for k in range(_SAMPLES + 1):
        share = k / _SAMPLES
        yield first[0] + share * (last[0] - first[0]), first[1] + share * (last[1] - first[1])


def _bezier(p: Point, a: Point, b: Point, q: Point, t: float) -> Point:
    s = 1 - t
    x, y = (s**3 * p[k] + 3 * s * s * t * a[k] + 3 * s * t * t * b[k] + t**3 * q[k] for k in (0, 1))
    return x, y


def _at(point: Point) -> str:
    return f"{round(point[0], 1):g},{round(point[1], 1):g}"


def crossed(route: Route, boxes: Mapping[str, Rectangle]) -> str | None:
    """The first box through which a route runs; it may touch those where it starts and ends."""
    for key, box in boxes.items():
        if any(box.holds(point, -1) for point in route.points):
            return key
    return None


def label_place(
    route: Route, wide: float, high: float, boxes: Iterable[Rectangle], lines: Iterable[Route], taken: list[Rectangle]
) -> Rectangle:
    """Where a label of that size stands beside its arrow: near the middle, and on nothing else if that is possible."""
    boxes, points = list(boxes), [point for line in lines for point in line.points]
    best, fewest = None, math.inf
    for share in (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1, 0.9):
        k = round(share * (len(route.points) - 1))
        (x0, y0), (x1, y1) = route.points[max(0, k - 1)], route.points[min(len(route.points) - 1, k + 1)]
        length = math.hypot(x1 - x0, y1 - y0) or 1.0
        normal = (y1 - y0) / length, -(x1 - x0) / length
        if normal[1] > 0 or (normal[1] == 0 and normal[0] < 0):  # above its arrow first, or on the right
            normal = -normal[0], -normal[1]
        away = abs(normal[0]) * wide / 2 + abs(normal[1]) * high / 2 + 6
        for sign in (1, -1):
            x, y = route.points[k][0] + sign * normal[0] * away, route.points[k][1] + sign * normal[1] * away
            place = Rectangle(x - wide / 2, y - high / 2, x + wide / 2, y + high / 2)
            clashes = 10 * sum(place.overlaps(box, 8) for box in [*boxes, *taken])
            clashes += sum(place.holds(point, 2) for point in points)
            if clashes < fewest:
                best, fewest = place, clashes
    assert best is not None
    return best
