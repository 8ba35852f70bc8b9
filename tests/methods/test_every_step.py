"""What `fit` asks of every method: a step updates every player, returns finite scalars and waits for nothing."""

import pytest
import torch
from catalogue import CATALOGUE, made
from trainable import CountSyncs

from medgan_lib import methods
from medgan_lib.methods import Band, Method

# It checks the conditions that it gets on a CPU, and only there.
LOOK_ON_A_CPU = {"ConditionalGAN of classes", "ConditionalGAN of numbers"}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_catalogue_has_every_method():
    kinds = {getattr(methods, name) for name in methods.__all__}
    exported = {kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Method)}
    there = {type(made(name)[0]) for name in CATALOGUE}
    # A band is a level of a LAPGAN; the other two are what methods have in common.
    assert there == exported - {Method, Band, methods.Translation}


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_step_updates_every_player_and_returns_finite_scalars(name):
    method, batch = made(name)
    before = {key: parameter.clone() for key, parameter in method.named_parameters()}
    losses = method.step(batch)
    assert losses and all(loss.ndim == 0 and not loss.requires_grad and loss.isfinite() for loss in losses.values())
    after = dict(method.named_parameters())
    for key, optimizer in method.optimizers().items():
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        moved = [k for k, parameter in after.items() if id(parameter) in own and not parameter.equal(before[k])]
        assert moved, f"{key} updated nothing"
    assert all(parameter.isfinite().all() for parameter in after.values())


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name not in LOOK_ON_A_CPU])
def test_a_step_waits_for_nothing(name):
    method, batch = made(name)
    method.step(batch)  # the first makes the optimizers' moments and may look
    with CountSyncs() as mode:
        method.step(batch)
    assert mode.syncs == 0
