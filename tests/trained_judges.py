"""Judges that tests of the gates train: on real images, on a Gaussian of them, and not at all."""

from __future__ import annotations

import torch
from scipy.stats import spearmanr
from torch import nn

from medgan_lib import cohorts, metrics
from medgan_lib import methods as M
from medgan_lib import networks as N
from medgan_lib.cohorts.problems import translation
from medgan_lib.cohorts.simulated import vessels
from medgan_lib.physics import resolution, tubes
from medgan_lib.physics import vessels as geometry
from medgan_lib.training import fit


def shuffled(cohort):
    return cohort[torch.randperm(len(cohort), generator=torch.Generator().manual_seed(0))]


def gaussian_of(x, count):
    """Images of the Gaussian that has the mean and the whole covariance of ``x``."""
    return metrics.PCA.fit(x, len(x)).sample(count, torch.Generator().manual_seed(0))


def readers_of_photographs():
    """Accuracies on held-out digits on photographs: taught on such, taught on a Gaussian of them, untaught."""
    photos = {split: cohorts.load("digits_on_photos", split, size=32, textured=True) for split in ("train", "test")}
    train, held = map(shuffled, photos.values())

    def right(x, steps):
        torch.manual_seed(0)
        method = M.Classifier(N.Encoder((3, 32, 32), 10, 24))
        if steps:
            fit(method, {"x": x, "label": train["label"]}, steps=steps, precision="float32")
        return (N.batched(method.net.eval(), held.x).argmax(1) == held["label"]).double().mean().item()

    return [right(train.x, 800), right(gaussian_of(train.x, len(train)), 60), right(train.x, 0)]


def referees():
    """Evaluators on unseen tissue, where other maps are blurred: taught on such tissue, on a Gaussian, untaught."""
    tissue = cohorts.load("glands_simulated", "val", size=32, n=160)
    sharp = 2 * tissue["mask"].float() - 1
    blurred = nn.functional.avg_pool2d(sharp, 5, 1, 2)
    views = [torch.cat([tissue.x, maps], 1) for maps in (sharp, blurred)]  # outlined images have the sharp maps

    def told(outlined, others, steps):
        torch.manual_seed(0)
        E = N.PatchCritic(4, width=8)
        opt = torch.optim.Adam(E.parameters(), 2e-3)
        for step in range(steps):
            some = torch.arange(8) + 8 * step % 24
            loss = nn.functional.softplus(-E(outlined[some])).mean() + nn.functional.softplus(E(others[some])).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
        yes, no = (N.batched(E, view[32:]).flatten(1).mean(1) > 0 for view in views)
        return metrics.beyond_guessing((yes.double().mean().item() + 1 - no.double().mean().item()) / 2, 0.5)

    noise = torch.cat([gaussian_of(tissue.x, 64), gaussian_of(sharp, 64)], 1)
    return [told(*views, 60), told(noise[:32], noise[32:], 60), told(*views, 0)]


def readers_of_tissues():
    """Shares of an image that a segmenter reads as drawn, beyond guessing: of real scans, a Gaussian, no training."""
    lesson, held = (cohorts.load("ultrasound", split, n=n) for split, n in (("val", 200), ("test", 100)))
    torch.manual_seed(0)
    S = M.Classifier(N.Segmenter(1, 6, width=8), lr=3e-3)
    fit(S, {"x": lesson.x, "label": lesson["labels"][:, 0]}, steps=150, batch_size=8, precision="float32")
    drawn = held["labels"]
    chance = torch.bincount(drawn.flatten()).max().item() / drawn.numel()
    with torch.no_grad():
        untrained = N.UNet(1, width=4)(drawn.float() / 2.5 - 1)

    def share(x):
        found = N.batched(S.net, x).argmax(1, keepdim=True)
        return metrics.beyond_guessing((found == drawn).double().mean().item(), chance)

    return [share(x) for x in (held.x, gaussian_of(lesson.x, 100), untrained)]


def readers_of_mr():
    """Dice of grey and white matter in unseen T1: taught on such images, taught on a Gaussian of them, untaught."""
    clean = {"size": 64, "snr": 400.0, "slices_per_subject": 2}
    train, held = (cohorts.load("heads", split, n=n, **clean) for split, n in (("train", 480), ("test", 60)))

    def overlap(x, steps):
        torch.manual_seed(0)
        S = M.Classifier(N.Segmenter(1, 6, width=16, depth=1), lr=6e-3)
        for part, rate in ((2 * steps // 3, 6e-3), (steps // 3, 6e-4)):
            S.opt.param_groups[0]["lr"] = rate
            if part:
                fit(S, {"x": x, "label": train["labels"][:, 0]}, steps=part, batch_size=4)
        found = N.batched(S.net, held.x, 64).argmax(1, keepdim=True)
        return sum(metrics.dice(found == k, held["labels"] == k).mean().item() for k in (4, 5)) / 2

    return [overlap(train.x, 1200), overlap(gaussian_of(train.x, len(train)), 30), overlap(train.x, 0)]


def resolvers():
    """Squared errors over that of bicubic interpolation: of the truth with noise, a Gaussian, an untrained resolver."""
    train, held = (cohorts.load("heads", split, n=60, size=32, contrasts=("t1",)).x for split in ("train", "test"))
    torch.manual_seed(0)
    y = resolution.truncate(held, 4)
    bicubic = nn.functional.interpolate(y, scale_factor=4.0, mode="bicubic")
    sets = (held + 0.02 * torch.randn(held.shape), gaussian_of(train, len(held)), N.SuperResolver(factor=4, width=8)(y))
    return [((made - held).square().mean() / (bicubic - held).square().mean()).item() for made in sets]


def segmenters():
    """Dice on held-out nodules beyond one mask for all: taught on nodules, on a Gaussian with their masks, untaught."""
    lesson, held = (cohorts.load("nodules", split, n=n) for split, n in (("val", 400), ("test", 200)))
    mean = lesson["mask"].float().mean(0, keepdim=True)
    same = metrics.dice((mean > mean.max() / 2).expand_as(held["mask"]), held["mask"]).mean().item()

    def agrees(x, steps):
        torch.manual_seed(0)
        method = M.AdversarialSegmentation(N.Segmenter(width=8), None, lam=0.0, lr=2e-3)
        if steps:
            fit(method, {"x": x, "mask": lesson["mask"]}, steps=steps, batch_size=16, precision="float32")
        return metrics.beyond_guessing(metrics.dice(method.segment(held.x) > 0.5, held["mask"]).mean().item(), same)

    return [agrees(lesson.x, 200), agrees(gaussian_of(lesson.x, 400), 100), agrees(lesson.x, 0)]


def detectors():
    """mm off on held-out radiographs of landmark detectors: taught on radiographs, on a Gaussian of them, untaught."""
    lesson, held = (cohorts.load("chests", split, n=n, size=48) for split, n in (("val", 300), ("test", 60)))

    def off(x, steps):
        torch.manual_seed(0)
        method = M.LandmarkDetector(N.Segmenter(1, 10, width=8), held.spacing[0], lr=5e-3)
        if steps:
            fit(method, {"x": x, "landmarks": lesson["landmarks"]}, steps=steps, batch_size=16, precision="float32")
        return (method.find(held.x) - held["landmarks"]).norm(dim=-1).median().item()

    return [off(lesson.x, 350), off(gaussian_of(lesson.x, 300), 60), off(lesson.x, 0)]


def sequences_of_vessels():
    """Distances over that of a Gaussian of steps: of real vessels, of another draw of the Gaussian, untrained."""
    wish = {"families": vessels.FAMILIES, "lengths": (40, 220), "stenosis": 0.25, "aneurysm": 0.15}
    train, held = (cohorts.load("vessels", split, n=800, **wish) for split in ("train", "test"))
    real, other, more = vessels.to_mm(held, held.x)[:780].split(260)
    known = vessels.to_mm(train, train.x)
    x = torch.cat([tubes.steps(known[:, :3]) / 4, known[:, 3:] / 2.5 - 1], 1)

    def walked(sequences):
        line = geometry.to_frame(tubes.walk(4 * sequences[:, :3]))
        return torch.cat([line, 2.5 * (sequences[:, 3:] + 1)], 1)

    pca, torch_seed = metrics.PCA.fit(x, 256), torch.Generator()
    first, second = (walked(pca.sample(260, torch_seed.manual_seed(k))) for k in range(2))
    torch.manual_seed(0)
    untrained = walked(M.GAN(N.Generator((4, 64), 16, 16), N.Critic((4, 64), 16)).sample(260))
    return [metrics.over_gaussian_vessels(real, other, first, made) for made in (more, second, untrained)]


def soft_tissues():
    """Errors of soft tissue in HU: of the truth with noise, of a Gaussian of CT, of an untrained translator."""
    train, held = (translation.pairs("heads", split, n=120, size=32) for split in ("train", "test"))
    window, hu = held.window["x"], held.window["x"].units(held.x)
    soft = metrics.interior((held["labels"] > 0) & (hu.abs() < 100))
    torch.manual_seed(0)
    noisy = held.x + 0.005 * torch.randn(held.x.shape)
    sets = (noisy, gaussian_of(train.x, len(held)), N.batched(N.UNet(width=8, depth=2), held["y"]))
    return [metrics.mae(made, held.x, window, soft) for made in sets]


def rulers():
    """Rank correlations of discs with true diameters: of nodules, of a Gaussian of them, of an untrained network's."""
    held = cohorts.load("nodules", "test", n=400)
    torch.manual_seed(0)
    untrained = M.GAN(N.Generator((1, 32, 32), 32, 16), N.Critic((1, 32, 32), 16)).sample(400)

    def correlation(x):
        return spearmanr(metrics.disc_diameter(x, 1.0), held["diameter"]).statistic

    return [correlation(x) for x in (held.x, gaussian_of(held.x, 400), untrained)]
