"""Figures of merit against closed forms, hand-computed cases and generators whose faults are known."""

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from medgan_lib import metrics
from medgan_lib.metrics import sets

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def with_moments(mean, covariance, n=200, seed=0):
    """A sample whose empirical mean and covariance are exactly the given ones."""
    x = normal(n, len(mean), seed=seed)
    x = x - x.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(x.T.cov()), x.T, upper=False)
    return (torch.linalg.cholesky(covariance) @ white).T + mean


# --- Fréchet ---


def test_frechet_equals_the_closed_form():
    # Commuting covariances: the distance is Σ (μ − μ')² + Σ (σ − σ')².
    a = with_moments(torch.tensor([0.0, 1.0, 2.0]).double(), torch.diag(torch.tensor([1.0, 4.0, 9.0]).double()))
    b = with_moments(torch.tensor([1.0, 1.0, 0.0]).double(), torch.diag(torch.tensor([4.0, 4.0, 1.0]).double()), 300, 1)
    assert metrics.frechet(a, b) == pytest.approx(1 + 4 + 1 + 0 + 4, rel=1e-9)


def test_frechet_with_covariances_that_do_not_commute():
    from scipy.linalg import sqrtm

    s = torch.tensor([[2.0, 0.9, 0.0], [0.9, 1.0, 0.3], [0.0, 0.3, 0.5]]).double()
    t = torch.tensor([[1.0, -0.5, 0.2], [-0.5, 3.0, 0.0], [0.2, 0.0, 1.0]]).double()
    zero = torch.zeros(3).double()
    expected = float(s.trace() + t.trace() - 2 * np.trace(sqrtm((s @ t).numpy())).real)
    assert metrics.frechet(with_moments(zero, s), with_moments(zero, t, seed=1)) == pytest.approx(expected, rel=1e-9)


def test_frechet_agrees_with_torchmetrics_on_its_own_terms():
    from torchmetrics.image.fid import _compute_fid

    a, b = normal(400, 16), 1.5 * normal(300, 16, seed=1) + 0.3
    theirs = _compute_fid(a.mean(0), a.T.cov(), b.mean(0), b.T.cov()).item()
    assert metrics.frechet(a, b) == pytest.approx(theirs, rel=1e-10)


def test_frechet_is_symmetric_zero_on_itself_and_blind_to_shift_and_rotation():
    a, b = normal(300, 8), 2 * normal(250, 8, seed=1)
    value = metrics.frechet(a, b)
    assert metrics.frechet(b, a) == pytest.approx(value, rel=1e-10)
    assert metrics.frechet(a, a) == pytest.approx(0, abs=1e-9)
    turn = torch.linalg.qr(normal(8, 8, seed=2)).Q
    assert metrics.frechet(a @ turn, b @ turn) == pytest.approx(value, rel=1e-9)
    assert metrics.frechet(a + 1e6, b + 1e6) == pytest.approx(value, rel=1e-6)
    assert metrics.frechet(10 * a, 10 * b) == pytest.approx(100 * value, rel=1e-9)


def test_frechet_of_fewer_samples_than_features_is_real_and_warns():
    a, b = normal(20, 64), normal(30, 64, seed=1) + 1
    with pytest.warns(UserWarning, match="20 and 30 samples with 64 features is badly biased"):
        value = metrics.frechet(a, b)
    # Tr (Σ_a Σ_b)^½ is the nuclear norm of the product of the centred samples: an oracle without square roots.
    x, y = (a - a.mean(0)) / 19**0.5, (b - b.mean(0)) / 29**0.5
    cross = torch.linalg.svdvals(x @ y.T).sum()
    expected = (a.mean(0) - b.mean(0)).square().sum() + x.square().sum() + y.square().sum() - 2 * cross
    assert value == pytest.approx(expected.item(), rel=1e-6)
    with pytest.warns(UserWarning):
        assert 0 <= metrics.frechet(a, a) < 1e-4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.frechet(normal(65, 64), normal(65, 64, seed=1))


def test_frechet_sees_a_collapsed_generator():
    real, other = normal(500, 8), normal(500, 8, seed=1)
    score = metrics.with_floor(metrics.frechet, real, other, real[:1] + 0.01 * normal(500, 8, seed=2))
    assert score.value > 20 * score.floor


def test_the_floor_uses_equal_numbers_of_samples():
    seen = []

    def count(a, b):
        seen.append((len(a), len(b)))
        return 0.0

    metrics.with_floor(count, normal(50, 2), normal(30, 2), normal(80, 2))
    metrics.with_floor(count, normal(50, 2), normal(90, 2), normal(80, 2))
    assert seen == [(50, 30), (50, 30), (50, 80), (50, 80)]
    # a perfect generator scores the floor, whatever the number of samples
    score = metrics.with_floor(metrics.frechet, normal(2000, 4), normal(200, 4, seed=1), normal(2000, 4, seed=2))
    assert score.value == pytest.approx(score.floor, abs=0.1)
    ordered = torch.arange(100.0)[:, None]  # the cut must not take the first ones of an ordered set
    score = metrics.with_floor(lambda a, b: b.mean().item(), ordered, ordered, ordered[:50])
    assert 35 < score.floor < 65


# --- W1 ---


def test_w1_in_one_dimension_equals_scipy_and_the_shift():
    from scipy.stats import wasserstein_distance

    a, b = normal(100), normal(70, seed=1) + 1
    assert metrics.wasserstein1(a, b) == pytest.approx(wasserstein_distance(a.numpy(), b.numpy()), rel=1e-12)
    assert metrics.wasserstein1(a[:, None], a[:, None] + 2.5) == pytest.approx(2.5, rel=1e-12)


@pytest.mark.parametrize("d", [2, 5])
def test_w1_in_more_dimensions_equals_the_shift(d):
    a = normal(80, d)
    shift = torch.linspace(-1, 2, d).double()
    shuffled = (a + shift)[torch.randperm(80)]
    assert metrics.wasserstein1(a, shuffled) == pytest.approx(shift.norm().item(), rel=1e-12)
    assert metrics.wasserstein1(a, a.flip(0)) == pytest.approx(0, abs=1e-12)


def test_w1_by_assignment_equals_w1_by_sorting():
    a, b = normal(60), normal(60, seed=1) ** 3
    flat = torch.zeros(60).double()
    expected = metrics.wasserstein1(a, b)
    assert metrics.wasserstein1(torch.stack((a, flat), 1), torch.stack((b, flat), 1)) == pytest.approx(expected)
    two_lines = torch.linspace(0, 1, 50).double()  # the review's two parallel lines: W1 is their distance
    lines = [torch.stack((torch.full_like(two_lines, x), two_lines), 1) for x in (0.0, 0.7)]
    assert metrics.wasserstein1(*lines) == pytest.approx(0.7, rel=1e-12)


def test_w1_needs_equal_numbers_in_more_dimensions():
    with pytest.raises(ValueError, match="equally many samples, not 5 and 6"):
        metrics.wasserstein1(normal(5, 2), normal(6, 2))


# --- precision, recall, density, coverage ---


def test_prdc_by_hand():
    real = torch.tensor([[0.0], [1.0], [3.0], [10.0]])  # radii for k = 1: 1, 1, 2, 7
    fake = torch.tensor([[0.5], [2.0], [50.0]])  # radii: 1.5, 1.5, 48
    # inside: 0.5 lies in the balls of 0 and 1; 2 in those of 1 and 3 (closed); 50 in none
    # recall: 0 (by 0.5 and 50?) |50 − 0| = 50 > 48; 0.5 ± 1.5 holds 0, 1; 2 ± 1.5 holds 1, 3; 50 ± 48 holds 3, 10
    result = metrics.prdc(real, fake, k=1)
    assert result == pytest.approx((2 / 3, 1.0, 4 / 3, 3 / 4))


def test_prdc_recall_by_hand():
    real = torch.tensor([[0.0], [1.0], [3.0], [10.0]])
    fake = torch.tensor([[0.2], [0.9], [1.2]])  # radii for k = 1: 0.7, 0.3, 0.3
    assert metrics.prdc(real, fake, k=1) == pytest.approx((1.0, 2 / 4, 6 / 3, 3 / 4))


def test_prdc_of_equal_distributions_meets_theory():
    n, k = 600, 5
    result = metrics.prdc(normal(n, 4), normal(n, 4, seed=1), k)
    coverage = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, k + 1))
    assert result.density == pytest.approx(1, abs=0.06)
    assert result.coverage == pytest.approx(coverage, abs=0.025)


def test_prdc_knows_collapse_noise_and_shift():
    real = normal(400, 6)
    collapsed = metrics.prdc(real, real[:1] + 0.01 * normal(400, 6, seed=1))
    assert collapsed.precision > 0.99 and collapsed.coverage < 0.1 and collapsed.recall < 0.05
    noisy = metrics.prdc(real, 3 * normal(400, 6, seed=1))
    assert noisy.precision < 0.4 and noisy.density < 0.4 and noisy.recall > 0.8
    assert metrics.prdc(real, normal(400, 6, seed=1) + 100) == (0, 0, 0, 0)
    same = metrics.prdc(real, real)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)


def test_prdc_does_not_depend_on_the_size_of_its_blocks(monkeypatch):
    real, fake = normal(150, 3), normal(120, 3, seed=1)
    whole = metrics.prdc(real, fake)
    blocks = sets.distances_by_row
    monkeypatch.setattr(sets, "distances_by_row", lambda a, b: blocks(a, b, rows=37))
    assert metrics.prdc(real, fake) == pytest.approx(whole)


# --- two-sample test ---


def test_equal_distributions_are_not_told_apart():
    """The interval must hold 0.5 in about 95 % of comparisons; of 60, fewer than 52 happen once in 100 000."""
    results = [metrics.two_sample_test(normal(80, 4, seed=2 * s), normal(80, 4, seed=2 * s + 1), s) for s in range(60)]
    assert sum(r.low <= 0.5 <= r.high for r in results) >= 52
    assert np.mean([r.accuracy for r in results]) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("fault", ["shift", "collapse", "missing mode", "scale"])
def test_faults_are_found(fault):
    real, fake = normal(400, 2), normal(400, 2, seed=1)
    if fault == "shift":
        fake = fake + 5
    elif fault == "collapse":
        fake = real.mean(0) + 0.01 * fake
    elif fault == "missing mode":
        real[:, 0] += 6 * (torch.arange(400) % 2)
    else:
        fake = 4 * fake
    result = metrics.two_sample_test(real, fake)
    assert result.low > 0.6 and result.low <= result.accuracy <= result.high
    if fault == "shift":
        assert result.accuracy > 0.98


def test_real_near_duplicates_do_not_leak():
    """Real samples in eight near-copies each, fakes of the same distribution: nothing but copies to recognise."""
    subjects = normal(60, 20)
    real = (subjects[:, None] + 1e-3 * normal(60, 8, 20, seed=1)).flatten(0, 1)
    for duplicates_known in (True, False):
        # wider copies are no near-duplicates by distance: then the subjects must say so
        images = real if duplicates_known else (subjects[:, None] + 0.4 * normal(60, 8, 20, seed=1)).flatten(0, 1)
        fakes = normal(480, 20, seed=3) * images.std()
        groups = None if duplicates_known else torch.arange(60).repeat_interleave(8)
        result = metrics.two_sample_test(images, fakes, groups=groups)
        assert result.accuracy < 0.62, duplicates_known
    leaking = metrics.two_sample_test(images, fakes)
    assert leaking.accuracy > 0.75  # the same images without their subjects: the test above can fail


def test_two_sample_test_is_reproducible_and_balanced():
    real, fake = normal(300, 3), normal(100, 3, seed=1)
    assert metrics.two_sample_test(real, fake, 1) == metrics.two_sample_test(real, fake, 1)
    assert metrics.two_sample_test(real, fake, 1).accuracy < 0.65  # "always real" would score 0.75
    with pytest.raises(ValueError, match="form 2 groups"):
        metrics.two_sample_test(real, fake, groups=torch.arange(300) % 2)
    with pytest.raises(ValueError, match="300 real samples but 10 groups"):
        metrics.two_sample_test(real, fake, groups=torch.arange(10))


# --- memorisation ---


def test_nearest_by_hand():
    a, b = torch.tensor([[0.0, 0.0], [4.0, 4.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0], [9.0, 9.0]])
    distance, index = metrics.nearest(a, b)
    assert distance.tolist() == [1.0, 1.0] and index.tolist() == [1, 0]
    distance, index = metrics.nearest(a, b, k=2)
    assert distance.tolist() == [[1.0, 5.0], [1.0, 5.0]] and index.tolist() == [[1, 0], [0, 1]]
    images, _ = metrics.nearest(torch.zeros(2, 1, 4, 4), torch.ones(3, 1, 4, 4))
    assert images.tolist() == [4.0, 4.0]
    with pytest.raises(ValueError, match="4 neighbours among 3"):
        metrics.nearest(a, b, 4)


def test_nearest_over_many_blocks():
    a, b = normal(2500, 3), normal(40, 3, seed=1)
    distance, index = metrics.nearest(a, b)
    full = torch.cdist(a, b)
    assert torch.equal(index, full.argmin(1)) and torch.allclose(distance, full.min(1).values)


def test_copies_are_flagged_and_fresh_samples_are_not():
    x = normal(1400, 64)
    train, held_out, fresh = x[:600], x[600:1000], x[1000:]
    copies = train[:100] + 0.1 * normal(100, 64, seed=1)
    result = metrics.memorisation(train, held_out, torch.cat((copies, fresh)))
    assert result.copies[:100].all()
    assert result.copies[100:].double().mean() < 0.12
    assert result.share == pytest.approx(result.copies.double().mean().item())
    assert result.false_alarms < 0.12
    assert result.fake.shape == (500,) and result.held_out.shape == (400,)
    assert result.fake[:100].max() < result.held_out.min()


def test_smooth_fakes_are_near_everything_but_no_copies():
    x = normal(1400, 64)
    train, held_out, smooth = x[:600], x[600:1000], 0.5 * x[1000:]
    result = metrics.memorisation(train, held_out, smooth)
    assert result.fake.median() < result.held_out.quantile(0.05)  # by distance alone most would be accused
    assert result.share <= 0.1


def test_false_alarms_are_measured_where_the_alarm_was_not_set():
    rates = [metrics.memorisation(x[:300], x[300:700], x[700:]).false_alarms
             for x in (normal(900, 5, seed=s) for s in range(20))]
    assert np.mean(rates) == pytest.approx(0.05, abs=0.02) and len(set(rates)) > 3


def test_a_held_out_set_with_training_samples_is_refused():
    x = normal(300, 5)
    with pytest.raises(ValueError, match="among the training samples; split by subject"):
        metrics.memorisation(x, x[:100], x)
    with pytest.raises(ValueError, match="10 held-out samples are too few"):
        metrics.memorisation(x, x[:10], x)


# --- modes ---

RING = torch.tensor([[math.cos(t), math.sin(t)] for t in torch.arange(8) * math.pi / 4]).double()


def test_modes_of_a_perfect_generator():
    samples = RING[torch.arange(8000) % 8] + 0.02 * normal(8000, 2)
    result = metrics.modes_covered(samples, RING, 0.02)
    assert result.covered == 8 and result.kl < 1e-3
    assert result.high_quality == pytest.approx(1 - math.exp(-4.5), abs=0.004)
    assert result.counts.sum() == round(result.high_quality * 8000)


def test_modes_of_faulty_generators():
    collapsed = metrics.modes_covered(RING[:1].repeat(100, 1), RING, 0.02)
    assert (collapsed.covered, collapsed.high_quality) == (1, 1) and collapsed.kl == pytest.approx(math.log(8))
    half = metrics.modes_covered(RING[:4].repeat(50, 1), RING, 0.02)
    assert half.covered == 4 and half.kl == pytest.approx(math.log(2))
    between = metrics.modes_covered(torch.zeros(100, 2), RING, 0.02)
    assert (between.covered, between.high_quality) == (0, 0) and between.kl == pytest.approx(math.log(8))
    uneven = metrics.modes_covered(torch.cat((RING[:1].repeat(3, 1), RING[1:2])), RING[:2], 0.02)
    assert uneven.kl == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))


def test_modes_count_from_a_minimum_and_within_a_radius():
    samples = torch.cat((RING[:1].repeat(5, 1), RING[1:2]))
    assert metrics.modes_covered(samples, RING, 0.02, min_count=2).covered == 1
    near = RING[:1] + torch.tensor([[0.05, 0.0]])  # 2.5 σ away
    assert metrics.modes_covered(near, RING, 0.02).high_quality == 1
    assert metrics.modes_covered(near, RING, 0.02, within=2).high_quality == 0
    with pytest.raises(ValueError, match="sigma must be positive"):
        metrics.modes_covered(near, RING, 0.0)


# --- images ---


class Doubler(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = torch.nn.Dropout(0.5)
        self.weight = torch.nn.Parameter(torch.tensor(2.0))

    def features(self, x):
        return self.drop(self.weight * x.flatten(1))


def test_features_in_evaluation_mode_and_in_order():
    net, x = Doubler().train(), normal(10, 1, 4, dtype=torch.float32)
    result = metrics.features(net, x, batch=3)
    assert torch.equal(result, 2 * x.flatten(1)) and not result.requires_grad and net.training and net.drop.training
    with pytest.raises(ValueError, match="Linear has no method features"):
        metrics.features(torch.nn.Linear(2, 2), x)
    with pytest.raises(ValueError, match="no samples"):
        metrics.features(net, x[:0])


@pytest.mark.parametrize("shape", [(3, 1, 17), (2, 3, 16, 16), (2, 1, 12, 20), (2, 1, 8, 8, 10)])
def test_spectrum_keeps_the_energy(shape):
    x = normal(*shape) + 1
    result = metrics.spectrum(x)
    energy = x.square().flatten(2).sum(2).mean()
    assert (result.power * result.count).sum().item() == pytest.approx(energy.item(), rel=1e-12)
    assert result.count.sum() == math.prod(shape[2:])
    assert result.frequency[0] == 0 and (result.frequency.diff() > 0).all()


def test_spectrum_finds_a_wave_a_constant_and_noise():
    wave = torch.sin(2 * math.pi * 4 / 32 * torch.arange(32)).expand(1, 1, 32, 32)
    result = metrics.spectrum(wave)
    assert result.frequency[(result.power * result.count).argmax()] == 4 / 32
    board = ((torch.arange(32)[:, None] + torch.arange(32)) % 2 * 2 - 1).float()[None, None]
    result = metrics.spectrum(board)
    assert result.frequency[result.power.argmax()].item() == pytest.approx(math.sqrt(0.5), abs=1 / 32)
    constant = metrics.spectrum(torch.ones(1, 1, 8, 8))
    assert constant.power[0] == pytest.approx(64) and constant.power[1:].max() < 1e-20
    white = metrics.spectrum(normal(400, 1, 16, 16))
    assert torch.allclose(white.power, torch.ones_like(white.power), atol=0.1)


# --- bad input, devices ---

PAIRS = [metrics.frechet, metrics.prdc, metrics.two_sample_test, metrics.wasserstein1, metrics.nearest,
         lambda a, b: metrics.modes_covered(a, b, 0.1)]


@pytest.mark.parametrize("metric", PAIRS)
@pytest.mark.parametrize("side", [0, 1])
def test_values_that_are_not_finite_are_refused(metric, side):
    pair = [normal(50, 3), normal(50, 3, seed=1)]
    pair[side][7, 1] = math.nan
    with pytest.raises(ValueError, match=f"the {('first', 'second')[side]} samples have values that are not finite"):
        metric(*pair)


@pytest.mark.parametrize("metric", PAIRS)
def test_widths_that_differ_and_empty_sets_are_refused(metric):
    with pytest.raises(ValueError, match=r"not \(50, 3\) and \(50, 4\)"):
        metric(normal(50, 3), normal(50, 4))
    with pytest.raises(ValueError, match="too few samples: 50 and 0"):
        metric(normal(50, 3), normal(0, 3))


def test_shapes_and_counts_that_make_no_sense_are_refused():
    images = torch.zeros(50, 1, 8, 8)
    for metric in (metrics.frechet, metrics.prdc, metrics.two_sample_test):
        with pytest.raises(ValueError, match="expected two matrices"):
            metric(images, images)
    with pytest.raises(ValueError, match="too few samples: 5 and 50; at least 6"):
        metrics.prdc(normal(5, 2), normal(50, 2))
    with pytest.raises(ValueError, match="k must be at least 1"):
        metrics.prdc(normal(50, 2), normal(50, 2), k=0)
    with pytest.raises(ValueError, match="not shape"):
        metrics.spectrum(torch.zeros(8, 8))
    with pytest.raises(ValueError, match="not finite"):
        metrics.spectrum(torch.full((1, 1, 8, 8), math.nan))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_device_and_precision_with_gradients(device, dtype):
    a, b = (normal(120, 4, seed=s).to(device, dtype).requires_grad_() for s in (0, 1))
    exact_a, exact_b = (x.detach().cpu().double() for x in (a, b))
    for metric in (metrics.frechet, metrics.prdc, metrics.wasserstein1, metrics.two_sample_test):
        assert metric(a, b) == pytest.approx(metric(exact_a, exact_b), rel=1e-9)
    here, there = metrics.memorisation(a, b, a), metrics.memorisation(exact_a, exact_b, exact_a)
    assert here.share == there.share == 1
    result = metrics.spectrum(a[:, None])
    assert torch.allclose(result.power, metrics.spectrum(exact_a[:, None]).power)


def test_no_metric_disturbs_the_random_stream():
    torch.manual_seed(0)
    np.random.seed(0)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(0)
    np.random.seed(0)
    a, b = normal(60, 3), normal(60, 3, seed=1)
    for metric in PAIRS:
        metric(a, b)
    metrics.memorisation(a, b, b)
    metrics.with_floor(metrics.frechet, a, b, a)
    assert (torch.rand(1), np.random.rand()) == expected


def test_metrics_are_light_to_import():
    code = ("import sys, medgan_lib.metrics; "
            "print({'torchmetrics', 'scipy', 'sklearn', 'matplotlib'} & set(sys.modules))")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
