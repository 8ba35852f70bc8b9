"""Tables: rounded, best marked, readable as text and as HTML."""

import re

import numpy as np
import pytest
import torch

from medgan_lib import figures

ROWS = {
    "mean image": {"error (HU)": 242.04, "Dice": 0.5},
    "L1 & <adversary>": {"error (HU)": torch.tensor(83.96), "Dice": np.float32(0.912), "note": "one seed"},
    "CycleGAN": {"error (HU)": 84.04, "Dice": None},
}


def test_numbers_are_rounded_and_the_best_is_marked() -> None:
    made = figures.table(ROWS, formats={"Dice": ".2f"}, best={"error (HU)": "low", "Dice": "high"}, caption="Held out.")
    assert repr(made).splitlines() == [
        "Held out.",
        "                  error (HU)   Dice      note",
        "mean image               242   0.50         –",
        "L1 & <adversary>         84*  0.91*  one seed",
        "CycleGAN                 84*      –         –",
    ]  # 83.96 and 84.04 are the same number as they are shown


def test_the_html_is_accessible_and_escaped() -> None:
    html = figures.table(ROWS, best={"Dice": "high"}, caption="Held out.")._repr_html_()
    assert html.count('scope="row"') == 3 and html.count('scope="col"') == 3
    assert "L1 &amp; &lt;adversary&gt;" in html and "<strong>0.912</strong>" in html
    assert html.index("<p") < html.index('tabindex="0"') < html.index("<table")  # a caption is no part of what scrolls
    assert len(re.findall("<td[ >]", html)) == 1 + 9


def test_the_highest_is_not_the_lowest() -> None:
    rows = {"a": {"x": -1.0}, "b": {"x": 2.0}, "c": {"x": float("nan")}}
    for way, marked in (("low", {(0, 0)}), ("high", {(1, 0)})):
        assert figures.table(rows, best={"x": way}).best == marked


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ({}, {}, "needs a row"),
        ({"a": {}}, {}, "needs a row"),
        ({"a": {"x": 1}}, {"formats": {"y": ".2f"}}, "no column y; there are x"),
        ({"a": {"x": 1}}, {"best": {"x": "best"}}, "must be 'low' or 'high'"),
    ],
)
def test_what_makes_no_table_is_refused(rows, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        figures.table(rows, **options)


def test_numbers_of_all_kinds_read_well() -> None:
    values = [12345.4, -0.0001, np.float32("nan"), torch.tensor(float("nan")), 0.01234, 3]
    made = figures.table({"a": dict(zip("uvwxyz", values, strict=True))}, formats={"v": ".2f"})
    assert made.rows == (("a", ("12345", "0.00", "–", "–", "0.0123", "3")),)


def test_short_times_say_no_more_than_that():
    """Two runs of a few seconds look alike, however busy the machine was; longer ones are numbers."""
    rows = {"a": {"seconds": 0.4, "Tflop": 0.4}, "b": {"seconds": 9.99}, "c": {"seconds": 12.3}, "d": {"seconds": None}}
    shown = str(figures.table(rows, formats={"seconds": ".0f"}))
    assert shown.count("< 10") == 2 and " 12" in shown and "0.4" in shown
    again = {"a": {"seconds": 1.4, "Tflop": 0.4}, "b": {"seconds": 0.0}, "c": {"seconds": 12.3}, "d": {"seconds": None}}
    assert shown == str(figures.table(again, formats={"seconds": ".0f"}))
    assert "&lt; 10" in figures.table(rows)._repr_html_()
