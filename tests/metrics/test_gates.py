"""Gates: real data pass each, a Gaussian and an untrained network fail it."""

import math

import pytest
import torch
from torch import nn
from trained_judges import (
    detectors,
    gaussian_of,
    readers_of_mr,
    readers_of_photographs,
    readers_of_tissues,
    referees,
    resolvers,
    rulers,
    segmenters,
    sequences_of_vessels,
    shuffled,
    soft_tissues,
)

from medgan_lib import cohorts, ledger, metrics
from medgan_lib import methods as M
from medgan_lib import networks as N
from medgan_lib.cohorts.problems import reports, translation
from medgan_lib.cohorts.problems.few_labels import draw_labelled
from medgan_lib.training import fit

GATES = ledger.load_gates()


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def digits():
    """Training and held-out digits, what a Gaussian and what an untrained generator make of them."""
    train, held = (shuffled(cohorts.load("digits", split=split, size=32)) for split in ("train", "test"))
    half = len(held) // 2
    assert all(len(part["label"].unique()) == 10 for part in (held[:half], held[half:])), "the cohort lies sorted"
    torch.manual_seed(0)
    untrained = M.GAN(N.Generator((1, 32, 32), 32, 16), N.Critic((1, 32, 32), 16)).sample(len(held))
    return train, held, gaussian_of(train.x, len(held)), untrained


@pytest.fixture(scope="module")
def reader(digits):
    torch.manual_seed(0)
    method = M.Classifier(N.Encoder((1, 32, 32), 10, 16))
    return fit(method, digits[0], steps=300, precision="float32").method.net.eval()


class Moved(M.Classifier):
    """Its images are stretched, turned and moved a little, each time anew."""

    def step(self, batch):
        by = torch.eye(2, 3) + 0.15 * torch.randn(len(batch["x"]), 2, 3) * torch.tensor([1, 1, 0.5])
        grid = nn.functional.affine_grid(by, list(batch["x"].shape), align_corners=False)
        moved = nn.functional.grid_sample(batch["x"], grid, padding_mode="border", align_corners=False)
        return super().step({"x": moved, "label": batch["label"]})


@pytest.fixture(scope="module")
def long_taught(digits):
    torch.manual_seed(0)
    return fit(Moved(N.Encoder((1, 32, 32), 10, 24)), digits[0], steps=1200, precision="float32").method.net.eval()


@pytest.fixture(scope="module")
def yardstick(digits):
    return metrics.Yardstick.train(digits[0], held_out=digits[1], steps=250)


@pytest.fixture(scope="module")
def ring():
    train, held = (cohorts.load("ring", split=split) for split in ("train", "test"))
    torch.manual_seed(0)
    return train, held, M.GAN(N.MLP(2, 2), N.MLP(2, 1)).sample(1000)


@pytest.fixture(scope="module")
def grid():
    train, held = (cohorts.load("grid", split=split) for split in ("train", "test"))
    torch.manual_seed(0)
    return train, held, M.GAN(N.MLP(2, 2), N.MLP(2, 1)).sample(5000)


def measured(request, gate):
    """What the gate measures of real data, of a Gaussian and of an untrained network, in this order."""
    match gate:
        case "better-than-a-gaussian" | "convolutional-better-than-a-gaussian":
            train, held, gaussian, untrained = request.getfixturevalue("digits")
            judge, half = request.getfixturevalue("yardstick"), len(held) // 2
            sets = (held.x[half:], gaussian[half:], untrained[half:])
            return [metrics.over_a_gaussian(judge, train.x, held.x[:half], made) for made in sets]
        case "as-varied-as-real" | "real-as-varied-as-real":
            train, held, gaussian, untrained = request.getfixturevalue("digits")
            judge, half = request.getfixturevalue("yardstick"), len(held) // 2
            sets = (held.x[half:], gaussian[half:], untrained[half:])
            return [metrics.variety(judge, train.x, held.x[:half], made) for made in sets]
        case "varied-within-a-class":
            return [within(request, made) for made in classed(request)]
        case "judge-reads-nearly-all" | "source-is-read":
            return [metrics.beyond_guessing(value, 0.1) for value in judges(request, moved=True)]
        case "ruler-reads":
            return rulers()
        case "reader-finds-the-sentence":
            return readers_of_sentences()
        case "digits-read-as-asked" | "encoder-inverts":
            _, held, gaussian, untrained = request.getfixturevalue("digits")
            reader, asked = request.getfixturevalue("reader"), torch.arange(len(held)) % 10
            kinds = ((held.x, held["label"]), (gaussian, asked), (untrained, asked))
            right = [(N.batched(reader, made).argmax(1) == label).double().mean().item() for made, label in kinds]
            return [metrics.beyond_guessing(share, 0.1) for share in right]
        case "legible-digits" | "legible-enough-to-count":
            _, held, gaussian, untrained = request.getfixturevalue("digits")
            half, reader = len(held) // 2, request.getfixturevalue("reader")
            sets = (held.x[half:], gaussian, untrained)
            return [metrics.legible(reader, made, held.x[:half]) for made in sets]
        case "near-the-modes":
            train, held, untrained = request.getfixturevalue("ring")
            modes, sigma = held.truth["modes"], held.truth["sigma"]
            real, nothing = (metrics.near_modes(made, modes, sigma) for made in (held.x, untrained))
            return [real, metrics.modes_by_chance(train.x, modes, sigma).gaussian.high_quality, nothing]
        case "nearer-than-a-circle":
            train, held, untrained = request.getfixturevalue("ring")
            root = torch.linalg.cholesky(train.x.T.cov())
            cloud = train.x.mean(0) + torch.randn(2000, 2, generator=torch.Generator().manual_seed(1)) @ root.T
            sets = (held.x, cloud, untrained)
            return [metrics.over_a_circle(made, train.x, held.truth["modes"], 0.3) for made in sets]
        case "more-than-chance-on-the-modes":
            train, held, untrained = request.getfixturevalue("grid")
            modes, sigma = held.truth["modes"], held.truth["sigma"]
            root = torch.linalg.cholesky(train.x.T.cov())
            noise = torch.randn(5000, 2, generator=torch.Generator().manual_seed(1))
            cloud = train.x.mean(0) + noise @ root.T
            return [metrics.over_chance(made, train.x, modes, sigma) for made in (held.x, cloud, untrained)]
        case "target-can-be-read":
            return [metrics.beyond_guessing(value, 0.1) for value in readers_of_photographs()]
        case "judge-reads":
            return [metrics.beyond_guessing(value, 0.1) for value in judges(request)]
        case x if x.endswith("nearer-than-the-mean"):
            return translators()
        case "soft-tissue-is-right":
            return soft_tissues()
        case "tissues-are-read":
            return readers_of_mr()
        case "resolver-beats-interpolation":
            return resolvers()
        case "game-is-on":
            return games(request)
        case "labels-are-learnt":
            return readers_of_their_own_labels(request)
        case "referee-carries-over":
            return referees()
        case "drawn-as-asked":
            return readers_of_tissues()
        case "segmenter-agrees":
            return segmenters()
        case "detector-finds-landmarks":
            return detectors()
        case "vessels-better-than-a-gaussian" | "ordered-vessels-better-than-a-gaussian":
            return sequences_of_vessels()
    raise AssertionError(f"gate {gate} has no test: say here what it measures of real data, a Gaussian, no training")


def classed(request):
    """Held-out digits, a Gaussian and an untrained network, as if each image had been asked for: with its classes."""
    _, held, gaussian, untrained = request.getfixturevalue("digits")
    asked = held["label"][len(held) // 2 :]
    return [(made[len(held) // 2 :], asked) for made in (held.x, gaussian, untrained)]


def within(request, made):
    train, held, _, _ = request.getfixturevalue("digits")
    real = (held.x[: len(held) // 2], held["label"][: len(held) // 2])
    return metrics.variety_within(request.getfixturevalue("yardstick"), (train.x, train["label"]), real, made)


def translators():
    """Errors over that of the mean CT: of the truth with noise, of a Gaussian of CT, of an untrained translator."""
    train, held = (translation.pairs("heads", split, n=120, size=32) for split in ("train", "test"))
    head, window = held["labels"] > 0, held.window["x"]
    torch.manual_seed(0)
    noisy = held.x + 0.02 * torch.randn(held.x.shape)
    sets = (noisy, gaussian_of(train.x, len(held)), N.batched(N.UNet(width=8, depth=2), held["y"]))
    mean = metrics.mae(metrics.mean_image(train.x, held.x), held.x, window, head)
    return [metrics.mae(made, held.x, window, head) / mean for made in sets]


class TagReader(M.Classifier):
    """A network that says which tags an image has."""

    def step(self, batch):
        loss = nn.functional.binary_cross_entropy_with_logits(self.net(batch["x"]), batch["tags"])
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        return {"loss": loss.detach()}


def readers_of_sentences():
    """Right reports found beyond guessing, by a reader taught on nodules, one on a Gaussian, one untaught."""
    lesson, held = cohorts.load("nodules", "val", n=2000), cohorts.load("nodules", "test", n=300)
    tags, told = (reports.describe(cohort).tags for cohort in (lesson, held))

    def found(x, steps):
        torch.manual_seed(0)
        method = TagReader(N.Encoder((1, 32, 32), 12, 16))
        if steps:
            fit(method, {"x": x, "tags": tags.float()}, steps=steps, precision="float32")
        return metrics.beyond_guessing(reports.r_precision(N.batched(method.net.eval(), held.x), told), 0.05)

    return [found(lesson.x, 600), found(gaussian_of(lesson.x, 2000), 60), found(lesson.x, 0)]


def judges(request, moved=False):
    """Accuracies on held-out digits: taught on digits, taught on a Gaussian of each digit's mean only, untaught."""
    train, held, _, _ = request.getfixturevalue("digits")
    taught = request.getfixturevalue("long_taught" if moved else "reader")
    gaussian = gaussian_of(train.x, len(train))
    torch.manual_seed(1)
    fooled, untaught = (M.Classifier(N.Encoder((1, 32, 32), 10, 16)) for _ in range(2))
    fit(fooled, {"x": gaussian, "label": train["label"]}, steps=60, precision="float32")

    def right(net):
        return (N.batched(net.eval(), held.x).argmax(1) == held["label"]).double().mean().item()

    return [right(taught), right(fooled.net), right(untaught.net)]


def games(request):
    """Accuracies of D: against images of which half are real, against a Gaussian, and of a D that learnt nothing."""
    train, held, _, _ = request.getfixturevalue("digits")
    count = len(train) // 2  # D learns from these, and no generated image is one of them
    near = train.x[-count:].clone()
    near[::2] += 0.3 * torch.randn(near[::2].shape, generator=torch.Generator().manual_seed(0))  # every other is noisy
    label = torch.arange(2).repeat_interleave(count)

    def accuracy(fakes, steps):
        torch.manual_seed(0)
        D = M.Classifier(N.Encoder((1, 32, 32), 2, 16))
        if steps:
            lesson = {"x": torch.cat([train.x[:count], fakes]), "label": label}
            fit(D, lesson, steps=steps, precision="float32")
        net, made = D.net.eval(), fakes[: len(held)]
        right = (N.batched(net, held.x).argmax(1) == 0).double().mean() + N.batched(net, made).argmax(1).double().mean()
        return right.item() / 2

    return [accuracy(near, 250), accuracy(gaussian_of(train.x, count), 250), accuracy(near, 0)]


def readers_of_their_own_labels(request):
    """Shares of 100 labelled digits that are read: learnt by heart, taught on a Gaussian with the labels, untaught."""
    train = request.getfixturevalue("digits")[0]
    few = train[draw_labelled(train["label"], 100, 10)]

    def right(x):
        torch.manual_seed(0)
        D = N.ClassCritic((1, 32, 32), 10, 64)
        D.start_on(few.x)
        method = M.SemiSupervisedGAN(N.MLP(2, 2), D, weight=0.0, ema=0.99)
        if x is not None:
            fit(method, {"x": x, "label": few["label"]}, steps=300, batch_size=50, precision="float32")
        return (method.classify(few.x)[:, :10].argmax(1) == few["label"]).double().mean().item()

    return [right(x) for x in (few.x, gaussian_of(train.x, 100), None)]


@pytest.mark.parametrize("name", GATES)
def test_real_data_pass_a_gaussian_and_an_untrained_network_fail(request, name):
    real, gaussian, untrained = measured(request, name)
    gate = GATES[name]
    assert gate.holds(real), real
    assert not gate.holds(gaussian), gaussian
    assert not gate.holds(untrained), untrained


def test_a_circle_does_not_pass_for_its_modes(ring):
    """A generator that finds the ring and no mode fails; one that serves a single mode passes: others count modes."""
    train, held, _ = ring
    modes, gate = held.truth["modes"], GATES["nearer-than-a-circle"]
    angle = torch.rand(4000, generator=torch.Generator().manual_seed(0)) * 2 * torch.pi
    circle = 2 * torch.stack([angle.cos(), angle.sin()], 1)
    assert metrics.over_a_circle(circle, train.x, modes, 0.3) == pytest.approx(1, abs=0.1)
    assert not gate.holds(metrics.over_a_circle(circle, train.x, modes, 0.3))
    share = 16 / math.pi * math.asin(0.075)  # of the circle: 8 arcs, each of 4 asin(0.3 / 2 / 2) of 2 pi
    assert metrics.over_a_circle(modes, train.x, modes, 0.3) == pytest.approx(1 / share, rel=0.05)
    assert gate.holds(metrics.over_a_circle(modes[:1] + 0.29, train.x, modes, 0.42))
    assert metrics.over_a_circle(modes[:1] + 0.3, train.x, modes, 0.42) == 0
    with pytest.raises(ValueError, match="is this a ring"):
        metrics.over_a_circle(held.x, train.x, 100 * modes, 0.3)


def test_missing_digits_and_repeated_images_do_not_pass(digits, reader, yardstick):
    train, held, gaussian, _ = digits
    half = len(held) // 2
    real, other = held[:half], held[half:]
    legible, varied = GATES["legible-digits"], GATES["as-varied-as-real"]
    for missing in ([3], [8, 9], list(range(1, 10))):
        some = other.x[~torch.isin(other["label"], torch.tensor(missing))]
        assert not legible.holds(metrics.legible(reader, some, real.x)), missing
    one_each = torch.cat([train.x[train["label"] == digit][:1] for digit in range(10)])
    repeated = one_each.repeat(half // 10, 1, 1, 1)
    assert not varied.holds(metrics.variety(yardstick, train.x, real.x, repeated))
    mixed = torch.cat([other.x[: half // 2], gaussian[: half // 2]])
    assert not legible.holds(metrics.legible(reader, mixed, real.x))
    assert metrics.legible(reader, held.x, held.x) == pytest.approx(1)


def test_one_image_a_class_and_classes_mixed_up_are_not_varied_within_a_class(request, digits):
    train = digits[0]
    gate, (images, asked) = GATES["varied-within-a-class"], classed(request)[0]
    one_each = torch.cat([train.x[train["label"] == digit][:1] for digit in range(10)])
    assert not gate.holds(within(request, (one_each[asked], asked)))  # read as asked each time
    assert not gate.holds(within(request, (images, asked.roll(37))))
    collapsed = images.clone()  # five classes of ten
    collapsed[asked < 5] = one_each[asked[asked < 5]]
    assert within(request, (collapsed, asked)) < 0.7 * within(request, (images, asked))
    with pytest.raises(ValueError, match="class 9 has no images"):
        within(request, (images[asked != 9], asked[asked != 9]))


def test_a_sorted_cohort_and_few_images_give_the_same_answer(digits, yardstick):
    train, held, _, _ = digits
    order = train["label"].argsort()
    half = len(held) // 2
    found = [metrics.over_a_gaussian(yardstick, x, held.x[:n], held.x[half : half + n])
             for x in (train.x, train.x[order]) for n in (100, 500)]
    assert all(GATES["better-than-a-gaussian"].holds(value) for value in found), found


def test_heads_of_64_pixels_pass_and_what_is_none_fails():
    """The size at which chapter 7 asks: real slices pass, a Gaussian, untrained networks and a repeated slice fail."""
    train, held = (cohorts.load("heads", split, size=64, n=n, contrasts=("t1",)).x for split, n in
                   (("train", 500), ("test", 300)))
    order = torch.randperm(len(held), generator=torch.Generator().manual_seed(0))  # slices of a person lie side by side
    real, other = held[order].chunk(2)
    judge = metrics.Yardstick.train(train, held_out=held, steps=60)
    torch.manual_seed(0)
    grown = M.ProgressiveGAN(N.ProGenerator((1, 64, 64), 16, 4), N.ProCritic((1, 64, 64), 4), fade=0, hold=1)
    for player in grown.networks().values():
        player.grow(64)
    convolutional = M.GAN(N.DCGenerator((1, 64, 64), 16, 4), N.DCCritic((1, 64, 64), 4))
    wrong = {"a Gaussian": gaussian_of(train, 150), "grown, untrained": grown.sample(150).clamp(-1, 1),
             "convolutional, untrained": convolutional.sample(150)}
    for name in ("better-than-a-gaussian", "convolutional-better-than-a-gaussian"):
        assert GATES[name].holds(metrics.over_a_gaussian(judge, train, real, other))
        for what, images in wrong.items():
            assert not GATES[name].holds(metrics.over_a_gaussian(judge, train, real, images)), what
    varied = GATES["as-varied-as-real"]
    assert varied.holds(metrics.variety(judge, train, real, other))
    for images in (*(wrong[k] for k in wrong if k != "a Gaussian"), train[:1].repeat(150, 1, 1, 1)):
        assert not varied.holds(metrics.variety(judge, train, real, images))


def test_a_judge_that_cannot_tell_is_refused(digits):
    train, held, gaussian, _ = digits
    blind = metrics.Yardstick.train(train, held_out=held, steps=1)
    blind.net.join[1].weight.data.zero_()
    with pytest.raises(ValueError, match="it is no judge"):
        metrics.over_a_gaussian(blind, gaussian, gaussian.flip(0), held.x)
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="show 10% of the classes only"):
        metrics.legible(sure_of_what_is_bright(), held.x, -torch.ones(40, 1, 32, 32))
    with pytest.raises(ValueError, match="not finite"):
        metrics.legible(sure_of_what_is_bright(), held.x, held.x * torch.nan)
    with pytest.raises(ValueError, match="sure of 0% of the real images only"):
        metrics.legible(nn.Sequential(nn.Flatten(), nn.Linear(1024, 10), nn.Tanh()), held.x, held.x)


def sure_of_what_is_bright():
    """A classifier of ten classes by brightness alone."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(1024, 10))
    with torch.no_grad():
        net[1].weight[:] = torch.linspace(-1, 1, 10)[:, None]
    return net


def test_a_measure_without_a_judge_fails_its_gate_and_says_why(capsys):
    def refuses():
        raise ValueError("the judge is none")

    assert metrics.or_failed(0.0, refuses) == 0.0
    assert "the judge is none" in capsys.readouterr().out
    assert metrics.or_failed(0.0, lambda a, b: a + b, 1, 2) == 3


def test_a_measure_that_breaks_is_not_taken_for_a_failed_gate():
    with pytest.raises(ZeroDivisionError):
        metrics.or_failed(0.0, lambda: 1 / 0)
