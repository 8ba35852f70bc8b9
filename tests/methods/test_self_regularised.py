"""Eqs. 7 and 8 on problems whose answer is known, and the functions that chapter 10 measures with."""

from __future__ import annotations

from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from medgan_lib import cohorts, metrics, training
from medgan_lib.methods import SelfRegularisedGAN
from medgan_lib.networks import MLP
from medgan_lib.objectives import OBJECTIVES
from pipeline import ROOT


class Slope(nn.Module):
    """G(y) = a y: the one generator whose translations can be read off a number."""

    def __init__(self, a: float) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a))

    def forward(self, y: Tensor) -> Tensor:
        return self.a * y


class PenaltyOnTheWrongImage(SelfRegularisedGAN):
    """Mutant: the change is measured from the other domain's image of the batch, which belongs to somebody else."""

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        lam, self.lam = self.lam, 0.0
        history = super().step(batch)
        self.lam = lam
        self.opt_G.zero_grad()
        (lam * l1_loss(self.G(batch["y"]), batch["x"])).backward()
        self.opt_G.step()
        return history


class PenaltyOnD(SelfRegularisedGAN):
    """Mutant: λ weighs D's loss, so that G is never told to keep anything."""

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        lam, self.lam = self.lam, 0.0
        history = super().step(batch)
        self.lam = lam
        self.opt_D.zero_grad()
        fake = self.G(batch["y"]).detach()
        (lam * OBJECTIVES[self.objective].discriminator(self.D(batch["x"]), self.D(fake))).backward()
        self.opt_D.step()
        return history


def world(symmetric: bool) -> dict[str, Tensor]:
    """Unpaired numbers (2000, 1): B is 0.8 A where A is symmetric, and -A where it is not."""
    draw = torch.Generator().manual_seed(0)

    def sample() -> Tensor:
        if symmetric:
            centre = torch.randint(2, (2000, 1), generator=draw) * 2.0 - 1
        else:
            centre = torch.where(torch.rand(2000, 1, generator=draw) < 0.7, -0.6, 1.4)
        return centre + 0.3 * torch.randn(2000, 1, generator=draw)

    return {"y": sample(), "x": (0.8 if symmetric else -1.0) * sample()}


def slope(start: float, lam: float, *, symmetric: bool, kind: type[SelfRegularisedGAN] = SelfRegularisedGAN) -> float:
    """a after training from ``start``."""
    torch.manual_seed(0)
    method = kind(Slope(start), MLP(1, 1, 32, 2), lam=lam, lr=5e-3)
    training.fit(method, world(symmetric), steps=400, batch_size=64, seed=0, precision="float32")
    return method.G.a.item()


@pytest.mark.parametrize("start", [-0.6, 0.6])
def test_eq_7_keeps_whichever_sign_it_started_with(start: float) -> None:
    """Both signs give D the same numbers; neither is left for the other."""
    assert slope(start, 0.0, symmetric=True) == pytest.approx(np.sign(start) * 0.8, abs=0.12)


def test_eq_8_turns_a_wrong_sign_where_domains_are_alike() -> None:
    assert slope(-0.6, 20.0, symmetric=True) == pytest.approx(0.9, abs=0.15)


@pytest.mark.parametrize("mutant", [PenaltyOnTheWrongImage, PenaltyOnD])
def test_a_penalty_elsewhere_is_no_remedy(mutant: type[SelfRegularisedGAN]) -> None:
    assert abs(slope(-0.6, 20.0, symmetric=True, kind=mutant) - 0.9) > 0.15


def test_eq_8_spoils_the_answer_where_domains_differ() -> None:
    assert slope(-0.6, 0.0, symmetric=False) == pytest.approx(-1, abs=0.12)
    assert slope(-0.6, 20.0, symmetric=False) == pytest.approx(1, abs=0.12)


def test_a_wasserstein_critic_has_the_penalty_of_eq_4_and_others_have_none() -> None:
    for objective, penalty in (("wgan-gp", 10 * (3 - 1) ** 2), ("wgan", 0)):  # the slope of D is 3 everywhere
        method = SelfRegularisedGAN(Slope(1.0), nn.Linear(1, 1), objective, lr=1e-12)
        with torch.no_grad():
            method.D.weight.fill_(3.0)
        losses = method.step({"x": torch.arange(6.0)[:, None], "y": torch.arange(6.0)[:, None] + 10})
        assert losses["loss_D"].item() == pytest.approx(3 * 10 + penalty, rel=1e-4)


def test_rates_fall_to_0() -> None:
    method = SelfRegularisedGAN(Slope(0.5), nn.Linear(1, 1), lr=0.1, decay=(2, 4))
    batch = {"x": torch.ones(4, 1), "y": torch.ones(4, 1)}
    rates = []
    for _ in range(4):
        method.step(batch)
        rates.append([group["lr"] for opt in method.optimizers().values() for group in opt.param_groups])
    assert rates == [pytest.approx([r, r]) for r in (0.1, 0.1, 0.05, 0.0)]


@pytest.mark.parametrize("wrong", [{"lam": -1.0}, {"decay": (3, 3)}])
def test_what_makes_no_sense_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError):
        SelfRegularisedGAN(Slope(0.5), nn.Linear(1, 1), **wrong)


# --- the chapter's own functions ---------------------------------------------------------------


@pytest.fixture(scope="module")
def chapter() -> dict[str, str]:
    notebook = nbformat.read(ROOT / "notebooks" / "10_self_regularisation.ipynb", as_version=4)
    return {cell.id: cell.source for cell in notebook.cells}


def defined(chapter: dict[str, str], cell: str, until: str | None = None, **given) -> SimpleNamespace:
    """What a cell defines, run up to the line that starts with ``until``."""
    source = chapter[cell] if until is None else chapter[cell].split(f"\n{until}")[0]
    names = dict(given)
    exec(compile(source, cell, "exec"), names)
    return SimpleNamespace(**names)


def on_the_line(chapter: dict[str, str]) -> SimpleNamespace:
    first = defined(chapter, "line", np=np)
    return defined(chapter, "line-value", **vars(first))


def test_the_value_on_the_line_has_its_minima_where_theory_says(chapter: dict[str, str]) -> None:
    cell = on_the_line(chapter)
    near, far = (cell.eq8(name, 0) for name in ("near", "far"))
    assert near == pytest.approx(near[::-1], abs=1e-9)
    assert abs(cell.slopes[near.argmin()]) == pytest.approx(0.8, abs=0.02)
    assert near.min() == pytest.approx(-np.log(4), abs=2e-3)
    assert cell.slopes[far.argmin()] == pytest.approx(-1, abs=0.02)
    assert cell.slopes[cell.eq8("near", 0.1).argmin()] == pytest.approx(0.8, abs=0.05)
    assert cell.slopes[cell.eq8("far", 1).argmin()] == pytest.approx(1, abs=0.02)


def test_jsd_of_far_apart_densities_is_log_2(chapter: dict[str, str]) -> None:
    cell = on_the_line(chapter)
    a, b = (cell.mixture(cell.line, [(1.0, m, 0.2)]) for m in (-3, 3))
    assert cell.jsd(a, b) == pytest.approx(np.log(2), abs=1e-6)
    assert cell.jsd(a, a) == pytest.approx(0, abs=1e-12)


def data_cell(chapter: dict[str, str]) -> SimpleNamespace:
    from dataclasses import replace

    return defined(chapter, "data", until="train_doses", cohorts=cohorts, replace=replace, size=32, dose=0.01)


def test_through_window_keeps_units_and_clips(chapter: dict[str, str]) -> None:
    scans = cohorts.load("heads", "test", size=32, n=3, contrasts=("ct",))
    shown = data_cell(chapter).through_window(scans, -100.0, 200.0, "x")
    before, after = scans.to_units(scans.x), shown.to_units(shown.x)
    assert torch.allclose(after, before.clamp(-100, 200), atol=1e-2)
    assert shown.window["ct"] == scans.window["ct"]


def test_poor_and_good_ct_show_the_same_people_in_one_window(chapter: dict[str, str]) -> None:
    found = data_cell(chapter).doses("test", 4)
    assert found.window["x"] == found.window["y"] == (-100.0, 200.0)
    inside = found["labels"] > 0
    apart = [metrics.mae(found["y"].roll(k, 0), found.x, found.window["x"], inside) for k in (0, 1)]
    assert 5 < apart[0] < apart[1] / 2  # noise, not another head


def test_what_is_left_of_a_finding_knows_identity_and_removal(chapter: dict[str, str]) -> None:
    from torch.nn import functional as F

    inside = torch.zeros(4, 1, 48, 48, dtype=torch.bool)
    inside[..., 8:40, 8:40] = True
    held = SimpleNamespace(window={"y": (-100.0, 200.0)}, y=torch.full((4, 1, 48, 48), 0.3), labels=inside.long())
    held = type("Held", (SimpleNamespace,), {"__getitem__": lambda self, key: getattr(self, key)})(**vars(held))
    cell = defined(chapter, "finding", torch=torch, F=F, cohorts=cohorts, seed=100, faint=10, doses_held=held)
    assert cell.depth == pytest.approx(10 / 150)
    assert cell.kept(lambda y: y) == pytest.approx(1, abs=1e-6)
    assert cell.kept(lambda y: 0.3 * y + 0.2) == pytest.approx(0.3, abs=1e-5)
    assert cell.kept(lambda y: torch.zeros_like(y)) == 0


def test_a_blur_keeps_the_mean_and_does_not_move_the_image(chapter: dict[str, str]) -> None:
    from torch.nn import functional as F

    cell = defined(chapter, "filters", until="\nfilters = ", torch=torch, F=F)
    flat, dot = torch.full((1, 1, 20, 20), 0.4), torch.zeros(1, 1, 21, 21)
    dot[..., 10, 10] = 1
    assert torch.allclose(cell.blur(flat, 1.0), flat, atol=1e-6)
    spread = cell.blur(dot, 0.8)
    assert spread.sum().item() == pytest.approx(1, abs=1e-5)
    assert spread.flatten().argmax().item() == 10 * 21 + 10
    assert torch.allclose(spread, spread.flip(-1), atol=1e-7)
