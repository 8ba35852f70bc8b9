"""Learning from few labels and many images: a discriminator with K + 1 classes (review Sec. 5.6, Fig. 12)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from torch.optim import Optimizer

from medgan_lib.methods.base import Method, adam, frozen
from medgan_lib.methods.gan import GAN
from medgan_lib.networks import batched, placed
from medgan_lib.objectives import OBJECTIVES


def log_Z(logits: Tensor) -> Tensor:
    """log of Z = sum_k exp(l_k) for logits (n, K): (n,). As D = Z / (Z + 1) it is the logit of D."""
    return logits.logsumexp(1)


def probabilities(logits: Tensor) -> Tensor:
    """(n, K + 1): K classes and, last, "generated", whose logit is fixed at 0."""
    return pad(logits, (0, 1)).softmax(1)


def supervised_loss(logits: Tensor, label: Tensor) -> Tensor:
    """-E log p(y | x, y < K + 1): the cross-entropy among the K classes, whatever D thinks of "generated"."""
    return cross_entropy(logits, label)


def unsupervised_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-E log D(x) - E log(1 - D(G(z))) for logits (n, K) of unlabelled and (m, K) of generated images: Eq. 1."""
    return OBJECTIVES["gan"].discriminator(log_Z(real), log_Z(fake))


def feature_matching(real: Tensor, fake: Tensor) -> Tensor:
    """Squared distance between the *mean* features of real (n, f) and generated (m, f) images, a mean over f.

    Salimans et al. 2016, Sec. 3.1, have a sum over f, which Adam cannot tell from a mean.
    """
    return (real.mean(0) - fake.mean(0)).square().mean()


class SemiSupervisedGAN(Method):
    """A GAN whose discriminator is the classifier (Salimans et al. 2016, Sec. 5).

    G maps z (n, G.latent) to images. D maps images to K logits, of which D(x) = Z / (Z + 1) is made, and has
    ``features`` (n, f). Batches hold labelled images "x" with their classes "label" (n,), and unlabelled images "u";
    `cohorts.problems.few_labels.repeated` puts sets of unequal size side by side. Two minibatches make a step: D
    learns from the first, and G meets the unlabelled images of the second. ``matching`` True: G descends on
    `feature_matching`; False: on Eq. 2, for which D should have minibatch discrimination. ``weight`` weighs the
    unsupervised loss, 1 in the paper's equation and 1/2 in the authors' program; 0 is a classifier of the labelled
    images, trained by the same updates, and G stays as it is. ``D_ema`` is an exponential moving average of D with
    decay ``ema``, which classifies. ``lr`` and ``betas`` are Adam's. Raises ValueError for a negative weight, an ema
    outside [0, 1) or, with matching, a D without ``features``.
    """

    draws = 2
    averaged = ("D",)
    _average = GAN._average  # of D, and at the same growing decay

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        *,
        matching: bool = True,
        weight: float = 0.5,
        ema: float = 0.999,
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.5, 0.999),
    ) -> None:
        super().__init__()
        if weight < 0:
            raise ValueError(f"weight must be 0 or more, not {weight}")
        if not 0 <= ema < 1:
            raise ValueError(f"ema must be in [0, 1), not {ema}")
        if matching and not callable(getattr(D, "features", None)):
            raise ValueError(f"{type(D).__name__} has no method features(x), which feature matching needs")
        self.G, self.D = G, D
        self.matching, self.weight, self.ema, self.lr, self.betas = matching, weight, ema, lr, betas
        self.opt_D, self.opt_G = adam(D, lr, betas), adam(G, lr, betas)
        self.D_ema = copy.deepcopy(D).requires_grad_(False)
        self.register_buffer("updates", torch.zeros(()))

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of D and one of G. Returns "supervised", "accuracy" on the labelled images of the batch, and
        with weight > 0 "unsupervised" and "loss_G"."""
        x, label = batch["x"].chunk(2)[0], batch["label"].chunk(2)[0]
        if not self.weight:
            return self.update_D(x, label)
        u, others = batch["u"].chunk(2)
        with torch.no_grad():
            fake = self.G(self.noise(len(u)))
        history = self.update_D(x, label, u, fake)
        return history | self.update_G(others)

    def update_D(self, x: Tensor, label: Tensor, *others: Tensor) -> dict[str, Tensor]:
        """One descent step of D on L_supervised + weight * L_unsupervised; others: unlabelled and generated images."""
        labelled, *logits = self.judge(x, *others)
        supervised = supervised_loss(labelled, label)
        history = {"supervised": supervised.detach(), "accuracy": (labelled.argmax(1) == label).float().mean()}
        loss = supervised
        if others:
            unsupervised = unsupervised_loss(*logits)
            history["unsupervised"] = unsupervised.detach()
            loss = supervised + self.weight * unsupervised
        self.descend(loss)
        return history

    def descend(self, loss: Tensor) -> None:
        """One step of D down the gradient of its loss; its average follows."""
        self.opt_D.zero_grad()
        loss.backward()
        self.opt_D.step()
        self._average()

    def judge(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """D on each of several sets of images: in one pass, which is faster, if it looks at each image by itself."""
        if not getattr(self.D, "per_sample", False):
            return tuple(self.D(part) for part in parts)
        return self.D(torch.cat(parts)).split([len(part) for part in parts])

    def update_G(self, u: Tensor) -> dict[str, Tensor]:
        """One descent step of G. D passes gradients on and keeps none."""
        with frozen(self.D):
            fake = self.G(self.noise(len(u)))
            if self.matching:
                with torch.no_grad():
                    real = self.D.features(u)
                loss = feature_matching(real, self.D.features(fake))
            else:
                loss = OBJECTIVES["gan-ma"].generator(log_Z(self.D(fake)))
            self.opt_G.zero_grad()
            loss.backward()
        self.opt_G.step()
        return {"loss_G": loss.detach()}

    def noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """z (n, G.latent), each number uniform from 0 to 1 as in the authors' program, on G's device."""
        device = next(self.G.parameters()).device
        where = device if generator is None else generator.device
        return torch.rand(n, self.G.latent, device=where, generator=generator).to(device)

    def sample(
        self, n: int, generator: torch.Generator | None = None, *, device: str | torch.device = "auto"
    ) -> Tensor:
        """n generated images in evaluation mode, 256 at a time, on the CPU; made on ``device`` as `GAN.sample` does."""
        z = self.noise(n, generator)
        with placed(device, self.G):
            return batched(self.G, z).cpu()

    def classify(self, x: Tensor, batch_size: int = 256, *, device: str | torch.device = "auto") -> Tensor:
        """`probabilities` (n, K + 1) of images (n, ...) by the averaged D, in evaluation mode, on x's device.

        ``batch_size`` at a time, on ``device`` as `networks.chosen_device` has it.
        """
        with placed(device, self.D_ema):
            return probabilities(batched(self.D_ema, x, batch_size))

    def optimizers(self) -> dict[str, Optimizer]:
        return {"D": self.opt_D, "G": self.opt_G}

    def further_calls(self) -> list[tuple[nn.Module, str]]:
        return [(self.D, "features")] if self.matching else []
