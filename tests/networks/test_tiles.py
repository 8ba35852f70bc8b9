"""Networks applied in tiles: the same as whole where a network looks at single pixels, and no seams."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from medgan_lib import networks as N
from medgan_lib.networks import tiles


class PerPixel(nn.Module):
    def forward(self, x):
        return torch.cat([3 * x, x.square()], 1)


class Spread(nn.Module):
    """Instance norm in short: what it makes of a pixel depends on all that it is shown."""

    def forward(self, x):
        return x / x.std((2, 3), keepdim=True)


@pytest.mark.parametrize(("tile", "step"), [(8, None), (8, 3), (12, 12), (5, 1), (17, 4), (None, None)])
def test_what_depends_on_single_pixels_does_not_notice(tile, step):
    x = torch.rand(3, 1, 17, 24, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(N.tiled(PerPixel(), x, tile, step), PerPixel()(x))


@pytest.mark.parametrize(("size", "tile", "step"), [(17, 8, 4), (96, 64, 32), (24, 24, 12), (10, 3, 2)])
def test_tiles_cover_the_image_and_none_leaves_it(size, tile, step):
    found = tiles.begins(size, tile, step)
    assert found[0] == 0 and found[-1] == size - tile
    assert {p for begin in found for p in range(begin, begin + tile)} == set(range(size))
    assert all(b - a <= step for a, b in pairwise(found))


def test_a_network_sees_tiles_and_never_the_whole():
    seen = []

    class Watching(nn.Module):
        def forward(self, x):
            seen.append(tuple(x.shape[2:]))
            return x

    N.tiled(Watching(), torch.zeros(2, 1, 16, 20), 8)
    assert set(seen) == {(8, 8)} and len(seen) == 3 * 4


def test_the_weight_of_a_tile_falls_to_its_border():
    """Two tiles that answer 0 and 1: in between the answer rises, a little from pixel to pixel."""

    class Which(nn.Module):
        def forward(self, x):
            return torch.full_like(x, float(x[0, 0, 0, 0] > 0))

    x = torch.zeros(1, 1, 8, 12)
    x[..., 4:] = 1.0  # tiles begin at 0 and at 4
    rise = N.tiled(Which(), x, 8, 4)[0, 0, 3]
    assert rise[:4].eq(0).all() and rise[8:].eq(1).all()
    torch.testing.assert_close(rise[4:8], torch.tensor([1, 2, 3, 4]) / torch.tensor([5.0, 5, 5, 5]))


def test_it_matters_for_what_looks_at_statistics():
    x = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    x[..., 8:] *= 10
    assert not torch.allclose(N.tiled(Spread(), x, 8), Spread()(x), rtol=0.2)


def test_refusals():
    x = torch.zeros(1, 1, 8, 12)
    large, step = "do not fit", "step is"
    for tile, apart, said in ((9, None, large), (0, None, large), (4, 5, step), (4, 0, step)):
        with pytest.raises(ValueError, match=said):
            N.tiled(PerPixel(), x, tile, apart)
