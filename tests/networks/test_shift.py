"""Shifts against images whose one bright pixel tells where it went."""

import pytest
import torch

from medgan_lib.networks import Shift


def dots(n, size=16):
    x = -torch.ones(n, 1, size, size)
    x[:, :, size // 2, size // 2] = 1
    return x


def places(x):
    return torch.stack(torch.where(x[:, 0] > 0.5)[1:], 1)


def test_whole_shifts_move_a_pixel_intact_by_every_number_and_no_further():
    torch.manual_seed(0)
    moved = Shift(2, whole=True).train()(dots(400))
    went = places(moved) - 8
    assert len(went) == 400, "a pixel was blurred or lost"
    assert {tuple(pair) for pair in went.tolist()} == {(i, j) for i in range(-2, 3) for j in range(-2, 3)}
    torch.testing.assert_close(moved.sum(), dots(400).sum())


def test_shifts_by_parts_keep_the_ink_and_centre_within_bounds():
    torch.manual_seed(0)
    ink = (Shift(2).train()(dots(500)) + 1)[:, 0] / 2
    torch.testing.assert_close(ink.sum((1, 2)), torch.ones(500), rtol=1e-4, atol=1e-4)
    axis = torch.arange(16.0)
    for centre in ((ink.sum(2) * axis).sum(1) - 8, (ink.sum(1) * axis).sum(1) - 8):
        assert centre.abs().max() <= 2.001 and centre.std() > 1.0
    assert (ink > 0.99).sum() < 50, "by parts of a pixel"


def test_what_enters_is_black_and_oblong_images_move_by_pixels_too():
    torch.manual_seed(0)
    white = torch.ones(200, 1, 8, 32)
    moved = Shift(2, whole=True).train()(white)
    assert moved.min() == -1
    assert ((moved > 0).any(2).sum(2).min(), (moved > 0).any(3).sum(2).min()) == (30, 6)


def test_it_does_nothing_afterwards_and_passes_gradients_in_training():
    x = torch.randn(4, 1, 8, 8, requires_grad=True)
    shift = Shift(2)
    assert shift.eval()(x) is x
    shift.train()(x).sum().backward()
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("pixels", [0, -1, float("nan")])
def test_no_shift_says_so(pixels):
    with pytest.raises(ValueError, match="pixels must be above 0"):
        Shift(pixels)
