"""Figures: alt text, equal HTML in equal runs, honest captions, right pixels, small players."""

import base64
import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from medgan_lib import figures
from medgan_lib.figures import pictures, plots

ALT = "What one sees"
X = torch.linspace(-1, 1, 10 * 16 * 16).reshape(10, 1, 16, 16)


def cohort(**more):
    facts = {"name": "nodules", "origin": "embedded", "note": "simulated lung", "spacing": (0.5, 0.5),
             "units": {"x": "HU"}, "window": {"x": (-1000.0, 400.0)}}
    return SimpleNamespace(**{**facts, **more})


def pixels(picture: figures.Picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.png)).convert("L"))


def a_figure():
    figure, axis = figures.subplots()
    axis.plot([0, 1], [1, 0])
    return figure


MAKERS = {
    "picture": lambda alt: figures.picture(a_figure(), alt=alt),
    "samples": lambda alt: figures.samples(X, alt=alt, cohort=cohort()),
    "compare": lambda alt: figures.compare({"real": X[:4], "fake": X[4:8]}, alt=alt, columns="abcd", cohort=cohort()),
    "curves": lambda alt: figures.curves({"a": torch.randn(3, 50, generator=torch.manual_seed(0))}, alt=alt, smooth=5),
    "player": lambda alt: figures.player([X, -X, X / 2], alt=alt, labels=[1, 2, 3], cohort=cohort()),
    "quiz": lambda alt: figures.quiz(X[:4], X[4:7], alt=alt, cohort=cohort(), observer=0.75),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_every_figure_needs_alt_text(make) -> None:
    for alt in ("", "  ", None):
        with pytest.raises(ValueError, match="alt must say"):
            make(alt)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_equal_runs_give_equal_output(make) -> None:
    first, second = make(ALT), make(ALT)
    assert first._repr_html_() == second._repr_html_()
    assert repr(first) == repr(second) and " at 0x" not in repr(first)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_pictures_carry_alt_text_and_nothing_else(make) -> None:
    html = make('a "quoted" <b>')._repr_html_()
    for image in re.findall(r"<img [^>]+>", html):
        assert 'alt="a &quot;quoted&quot; &lt;b&gt;' in image
        data = base64.b64decode(re.search(r"base64,([^\"]+)", image)[1])
        assert not Image.open(io.BytesIO(data)).info.keys() & {"Software", "date", "Creation Time"}
        assert "max-width:100%" in image
    assert not re.search(r'(src|href)="(?!data:)', html), "a figure must not load anything"


def test_pixels_show_the_window() -> None:
    levels = torch.tensor([-2.0, -1.0, 0.0, 1.0]).reshape(4, 1, 1, 1).expand(4, 1, 8, 8)
    shown = pixels(figures.samples(levels, alt=ALT))
    zoom = shown.shape[0]
    starts = [shown[zoom // 2, i * (zoom + 3) + zoom // 2] for i in range(4)]
    assert starts == [0, 0, 128, 255]
    half = figures.samples(torch.zeros(1, 1, 8, 8), alt=ALT, window=(0, 10))
    assert pixels(half).max() == 0


def test_colour_stays_and_volumes_show_their_middle() -> None:
    red = torch.tensor([1.0, -1.0, -1.0]).reshape(1, 3, 1, 1).expand(1, 3, 8, 8)
    image = Image.open(io.BytesIO(figures.samples(red, alt=ALT).png)).convert("RGB")
    assert image.getpixel((5, 5)) == (255, 0, 0)
    volume = -torch.ones(1, 1, 5, 8, 8)
    volume[:, :, 2] = 1
    assert pixels(figures.samples(volume, alt=ALT)).min() == 255


@pytest.mark.parametrize(("spacing", "scale", "millimetres"), [(0.5, None, 2), (1.0, 10, 10), (0.07, None, 0.2)])
def test_scale_bar_has_its_length(spacing: float, scale: float | None, millimetres: float) -> None:
    white, about = torch.ones(1, 1, 16, 16), cohort(spacing=(spacing, spacing))
    shown = pixels(figures.samples(white, alt=ALT, cohort=about, scale_mm=scale))
    zoom = 672 // 16
    strip = shown[16 * zoom :]
    bar = (strip[strip.shape[0] // 2][: int(millimetres / spacing * zoom) + 8] < 128).sum()
    assert bar == pytest.approx(millimetres / spacing * zoom, abs=2)


def test_caption_says_where_images_come_from() -> None:
    html = figures.samples(X, alt=ALT, cohort=cohort(), caption="Trained <well>.")._repr_html_()
    assert "Trained &lt;well&gt;." in html and "Embedded data, not patients: nodules; simulated lung" in html
    assert "-1000 to 400 HU" in html
    assert "Real data: lung_nodules" in figures.origin(cohort(name="lung_nodules", origin="real"))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(3), "expected images"),
        (torch.zeros(0, 1, 8, 8), "expected images"),
        (torch.zeros(2, 2, 8, 8), "expected images"),
        (torch.full((1, 1, 8, 8), float("nan")), "not finite"),
    ],
)
def test_bad_images_are_named(x: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        figures.samples(x, alt=ALT)


def test_bad_requests_are_named() -> None:
    with pytest.raises(ValueError, match="window"):
        figures.samples(X, alt=ALT, window=(1, 1))
    with pytest.raises(ValueError, match="equally many"):
        figures.compare({"a": X[:3], "b": X[:2]}, alt=ALT)
    with pytest.raises(ValueError, match="no history loss; there are: loss_D"):
        figures.curves({"loss_D": torch.zeros(5)}, alt=ALT, keys=["loss"])
    with pytest.raises(ValueError, match="at least one frame"):
        figures.player([], alt=ALT, labels=[])
    with pytest.raises(ValueError, match="2 frames, 1 labels"):
        figures.player([X, X], alt=ALT, labels=["a"])
    with pytest.raises(ValueError, match="fps"):
        figures.player([X], alt=ALT, labels=["a"], fps=0)
    with pytest.raises(ValueError, match="sizes would tell"):
        figures.quiz(X, X[..., :8], alt=ALT)
    with pytest.raises(ValueError, match="observer is a share"):
        figures.quiz(X, X, alt=ALT, observer=75)


def test_moving_average_keeps_a_constant() -> None:
    assert np.allclose(plots._moving_average(np.full(20, 3.0), 7), 3)
    ramp = plots._moving_average(np.arange(20.0), 5)
    assert np.allclose(ramp[2:-2], np.arange(20.0)[2:-2])


def test_player_takes_every_kind_of_frame_on_one_canvas() -> None:
    grid = figures.samples(X, alt="x")
    frames = [X[0, 0], X[0], X, X[0, 0].numpy(), a_figure(), grid, grid.png]
    player = figures.player(frames, alt=ALT, labels=range(len(frames)))
    sizes = {Image.open(io.BytesIO(frame.png)).size for frame in player.frames}
    assert len(sizes) == 1
    html = player._repr_html_()
    assert html.count("<img ") == len(frames) and html.count(" hidden") == len(frames) - 1
    assert 'aria-valuetext="6"' in html, "it opens on the last frame"
    assert " id=" not in html, "two equal players on a page must not share an id"


def test_player_stays_light() -> None:
    noise = torch.rand(16, 16, 1, 32, 32, generator=torch.manual_seed(0)) * 2 - 1
    assert len(figures.player(list(noise), alt=ALT, labels=range(16))._repr_html_()) < 400_000


def test_a_quiz_shows_each_image_once_and_knows_which_is_real() -> None:
    shown = figures.quiz(X[:6], X[6:], alt=ALT, window=(-1, 1))
    wanted = {pictures.as_bytes(image, None).tobytes(): i < 6 for i, image in enumerate(X.numpy())}
    found = [np.asarray(Image.open(io.BytesIO(picture.png))).tobytes() for picture in shown.pictures]
    assert sorted(found) == sorted(wanted), "every image once, pixel by pixel"
    assert [wanted[image] for image in found] == list(shown.real)
    assert sorted(shown.real) != list(shown.real), "the order tells nothing"
    assert figures.quiz(X[:6], X[6:], alt=ALT, seed=1).real != shown.real
    html = shown._repr_html_()
    assert "data-buttons hidden" in html and "<summary>Answers</summary>" in html, "without a script, a sheet"
    assert not re.search(r'alt="[^"]*(real|generated)', html), "the text of an image must not tell what it is"


def test_players_differ_by_content() -> None:
    def name(player):
        return re.search(r'data-player="(\w+)"', player._repr_html_())[1]

    one = figures.player([X, -X], alt=ALT, labels="ab")
    assert name(one) != name(figures.player([X, -X], alt=ALT, labels="ac"))
    assert name(one) != name(figures.player([-X, X], alt=ALT, labels="ab"))


def test_a_pyplot_figure_is_shown_once() -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, _ = pyplot.subplots()
    figures.picture(figure, alt=ALT)
    assert not pyplot.get_fignums(), "an open figure would be shown a second time by the notebook"
