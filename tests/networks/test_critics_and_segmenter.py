"""Noise, company and the last activation."""

from __future__ import annotations

import pytest
import torch

from medgan_lib import networks
from medgan_lib.methods import SemiSupervisedGAN


def test_the_noise_of_the_critic_is_for_training_only() -> None:
    torch.manual_seed(0)
    D, x = networks.ClassCritic((1, 16, 16), 3, 4), torch.zeros(5, 1, 16, 16)
    assert not torch.equal(D(x)[0], D(x)[1])
    D.eval()
    assert torch.equal(D(x)[0], D(x)[1]) and D(x).shape == (5, 3) and D.features(x).shape == (5, 32)
    noisy = networks.GaussianNoise(0.3)(torch.zeros(100_000))
    assert float(noisy.std()) == pytest.approx(0.3, rel=0.02)


def test_with_minibatch_discrimination_an_answer_depends_on_the_company() -> None:
    torch.manual_seed(0)
    x = torch.rand(6, 1, 16, 16)
    for similarities, depends in ((0, False), (4, True)):
        D = networks.ClassCritic((1, 16, 16), 3, 4, similarities=similarities).eval()
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
