"""Every method once, with networks small enough for milliseconds a step, and a cohort that it can be trained on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from medgan_lib import methods as M
from medgan_lib import networks as N

SHAPE = (1, 16, 16)


def images(n: int = 8, channels: int = 1, size: int = 16) -> Tensor:
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(n + size)) * 2 - 1


def labels(n: int = 8) -> Tensor:
    return torch.arange(n) % 3


def pairs() -> dict[str, Tensor]:
    return {"x": images(size=32), "y": images(size=32).flip(-1)}


def points(n: int = 20) -> dict[str, Tensor]:
    return {"x": torch.randn(n, 2, generator=torch.Generator().manual_seed(1))}


def generator(latent: int = 4) -> nn.Module:
    return N.Generator(SHAPE, latent, 4)


def translators(kind: type[M.CycleGAN], **options) -> M.CycleGAN:
    return kind(*(N.UNet(width=4) for _ in "BA"), *(N.PatchCritic(1, width=4) for _ in "BA"), **options)


def info() -> M.InfoGAN:
    codes = M.Codes((3, 2), 2)
    return M.InfoGAN(generator(11), N.Critic(SHAPE, 4), N.Encoder(SHAPE, codes.outputs, 4), codes, ema=0.9)


def pyramid() -> M.LAPGAN:
    coarsest = M.GAN(N.DenseGenerator((1, 8, 8), 4, 8), N.DenseCritic((1, 8, 8), 8), ema=0.9)
    return M.LAPGAN(coarsest, [M.Band(N.BandGenerator(SHAPE, 4), N.BandCritic(SHAPE, 4), ema=0.9)])


def grown() -> M.ProgressiveGAN:
    return M.ProgressiveGAN(
        N.GrowingGenerator(SHAPE, 4, 4, most=8), N.GrowingCritic(SHAPE, 4, most=8), fade=1, hold=1, ema=0.9
    )


def enlarged() -> M.SRGAN:
    return M.SRGAN(N.SuperResolver(1, factor=4, width=4, blocks=1), N.PatchCritic(1, width=4), lam=0.1)


METHODS: dict[str, tuple[Callable[[], M.Method], Callable[[], dict[str, Tensor]]]] = {
    "GAN": (lambda: M.GAN(N.MLP(2, 2, 8), N.MLP(2, 1, 8), "wgan-gp", n_critic=2, ema=0.9), points),
    "UniformGAN": (lambda: M.UniformGAN(generator(), N.Critic(SHAPE, 4), ema=0.9), lambda: {"x": images()}),
    "UnrolledGAN": (lambda: M.UnrolledGAN(N.MLP(2, 2, 8), N.MLP(2, 1, 8), k=2), points),
    "InfoGAN": (info, lambda: {"x": images()}),
    "BiGAN": (
        lambda: M.BiGAN(generator(), N.Encoder(SHAPE, 4, 4), N.JointCritic(SHAPE, 4, 4), ema=0.9),
        lambda: {"x": images()},
    ),
    "ConditionalGAN": (
        lambda: M.ConditionalGAN(N.ConditionalGenerator(SHAPE, 3, 4), N.ConditionalCritic(SHAPE, 3), classes=3),
        lambda: {"x": images(), "label": labels()},
    ),
    "LAPGAN": (pyramid, lambda: {"x": images()}),
    "ProgressiveGAN": (grown, lambda: {"x": images()}),
    "Pix2Pix": (lambda: M.Pix2Pix(N.UNet(width=4), N.PatchCritic(2, width=4)), pairs),
    "SelfRegularisedGAN": (lambda: M.SelfRegularisedGAN(N.UNet(width=4), N.PatchCritic(1, width=4), lam=1.0), pairs),
    "CycleGAN": (lambda: translators(M.CycleGAN, identity=1.0, buffer=(9, 1, 32, 32), decay=(2, 9)), pairs),
    "DualGAN": (lambda: translators(M.DualGAN), pairs),
    "DiscoGAN": (lambda: translators(M.DiscoGAN), pairs),
    "SRGAN": (enlarged, lambda: {"x": images(size=32), "y": images(size=8)}),
    "DANN": (
        lambda: M.DANN(N.Encoder(SHAPE, 6, 4), nn.Linear(6, 3), N.MLP(6, 1, 8), rise=9),
        lambda: {"x": images(), "label": labels(), "target": images().flip(-1)},
    ),
    "FAnoGAN": (
        lambda: M.FAnoGAN(generator(), N.Encoder(SHAPE, 4, 4), N.Critic(SHAPE, 4), layer="layers"),
        lambda: {"x": images()},
    ),
    "SemiSupervisedGAN": (
        lambda: M.SemiSupervisedGAN(generator(), N.ClassCritic(SHAPE, 3, 4)),
        lambda: {"x": images(), "label": labels(), "u": images().flip(-1)},
    ),
    "AdversarialSegmentation": (
        lambda: M.AdversarialSegmentation(N.Segmenter(1, 1, width=4, depth=2), N.Critic((2, 16, 16), 4)),
        lambda: {"x": images(), "mask": images() > 0, "u": images().flip(-1)},
    ),
    "Classifier": (lambda: M.Classifier(N.Encoder(SHAPE, 3, 4)), lambda: {"x": images(), "label": labels()}),
    "Contrastive": (
        lambda: M.Contrastive(N.Encoder(SHAPE, 4, 4), N.TextEncoder(9, 4)),
        lambda: {"x": images(), "tokens": torch.arange(32).view(8, 4) % 8 + 1},
    ),
    "LandmarkDetector": (
        lambda: M.LandmarkDetector(N.Segmenter(1, 2, width=4, depth=2), 2.0),
        lambda: {"x": images(), "landmarks": torch.zeros(8, 2, 2)},
    ),
}
