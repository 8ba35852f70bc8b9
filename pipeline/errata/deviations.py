"""Planted mutants: deviations from the review's equations, re-created so that the conformance suite can reject them.

Most were read in widely used public code (``seen`` says where); those with nothing in ``seen`` are slips of our own.
`MUTANTS` maps a name to its `Mutant`; the errata page of the book draws on it as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medgan_lib.methods import DANN, GAN, ConditionalGAN, InfoGAN
from medgan_lib.methods.dann import schedule
from medgan_lib.objectives import OBJECTIVES, Objective, clip_weights_, gradient_penalty
from pipeline.errata.penalties import (
    always_one_sided,
    condition_forgotten,
    epsilon_for_every_element,
    epsilon_for_three_channels,
    norm_of_one_axis,
    one_epsilon_for_the_batch,
    one_norm_for_the_batch,
    real_samples_only,
    squared_norm,
    without_graph,
)


@dataclass(frozen=True)
class Implementation:
    """What the conformance suite examines: Table 1, the penalty of Eq. 4, and the updates of the two players."""

    objectives: Mapping[str, Objective] = field(default_factory=lambda: OBJECTIVES)
    gradient_penalty: Callable[..., Tensor] = gradient_penalty
    GAN: type[GAN] = GAN


@dataclass(frozen=True)
class Mutant:
    """One deviation: the equation it breaks, where it was seen as (project, file), and code that commits it.

    ``code`` stands in for a row of Table 1 (an `Objective`), for `GAN`, `InfoGAN`, `ConditionalGAN` or `DANN` (a
    subclass), or for `gradient_penalty`.
    """

    equation: str
    deviation: str
    code: Objective | type[GAN] | Callable[..., Tensor]
    seen: tuple[tuple[str, str], ...] = ()

    @property
    def part(self) -> str:
        """What has to reject it: the conformance suite's "objective", "step" or "penalty", or the tests of a method,
        "information" (InfoGAN) or "condition" (conditional GAN).
        """
        if isinstance(self.code, Objective):
            return "objective"
        if not isinstance(self.code, type):
            return "penalty"
        kinds = {InfoGAN: "information", ConditionalGAN: "condition", DANN: "adaptation", GAN: "step"}
        return next(part for kind, part in kinds.items() if issubclass(self.code, kind))

    @property
    def implementation(self) -> Implementation:
        """The project's own code with this one deviation in it, for the conformance suite."""
        if self.part == "objective":
            return Implementation(objectives={**OBJECTIVES, self.code.name: self.code})
        return Implementation(**{"GAN" if self.part == "step" else "gradient_penalty": self.code})


def with_discriminator(name: str, loss: Callable[[Tensor, Tensor], Tensor]) -> Objective:
    return replace(OBJECTIVES[name], discriminator=loss)


def with_generator(name: str, loss: Callable[[Tensor], Tensor]) -> Objective:
    return replace(OBJECTIVES[name], generator=loss)


def log_of_guarded_sigmoid(fake: Tensor) -> Tensor:
    return -torch.log(torch.sigmoid(fake) + 1e-8).mean()


def cross_entropy_after_sigmoid(logits: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy(torch.sigmoid(logits), torch.full_like(logits, target))


def squares(real: Tensor, fake: Tensor, before: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
    return F.mse_loss(before(real), torch.ones_like(real)) + F.mse_loss(before(fake), torch.zeros_like(fake))


def square_to_one(fake: Tensor, before: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
    return F.mse_loss(before(fake), torch.ones_like(fake))


def slightly_leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.05)


def hinge(real: Tensor, fake: Tensor, before: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
    return F.relu(1 - before(real)).mean() + F.relu(1 + before(fake)).mean()


class PenaltyNeverApplied(GAN):
    def update_D(self, x: Tensor) -> dict[str, Tensor]:
        wanted, self.penalty = self.penalty, 0.0
        history = super().update_D(x)
        self.penalty = wanted
        return history


class LambdaForgotten(GAN):
    def update_D(self, x: Tensor) -> dict[str, Tensor]:
        wanted, self.penalty = self.penalty, float(self.penalty > 0)
        history = super().update_D(x)
        self.penalty = wanted
        return history


class PenaltyInAStepOfItsOwn(PenaltyNeverApplied):
    def update_D(self, x: Tensor) -> dict[str, Tensor]:
        history = super().update_D(x)
        if self.penalty:
            fake = self.G(self.noise(len(x))).detach()
            self.opt_D.zero_grad()
            (self.penalty * gradient_penalty(self.D, x, fake)).backward()
            self.opt_D.step()
        return history


class GradientsNeverZeroed(GAN):
    """Zeroes D's gradients once a step, outside the loop over n_critic."""

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self.opt_D.zero_grad()
        for real in batch["x"].chunk(self.n_critic):
            fake = self.G(self.noise(len(real))).detach()
            loss = OBJECTIVES[self.objective].discriminator(self.D(real), self.D(fake))
            if self.penalty:
                loss = loss + self.penalty * gradient_penalty(self.D, real, fake)
            loss.backward()
            self.opt_D.step()
            if self.clip is not None:
                clip_weights_(self.D, self.clip)
        return {"loss_D": loss.detach()} | self.update_G(len(real))


class ClipsBeforeTheUpdate(GAN):
    def update_D(self, x: Tensor) -> dict[str, Tensor]:
        wanted, self.clip = self.clip, None
        if wanted is not None:
            clip_weights_(self.D, wanted)
        history = super().update_D(x)
        self.clip = wanted
        return history


class OneCriticUpdateWhateverIsAsked(GAN):
    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        real = batch["x"].chunk(self.n_critic)[0]
        return self.update_D(real) | self.update_G(len(real))


class GeneratorStepTrainsTheCritic(GAN):
    def update_G(self, n: int) -> dict[str, Tensor]:
        loss = OBJECTIVES[self.objective].generator(self.D(self.G(self.noise(n))))
        self.opt_G.zero_grad()
        self.opt_D.zero_grad()
        loss.backward()
        self.opt_G.step()
        self.opt_D.step()
        return {"loss_G": loss.detach()}


class InformationWithoutGraph(InfoGAN):
    def update_G(self, n: int, *y: Tensor) -> dict[str, Tensor]:
        noise = self.noise(n)
        x = self.G(noise)
        with torch.no_grad():
            penalty = -sum(self.codes.bound(noise[:, -self.codes.size :], self.Q(x)))
        loss = OBJECTIVES[self.objective].generator(self.D(x))
        self.opt_G.zero_grad()
        loss.backward()
        if self.lam:
            penalty.backward()
        self.opt_G.step()
        return {"loss_G": loss.detach()}


class SquaredErrorForEq5(ConditionalGAN):
    def __init__(self, G: nn.Module, D: nn.Module, objective: str = "gan-ma", **options) -> None:
        super().__init__(G, D, "lsgan", **options)


class RisesWithSlopeOne(DANN):
    def weight(self) -> Tensor:
        return self.lam * schedule((self.done / self.rise).clamp(max=1.0), slope=1.0)


MIMICRY = ("kwotsin/mimicry", "torch_mimicry/modules/losses.py")
MONAI = ("Project-MONAI/MONAI", "monai/losses/adversarial_loss.py")
LABML = "labmlai/annotated_deep_learning_paper_implementations"
ERIKLINDERNOREN = "eriklindernoren/PyTorch-GAN"
MUTANTS: dict[str, Mutant] = {
    "eq1-computed-as-eq2": Mutant(
        "Eq. 1",
        "the generator called minimax gets the loss that does not saturate",
        with_generator("gan", lambda fake: F.softplus(-fake).mean()),
        (MIMICRY, (LABML, "labml_nn/gan/original")),
    ),
    "log-sigmoid-plus-constant": Mutant(
        "Eq. 2",
        "1e-8 is added inside the logarithm: the gradient fades where D is sure, as Eq. 2 was made not to",
        with_generator("gan-ma", log_of_guarded_sigmoid),
        (MIMICRY,),
    ),
    "sigmoid-then-cross-entropy": Mutant(
        "Eq. 2",
        "the sigmoid is rounded before its logarithm is taken: no gradient is left at a logit of -90",
        with_generator("gan-ma", lambda fake: cross_entropy_after_sigmoid(fake, 1.0)),
        (MONAI,),
    ),
    "sigmoid-then-cross-entropy-discriminator": Mutant(
        "Eq. 1",
        "the same rounding on the discriminator's side",
        with_discriminator(
            "gan",
            lambda real, fake: cross_entropy_after_sigmoid(real, 1.0) + cross_entropy_after_sigmoid(fake, 0.0),
        ),
        (MONAI,),
    ),
    "lsgan-after-leaky-relu": Mutant(
        "Table 1, LSGAN",
        "a LeakyReLU(0.05) stands before the squared error",
        Objective("lsgan", lambda r, f: squares(r, f, slightly_leaky), lambda f: square_to_one(f, slightly_leaky)),
        (MONAI,),
    ),
    "lsgan-after-sigmoid": Mutant(
        "Table 1, LSGAN",
        "the squared error is taken of a sigmoid, not of the raw output",
        Objective("lsgan", lambda r, f: squares(r, f, torch.sigmoid), lambda f: square_to_one(f, torch.sigmoid)),
        (
            ("google/compare_gan", "compare_gan/gans/loss_lib.py"),
            ("facebookresearch/pytorch_GAN_zoo", "models/loss_criterions/base_loss_criterions.py"),
        ),
    ),
    "lsgan-halved-generator-only": Mutant(
        "Table 1, LSGAN",
        "one side is halved, so the balance of learning rates is not Table 1's",
        with_generator("lsgan", lambda fake: 0.5 * square_to_one(fake)),
    ),
    "hinge-for-wasserstein": Mutant(
        "Eq. 3",
        "a hinge, which stops rewarding the critic at a margin of 1, stands in for the Wasserstein estimate",
        with_discriminator("wgan", hinge),
        ((LABML, "labml_nn/gan/wasserstein"),),
    ),
    "hinge-after-tanh": Mutant(
        "hinge loss (not in Table 1)",
        "the output goes through tanh before the hinge, so no margin is ever reached",
        with_discriminator("wgan", lambda real, fake: hinge(real, fake, torch.tanh)),
        (MONAI,),
    ),
    "squared-error-for-eq1": Mutant(
        "Eq. 1",
        "a model that says it plays Eq. 1 has a squared error for its adversarial term",
        Objective("gan", squares, square_to_one),
        ((ERIKLINDERNOREN, "implementations/infogan"),),
    ),
    "critic-sign-flipped": Mutant(
        "Eq. 3",
        "real and fake are exchanged in the critic's loss only",
        with_discriminator("wgan", lambda real, fake: real.mean() - fake.mean()),
    ),
    "generator-sign-flipped": Mutant(
        "Eq. 3",
        "the generator lowers the critic's value instead of raising it",
        with_generator("wgan-gp", lambda fake: fake.mean()),
    ),
    "sum-over-the-batch": Mutant(
        "Eq. 1",
        "a sum stands for the expectation, so the loss grows with the batch",
        with_discriminator("gan-ma", lambda r, f: F.softplus(-r).sum() + F.softplus(f).sum()),
    ),
    "one-term-halved": Mutant(
        "Eq. 1",
        "mean over real and fake samples together: half the discriminator's loss",
        with_discriminator("gan", lambda r, f: torch.cat([F.softplus(-r), F.softplus(f)]).mean()),
    ),
    "penalty-one-norm-for-the-batch": Mutant(
        "Eq. 4",
        "one norm is taken of the gradient of the whole batch",
        one_norm_for_the_batch,
        (
            ("torchgan/torchgan", "torchgan/losses/functional.py"),
            ("torchgan/torchgan", "torchgan/losses/wasserstein.py"),
        ),
    ),
    "penalty-one-epsilon-for-the-batch": Mutant(
        "Eq. 4",
        "all samples of a batch are interpolated with the same epsilon",
        one_epsilon_for_the_batch,
        (
            ("torchgan/torchgan", "torchgan/losses/functional.py"),
            ("torchgan/torchgan", "torchgan/losses/wasserstein.py"),
        ),
    ),
    "penalty-on-real-samples-only": Mutant(
        "Eq. 4",
        "the norm is taken at real samples instead of between real and generated ones",
        real_samples_only,
        ((LABML, "labml_nn/gan/wasserstein/gradient_penalty"),),
    ),
    "penalty-for-three-channels-only": Mutant(
        "Eq. 4",
        "the interpolation weights are given three channels: grey images, hence most medical ones, raise an error",
        epsilon_for_three_channels,
        (("kwotsin/mimicry", "torch_mimicry/nets/wgan_gp/wgan_gp_base.py"),),
    ),
    "penalty-epsilon-for-every-element": Mutant(
        "Eq. 4",
        "every pixel has its own epsilon: points in a box, not on a straight line",
        epsilon_for_every_element,
    ),
    "penalty-squared-norm": Mutant("Eq. 4", "the square root of the norm is left out", squared_norm),
    "penalty-norm-of-one-axis": Mutant("Eq. 4", "the norm is taken over channels only", norm_of_one_axis),
    "penalty-without-graph": Mutant("Eq. 4", "the penalty is a constant to the critic's weights", without_graph),
    "penalty-always-one-sided": Mutant("Eq. 4", "norms below 1 are spared without being asked", always_one_sided),
    "penalty-forgets-the-condition": Mutant("Eq. 4", "the critic's condition is not passed on", condition_forgotten),
    "penalty-never-applied": Mutant(
        "Eq. 4",
        "the mode that promises a gradient penalty trains without one",
        PenaltyNeverApplied,
        (("junyanz/pytorch-CycleGAN-and-pix2pix", "models/networks.py"),),
    ),
    "penalty-in-a-step-of-its-own": Mutant(
        "Eq. 4",
        "loss and penalty take an optimizer step each",
        PenaltyInAStepOfItsOwn,
        (("torchgan/torchgan", "torchgan/losses/wasserstein.py"),),
    ),
    "penalty-without-lambda": Mutant("Eq. 4", "the penalty is added with weight 1", LambdaForgotten),
    "gradients-never-zeroed": Mutant(
        "Eq. 4",
        "inside the critic's loop gradients add up from one update to the next",
        GradientsNeverZeroed,
        (("SSinyu/WGAN-VGG", "solver.py"),),
    ),
    "clips-before-the-update": Mutant(
        "Sec. 2.1, weight clipping",
        "weights are clipped before the update, so the critic that G meets is outside the box",
        ClipsBeforeTheUpdate,
        (
            ("martinarjovsky/WassersteinGAN", "main.py"),
            ("torchgan/torchgan", "torchgan/losses/wasserstein.py"),
        ),
    ),
    "one-critic-update": Mutant("Eq. 3", "n_critic is ignored", OneCriticUpdateWhateverIsAsked),
    "generator-step-trains-the-critic": Mutant(
        "Eq. 1", "D's weights follow the generator's loss as well", GeneratorStepTrainsTheCritic
    ),
    "information-without-graph": Mutant(
        "Sec. 2.2, InfoGAN",
        "the information is a number without a graph: asked for a gradient, it raises, and nothing reaches G or Q",
        InformationWithoutGraph,
        (("torchgan/torchgan", "torchgan/losses/mutualinfo.py"),),
    ),
    "squared-error-for-eq5": Mutant(
        "Eq. 5",
        "both players of a conditional GAN get a squared error",
        SquaredErrorForEq5,
        ((ERIKLINDERNOREN, "implementations/cgan/cgan.py"),),
    ),
    "reversal-with-slope-one": Mutant(
        "Eq. 9",
        "the weight of the reversal rises with slope 1 in place of 10, so it ends below half of what it is set to",
        RisesWithSlopeOne,
        (("thuml/Transfer-Learning-Library", "tllib/modules/grl.py"),),
    ),
}
