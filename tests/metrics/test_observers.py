"""The channelised Hotelling observer, against cases whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch

from medgan_lib.metrics import HotellingObserver, gabor_channels, turing_test

SIZE, SIGMA = 16, 0.5


def draw(n: int, seed: int) -> torch.Tensor:
    return SIGMA * torch.randn(n, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def blob() -> torch.Tensor:
    line = torch.arange(SIZE) - (SIZE - 1) / 2
    return 0.25 * torch.exp(-(line[:, None] ** 2 + line**2) / (2 * 2.0**2))[None, None]


@pytest.fixture(scope="module")
def channels() -> torch.Tensor:
    return gabor_channels((SIZE, SIZE), (1 / 4, 1 / 8))


def phi(d: float) -> float:
    return 0.5 * (1 + math.erf(d / 2 / math.sqrt(2)))


def test_of_a_known_signal_in_white_noise_pixels_have_its_energy(blob) -> None:
    every_pixel = torch.eye(SIZE**2).reshape(SIZE**2, 1, SIZE, SIZE)
    observer = HotellingObserver.learn(draw(20000, 1) + blob, draw(20000, 2), every_pixel, noise=0.0, texture=False)
    known = blob.norm().item() / SIGMA
    assert observer.detectability == pytest.approx(known, rel=0.03)
    found = turing_test(observer, draw(4000, 3) + blob, draw(4000, 4))
    assert found.accuracy == pytest.approx(phi(known), abs=0.015)


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_channels_and_internal_noise_cost_what_the_formula_says(blob, channels, noise) -> None:
    rows = channels.flatten(0, 1).flatten(1)
    K = SIGMA**2 * rows @ rows.T
    difference = rows @ blob.double().flatten()
    known = math.sqrt(difference @ torch.linalg.solve(K + (noise**2 + 1e-9) * K.diagonal().diag(), difference))
    observer = HotellingObserver.learn(draw(20000, 1) + blob, draw(20000, 2), channels, noise=noise, texture=False)
    assert 0.2 < known < blob.norm().item() / SIGMA, "channels see a part of the signal"
    assert observer.detectability == pytest.approx(known, rel=0.05)
    found = turing_test(observer, draw(8000, 3) + blob, draw(8000, 4))
    assert found.accuracy == pytest.approx(phi(known), abs=0.02)


def test_only_an_observer_of_texture_tells_textures(channels) -> None:
    def smooth(n: int, seed: int) -> torch.Tensor:
        x = draw(n, seed)
        x = (x + x.roll(1, 3)) / 2
        return x / x.std() * SIGMA

    lessons = draw(1000, 1), smooth(1000, 2), channels
    blind, sighted = (HotellingObserver.learn(*lessons, texture=t) for t in (False, True))
    assert abs(turing_test(blind, draw(1000, 3), smooth(1000, 4)).accuracy - 0.5) < 0.05
    assert turing_test(sighted, draw(1000, 3), smooth(1000, 4)).accuracy > 0.8


def test_alike_images_leave_it_at_chance_and_a_look_is_repeated_by_its_seed(channels) -> None:
    one, other = (HotellingObserver.learn(draw(500, 1), draw(500, 2), channels, seed=7) for _ in range(2))
    assert abs(turing_test(one, draw(2000, 3), draw(2000, 4)).accuracy - 0.5) < 0.03
    again = HotellingObserver.learn(draw(500, 1), draw(500, 2), channels, seed=7)
    assert torch.equal(again(draw(9, 5)), other(draw(9, 5)))


def test_channels_are_blind_to_brightness_and_of_unit_energy(channels) -> None:
    assert channels.shape == (8, 2, SIZE, SIZE)
    assert channels.sum((-2, -1)).abs().max() < 1e-9
    assert torch.allclose(channels.square().sum((-2, -1)), torch.ones(8, 2, dtype=torch.float64))


def test_too_few_images_and_wrong_channels_are_refused(channels) -> None:
    with pytest.raises(ValueError, match="too few"):
        HotellingObserver.learn(draw(5, 1), draw(5, 2), channels)
    with pytest.raises(ValueError, match="channels are"):
        HotellingObserver(channels[0])
