"""Every method in the variants that chapters use, small enough to take milliseconds a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from medgan_lib import methods as M
from medgan_lib import networks as N
from medgan_lib.methods import Method
from medgan_lib.metrics.yardstick import Lessons, Reader
from medgan_lib.training.placement import channels_last, place

Batch = dict[str, Tensor]
SHAPE = (1, 16, 16)


class Case(NamedTuple):
    """How to make a method, and what one of its steps takes: ``draws`` minibatches, on the CPU."""

    method: Callable[[], Method]
    batch: Callable[[], Batch]


def made(name: str, device: str | torch.device = "cpu", seed: int = 0) -> tuple[Method, Batch]:
    """The method of that name in training mode, and a batch for its steps, both on ``device`` as `fit` has them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        case = CATALOGUE[name]
        method, batch = case.method().train(), case.batch()
    place(method, torch.device(device))
    return method, {key: channels_last(tensor.to(device)) for key, tensor in batch.items()}


def image(n: int, channels: int = 1, *size: int) -> Tensor:
    """Images (n, channels, *size) in [-1, 1], of 16 x 16 pixels if no size is said; one number makes a square."""
    height, width = {0: SHAPE[1:], 1: size * 2}.get(len(size), size)
    return torch.rand(n, channels, height, width) * 2 - 1


def label(n: int, classes: int, *size: int) -> Tensor:
    return torch.randint(classes, (n, *size))


def generator(shape: tuple[int, ...] = SHAPE) -> N.Generator:
    return N.Generator(shape, 8, 8)


def critic(shape: tuple[int, ...] = SHAPE) -> N.Critic:
    return N.Critic(shape, 8)


def encoder(outputs: int, shape: tuple[int, ...] = SHAPE) -> N.Encoder:
    return N.Encoder(shape, outputs, 8)


def cycle(kind: type[M.CycleGAN], **options) -> M.CycleGAN:
    return kind(*(N.UNet(width=4) for _ in "BA"), *(N.PatchCritic(width=4) for _ in "BA"), **options)


def auxiliary() -> M.AuxiliaryGAN:
    trunk = nn.Sequential(nn.Conv2d(1, 8, 4, 2, 1), nn.BatchNorm2d(8), nn.LeakyReLU(0.1), nn.Flatten())
    D, C = (nn.Sequential(trunk, nn.Linear(512, outputs)) for outputs in (1, 10))
    return M.AuxiliaryGAN(generator(), D, C, ema=0.99, lr_D=1e-4, decay=(1, 9))


def infogan() -> M.InfoGAN:
    codes = M.Codes((10,), 2)
    return M.InfoGAN(N.Generator(SHAPE, 16, 8), critic(), encoder(codes.outputs), codes, ema=0.99)


def infogan_shared() -> M.InfoGAN:
    codes = M.Codes((10,), 2)
    trunk = nn.Sequential(nn.Conv2d(1, 8, 4, 2, 1), nn.BatchNorm2d(8), nn.LeakyReLU(0.1), nn.Flatten())
    D, Q = (nn.Sequential(trunk, nn.Linear(512, outputs)) for outputs in (1, codes.outputs))
    return M.InfoGAN(N.Generator(SHAPE, 16, 8), D, Q, codes, ema=0.99, lr_D=1e-4, informed=False, decay=(1, 9))


def laplacian() -> M.LAPGAN:
    coarsest = M.GAN(N.DenseGenerator((1, 8, 8), 8, 16), N.DenseCritic((1, 8, 8), 16), "wgan-gp", ema=0.98)
    shapes = [(1, s, s) for s in (16, 32)]
    return M.LAPGAN(coarsest, [M.Band(N.BandGenerator(s, 8), N.BandCritic(s, 8), "wgan-gp", ema=0.98) for s in shapes])


def growing() -> M.ProgressiveGAN:
    players = N.ProGenerator((1, 32, 32), 8, 4, most=16), N.ProCritic((1, 32, 32), 4, most=16)
    return M.ProgressiveGAN(*players, fade=3, hold=1, ema=0.98)  # the second step is one of a fade


def segmenting_dann() -> M.DANN:
    extractor = N.UNet(1, 8, width=4, depth=2)
    return M.DANN(extractor, nn.Conv2d(8, 4, 1), N.PatchCritic(8, width=4, stages=1), lam=0.1, rise=100)


def normalised_dann() -> M.DANN:
    H = nn.Sequential(nn.Conv2d(3, 8, 5), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten())
    return M.DANN(H, nn.Linear(72, 10), nn.Linear(72, 1), rise=9, anneal=9, by_domain=True)


def semi_supervised(similarities: int = 0, **options) -> M.SemiSupervisedGAN:
    D = N.ClassCritic(SHAPE, 10, 16, similarities=similarities)
    return M.SemiSupervisedGAN(N.SoftplusGenerator(SHAPE, 8, 8), D, **options)


def super_resolving() -> M.SRGAN:
    phi = M.FeatureMaps(N.Looks(N.SmoothReader(1, 4, 7, width=4)), image(8))
    G, D = N.SuperResolver(1, factor=4, width=8, blocks=1), N.SmoothCritic(1, width=4)
    return M.SRGAN(G, D, phi, lam=0.1, lr_D=4e-4, decay=(2, 99))


def of_both_domains() -> Batch:
    return {"x": image(4, 1, 32), "y": image(4, 1, 32)}


def partly_labelled() -> Batch:
    return {"x": image(8), "label": label(8, 10), "u": image(8)}


def some_with_masks() -> Batch:
    return {"x": image(4, 3, 16, 24), "mask": image(4, 1, 16, 24) > 0, "u": image(4, 3, 16, 24)}


def in_the_plane(n: int = 32) -> Batch:
    return {"x": torch.randn(n, 2)}


CATALOGUE: dict[str, Case] = {
    "GAN": Case(lambda: M.GAN(generator(), critic(), ema=0.99), lambda: {"x": image(8)}),
    "GAN wgan-gp": Case(lambda: M.GAN(generator(), critic(), "wgan-gp", n_critic=2), lambda: {"x": image(16)}),
    "GAN wgan": Case(lambda: M.GAN(generator(), critic(), "wgan"), lambda: {"x": image(8)}),
    "GAN hinge, R1": Case(
        lambda: M.GAN(generator(), critic(), "hinge", r1=1.0, decay=(1, 3)), lambda: {"x": image(8)}
    ),
    "DiscriminatorOnly": Case(
        lambda: M.DiscriminatorOnly(generator(), critic(), "wgan-gp", decay=(1, 3)), lambda: {"x": image(8)}
    ),
    "GAN dense": Case(
        lambda: M.GAN(N.MLP(2, 2, 16), N.MLP(2, 1, 16), "wgan-gp", n_critic=5), lambda: in_the_plane(160)
    ),
    "GAN DCGAN": Case(
        lambda: M.GAN(N.DCGenerator((1, 32, 32), 8, 4, most=16), N.DCCritic((1, 32, 32), 4, most=16)),
        lambda: {"x": image(8, 1, 32)},
    ),
    "UniformGAN": Case(lambda: M.UniformGAN(generator(), critic(), ema=0.99), lambda: {"x": image(8)}),
    "AuxiliaryGAN": Case(auxiliary, lambda: {"x": image(8), "label": label(8, 10)}),
    "UnrolledGAN": Case(lambda: M.UnrolledGAN(N.MLP(2, 2, 16), N.MLP(2, 1, 16), k=3), in_the_plane),
    "InfoGAN": Case(infogan, lambda: {"x": image(8)}),
    "InfoGAN, one trunk": Case(infogan_shared, lambda: {"x": image(8)}),
    "BiGAN": Case(
        lambda: M.BiGAN(generator(), encoder(8), N.JointCritic(SHAPE, 8, 8), ema=0.99), lambda: {"x": image(8)}
    ),
    "ConditionalGAN of classes": Case(
        lambda: M.ConditionalGAN(
            N.ConditionalGenerator(SHAPE, 10, 8, 8), N.ConditionalCritic(SHAPE, 10, 8), "wgan-gp", classes=10, ema=0.99
        ),
        lambda: {"x": image(8), "label": label(8, 10)},
    ),
    "ConditionalGAN of numbers": Case(
        lambda: M.ConditionalGAN(N.ConditionalGenerator(SHAPE, 1, 8, 8), N.ConditionalCritic(SHAPE, 1, 8)),
        lambda: {"x": image(8), "y": torch.rand(8, 1)},
    ),
    "ConditionalGAN with a projection": Case(
        lambda: M.ConditionalGAN(
            N.ConditionalGenerator(SHAPE, 3, 8, 8), N.ProjectionCritic(SHAPE, 3, 8, spectral=True), "hinge"
        ),
        lambda: {"x": image(8), "y": torch.rand(8, 3)},
    ),
    "Contrastive": Case(
        lambda: M.Contrastive(encoder(16), N.TextEncoder(50, 16)),
        lambda: {"x": image(8), "tokens": torch.randint(1, 50, (8, 9))},
    ),
    "LAPGAN": Case(laplacian, lambda: {"x": image(8, 1, 32)}),
    "ProgressiveGAN": Case(growing, lambda: {"x": image(8, 1, 32)}),
    "Pix2Pix": Case(lambda: M.Pix2Pix(N.UNet(width=4), N.PatchCritic(2, width=4)), of_both_domains),
    "Pix2Pix ResNet": Case(
        lambda: M.Pix2Pix(N.ResNetTranslator(width=4, blocks=1), N.PatchCritic(2, width=4)), of_both_domains
    ),
    "Pix2Pix without D": Case(
        lambda: M.Pix2Pix(N.UNet(width=4), None, lambda1=0.0, decay=(1, 9)), of_both_domains
    ),
    "GradientDifferenceGAN": Case(
        lambda: M.GradientDifferenceGAN(N.UNet(width=4), N.PatchCritic(1, width=4), lambda3=2.0, decay=(1, 9)),
        of_both_domains,
    ),
    "SelfRegularisedGAN": Case(
        lambda: M.SelfRegularisedGAN(N.UNet(width=4), N.PatchCritic(1, width=4), lam=10.0), of_both_domains
    ),
    "SelfRegularisedGAN with a Wasserstein critic": Case(
        lambda: M.SelfRegularisedGAN(
            N.UNet(width=4), N.Critic((1, 32, 32), 4), "wgan-gp", lam=1.0, decay=(1, 9)
        ),
        lambda: {"x": image(8, 1, 32), "y": image(8, 1, 32)},
    ),
    "CycleGAN": Case(
        lambda: cycle(M.CycleGAN, identity=5.0, buffer=(6, 1, 32, 32), decay=(10, 20)), of_both_domains
    ),
    "DualGAN": Case(
        lambda: cycle(M.DualGAN, n_critic=2), lambda: {"x": image(8, 1, 32), "y": image(8, 1, 32)}
    ),
    "DiscoGAN": Case(lambda: cycle(M.DiscoGAN), of_both_domains),
    "SRGAN": Case(super_resolving, lambda: {"x": image(4), "y": image(4, 1, 4)}),
    "DANN": Case(
        lambda: M.DANN(encoder(16, (3, 16, 16)), nn.Linear(16, 10), N.MLP(16, 1, 16, 2), rise=100),
        lambda: {"x": image(8, 3), "label": label(8, 10), "target": image(8, 3)},
    ),
    "DANN by domain": Case(
        normalised_dann, lambda: {"x": image(8, 3), "label": label(8, 10), "target": image(8, 3)}
    ),
    "LabelsOnly": Case(
        lambda: M.LabelsOnly(encoder(16, (3, 16, 16)), nn.Linear(16, 10), anneal=9),
        lambda: {"x": image(8, 3), "label": label(8, 10)},
    ),
    "DANN of segmentation": Case(
        segmenting_dann, lambda: {"x": image(4), "label": label(4, 4, 16, 16), "target": image(4)}
    ),
    "FAnoGAN": Case(lambda: M.FAnoGAN(generator(), encoder(8), critic(), layer="layers"), lambda: {"x": image(8)}),
    "SemiSupervisedGAN": Case(semi_supervised, partly_labelled),
    "SemiSupervisedGAN minibatch": Case(
        lambda: semi_supervised(similarities=4, matching=False), partly_labelled
    ),
    "AdversarialSegmentation": Case(
        lambda: M.AdversarialSegmentation(N.Segmenter(3, 1, width=4, depth=2), N.PatchCritic(4, width=4), ramp=4),
        some_with_masks,
    ),
    "Classifier": Case(lambda: M.Classifier(encoder(10)), lambda: {"x": image(8), "label": label(8, 10)}),
    "LandmarkDetector": Case(
        lambda: M.LandmarkDetector(N.Segmenter(1, 5, width=4, depth=2), 2.7),
        lambda: {"x": image(4, 1, 32), "landmarks": torch.rand(4, 5, 2) * 32},
    ),
    "Lessons of a yardstick": Case(lambda: Lessons(Reader(SHAPE, 4, 4), False, steps=8), lambda: {"x": image(28)}),
}  # fmt: skip
