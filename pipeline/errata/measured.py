"""What each deviation changes, measured here and said in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from medgan_lib import ledger


def measured(mutant: Any) -> str:
    """In words: a number that the deviation changes, and what it should be."""
    measures = {"objective": _measured_objective, "penalty": _measured_penalty, "step": _measured_step,
                "information": _measured_information, "condition": _measured_condition,
                "adaptation": _measured_adaptation}
    return measures[mutant.part](mutant.code)


def _measured_objective(deviant: Any) -> str:
    """A gradient that clearly differs, at the least extreme of some outputs of D: of G's loss, else of D's loss."""
    import torch

    from medgan_lib.objectives import OBJECTIVES

    exact = OBJECTIVES[deviant.name]
    logits = torch.tensor([0.0, 2.0, -2.0, 5.0, -5.0, 20.0, -20.0, 30.0, -30.0, 90.0, -90.0])
    for player, gradient in (("G", generator_gradient), ("D", discriminator_gradient)):
        ours, theirs = gradient(exact, logits), gradient(deviant, logits)
        error = (ours - theirs).abs() / ours.abs().clamp_min(1)
        clear = int((error > error.max() / 2).int().argmax())
        if error[clear] > 1e-3:
            return (f"gradient of {player}'s loss at output {short(logits[clear])}: {short(theirs[clear])} "
                    f"instead of {short(ours[clear])}")
    return "equal at the outputs tried"


def generator_gradient(objective: Any, logits: Any) -> Any:
    """d (generator's loss of one sample) / d (D's output on it), for each of ``logits`` (n,)."""
    return _each(objective.generator, logits)


def discriminator_gradient(objective: Any, logits: Any) -> Any:
    """d (D's loss) / d (its output on one generated sample), for each of ``logits`` (n,)."""
    import torch

    return _each(lambda fake: objective.discriminator(torch.ones_like(fake), fake), logits)


def _each(loss: Callable[[Any], Any], logits: Any) -> Any:
    import torch

    logits = logits.detach().clone().requires_grad_(True)
    return torch.autograd.grad(sum(loss(logit[None]) for logit in logits), logits)[0]


def _measured_penalty(deviant: Callable[..., Any]) -> str:
    """Eq. 4 for a critic with gradients of norm 1 nearly everywhere, on 32 grey images of 8 x 8 pixels."""
    import torch

    from medgan_lib.objectives import gradient_penalty

    def value(penalty: Callable[..., Any]) -> str:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            real, fake = torch.randn(32, 1, 8, 8) + 3, torch.randn(32, 1, 8, 8)
            try:
                result = penalty(lambda x: x.flatten(1).norm(dim=1) + 0.02 * x.flatten(1).sum(1), real, fake)
            except RuntimeError:
                return "an error"
            return short(result.detach())

    return f"penalty of a nearly 1-Lipschitz critic: {value(deviant)} instead of {value(gradient_penalty)}"


def _measured_step(deviant: type) -> str:
    """How far D's weights are from where they should be after one step, relative to the way they should have gone."""
    import torch

    from medgan_lib.methods import GAN
    from medgan_lib.networks import MLP

    def weights(method: type, steps: int) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            G, D = MLP(2, 2, width=16), MLP(2, 1, width=16)
            G.latent = 2
            settings = {"clip": 0.05} if "lip" in method.__name__ or clips else {"penalty": 10.0}
            gan = method(G, D, "wgan" if "clip" in settings else "wgan-gp", n_critic=2, lr=1e-2, **settings)
            for _ in range(steps):
                gan.step({"x": torch.randn(64, 2) + 4})
            return torch.nn.utils.parameters_to_vector(gan.D.parameters()).detach()

    clips = "Clip" in deviant.__name__
    start, exact, got = weights(GAN, 0), weights(GAN, 2), weights(deviant, 2)
    off = (got - exact).norm() / (exact - start).norm()
    return f"after two steps the critic's weights are off by {100 * off:.0f} % of the way they went"


def _measured_information(deviant: type) -> str:
    """The gradient that G gets from the information alone: with lambda = 1 less that with lambda = 0."""
    import torch

    from medgan_lib.methods import Codes, InfoGAN
    from medgan_lib.networks import MLP

    def length(method: type) -> str:
        found = []
        for lam in (1.0, 0.0):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                G, D, Q = MLP(4 + 2, 2, width=16), MLP(2, 1, width=16), MLP(2, 4, width=16)
                gan = method(G, D, Q, Codes((4,)), lam=lam)
                try:
                    gan.update_G(256)
                except RuntimeError:
                    return "an error"
            found.append(torch.cat([p.grad.flatten() for p in G.parameters()]))
        return f"one of length {short((found[0] - found[1]).norm())}"

    return f"gradient of the information on G: {length(deviant)} instead of {length(InfoGAN)}"


def _measured_condition(deviant: type) -> str:
    """D's loss after the same few steps of a small game."""
    import torch

    from medgan_lib.methods import ConditionalGAN
    from medgan_lib.networks import MLP, Conditioned

    def loss(method: type) -> str:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            G, D = Conditioned(MLP(4, 2, width=16), 2, 2), Conditioned(MLP(4, 1, width=16), 2, 2)
            gan = method(G, D, "gan", classes=2)
            for _ in range(20):
                history = gan.step({"x": torch.randn(256, 2) + 4, "label": torch.arange(256) % 2})
            return short(history["loss_D"])

    return f"D's loss after 20 steps: {loss(deviant)} instead of {loss(ConditionalGAN)}"


def _measured_adaptation(deviant: type) -> str:
    """The weight of the adversary when it should have risen to 1."""
    from torch import nn

    from medgan_lib.methods import DANN

    def risen(method: type) -> str:
        dann = method(*(nn.Linear(1, 1) for _ in "HCD"), lam=1.0, rise=100)
        dann.done.fill_(100)
        return short(dann.weight())

    return f"weight at the end of the rise: {risen(deviant)} instead of {risen(DANN)}"


def short(value: Any) -> str:
    return ledger.format_number(float(value) if abs(float(value)) > 1e-12 else 0.0)
