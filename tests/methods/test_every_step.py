"""What `fit` asks of every method: a step updates every player, returns finite scalars and waits for nothing.

In bfloat16 all of its convolutions are in bfloat16, and its losses are not.
"""

from collections import Counter

import pytest
import torch
from catalogue import CATALOGUE, made
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from trainable import CountSyncs

from medgan_lib import methods
from medgan_lib.methods import Band, Method
from medgan_lib.metrics.yardstick import Lessons
from medgan_lib.training.placement import under_autocast

# It checks the conditions that it gets on a CPU, and only there.
LOOK_ON_A_CPU = {"ConditionalGAN of classes", "ConditionalGAN of numbers", "ConditionalGAN with a projection"}


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
    assert there == exported - {Method, Band, methods.Translation} | {Lessons}


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


class Convolutions(TorchDispatchMode):
    """Counts the results of convolutions, there and back, by type."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **kwargs or {})
        if "convolution" in func.overloadpacket.__name__:
            self.counts.update(part.dtype for part in tree_leaves(made) if isinstance(part, Tensor))
        return made


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_step_in_bfloat16_convolves_in_it_and_its_losses_are_float32(name):
    method, batch = made(name)
    before = [set(vars(module)) for module in method.modules()]
    with under_autocast(method, torch.device("cpu"), "bfloat16"), Convolutions() as mode:
        losses = method.step(batch)
    assert [set(vars(module)) for module in method.modules()] == before
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    states = (value for optimizer in method.optimizers().values() for value in optimizer.state.values())
    moments = [tensor for state in states for tensor in state.values() if isinstance(tensor, Tensor)]
    assert {tensor.dtype for tensor in (*method.parameters(), *moments)} == {torch.float32}
    others = {torch.float32} if name == "SRGAN" else set()  # the features of its content loss stay exact
    assert mode.counts.keys() - others <= {torch.bfloat16}
    assert bool(mode.counts) == any("Conv" in type(module).__name__ for module in method.modules())


@pytest.mark.parametrize("name", ["FAnoGAN", "InfoGAN, one trunk"])
def test_the_check_sees_a_call_that_is_not_listed(name, monkeypatch):
    method, batch = made(name)
    monkeypatch.setattr(type(method), "further_calls", Method.further_calls)
    with under_autocast(method, torch.device("cpu"), "bfloat16"), Convolutions() as mode:
        method.step(batch)
    assert mode.counts.keys() == {torch.bfloat16, torch.float32}
