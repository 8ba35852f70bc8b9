"""Simulated PET: blur, counts and ratios against closed forms."""

import math

import pytest
import torch

from medgan_lib.cohorts.simulated import heads
from medgan_lib.physics import pet

MEDIANS = torch.tensor([list(pet.UPTAKE.values())])


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def stripes(width, size=240):
    """Grey matter (label 4) of so many pixels in the middle of white matter (label 5), the stripe running down."""
    labels = torch.full((1, 1, 6, size), pet.WHITE, dtype=torch.uint8)
    begin = (size - width) // 2
    labels[..., begin : begin + width] = pet.GREY
    return labels


def recovery(width, fwhm):
    """Mean, over a stripe of ``width``, of the stripe blurred by a Gaussian: erf(a) - (1 - exp(-a²)) / (a √π)."""
    a = width / (fwhm / math.sqrt(8 * math.log(2)) * math.sqrt(2))
    return math.erf(a) - (1 - math.exp(-a * a)) / (a * math.sqrt(math.pi))


def test_labels_are_numbered_as_the_cohort_numbers_them():
    assert tuple(pet.UPTAKE) == heads.LABELS
    assert heads.LABELS[pet.GREY] == "grey matter" and heads.LABELS[pet.WHITE] == "white matter"


def test_uptake_has_its_medians_and_spreads_and_is_reproducible():
    uptake = pet.draw_uptake(40_000, draw())
    assert torch.equal(uptake, pet.draw_uptake(40_000, draw()))
    assert not torch.equal(uptake, pet.draw_uptake(40_000, draw(1)))
    torch.testing.assert_close(uptake.median(0).values, MEDIANS[0], rtol=0.01, atol=0)
    logs = uptake[:, [1, pet.GREY, pet.WHITE]].log()
    assert logs.std(0) == pytest.approx(torch.full((3,), math.hypot(pet.COMMON, pet.OWN)), rel=0.03)
    assert (logs[:, 1] - logs[:, 2]).std() == pytest.approx(pet.OWN * math.sqrt(2), rel=0.03)
    torch.testing.assert_close(pet.draw_uptake(3, draw(), common=0, own=0), MEDIANS.expand(3, -1))


def test_amyloid_changes_grey_matter_alone_and_the_two_kinds_do_not_overlap():
    many = 4000
    without, with_it = (
        pet.draw_uptake(many, draw(), positive=torch.full((many,), kind)) for kind in (False, True)
    )
    assert torch.equal(without, pet.draw_uptake(many, draw()))
    others = [k for k in range(len(pet.UPTAKE)) if k != pet.GREY]
    assert torch.equal(without[:, others], with_it[:, others])
    torch.testing.assert_close(with_it[:, pet.GREY] / without[:, pet.GREY], torch.full((many,), pet.POSITIVE / 0.7))
    low, high = (u[:, pet.GREY] / u[:, pet.WHITE] for u in (without, with_it))
    assert low.quantile(0.999) < 1.05 < high.quantile(0.001)


def test_activity_gives_each_subject_its_own_values():
    labels = torch.tensor([[[[0, 4], [5, 1]]], [[[5, 5], [4, 3]]]], dtype=torch.uint8)
    uptake = torch.arange(12.0).reshape(2, 6)
    assert pet.activity(labels, uptake).tolist() == [[[[0, 4], [5, 1]]], [[[11, 11], [10, 9]]]]


@pytest.mark.parametrize("fwhm", [0.0, 2.0, 6.0, 500.0])
def test_blur_keeps_mean_and_constants(fwhm):
    image = torch.rand(2, 1, 17, 30, generator=draw(), dtype=torch.float64)
    seen = pet.blur(image, 2.0, fwhm)
    torch.testing.assert_close(seen.mean((2, 3)), image.mean((2, 3)), rtol=1e-12, atol=0)
    torch.testing.assert_close(pet.blur(torch.ones_like(image), 2.0, fwhm), torch.ones_like(image))
    assert (seen >= 0).all()
    if not fwhm:
        assert torch.equal(seen, image)
    if fwhm == 500.0:  # nothing but the mean is left
        assert seen.std((2, 3)).max() < 1e-9


@pytest.mark.parametrize(
    ("spacing", "error"), [(0.5, 0.0), (1.0, 0.0), (2.5, -1.9e-5), (10 / 3, -5.3e-3), (5.0, -0.215)]
)
def test_fwhm_of_a_point(spacing, error):
    """``error``: what sampling takes off the width, as `blur` documents."""
    fwhm, size = 5.0, 81
    point = torch.zeros(1, 1, size, size, dtype=torch.float64)
    point[..., 40, 40] = 1.0
    seen = pet.blur(point, spacing, fwhm)[0, 0]
    place = (torch.arange(size, dtype=torch.float64) - 40) * spacing
    for profile in (seen.sum(0), seen.sum(1)):
        sd = (profile * place**2).sum().sqrt()
        assert sd * math.sqrt(8 * math.log(2)) == pytest.approx(fwhm * (1 + error), rel=1e-6 + abs(error) / 50)
    # half the height at half the width, between samples by the Gaussian itself: its logarithm is a parabola
    slope = (seen[40, 41] / seen[40, 40]).log() / spacing**2
    assert 2 * math.sqrt(math.log(0.5) / slope) == pytest.approx(fwhm, rel=1e-9)
    assert torch.equal(seen, seen.mT)


def test_noise_has_the_mean_of_the_image_and_a_variance_equal_to_the_counts():
    image = torch.tensor([0.0, 0.5, 1.0, 4.0], dtype=torch.float64)[:, None].expand(4, 200_000)
    for level in (2.0, 50.0):
        counts = pet.count(image, level, draw()) * level
        torch.testing.assert_close(counts, counts.round(), rtol=0, atol=1e-9)
        expected = image[:, 0] * level
        torch.testing.assert_close(counts.mean(1), expected, rtol=0.01, atol=0)
        torch.testing.assert_close(counts.var(1), expected, rtol=0.02, atol=0)
    assert torch.equal(pet.count(image, 2.0, draw(5)), pet.count(image, 2.0, draw(5)))


def test_the_ratio_comes_back_without_blur_and_per_subject():
    labels = torch.randint(0, 6, (5, 1, 32, 32), generator=draw())
    uptake = pet.draw_uptake(5, draw(1)).double()
    truth = uptake[:, pet.GREY] / uptake[:, pet.WHITE]
    image = pet.activity(labels, uptake)
    torch.testing.assert_close(pet.uptake_ratio(image, labels), truth)
    torch.testing.assert_close(pet.uptake_ratio(image, labels, over=pet.WHITE, under=pet.GREY), 1 / truth)
    # noise alone does not bias it: within five standard errors
    many = pet.scan(labels, uptake, 2.0, level=200.0, generator=draw(2), fwhm=0.0)
    assert (pet.uptake_ratio(many, labels) / truth - 1).abs().max() < 5 * math.sqrt(2 / (170 * 200))
    # a slice without white matter has no ratio, the others keep theirs
    poor = labels.clone()
    poor[0][poor[0] == pet.WHITE] = pet.GREY
    found = pet.uptake_ratio(image, poor)
    assert found[0].isnan() and torch.allclose(found[1:], truth[1:])


@pytest.mark.parametrize("width", [16, 32, 96])
def test_blur_biases_the_ratio_as_the_closed_form_says(width):
    labels, fwhm, spacing = stripes(width, 480), 2.0, 0.125
    seen = pet.blur(pet.activity(labels, MEDIANS.double()), spacing, fwhm)
    kept = recovery(width * spacing, fwhm)  # what a pixel of grey matter keeps, on average; the rest is white
    uptake = pet.UPTAKE["grey matter"]
    grey = uptake * kept + 1 - kept
    white = 1 + (uptake - 1) * width * (1 - kept) / (480 - width)  # what grey matter lost
    assert pet.uptake_ratio(seen, labels).item() == pytest.approx(grey / white, rel=1e-3)
    assert uptake < grey / white < 1, "blur mixes the two"


def test_scan_is_reproducible_and_right_on_average():
    labels = stripes(30).expand(2, 1, 6, 240)
    first = pet.scan(labels, MEDIANS.expand(2, -1), 1.0, level=100.0, generator=draw(3))
    assert first.dtype == torch.float32 and first.shape == labels.shape
    assert torch.equal(first, pet.scan(labels, MEDIANS.expand(2, -1), 1.0, level=100.0, generator=draw(3)))
    assert not torch.equal(first[0], first[1])
    clean = pet.blur(pet.activity(labels, MEDIANS.expand(2, -1)), 1.0, pet.FWHM)
    assert ((first - clean) * (100 / clean).sqrt()).std() == pytest.approx(1.0, rel=0.06)
    assert first.mean() == pytest.approx(clean.mean().item(), rel=0.01)


def test_wrong_input_is_refused():
    labels, image = stripes(8), torch.ones(1, 1, 6, 240)
    bad = image.clone()
    bad[..., 0, 0] = torch.nan
    for call, message in (
        (lambda: pet.draw_uptake(0, draw()), "n is 0"),
        (lambda: pet.draw_uptake(2, draw(), positive=torch.ones(3, dtype=torch.bool)), "give bool of"),
        (lambda: pet.draw_uptake(2, draw(), positive=torch.ones(2)), "give bool of"),
        (lambda: pet.draw_uptake(1, draw(), own=-0.1), "spreads"),
        (lambda: pet.activity(labels[0], MEDIANS), "shape"),
        (lambda: pet.activity(labels.float(), MEDIANS), "integers"),
        (lambda: pet.activity(labels, MEDIANS[:, :5]), "outside 0 … 4"),
        (lambda: pet.activity(labels, MEDIANS.expand(2, -1)), "uptake has shape"),
        (lambda: pet.activity(labels, MEDIANS * torch.nan), "not finite"),
        (lambda: pet.activity(labels, -MEDIANS), "negative"),
        (lambda: pet.blur(image[0], 1.0, 2.0), "shape"),
        (lambda: pet.blur(bad, 1.0, 2.0), "not finite"),
        (lambda: pet.blur(image.long(), 1.0, 2.0), "float32"),
        (lambda: pet.blur(image, 0.0, 2.0), "spacing"),
        (lambda: pet.blur(image, 1.0, -2.0), "fwhm"),
        (lambda: pet.blur(image, 1.0, math.nan), "fwhm"),
        (lambda: pet.count(bad, 10.0, draw()), "not finite"),
        (lambda: pet.count(-image, 10.0, draw()), "negative"),
        (lambda: pet.count(image, 0.0, draw()), "level"),
        (lambda: pet.uptake_ratio(bad, labels), "not finite"),
        (lambda: pet.uptake_ratio(image[..., :9], labels), "one shape"),
        (lambda: pet.uptake_ratio(0 * image, labels), "no uptake"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
