"""The benchmarks compare like with like: textbook networks are the library's functions, variants make the same step."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

from medgan_lib.methods.cyclegan import CycleGAN
from medgan_lib.methods.translation import Pix2Pix


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    monkeypatch.delitem(sys.modules, "translate", raising=False)
    yield importlib.import_module("translate")
    for name in ("translate", "common"):
        sys.modules.pop(name, None)


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    yield importlib.import_module("gpu")
    for name in ("gpu", "common"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan"])
def test_the_plain_networks_are_the_same_functions_with_the_same_gradients(bench, name):
    players = getattr(bench, f"{name}_players")
    for plain, ours in zip(players(4, plain=True), players(4), strict=True):
        with torch.no_grad():  # biases and norms as after training: at 0 and 1 a swap would not show
            for parameter in ours.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
        bench.copied(plain, ours)
        x = torch.rand(3, next(ours.parameters()).shape[1], 32, 32) * 2 - 1
        theirs, mine = plain(x), ours(x)
        assert torch.allclose(theirs.reshape(mine.shape), mine, atol=1e-4)
        theirs.square().mean().backward()
        mine.square().mean().backward()
        for a, b in zip(plain.parameters(), ours.parameters(), strict=True):
            assert torch.allclose(a.grad, b.grad, atol=1e-4)


@pytest.mark.parametrize("name, kind", [("pix2pix", Pix2Pix), ("cyclegan", CycleGAN)])
def test_every_loop_makes_the_same_update(bench, monkeypatch, name, kind):
    """One step on the whole cohort: the order of its images can't matter, so all players agree afterwards."""
    monkeypatch.setattr(bench, "BATCH", 4)
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.arange(4))
    draw = torch.Generator().manual_seed(3)
    data = [torch.rand(4, 1, 32, 32, generator=draw) * 2 - 1 for _ in range(2)]
    players, cpu = getattr(bench, f"{name}_players"), torch.device("cpu")
    start, plain, lean, own = players(4), players(4, plain=True), players(4), players(4)
    getattr(bench, f"plain_{name}")(plain, *data, cpu)(1)
    getattr(bench, f"lean_{name}")(lean, *data, cpu)(1)
    bench.ours(kind(*own, lr=bench.LR), *data, cpu, "float32")(1)
    for networks in zip(start, plain, lean, own, strict=True):
        before, *after = (torch.cat([p.detach().flatten() for p in n.parameters()]) for n in networks)
        moved = (after[2] - before).abs() > bench.LR / 2
        assert moved.float().mean() > 0.5
        for other in after[:2]:
            # Adam's first step is lr long whatever the gradient: where that is nearly 0, rounding decides its sign
            assert ((other - after[2]).abs() < bench.LR / 10).float().mean() > 0.97


def test_every_variant_of_a_step_on_a_gpu_runs_small_and_makes_the_same_update(gpu, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu, "WARM", 2)
    file = tmp_path / "gpu.json"
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--small", "--out", str(file)])
    gpu.main()
    report = json.loads(file.read_text())
    assert report["trainings"].keys() == gpu.SETTINGS.keys()
    for rows in report["trainings"].values():
        assert rows.keys() == gpu.VARIANTS.keys()
        exact = rows["float32"]["losses"]
        for name, row in rows.items():
            if gpu.VARIANTS[name].graph:
                assert row == {"left_out": "a graph is captured on a CUDA GPU only"}
                continue
            assert row["finite"] and row["ms"] > 0 and row["images_per_second"] > 0
            near = 0.1 if gpu.VARIANTS[name].bfloat16 else 1e-3
            assert row["losses"] == pytest.approx(exact, rel=near, abs=near)
    lines = file.with_suffix(".md").read_text()
    assert lines.count("| a graph is captured on a CUDA GPU only |") == 3 * len(gpu.SETTINGS)
    assert lines.count(" | yes |") == (len(gpu.VARIANTS) - 3) * len(gpu.SETTINGS)
    assert lines in capsys.readouterr().out
