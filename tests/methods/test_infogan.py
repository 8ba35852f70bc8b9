"""InfoGAN: the bound equals its formula, its gradients go where they must, and its codes find what is known."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn
from torch.distributions import Categorical, Normal, kl_divergence
from torch.nn import functional as F

from medgan_lib import training
from medgan_lib.methods import GAN, Codes, InfoGAN
from medgan_lib.methods.infogan import SIGMA_FLOOR
from medgan_lib.networks import MLP
from medgan_lib.objectives import OBJECTIVES
from pipeline.errata.deviations import MUTANTS

CODES = Codes((3, 4), 2)
SEEN = [mutant.code for mutant in MUTANTS.values() if mutant.part == "information"]


def make(
    kind: type[InfoGAN] = InfoGAN, codes: Codes = CODES, seed: int = 0, width: int = 16, z: int = 3, **options
) -> InfoGAN:
    torch.manual_seed(seed)
    G, D, Q = MLP(codes.size + z, 2, width, 2), MLP(2, 1, width, 2), MLP(2, codes.outputs, width, 2)
    return kind(G, D, Q, codes, **options)


def gradients(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in module.parameters()])


def parameters(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


# --- the bound ---------------------------------------------------------------------------------


def test_bound_is_the_expected_log_q_plus_the_entropy():
    """Against torch.distributions in float64, one sample and one code at a time."""
    c = CODES.draw(50, torch.Generator().manual_seed(0)).double()
    outputs = 3 * torch.randn(50, CODES.outputs, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    discrete = continuous = 0.0
    for code, out in zip(c, outputs, strict=True):
        for start, k in ((0, 3), (3, 4)):
            discrete += Categorical(logits=out[start : start + k]).log_prob(code[start : start + k].argmax()) / 50
        for j in range(2):
            sigma = torch.log1p(out[9 + j].exp()) + SIGMA_FLOOR
            continuous += Normal(out[7 + j], sigma).log_prob(code[7 + j]) / 50
    found = CODES.bound(c, outputs)
    torch.testing.assert_close(found[0], discrete + math.log(3) + math.log(4), rtol=1e-12, atol=0)
    torch.testing.assert_close(found[1], continuous + 2 * math.log(2), rtol=1e-12, atol=0)


def test_bound_is_the_information_where_q_is_the_posterior():
    """A code of 4 values that is seen wrongly in 30 % of cases, evenly: I = log 4 - H(seen | c), in closed form."""
    codes, n = Codes((4,)), 200_000
    c = codes.draw(n, torch.Generator().manual_seed(0))
    value, wrong = c.argmax(1), torch.rand(n, generator=torch.Generator().manual_seed(1)) < 0.3
    shift = torch.randint(1, 4, (n,), generator=torch.Generator().manual_seed(2))
    seen = torch.where(wrong, (value + shift) % 4, value)
    noisy = torch.full((4, 4), 0.1).fill_diagonal_(0.7)
    information = math.log(4) + 0.7 * math.log(0.7) + 0.3 * math.log(0.1)
    assert codes.bound(c, noisy[seen].log())[0].item() == pytest.approx(information, abs=0.01)
    too_sure = torch.full((4, 4), 0.01).fill_diagonal_(0.97)
    gap = kl_divergence(Categorical(noisy), Categorical(too_sure)).mean().item()  # what the bound loses by a wrong Q
    assert codes.bound(c, too_sure[seen].log())[0].item() == pytest.approx(information - gap, abs=0.02)
    blind = codes.bound(c, torch.zeros(n, 4))[0]
    torch.testing.assert_close(blind, torch.zeros(()), rtol=0, atol=1e-5)


def test_no_bound_exceeds_its_maximum():
    c = CODES.draw(1000, torch.Generator().manual_seed(0))
    hot, rest = c[:, :7], c[:, 7:]
    best = CODES.bound(c, torch.cat([1000 * hot, rest, torch.full_like(rest, -50.0)], 1))
    assert best[0].item() == pytest.approx(CODES.entropy[0], abs=1e-6)
    assert best[1].item() == pytest.approx(2 * (math.log(2) - math.log(SIGMA_FLOOR * (2 * math.pi) ** 0.5)), abs=1e-5)


# --- gradients ---------------------------------------------------------------------------------


PLAIN = [name for name in OBJECTIVES if name not in ("wgan", "wgan-gp")]


@pytest.mark.parametrize("objective", PLAIN)
@pytest.mark.parametrize("unpaid", [{"lam": 0.0, "lam_continuous": 0.0}, {"paid": False}])
def test_unpaid_and_apart_G_and_D_are_a_plain_gan(objective, unpaid):
    method = make(objective=objective, **unpaid)
    plain = GAN(copy.deepcopy(method.G), copy.deepcopy(method.D), objective)
    x, before = torch.randn(64, 2), parameters(method.Q)
    torch.manual_seed(3)
    noise = method.noise(64)
    plain.noise = method.noise = lambda n: noise
    for game in (plain, method):
        game.step({"x": x})
    for player in "GD":
        one, other = getattr(method, player), getattr(plain, player)
        torch.testing.assert_close(gradients(one), gradients(other))
        torch.testing.assert_close(parameters(one), parameters(other))
    assert torch.equal(parameters(method.Q), before) != ("paid" in unpaid)  # Q looks on and learns


def information_only(method: InfoGAN) -> torch.Tensor:
    """The gradient that the information adds to G's: that of a step with lambda = 1 minus that of one without."""
    found = []
    for lam in (1.0, 0.0):
        clone = copy.deepcopy(method)
        clone.noise, clone.lam, clone.lam_continuous = method.noise, lam, lam
        clone.update_G(64)
        found.append(gradients(clone.G))
    return found[0] - found[1]


def reaches_G_as_the_formula_says(kind: type[InfoGAN]) -> bool:
    method = make(kind).double()
    expected = copy.deepcopy(method)
    torch.manual_seed(3)
    noise = expected.noise(64).double()
    bound = sum(expected.codes.bound(noise[:, -CODES.size :], expected.Q(expected.G(noise))))
    oracle = torch.autograd.grad(-bound, list(expected.G.parameters()))
    method.noise = lambda n: noise
    try:
        found = information_only(method)
    except RuntimeError as error:
        assert "does not require grad" in str(error)
        return False
    return torch.allclose(found, torch.cat([g.flatten() for g in oracle]), atol=1e-12, rtol=1e-9)


class Detached(InfoGAN):
    """The information trains Q and never reaches G: samples are cut off before Q sees them."""

    def update_G(self, n, *y):
        noise = self.noise(n)
        x = self.G(noise)
        bound = sum(self.codes.bound(noise[:, -self.codes.size :], self.Q(x.detach())))
        self.opt_G.zero_grad()
        (OBJECTIVES[self.objective].generator(self.D(x)) - self.lam * bound).backward()
        self.opt_G.step()
        return {}


class OtherCode(InfoGAN):
    """Q is asked for a code that was drawn anew, not for the one the sample was made from."""

    def update_G(self, n, *y):
        noise = self.noise(n)
        x = self.G(noise)
        other = noise[:, -self.codes.size :].roll(1, 0)
        bound = sum(self.codes.bound(other, self.Q(x)))
        self.opt_G.zero_grad()
        (OBJECTIVES[self.objective].generator(self.D(x)) - self.lam * bound).backward()
        self.opt_G.step()
        return {}


class WrongSign(InfoGAN):
    """V + lambda L_I: G is paid for hiding the code."""

    def update_G(self, n, *y):
        self.lam, self.lam_continuous = -self.lam, -self.lam_continuous
        return super().update_G(n, *y)


def test_information_reaches_G_and_mutants_are_rejected():
    assert reaches_G_as_the_formula_says(InfoGAN)
    for mutant in (*SEEN, Detached, OtherCode, WrongSign):
        assert not reaches_G_as_the_formula_says(mutant), mutant.__name__


def test_each_player_is_moved_by_its_own_terms_alone():
    """G's update moves neither D nor Q; D's moves both, each by its own terms, and not G."""
    method = make(lam=0.7, lam_continuous=0.2).double()
    again = copy.deepcopy(method)
    x = torch.randn(64, 2, dtype=torch.float64)
    torch.manual_seed(3)
    noise = method.noise(64).double()
    method.noise = lambda n: noise
    before = [parameters(player) for player in (method.D, method.Q)]
    method.update_G(64)
    assert all(torch.equal(parameters(p), b) for p, b in zip((method.D, method.Q), before, strict=True))
    assert all(p.grad is None for player in (method.D, method.Q) for p in player.parameters())
    again.noise = lambda n: noise
    fake = again.G(noise).detach()
    categorical, continuous = again.codes.bound(noise[:, -CODES.size :], again.Q(fake))
    of_D = OBJECTIVES["gan-ma"].discriminator(again.D(x), again.D(fake))
    oracle = [torch.autograd.grad(of_D, list(again.D.parameters())),
              torch.autograd.grad(-0.7 * categorical - 0.2 * continuous, list(again.Q.parameters()))]
    still = parameters(again.G)
    again.update_D(x)
    for player, expected in zip((again.D, again.Q), oracle, strict=True):
        torch.testing.assert_close(gradients(player), torch.cat([g.flatten() for g in expected]))
    assert torch.equal(parameters(again.G), still)


# --- a trunk that D and Q share ----------------------------------------------------------------


def sharing(kind: type[InfoGAN] = InfoGAN, **options) -> InfoGAN:
    """D and Q are heads on one trunk with batch norm, which real and generated samples pass in batches of their own."""
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.LeakyReLU(0.1))
    D, Q = (nn.Sequential(trunk, nn.Linear(16, n)) for n in (1, CODES.outputs))
    return kind(MLP(CODES.size + 3, 2, 16, 2), D, Q, CODES, **options)


def trunk_follows(kind: type[InfoGAN], informed: bool) -> bool:
    """Whether D's step gives the heads the gradient of the discriminator's loss minus lambda L_I, and the trunk that of
    the same, or of the discriminator's loss alone."""
    method = sharing(kind, lam=0.7, lam_continuous=0.2, informed=informed).double()
    expected = copy.deepcopy(method)
    x = torch.randn(64, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    torch.manual_seed(3)
    noise = method.noise(64).double()
    method.noise = lambda n: noise
    fake = expected.G(noise).detach()
    categorical, continuous = expected.codes.bound(noise[:, -CODES.size :], expected.Q(fake))
    of_D = OBJECTIVES["gan-ma"].discriminator(expected.D(x), expected.D(fake))
    loss, (trunk, of_game), of_code = of_D - 0.7 * categorical - 0.2 * continuous, expected.D, expected.Q[1]
    oracle = torch.autograd.grad(loss if informed else of_D, list(trunk.parameters()), retain_graph=True)
    oracle += torch.autograd.grad(loss, [*of_game.parameters(), *of_code.parameters()])
    method.update_D(x)
    found = gradients(nn.ModuleList([method.D, method.Q]))
    return torch.allclose(found, torch.cat([g.flatten() for g in oracle]), atol=1e-12, rtol=1e-9)


class TrunkOfDAlone(InfoGAN):
    """The information trains Q's head on what D's trunk makes, and never the trunk."""

    def judge_and_read(self, x, informed=True):
        features = self.D[0](x)
        return self.D[1](features), self.Q[1](features.detach())


class TrunkOfTheInformationAlone(InfoGAN):
    """D's head judges what the information made of the trunk."""

    def judge_and_read(self, x, informed=True):
        features = self.D[0](x)
        return self.D[1](features.detach()), self.Q[1](features)


def test_a_shared_trunk_follows_what_it_should_and_mutants_are_rejected():
    assert trunk_follows(InfoGAN, True) and trunk_follows(InfoGAN, False)
    assert not trunk_follows(TrunkOfDAlone, True)
    for informed in (True, False):
        assert not trunk_follows(TrunkOfTheInformationAlone, informed)


def test_information_reaches_G_through_a_trunk_that_it_does_not_shape():
    method = sharing(informed=False).double()
    expected = copy.deepcopy(method)
    torch.manual_seed(3)
    noise = method.noise(64).double()
    method.noise = lambda n: noise
    bound = sum(expected.codes.bound(noise[:, -CODES.size :], expected.Q(expected.G(noise))))
    oracle = torch.autograd.grad(-bound, list(expected.G.parameters()))
    found = information_only(method)
    torch.testing.assert_close(found, torch.cat([g.flatten() for g in oracle]))


def test_each_part_has_its_own_rate():
    method = sharing(lr=1e-3, lr_D=2e-4, lr_Q=5e-4)
    rates = [(group["lr"], sum(p.numel() for p in group["params"])) for group in method.opt_D.param_groups]
    assert rates == [(2e-4, 2 * 16 + 16 + 2 * 16 + 16 + 1), (5e-4, 17 * CODES.outputs)]
    assert method.opt_G.param_groups[0]["lr"] == 1e-3


def test_a_shared_trunk_is_passed_once_and_updated_once():
    method, passes = sharing(), []
    assert method.shared and not make().shared
    method.D[0].register_forward_hook(lambda *_: passes.append(1))
    method.update_D(torch.randn(8, 2))
    assert len(passes) == 2  # real samples, and generated ones for D and Q at once
    method.update_G(8)
    assert len(passes) == 3
    own = [p for group in method.opt_D.param_groups for p in group["params"]]
    assert len({id(p) for p in own}) == len(own) == 4 + 2 + 2


def test_q_reads_what_the_trunk_learnt_on_real_samples():
    """Where the information is unpaid and G stands still, only a shared trunk lets D's lessons reach Q."""
    for method, reached in ((sharing(lam=0.0, lam_continuous=0.0), True), (make(lam=0.0, lam_continuous=0.0), False)):
        x = torch.randn(64, 2)
        before = method.eval().Q(x).detach().clone()
        method.train().update_D(x)
        assert torch.equal(method.eval().Q(x), before) != reached


# --- learning ----------------------------------------------------------------------------------


def four_corners(n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    label = torch.randint(4, (n,), generator=generator)
    corner = torch.stack([label % 2, label // 2], 1).float() * 2 - 1
    return corner + 0.15 * torch.randn(n, 2, generator=generator), label


@pytest.mark.parametrize("paid", [True, False])
def test_categorical_code_finds_the_modes_if_G_is_paid_for_it(paid):
    x, label = four_corners(4000, torch.Generator().manual_seed(0))
    method = make(codes=Codes((4,)), width=64, z=32, paid=paid, lr=1e-3)
    run = training.fit(method, {"x": x}, steps=500, batch_size=128, seed=0, precision="float32")
    logits, _, _ = method.retrieve(x)
    table = torch.bincount(logits[0].argmax(1) * 4 + label, minlength=16).reshape(4, 4).numpy()
    rows, columns = linear_sum_assignment(-table)
    accuracy = table[rows, columns].sum() / len(x)
    bound = run.history["bound_categorical"][-50:].mean().item()
    assert (accuracy > 0.95 and bound > 0.9 * math.log(4)) if paid else (accuracy < 0.9 and bound < 0.5 * math.log(4))


def test_generate_uses_the_code_it_is_given():
    method = make()
    continuous, z = torch.tensor([[0.5, -1.0], [0.0, 1.0]]), torch.zeros(1, 3)
    c = CODES.encode([torch.tensor([0, 1]), torch.tensor([2, 3])], continuous)
    assert c.tolist() == [[1, 0, 0, 0, 0, 1, 0, 0.5, -1], [0, 1, 0, 0, 0, 0, 1, 0, 1]]
    with torch.no_grad():
        torch.testing.assert_close(method.generate(c, z), method.G(torch.cat([z.expand(2, -1), c], 1)))
    one, two = (method.sample(300, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two)


def test_codes_and_noise_follow_their_prior():
    z = make(z=4).noise(20_000, torch.Generator().manual_seed(0))[:, :4]
    assert z.abs().max() <= 1 and z.mean(0).abs().max() < 0.02 and (z.var(0) - 1 / 3).abs().max() < 0.01
    c = Codes((5,), 1).draw(20_000, torch.Generator().manual_seed(0))
    assert (c[:, :5].mean(0) - 0.2).abs().max() < 0.02
    assert c[:, 5].mean().abs() < 0.02 and c[:, 5].var().item() == pytest.approx(1 / 3, abs=0.01)
    assert Codes((5,), 1).entropy == pytest.approx((math.log(5), math.log(2)))


def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path):
    x, _ = four_corners(200, torch.Generator().manual_seed(0))
    whole = training.fit(make(ema=0.9), {"x": x}, steps=6, batch_size=16, seed=1)
    training.fit(make(ema=0.9), {"x": x}, steps=3, batch_size=16, seed=1, checkpoint=tmp_path / "run.pt")
    legs = training.fit(make(ema=0.9, seed=2), {"x": x}, steps=6, batch_size=16, seed=1, checkpoint=tmp_path / "run.pt")
    for name, value in whole.method.state_dict().items():
        assert torch.equal(legs.method.state_dict()[name], value), name
    assert set(whole.history) == {"loss_D", "wasserstein", "loss_G", "bound_categorical", "bound_continuous"}
    with pytest.raises(ValueError, match="belongs to another run"):
        training.fit(make(ema=0.9, lam=2.0), {"x": x}, steps=6, batch_size=16, seed=1, checkpoint=tmp_path / "run.pt")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Codes(), "at least one code in all"),
        (lambda: Codes((1,)), "each at least 2"),
        (lambda: CODES.encode(torch.tensor([0]), torch.zeros(1, 2)), "values for 1 categorical codes; the codes are"),
        (lambda: CODES.encode([torch.tensor([3]), torch.tensor([0])], torch.zeros(1, 2)),
         r"categorical code 0 has the values 0 to 2, not \[3\]"),
        (lambda: CODES.encode([torch.tensor([0]), torch.tensor([0])]), r"c has shape \(1, 7\), not \(n, 9\)"),
        (lambda: CODES.encode([torch.tensor([0]), torch.tensor([0])], torch.tensor([[0.0, 1.5]])),
         r"continuous codes lie in \[-1, 1\], these in \[0, 1.5\]"),
        (lambda: make().generate(torch.zeros(1, 9), torch.zeros(1, 3)), "categorical code 0 needs one 1 and zeros"),
        (lambda: make().generate(torch.zeros(1, 5), torch.zeros(1, 3)),
         r"not \(n, 9\); the codes are: categorical one of 3 values, one of 4 values; continuous 2"),
        (lambda: make().generate(CODES.draw(4), torch.zeros(2, 3)), r"z has shape \(2, 3\), not \(4 or 1, 3\)"),
        (lambda: make(lam=-1.0), "lambda must be 0 or more"),
        (lambda: make(objective="wgan-gp"), "'wgan-gp' needs clipping or a penalty"),
        (lambda: InfoGAN(MLP(12, 2), D := MLP(2, 1), nn.Sequential(D[0]), CODES), "two parts each, not 7 and 1"),
        (lambda: InfoGAN(MLP(9, 2), MLP(2, 1), MLP(2, 11), CODES), "G takes 9 inputs, which must be more than the 9"),
        (lambda: InfoGAN(MLP(12, 2), MLP(2, 1), MLP(2, 9), CODES).update_G(4), r"Q returned shape \(4, 9\), not"),
    ],
)  # fmt: skip
def test_bad_input_says_what_there_is(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_cross_entropy_is_the_same_thing():
    """For one categorical code, -L_I + H(c) is the cross-entropy that classifiers are trained with."""
    codes = Codes((6,))
    c, logits = codes.draw(40), torch.randn(40, 6)
    torch.testing.assert_close(math.log(6) - codes.bound(c, logits)[0], F.cross_entropy(logits, c.argmax(1)))
