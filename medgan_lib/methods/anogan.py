"""Anomalies are what a generator of normal images can't make (review Sec. 5.1): AnoGAN and its fast form.

AnoGAN (Schlegl et al. 2017) searches a code for every image, f-AnoGAN (Schlegl et al. 2019) trains an encoder for it.
Every sum of the papers over pixels or features is a mean here, so that lambda means the same for every image size. On
n pixels and m features, AnoGAN with lambda on sums is AnoGAN with lambda m / ((1 - lambda) n + lambda m) on means.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.optim import Optimizer

from medgan_lib.methods.base import Method, adam, fixed
from medgan_lib.methods.inversion import BATCH, invert, squared_error
from medgan_lib.networks import MinibatchDiscrimination, batched, placed


class AnomalyScores(NamedTuple):
    """Of n images: A(x) and its parts R(x) and D(x), each (n,), without the weights that A gives them.

    ``z`` (n, latent) is the code of each image, ``generated`` G(z) and ``x_R`` = |x - G(z)| are (n, *shape).
    """

    A: Tensor
    R: Tensor
    D: Tensor
    z: Tensor
    generated: Tensor
    x_R: Tensor


def absolute_error(generated: Tensor, x: Tensor) -> Tensor:
    """L_R, and with features in place of images L_D: the mean absolute difference of each item, (n,)."""
    return (generated - x).abs().flatten(1).mean(1)


def cross_entropy_of_D(generated: Tensor, _: Tensor) -> Tensor:
    """L_D of Yeh et al. 2017 for logits (n, 1) of G(z): how far D is from calling it real, whatever x is; (n,)."""
    return softplus(-generated).mean(1)


DISCRIMINATION: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "features": absolute_error,
    "cross-entropy": cross_entropy_of_D,
}


def weighted(L_R: Tensor, L_D: Tensor, lam: float) -> Tensor:
    """(1 - lambda) L_R + lambda L_D, which is the loss of the search and the score A(x)."""
    return (1 - lam) * L_R + lam * L_D


def latent_search(
    G: nn.Module,
    D: nn.Module,
    x: Tensor,
    *,
    noise: Callable[[int, torch.Generator | None], Tensor],
    lam: float = 0.1,
    discrimination: str = "features",
    layer: str = "features",
    steps: int = 500,
    restarts: int = 1,
    lr: float = 0.1,
    generator: torch.Generator | None = None,
    device: str | torch.device = "auto",
) -> AnomalyScores:
    """AnoGAN: for each image the z that minimises (1 - lam) L_R + lam L_D, and that minimum as its score A(x).

    L_R(z) = |x - G(z)| and L_D(z) = |f(x) - f(G(z))|, as means over pixels and over features. f is what
    ``getattr(D, layer)`` makes of images: a method, as `ClassCritic.features`, or a layer, as "layers" of `Critic`.
    ``discrimination`` "cross-entropy" is what the paper replaced: L_D(z) = -log D(G(z)), where D gives one logit an
    image, and ``layer`` plays no part.

    G: maps (n, G.latent) to images. G and D run in evaluation mode and are left as they were found.
    x: images (n, *shape) as G makes them. noise: draws starting points, such as `GAN.noise`, on G's device.
    steps, lr: of the descent of `methods.inversion.invert`, whose Adam is our choice. The paper scores the last
        code; here it is the best one passed, of ``restarts`` descents.
    generator: of the starting points. All images have the same ones, so that the score of an image does not depend on
        the images beside it.
    device: where the descents run, as `networks.chosen_device` has it. The scores come back where x is.

    Raises ValueError as `anomaly_scores` and `invert` do.
    """
    _check(D, x, lam, discrimination, layer)
    if restarts < 1:
        raise ValueError(f"restarts must be at least 1, not {restarts}")
    start = noise(restarts, generator)
    with placed(device, G, D) as where, fixed(G, D):
        both = _Both(G, D, discrimination, layer).eval()
        start, seen = start.to(where), x.to(where)
        latent = getattr(G, "latent", start.shape[-1])
        if tuple(start.shape) != (restarts, latent):
            raise ValueError(f"noise has shape {tuple(start.shape)}, but G takes codes ({restarts}, {latent})")
        with torch.no_grad():
            _check_shape(x, G(start[:1]))
        pixels = x[0].numel()

        def loss(generated: Tensor, target: Tensor) -> Tensor:
            L_R = absolute_error(generated[:, :pixels], target[:, :pixels])
            L_D = DISCRIMINATION[discrimination](generated[:, pixels:], target[:, pixels:])
            return weighted(L_R, L_D, lam)

        with torch.no_grad():
            target = torch.cat([both.rows(part) for part in seen.split(BATCH)])
        found = invert(
            both,
            target,
            noise=lambda n, _: start.repeat_interleave(len(x), 0),  # invert asks for n = restarts * len(x)
            steps=steps,
            restarts=restarts,
            lr=lr,
            loss=loss,
            device=where,
        )
    return anomaly_scores(G, D, x, found.z, lam=lam, discrimination=discrimination, layer=layer, device=device)


def anomaly_scores(
    G: nn.Module,
    D: nn.Module,
    x: Tensor,
    z: Tensor,
    *,
    lam: float = 0.1,
    discrimination: str = "features",
    layer: str = "features",
    device: str | torch.device = "auto",
) -> AnomalyScores:
    """A(x) = (1 - lam) R(x) + lam D(x) of images (n, *shape) with codes z (n, latent), however these were found.

    R(x) = L_R(z) and D(x) = L_D(z) are those of `latent_search`. G and D run on ``device`` as `networks.chosen_device`
    has it; the scores come back where x is. Raises ValueError for images that G does not make,
    that are not finite or that are none, lam outside [0, 1], an unknown discrimination, and a D that has no ``layer``
    for "features" or, for "cross-entropy", not one logit for each image by itself.
    """
    _check(D, x, lam, discrimination, layer)
    parts = []
    with torch.no_grad(), placed(device, G, D) as where, fixed(G, D):
        both = _Both(G, D, discrimination, layer)
        for image, code in zip(x.split(BATCH), z.split(BATCH), strict=True):
            image, code = image.to(where), code.to(where)
            generated = G(code)
            _check_shape(image, generated)
            R = absolute_error(generated, image)
            D_ = DISCRIMINATION[discrimination](both.judge(generated), both.judge(image))
            made = (weighted(R, D_, lam), R, D_, code, generated, (image - generated).abs())
            parts.append([part.to(x.device) for part in made])
    return AnomalyScores(*(torch.cat(part) for part in zip(*parts, strict=True)))


class FAnoGAN(Method):
    """f-AnoGAN: an encoder E that learns where in the latent space of a trained G an image lies (izi_f).

    min over E: 1/n |x - G(E(x))|^2 + kappa/n_d |f(x) - f(G(E(x)))|^2 on normal images x of n pixels, with n_d features
    f of D: what ``getattr(D, layer)`` makes of images, as in `latent_search`. E maps images to codes (n, G.latent).
    G and D are held fixed in evaluation mode during a step and left as they were found. kappa = 0 is the paper's izi.
    ``lr`` and ``betas`` are Adam's. Raises ValueError for a negative kappa and a D without ``layer``.
    """

    def __init__(
        self,
        G: nn.Module,
        E: nn.Module,
        D: nn.Module,
        *,
        kappa: float = 1.0,
        layer: str = "features",
        lr: float = 2e-4,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        super().__init__()
        if not kappa >= 0:
            raise ValueError(f"kappa must be 0 or more, not {kappa}")
        _check_layer(D, layer)
        self.G, self.E, self.D = G, E, D
        self.kappa, self.layer, self.lr, self.betas = kappa, layer, lr, betas
        self.opt_E = adam(E, lr, betas)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One descent step of E. Returns "loss_E" and its parts "residual" and "features", without kappa."""
        x = batch["x"]
        with fixed(self.G, self.D):
            residual, features = (part.mean() for part in self.errors(x, self.G(self.E(x))))
            loss = residual + self.kappa * features
            self.opt_E.zero_grad()
            loss.backward()
        self.opt_E.step()
        return {"loss_E": loss.detach(), "residual": residual.detach(), "features": features.detach()}

    def errors(self, x: Tensor, generated: Tensor) -> tuple[Tensor, Tensor]:
        """1/n |x - G(E(x))|^2 and 1/n_d |f(x) - f(G(E(x)))|^2 of each image, (n,) both."""
        _check_shape(x, generated)
        f = getattr(self.D, self.layer)
        with torch.no_grad():
            f_x = f(x)
        return squared_error(generated, x), squared_error(f(generated), f_x)

    def encode(self, x: Tensor, *, device: str | torch.device = "auto") -> Tensor:
        """E(x) (n, G.latent) in evaluation mode, 256 at a time; E runs on ``device``, the codes are where x is."""
        with placed(device, self.E):
            return batched(self.E, x, BATCH)

    def scores(self, x: Tensor, *, device: str | torch.device = "auto") -> AnomalyScores:
        """A(x) = A_R(x) + kappa A_D(x) of images (n, *shape): the loss of each, with E in evaluation mode, too.

        `anomaly_scores` of ``encode(x)`` are those of AnoGAN, with absolute instead of squared differences. ``device``
        is as there. Raises ValueError for images that are not finite, that are none, or that G does not make.
        """
        _check_images(x)
        z = self.encode(x, device=device)
        parts = []
        with torch.no_grad(), placed(device, self.G, self.D) as where, fixed(self.G, self.D):
            for image, code in zip(x.split(BATCH), z.split(BATCH), strict=True):
                image, code = image.to(where), code.to(where)
                generated = self.G(code)
                R, D = self.errors(image, generated)
                made = (R + self.kappa * D, R, D, code, generated, (image - generated).abs())
                parts.append([part.to(x.device) for part in made])
        return AnomalyScores(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def optimizers(self) -> dict[str, Optimizer]:
        return {"E": self.opt_E}

    def further_calls(self) -> list[tuple[nn.Module, str]]:
        return [(self.D, self.layer)]


class _Both(nn.Module):
    """z -> G(z) and what D says of it, side by side in one row, so that `invert` searches in both at once."""

    def __init__(self, G: nn.Module, D: nn.Module, discrimination: str, layer: str) -> None:
        super().__init__()
        self.G, self.D, self.discrimination, self.layer = G, D, discrimination, layer

    def judge(self, x: Tensor) -> Tensor:
        """f(x) (n, features), or the logits of D (n, 1)."""
        if self.discrimination == "features":
            return getattr(self.D, self.layer)(x).flatten(1)
        logit = self.D(x)
        if logit.numel() != len(x):
            raise ValueError(f"cross-entropy needs one logit an image; D gives {tuple(logit.shape)} for {len(x)}")
        return logit.reshape(-1, 1)

    def rows(self, x: Tensor) -> Tensor:
        return torch.cat([x.flatten(1), self.judge(x)], dim=1)

    def forward(self, z: Tensor) -> Tensor:
        return self.rows(self.G(z))


def _check(D: nn.Module, x: Tensor, lam: float, discrimination: str, layer: str) -> None:
    if not 0 <= lam <= 1:
        raise ValueError(f"lam must be in [0, 1], not {lam}")
    if discrimination not in DISCRIMINATION:
        raise ValueError(f"unknown discrimination {discrimination!r}; there are {', '.join(DISCRIMINATION)}")
    if discrimination == "features":
        _check_layer(D, layer)
    elif any(isinstance(module, MinibatchDiscrimination) for module in D.modules()):
        raise ValueError("D has minibatch discrimination: its logit for an image depends on the images beside it")
    _check_images(x)


def _check_layer(D: nn.Module, layer: str) -> None:
    if not callable(getattr(D, layer, None)):
        raise ValueError(f"{type(D).__name__} has no method or layer {layer!r}, which feature matching needs")


def _check_images(x: Tensor) -> None:
    if x.ndim < 2 or not len(x):
        raise ValueError(f"images must be (n, *shape) with n of at least 1, not {tuple(x.shape)}")
    if not x.isfinite().all():  # waits for the device, but once and not in every step
        raise ValueError(f"{int((~x.isfinite()).flatten(1).any(1).sum())} of {len(x)} images have values not finite")


def _check_shape(x: Tensor, generated: Tensor) -> None:
    if x.shape[1:] != generated.shape[1:]:
        made = tuple(generated.shape[1:])
        raise ValueError(f"images of shape {tuple(x.shape[1:])} for a generator of {made}: crop, pad or resample")
