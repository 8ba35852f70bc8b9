"""What only a GPU can show: no step waits for it, runs go on where they stopped, results are where they belong."""

from collections.abc import Callable

import pytest
import torch
from catalogue import CATALOGUE, made
from torch import Tensor
from torch.utils._pytree import tree_leaves

from medgan_lib.methods import anomaly_scores, latent_search
from medgan_lib.methods.inversion import invert
from medgan_lib.networks import batched
from medgan_lib.training import fit
from medgan_lib.training.placement import under_autocast
from medgan_lib.training.sampler import Sampler

if not torch.cuda.is_available():
    pytest.skip("needs a CUDA GPU", allow_module_level=True)
GPU = "cuda"


@pytest.fixture
def error_where_the_host_waits():
    """A function after which waiting for the GPU raises RuntimeError, until the test is over."""
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", CATALOGUE)
def test_a_step_waits_for_nothing_and_is_finite(name, precision, error_where_the_host_waits):
    method, batch = made(name, GPU)
    with under_autocast(method, torch.device(GPU), precision):
        method.step(batch)  # the first makes the optimizers' moments and may look
        error_where_the_host_waits()
        losses = method.step(batch)
    torch.cuda.set_sync_debug_mode("default")
    assert all(loss.is_cuda and loss.ndim == 0 and not loss.requires_grad for loss in losses.values())
    assert all(loss.isfinite() for loss in losses.values()), losses
    assert all(parameter.is_cuda and parameter.isfinite().all() for parameter in method.parameters())


def test_the_check_sees_a_step_that_waits(error_where_the_host_waits):
    x = torch.rand(3, device=GPU)
    error_where_the_host_waits()
    with pytest.raises(RuntimeError, match="synchroniz"):
        x.sum().item()


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_first_loss_is_that_of_the_cpu(name):
    """Only where a step draws no random numbers, for these are others on a GPU."""
    first = []
    for device in ("cpu", GPU):
        method, batch = made(name, device)
        before = [torch.cuda.get_rng_state(), torch.get_rng_state()]
        first.append({key: loss.item() for key, loss in method.step(batch).items()})
        after = [torch.cuda.get_rng_state(), torch.get_rng_state()]
        if not all(map(torch.equal, before, after)):
            pytest.skip("a step draws random numbers")
    assert first[1] == pytest.approx(first[0], rel=2e-2, abs=2e-3)


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_run_goes_on_where_it_stopped(name, tmp_path):
    """On a GPU nearly, not bit for bit: sums come in another order. Other noise or samples would be far off."""

    def run(steps, path=None):
        method, batch = made(name)
        size = len(batch["x"]) // method.draws
        return fit(method, batch, steps=steps, batch_size=size, device=GPU, precision="float32", checkpoint=path)

    whole = run(6)
    run(3, tmp_path / "run.pt")
    resumed = run(6, tmp_path / "run.pt")
    for key, curve in whole.history.items():
        assert curve.device.type == "cpu"
        torch.testing.assert_close(resumed.history[key], curve, rtol=2e-2, atol=2e-3)
    assert resumed.device == "cuda:0"
    assert all(not p.is_cuda for p in resumed.method.parameters()), "a method comes back where it came from"
    states = [v for o in resumed.method.optimizers().values() for s in o.state.values() for v in s.values()]
    assert all(not v.is_cuda for v in states if isinstance(v, Tensor))


@pytest.mark.parametrize("crop", [None, (5, 7)])
def test_a_cohort_on_the_host_gives_the_samples_of_one_on_the_gpu(crop, error_where_the_host_waits):
    cohort = {"x": torch.rand(40, 2, 9, 7), "mask": torch.rand(40, 9, 7) > 0.5, "label": torch.arange(40)}
    drawn = []
    for storage in (GPU, "cpu"):
        torch.manual_seed(0)
        sampler = Sampler(cohort, 8, torch.device(GPU), crop, torch.device(storage))
        first = sampler.draw()  # shuffles, and may look
        error_where_the_host_waits()
        drawn.append([first, *(sampler.draw() for _ in range(4))])
        torch.cuda.set_sync_debug_mode("default")
    for resident, sent in zip(*drawn, strict=True):
        assert all(part.is_cuda and part.equal(resident[name]) for name, part in sent.items())
        assert all(part.stride() == resident[name].stride() for name, part in sent.items())


SAMPLED: dict[str, Callable] = {
    "GAN": lambda gan: gan.sample(5),
    "GAN dense": lambda gan: gan.sample(5),
    "UniformGAN": lambda gan: gan.sample(5),
    "AuxiliaryGAN": lambda gan: gan.sample(5),
    "InfoGAN": lambda gan: gan.sample(5),
    "BiGAN": lambda gan: gan.sample(5),
    "LAPGAN": lambda gan: gan.sample_levels(5),
    "ProgressiveGAN": lambda gan: gan.sample(5),
    "SemiSupervisedGAN": lambda gan: gan.sample(5),
    "ConditionalGAN of classes": lambda gan: gan.sample(torch.arange(5)),
    "ConditionalGAN of numbers": lambda gan: gan.sample(torch.rand(5, 1)),
}


@pytest.mark.parametrize("home", ["cpu", GPU])
@pytest.mark.parametrize("name", SAMPLED)
def test_samples_come_back_on_the_cpu(name, home):
    method, _ = made(name, home)
    samples = tree_leaves(SAMPLED[name](method))
    assert all(not part.is_cuda and part.isfinite().all() for part in samples)
    assert {parameter.device.type for parameter in method.parameters()} == {home}, "networks stay where they were"


MADE: dict[str, tuple[str, Callable]] = {
    "translation": ("CycleGAN", lambda m, x: m.translate(x, 3)),
    "codes of BiGAN": ("BiGAN", lambda m, x: m.encode(x)),
    "codes of f-AnoGAN": ("FAnoGAN", lambda m, x: m.encode(x)),
    "scores of f-AnoGAN": ("FAnoGAN", lambda m, x: m.scores(x)),
    "scores of codes": ("GAN", lambda m, x: anomaly_scores(m.G, m.D, x, torch.zeros(len(x), 8), layer="layers")),
    "latent search": ("GAN", lambda m, x: latent_search(m.G, m.D, x, noise=m.noise, layer="layers", steps=3)),
    "inversion": ("GAN", lambda m, x: invert(m.G, x, noise=m.noise, steps=3, restarts=2)),
    "factors": ("InfoGAN", lambda m, x: m.retrieve(x)),
    "classes": ("SemiSupervisedGAN", lambda m, x: m.classify(x)),
    "segmentation": ("AdversarialSegmentation", lambda m, x: m.segment(x, 3)),
    "landmarks": ("LandmarkDetector", lambda m, x: m.find(x, 3)),
    "network in parts": ("GAN", lambda m, x: batched(m.D, x, 3)),
}


@pytest.mark.parametrize("home", ["cpu", GPU])
@pytest.mark.parametrize("where", ["cpu", GPU])
@pytest.mark.parametrize("name", MADE)
def test_what_is_made_of_an_input_comes_back_where_that_was(name, where, home):
    of, make = MADE[name]
    method, batch = made(of, home)
    results = tree_leaves(make(method, batch["x"].to(where)))
    assert {part.device.type for part in results} == {where}
    assert all(part.isfinite().all() for part in results if part.is_floating_point())
    assert {parameter.device.type for parameter in method.parameters()} == {home}, "networks stay where they were"


@pytest.mark.parametrize("where", ["cpu", GPU])
def test_generated_from_codes_come_back_where_these_were(where):
    method, _ = made("InfoGAN")
    c = method.codes.draw(4).to(where)
    assert method.generate(c, torch.randn(1, method.G.latent - method.codes.size)).device.type == where
