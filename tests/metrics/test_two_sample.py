"""Two-sample tests on equal distributions, on planted faults, and on samples that must not leak."""

import numpy as np
import pytest
import torch

from medgan_lib import metrics
from medgan_lib.metrics import proxy_a_distance, told_apart


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


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


def test_proxy_a_distance_at_its_ends():
    draw = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 400, 3, generator=draw)
    assert proxy_a_distance(a, b) < 0.3
    assert proxy_a_distance(a, b + 20) == 2
    assert proxy_a_distance(a, b + torch.tensor([1.0, 0, 0])) == pytest.approx(4 * 0.69 - 2, abs=0.3)  # Phi(1/2)


def test_what_a_plane_cannot_tell_a_curved_border_can():
    """A shift of the mean is told by both judges, a shell around a cloud by the one with a Gaussian kernel alone."""
    draw = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 400, 3, generator=draw)
    shell = 3 * b / b.norm(dim=1, keepdim=True)
    shifted = b + torch.tensor([1.0, 0, 0])
    for judge in ("rbf", "linear"):
        assert told_apart(a, shifted, judge=judge) == pytest.approx(0.69, abs=0.08)  # Phi(1/2)
        assert proxy_a_distance(a, b + 20, judge=judge) == 2
    assert told_apart(a, shell) > 0.9
    assert abs(told_apart(a, shell, judge="linear") - 0.5) < 0.1
    with pytest.raises(ValueError, match="the judge must be one of rbf, linear, not 'forest'"):
        told_apart(a, b, judge="forest")


def test_domains_are_told_apart_by_samples_that_were_not_learnt():
    """Tight clusters, such as features of a classifier, are no obstacle; and nothing is known of what is random."""
    draw = torch.Generator().manual_seed(0)
    centres = 10 * torch.randn(5, 8, generator=draw)
    a, b = (
        centres[torch.randint(5, (300,), generator=draw)] + 0.001 * torch.randn(300, 8, generator=draw) for _ in "ab"
    )
    assert abs(told_apart(a, b) - 0.5) < 0.1
    assert told_apart(a, b[:100] + 0.02 * torch.eye(8)[0]) > 0.45
    assert told_apart(a, -b) == 1
    assert told_apart(a, b, seed=1) == told_apart(a, b, seed=1)
    for bad, message in (
        ((a, b[:, :3]), r"\(n, d\) and \(m, d\), not \(300, 8\) and \(300, 3\)"),
        ((a[:9], b), "too few samples: 9 and 300"),
        ((a, b * torch.nan), "not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            told_apart(*bad)
