"""The deep adversarial network."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from medgan_lib import metrics, networks, training
from medgan_lib.cohorts.problems.few_labels import repeated
from medgan_lib.methods import AdversarialSegmentation
from medgan_lib.methods import adversarial_segmentation as dan


def game(method: type[AdversarialSegmentation] = AdversarialSegmentation, **options) -> AdversarialSegmentation:
    torch.manual_seed(0)
    return method(networks.Segmenter(1, 1, width=2, depth=1), networks.Critic((2, 8, 8), 2), **options)


def squares(n: int, seed: int, size: int = 8) -> dict[str, Tensor]:
    """Noisy images (n, 1, size, size) with a bright square of half the size somewhere, and where it is."""
    draw = torch.Generator().manual_seed(seed)
    mask = torch.zeros(n, 1, size, size)
    edge = size // 2
    for image, (down, right) in zip(mask, torch.randint(0, edge + 1, (n, 2), generator=draw).tolist(), strict=True):
        image[0, down : down + edge, right : right + edge] = 1
    return {"x": mask - 0.5 + 0.2 * torch.randn(mask.shape, generator=draw), "mask": mask}


class GameOnLabelledImages(AdversarialSegmentation):
    """Mutant: S plays with its predictions on the labelled images, about which E is already of its opinion."""

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return super().step(batch | {"u": batch["x"]})


class BlindE(AdversarialSegmentation):
    """Mutant: E sees the prediction without its image."""

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dan, "seen", lambda x, l: torch.cat([torch.zeros_like(x), 2 * l.sigmoid() - 1], 1))
            return super().step(batch)


class WrongSide(AdversarialSegmentation):
    """Mutant: E is told that predictions on unlabelled images are the good ones."""

    def update_E(self, x: Tensor, labelled: Tensor, u: Tensor, unlabelled: Tensor) -> dict[str, Tensor]:
        return super().update_E(u, unlabelled, x, labelled)


def dan_gradients_agree(method: AdversarialSegmentation, weight: float = 0.7) -> bool:
    """Whether S and E got the gradients of their losses, written out here, from one step."""
    data = {name: t.double() for name, t in squares(3, 0).items()} | {"u": squares(4, 1)["x"].double()}
    S, E = copy.deepcopy(method.S), copy.deepcopy(method.E)
    method.step(data)
    labelled, unlabelled = S(data["x"]), S(data["u"])
    views = [torch.cat([data[k], 2 * out.sigmoid() - 1], 1) for k, out in (("x", labelled), ("u", unlabelled))]
    p, q = (E(view.detach()).sigmoid() for view in views)
    of_E = torch.autograd.grad(-p.log().mean() - (1 - q).log().mean(), list(E.parameters()))
    inside, mask = labelled.sigmoid(), data["mask"]
    loss = -(mask * inside.log() + (1 - mask) * (1 - inside).log()).mean()
    loss = loss - weight * method.E(views[1]).sigmoid().log().mean()  # the E that has just been updated
    of_S = torch.autograd.grad(loss, list(S.parameters()))
    pairs = zip([*method.S.parameters(), *method.E.parameters()], [*of_S, *of_E], strict=True)
    return all(torch.allclose(p.grad, wanted, rtol=1e-6, atol=1e-12) for p, wanted in pairs)


def test_segmenter_and_evaluator_descend_on_their_own_loss(in_double_precision) -> None:
    assert dan_gradients_agree(game(lam=0.7))


def test_the_weight_of_the_game_rises_and_stays(in_double_precision) -> None:
    method = game(lam=0.8, ramp=4)
    for step in range(1, 7):
        assert dan_gradients_agree(method, min(step / 4, 1) * 0.8), step
    assert not dan_gradients_agree(game(lam=0.8, ramp=4), 0.8), "the first step has a quarter"


@pytest.mark.parametrize("mutant", [GameOnLabelledImages, BlindE, WrongSide])
def test_another_game_is_rejected(mutant: type[AdversarialSegmentation], in_double_precision) -> None:
    assert not dan_gradients_agree(game(mutant, lam=0.7))


def test_without_the_game_unlabelled_images_change_nothing() -> None:
    few = squares(3, 0)
    states = []
    for seed in (1, 2):
        method = game(lam=0.0)
        for _ in range(3):
            history = method.step(few | {"u": squares(4, seed)["x"]})
        states.append(method.S.state_dict())
    assert set(history) == {"segmentation"}
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_squares_are_found_from_six_masks() -> None:
    torch.manual_seed(0)
    S, E = networks.Segmenter(1, 1, width=4, depth=2), networks.Critic((2, 16, 16), 4)
    method, few, test = AdversarialSegmentation(S, E, lam=1e-4, lr=3e-3), squares(6, 0, 16), squares(40, 2, 16)
    data = repeated(few, squares(40, 1, 16)["x"])
    training.fit(method, data, steps=120, batch_size=4, seed=0, precision="float32")
    found, truth = metrics.components(method.segment(test["x"]) > 0.5, smallest=8), test["mask"].long()
    assert metrics.detection(found, truth).f1 > 0.95 and metrics.object_dice(found, truth) > 0.9
