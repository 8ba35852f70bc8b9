"""Diagrams: what is in the words, what stands where, what crosses what, and whether it can be read on both pages."""

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest

from medgan_lib import figures
from medgan_lib.figures import Arrow, Box, diagrams, routes, symbols
from medgan_lib.figures.routes import Rectangle

GAN = (
    {
        "z": Box("noise", "noise", "z", at=(0, 0)),
        "G": Box("generator", "generator", "G", at=(1, 0)),
        "x": Box("data", "real images", "x", at=(1, 1)),
        "D": Box("critic", "discriminator", "D", at=(2, 0.5)),
        "V": Box("loss", "loss", "V", at=(3, 0.5)),
    },
    [Arrow("z", "G"), Arrow("G", "D", "G(z)"), Arrow("x", "D"), Arrow("D", "V"),
     Arrow("V", "G", kind="gradient", bend=-1)],
)
WGAN = (
    {
        "z": Box("noise", "noise", "z", at=(0, 0)),
        "G": Box("generator", "generator", "G", at=(1, 0)),
        "mix": Box("image", "in between", "x̂", at=(1, 1)),
        "x": Box("data", "real images", "x", at=(1, 2)),
        "D": Box("critic", "critic", "D", at=(2, 1)),
        "W": Box("loss", "distance", "W_1", at=(3, 0.5)),
        "P": Box("loss", "penalty", "λ", at=(3, 1.5)),
    },
    [Arrow("z", "G"), Arrow("G", "mix"), Arrow("x", "mix"), Arrow("G", "D", "G(z)"), Arrow("mix", "D"),
     Arrow("x", "D"), Arrow("D", "W"), Arrow("D", "P", "slope"), Arrow("W", "G", kind="gradient", bend=-1)],
)
BIGAN = (
    {
        "z": Box("noise", "noise", "z", at=(0, 0)),
        "G": Box("generator", "generator", "G", at=(1, 0)),
        "x": Box("data", "image", "x", at=(0, 1)),
        "E": Box("encoder", "encoder", "E", at=(1, 1)),
        "D": Box("critic", "discriminator", "D", at=(2, 0.5)),
        "V": Box("loss", "loss", "V", at=(3, 0.5)),
    },
    [Arrow("z", "G"), Arrow("x", "E"), Arrow("G", "D", "G(z), z"), Arrow("E", "D", "x, E(x)"), Arrow("D", "V"),
     Arrow("V", "G", kind="gradient", bend=-1), Arrow("V", "E", kind="gradient", bend=1)],
)
CYCLEGAN = (
    {
        "x": Box("data", "MR images", "x", at=(0, 0)),
        "G": Box("generator", "MR to CT", "G", at=(1, 0)),
        "G(x)": Box("image", "made CT", "G(x)", at=(2, 0)),
        "y": Box("data", "CT images", "y", at=(2, 2)),
        "F": Box("generator", "CT to MR", "F", at=(1, 2)),
        "F(y)": Box("image", "made MR", "F(y)", at=(0, 2)),
        "D_X": Box("critic", "critic of MR", "D_X", at=(0, 1)),
        "D_Y": Box("critic", "critic of CT", "D_Y", at=(2, 1)),
        "cycle": Box("loss", "cycle loss", "L_cyc", at=(1, 1)),
    },
    [Arrow("x", "G"), Arrow("G", "G(x)"), Arrow("y", "F"), Arrow("F", "F(y)"), Arrow("G(x)", "D_Y"),
     Arrow("y", "D_Y"), Arrow("x", "D_X"), Arrow("F(y)", "D_X"), Arrow("G", "cycle", "F(G(x))"),
     Arrow("F", "cycle", "G(F(y))"), Arrow("cycle", "G", kind="gradient"), Arrow("cycle", "F", kind="gradient")],
)
CASES = {"GAN": GAN, "WGAN": WGAN, "BiGAN": BIGAN, "CycleGAN": CYCLEGAN}
ALL = pytest.mark.parametrize(("boxes", "arrows"), CASES.values(), ids=CASES)
# Text and background of the book's theme, and of a notebook's.
PAGES = {"light": ("#222832", "#ffffff"), "dark": ("#ced6dd", "#121212"), "pale": ("#323232", "#ffffff"),
         "black": ("#e0e0e0", "#111111")}


def tree(shown: figures.Diagram) -> ElementTree.Element:
    return ElementTree.fromstring(shown.svg)


def tags(shown: figures.Diagram, name: str) -> list[ElementTree.Element]:
    return list(tree(shown).iter(f"{{http://www.w3.org/2000/svg}}{name}"))


def texts(shown: figures.Diagram) -> list[str]:
    return ["".join(text.itertext()) for text in tags(shown, "text")]


def view(shown: figures.Diagram) -> tuple[float, ...]:
    return tuple(map(float, tree(shown).get("viewBox").split()))


@ALL
def test_words_name_every_arrow_with_both_its_ends(boxes, arrows) -> None:
    shown = figures.diagram(boxes, arrows)
    sentences = shown.alt.removeprefix("Diagram: ").removesuffix(".").split("; ")
    assert len(sentences) == len(arrows)
    for sentence, arrow in zip(sentences, arrows, strict=True):
        start, end = (f"{boxes[key].title} {boxes[key].symbol}" for key in (arrow.start, arrow.end))
        assert sentence.index(start) < sentence.rindex(end) and arrow.label in sentence
        assert ("gradient" in sentence) == (arrow.kind == "gradient")
    assert repr(shown) == f"[diagram: {shown.alt}]"


def test_the_words_of_the_plain_gan() -> None:
    assert figures.diagram(*GAN).alt == (
        "Diagram: an arrow from noise z to the generator G; G(z) from the generator G to the discriminator D; an arrow "
        "from real images x to the discriminator D; an arrow from the discriminator D to the loss V; a gradient from "
        "the loss V back to the generator G."
    )


@ALL
def test_what_is_drawn_can_be_named_and_is_the_same_twice(boxes, arrows) -> None:
    shown, again = figures.diagram(boxes, arrows), figures.diagram(boxes, arrows)
    assert shown._repr_html_() == again._repr_html_()
    root = tree(shown)
    assert root.get("role") == "img" and root.get("aria-label") == shown.alt == tags(shown, "title")[0].text
    assert "<img" not in shown.svg and " id=" not in shown.svg, "two diagrams on a page must not share an id"
    drawn = sorted(texts(shown))
    plain = [symbols.spoken(text).replace("_", "") for box in boxes.values() for text in (box.title, box.symbol)]
    assert drawn == sorted([*plain, *(arrow.label for arrow in arrows if arrow.label), "gradient"])


@ALL
def test_boxes_and_arrows_keep_apart(boxes, arrows) -> None:
    placed = diagrams.place(boxes, arrows)
    assert not [pair for pair in combinations(placed, 2) if placed[pair[0]].overlaps(placed[pair[1]], 8)]
    lines = routes.routes(placed, [(arrow.start, arrow.end, arrow.bend) for arrow in arrows])
    for arrow, line in zip(arrows, lines, strict=True):
        inside = {key for key, box in placed.items() for point in line.points if box.holds(point, -0.5)}
        near = {key for key, box in placed.items() for point in line.points if box.holds(point, 4)}
        assert not inside and near == {arrow.start, arrow.end}
        assert placed[arrow.start].holds(line.points[0], 0.1) and placed[arrow.end].holds(line.points[-1], 0.1)
    meetings = [(i, k) for (i, a), (k, b) in combinations(enumerate(lines), 2) if crossing(a.points, b.points)]
    assert not meetings


def crossing(a, b) -> bool:
    return any(abs(x - u) < 3 and abs(y - v) < 3 for x, y in a for u, v in b)


@ALL
def test_labels_stand_on_nothing(boxes, arrows) -> None:
    shown, placed = figures.diagram(boxes, arrows), diagrams.place(boxes, arrows)
    lines = routes.routes(placed, [(arrow.start, arrow.end, arrow.bend) for arrow in arrows])
    labels = {arrow.label for arrow in arrows if arrow.label}
    spots = []
    for text in tags(shown, "text"):
        if (word := "".join(text.itertext())) in labels and (x := float(text.get("x"))):
            wide, y = symbols.width(word), float(text.get("y"))
            spot = Rectangle(x - wide / 2, y - 14, x + wide / 2, y + 4)
            if not any(box.overlaps(spot) for box in placed.values()):
                spots.append((word, spot))
    assert {word for word, _ in spots} == labels, "a label lies on a box"
    assert not [1 for (_, a), (_, b) in combinations(spots, 2) if a.overlaps(b)]
    assert not [word for word, spot in spots for line in lines if any(spot.holds(point) for point in line.points)]


@ALL
def test_everything_is_inside_and_large_enough_on_a_phone(boxes, arrows) -> None:
    shown = figures.diagram(boxes, arrows)
    left, top, wide, high = view(shown)
    for text in tags(shown, "text"):
        half = symbols.width("".join(text.itertext())) / 2
        x = float(text.get("x")) + (half if text.get("text-anchor") == "start" else 0)
        assert left <= x - half and x + half <= left + wide and top + 14 < float(text.get("y")) < top + high - 4
    sizes = [float(size) for size in re.findall(r'font-size="([\d.]+)"', shown.svg)]
    assert min(sizes) * min(1, 337 / wide) >= 11, "px on a page 400 px wide, which leaves 337 to a figure"


def channels(colour: str) -> list[float]:
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def luminance(rgb: list[float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: list[float], b: list[float]) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("text", "page"), PAGES.values(), ids=PAGES)
def test_text_and_lines_stand_out_on_every_page(text: str, page: str) -> None:
    assert contrast(channels("#000000"), channels("#ffffff")) == pytest.approx(21)
    for kind in diagrams.FILLS:
        shown = figures.diagram({"a": Box(kind, "title", "x", at=(0, 0))}, [])
        (box,) = (path for path in tags(shown, "path") if path.get("fill-opacity"))
        assert box.get("stroke") == "currentColor" and tree(shown).get("fill") == "currentColor"
        fill = box.get("fill").replace("currentColor", text)
        share = float(box.get("fill-opacity"))
        behind = [share * f + (1 - share) * p for f, p in zip(channels(fill), channels(page), strict=True)]
        assert contrast(channels(text), behind) >= 4.5, kind
    assert contrast(channels(diagrams.ACCENT), channels(page)) >= 3


def test_gradients_are_dashed_and_explained() -> None:
    def dashed(shown):
        return [path for path in tags(shown, "path") if path.get("stroke-dasharray")]

    shown = figures.diagram(*GAN)
    assert len(dashed(shown)) == 2 and all(path.get("stroke") == diagrams.ACCENT for path in dashed(shown))
    plain = figures.diagram(GAN[0], [arrow for arrow in GAN[1] if arrow.kind == "forward"])
    assert not dashed(plain) and "gradient" not in texts(plain)


def test_a_generator_opens_along_its_way() -> None:
    def heights(way: int) -> tuple[float, float]:
        boxes = {"z": Box("noise", "z", at=(0, 0)), "G": Box("generator", "G", at=(way, 0))}
        shown = figures.diagram(boxes, [Arrow("z", "G")])
        (path,) = (p for p in tags(shown, "path") if p.get("fill") == diagrams.FILLS["generator"][0])
        _, left, _, right, low_right, _, low_left = map(float, re.findall(r"-?[\d.]+", path.get("d")))
        return low_left - left, low_right - right

    (left, right), (back_left, back_right) = heights(1), heights(-1)
    assert left < right and back_left > back_right


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("p_data", [("p", 0), ("data", 5)]),
        ("D_Y(x)", [("D", 0), ("Y", 5), ("(x)", -5)]),
        ("x_{AB}_1", [("x", 0), ("AB", 5), ("1", 0)]),
        ("x̂", [("x̂", 0)]),
        ("a<b", [("a<b", 0)]),
    ],
)
def test_subscripts_stand_below_and_the_line_comes_back(text: str, shown: list[tuple[str, int]]) -> None:
    outer = ElementTree.fromstring(f"<text>{symbols.tspans(text, 23)}</text>")
    assert [("".join(span.itertext()), int(span.get("dy", 0))) for span in outer] == shown


def test_letters_are_italic_and_words_are_not() -> None:
    italic = re.findall(r'<tspan font-style="italic">([^<]+)', symbols.tspans("log D(x̂), 3 of p_data"))
    assert italic == ["D", "x̂", "p"]


def test_text_is_escaped() -> None:
    boxes = {"a": Box("data", 'a <b> & "c"', "x<y", at=(0, 0)), "b": Box("loss", "b", at=(2, 0))}
    shown = figures.diagram(boxes, [Arrow("a", "b", "<i>")], caption="<u>")
    assert 'a <b> & "c"' in texts(shown) and "<i>" in texts(shown) and 'a <b> & "c" x<y' in shown.alt
    html = shown._repr_html_()
    assert tree(shown).get("aria-label") == shown.alt and "&lt;u&gt;" in html
    assert not re.search(r"<[biu]>|x<y", html)


def test_own_words_and_lonely_boxes() -> None:
    alone = {"a": Box("data", "images", "x", at=(0, 0))}
    assert figures.diagram(alone, []).alt == "Diagram: images x without an arrow."
    assert figures.diagram(alone, [], alt="Mine.", caption="Below.").alt == "Mine."
    with pytest.raises(ValueError, match="alt must say"):
        figures.diagram(alone, [], alt=" ")


@pytest.mark.parametrize(
    ("boxes", "arrows", "message"),
    [
        ({}, [], "at least one box"),
        ({"a": Box("data", "a", at=(0, 0))}, [Arrow("a", "Q")], "needs box Q; there are a"),
        ({"a": Box("data", "a", at=(0, 0))}, [Arrow("a", "a")], "a to itself"),
        ({"a": Box("player", "a", at=(0, 0))}, [], "no kind of box player; there are noise"),
        (GAN[0], [Arrow("z", "G", kind="backward")], "no kind of arrow backward"),
        ({"a": Box("data", "a", at=(0, 0)), "b": Box("data", "b", at=(0, 0.4))}, [], "a and b are on each other"),
        ({k: Box("data", k, at=(i, 0)) for i, k in enumerate("abc")}, [Arrow("a", "c")], "runs through box b"),
        ({k: Box("data", 2 * "discriminator", at=(i, 0)) for i, k in enumerate("abc")}, [], "units wide"),
    ],
)
def test_what_cannot_be_drawn_is_named(boxes, arrows, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        figures.diagram(boxes, arrows)


def test_a_bend_leads_around_a_box() -> None:
    boxes = {key: Box("data", key, at=(i, 0)) for i, key in enumerate("abc")}
    for bend in (-2, -1, 1, 2):
        placed = diagrams.place(boxes, [arrow := Arrow("a", "c", bend=bend)])
        figures.diagram(boxes, [arrow])
        (line,) = routes.routes(placed, [("a", "c", bend)])
        middle = line.points[len(line.points) // 2][1]
        assert middle == pytest.approx((placed["a"].bottom if bend > 0 else placed["a"].top) + bend * routes.LANE)
