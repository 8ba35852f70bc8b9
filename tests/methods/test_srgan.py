"""Super-resolution: what k-space truncation keeps, the loss of SRGAN, and generators that enlarge."""

import copy

import pytest
import torch
from torch import nn

from medgan_lib.methods.srgan import SRGAN, FeatureMaps
from medgan_lib.networks import Looks, PatchCritic, SmoothCritic, SmoothReader
from medgan_lib.networks.superresolution import SuperResolver
from medgan_lib.objectives import OBJECTIVES
from medgan_lib.physics.resolution import measured, truncate, zero_fill
from medgan_lib.training import fit


def images(n: int = 4, size: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("factor", [2, 4])
def test_truncation_is_an_orthogonal_projection_that_keeps_the_mean(factor):
    x, other = images(size=24).double(), images(size=24, seed=1).double()
    y = truncate(x, factor)
    assert y.shape[2:] == (24 // factor, 24 // factor)
    torch.testing.assert_close(y.mean((2, 3)), x.mean((2, 3)))
    kept = measured(x, factor)
    torch.testing.assert_close(measured(kept, factor), kept)
    torch.testing.assert_close(truncate(zero_fill(y, factor), factor), y - (y - truncate(kept, factor)))
    assert abs((kept * (other - measured(other, factor))).sum()) < 1e-9, "what is kept and what is lost are orthogonal"
    torch.testing.assert_close(x.square().sum(), kept.square().sum() + (x - kept).square().sum())


def test_a_wave_that_both_grids_hold_is_resampled_exactly_where_pixels_lie():
    def wave(size):
        place = (torch.arange(size, dtype=torch.float64) + 0.5) / size
        return torch.cos(2 * torch.pi * 3 * place + 0.7).expand(1, 1, size, size)

    torch.testing.assert_close(truncate(wave(32), 2), wave(16))
    torch.testing.assert_close(zero_fill(wave(16), 2), wave(32))


def test_truncation_refuses_sizes_that_do_not_divide():
    with pytest.raises(ValueError, match="no multiples of 4: crop or pad"):
        truncate(images(size=18), 4)


def test_an_untrained_resolver_is_the_interpolation():
    y = images(size=8)
    wanted = nn.functional.interpolate(y, scale_factor=4.0, mode="bicubic", align_corners=False)
    torch.testing.assert_close(SuperResolver(factor=4, width=4, blocks=1)(y), wanted)
    assert SuperResolver(factor=2, width=2, blocks=1, dims=3)(torch.zeros(1, 1, 4, 4, 4)).shape[2:] == (8, 8, 8)


@pytest.mark.parametrize("factor", [1, 3, 6])
def test_factors_are_powers_of_two(factor):
    with pytest.raises(ValueError, match="factor must be 2, 4, 8"):
        SuperResolver(factor=factor)


def players() -> tuple[nn.Module, nn.Module, nn.Module]:
    torch.manual_seed(0)
    G = SuperResolver(factor=2, width=4, blocks=1)
    for parameter in G.last.parameters():
        nn.init.normal_(parameter, std=0.1)
    phi = FeatureMaps(nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU()), images(8, 16))
    return G, PatchCritic(1, width=4, stages=1), phi


@pytest.mark.parametrize(
    ("mu", "lam", "space"), [(1, 0, "phi"), (2, 0.5, "phi"), (0, 1, "phi"), (1, 0, "l1"), (1, 0, "l2")]
)
def test_the_loss_is_the_papers(mu, lam, space):
    G, D, phi = players()
    phi = phi if space == "phi" else None
    x = images(4, 16, seed=2)
    y = truncate(x, 2)
    method = SRGAN(G, D, phi, distance="l1" if space == "l1" else "l2", mu=mu, lam=lam, lr=1e-3)
    start_G, start_D = copy.deepcopy(G), copy.deepcopy(D)
    found = method.step({"x": x, "y": y})
    fake = start_G(y)
    difference = (phi(fake) - phi(x)) if phi else fake - x
    content = difference.abs().mean() if space == "l1" else difference.square().mean()
    wanted = mu * content
    if lam:  # G plays against the D that was just updated
        wanted = wanted + lam * OBJECTIVES["gan-ma"].generator(D(fake))
        loss_D = OBJECTIVES["gan-ma"].discriminator(start_D(x), start_D(fake))
        torch.testing.assert_close(found["loss_D"], loss_D.detach())
    else:
        assert all(torch.equal(a, b) for a, b in zip(D.parameters(), start_D.parameters(), strict=True))
    torch.testing.assert_close(found["content"], content.detach())
    torch.testing.assert_close(found["loss_G"], wanted.detach(), rtol=1e-4, atol=1e-5)


def test_features_stay_as_they_are():
    G, D, phi = players()
    before = copy.deepcopy(phi.state_dict())
    method = SRGAN(G, D, phi, mu=1.0, lam=0.1)
    x = images(8, 16)
    fit(method, {"x": x, "y": truncate(x, 2)}, steps=3, batch_size=4)
    assert all(torch.equal(before[key], value) for key, value in phi.state_dict().items())
    assert not method.train().phi.training
    torch.testing.assert_close(phi(images(8, 16)).transpose(0, 1).flatten(1).std(1), torch.ones(3))


def test_a_dead_feature_is_refused():
    layers = nn.Conv2d(1, 2, 1)
    nn.init.zeros_(layers.weight)
    with pytest.raises(ValueError, match="2 feature channels are the same"):
        FeatureMaps(layers, images())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"mu": 0, "lam": 0}, "not both 0"), ({"lam": -1}, "0 or more"), ({"distance": "l3"}, "unknown distance"),
     ({"objective": "x"}, "unknown objective")],
)  # fmt: skip
def test_settings_that_make_no_sense(options, message):
    G, D, phi = players()
    with pytest.raises(ValueError, match=message):
        SRGAN(G, D, phi, **options)
    with pytest.raises(ValueError, match="needs a D"):
        SRGAN(G, None, lam=1.0)


def unevenness(critic: nn.Module) -> float:
    """How much the gradient of all logits differs between pixels of an even image, away from its border."""
    x = torch.full((1, 1, 64, 64), 0.3, requires_grad=True)
    critic(x).sum().backward()
    inside = x.grad[..., 24:40, 24:40]
    return (inside.std() / inside.abs().mean()).item()


@pytest.mark.parametrize("seed", range(3))
def test_no_pixel_counts_more_by_its_place_but_where_a_critic_skips(seed):
    torch.manual_seed(seed)
    assert unevenness(SmoothCritic(1, width=8)) < 1e-4
    assert unevenness(Looks(SmoothReader(1, 4, 7, width=8))) < 1e-4
    assert unevenness(PatchCritic(1, width=8)) > 0.2


def test_looks_see_a_pattern_that_changes_sign_from_pixel_to_pixel():
    torch.manual_seed(0)
    reader = SmoothReader(1, 4, 7, width=8)
    looks = Looks(reader)
    board = ((torch.arange(32)[:, None] + torch.arange(32)) % 2 * 2.0 - 1)[None, None]
    grey = torch.zeros(1, 1, 32, 32)
    maps = looks(grey + 0.1 * board) - looks(grey)
    assert maps.shape == (1, 24, 32, 32) and maps[:, :8].abs().max() > 0.01
    turn, fault = reader(images(3, 32))
    assert turn.shape == (3, 4) and fault.shape == (3, 7)


def test_smooth_networks_judge_patches_in_every_dimension():
    assert SmoothCritic(1, width=4)(torch.zeros(2, 1, 32, 48)).shape == (2, 8, 12)
    assert SmoothCritic(1, width=2, stages=1, dims=3)(torch.zeros(1, 1, 8, 8, 8)).shape == (1, 4, 4, 4)
    with pytest.raises(ValueError, match="patches need 16"):
        SmoothCritic(1)(torch.zeros(1, 1, 12, 32))


def test_the_rates_are_each_players_own_and_fall_to_zero():
    G, D, phi = players()
    method = SRGAN(G, D, phi, lam=0.5, lr=1e-3, lr_D=4e-3, decay=(1, 3))
    x = images(4, 16)
    for share in (1.0, 0.5, 0.0):
        method.step({"x": x, "y": truncate(x, 2)})
        assert [o.param_groups[0]["lr"] for o in (method.opt_G, method.opt_D)] == [1e-3 * share, 4e-3 * share]
    with pytest.raises(ValueError, match="decay must be"):
        SRGAN(G, D, phi, lam=0.5, decay=(3, 1))


def test_it_learns_detail_that_follows_from_the_input():
    """Stripes of half the coarse pixel whose place is told by the coarse image: interpolation can't have them."""

    def problem(n, seed):
        level = images(n, 8, seed=seed).sign() * 0.5
        stripes = torch.tensor([-0.25, 0.25]).repeat(8)
        x = level.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return {"x": x + stripes * x.sign(), "y": level}

    torch.manual_seed(0)
    method = SRGAN(SuperResolver(factor=2, width=16, blocks=2), None, lam=0.0, lr=3e-3)
    held_out = problem(32, 9)
    before = (method.translate(held_out["y"]) - held_out["x"]).square().mean()
    fit(method, problem(128, 1), steps=150, batch_size=16, precision="float32")
    after = (method.translate(held_out["y"]) - held_out["x"]).square().mean()
    assert after < before / 10
