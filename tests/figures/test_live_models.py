"""What is exported computes what torch does, what cannot be is refused by name, and the controls move what they say."""

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from figures.generators import KINDS, trained, vectors
from torch import nn

from medgan_lib import cohorts, figures, networks
from medgan_lib.figures import live_export, live_models, live_program

ALT = "A 'small' <digit>"


def shown(kind: str = "conditional", **options) -> live_models.LiveModel:
    G, latent = trained(kind)
    return figures.live(G, **{"controls": {}, "start": torch.zeros(latent), "alt": ALT, **options})


@pytest.fixture(scope="module")
def conditional() -> live_models.LiveModel:
    """Eight entries of noise, three of a class."""
    e = torch.eye(11)
    return shown(controls={"slant": e[0] + e[1], "light": (e[2], -1, 2), "class": {name: e[8 + k] for k, name in
                                                                                   enumerate("abc")}})  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_exported_program_is_the_network(kind: str) -> None:
    G, latent = trained(kind)
    assert G.training
    made = live_export.export(live_export.prepared(G), torch.zeros(latent))
    G.eval()
    for v in vectors(4, latent):
        with torch.no_grad():
            wanted = G(v[None])[0]
        found = live_program.run(made, v)
        assert found.shape == wanted.shape == made.shape and wanted.std() > 0.01
        assert (found - wanted).abs().max() < 0.02 * max(1, wanted.abs().max()), "float16 has three digits"


def test_the_networks_own_weights_and_mode_stay() -> None:
    G, latent = trained("Generator")
    before = {name: value.clone() for name, value in G.state_dict().items()}
    figures.live(G, {}, start=torch.zeros(latent), alt=ALT)
    assert G.training and all(torch.equal(value, before[name]) for name, value in G.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in G.modules())


@pytest.mark.parametrize(("kind", "operations"), [
    ("Generator", ["linear", "relu", *["conv", "relu"] * 3, "conv", "tanh"]),
    ("upsampling", ["linear", "conv", "relu", "conv", "tanh"]),
])  # fmt: skip
def test_batch_norm_and_repeated_pixels_cost_nothing(kind: str, operations: list[str]) -> None:
    G, latent = trained(kind)
    made = live_export.export(live_export.prepared(G), torch.zeros(latent))
    assert [step["kind"] for step in made.operations] == operations
    wide = [step for step in made.operations if step.get("wide")]
    assert len(wide) == (3 if kind == "Generator" else 2)
    norms = [module for module in G.modules() if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))]
    biases = sum(len(norm.weight) for norm in norms)  # a bias takes their place; of the dense layer one an output
    spread = 32 * 4 * 4 - 32 if kind == "Generator" else 0
    parameters = sum(p.numel() for p in G.parameters())
    replaced = 3 if kind == "upsampling" else 0  # the convolution before the norm had a bias of its own
    assert made.numbers == parameters - biases + spread - replaced


def test_a_kernel_is_narrowed_only_where_it_repeats_pixels() -> None:
    narrow = np.random.default_rng(0).normal(size=(2, 3, 3, 3))
    x = torch.randn(1, 3, 5, 4, dtype=torch.float64)
    wide = torch.from_numpy(live_program.widened(narrow)).transpose(0, 1)
    found = nn.functional.conv_transpose2d(x, wide, stride=2, padding=1)
    repeated = nn.functional.interpolate(x, scale_factor=2.0)
    assert torch.allclose(found, nn.functional.conv2d(repeated, torch.from_numpy(narrow[:, :, ::-1, ::-1].copy()),
                                                      padding=1))  # fmt: skip
    made = live_export.export(live_export.prepared(trained("DCGAN")[0]), torch.zeros(16))
    assert not any(step.get("wide") for step in made.operations), "freely learned kernels"


# What cannot be shown


class Random(nn.Sequential):
    def forward(self, v: torch.Tensor) -> torch.Tensor:
        return super().forward(v + torch.randn(1, 4))


class Branching(nn.Sequential):
    def forward(self, v: torch.Tensor) -> torch.Tensor:
        return super().forward(v if v[0, 0] > 0 else -v)


class Partial(nn.Sequential):
    def forward(self, v: torch.Tensor) -> torch.Tensor:
        h = v * 2
        h[:, :2].mul_(3)
        return super().forward(h)


LAST = (nn.Linear(4, 64), nn.Unflatten(1, (1, 8, 8)))


@pytest.mark.parametrize(("G", "message"), [
    (nn.Sequential(LAST[0], nn.GELU(), LAST[1]), r"G\.1 \(GELU\) cannot run in a page: there is no gelu; there are"),
    (nn.Sequential(*LAST, nn.Sequential(nn.InstanceNorm2d(1))), r"G\.2\.0 \(InstanceNorm2d\).*statistics of its input"),
    (nn.Sequential(LAST[0], nn.BatchNorm1d(64, track_running_stats=False), LAST[1]), r"G\.1 \(BatchNorm1d\)"),
    (nn.Sequential(*LAST, nn.Conv2d(1, 1, 3, padding=2, dilation=2)), r"G\.2 \(Conv2d\).*dilation"),
    (nn.Sequential(LAST[0], nn.Unflatten(1, (4, 4, 4)), nn.Conv2d(4, 4, 1, groups=2)), "2 groups"),
    (nn.Sequential(*LAST, nn.Upsample(scale_factor=1.5)), r"G\.2 \(Upsample\).*whole number"),
    (networks.Generator((1, 8, 8, 8), 4, 4), r"G\.layers\.4 \(ResizeConv\).*convolution of 3 dimensions"),
    (networks.ProGenerator((1, 16, 16), 4, 4), "ProGenerator"),
    (networks.ConditionalGenerator((1, 8, 8), 1, 3, 4), "must take one vector"),
    (nn.Linear(4, 9), r"to images \(n, 1 or 3, height, width\), not to \(1, 9\)"),
    (nn.Linear(5, 9), "vector of 4 numbers"),
    (Random(*LAST), "random numbers"),
    (Branching(*LAST), r"G \(Branching\)"),
    (Partial(*LAST), "in place"),
])  # fmt: skip
def test_what_a_page_cannot_compute_is_refused_by_name(G: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        figures.live(G, {"a": torch.eye(4)[0]}, start=torch.full((4,), 0.5), alt=ALT)


def test_weights_beyond_float16_are_refused() -> None:
    G = nn.Sequential(*LAST, nn.Tanh())
    with torch.no_grad():
        G[0].weight[0, 0] = 1e6
    with pytest.raises(ValueError, match="float16"):
        figures.live(G, {}, start=torch.zeros(4), alt=ALT)


@pytest.mark.parametrize("wrong", ["weight", "bias", "channels", "order", "operation"])
def test_a_wrong_export_is_not_shown(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One weight, one bias, two channels, the order of arrays, one operation: each alone is found."""
    right = live_export.export

    def export(G: nn.Module, start: torch.Tensor) -> live_program.Program:
        made = right(G, start)
        numbers = np.frombuffer(base64.b64decode(made.weights), "<f2").copy()
        channels = 4 * 9  # of the last hidden map, before the last bias
        if wrong == "weight":
            numbers[-1 - channels + 4] += 1
        elif wrong == "bias":
            numbers[-1] += 0.1
        elif wrong == "channels":
            last = numbers[-1 - channels : -1].reshape(4, 9)
            last[[0, 1]] = last[[1, 0]]
        elif wrong == "order":
            numbers = np.roll(numbers, 1)
        steps = made.operations
        if wrong == "operation":
            steps = tuple({**step, "kind": "leaky", "slope": 0.2} if step["kind"] == "relu" else step for step in steps)
        return replace(made, operations=steps, weights=base64.b64encode(numbers.tobytes()).decode())

    monkeypatch.setattr(live_export, "export", export)
    with pytest.raises(ValueError, match="would differ from G's by"):
        shown("Generator")


def test_of_too_large_a_network_a_page_has_the_still_version_and_a_notebook_the_widgets() -> None:
    view = figures.live(networks.Generator((1, 32, 32), 64, 32), {}, start=torch.zeros(64), alt=ALT, caption="A net.")
    html = view._repr_html_()
    assert "A net. Its 230,145 numbers are too many for a page" in html
    assert "data-live" not in html and "<script" not in html and len(html) < 100_000
    before = view.images([view.vector(view.values, 0)])
    assert view.widget is not None
    view.noise_button.click()
    assert np.abs(view.images([view.vector(view.values, view.drawn)]) - before).max() > 0.01
    for latent, size in ((32, 155), (64, 243)):  # as the docstring says
        view = figures.live(networks.Generator((1, 32, 32), latent, 16), {}, start=torch.zeros(latent), alt=ALT)
        assert size - 1 < len(view.program.weights) / 1000 <= size and len(view._repr_html_()) < 360_000


E4 = torch.eye(4)


@pytest.mark.parametrize(("options", "message"), [
    ({"controls": {"a": E4[0, :3]}}, "a must be a vector of 4 finite numbers"),
    ({"controls": {"a": E4}}, r"got shape \(4, 4\)"),
    ({"controls": {"a": E4[0] * torch.nan}}, "finite"),
    ({"controls": {"a": (E4[0], 1, 2)}}, "0 between"),
    ({"controls": {"a": (E4[0], 0, 0)}}, "low < high"),
    ({"controls": {"a": (E4[0], -1)}}, "expected"),
    ({"controls": {"a": (E4[0], -1, float("inf"))}}, "expected"),
    ({"controls": {"a": {}}}, "needs options"),
    ({"controls": {"a": {"one": E4[0, :2]}}}, "a, one must be"),
    ({"controls": {" ": E4[0]}}, "label"),
    ({"noise": []}, "nothing to move"),
    ({"noise": [0, 0]}, "each once"), ({"noise": [4]}, "0 to 3"),
    ({"start": E4}, "start must be a vector"), ({"window": (1, 0)}, "window"), ({"alt": " "}, "alt must say"),
])  # fmt: skip
def test_controls_that_make_no_sense_are_refused(options: dict, message: str) -> None:
    G = nn.Sequential(*LAST)
    with pytest.raises(ValueError, match=message):
        figures.live(**{"G": G, "controls": {}, "start": torch.zeros(4), "alt": ALT, **options})


# The vector


def test_controls_add_up_and_noise_replaces_noise_alone(conditional: live_models.LiveModel) -> None:
    first = {"slant": 0.0, "light": 0.0, "class": "a"}
    assert torch.equal(conditional.vector(first), torch.eye(11)[8])
    moved = conditional.vector({"slant": -2.0, "light": 0.5, "class": "c"})
    assert moved.tolist() == [-2, -2, 0.5, 0, 0, 0, 0, 0, 0, 0, 1]
    assert conditional.noise == [0, 1, 3, 4, 5, 6, 7], "neither the code nor the class"
    once, twice = conditional.vector(first, 1), conditional.vector(first, 2)
    stream = figures.playgrounds.Stream(0).normal(14)
    assert np.allclose(once[conditional.noise], stream[:7]) and np.allclose(twice[conditional.noise], stream[7:])
    assert once[2] == 0 and once[8:].tolist() == twice[8:].tolist() == [1, 0, 0]


def test_noise_may_be_named() -> None:
    assert shown(noise=slice(0, 8)).noise == list(range(8)) and shown(noise=[3, 1]).noise == [3, 1]
    assert 'data-do="noise"' not in shown(controls={"a": torch.ones(11)}, noise=())._repr_html_()


# What is shown


def test_the_still_picture_has_a_row_for_each_control(conditional: live_models.LiveModel) -> None:
    assert [(label, words) for label, words, _ in conditional.rows()] == [
        ("New noise", ["first", "1", "2", "3", "4"]), ("slant", ["-3", "-1.5", "0", "1.5", "3"]),
        ("light", ["-1", "-0.25", "0.5", "1.25", "2"]), ("class", ["a", "b", "c"]),
    ]  # fmt: skip
    assert conditional.still.alt == f"{ALT}. A row of images for each of: new noise, slant, light, class."


def test_html_is_the_same_twice_and_on_its_own(conditional: live_models.LiveModel) -> None:
    html = conditional._repr_html_()
    again = figures.live(trained("conditional")[0], {
        label: dict(move.offsets) if hasattr(move, "offsets") else (move.direction, move.low, move.high)
        for label, move in conditional.moves.items()}, start=torch.zeros(11), alt=ALT)  # fmt: skip
    steps = {label: move.step for label, move in again.moves.items() if label != "class"}
    assert steps == {"slant": 0.05, "light": 0.02} and conditional.moves["slant"].step == 0.1
    assert html == conditional._repr_html_()
    assert not re.search(r'(src|href)="(?!data:)|https?://|eval\(|fetch\(|import\(', html)
    assert "A &#x27;small&#x27; &lt;digit&gt;" in html and len(html) - len(conditional.program.weights) < 60_000
    (model,) = re.findall("data-model='([^']*)'", html)
    assert json.loads(model.replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">"))["alt"] == ALT


def test_the_caption_says_what_the_images_are() -> None:
    html = shown(cohort=cohorts.load("digits", n=2), caption="Made by G.")._repr_html_()
    assert "Made by G. Embedded data, not patients: digits" in html


# In a kernel


def test_widgets_show_the_generator_itself(conditional: live_models.LiveModel) -> None:
    G = trained("conditional")[0].eval()
    view, widget = conditional, conditional.widget
    assert widget.children[0].children[:3] == tuple(view.controls.values())

    def wanted(v: torch.Tensor) -> bytes:
        with torch.no_grad():
            return figures.samples(G(v[None]), alt=ALT, columns=1).png

    first = view.screen.picture
    assert first.png == wanted(torch.eye(11)[8])
    assert first.alt == f"{ALT} (slant 0, light 0, class a)"
    view.controls["slant"].value = 1.5
    view.controls["class"].value = "b"
    moved = torch.zeros(11)
    moved[[0, 1, 9]] = torch.tensor([1.5, 1.5, 1])
    assert view.screen.picture.png == wanted(moved) and "class b" in view.screen.picture.alt
    view.noise_button.click()
    assert view.screen.picture.png == wanted(view.vector(view.values, 1)) and "noise 1" in view.screen.picture.alt
    view.back.click()
    assert view.screen.picture == first and view.controls["class"].value == "a"
    view.controls["slant"].value = 1
    assert view.screen.picture != first, "it still listens"
