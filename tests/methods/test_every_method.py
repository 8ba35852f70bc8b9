"""What every method keeps: a run goes on bit for bit, and results come back where they belong."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import catalogue
import pytest
import torch
from catalogue import CATALOGUE, image
from torch import Tensor, nn
from trainable import assert_same_run, everything

from medgan_lib import methods
from medgan_lib.methods import anogan, inversion
from medgan_lib.networks import devices
from medgan_lib.training import fit


def made(name: str) -> methods.Method:
    return catalogue.made(name)[0]


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_run_in_two_legs_is_the_run_in_one(name: str, tmp_path) -> None:
    settings = {"seed": 1, "precision": "float32", "device": "cpu"}

    def run(steps: int, seed: int = 0, **checkpoint: object) -> object:
        method = catalogue.made(name, seed=seed)[0]
        cohort = catalogue.made(name)[1]
        size = len(cohort["x"]) // method.draws
        return fit(method, cohort, steps=steps, batch_size=size, **settings, **checkpoint)

    whole, before = run(5), run(3, checkpoint=tmp_path, name="run")
    assert any(not v.equal(everything(whole.method)[k]) for k, v in everything(before.method).items())
    assert_same_run(run(5, seed=1, checkpoint=tmp_path, name="run"), whole)  # all comes from the checkpoint


def noise(n: int, generator: torch.Generator | None) -> Tensor:
    return torch.randn(n, 8, generator=generator)


def convolution(channels: int = 1) -> nn.Module:
    return nn.Conv2d(1, channels, 3, padding=1)  # instance norm, which translators have, can't run on "meta"


HEAVY: dict[str, tuple[Callable[[], methods.Method], Callable]] = {
    "GAN.sample": (lambda: made("GAN"), lambda m, x, **o: m.sample(5, **o)),
    "UniformGAN.sample": (lambda: made("UniformGAN"), lambda m, x, **o: m.sample(5, **o)),
    "AuxiliaryGAN.sample": (lambda: made("AuxiliaryGAN"), lambda m, x, **o: m.sample(5, **o)),
    "ConditionalGAN.sample": (
        lambda: made("ConditionalGAN of classes"), lambda m, x, **o: m.sample(x.new_zeros(5).long(), **o)
    ),
    "SemiSupervisedGAN.sample": (lambda: made("SemiSupervisedGAN"), lambda m, x, **o: m.sample(5, **o)),
    "SemiSupervisedGAN.classify": (lambda: made("SemiSupervisedGAN"), lambda m, x, **o: m.classify(x, **o)),
    "LAPGAN.sample": (lambda: made("LAPGAN"), lambda m, x, **o: m.sample_levels(5, **o)),
    "ProgressiveGAN.sample": (lambda: made("ProgressiveGAN"), lambda m, x, **o: m.sample(5, **o)),
    "InfoGAN.sample": (lambda: made("InfoGAN"), lambda m, x, **o: m.sample(5, **o)),
    "InfoGAN.generate": (
        lambda: made("InfoGAN"),
        lambda m, x, **o: m.generate(m.codes.draw(5), torch.zeros(1, m.G.latent - m.codes.size), **o),
    ),
    "InfoGAN.retrieve": (lambda: made("InfoGAN"), lambda m, x, **o: m.retrieve(x, **o)[1:]),
    "BiGAN.encode": (lambda: made("BiGAN"), lambda m, x, **o: m.encode(x, **o)),
    "Pix2Pix.translate": (
        lambda: methods.Pix2Pix(convolution(), None, lambda1=0.0), lambda m, x, **o: m.translate(x, **o)
    ),
    "AdversarialSegmentation.segment": (
        lambda: methods.AdversarialSegmentation(convolution(), None, lam=0.0), lambda m, x, **o: m.segment(x, **o)
    ),
    "LandmarkDetector.find": (lambda: methods.LandmarkDetector(convolution(2), 2.0), lambda m, x, **o: m.find(x, **o)),
    "FAnoGAN.encode": (lambda: made("FAnoGAN"), lambda m, x, **o: m.encode(x, **o)),
    "FAnoGAN.scores": (lambda: made("FAnoGAN"), lambda m, x, **o: m.scores(x, **o)),
    "invert": (
        lambda: made("FAnoGAN"), lambda m, x, **o: inversion.invert(m.G, x, noise=noise, steps=2, restarts=2, **o)
    ),
    "latent_search": (
        lambda: made("FAnoGAN"),
        lambda m, x, **o: anogan.latent_search(m.G, m.D, x, noise=noise, steps=2, layer="layers", **o),
    ),
    "anomaly_scores": (
        lambda: made("FAnoGAN"),
        lambda m, x, **o: anogan.anomaly_scores(m.G, m.D, x, noise(len(x), None), layer="layers", **o),
    ),
}  # fmt: skip


def tensors(result: object) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else [t for part in result for t in tensors(part)]


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Device "meta" stands for a GPU: what is copied from it to the CPU is zeros there."""
    plain = Tensor.to

    def to(self: Tensor, *args: object, **named: object) -> Tensor:
        back = self.is_meta and any(torch.device("cpu") == a for a in args if isinstance(a, torch.device))
        return torch.zeros(self.shape, dtype=self.dtype) if back else plain(self, *args, **named)

    monkeypatch.setattr(Tensor, "to", to)
    monkeypatch.setattr(Tensor, "cpu", lambda self: to(self, torch.device("cpu")))
    yield


@pytest.mark.parametrize("name", HEAVY)
def test_results_come_back_to_the_cpu_and_networks_run_where_they_are(name: str, copies: None) -> None:
    """Samples always do, and what was made from an input because the input was there."""
    build, call = HEAVY[name]
    method, seen = build().to("meta"), set()
    for module in method.modules():
        module.register_forward_pre_hook(lambda _, inputs: seen.update(part.device.type for part in inputs))
    result = tensors(call(method, image(3)))
    assert seen == {"meta"} and {part.device.type for part in result} == {"cpu"}
    assert {p.device.type for p in method.parameters()} == {"meta"}


@pytest.mark.parametrize("name", HEAVY)
def test_the_device_is_auto_unless_said_otherwise(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, plain = [], devices.chosen_device
    monkeypatch.setattr(devices, "chosen_device", lambda device, *of: asked.append(device) or plain("cpu", *of))
    build, call = HEAVY[name]
    method = build()
    call(method, image(3))
    assert asked and asked[0] == "auto" and set(asked) <= {"auto", torch.device("cpu")}
    asked.clear()
    call(method, image(3), device="cuda:7")
    assert asked and asked[0] == "cuda:7" and set(asked) <= {"cuda:7", torch.device("cpu")}
