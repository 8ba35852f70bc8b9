"""Device and precision: what a run uses, and that nothing else changes by them."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import nn
from trainable import Line, Tiny, images, points

from medgan_lib import networks
from medgan_lib.methods import GAN
from medgan_lib.training import fit
from medgan_lib.training.placement import bfloat16_helps, place, under_autocast, where_and_how


def test_precisions_differ_but_losses_are_float32(whole):
    assert whole["bfloat16"].precision == "bfloat16" and whole["float32"].precision == "float32"
    assert not torch.equal(whole["bfloat16"].history["loss_D"], whole["float32"].history["loss_D"])
    torch.testing.assert_close(whole["bfloat16"].history, whole["float32"].history, atol=0.1, rtol=0.1)
    assert all(run.method.dtypes == {torch.float32} for run in whole.values())


def test_auto_precision(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert fit(Tiny(), images(), steps=1).precision == "bfloat16"
    assert fit(Line(), points(), steps=1).precision == "float32"  # dense networks lose by the casts
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert fit(Tiny(), images(), steps=1).precision == "float32"
    assert where_and_how("auto", "bfloat16", Tiny())[1] == "bfloat16", "who asks for it gets it"
    assert not bfloat16_helps(torch.device("cuda"), Tiny()), "casts are more launches, and nothing is gained"


def test_optimizers_with_a_past_keep_it():
    """Moments made before fit changed the memory format must follow it: fused Adam pairs them up as they lie."""
    torch.manual_seed(0)
    steps = [{"x": images()["x"][:8]}, {"x": images()["x"][8:16]}]
    fused, plain = Tiny(), Tiny()
    plain.opt_D = torch.optim.Adam(plain.D.parameters(), plain.lr, foreach=False)
    plain.opt_G = torch.optim.Adam(plain.G.parameters(), plain.lr, foreach=False)
    for method in (fused, plain):
        torch.manual_seed(0)
        for batch in steps:
            method.step(batch)
        fit(method, images(), steps=3, batch_size=8, precision="float32")
    torch.testing.assert_close(fused.state_dict(), plain.state_dict(), atol=1e-5, rtol=1e-4)


def test_layers_decide_and_not_the_shape_of_weights(monkeypatch):
    """The weight of minibatch discrimination is 3-D, as that of a convolution may be, but nothing convolves."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    D = nn.Sequential(networks.MLP(2, 4, 8, 1), networks.MinibatchDiscrimination(4, 3, 2), nn.Linear(7, 1))
    method = GAN(networks.MLP(2, 2, 8, 1), D)
    place(method, torch.device("cpu"))
    assert D[1].T.is_contiguous()
    assert fit(method, {"x": torch.randn(20, 2)}, steps=1, batch_size=4).precision == "float32"
    resized = GAN(networks.Generator((1, 8, 8), 2, 4), networks.Critic((1, 8, 8), 4))
    assert fit(resized, {"x": torch.randn(4, 1, 8, 8)}, steps=1, batch_size=4).precision == "bfloat16"
    spatial = [p for p in resized.parameters() if p.ndim == 4 and min(p.shape[:2]) > 1]
    assert spatial and all(p.is_contiguous(memory_format=torch.channels_last) for p in spatial)


class Pair(NamedTuple):
    image: torch.Tensor
    kind: torch.Tensor


class Several(nn.Module):
    """Returns what networks may return, and remembers in which precision it computed."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        y = self.layer(x)
        self.computed = y.dtype
        return {"pair": Pair(y, torch.arange(2)), "list": [y, None], "y": y}


def test_all_that_a_network_returns_is_float32():
    method = nn.Module()
    method.net = Several()
    method.networks = lambda: {"net": method.net, "again": method.net}
    x = torch.randn(3, 2)
    exact = method.net(x)
    assert method.net.computed == torch.float32
    with under_autocast(method, torch.device("cpu"), "bfloat16"):
        made = method.net(x)
    assert method.net.computed == torch.bfloat16
    assert isinstance(made["pair"], Pair) and made["pair"].kind.dtype == torch.int64 and made["list"][1] is None
    for value in (made["pair"].image, made["list"][0], made["y"]):
        assert value.dtype == torch.float32 and not torch.equal(value, exact["y"])
        torch.testing.assert_close(value, exact["y"], atol=0.02, rtol=0.02)
    assert "forward" not in vars(method.net) and method.net(x)["y"].equal(exact["y"])


class Looked(nn.Module):
    """A network whose forward pass goes through what a method may call by itself: a method and a layer."""

    def __init__(self):
        super().__init__()
        self.layer, self.last, self.handed_on = nn.Linear(2, 2), nn.Linear(2, 1), []

    def features(self, x):
        h = self.layer(x)
        self.handed_on.append(h.dtype)
        return h

    def forward(self, x):
        h = self.features(x)
        self.handed_on.append(h.dtype)
        return self.last(h)


def test_further_calls_run_under_autocast_and_within_a_pass_nothing_is_widened():
    method = nn.Module()
    method.net = Looked()
    method.networks = lambda: {"net": method.net}
    method.further_calls = lambda: [(method.net, "features"), (method.net, "layer")]
    x, bfloat16 = torch.randn(3, 2), torch.bfloat16
    for precision, inside in (("bfloat16", bfloat16), ("float32", torch.float32)):
        with under_autocast(method, torch.device("cpu"), precision):
            assert method.net(x).dtype == torch.float32
            assert method.net.handed_on == [inside] * 2
            made = method.net.features(x), method.net.layer(x)
        assert all(part.dtype == torch.float32 for part in made)
        assert all(part.equal(part.to(bfloat16).float()) == (inside == bfloat16) for part in made)
        assert not {"forward", "features"} & {*vars(method.net), *vars(method.net.layer)}
        method.net.handed_on.clear()


def test_a_network_that_fails_is_given_back_and_the_next_pass_is_cast():
    method = nn.Module()
    method.net = Several()
    method.networks = lambda: {"net": method.net}
    with under_autocast(method, torch.device("cpu"), "bfloat16"):
        with pytest.raises(RuntimeError):
            method.net(torch.zeros(3, 5))
        method.net(torch.zeros(3, 2))
    assert method.net.computed == torch.bfloat16 and "forward" not in vars(method.net)
