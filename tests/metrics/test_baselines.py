"""Answers without training against what they must be."""


import math

import pytest
import torch

from medgan_lib import metrics


def images(n=4, size=16, channels=1, seed=0):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_an_affine_map_is_recovered_and_clipped() -> None:
    y = images()
    found = metrics.affine_map(y, -0.4 * y + 0.2)
    assert found == pytest.approx((-0.4, 0.2), abs=1e-6)
    assert torch.allclose(found(y), -0.4 * y + 0.2, atol=1e-6)
    assert metrics.Affine(5.0, 0.0)(y).abs().max() == 1


def test_the_affine_map_has_the_least_squared_error() -> None:
    y, x = images(), images(seed=1)
    best = metrics.affine_map(y, x)
    error = (best.slope * y + best.offset - x).square().mean()
    for slope, offset in ((0.05, 0), (-0.05, 0), (0, 0.05), (0, -0.05)):
        assert ((best.slope + slope) * y + best.offset + offset - x).square().mean() > error


def test_a_constant_input_gives_the_mean() -> None:
    x = images()
    assert metrics.affine_map(torch.full_like(x, 0.3), x)(torch.full_like(x, 0.3)).mean() == pytest.approx(
        float(x.mean()), abs=1e-6
    )


def test_the_mean_image_ignores_its_input() -> None:
    x = images(6)
    answer = metrics.mean_image(x, images(3, seed=2))
    assert answer.shape == (3, 1, 16, 16)
    assert torch.equal(answer[0], answer[2])
    assert torch.allclose(answer[0], x.mean(0))


def test_baselines_say_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="pairs of the same shape"):
        metrics.affine_map(images(), images(size=8))
    with pytest.raises(ValueError, match="references of shape"):
        metrics.mean_image(images(), images(size=8))
    with pytest.raises(ValueError, match="0 references"):
        metrics.mean_image(images()[:0], images())


# --- tables and memories --------------------------------------------------------------------------


def test_a_table_finds_a_map_that_no_line_is() -> None:
    y = images(20)
    x = (3 * y).sin()
    found = metrics.grey_table(y, x, bins=64)
    assert (found(y) - x).abs().max() < 3 * 2 / 64
    assert (metrics.affine_map(y, x)(y) - x).abs().mean() > 5 * (found(y) - x).abs().mean()
    assert found(torch.full((1, 1, 16, 16), 1.0)).shape == (1, 1, 16, 16)  # the upper end belongs to the last interval


def test_a_table_holds_medians_and_the_median_of_all_where_nothing_was() -> None:
    y = torch.tensor([-0.9, -0.9, -0.9, 0.1, 0.1]).view(1, 1, 5)
    x = torch.tensor([0.3, -1.0, 0.2, 0.5, 0.7]).view(1, 1, 5)
    assert metrics.grey_table(y, x, bins=4).values.tolist() == pytest.approx([0.2, 0.3, 0.5, 0.3])
    with pytest.raises(ValueError, match="must be pairs"):
        metrics.grey_table(y.expand(1, 2, 5), x.expand(1, 2, 5))
    with pytest.raises(ValueError, match="at least one interval"):
        metrics.grey_table(y, x, bins=0)


def test_memory_answers_with_the_partner_of_the_nearest_input() -> None:
    y, x = images(9), images(9, channels=2, seed=1)
    asked = y[[4, 0, 4]] + 0.01 * images(3, seed=2)
    assert torch.equal(metrics.look_up(asked, y, x), x[[4, 0, 4]])
    with pytest.raises(ValueError, match=r"9 training inputs .* with 8 references"):
        metrics.look_up(asked, y, x[:8])
    with pytest.raises(ValueError, match="inputs of"):
        metrics.look_up(images(size=8), y, x)


def test_a_perfect_regression_has_the_least_expected_error() -> None:
    possible = torch.stack([images(3, seed=k) for k in range(7)])
    errors = {"l1": lambda a: (possible - a).abs().mean(), "l2": lambda a: (possible - a).square().mean()}
    for loss, error in errors.items():
        best = metrics.perfect_regression(possible, loss)
        assert best.shape == (3, 1, 16, 16)
        for step in (0.02, -0.02):
            assert error(best + step) > error(best)
    single = metrics.perfect_regression(possible[:1])
    assert torch.equal(single, possible[0])
    with pytest.raises(ValueError, match="'l1' or 'l2'"):
        metrics.perfect_regression(possible, "huber")
    with pytest.raises(ValueError, match="k >= 1"):
        metrics.perfect_regression(possible[:0])


def test_bone_that_moves_in_all_directions_vanishes_from_a_median() -> None:
    """A bright line 3 pixels wide, moved by 0, 4 or -4 pixels: no place is bright in two of three."""
    x = torch.full((1, 1, 16, 16), -1.0)
    x[..., 7:10] = 1.0
    possible = torch.stack([x, x.roll(4, -1), x.roll(-4, -1)])
    assert (metrics.perfect_regression(possible) == -1).all()
    assert metrics.perfect_regression(possible, "l2").max() == pytest.approx(-1 / 3)


# --- a Gaussian of principal components ------------------------------------------------------------


@pytest.mark.parametrize("n", [40, 400])  # fewer images than pixels, and more
def test_components_are_those_of_the_singular_values(n) -> None:
    x = images(n, channels=2, size=8) * torch.linspace(1, 0.1, 128).view(1, 2, 8, 8)
    pca = metrics.PCA.fit(x, 5)
    flat = x.flatten(1).double()
    _, s, v = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
    torch.testing.assert_close(pca.spread.double(), s[:5] / math.sqrt(n - 1), rtol=1e-5, atol=0)
    assert (pca.components.flatten(1).double() @ v[:5].T).abs().diagonal().min() > 1 - 1e-5
    torch.testing.assert_close(pca.mean, x.mean(0))


def test_samples_have_the_moments_and_are_clipped() -> None:
    draw = torch.Generator().manual_seed(0)
    x = 0.2 + 0.1 * torch.randn(600, 1, 4, 4, generator=draw) @ torch.randn(4, 4, generator=draw)
    made = metrics.PCA.fit(x.clamp(-1, 1), 64).sample(20000, torch.Generator().manual_seed(1))
    torch.testing.assert_close(made.mean(0), x.mean(0), atol=0.02, rtol=0)
    torch.testing.assert_close(made.flatten(1).T.cov(), x.flatten(1).T.cov(), atol=0.01, rtol=0.1)
    wide = metrics.PCA.fit(images(30), 10).sample(50, torch.Generator().manual_seed(1))
    again = metrics.PCA.fit(3 * images(30), 10).sample(50, torch.Generator().manual_seed(1))
    assert wide.shape == (50, 1, 16, 16) and again.abs().max() == 1
    assert torch.equal(wide, metrics.PCA.fit(images(30), 10).sample(50, torch.Generator().manual_seed(1)))


def test_residuals_are_what_the_components_cannot_show() -> None:
    x = images(50)
    everything = metrics.PCA.fit(x, 64)  # 49 there are
    assert len(everything.spread) == 49
    torch.testing.assert_close(everything.reconstruct(x), x, atol=1e-4, rtol=0)
    few = metrics.PCA.fit(x, 3)
    for name in ("mean", "components", "spread"):
        assert torch.allclose(getattr(metrics.first_components(everything, 3), name), getattr(few, name), atol=1e-5)
    assert len(metrics.first_components(everything, 99).spread) == len(everything.spread)
    shown = few.mean + 0.5 * few.components[:1] * few.spread[0]
    assert few.residual(shown).item() == pytest.approx(0, abs=1e-6)
    odd = torch.zeros(1, 1, 16, 16)
    odd[..., 0, 0] = 1.0
    assert few.residual(shown + odd).item() == pytest.approx(1 / 16, rel=0.05)
    assert few.residual(x).shape == (50,) and (few.residual(x) > everything.residual(x)).all()
    with pytest.raises(ValueError, match="images of shape"):
        few.residual(images(size=8))
    with pytest.raises(ValueError, match="at least 2 and 1"):
        metrics.PCA.fit(x[:1])
    with pytest.raises(ValueError, match="not finite"):
        metrics.PCA.fit(torch.full((3, 1, 4, 4), math.nan))
