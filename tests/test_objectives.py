"""Table 1, Eq. 4 and the updates conform to the equations; every planted deviation is rejected."""


from __future__ import annotations

import pytest
import torch
from conformance import CHECKS, OURS, TABLE_1
from torch import nn

from medgan_lib.objectives import OBJECTIVES, clip_weights_, gradient_penalty, r1_penalty
from pipeline.errata.deviations import MUTANTS, Mutant


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_our_code_conforms(check):
    check(OURS)


HERE = {name: mutant for name, mutant in MUTANTS.items() if any(check.startswith(mutant.part) for check in CHECKS)}


@pytest.mark.parametrize("mutant", HERE.values(), ids=HERE)
def test_mutant_is_rejected(mutant: Mutant):
    rejected_by = []
    for name, check in CHECKS.items():
        if name.startswith(mutant.part):
            try:
                check(mutant.implementation)
            except (AssertionError, RuntimeError):
                rejected_by.append(name)
    assert rejected_by, f"no {mutant.part} check notices that {mutant.deviation}"


@pytest.mark.parametrize(
    ("name", "logit", "gradient"),
    [
        ("log-sigmoid-plus-constant", -20.0, -0.17),
        ("log-sigmoid-plus-constant", -30.0, -9.4e-6),
        ("sigmoid-then-cross-entropy", -90.0, 0.0),
    ],
)
def test_mutant_is_as_wrong_as_what_it_re_creates(name, logit, gradient):
    """The gradients that were measured in the public code; the exact one is -1 at all three."""
    l = torch.tensor([logit], requires_grad=True)
    MUTANTS[name].code.generator(l).backward()
    assert l.grad.item() == pytest.approx(gradient, rel=0.02)


# --- what is not a matter of conformance ------------------------------------------------------------------------


def test_penalty_refuses_unequal_shapes():
    with pytest.raises(ValueError, match=r"real \(4, 2\) and fake \(3, 2\)"):
        gradient_penalty(lambda x: x.sum(1), torch.zeros(4, 2), torch.zeros(3, 2))


def test_r1_is_the_mean_squared_norm_on_real_samples():
    """Against derivatives by hand of D(x) = a·x + x·Bx/2, whose slope is another one at each sample."""
    torch.manual_seed(0)
    a, b, x = torch.randn(5, dtype=torch.float64), torch.randn(5, 5, dtype=torch.float64), torch.randn(7, 5).double()
    b = (b + b.T).requires_grad_()
    penalty = r1_penalty(lambda x: x @ a + (x @ b * x).sum(1) / 2, x)
    slopes = a + x @ b
    torch.testing.assert_close(penalty, slopes.square().sum(1).mean(), rtol=1e-12, atol=0)
    # and it can be descended: by B the slope (B + B')x/2 + a changes along both indices
    (gradient,) = torch.autograd.grad(penalty, b)
    outer = slopes.detach().T @ x / len(x)
    torch.testing.assert_close(gradient, outer + outer.T, rtol=1e-12, atol=1e-12, check_stride=False)
    map_of_values = r1_penalty(lambda x: torch.stack([x @ a, x @ a], 1), x)
    torch.testing.assert_close(map_of_values, 4 * a.square().sum(), rtol=1e-12, atol=0)


def test_clipping_is_in_place_and_reaches_every_parameter():
    module = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    before = [p.detach().clone() for p in module.parameters()]
    clip_weights_(module, 0.1)
    for p, b in zip(module.parameters(), before, strict=True):
        torch.testing.assert_close(p.detach(), b.clamp(-0.1, 0.1))


def test_names_are_those_of_table_1():
    assert list(OBJECTIVES) == list(TABLE_1) and all(o.name == n for n, o in OBJECTIVES.items())
