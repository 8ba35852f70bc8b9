"""AnoGAN and its encoder form run: nothing waits, inverses are learnt, nonsense is refused."""

from __future__ import annotations

import pytest
import torch
from linear_anogan import LATENT, PIXELS, LinearD, LinearG, noise, players, search, seeded
from torch import Tensor, nn

from medgan_lib.methods import FAnoGAN, anomaly_scores
from medgan_lib.networks import ClassCritic, MinibatchDiscrimination


def test_no_step_waits_for_the_device(monkeypatch):
    """Tensors are turned into Python numbers as often in 50 steps as in 2, but for Adam's own counter on the CPU."""
    G, D, _, x = players()
    count = {"n": 0}
    for name in ("item", "__bool__", "__float__", "__int__", "tolist"):
        real = getattr(Tensor, name)

        def counted(self, *args, real=real):
            count["n"] += self.dtype != torch.float32  # which only that counter is
            return real(self, *args)

        monkeypatch.setattr(Tensor, name, counted)
    numbers = []
    for steps in (2, 50):
        count["n"] = 0
        search(G, D, x, steps=steps)
        numbers.append(count["n"])
    assert numbers[0] == numbers[1] > 0


def trained(kappa: float = 1.0, steps: int = 600) -> tuple[FAnoGAN, Tensor]:
    torch.manual_seed(0)
    E = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, LATENT)).double()
    method = FAnoGAN(LinearG(), E, LinearD(), kappa=kappa, lr=0.02)
    for step in range(steps):
        method.opt_E.param_groups[0]["lr"] = 0.02 * (1 - step / steps)
        with torch.no_grad():
            x = method.G(torch.randn(64, LATENT, dtype=torch.float64))
        method.step({"x": x})
    return method, noise(50, seeded(4))


@pytest.mark.parametrize("kappa", [0.0, 1.0])
def test_the_encoder_learns_a_known_inverse(kappa):
    method, z = trained(kappa)
    x = method.G(z).detach()
    torch.testing.assert_close(method.encode(x), z, atol=0.02, rtol=0)
    normal, odd = method.scores(x), method.scores(x + 0.5 * torch.randn(x.shape, generator=seeded(2)).double())
    assert normal.A.max() < 1e-3 < 0.02 < odd.A.min()
    torch.testing.assert_close(odd.A, odd.R + kappa * odd.D)
    torch.testing.assert_close(odd.R, odd.x_R.square().flatten(1).mean(1))
    assert torch.equal(anomaly_scores(method.G, method.D, x, normal.z).x_R, normal.x_R)


class Alike(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), MinibatchDiscrimination(PIXELS, 2), nn.Linear(PIXELS + 2, 1))


NAN = torch.full((2, 1, 3, 4), 0.5, dtype=torch.float64).index_fill(0, torch.tensor([1]), float("nan"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lam": -0.1}, r"lam must be in \[0, 1\], not -0.1"),
        ({"lam": 1.5}, r"lam must be in \[0, 1\], not 1.5"),
        ({"lam": float("nan")}, r"lam must be in \[0, 1\], not nan"),
        ({"x": NAN}, "1 of 2 images have values not finite"),
        ({"x": NAN[:0]}, "images must be"),
        ({"x": NAN[:1, :, :, :3]}, r"images of shape \(1, 3, 3\) for a generator of \(1, 3, 4\)"),
        ({"discrimination": "logits"}, "unknown discrimination 'logits'; there are features, cross-entropy"),
        ({"layer": "layers"}, "LinearD has no method or layer 'layers', which feature matching needs"),
        ({"D": ClassCritic((1, 8, 8), 2, width=8), "layer": "shape"}, "ClassCritic has no method or layer 'shape'"),
        ({"D": nn.Flatten(), "discrimination": "cross-entropy"}, "cross-entropy needs one logit an image"),
        ({"D": Alike(), "discrimination": "cross-entropy"}, "D has minibatch discrimination"),
        ({"noise": lambda n, g: torch.zeros(n, 2).double()}, r"noise has shape \(1, 2\), but G takes codes \(1, 3\)"),
        ({"restarts": 0}, "restarts must be at least 1, not 0"),
        ({"steps": 0}, "steps must be at least 1, not 0"),
    ],
)
def test_impossible_searches_say_so(options, message):
    G, D, _, x = players()
    with pytest.raises(ValueError, match=message):
        search(G, **({"D": D, "x": x} | options))


def test_impossible_encoders_say_so():
    G, D, _, x = players()
    E = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, LATENT)).double()
    with pytest.raises(ValueError, match="kappa must be 0 or more, not -1"):
        FAnoGAN(G, E, D, kappa=-1)
    with pytest.raises(ValueError, match="Flatten has no method or layer 'features'"):
        FAnoGAN(G, E, nn.Flatten())
    method = FAnoGAN(G, E, D)
    with pytest.raises(ValueError, match="1 of 2 images"):
        method.scores(NAN)
    with pytest.raises(ValueError, match=r"images of shape \(1, 4, 3\)"):
        method.step({"x": x.transpose(2, 3)})
