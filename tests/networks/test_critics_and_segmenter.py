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
