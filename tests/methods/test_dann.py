"""Domain adaptation: reversal, Eq. 9 and DANN against oracles in float64, what they learn, and what they refuse."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from medgan_lib import training
from medgan_lib.methods.dann import DANN, LabelsOnly, Primary, annealed, domain_loss, reverse, schedule
from medgan_lib.metrics import proxy_a_distance
from pipeline.errata.deviations import MUTANTS

# --- the reversal layer -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lam", [0.0, 0.3, 2.0, torch.tensor(0.7)])
def test_reversal_passes_values_on_and_turns_gradients(lam):
    torch.manual_seed(0)
    W, w = torch.randn(3, 4, dtype=torch.float64, requires_grad=True), torch.randn(4, dtype=torch.float64)
    x = torch.randn(5, 3, dtype=torch.float64)
    h = x @ W
    assert torch.equal(reverse(h, lam), h)
    (found,) = torch.autograd.grad((reverse(h, lam).tanh() @ w).sum(), W)
    analytic = -float(lam) * x.T @ ((1 - (x @ W).detach().tanh() ** 2) * w)
    torch.testing.assert_close(found, analytic, rtol=1e-6 if isinstance(lam, torch.Tensor) else 1e-12, atol=1e-12)


def test_reversal_keeps_what_comes_before_and_after_apart():
    """What is behind the layer gets its own gradient, unturned and without lam; twice turned is turned by lam²."""
    h = torch.randn(6, dtype=torch.float64, requires_grad=True)
    v = torch.randn(6, dtype=torch.float64, requires_grad=True)
    g_h, g_v = torch.autograd.grad((reverse(h, 0.3) * v).sum(), (h, v))
    torch.testing.assert_close(g_v, h.detach(), rtol=0, atol=0)
    torch.testing.assert_close(g_h, -0.3 * v.detach(), rtol=1e-6, atol=0)
    (twice,) = torch.autograd.grad((reverse(reverse(h, 0.5), 0.5) * v).sum(), h)
    torch.testing.assert_close(twice, 0.25 * v.detach(), rtol=1e-6, atol=0)


# --- Eq. 9 and the schedule -------------------------------------------------------------------------------------


def test_the_domain_loss_is_eq_9():
    torch.manual_seed(0)
    s, t = torch.randn(7, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    D_s, D_t = torch.sigmoid(s), torch.sigmoid(t)
    oracle = -D_s.log().sum() / 7 - (1 - D_t).log().sum() / 6
    torch.testing.assert_close(domain_loss(s, t), oracle, rtol=1e-12, atol=0)
    undecided = domain_loss(torch.zeros(4), torch.zeros(9))
    assert float(undecided) == pytest.approx(2 * math.log(2))
    far = torch.tensor([-200.0], requires_grad=True)
    domain_loss(far, torch.zeros(1)).backward()
    assert float(far.grad) == pytest.approx(-1.0)  # D is wrong there: a guarded logarithm would give 0


def test_the_schedule_is_that_of_the_paper():
    p = torch.linspace(0, 1, 21, dtype=torch.float64)
    torch.testing.assert_close(schedule(p), 2 / (1 + torch.exp(-10 * p)) - 1, rtol=1e-12, atol=1e-15)
    assert schedule(p)[0] == 0 and schedule(p)[-1] > 0.9999
    assert float((schedule(p, slope=1.0) - schedule(p)).abs().max()) > 0.5  # a slope of 1, as one library has it


def test_lam_rises_with_the_steps_and_stays():
    method = DANN(*players(), lam=0.4, rise=8)
    seen = [float(method.step(batch())["lam"]) for _ in range(12)]
    expected = [0.4 * (2 / (1 + math.exp(-10 * min(k / 8, 1))) - 1) for k in range(12)]
    assert seen == pytest.approx(expected, abs=1e-6)
    for mutant in (mutant.code for mutant in MUTANTS.values() if mutant.part == "adaptation"):
        other = mutant(*players(), lam=0.4, rise=8)
        assert [float(other.step(batch())["lam"]) for _ in range(12)] != pytest.approx(expected, abs=1e-2)
    constant = DANN(*players(), lam=0.4)
    assert [float(constant.step(batch())["lam"]) for _ in range(3)] == pytest.approx([0.4] * 3)


def rates(method: DANN | LabelsOnly, steps: int = 12) -> list[float]:
    seen = []
    for _ in range(steps):
        method.step(batch())
        seen.append(method.opt.param_groups[0]["lr"])
    return seen


def test_the_learning_rate_falls_as_in_the_paper():
    assert annealed(0.0) == 1 and annealed(1.0) == pytest.approx(11**-0.75)
    expected = [0.02 / (1 + 10 * min(k / 8, 1)) ** 0.75 for k in range(12)]
    H, C, D = players()
    assert rates(DANN(H, C, D, lr=0.02, anneal=8)) == pytest.approx(expected)
    assert rates(LabelsOnly(H, C, lr=0.02, anneal=8)) == pytest.approx(expected)
    assert rates(DANN(H, C, D, lr=0.02)) == [0.02] * 12
    wrong = [0.02 / (1 + 10 * min((k + 1) / 8, 1)) ** 0.75 for k in range(12)]  # one step ahead
    assert rates(DANN(H, C, D, lr=0.02, anneal=8)) != pytest.approx(wrong)


def test_a_step_moves_weights_by_the_rate_that_is_due():
    """Momentum 0: the third step is the gradient times the annealed rate, for every weight."""
    method = DANN(*players(), lam=0.3, lr=0.05, momentum=0.0, anneal=4)
    for _ in range(2):
        method.step(batch())
    before = [p.detach().clone() for p in method.parameters()]
    method.step(batch())
    for old, new in zip(before, method.parameters(), strict=True):
        torch.testing.assert_close(new.detach(), old - 0.05 * (1 + 10 * 2 / 4) ** -0.75 * new.grad)


# --- DANN is the min-max ----------------------------------------------------------------------------------------


def players(spatial: bool = False) -> tuple[nn.Module, nn.Module, nn.Module]:
    torch.manual_seed(0)
    if spatial:
        layers = nn.Conv2d(2, 4, 3, padding=1), nn.Tanh()
        return nn.Sequential(*layers).double(), nn.Conv2d(4, 3, 1).double(), nn.Conv2d(4, 1, 3, stride=2).double()
    H, D = nn.Sequential(nn.Linear(5, 4), nn.Tanh()), nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))
    return H.double(), nn.Linear(4, 3).double(), D.double()


def batch(spatial: bool = False, n: int = 6) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    size = (2, 7, 6) if spatial else (5,)
    x, target = (torch.randn(n, *size, generator=draw, dtype=torch.float64) for _ in range(2))
    label = torch.randint(3, (n, *size[1:]), generator=draw)
    return {"x": x, "label": label, "target": 2 * target + 1}


def distance_from_the_min_max(kind: type[DANN] = DANN, lam: float = 0.3, spatial: bool = False) -> float:
    """Of losses, gradients and weights after a step, from two players written out: no layer turns anything here."""
    H, C, D = nets = players(spatial)
    ours = copy.deepcopy(nets)
    b = batch(spatial)
    history = kind(*ours, lam=lam, lr=0.01).step(b)
    probability = torch.cat([C(H(one)) for one in b["x"].split(1)]).softmax(1)
    L_c = -probability.gather(1, b["label"][:, None]).log().mean()
    D_S, D_T = (torch.sigmoid(torch.cat([D(H(one)) for one in b[k].split(1)])) for k in ("x", "target"))
    L_d = -D_S.log().mean() - (1 - D_T).log().mean()
    value = {H: L_c - lam * L_d, C: L_c - lam * L_d, D: L_d}  # what each of them makes small
    compared = [(history["loss_c"], L_c), (history["loss_d"], L_d)]
    for net, mine in zip(nets, ours, strict=True):
        parameters = list(net.parameters())
        expected = torch.autograd.grad(value[net], parameters, retain_graph=True)
        compared += zip([p.grad for p in mine.parameters()], expected, strict=True)
        moved = [p.detach() - 0.01 * g for p, g in zip(parameters, expected, strict=True)]
        compared += zip([p.detach() for p in mine.parameters()], moved, strict=True)
    return max(float(((a - e).abs().max() / e.abs().max().clamp_min(1e-6)).detach()) for a, e in compared)


@pytest.mark.parametrize("spatial", [False, True])
@pytest.mark.parametrize("lam", [0.0, 0.3, 2.0])
def test_dann_is_the_min_max_of_its_three_players(lam, spatial):
    assert distance_from_the_min_max(DANN, lam, spatial) < 1e-6


def slipped(slip: str) -> type[DANN]:
    """`DANN` written anew with one slip in it, or without any."""

    class Slipped(DANN):
        def step(self, batch):
            x_S, y_S, x_T = batch["x"], batch["label"], batch["target"]
            h_S, h_T = self.H(x_S), self.H(x_T)
            L_c = nn.functional.cross_entropy(self.C(h_S), y_S)
            lam = 1.0 if slip == "reversal without lam" else self.lam
            turned = [h if slip == "no reversal" else reverse(h, lam) for h in (h_S, h_T)]
            if slip == "target features detached":
                turned[1] = h_T.detach()
            if slip == "D sees images' features only after C":
                turned = [self.C(h).repeat(1, 2)[:, : h.shape[1]] for h in turned]
            s_S, s_T = map(self.D, turned)
            L_d = domain_loss(s_S, s_T)
            if slip == "domain loss on the source alone":
                L_d = nn.functional.softplus(-s_S).mean()
            if slip == "domains exchanged":
                L_d = domain_loss(s_T, s_S)
            if slip == "labels exchanged for H":
                L_d = domain_loss(self.D(h_S.detach()), self.D(h_T.detach()))
                L_d = L_d + domain_loss(self.D(h_T), self.D(h_S)) * self.lam
            if slip == "one mean over both domains":
                L_d = L_d / 2
            if slip == "D's loss weighed by lam":
                L_d = domain_loss(self.D(turned[0]), self.D(turned[1])) * self.lam
            self.opt.zero_grad()
            (L_c + L_d).backward()
            if slip == "D turned as well":
                for p in self.D.parameters():
                    p.grad.neg_()
            if slip == "C turned as well":
                for p in self.C.parameters():
                    p.grad.neg_()
            self.opt.step()
            return {"loss_c": L_c.detach(), "loss_d": L_d.detach(), "lam": self.weight()}

    return Slipped


def test_dann_with_a_slip_is_found_out():
    assert distance_from_the_min_max(slipped("none")) < 1e-6
    for slip in (
        "reversal without lam",
        "no reversal",
        "target features detached",
        "D sees images' features only after C",
        "domain loss on the source alone",
        "domains exchanged",
        "labels exchanged for H",
        "one mean over both domains",
        "D's loss weighed by lam",
        "D turned as well",
        "C turned as well",
    ):
        assert distance_from_the_min_max(slipped(slip)) > 1e-4, slip


def test_a_reversal_with_a_slip_is_found_out(monkeypatch):
    for wrong in (lambda h, lam: h, lambda h, lam: reverse(h, 1.0), lambda h, lam: -lam * h, lambda h, lam: h.detach()):
        monkeypatch.setattr("medgan_lib.methods.dann.reverse", wrong)
        assert distance_from_the_min_max() > 1e-4


def test_without_weight_the_adversary_is_not_there():
    """lam = 0: H and C are those of the source alone, and D learns to tell their features apart."""
    H, C, D = players()
    other = copy.deepcopy((H, C))
    method = DANN(H, C, D, lam=0.0, lr=0.05)
    alone = torch.optim.SGD([p for n in other for p in n.parameters()], 0.05, momentum=0.9)
    first = method.step(batch())["loss_d"]
    last = [method.step(batch())["loss_d"] for _ in range(40)][-1]
    for _ in range(41):
        loss = nn.functional.cross_entropy(other[1](other[0](batch()["x"])), batch()["label"])
        alone.zero_grad()
        loss.backward()
        alone.step()
    for net, mine in zip(other, (H, C), strict=True):
        for a, b in zip(net.parameters(), mine.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)
    assert last < first - 0.1


def test_labels_only_is_dann_without_weight():
    nets = players()
    alone, watched = LabelsOnly(*copy.deepcopy(nets[:2]), anneal=9), DANN(*copy.deepcopy(nets), lam=0.0, anneal=9)
    for _ in range(12):
        losses = alone.step({key: batch()[key] for key in ("x", "label")}), watched.step(batch())
        torch.testing.assert_close(losses[0]["loss_c"], losses[1]["loss_c"])
    for a, b in zip(alone.primary.parameters(), watched.primary.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_batch_norm_sees_both_domains_or_one_at_a_time():
    """Features, and the averages that are remembered, of both ways, written out."""
    x_S, x_T = batch()["x"], batch()["target"]

    def normalised(h):
        return (h - h.mean(0)) / (h.var(0, correction=0) + 1e-5).sqrt()

    def passed(by_domain):
        H, C, D = players()
        H = nn.Sequential(H[0], nn.BatchNorm1d(4)).double().train()
        method = DANN(H, C, D, by_domain=by_domain)
        return H, method.features(x_S, x_T)

    for by_domain in (True, False):
        H, (h_S, h_T) = passed(by_domain)
        raw_S, raw_T = H[0](x_S), H[0](x_T)
        both = normalised(torch.cat([raw_S, raw_T]))
        expected = (normalised(raw_S), normalised(raw_T)) if by_domain else (both[: len(x_S)], both[len(x_S) :])
        for found, oracle in zip((h_S, h_T), expected, strict=True):
            torch.testing.assert_close(found, oracle)
        mean = (raw_S.mean(0), raw_T.mean(0))
        kept = 0.09 * mean[0] + 0.1 * mean[1] if by_domain else 0.05 * (mean[0] + mean[1])
        torch.testing.assert_close(H[1].running_mean, kept.detach())


@pytest.mark.parametrize("wrong", [{"lam": -0.1}, {"rise": -1}])
def test_weights_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=r"lam and rise must be 0 or more, not"):
        DANN(*players(), **wrong)
    with pytest.raises(ValueError, match="anneal must be 0 or more steps, not -1"):
        LabelsOnly(*players()[:2], anneal=-1)


# --- it learns --------------------------------------------------------------------------------------------------


def shifted(n: int = 400) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Two classes along the first axis; along the second, the source gives the class away and the target hides it."""
    draw = torch.Generator().manual_seed(0)
    y_S, y_T = torch.randint(2, (n,), generator=draw), torch.randint(2, (n,), generator=draw)
    noise = torch.randn(2, n, 2, generator=draw)
    x = torch.stack([2.0 * y_S - 1, 3 * (2.0 * y_S - 1)], 1) + 0.5 * noise[0]
    target = torch.stack([2.0 * y_T - 1, 5 - 0.0 * y_T], 1) + 0.5 * noise[1]
    return {"x": x, "label": y_S, "target": target}, y_T


def test_the_adversary_removes_what_tells_the_domains_apart():
    data, y_T = shifted()
    found = {}
    for lam in (0.0, 1.0):
        torch.manual_seed(0)
        nets = nn.Linear(2, 1), nn.Linear(1, 2), nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, 1))
        method = DANN(*nets, lam=lam, rise=400)
        F = training.fit(method, data, steps=500, batch_size=64, precision="float32").method.primary
        with torch.no_grad():
            accuracy = (F(data["target"]).argmax(1) == y_T).float().mean()
            found[lam] = float(accuracy), proxy_a_distance(F.features(data["x"]), F.features(data["target"]))
    assert found[1.0][0] > 0.9 > 0.75 > found[0.0][0], found
    assert found[1.0][1] < found[0.0][1] - 0.3, found


def test_the_primary_network_is_the_trained_one():
    H, C, _ = nets = players()
    F = DANN(*nets).primary
    x = batch()["x"]
    assert isinstance(F, Primary) and torch.equal(F(x), C(H(x))) and torch.equal(F.features(x), H(x))
