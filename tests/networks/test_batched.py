"""Networks on many samples: in parts, in evaluation mode, and where networks and results are."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medgan_lib.networks import batched, chosen_device, placed


class Net(nn.Module):
    """Dropout and batch norm, which show the mode, and a count of the samples of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.calls: list[int] = []

    def forward(self, x: torch.Tensor, y: torch.Tensor | float = 0.0) -> torch.Tensor:
        self.calls.append(len(x))
        return self.layers(x) + y

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return self(x) * 2


def test_parts_are_the_whole_in_evaluation_mode_without_a_graph() -> None:
    net, x = Net(), torch.randn(11, 3)
    net.layers[2].eval()
    made = batched(net, x, 4)
    assert net.calls == [4, 4, 3] and not made.requires_grad
    assert net.training and net.layers[1].training and not net.layers[2].training
    assert net.layers[1].num_batches_tracked == 0
    torch.testing.assert_close(made, net.eval()(x))
    torch.testing.assert_close(batched(net.features, x, batch_size=5), 2 * net(x))
    y = torch.randn(11, 1)
    torch.testing.assert_close(batched(net, (x, y), 4), net(x, y))
    assert batched(net, torch.randn(300, 3)).shape == (300, 4) and net.calls[-2:] == [256, 44]


def test_a_failing_network_gets_its_mode_back() -> None:
    net = Net()
    with pytest.raises(RuntimeError):
        batched(net, torch.randn(4, 7))
    assert net.training and net.layers[2].training and torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("x", "batch_size", "message"),
    [
        (torch.zeros(0, 3), 4, "equally many samples, and some"),
        ((torch.zeros(4, 3), torch.zeros(5, 1)), 4, r"equally many samples.*\[4, 5\]"),
        (torch.zeros(4, 3), 0, "batch_size must be at least 1, not 0"),
    ],
)
def test_inputs_that_make_no_sense(x: torch.Tensor, batch_size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        batched(Net(), x, batch_size)


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(TypeError, match="a network or a method of one, not function"):
        batched(lambda x: x, torch.zeros(4, 3))


def test_the_network_runs_where_it_is_and_the_result_is_where_the_input_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Device "meta" has shapes and no values, so nothing of it can come back: what is asked for is what counts."""
    net, asked = nn.Linear(3, 4).to("meta"), []
    assert batched(net, torch.zeros(5, 3, device="meta"), 2).device.type == "meta"
    plain = torch.Tensor.to

    def to(self: torch.Tensor, where: torch.device | torch.dtype, *args: object) -> torch.Tensor:
        if isinstance(where, torch.dtype):  # inside the layer
            return plain(self, where)
        asked.append((self.device.type, torch.device(where).type))
        return torch.zeros(self.shape) if self.is_meta and torch.device(where).type == "cpu" else plain(self, where)

    monkeypatch.setattr(torch.Tensor, "to", to)
    assert batched(net, torch.zeros(5, 3), 2).device.type == "cpu"
    assert asked == [("cpu", "meta"), ("meta", "cpu")] * 3  # part by part: never all of it on the device


def test_devices_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert chosen_device("auto") == torch.device("cpu")
    for absent in ("cuda", "cuda:0", "tpu", "cpu:1"):
        with pytest.raises(ValueError, match=f"device '{absent}' isn't there; choose 'auto' or one of cpu$"):
            chosen_device(absent)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert chosen_device("auto") == chosen_device("cuda") == torch.device("cuda:0")
    assert chosen_device("cuda:1") == torch.device("cuda:1")
    assert chosen_device("auto", nn.Linear(1, 1)) == torch.device("cuda:0")
    assert chosen_device("auto", nn.Linear(1, 1, device="meta")).type == "meta"  # who moved it wants it there
    assert chosen_device("cpu", nn.Linear(1, 1, device="meta")).type == "cpu"


def test_networks_come_back_from_where_they_were_placed(monkeypatch: pytest.MonkeyPatch) -> None:
    moves: list[tuple[str, str]] = []
    here, away = nn.Linear(1, 1), nn.Linear(1, 1, device="meta")
    for name, net in {"here": here, "away": away}.items():
        monkeypatch.setattr(net, "to", lambda device, name=name: moves.append((name, str(device))))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(RuntimeError), placed("auto", here, away) as where:
        assert moves == [("here", "cuda:0"), ("away", "cuda:0")] and where == torch.device("cuda:0")
        raise RuntimeError
    assert moves[2:] == [("here", "cpu"), ("away", "meta")]
