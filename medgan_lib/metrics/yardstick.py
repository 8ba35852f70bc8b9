"""One trained judge behind every Fréchet distance: features of a network that learnt to see faults of images.

Features decide what a distance can see. Those of photographs see little of medical images, and those of a network that
learnt to tell blurred images from sharp ones see blur and hardly anything else. The `Yardstick` learns, on real
training images of the very data set, what they show (their classes; where there are none, which way up they are) and
six named faults at several strengths (`metrics.faults`). On held-out images it says how much of that it reads, and
`Yardstick.sees` says which faults move its distance.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from medgan_lib import training
from medgan_lib.cohorts.cohort import Cohort
from medgan_lib.methods.base import Method, adam, decay_
from medgan_lib.metrics.faults import FAULTS, spoil
from medgan_lib.metrics.samples import choose, permutation
from medgan_lib.metrics.sets import Score, frechet
from medgan_lib.networks import batched, evaluating
from medgan_lib.networks.images import STAGES, downsampling, flat_size

FEATURES = 24  # few, so that a Fréchet distance of some hundred images is not all bias
LEVELS = 3  # classes of strength in the training
STRENGTHS = (0.25, 0.5, 1.0)  # just visible, plain, spoilt
_FEWEST = 40  # images to learn from
_EXAM = 0.2  # share of the subjects that is held out where no other images are given


class Reader(nn.Module):
    """Images (n, *shape) -> logits of what they show (n, contents) and of the faults they have (n, 1 + 6 * 3).

    ``features`` (n, 24) come before both, each of mean 0 and variance 1 over the images of the training, spoilt ones
    included. They see where things are (the last of three convolutions, as it is) and how much of each pattern there is
    (the mean of every feature map of all three): fine texture, noise and meshes are found in the second and are not
    learnt in a few hundred steps from the first alone. Sizes are filled up to a multiple of 8 by mirroring. ValueError
    for images of another shape.
    """

    def __init__(self, shape: tuple[int, ...], contents: int, width: int = 16) -> None:
        super().__init__()
        self.shape, step = tuple(shape), 1 << STAGES
        self.rest = [-s % step for s in shape[1:]]
        filled = (shape[0], *(s + r for s, r in zip(shape[1:], self.rest, strict=True)))
        layers = downsampling(filled, width, norm=True)
        depth = len(layers) // STAGES
        self.stages = nn.ModuleList(nn.Sequential(*layers[i : i + depth]) for i in range(0, len(layers), depth))
        patterns = width * ((1 << STAGES) - 1)
        self.where = nn.Linear(flat_size(filled, width), 64)
        self.what = nn.Sequential(nn.BatchNorm1d(patterns, affine=False), nn.Linear(patterns, 64))
        # without the normalisation the unit of a distance would be whatever the training made of it
        self.join = nn.Sequential(nn.LeakyReLU(0.2), nn.Linear(128, FEATURES), nn.BatchNorm1d(FEATURES, affine=False))
        self.content, self.fault = nn.Linear(FEATURES, contents), nn.Linear(FEATURES, 1 + len(FAULTS) * LEVELS)

    def features(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"images of shape {tuple(x.shape[1:])} for a yardstick made for {self.shape}")
        sides = [side for r in reversed(self.rest) for side in (0, r)]
        h, patterns = F.pad(x, sides, mode="reflect") if any(sides) else x, []
        for stage in self.stages:
            h = stage(h)
            patterns.append(h.flatten(2).mean(2))
        return self.join(torch.cat([self.where(h.flatten(1)), self.what(torch.cat(patterns, 1))], 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.features(x)
        return self.content(h), self.fault(h)


class Lessons(Method):
    """Trains a `Reader`: every step turns and spoils its images anew, a seventh of them by each fault, one not at all.

    ``labelled`` says that ``batch["label"]`` holds what the images show; else it is how far they were turned.
    ``faults`` are those that it is taught. In the second half of ``steps`` the learning rate falls linearly to 0: at a
    constant one the moving averages of the normalisation lag behind, and the accuracy is a matter of luck.
    """

    def __init__(
        self, net: Reader, labelled: bool, steps: int, faults: tuple[str, ...] = tuple(FAULTS), lr: float = 3e-3
    ) -> None:
        super().__init__()
        self.net, self.labelled, self.steps, self.faults, self.lr = net, labelled, steps, faults, lr
        self.opt = adam(net, lr, (0.9, 0.999))

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One descent step on images ``batch["x"]``: cross-entropy of what they show plus that of their faults."""
        x, label = (batch["x"], batch["label"]) if self.labelled else turned(batch["x"])
        x, kind = self._spoilt(x)
        content, fault = self.net(x)
        shown, spoilt = F.cross_entropy(content, label), F.cross_entropy(fault, kind)
        self.opt.zero_grad()
        (shown + spoilt).backward()
        self.opt.step()
        decay_((self.opt,), (self.steps // 2, self.steps))
        return {"content": shown.detach(), "fault": spoilt.detach()}

    def _spoilt(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The images and their classes: 0, or 1 + 3 times the number of the fault + the level of its strength."""
        x, kind, names = x.clone(), torch.zeros(len(x), dtype=torch.int64, device=x.device), list(FAULTS)
        for k, fault in enumerate(self.faults):
            part = slice(k + 1, None, len(self.faults) + 1)
            strength = torch.rand(len(x[part]), device=x.device)
            x[part] = spoil(x[part], fault, strength)
            kind[part] = 1 + LEVELS * names.index(fault) + (LEVELS * strength).long()
        return x, kind

    def optimizers(self) -> dict[str, Optimizer]:
        return {"net": self.opt}


class Accuracy(NamedTuple):
    """Share of held-out answers that were right, and what guessing gets."""

    value: float
    chance: float

    @property
    def reads(self) -> bool:
        """Whether at least half of the way from guessing to perfection is gone."""
        return self.value >= (1 + self.chance) / 2

    def __str__(self) -> str:
        return f"{self.value:.0%} (chance {self.chance:.0%})"


class Sight(NamedTuple):
    """How many times its floor a distance is, for each fault at each of the ``strengths``; printed as a table."""

    strengths: tuple[float, ...]
    ratios: dict[str, tuple[float, ...]]

    def blind(self, least: float = 2.0) -> list[str]:
        """The faults that don't raise the distance to ``least`` times the floor at the second strength (plain)."""
        return [fault for fault, ratio in self.ratios.items() if ratio[1] < least]

    def __str__(self) -> str:
        lines = [f"{'times the floor':16}" + "".join(f"{s:>9.2f}" for s in self.strengths)]
        lines += [f"{fault:16}" + "".join(f"{r:9.1f}" for r in ratio) for fault, ratio in self.ratios.items()]
        return "\n".join(lines)


class Yardstick:
    """A trained judge of images of one shape and one data set; made by `Yardstick.train`.

    ``content`` is the `Accuracy` with which it reads what held-out real images show, ``fault`` that with which it
    names the fault of held-out images (plain ones, strength 0.5, and images without any among them). Distances are
    those of this yardstick: two yardsticks have different units, two seeds of a chapter must share one.
    """

    def __init__(self, net: Reader, content: Accuracy, fault: Accuracy, name: str = "yardstick") -> None:
        self.net, self.content, self.fault, self.name = net.eval(), content, fault, name

    @classmethod
    def train(
        cls,
        train: Cohort | Mapping[str, Tensor] | Tensor,
        label: Tensor | None = None,
        *,
        held_out: Cohort | Mapping[str, Tensor] | Tensor | None = None,
        held_out_label: Tensor | None = None,
        steps: int = 800,
        batch_size: int = 64,
        width: int = 16,
        seed: int = 0,
        device: str = "auto",
        checkpoint: str | os.PathLike | None = None,
        name: str = "yardstick",
        faults: tuple[str, ...] = tuple(FAULTS),
    ) -> Self:
        """Trains a yardstick on real training images; a chapter calls it once, with the same seed for all its seeds.

        Args:
            train: a Cohort, a mapping with ``x`` (and ``label``), or images (n, channels, *size) in [-1, 1], two or
                three dimensions, at least 16 pixels an edge and 40 images.
            label: classes int64 (n,) from 0 on. By default the tensor ``label`` of a Cohort or mapping; without it,
                the yardstick learns which way up an image is.
            held_out, held_out_label: other real images, of other subjects, for the examination. By default a
                fifth of the subjects of ``train`` is kept back for it (of the images, where subjects are unknown).
            steps, batch_size, seed, device: as in `training.fit`, always in float32.
            width: channels of the first convolution.
            checkpoint: a folder, for a file called after ``name``; None for none. Chapters that ask for the same
                yardstick share one where `training.fit` is told of a folder for that.
            faults: what it is taught; all six, but to show what a judge with fewer is blind to.

        Raises:
            ValueError: too few or too small images, labels that don't fit, an unknown fault, or as `training.fit`.
        """
        data = _lessons_of(train, label)
        if held_out is None:
            data, exam = _apart(data, train.subjects if isinstance(train, Cohort) else torch.arange(len(data["x"])))
        else:
            exam = _lessons_of(held_out, held_out_label)
        x, labelled = data["x"], "label" in data
        if exam["x"].shape[1:] != x.shape[1:] or ("label" in exam) != labelled:
            raise ValueError("the held-out images must have the shape of the training images, and labels as they have")
        if x.ndim not in (4, 5) or min(x.shape[2:]) < 16 or len(x) < _FEWEST or not len(exam["x"]):
            raise ValueError(
                f"a yardstick needs at least {_FEWEST} images (n, channels, *size) of 16 pixels an edge in 2-D or 3-D "
                f"to learn from, and some for its examination, not {tuple(x.shape)} and {len(exam['x'])}"
            )
        if unknown := set(faults) - set(FAULTS):
            raise ValueError(f"unknown faults {sorted(unknown)}, they must be among {', '.join(FAULTS)}")
        contents = 1 + int(torch.cat([data["label"], exam["label"]]).max()) if labelled else len(_turns(x))
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            net = Reader(tuple(x.shape[1:]), contents, width)
        file = None if checkpoint is None else Path(checkpoint, f"{name}.pt")
        run = training.fit(
            Lessons(net, labelled, steps, tuple(faults)), data, steps=steps, batch_size=min(batch_size, len(x)),
            seed=seed, device=device, precision="float32", checkpoint=file, shared=True,
        )  # fmt: skip
        net.to(run.device)
        return cls(net, *_examined(net, exam, labelled, contents), name)

    @property
    def accuracy(self) -> float:
        """The share of held-out images, spoilt plainly or not at all, whose fault is named (chance 1/7)."""
        return self.fault.value

    @property
    def reads(self) -> bool:
        """The gate: whether it names the faults of held-out real images in at least half of the way above chance.

        What images show is no part of it: some have no way up, and some classes cannot be told by anybody.
        """
        return self.fault.reads

    def describe(self) -> str:
        """One sentence for the page: what is read of held-out images; that it cannot read real images, if so."""
        verdict = "" if self.reads else "; it cannot read real images, and its distances mean nothing"
        return f"{self.name}: on held-out images, content {self.content}, faults {self.fault}{verdict}"

    __repr__ = describe

    def features(self, x: Tensor) -> Tensor:
        """float32 (n, 24) of images (n, *shape), on their device. ValueError for another shape or no image."""
        return features(self.net, x)

    def distance(self, real: Tensor, fake: Tensor) -> float:
        """Fréchet distance of the features of two sets of images, the larger one cut to the size of the smaller.

        The cut is at random and always the same. A value means something beside its floor (`score`) and beside others
        of this yardstick, with as many images: the fewer, the larger. ValueError as `features` and `frechet`.
        """
        count = min(len(real), len(fake))
        return frechet(*(self.features(choose(x, count)) for x in (real, fake)))

    def score(self, real: Tensor, other_real: Tensor, fake: Tensor) -> Score:
        """`distance` of fakes from real images, and that of other real images from them: the floor.

        All three are cut to equal numbers; a perfect generator scores about the floor.
        """
        count = min(len(real), len(other_real), len(fake))
        real, other, fake = (self.features(choose(x, count)) for x in (real, other_real, fake))
        return Score(frechet(real, fake), frechet(real, other))

    def sees(self, held_out: Tensor, strengths: tuple[float, ...] = STRENGTHS) -> Sight:
        """Which faults move its distance: real images against others that were spoilt, over real against others.

        Args:
            held_out: real images that it did not learn from, at least 52, better some hundred; they are halved.
            strengths: from 0 to 1.
        """
        half = len(held_out) // 2
        order = permutation(len(held_out), 0).to(held_out.device)
        real, other = self.features(held_out[order[:half]]), held_out[order[half : 2 * half]]
        floor = frechet(real, self.features(other))

        def times(fault: str, strength: float) -> float:
            spoilt = spoil(other, fault, strength, torch.Generator().manual_seed(0))
            return frechet(real, self.features(spoilt)) / floor

        return Sight(tuple(strengths), {fault: tuple(times(fault, s) for s in strengths) for fault in FAULTS})


def features(net: nn.Module, x: Tensor, batch: int = 256) -> Tensor:
    """``net.features`` of all samples in evaluation mode, without gradients; the net's mode is given back.

    Args:
        net: has a method ``features``: (n, ...) -> (n, d).
        x: samples (n, ...), on any device.
        batch: samples at a time.

    Returns:
        float32 (n, d) on the device of ``x``.

    Raises:
        ValueError: no samples, or a network without ``features``.
    """
    if not callable(getattr(net, "features", None)):
        raise ValueError(f"{type(net).__name__} has no method features(x); use an Encoder")
    if len(x) == 0:
        raise ValueError("no samples to compute features of")
    return batched(net.features, x, batch).float()


def turned(x: Tensor) -> tuple[Tensor, Tensor]:
    """Images turned in their last two axes, and by which of the turns int64 (n,): every one as often as the others.

    By no, one, two or three quarters where the images are square there, else by none or two.
    """
    turns = _turns(x)
    parts = [x[k :: len(turns)].rot90(turn, (-2, -1)) for k, turn in enumerate(turns)]
    label = [torch.full((len(part),), k, device=x.device) for k, part in enumerate(parts)]
    return torch.cat(parts), torch.cat(label)


def _turns(x: Tensor) -> tuple[int, ...]:
    return (0, 1, 2, 3) if x.shape[-1] == x.shape[-2] else (0, 2)


def _lessons_of(source: Cohort | Mapping[str, Tensor] | Tensor, label: Tensor | None) -> dict[str, Tensor]:
    tensors = source.tensors if isinstance(source, Cohort) else {"x": source} if isinstance(source, Tensor) else source
    data = {"x": tensors["x"]}
    label = tensors.get("label") if label is None else label
    if label is None:
        return data
    if label.shape != data["x"].shape[:1] or label.dtype != torch.int64 or (len(label) and int(label.min()) < 0):
        raise ValueError(f"labels must be int64 ({len(data['x'])},) from 0 on, not {label.dtype} {tuple(label.shape)}")
    return data | {"label": label}


def _apart(data: dict[str, Tensor], subjects: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What is learnt from and what is examined, with no subject in both."""
    people, member = subjects.unique(return_inverse=True)
    kept = permutation(len(people), 0)[: max(1, round(_EXAM * len(people)))]
    held = torch.isin(member, kept.to(member.device)).to(data["x"].device)
    return {key: v[~held] for key, v in data.items()}, {key: v[held] for key, v in data.items()}


def _examined(net: Reader, exam: dict[str, Tensor], labelled: bool, contents: int) -> tuple[Accuracy, Accuracy]:
    device, draw = next(net.parameters()).device, torch.Generator().manual_seed(0)
    x = exam["x"]
    shown = [(x, exam["label"])] if labelled else [
        (x.rot90(turn, (-2, -1)), torch.full((len(x),), k)) for k, turn in enumerate(_turns(x))
    ]  # fmt: skip
    with evaluating(net):

        def logits(images: Tensor) -> tuple[Tensor, Tensor]:
            found = [net(part.to(device)) for part in images.split(256)]
            return tuple(torch.cat(parts).cpu() for parts in zip(*found, strict=True))

        right = torch.cat([logits(images)[0].argmax(1) == truth.cpu() for images, truth in shown])
        spoilt = [x, *(spoil(x, fault, 0.5, draw) for fault in FAULTS)]
        kinds = [(logits(images)[1].argmax(1) + LEVELS - 1) // LEVELS for images in spoilt]
        named = torch.cat([kind == k for k, kind in enumerate(kinds)])
    return (
        Accuracy(right.double().mean().item(), 1 / contents),
        Accuracy(named.double().mean().item(), 1 / (1 + len(FAULTS))),
    )
