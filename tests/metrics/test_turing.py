"""The trained observer of a visual Turing test."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medgan_lib import networks, training
from medgan_lib.methods import Classifier
from medgan_lib.metrics import turing_lessons as lessons
from medgan_lib.metrics import turing_test


class Brightness(nn.Module):
    """Calls an image real if its mean is above 0."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        mean = self.scale * x.flatten(1).mean(1)
        return torch.stack([-mean, mean], 1)


def test_the_verdicts_are_counted_by_kind() -> None:
    real = torch.tensor([1.0, 1, 1, -1]).reshape(4, 1, 1, 1)  # one of four is doubted
    generated = torch.tensor([1.0, 1, -1, -1]).reshape(4, 1, 1, 1)  # two of four fool
    found = turing_test(Brightness(), real, generated, batch_size=3)
    assert (found.accuracy, found.fooled, found.doubted) == (5 / 8, 0.5, 0.25)
    assert found.low == pytest.approx(0.24486, abs=1e-4)  # Clopper and Pearson's table for 5 of 8
    assert found.high == pytest.approx(0.91477, abs=1e-4)


def test_an_observer_learns_which_is_which_and_is_judged_as_it_learnt() -> None:
    draw = torch.Generator().manual_seed(3)
    real, generated = (torch.randn(96, 1, 16, 16, generator=draw) * s for s in (1.0, 0.5))
    torch.manual_seed(0)
    net = networks.Encoder((1, 16, 16), 2, width=4)
    run = training.fit(Classifier(net), lessons(real[:64], generated[:64]), steps=60, batch_size=32, seed=1)
    found = turing_test(run.method.net, real[64:], generated[64:])
    assert found.accuracy > 0.9 and found.low > 0.5
    swapped = turing_test(run.method.net, generated[64:], real[64:])
    assert swapped.accuracy == pytest.approx(1 - found.accuracy)


def test_the_observer_is_left_in_its_mode_and_judges_in_evaluation_mode() -> None:
    torch.manual_seed(0)
    net = networks.Encoder((1, 16, 16), 2, width=4).train()
    x = torch.randn(20, 1, 16, 16)
    once, again = turing_test(net, x[:10], x[10:], batch_size=10), turing_test(net, x[:10], x[10:], batch_size=3)
    assert once == again and net.training  # batch norm would make the verdicts depend on the batch


@pytest.mark.parametrize("count", [0, 5])
def test_unequal_numbers_are_refused(count: int) -> None:
    x = torch.zeros(8, 1, 4, 4)
    for call in (lessons, lambda a, b: turing_test(Brightness(), a, b)):
        with pytest.raises(ValueError, match="equally many"):
            call(x, x[:count])
    with pytest.raises(ValueError, match="equally many"):
        lessons(x[:0], x[:0])
