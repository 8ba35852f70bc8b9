"""Methods learn problems with a known answer, and their steps do what Table 1 and Eqs. 1-4 say and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medgan_lib.methods import GAN, Classifier, DiscriminatorOnly
from medgan_lib.methods.base import frozen
from medgan_lib.networks import MLP, Critic, Encoder, Generator
from medgan_lib.objectives import OBJECTIVES


def make(objective: str = "gan-ma", seed: int = 0, **options) -> GAN:
    torch.manual_seed(seed)
    return GAN(MLP(3, 2, width=16), MLP(2, 1, width=16), objective, **options)


def snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(module: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


# options and steps with which a small pair of networks learns a Gaussian in a few seconds
LEARNS = {
    "gan": ({"lr": 2e-3}, 600),
    "gan-ma": ({"lr": 2e-3}, 600),
    "lsgan": ({"lr": 2e-3}, 600),
    "wgan": ({"lr": 1e-3, "clip": 0.2, "n_critic": 2}, 600),
    "wgan-gp": ({"lr": 1e-3, "penalty": 1.0, "n_critic": 3}, 400),
    "hinge": ({"lr": 1e-3, "r1": 0.1}, 600),
}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_learns_a_gaussian(objective):
    """Mean, spread and correlation of a 2-D Gaussian come out, with every objective of Table 1."""
    options, steps = LEARNS[objective]
    mean, factor = torch.tensor([1.0, -0.5]), torch.tensor([[0.6, 0.0], [0.3, 0.4]])
    torch.manual_seed(0)
    method = GAN(MLP(2, 2, 32, 2), MLP(2, 1, 32, 2), objective, ema=0.99, betas=(0.0, 0.9), **options)
    for _ in range(steps):
        history = method.step({"x": mean + torch.randn(64 * method.draws, 2) @ factor.T})
    assert all(value.isfinite() and value.shape == () and not value.requires_grad for value in history.values())
    x = method.sample(4000)
    assert (x.mean(0) - mean).abs().max() < 0.2
    spread = x.std(0) / factor.norm(dim=1)
    assert spread.min() > 0.5 and spread.max() < 1.3
    assert x.T.corrcoef()[0, 1] > 0.3  # 0.6 in truth


def test_learns_images():
    """Discs at random places, dark on bright: means of samples come close to the data, and they aren't all alike."""
    torch.manual_seed(0)
    grid = torch.stack(torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij"))
    centre = 4 + 8 * torch.rand(512, 2, 1, 1)
    x = torch.tanh(((grid - centre).square().sum(1, keepdim=True).sqrt() - 3) * 2)
    method = GAN(Generator((1, 16, 16), latent=16, width=16), Critic((1, 16, 16), width=16), lr=1e-3)
    for _ in range(250):
        method.step({"x": x[torch.randint(512, (32,))]})
    fake = method.sample(256)
    assert (fake.mean(0) - x.mean(0)).abs().mean() < 0.15
    assert fake.std(0).mean().item() == pytest.approx(x.std(0).mean().item(), rel=0.3)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_same_seed_same_run(objective):
    histories, samples = [], []
    for _ in range(2):
        method = make(objective, n_critic=2, ema=0.9)
        histories.append([method.step({"x": torch.randn(16, 2)}) for _ in range(3)])
        samples.append(method.sample(5))
    for one, other in zip(*histories, strict=True):
        assert one == other
    assert torch.equal(*samples)


def test_defaults_are_the_papers():
    """lambda = 10 and c = 0.01 where the review has them, and nowhere else; both may be overruled."""
    assert {name: make(name).penalty for name in OBJECTIVES} == dict.fromkeys(OBJECTIVES, 0.0) | {"wgan-gp": 10.0}
    assert {name: make(name).clip for name in OBJECTIVES} == dict.fromkeys(OBJECTIVES, None) | {"wgan": 0.01}
    assert make("wgan-gp", penalty=0.0).penalty == 0 and make("gan", penalty=2.0).penalty == 2
    assert make("wgan", clip=0.1).clip == 0.1


def test_history_has_what_the_run_is_judged_by():
    method, x = make("wgan-gp", one_sided=True), torch.randn(8, 2)
    history = method.step({"x": x})
    assert list(history) == ["loss_D", "wasserstein", "penalty", "loss_G"]
    torch.testing.assert_close(history["loss_D"], -history["wasserstein"] + 10 * history["penalty"])
    assert "penalty" not in make("wgan").step({"x": x})


def test_every_update_of_D_sees_its_own_samples():
    method, seen = make(n_critic=3), []
    method.D.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].detach().clone()))
    x = torch.arange(24.0).reshape(12, 2)
    assert method.draws == 3
    method.step({"x": x})
    assert [len(samples) for samples in seen] == [8, 8, 8, 4]  # real and generated ones at once; then comes G's
    real, fake = zip(*(samples.chunk(2) for samples in seen[:3]), strict=True)
    assert torch.equal(torch.cat(real), x)
    assert len({tuple(f.flatten().tolist()) for f in fake}) == 3


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_one_pass_for_real_and_generated_samples_changes_nothing(objective):
    """D may see both at once because it looks at each sample by itself; where it doesn't, it sees them apart."""
    updates = []
    for apart in (False, True):
        method = make(objective)
        method.D.per_sample = not apart
        torch.manual_seed(1)
        method.update_D(torch.randn(16, 2))
        updates.append(torch.cat([p.grad.flatten() for p in method.D.parameters()]))
    torch.testing.assert_close(*updates)
    assert not hasattr(nn.Sequential(nn.BatchNorm1d(2)), "per_sample")


def test_D_stays_trainable_where_it_was():
    """A step of G lets a player's own frozen parameters frozen and its trainable ones trainable, even on failure."""
    D = MLP(2, 1, width=4)
    D[0].weight.requires_grad_(False)
    before = [p.requires_grad for p in D.parameters()]
    with pytest.raises(ZeroDivisionError), frozen(D):
        assert not any(p.requires_grad for p in D.parameters())
        raise ZeroDivisionError
    assert [p.requires_grad for p in D.parameters()] == before


def test_moving_average():
    """G_ema is the recursion written out, with min(ema, (1 + t) / (10 + t)) as decay, in batch norm's buffers too."""
    torch.manual_seed(0)
    method = GAN(Generator((1, 8), latent=4, width=2), Critic((1, 8), width=2), ema=0.3, lr=0.01)
    expected = snapshot(method.G)
    for t in range(1, 6):
        method.step({"x": torch.randn(4, 1, 8)})
        decay = min(0.3, (1 + t) / (10 + t))
        for name, value in method.G.state_dict().items():
            average = expected[name]
            expected[name] = decay * average + (1 - decay) * value if value.is_floating_point() else value.clone()
    for name, value in method.G_ema.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert not any(p.requires_grad for p in method.G_ema.parameters())
    assert method.sampler is method.G_ema and make().sampler is not None and not hasattr(make(), "G_ema")
    assert set(method.networks()) == {"G", "D", "G_ema"}


def test_sampling_changes_nothing_and_can_be_repeated():
    torch.manual_seed(0)
    method = GAN(Generator((1, 8, 8), latent=4, width=2), Critic((1, 8, 8), width=2))
    method.step({"x": torch.randn(4, 1, 8, 8)})
    before = snapshot(method)
    one, two = (method.sample(600, generator=torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(one, two) and one.shape == (600, 1, 8, 8) and not one.requires_grad
    torch.testing.assert_close(one[:3], method.sample(600, generator=torch.Generator().manual_seed(7))[:3])
    assert same(method, before) and method.G.training


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "dcgan"}, "unknown objective 'dcgan'; there are gan, gan-ma, lsgan, wgan, wgan-gp"),
        ({"n_critic": 0}, "n_critic must be at least 1, not 0"),
        ({"penalty": -1.0}, "penalty must be 0 or more"),
        ({"clip": 0.0}, "clip must be above 0"),
        ({"ema": 1.0}, r"ema must be in \[0, 1\)"),
    ],
    ids=str,
)
def test_wrong_options_say_so(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_batch_that_cannot_be_dealt_out():
    with pytest.raises(ValueError, match="7 samples cannot be dealt out to 2 updates"):
        make(n_critic=2).step({"x": torch.randn(7, 2)})


def test_classifier_separates_stripes():
    """Stripes along one axis or the other, at any phase, in noise: a pixel alone says nothing."""

    def batch(n: int) -> dict[str, torch.Tensor]:
        label = torch.randint(2, (n,))
        phase = 6.28 * torch.rand(n, 1, 1, 1)
        stripes = torch.sin(torch.arange(16.0) * 1.2 + phase).expand(n, 1, 16, 16)
        x = torch.where(label[:, None, None, None] == 0, stripes, stripes.transpose(2, 3))
        return {"x": (0.6 * x + 0.3 * torch.randn(n, 1, 16, 16)).clamp(-1, 1), "label": label}

    torch.manual_seed(0)
    method = Classifier(Encoder((1, 16, 16), 2, width=8))
    for _ in range(60):
        history = method.step(batch(64))
    assert history.keys() == {"loss", "accuracy"} and not history["loss"].requires_grad
    test = batch(1000)
    with torch.no_grad():
        method.eval()
        assert (method.net(test["x"]).argmax(1) == test["label"]).float().mean() > 0.97


def test_r1_enters_with_half_its_weight():
    """One step of D by hand, with the loss of the paper: gamma/2 times the squared slope on real samples is added."""
    x, gamma = torch.randn(16, 2), 3.0
    method, by_hand = make(r1=gamma), make()
    torch.manual_seed(5)
    method.update_D(x)
    torch.manual_seed(5)
    with torch.no_grad():
        fake = by_hand.G(by_hand.noise(len(x)))
    real = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(by_hand.D(real).sum(), real, create_graph=True)
    loss = OBJECTIVES["gan-ma"].discriminator(by_hand.D(x), by_hand.D(fake)) + gamma / 2 * (slope**2).sum(1).mean()
    by_hand.opt_D.zero_grad()
    loss.backward()
    by_hand.opt_D.step()
    for ours, theirs in zip(method.D.parameters(), by_hand.D.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_learning_rates_fall_to_zero_whatever_the_optimizer():
    method = make(decay=(2, 6), lr=0.1)
    method.opt_D = torch.optim.RMSprop(method.D.parameters(), lr=0.3)
    rates = []
    for _ in range(7):
        method.step({"x": torch.randn(8, 2)})
        rates.append([o.param_groups[0]["lr"] for o in (method.opt_D, method.opt_G)])
    shares = [1, 1, 0.75, 0.5, 0.25, 0, 0]
    torch.testing.assert_close(torch.tensor(rates), torch.tensor([[0.3 * s, 0.1 * s] for s in shares]))
    with pytest.raises(ValueError, match="the first before the last"):
        make(decay=(6, 2))


def test_discriminator_only_is_the_gan_with_g_standing_still():
    torch.manual_seed(0)
    alone = DiscriminatorOnly(MLP(3, 2, width=16), MLP(2, 1, width=16), "wgan-gp")
    both, before = make("wgan-gp"), snapshot(alone.G)
    x = torch.randn(16, 2)
    for method in (alone, both):
        torch.manual_seed(1)
        alone.step({"x": x}) if method is alone else both.update_D(x)
    assert same(alone.G, before) and same(alone.D, both.D.state_dict())
