"""Pictures above curves: the right one over the right step, joined to it, and told in the words."""

import io
import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from medgan_lib import figures
from medgan_lib.figures import thumbnails

CURVE = {"loss": torch.linspace(1.0, 0.0, 101)}
BLUE = np.array([0x00, 0x72, 0xB2])  # the first line


def one(colour: tuple[float, float, float], side: int = 8) -> torch.Tensor:
    return torch.tensor(colour).reshape(3, 1, 1).expand(3, side, side)


RED, GREEN, CYAN = one((1, -1, -1)), one((-1, 1, -1)), one((-1, 1, 1))


def pixels(shown: figures.Picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(shown.png)).convert("RGB")).astype(int)


def middle(found: np.ndarray, colour: tuple[int, int, int] | np.ndarray) -> tuple[float, float]:
    """Row and column of the middle of what has that colour."""
    rows, columns = np.nonzero(abs(found - np.asarray(colour)).max(-1) < 12)
    return (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2


def columns_of_lines(found: np.ndarray) -> list[float]:
    """Middles of the thin lines that run down through the axes, which the blue line spans."""
    rows, columns = np.nonzero(abs(found - BLUE).max(-1) < 12)
    inside = found[rows.min() + 3 : rows.max() - 3].max(-1)
    dark = np.nonzero((inside < 200).mean(0) > 0.8)[0]
    dark = dark[dark >= columns.min() - 2]
    return [float(np.mean(run)) for run in np.split(dark, np.nonzero(np.diff(dark) > 1)[0] + 1)]


@pytest.mark.parametrize("more", [{}, {"title": "A title", "ylabel": "loss"}, {"x": np.linspace(0, 1000, 101)}])
def test_each_picture_is_joined_to_its_step(more) -> None:
    scale = 10 if "x" in more else 1
    shown = pixels(figures.curves(
        CURVE, alt="A", thumbnails={90 * scale: CYAN, 10 * scale: RED, 45 * scale: GREEN}, **more
    ))
    _, columns = np.nonzero(abs(shown - BLUE).max(-1) < 12)
    left, right = columns.min(), columns.max()
    wanted = [left + share * (right - left) for share in (0.1, 0.45, 0.9)]
    assert columns_of_lines(shown) == pytest.approx(wanted, abs=3)
    (top, red), (_, green), (_, cyan) = (middle(shown, c) for c in ((255, 0, 0), (0, 255, 0), (0, 255, 255)))
    assert green == pytest.approx(wanted[1], abs=3), "with room, a picture stands over its step"
    assert red < green < cyan and top < np.nonzero(abs(shown - BLUE).max(-1) < 12)[0].min(), "in order, above"


def test_the_axes_keep_their_size() -> None:
    plain, strip = (pixels(figures.curves(CURVE, alt="A", thumbnails=t)) for t in (None, {50: RED}))

    def spans(found):
        return [np.ptp(place) for place in np.nonzero(abs(found - BLUE).max(-1) < 12)]

    assert spans(plain) == pytest.approx(spans(strip), abs=2) and strip.shape[0] > plain.shape[0] + 100


@pytest.mark.parametrize("count", [3, 4, 5, 6])
def test_pictures_do_not_touch_even_where_steps_crowd(count: int) -> None:
    shown = pixels(figures.curves(CURVE, alt="A", thumbnails=dict.fromkeys(range(count), RED)))
    row = shown[round(middle(shown, (255, 0, 0))[0])]
    red = np.nonzero(abs(row - (255, 0, 0)).max(-1) < 12)[0]
    runs = np.split(red, np.nonzero(np.diff(red) > 1)[0] + 1)
    assert len(runs) == count and np.ptp([len(run) for run in runs]) <= 2
    assert min(b[0] - a[-1] for a, b in itertools.pairwise(runs)) > 6 and len(runs[0]) > 60


def test_middles_are_as_near_as_they_can_be() -> None:
    assert thumbnails.spread([2, 5, 8], 2, 0, 10) == [2, 5, 8]
    assert thumbnails.spread([0, 0, 8], 2, 0, 10) == [1, 3, 8]
    assert thumbnails.spread([4, 10, 10], 2, 0, 10) == [4, 7, 9]
    assert thumbnails.spread([5, 5, 5, 5, 5], 2, 0, 10) == [1, 3, 5, 7, 9]


@pytest.mark.parametrize(
    ("shape", "size"),
    [((8, 8), (8, 8)), ((1, 8, 8), (8, 8)), ((3, 8, 6), (8, 6, 3)), ((4, 8, 8), (17, 17)), ((5, 1, 8, 8), (17, 26)),
     ((2, 3, 32, 32), (32, 66, 3)), ((1, 1, 3, 8, 8), (8, 8))],
)
def test_pictures_and_batches_become_tiles(shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    assert thumbnails.tile(torch.zeros(shape), None).shape == size


def test_tiles_show_each_image_at_its_place_in_the_window() -> None:
    levels = torch.tensor([-1.0, 0.0, 1.0, 3.0]).reshape(4, 1, 1, 1).expand(4, 1, 8, 8)
    assert thumbnails.tile(levels, None)[[4, 4, 12, 12], [4, 12, 4, 12]].tolist() == [0, 128, 255, 255]
    assert thumbnails.tile(levels, (-1, 3))[[4, 4, 12, 12], [4, 12, 4, 12]].tolist() == [0, 64, 128, 255]
    assert thumbnails.tile(levels, None)[8].tolist() == [255] * 17, "white between"


def test_the_window_reaches_the_picture() -> None:
    grey = torch.zeros(1, 8, 8)
    dark = pixels(figures.curves(CURVE, alt="A", thumbnails={50: grey}, window=(0, 1)))
    half = pixels(figures.curves(CURVE, alt="A", thumbnails={50: grey}))
    assert (half == 128).all(-1).sum() > 5000 > (dark == 128).all(-1).sum() and (dark == 0).all(-1).sum() > 5000


def test_words_say_how_many_pictures_there_are_and_where() -> None:
    shown = figures.curves(CURVE, alt="The loss falls.", thumbnails={100: RED, 0: RED, 50: RED}, xlabel="epoch")
    assert shown.alt == "The loss falls. Above the curves, 3 small pictures at epoch 0, 50 and 100."
    assert figures.curves(CURVE, alt="It falls", thumbnails={7: RED}, xlabel="").alt == (
        "It falls. Above the curves, 1 small picture at 7."
    )
    assert figures.curves(CURVE, alt="It falls").alt == "It falls"


def test_equal_runs_give_equal_output() -> None:
    first, second = (figures.curves(CURVE, alt="A", thumbnails={3: RED, 60: GREEN}) for _ in range(2))
    assert first._repr_html_() == second._repr_html_()


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        ({}, "between 1 and 6"),
        (dict.fromkeys(range(7), RED), "got 7"),
        ({50: RED, 101: RED, -1: RED}, "at 101, -1, but the curves run from 0 to 100"),
        ({50: torch.zeros(8)}, "expected images"),
        ({50: torch.full((8, 8), torch.nan)}, "not finite"),
    ],
)
def test_what_cannot_be_shown_is_named(pictures, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        figures.curves(CURVE, alt="A", thumbnails=pictures)
