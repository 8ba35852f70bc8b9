"""The bar in a terminal, and the file that others watch."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from trainable import Line, Tiny, images, points

from medgan_lib.training import fit
from medgan_lib.training.progress import watched


def test_progress_file(tmp_path, monkeypatch, capfd):
    path = tmp_path / "progress.json"
    monkeypatch.setenv("MEDGAN_PROGRESS", str(path))
    lines = []

    def read(step, method):
        if path.exists():
            lines.append(json.loads(path.read_text()))

    method = Tiny()
    method.objective = "gan-ma"
    fit(method, images(), steps=6, batch_size=8, every=2, on_snapshot=read)
    lines.append(json.loads(path.read_text()))
    assert lines[-1].keys() == {"label", "step", "steps", "seconds", "left"}
    assert (lines[-1]["label"], lines[-1]["step"], lines[-1]["steps"], lines[-1]["left"]) == ("Tiny gan-ma", 6, 6, 0)
    assert [line["step"] for line in lines] == sorted(line["step"] for line in lines)
    assert list(tmp_path.iterdir()) == [path]
    out, err = capfd.readouterr()
    assert out == err == ""


@pytest.mark.parametrize("target", ["/dev/null", "/nonexistent/folder/progress.json"])
def test_progress_nobody_watches(monkeypatch, target):
    monkeypatch.setenv("MEDGAN_PROGRESS", target)
    fit(Line(), points(), steps=3)
    assert not Path("/dev/null").is_file()


def test_bar_in_a_terminal(monkeypatch, capsys):
    monkeypatch.delenv("MEDGAN_PROGRESS", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    fit(Line(), points(), steps=3)
    assert "3/3" in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    fit(Line(), points(), steps=3)
    assert capsys.readouterr().err == ""


def test_what_is_simulated_is_watched_alike(tmp_path, monkeypatch, capsys):
    path = tmp_path / "progress.json"
    monkeypatch.setenv("MEDGAN_PROGRESS", str(path))
    assert list(watched([3, 1, 2], "simulating", unit="batch", hidden=True)) == [3, 1, 2] and not path.exists()
    assert list(watched([3, 1, 2], "simulating", unit="batch")) == [3, 1, 2]
    line = json.loads(path.read_text())
    assert (line["label"], line["step"], line["steps"], line["left"]) == ("simulating", 3, 3, 0)
    monkeypatch.delenv("MEDGAN_PROGRESS")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(watched(range(2), "simulating", unit="batch", hidden=True)) == [0, 1]
    assert capsys.readouterr().err == ""
    assert list(watched(range(2), "simulating", unit="batch")) == [0, 1]
    assert "simulating" in capsys.readouterr().err


def test_a_large_simulation_shows_itself_and_a_small_one_does_not(tmp_path, monkeypatch):
    from medgan_lib.cohorts.simulated.draws import BATCH, simulated

    monkeypatch.setenv("MEDGAN_PROGRESS", str(tmp_path / "progress.json"))

    def build(subjects):
        return {"i": torch.tensor(list(subjects)), "n": torch.full((len(subjects),), len(subjects))}

    n = 2 * BATCH + 5
    made = simulated("x", n, build, quick=True)
    assert made["i"].tolist() == list(range(n)) and made["n"].tolist() == [BATCH] * 2 * BATCH + [5] * 5
    assert not list(tmp_path.iterdir())
    simulated("x", n, build, quick=False)
    assert json.loads((tmp_path / "progress.json").read_text())["steps"] == 3
