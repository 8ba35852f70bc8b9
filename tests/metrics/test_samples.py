"""What all metrics refuse, on which devices they run, and what they leave alone."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from medgan_lib import metrics

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


PAIRS = [metrics.frechet, metrics.prdc, metrics.two_sample_test, metrics.wasserstein1, metrics.nearest,
         lambda a, b: metrics.modes_covered(a, b, 0.1), lambda a, b: metrics.modes_by_chance(a, b, 0.1, n=50)]


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
            "print({'scipy', 'sklearn', 'skimage', 'matplotlib', 'lightning_fabric'} & set(sys.modules))")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
