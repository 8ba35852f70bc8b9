"""Gates: real data pass each, a Gaussian and an untrained network fail it."""

import pytest
import torch
from torch import nn

from medgan_lib import cohorts, ledger, metrics
from medgan_lib import methods as M
from medgan_lib import networks as N
from medgan_lib.training import fit

GATES = ledger.load_gates()


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def shuffled(cohort):
    return cohort[torch.randperm(len(cohort), generator=torch.Generator().manual_seed(0))]


def gaussian_of(x, count):
    """Images of the Gaussian that has the mean and the whole covariance of ``x``."""
    return metrics.PCA.fit(x, len(x)).sample(count, torch.Generator().manual_seed(0))


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
        case "better-than-a-gaussian":
            train, held, gaussian, untrained = request.getfixturevalue("digits")
            judge, half = request.getfixturevalue("yardstick"), len(held) // 2
            sets = (held.x[half:], gaussian[half:], untrained[half:])
            return [metrics.over_a_gaussian(judge, train.x, held.x[:half], made) for made in sets]
        case "as-varied-as-real":
            train, held, gaussian, untrained = request.getfixturevalue("digits")
            judge, half = request.getfixturevalue("yardstick"), len(held) // 2
            sets = (held.x[half:], gaussian[half:], untrained[half:])
            return [metrics.variety(judge, train.x, held.x[:half], made) for made in sets]
        case "judge-reads-nearly-all":
            return [metrics.beyond_guessing(value, 0.1) for value in judges(request, moved=True)]
        case "legible-digits":
            _, held, gaussian, untrained = request.getfixturevalue("digits")
            half, reader = len(held) // 2, request.getfixturevalue("reader")
            sets = (held.x[half:], gaussian, untrained)
            return [metrics.legible(reader, made, held.x[:half]) for made in sets]
        case "near-the-modes":
            train, held, untrained = request.getfixturevalue("ring")
            modes, sigma = held.truth["modes"], held.truth["sigma"]
            real, nothing = (metrics.near_modes(made, modes, sigma) for made in (held.x, untrained))
            return [real, metrics.modes_by_chance(train.x, modes, sigma).gaussian.high_quality, nothing]
        case "more-than-chance-on-the-modes":
            train, held, untrained = request.getfixturevalue("grid")
            modes, sigma = held.truth["modes"], held.truth["sigma"]
            root = torch.linalg.cholesky(train.x.T.cov())
            noise = torch.randn(5000, 2, generator=torch.Generator().manual_seed(1))
            cloud = train.x.mean(0) + noise @ root.T
            return [metrics.over_chance(made, train.x, modes, sigma) for made in (held.x, cloud, untrained)]
        case "judge-reads":
            return [metrics.beyond_guessing(value, 0.1) for value in judges(request)]
        case "game-is-on":
            return games(request)
    raise AssertionError(f"gate {gate} has no test: say here what it measures of real data, a Gaussian, no training")


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


@pytest.mark.parametrize("name", GATES)
def test_real_data_pass_a_gaussian_and_an_untrained_network_fail(request, name):
    real, gaussian, untrained = measured(request, name)
    gate = GATES[name]
    assert gate.holds(real), real
    assert not gate.holds(gaussian), gaussian
    assert not gate.holds(untrained), untrained


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


def test_a_sorted_cohort_and_few_images_give_the_same_answer(digits, yardstick):
    train, held, _, _ = digits
    order = train["label"].argsort()
    half = len(held) // 2
    found = [metrics.over_a_gaussian(yardstick, x, held.x[:n], held.x[half : half + n])
             for x in (train.x, train.x[order]) for n in (100, 500)]
    assert all(GATES["better-than-a-gaussian"].holds(value) for value in found), found


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
