"""The script's mathematics, number by number against torch: gradients of every objective, and Adam."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from medgan_lib.figures import playgrounds
from medgan_lib.objectives import OBJECTIVES, gradient_penalty

GRADIENTS = """
({ D, G, real, z, objective, epsilon }) => {
  const P = window.medganPlayground, net = layers => layers.map(({ W, b }) => ({
    W: Float64Array.from(W.flat()), b: Float64Array.from(b), ins: W[0].length, outs: b.length }));
  const [d, g] = [net(D), net(G)], flat = points => Float64Array.from(points.flat());
  const fake = P.forward(g, flat(z))[3];
  const ofD = P.gradientsD(d, flat(real), fake, objective, flat(epsilon));
  const ofG = P.gradientsG(d, g, flat(z), objective);
  const plain = grad => grad.flatMap(({ W, b }) => [[...W], [...b]]);
  return { D: plain(ofD.grad), G: plain(ofG.grad), dx: [[...ofG.dx]], losses: [[ofD.loss, ofG.loss]] };
}
"""
ADAM = """
({ gradients, rate }) => {
  const P = window.medganPlayground, net = P.network([2, 32, 32, 1], P.uniforms(3));
  const plain = () => net.flatMap(({ W, b }) => [[...W], [...b]]), start = plain();
  for (const all of gradients) {
    P.adam(net, net.map((_, l) => ({ W: all[2 * l].flat(), b: all[2 * l + 1] })), rate);
  }
  return [start, plain()];
}
"""


@pytest.fixture(scope="module")
def page(browser):
    """An empty page that knows the script's functions."""
    page = browser.new_page()
    page.add_script_tag(content=Path(playgrounds.__file__).with_suffix(".js").read_text(encoding="utf-8"))
    yield page
    page.close()


def arrays(values: list[list[float]]) -> list[np.ndarray]:
    return [np.asarray(value) for value in values]


def difference(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """The largest of all arrays, relative to the largest number in the array; a millionth of all of them is nothing."""
    nothing = 1e-6 * max(float(np.abs(b).max()) for b in expected)
    return max(
        float(np.abs(a.ravel() - b.ravel()).max() / max(np.abs(b).max(), nothing))
        for a, b in zip(found, expected, strict=True)
    )


def game(seed: int = 0) -> dict:
    """Random networks and points for both sides."""
    random = np.random.default_rng(seed)

    def net(*sizes: int) -> list[dict]:
        return [
            {"W": random.normal(0, 1.2 / ins**0.5, (outs, ins)), "b": random.normal(0, 0.3, outs)}
            for ins, outs in itertools.pairwise(sizes)
        ]

    return {"D": net(2, 32, 32, 1), "G": net(2, 16, 16, 2), "real": random.normal(size=(17, 2)),
            "z": random.normal(size=(17, 2)), "epsilon": random.random((17, 1))}  # fmt: skip


def by_torch(inputs: dict, objective: str, mean: bool = True) -> dict[str, list[np.ndarray]]:
    """Losses and gradients as the library defines them, in float64."""
    def net(layers: list[dict]) -> torch.nn.Sequential:
        modules: list[torch.nn.Module] = []
        for layer in layers:
            linear = torch.nn.Linear(*layer["W"].shape[::-1], dtype=torch.float64)
            linear.load_state_dict({"weight": torch.from_numpy(layer["W"]), "bias": torch.from_numpy(layer["b"])})
            modules += [linear, torch.nn.LeakyReLU(0.2)]
        return torch.nn.Sequential(*modules[:-1])

    D, G = net(inputs["D"]), net(inputs["G"])
    real, z, epsilon = (torch.from_numpy(inputs[key]) for key in ("real", "z", "epsilon"))
    fake = G(z)
    loss_d = OBJECTIVES[objective].discriminator(D(real), D(fake.detach()))
    if objective == "wgan-gp":
        mixed = epsilon * real + (1 - epsilon) * fake.detach()
        loss_d = loss_d + 10 * gradient_penalty(D, mixed, mixed)
    loss_g = OBJECTIVES[objective].generator(D(fake)) * (1 if mean else len(z))
    of_d = torch.autograd.grad(loss_d, list(D.parameters()), allow_unused=True)
    *of_g, dx = torch.autograd.grad(loss_g, [*G.parameters(), fake])
    return {"D": [g.numpy() for g in of_d], "G": [g.numpy() for g in of_g], "dx": [dx.numpy()],
            "losses": [np.array([loss_d.item(), loss_g.item()])]}  # fmt: skip


def by_page(page, inputs: dict, objective: str) -> dict[str, list[np.ndarray]]:
    plain = {
        key: [{k: v.tolist() for k, v in layer.items()} for layer in value] if key in "DG" else value.tolist()
        for key, value in inputs.items()
    }
    return {key: arrays(value) for key, value in page.evaluate(GRADIENTS, {**plain, "objective": objective}).items()}


@pytest.mark.parametrize("objective", playgrounds.TITLES)
def test_gradients_are_those_of_torch(page, objective: str) -> None:
    for seed in range(3):
        inputs = game(seed)
        found, expected = by_page(page, inputs, objective), by_torch(inputs, objective)
        for key in expected:
            assert difference(found[key], expected[key]) < 1e-9, (key, seed)


def test_the_comparison_finds_planted_errors(page) -> None:
    inputs = game()
    found, right = by_page(page, inputs, "gan"), by_torch(inputs, "gan")
    for other in ("gan-ma", "lsgan", "wgan"):
        wrong = by_torch(inputs, other)
        assert difference(found["G"], wrong["G"]) > 0.1 and difference(found["dx"], wrong["dx"]) > 0.1, other
    for other in ("lsgan", "wgan", "wgan-gp"):
        assert difference(found["D"], by_torch(inputs, other)["D"]) > 0.1, other
    summed = by_torch(inputs, "gan", mean=False)
    assert difference(found["G"], summed["G"]) > 0.1 and difference(found["dx"], summed["dx"]) > 0.1
    assert difference(found["G"], [-g for g in right["G"]]) > 0.1
    without, penalised = (by_page(page, inputs, name)["D"] for name in ("wgan", "wgan-gp"))
    assert difference(without, penalised) > 0.1, "the penalty adds nothing"


def test_steps_are_adams(page) -> None:
    random = np.random.default_rng(1)
    shapes = [(32, 2), (32,), (32, 32), (32,), (1, 32), (1,)]
    gradients = [[random.normal(size=shape) for shape in shapes] for _ in range(3)]
    sent = [[g.tolist() for g in one] for one in gradients]
    start, end = map(arrays, page.evaluate(ADAM, {"gradients": sent, "rate": 0.003}))
    parameters = [torch.tensor(value, requires_grad=True) for value in start]
    optimizer = torch.optim.Adam(parameters, 0.003, betas=(0.5, 0.999))
    for one in gradients:
        for parameter, gradient in zip(parameters, one, strict=True):
            parameter.grad = torch.from_numpy(gradient.ravel())
        optimizer.step()
    assert difference(end, [p.detach().numpy() for p in parameters]) < 1e-12
    assert difference(start, end) > 1e-3
