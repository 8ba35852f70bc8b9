"""Steepness against a map whose Jacobian is known, and rejection against a map with a cliff in a known place."""

import pytest
import torch
from torch import nn

from medgan_lib.methods.steepness import flattest, steepness


def source(seed=0):
    return torch.Generator().manual_seed(seed)


def box(n, generator=None):
    return 2 * torch.rand(n, 3, generator=generator) - 1


class Cliff(nn.Module):
    """Two plateaus of images with a steep way between them at z_0 = 0."""

    def forward(self, z):
        return torch.tanh(20 * z[:, :1]).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def test_a_linear_map_is_as_steep_as_its_matrix_everywhere():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        W = nn.Linear(12, 40)
    z = torch.randn(6, 12, generator=source())
    found = steepness(W, z, directions=4000, generator=source(1))
    torch.testing.assert_close(found, W.weight.detach().norm().expand(6), rtol=0.02, atol=0)


def test_directions_and_length_of_the_step_change_a_linear_map_s_steepness_little():
    W = nn.Linear(5, 5, bias=False)
    nn.init.eye_(W.weight)
    z = torch.zeros(3, 5)
    for step in (0.01, 1.0):
        torch.testing.assert_close(
            steepness(W, z, directions=1, step=step, generator=source()), torch.full((3,), 5**0.5), rtol=1e-3, atol=0
        )


def test_codes_at_the_cliff_are_left_out():
    z = flattest(Cliff(), box, 400, 0.7, source())
    drawn = box(572, source())
    assert z.shape == (400, 3)
    assert (z[:, 0].abs() < 0.1).sum() == 0, "codes on the cliff were kept"
    assert (drawn[:, 0].abs() < 0.1).sum() > 20, "the draw had some"
    # what is kept is of the draw, in its order
    places = [(drawn == code).all(1).nonzero().item() for code in z]
    assert places == sorted(places)


def test_to_keep_all_is_to_draw():
    assert torch.equal(flattest(Cliff(), box, 50, 1.0, source(3)), box(50, source(3)))


def test_a_generator_stays_in_its_mode_and_without_gradients():
    G = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).train()
    before = {name: value.clone() for name, value in G.state_dict().items()}
    found = steepness(G, box(5, source()))
    assert G.training and not found.requires_grad
    assert all(torch.equal(before[name], value) for name, value in G.state_dict().items())


@pytest.mark.parametrize("keep", [0.0, -0.1, 1.5, float("nan")])
def test_a_share_that_is_none_says_so(keep):
    with pytest.raises(ValueError, match="keep must be above 0 and at most 1"):
        flattest(Cliff(), box, 5, keep)


@pytest.mark.parametrize("options", [{"directions": 0}, {"step": 0.0}, {"step": float("nan")}])
def test_no_direction_and_no_step_say_so(options):
    with pytest.raises(ValueError, match="directions must be at least 1 and step above 0"):
        steepness(Cliff(), box(2), **options)
