"""Conditions reach both players of Eq. 5, sentences become vectors, and reports say what the simulation knows."""

from __future__ import annotations

import copy
import math
import warnings

import pytest
import torch
from torch import nn

from medgan_lib import cohorts
from medgan_lib.cohorts.problems import reports
from medgan_lib.methods import ConditionalGAN, Contrastive
from medgan_lib.networks import (
    MLP,
    ConditionalCritic,
    ConditionalGenerator,
    Conditioned,
    Encoder,
    TextEncoder,
    Vocabulary,
)
from medgan_lib.objectives import OBJECTIVES
from pipeline.errata.deviations import MUTANTS

SEEN = [mutant.code for mutant in MUTANTS.values() if mutant.part == "condition"]
MEANS = torch.tensor([[1.5, 0.0], [-1.0, 1.0], [0.0, -1.5]])


class Blind(nn.Module):
    """A planted mutant: takes y and forgets it."""

    per_sample = True

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.net(x)


def toy(objective: str = "gan-ma", seed: int = 0, blind: bool = False, **options) -> ConditionalGAN:
    torch.manual_seed(seed)
    G, D = Conditioned(MLP(5, 2, 32, 2), 2, 3), Conditioned(MLP(5, 1, 32, 2), 2, 3)
    return ConditionalGAN(G, Blind(MLP(2, 1, 32, 2)) if blind else D, objective, classes=3, **options)


def batch(n: int) -> dict[str, torch.Tensor]:
    label = torch.randint(3, (n,))
    return {"x": MEANS[label] + 0.3 * torch.randn(n, 2), "label": label}


def largest_error(blind: bool) -> float:
    method = toy(blind=blind, lr=2e-3, ema=0.99, betas=(0.0, 0.9))
    for _ in range(600):
        method.step(batch(64))
    made = method.sample(torch.arange(3).repeat(500), torch.Generator().manual_seed(1))
    found = torch.stack([made[k::3].mean(0) for k in range(3)])
    return (found - MEANS).norm(dim=1).max().item()


def test_class_k_has_mean_k():
    assert largest_error(blind=False) < 0.3


def test_a_discriminator_that_forgets_y_is_found_out():
    assert largest_error(blind=True) > 0.8


class Mismatched(ConditionalGAN):
    """A planted mutant: D judges generated samples beside a condition that they were not made for."""

    def judge(self, x, fake, *y):
        return self.D(x, *y), self.D(fake, *(part.roll(1, 0) for part in y))


def distance_from_eq_5(method: ConditionalGAN) -> float:
    """Relative error of D's loss against E log D(x|y) + E log(1 - D(G(z|y)|y)), in float64, one pair at a time."""
    method, seen = method.double(), batch(16)
    x, y = seen["x"].double(), method.encode(seen["label"]).double()
    z = torch.randn(16, 2).double()
    value = 0.0
    with torch.no_grad():
        for i in range(16):
            real, of_real = x[i : i + 1], y[i : i + 1]
            value += math.log(torch.sigmoid(method.D(real, of_real)).item()) / 16
            value += math.log(1 - torch.sigmoid(method.D(method.G(z[i : i + 1], of_real), of_real)).item()) / 16
    method.noise = lambda n, generator=None: z
    return abs(method.update_D(x, y)["loss_D"].item() + value) / abs(value)


def test_value_is_eq_5_on_the_joint():
    assert distance_from_eq_5(toy("gan")) < 1e-12
    assert distance_from_eq_5(toy("gan-ma")) < 1e-12  # Eq. 2 changes the loss of G alone


def test_other_values_than_eq_5_are_found_out():
    """What public code computes, and conditions that belong to other samples."""
    method = toy("gan")
    for mutant in SEEN:
        assert distance_from_eq_5(mutant(method.G, method.D, "gan", classes=3)) > 1e-3, mutant.__name__
    assert distance_from_eq_5(Mismatched(method.G, method.D, "gan", classes=3)) > 1e-6


def test_both_players_get_the_condition_of_their_sample():
    method, seen = toy(n_critic=2), []
    for player in (method.G, method.D):
        player.register_forward_hook(lambda net, inputs, _: seen.append((net is method.G, inputs[1].argmax(1))))
    label = torch.tensor([0, 1, 2, 2])
    method.step({"x": torch.zeros(4, 2), "label": label})
    updates_of_D = [(True, [0, 1]), (False, [0, 1, 0, 1]), (True, [2, 2]), (False, [2, 2, 2, 2])]
    expected = [*updates_of_D, (True, [2, 2]), (False, [2, 2])]
    assert [(player, y.tolist()) for player, y in seen] == expected


def test_gradient_penalty_is_at_fixed_y():
    """D(x, y) = a(y) . x has the gradient a(y): the penalty must see each sample's own y, at which it stays."""

    class Slopes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Parameter(torch.tensor([[1.0, 0.0], [0.0, 3.0], [0.0, 0.5]]))

        def forward(self, x, y):
            return (x * (y @ self.a)).sum(1)

    method = ConditionalGAN(Conditioned(MLP(5, 2, 8, 1), 2, 3), Slopes(), "wgan-gp", classes=3)
    history = method.update_D(torch.randn(6, 2), method.encode(torch.tensor([0, 1, 1, 2, 2, 2])))
    expected = (0 + 2 * (3 - 1) ** 2 + 3 * (0.5 - 1) ** 2) / 6
    assert history["penalty"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradients_reach_the_embeddings_of_y(objective):
    torch.manual_seed(0)
    G, D = ConditionalGenerator((1, 16, 16), 2, 4, 4), ConditionalCritic((1, 16, 16), 2, 4)
    method = ConditionalGAN(G, D, objective)
    y = torch.randn(6, 2)
    method.update_D(torch.randn(6, 1, 16, 16).clamp(-1, 1), y)
    assert all(p.grad.abs().sum() > 0 for p in D.map[0].parameters())
    assert all(p.grad is None for p in G.parameters())
    kept = [p.grad.clone() for p in D.parameters()]
    method.update_G(6, y)
    assert all(p.grad.abs().sum() > 0 for p in G.embed[0].parameters())
    assert all(torch.equal(p.grad, before) for p, before in zip(D.parameters(), kept, strict=True))


def test_one_number_moves_the_image():
    torch.manual_seed(0)
    G, D = ConditionalGenerator((1, 16, 16), 1, 64, 4).eval(), ConditionalCritic((1, 16, 16), 1, 4)
    z, y = torch.randn(8, 64), torch.linspace(-1, 1, 8)[:, None]
    with torch.no_grad():
        over_y, over_z = G(z[:1].expand(8, -1), y).var(0).mean(), G(z, y[:1].expand(8, -1)).var(0).mean()
        assert over_y > 0.05 * over_z
        assert D(torch.zeros(8, 1, 16, 16), y).std() > 0.01


def test_sampling_takes_the_condition():
    method = toy()
    before = copy.deepcopy(method.state_dict())
    y = torch.arange(600) % 3
    one, two = (method.sample(y, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(one, two) and torch.equal(one, method.sample(600, torch.Generator().manual_seed(7)))
    assert not torch.equal(one, method.sample((y + 1) % 3, torch.Generator().manual_seed(7)))
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def vectors() -> ConditionalGAN:
    return ConditionalGAN(Conditioned(MLP(4, 2, 4, 1), 2, 2), Conditioned(MLP(4, 1, 4, 1), 2, 2))


@pytest.mark.parametrize(
    ("make", "y", "message"),
    [
        (toy, torch.tensor([0, 3]), "classes must be from 0 to 2, these are from 0 to 3"),
        (toy, torch.tensor([-1, 0]), "classes must be from 0 to 2, these are from -1 to 0"),
        (toy, torch.tensor([0.0, 1.0]), r"whole numbers of shape \(n,\), not torch.float32"),
        (toy, torch.tensor([[0]]), r"whole numbers of shape \(n,\), not torch.int64 of shape \(1, 1\)"),
        (vectors, torch.zeros(3, 5), r"floats of shape \(n, 2\), not torch.float32 of shape \(3, 5\)"),
        (vectors, torch.tensor([[0.0, math.nan]]), "y must be finite"),
        (vectors, 4, "4 samples of what"),
    ],
)
def test_conditions_that_do_not_fit_say_so(make, y, message):
    method = make()
    with pytest.raises(ValueError, match=message):
        method.sample(y)
    if not isinstance(y, int):
        with pytest.raises(ValueError, match=message):
            method.condition({"x": torch.zeros(len(y), 2), "label": y, "y": y})


def test_other_bad_input():
    with pytest.raises(ValueError, match="read from 'label', but the cohort has only x, y"):
        toy().step({"x": torch.zeros(4, 2), "y": torch.zeros(4, 3)})
    with pytest.raises(ValueError, match="classes must be at least 1"):
        ConditionalGAN(MLP(2, 2), MLP(2, 1), classes=0)
    with pytest.raises(ValueError, match="condition must be the length of y"):
        ConditionalCritic((1, 16, 16), 0)
    with pytest.raises(ValueError, match="temperature must be above 0"):
        Contrastive(MLP(2, 2), MLP(2, 2), temperature=0)


# --- sentences --------------------------------------------------------------------------------


def test_vocabulary():
    vocabulary = Vocabulary(["Small, part-solid nodule.", "large nodule"])
    assert vocabulary.words == ("large", "nodule", "part-solid", "small") and len(vocabulary) == 6
    assert vocabulary.encode(["small NODULE", "large"]).tolist() == [[5, 3], [2, 0]]
    with pytest.warns(UserWarning, match="words read as <unknown>: cavity, huge$") as caught:
        assert vocabulary.encode(["huge nodule", "large cavity huge"]).tolist() == [[1, 3, 0], [2, 1, 1]]
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vocabulary.encode(["a small nodule".removeprefix("a ")])
    with pytest.raises(ValueError, match="no known word in 'nothing here'; known are: large, nodule"):
        vocabulary.encode(["nodule", "nothing here"])
    with pytest.raises(ValueError, match="no known word in ''"):
        vocabulary.encode([""])
    with pytest.raises(ValueError, match="takes a list"):
        vocabulary.encode("nodule")
    with pytest.raises(ValueError, match="sentences with words"):
        Vocabulary(["...", ""])


def test_text_encoder_reads_in_order_and_ignores_padding():
    torch.manual_seed(0)
    encoder = TextEncoder(8, 5)
    a, b = encoder(torch.tensor([[2, 3, 4], [4, 3, 2]]))
    assert (a - b).norm() > 1e-2
    torch.testing.assert_close(encoder(torch.tensor([[2, 3, 4, 0, 0]]))[0], a)
    torch.testing.assert_close(a.norm(), torch.tensor(1.0))


def test_contrastive_training_pairs_images_with_sentences():
    """A stripe's place and its sentence, two words whose order decides: every held-out image finds its sentence."""
    places = [(i, j) for i in range(4) for j in range(4) if i != j]
    tokens = torch.tensor([[2 + i, 2 + j] for i, j in places])
    x = torch.full((len(places), 1, 16, 16), -1.0)
    for image, (i, j) in zip(x, places, strict=True):
        image[0, 4 * i : 4 * i + 4] = 0
        image[0, :, 4 * j : 4 * j + 4] += 1
    torch.manual_seed(0)
    method = Contrastive(Encoder((1, 16, 16), 8, width=8), TextEncoder(6, 8, width=16), lr=3e-3)
    for _ in range(120):
        pick = torch.randperm(len(places))
        history = method.step({"x": x[pick] + 0.1 * torch.randn_like(x), "tokens": tokens[pick]})
    assert history.keys() == {"loss", "found"}
    with torch.no_grad():
        found = method.eval().similarity(x, tokens).argmax(1)
    assert (found == torch.arange(len(places))).float().mean() > 0.9


# --- reports ----------------------------------------------------------------------------------


def test_reports_agree_with_the_known_factors():
    cohort = cohorts.load("nodules", "val", size=16, n=200)
    sentences, tags = reports.describe(cohort, seed=3)
    assert tags.shape == (200, len(reports.TAGS)) and tags.dtype == torch.bool
    for i, sentence in enumerate(sentences):
        mm, margin, (down, right) = cohort["diameter"][i], cohort["margin"][i], cohort["centre"][i]
        own = {
            "small" if mm < 6 else "medium" if mm < 10 else "large",
            "smooth" if margin < 1 / 3 else "lobulated" if margin < 2 / 3 else "spiculated",
            ("solid", "part-solid")[cohort["part_solid"][i]],
        }
        own |= {"upper"} if down < -0.8 else {"lower"} if down > 0.8 else set()
        own |= {"left"} if right < -0.8 else {"right"} if right > 0.8 else set()
        assert {tag for tag, has in zip(reports.TAGS, tags[i], strict=True) if has} == own
        said = sentence.replace("part-solid", "part_solid")
        said = {word.replace("_", "-") for word in said.replace(",", " ").replace(":", " ").split()} & set(reports.TAGS)
        rejected = said - own
        assert own <= said and len(rejected) <= 1 and rejected <= set(reports.MARGINS)
        if rejected:
            assert f"rather than {(other := rejected.pop())}" in sentence or f"not {other} but" in sentence
    assert len({len(sentence.split()) for sentence in sentences}) > 2  # several templates


def test_reports_are_the_same_for_a_subject_in_any_company():
    cohort = cohorts.load("nodules", "val", size=16, n=40)
    whole, again = reports.describe(cohort), reports.describe(cohort)
    part = reports.describe(cohort[10:20])
    assert whole.sentences == again.sentences and part.sentences == whole.sentences[10:20]
    assert torch.equal(part.tags, whole.tags[10:20])
    assert reports.describe(cohort, seed=1).sentences != whole.sentences


def test_only_nodules_can_be_described():
    with pytest.raises(ValueError, match="'ring' has no diameter, margin, part_solid, centre"):
        reports.describe(cohorts.load("ring", n=4))


def test_the_right_report_is_found_as_often_as_it_should():
    tags = reports.describe(cohorts.load("nodules", "test", n=150)).tags
    knows = 8.0 * tags.float() - 4
    assert reports.r_precision(knows, tags) == 1
    shuffled = torch.randperm(150, generator=torch.Generator().manual_seed(0))
    assert reports.r_precision(knows, tags, shuffled) < 0.2
    guesses = torch.randn(150, 12, generator=torch.Generator().manual_seed(1))
    assert reports.r_precision(guesses, tags) < 0.15
    assert reports.r_precision(0 * knows, tags) == 0, "a tie is no hit"
    size_only = torch.where(torch.arange(12) < 3, knows, 0)
    assert 0.05 < reports.r_precision(size_only + 0.01 * guesses, tags) < 0.7
    with pytest.raises(ValueError, match="only 3 others"):
        reports.r_precision(knows[:4], torch.eye(4, 12).bool())
