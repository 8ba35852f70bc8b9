"""Chapter 08: the pieces that the notebook defines itself, and Pix2Pix on problems with known answers."""

import ast

import nbformat
import pytest
import torch
from torch import nn

from medgan_lib import networks, training
from medgan_lib.methods import Pix2Pix
from pipeline import ROOT


def from_chapter(*names, **namespace):
    """Functions and classes that the notebook defines, without running its cells."""
    notebook = nbformat.read(ROOT / "notebooks" / "08_pix2pix.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code" and "setup" not in cell.metadata.get("tags", []):
            for node in ast.parse(cell.source).body:
                if getattr(node, "name", None) in names:
                    exec(ast.unparse(node), namespace)
    return [namespace[name] for name in names]


def images(n=4, size=16, channels=1, seed=0):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


# --- what the notebook defines --------------------------------------------------------------------


def test_the_share_of_noise_is_that_of_a_known_mixture() -> None:
    (share,) = from_chapter("noise_share", torch=torch)
    draw = torch.Generator().manual_seed(0)
    of_y, of_z = torch.randn(1, 400, 1, 2, 2, generator=draw), torch.randn(300, 400, 1, 2, 2, generator=draw)
    assert share(of_y + 0.5 * of_z) == pytest.approx(0.25, rel=0.1)
    assert share(of_y.expand(300, -1, -1, -1, -1)) == pytest.approx(0, abs=1e-9)
    swapped = (of_y + 0.5 * of_z).transpose(0, 1)  # a share of y over z would be 4
    assert share(swapped) > 2
    wild = 0.5 * of_z.clone()
    wild[:, :40] *= 100  # a tenth of the images that vary wildly moves a mean, not the median
    assert share(of_y + wild) < 0.5


def test_noise_enters_through_a_channel_of_its_own() -> None:
    Noisy, share = from_chapter("Noisy", "noise_share", torch=torch, nn=nn)
    torch.manual_seed(0)
    y, G = images(8), Noisy(networks.UNet(3, width=4, depth=2))
    with torch.no_grad():
        assert share(torch.stack([G(y) for _ in range(8)])) > 0.01
        G.net.first[0].weight[:, 1:] = 0  # the channels are there, and nobody listens
        assert share(torch.stack([G(y) for _ in range(8)])) == pytest.approx(0, abs=1e-9)


def test_a_constant_channel_would_prove_nothing() -> None:
    """What the chapter says of noise that is constant over the image: away from the padded rim nothing gets in."""
    torch.manual_seed(0)
    first, y = networks.UNet(2, width=4, depth=1).first, images(2, 48)
    with torch.no_grad():
        one, two = (first(torch.cat([y, torch.full_like(y, z)], 1)) for z in (0.0, 0.5))
        varied = first(torch.cat([y, images(2, 48, seed=3)], 1))
    change = ((other - one)[..., 4:-4, 4:-4].abs().mean() for other in (two, varied))
    constant, free = change
    assert constant < 0.1 * free


def test_the_critic_of_the_whole_image_sees_every_pixel_of_both() -> None:
    (Whole,) = from_chapter("WholeImage", torch=torch, nn=nn, networks=networks, size=16, critic_width=4)
    torch.manual_seed(0)
    D, x, y = Whole(), images(2).requires_grad_(), images(2, channels=3, seed=1).requires_grad_()
    logits = D(x, y)
    assert logits.shape == (2,)
    logits[0].backward()
    assert bool((x.grad[0] != 0).all())
    assert bool((y.grad[0] != 0).all())
    assert not x.grad[1].any()


@pytest.mark.parametrize("mutant", [None, "eq2", "sum", "blind", "swapped"])
def test_the_check_of_equation_6_rejects_what_is_not_equation_6(mutant) -> None:
    (equation6,) = from_chapter("equation6", torch=torch)
    torch.manual_seed(0)
    x, y = images().double(), images(seed=1).double()
    players = (networks.UNet(width=4, depth=2), networks.PatchCritic(2, width=4))
    objective = "gan-ma" if mutant == "eq2" else "gan"
    method = Pix2Pix(*players, objective, lambda1=7.0, lambda2=3.0, lr=0.0).double()
    weights = (3.0, 7.0) if mutant == "swapped" else (7.0, 3.0)
    with torch.no_grad():
        value, of_G = equation6(method.G, method.D, x, y, *weights)
    batch = {"x": x, "y": torch.zeros_like(y)} if mutant == "blind" else {"x": x, "y": y}
    losses = method.step(batch)
    l1 = losses["l1"] * (x[0].numel() if mutant == "sum" else 1)
    agrees = (
        abs(3 * l1 - 7 * losses["loss_D"] - value) < 1e-9
        and abs(losses["loss_G"] + 3 * (l1 - losses["l1"]) - of_G) < 1e-9
    )
    assert bool(agrees) == (mutant is None)


# --- known answers --------------------------------------------------------------------------------


class Constant(nn.Module):
    """One grey value in answer to everything."""

    per_sample = True

    def __init__(self) -> None:
        super().__init__()
        self.grey = nn.Parameter(torch.zeros(()))

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return self.grey + 0 * y


def test_l1_alone_answers_doubt_with_the_median() -> None:
    x = torch.where(torch.arange(200) % 10 < 3, -0.5, 0.8)[:, None, None, None].expand(-1, 1, 4, 4).contiguous()
    G = Constant()
    training.fit(
        Pix2Pix(G, None, lambda1=0.0, lambda2=1.0, lr=0.01),
        {"x": x, "y": torch.zeros_like(x)},
        steps=400,
        batch_size=20,
        seed=7,
    )
    assert G.grey.item() == pytest.approx(0.8, abs=0.05)  # the mean would be 0.41


@pytest.mark.parametrize(("weights", "same"), [((4.0, 40.0), True), ((1.0, 1.0), False)])
def test_only_the_ratio_of_the_weights_counts(weights, same) -> None:
    data = {"x": images(8), "y": images(8, seed=1)}

    def outputs(lambda1, lambda2):
        torch.manual_seed(5)
        method = Pix2Pix(
            networks.UNet(width=4, depth=2), networks.PatchCritic(2, width=4), lambda1=lambda1, lambda2=lambda2, lr=1e-3
        )
        return training.fit(method, data, steps=5, batch_size=4, seed=5, precision="float32").method.translate(
            data["y"]
        )

    difference = (outputs(1.0, 10.0) - outputs(*weights)).abs().mean()
    assert bool(difference < 1e-3) == same


def test_both_rates_fall_to_zero_between_two_steps() -> None:
    players = networks.UNet(width=4, depth=2), networks.PatchCritic(2, width=4)
    method = Pix2Pix(*players, lr=0.1, decay=(2, 6))
    batch, found = {"x": images(), "y": images(seed=1)}, []
    for _ in range(6):
        method.step(batch)
        found.append([optimizer.param_groups[0]["lr"] for optimizer in method.optimizers().values()])
    wanted = [0.1, 0.1, 0.075, 0.05, 0.025, 0.0]
    assert found == [pytest.approx([rate, rate]) for rate in wanted]
    with pytest.raises(ValueError, match="the first before the last"):
        Pix2Pix(*players, decay=(3, 3))
