"""Noise, company and the last activation."""

from __future__ import annotations

import pytest
import torch

from medgan_lib import networks
from medgan_lib.methods import SemiSupervisedGAN


def test_the_noise_of_the_critic_is_for_training_only() -> None:
    torch.manual_seed(0)
    D, x = networks.ClassCritic((1, 6, 5), 3, 8), torch.zeros(5, 1, 6, 5)
    assert not torch.equal(D(x)[0], D(x)[1])
    quiet = networks.ClassCritic((1, 6, 5), 3, 8, noise=(0.0, 0.0))
    assert torch.allclose(quiet(x)[0], quiet(x)[1], atol=1e-5)
    D.eval()
    assert torch.allclose(D(x)[0], D(x)[1], atol=1e-5) and D(x).shape == (5, 3) and D.features(x).shape == (5, 2)
    noisy = networks.GaussianNoise(0.3)(torch.zeros(100_000))
    assert float(noisy.std()) == pytest.approx(0.3, rel=0.02)


def test_a_weight_normalised_layer_is_its_formula_and_starts_on_data() -> None:
    torch.manual_seed(0)
    layer = networks.WeightNormLinear(7, 4, learn_length=True).double()
    x = 3 * torch.randn(200, 7).double() + 1
    outputs = layer.start_on(x)
    torch.testing.assert_close(layer(x), outputs)
    torch.testing.assert_close(outputs.mean(0), torch.zeros(4).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(outputs.std(0, correction=0), torch.ones(4).double())
    written_out = [sum(layer.v[j, i] * x[:, i] for i in range(7)) * layer.g[j] / layer.v[j].square().sum().sqrt()
                   + layer.bias[j] for j in range(4)]
    torch.testing.assert_close(layer(x), torch.stack(written_out, 1))
    with torch.no_grad():
        layer.v.mul_(5)
    torch.testing.assert_close(layer(x), outputs, msg="only the direction of v counts")
    assert layer.g.requires_grad and not networks.WeightNormLinear(7, 4).g.requires_grad


def test_the_critic_starts_on_data_layer_by_layer() -> None:
    torch.manual_seed(0)
    D, x = networks.ClassCritic((1, 8, 8), 10, 32, noise=(0.0, 0.0)), torch.rand(100, 1, 8, 8) * 2 - 1
    D.start_on(x)
    for part, inputs in ((D.layers[:2], (x.flatten(1) + 1) / 2), (D, x)):
        outputs = part(inputs)
        torch.testing.assert_close(outputs.mean(0), torch.zeros(outputs.shape[1]), atol=1e-5, rtol=0)
        spread = outputs.std(0, correction=0)  # 0 for a unit that a dead one feeds
        assert bool(((spread - 1).abs() < 1e-3).float().mean() > 0.9)
    sizes = [tuple(layer.v.shape) for layer in D.modules() if isinstance(layer, networks.WeightNormLinear)]
    assert sizes == [(32, 64), (16, 32), (8, 16), (8, 8), (8, 8), (10, 8)]
    with pytest.raises(ValueError, match="width must be at least 4"):
        networks.ClassCritic((1, 8, 8), 10, 3)


def test_the_softplus_generator_makes_images_from_uniform_noise() -> None:
    torch.manual_seed(0)
    G = networks.SoftplusGenerator((3, 5, 7), latent=6, width=8)
    x = G(torch.rand(20, 6))
    assert x.shape == (20, 3, 5, 7) and bool((x.abs() < 1).all())
    norms = [layer for layer in G.modules() if isinstance(layer, torch.nn.BatchNorm1d)]
    assert len(norms) == 2 and not any(norm.weight.requires_grad for norm in norms)
    hidden = G.layers[:2](torch.rand(500, 6))
    torch.testing.assert_close(hidden.mean(0), torch.zeros(8), atol=1e-5, rtol=0)


def test_with_minibatch_discrimination_an_answer_depends_on_the_company() -> None:
    torch.manual_seed(0)
    x = torch.rand(6, 1, 16, 16)
    for similarities, depends in ((0, False), (4, True)):
        D = networks.ClassCritic((1, 16, 16), 3, 16, similarities=similarities).eval()
        apart = torch.allclose(D(x)[:3], D(x[:3]), atol=1e-5)
        assert apart is not depends and D.per_sample is not depends
        method = SemiSupervisedGAN(networks.Generator((1, 16, 16), 3, width=2), D, matching=False)
        judged = method.judge(x[:3], x[3:])
        assert torch.allclose(judged[0], D(x[:3]), atol=1e-5) and torch.allclose(judged[1], D(x[3:]), atol=1e-5)


def test_the_segmenter_is_the_unet_before_its_tanh() -> None:
    torch.manual_seed(0)
    S, U = networks.Segmenter(3, 1, width=4, depth=2), networks.UNet(3, 1, width=4, depth=2)
    U.load_state_dict(S.state_dict())
    x = torch.rand(2, 3, 16, 24)
    assert torch.allclose(S(x).tanh(), U(x), atol=1e-6)


@pytest.mark.parametrize("spectral", [False, True])
def test_the_projection_critic_is_its_formula_and_linear_in_y(spectral: bool) -> None:
    torch.manual_seed(0)
    D = networks.ProjectionCritic((1, 16, 16), 3, 4, spectral=spectral).double().eval()
    x, y = torch.randn(5, 1, 16, 16).double(), torch.randn(5, 3).double()
    h = D.features(x)
    written_out = [D.real.weight[0] @ h[i] + D.real.bias[0] + (D.fits.weight @ y[i]) @ h[i] for i in range(5)]
    torch.testing.assert_close(D(x, y), torch.stack(written_out))
    torch.testing.assert_close(D(x, 3 * y) - D(x, 2 * y), D(x, y) - D(x, 0 * y))
    assert not torch.allclose(D(x, y), D(x, y.roll(1, 0))), "it must see which y belongs to which x"
    assert torch.allclose(D(x, y)[:2], D(x[:2], y[:2])), "and each sample by itself"
    deep = networks.ProjectionCritic((1, 16, 16), 3, 4, hidden=8, spectral=spectral).double().eval()
    shared = {name: value for name, value in D.state_dict().items() if not name.startswith("fits")}
    deep.load_state_dict(shared, strict=False)
    torch.testing.assert_close(deep(x, y), D.real(h).squeeze(1) + (deep.fits(y) * h).sum(1))
    assert not torch.allclose(deep(x, 3 * y) - deep(x, 2 * y), deep(x, y) - deep(x, 0 * y), rtol=0.01)
    with pytest.raises(ValueError, match="images of shape"):
        D(x[..., :8], y)
    with pytest.raises(ValueError, match="at least 1"):
        networks.ProjectionCritic((1, 16, 16), 0)


def test_every_layer_of_a_spectral_projection_critic_has_the_singular_value_1() -> None:
    torch.manual_seed(0)
    D = networks.ProjectionCritic((1, 16, 16), 3, 4, hidden=8, spectral=True)
    for _ in range(50):  # each pass is one power iteration
        D(torch.randn(4, 1, 16, 16), torch.randn(4, 3))
    layers = [layer for layer in D.modules() if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear))]
    assert len(layers) == 6
    for layer in layers:
        assert torch.linalg.svdvals(layer.weight.detach().flatten(1))[0].item() == pytest.approx(1, abs=0.02)
