"""Chapter 13: the detector of landmarks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from medgan_lib import cohorts, networks, training
from medgan_lib.methods import LandmarkDetector
from medgan_lib.methods.landmarks import bell, mean_place

F64 = torch.float64


# --- landmarks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 6), (4, 3)])
def test_a_sharp_map_is_at_its_peak(row: int, column: int) -> None:
    logits = torch.zeros(1, 1, 5, 7, dtype=F64)
    logits[0, 0, row, column] = 60
    expected = torch.tensor([row - 2.0, column - 3.0], dtype=F64) * 2.5
    torch.testing.assert_close(mean_place(logits, 2.5)[0, 0], expected, rtol=0, atol=1e-9)


def test_the_mean_place_is_the_sum_over_pixels() -> None:
    draw = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 3, 4, 6, generator=draw, dtype=F64)
    for n in range(2):
        for k in range(3):
            weight = [[math.exp(logits[n, k, i, j]) for j in range(6)] for i in range(4)]
            total = sum(map(sum, weight))
            down = sum(weight[i][j] * (i - 1.5) for i in range(4) for j in range(6)) / total
            right = sum(weight[i][j] * (j - 2.5) for i in range(4) for j in range(6)) / total
            assert mean_place(logits)[n, k].tolist() == pytest.approx([down, right], abs=1e-12)
    assert torch.autograd.gradcheck(mean_place, logits[:1, :1].requires_grad_(True))


def blobs(n: int, seed: int, size: int = 16) -> dict[str, Tensor]:
    """A bright and a dark spot on noise, 3 mm a pixel."""
    draw = torch.Generator().manual_seed(seed)
    at = (torch.rand(n, 2, 2, generator=draw) - 0.5) * (size - 5)  # pixels from the middle
    line = torch.arange(size) - (size - 1) / 2
    x = 0.1 * torch.randn(n, 1, size, size, generator=draw)
    for k, sign in enumerate((1, -1)):
        far = (line[:, None] - at[:, k, 0, None, None]) ** 2 + (line - at[:, k, 1, None, None]) ** 2
        x[:, 0] += sign * torch.exp(-far / 4)
    return {"x": x, "landmarks": 3 * at}


def detector(lr: float = 5e-3) -> LandmarkDetector:
    torch.manual_seed(0)
    return LandmarkDetector(networks.Segmenter(1, 2, width=8, depth=2), 3.0, lr=lr)


def test_a_detector_finds_spots_within_a_pixel_and_tells_them_apart() -> None:
    run = training.fit(detector(), blobs(300, 0), steps=150, batch_size=16, seed=0)
    fresh = blobs(100, 1)
    off = (run.method.find(fresh["x"], batch_size=30) - fresh["landmarks"]).norm(dim=-1)
    assert off.median() < 3.0  # of a field of 48 mm; the middle of the image would be 15 mm off
    swapped = (run.method.find(fresh["x"]).flip(1) - fresh["landmarks"]).norm(dim=-1)
    assert swapped.median() > 8


def test_a_map_is_wanted_where_the_landmark_is() -> None:
    at = torch.tensor([[[-2.0, 3.0], [0.5, -0.25]]], dtype=F64)
    wanted = bell(at, (12, 16))
    torch.testing.assert_close(wanted.sum((-2, -1)), torch.ones(1, 2, dtype=F64))
    torch.testing.assert_close(mean_place(wanted.log()), at, rtol=0, atol=1e-3)
    down, right = (torch.arange(k, dtype=F64) - (k - 1) / 2 for k in (12, 16))
    spread = (wanted[0, 1].sum(1) * (down - 0.5) ** 2).sum() + (wanted[0, 1].sum(0) * (right + 0.25) ** 2).sum()
    assert spread.item() == pytest.approx(2.0, abs=1e-3)  # one pixel along each axis


def test_the_step_descends_on_the_cross_entropy_and_tells_the_distance_in_mm() -> None:
    method, batch = detector(0.0), blobs(5, 2)
    told = method.step(batch)
    far = (method.find(batch["x"]) - batch["landmarks"]).norm(dim=-1).mean()
    assert told["error_mm"].item() == pytest.approx(far.item(), rel=1e-4)
    with torch.no_grad():
        logits = method.net(batch["x"]).double().flatten(-2)
    total = 0.0
    for n in range(5):
        for k in range(2):
            wanted = bell(batch["landmarks"][n, k].double() / 3, (16, 16)).flatten()
            total -= (wanted * (logits[n, k] - logits[n, k].logsumexp(0))).sum().item()
    assert told["loss"].item() == pytest.approx(total / 10, rel=1e-5)
    with pytest.raises(ValueError, match="spacing"):
        LandmarkDetector(nn.Identity(), 0.0)


def test_places_are_found_in_evaluation_mode_without_a_graph() -> None:
    method = LandmarkDetector(nn.Sequential(networks.Segmenter(1, 2, width=4, depth=2), nn.Dropout(0.5)), 3.0).train()
    x = blobs(6, 4)["x"]
    once, again = method.find(x, batch_size=4), method.find(x, batch_size=6)
    torch.testing.assert_close(once, again)  # dropout would move them by pixels
    assert method.net.training and not once.requires_grad


def test_a_detector_of_chests_beats_the_mean_place() -> None:
    train, test = (cohorts.load("chests", split, size=32, n=n) for split, n in (("train", 200), ("test", 60)))
    torch.manual_seed(0)
    method = LandmarkDetector(networks.Segmenter(1, 10, width=8, depth=3), train.spacing[0], lr=3e-3)
    training.fit(method, {"x": train.x, "landmarks": train["landmarks"]}, steps=120, batch_size=16, seed=0)
    off = (method.find(test.x) - test["landmarks"]).norm(dim=-1).median()
    mean = (train["landmarks"].mean(0) - test["landmarks"]).norm(dim=-1).median()
    assert off < 0.6 * mean, (off, mean)
