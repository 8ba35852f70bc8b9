"""Networks that translate images."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from translation_oracles import images

from medgan_lib.networks.translators import (
    DilatedTranslator,
    InstanceNorm,
    PatchCritic,
    ResNetTranslator,
    UNet,
)

TRANSLATORS = {
    "UNet": lambda dims=2, **more: UNet(width=4, depth=2, dims=dims, **more),
    "ResNetTranslator": lambda dims=2, **more: ResNetTranslator(width=4, blocks=1, dims=dims, **more),
    "DilatedTranslator": lambda dims=2, **more: DilatedTranslator(width=4, dims=dims, **more),
}


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", TRANSLATORS)
def test_translators_keep_the_size_in_every_dimension(name, dims):
    size = (16, 8, 12)[:dims]
    torch.manual_seed(0)
    net = TRANSLATORS[name](dims, inputs=2, outputs=3)
    made = net(torch.randn(2, 2, *size))
    assert made.shape == (2, 3, *size) and made.abs().max() <= 1
    made.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", TRANSLATORS)
def test_an_image_is_translated_alike_alone_among_others_and_in_evaluation(name):
    torch.manual_seed(0)
    net = TRANSLATORS[name]().double()
    y = images(3, (16, 16), dtype=torch.float64)
    together = net(y)
    torch.testing.assert_close(torch.cat([net(one) for one in y.split(1)]), together, rtol=0, atol=1e-12)
    (gradient,) = torch.autograd.grad(net(y.requires_grad_())[1].sum(), y)
    assert gradient[1].abs().max() > 0 and not gradient[[0, 2]].any()
    assert torch.equal(net.eval()(y), together)
    assert net.per_sample


@pytest.mark.parametrize(
    ("net", "shape", "message"),
    [
        (TRANSLATORS["UNet"](), (1, 1, 8, 10), "8 x 10 pixels for a network that needs multiples of 4: pad them"),
        (TRANSLATORS["ResNetTranslator"](), (1, 1, 6, 8), "6 x 8 pixels for a network that needs multiples of 4"),
        (TRANSLATORS["UNet"](), (1, 2, 8, 8), r"shape \(1, 2, 8, 8\), this network takes \(n, 1, \*size\)"),
        (TRANSLATORS["DilatedTranslator"](), (1, 8), r"shape \(1, 8\), this network takes"),
        (PatchCritic(width=2), (1, 1, 32, 11), r"images of \(32, 11\) pixels, patches need 12"),
    ],
)
def test_images_that_do_not_fit_are_refused(net, shape, message):
    with pytest.raises(ValueError, match=message):
        net(torch.zeros(shape))


def test_the_smallest_images_pass():
    """Down to one pixel at the bottom of the U, which is its own mean, whether there is one image or more."""
    torch.manual_seed(0)
    assert UNet(width=2, depth=3)(images(1)).shape == (1, 1, 8, 8)
    assert DilatedTranslator(width=2)(images(1, (5, 7))).shape == (1, 1, 5, 7)
    for stages in (0, 1, 2):
        critic = PatchCritic(width=2, stages=stages)
        assert critic(images(1, (critic.least,) * 2)).shape == (1, 1, 1)


def extent(net: nn.Module, size: int, dims: int) -> list[int]:
    """Along each axis, over how many pixels the gradient of the output in the middle reaches."""
    x = torch.randn(1, 1, *[size] * dims, dtype=torch.float64, requires_grad=True)
    output = net.double()(x)
    (gradient,) = torch.autograd.grad(output[0][(..., *(k // 2 for k in output.shape[-dims:]))].sum(), x)
    touched = gradient[0, 0].nonzero()
    return (touched.max(0).values - touched.min(0).values + 1).tolist()


@pytest.mark.parametrize(
    ("stages", "dims", "pixels"), [(0, 2, 1), (1, 2, 16), (2, 2, 34), (3, 1, 70), (1, 3, 16), (2, 1, 34)]
)
def test_a_patch_is_as_large_as_it_says(stages, dims, pixels):
    torch.manual_seed(0)
    critic = PatchCritic(width=2, stages=stages, dims=dims)
    assert critic.receptive_field == pixels
    assert extent(critic, 2 * pixels + 8, dims) == [pixels] * dims


def test_a_dilated_translator_sees_47_pixels_but_for_its_norms():
    """Instance norm lets every pixel of a channel share in two numbers; without it, what is seen is local."""
    torch.manual_seed(0)
    net = DilatedTranslator(width=2)
    for part in net.layers:
        if isinstance(part, nn.Sequential):
            part[1] = nn.Identity()
    assert extent(net, 61, 2) == [47, 47]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-12)])
def test_instance_norm_is_the_one_of_torch(dtype, tolerance, layout):
    torch.manual_seed(0)
    ours, theirs = InstanceNorm(3).to(dtype), nn.InstanceNorm2d(3, affine=True, dtype=dtype)
    with torch.no_grad():
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            q.copy_(p.add_(torch.randn_like(p)))
    x = (3 + 2 * torch.randn(4, 3, 6, 5, dtype=dtype)).contiguous(memory_format=layout)
    towards = torch.randn_like(x)
    found = []
    for norm in (ours, theirs):
        x = x.detach().requires_grad_()
        made = norm(x)
        found.append([made, *torch.autograd.grad((made * towards).sum(), [x, *norm.parameters()])])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
    assert torch.equal(ours.eval()(x), found[0][0])


def test_dropout_is_for_training_only():
    torch.manual_seed(0)
    net, y = UNet(width=4, depth=3, dropout=0.5), images(2, (16, 16))
    assert not torch.equal(net(y), net(y))
    assert torch.equal(net.eval()(y), net(y))


@pytest.mark.parametrize(("depth", "noisy"), [(2, 0), (3, 1), (4, 2), (5, 3), (6, 3)])
def test_dropout_is_of_single_values_in_the_innermost_stages(depth, noisy):
    net, seen = UNet(width=4, depth=depth, dropout=0.5), []
    for stage in net.up:
        stage[1].register_forward_hook(lambda m, x, out: seen.append((out == 0).double()))
    torch.manual_seed(0)
    net(torch.randn(2, 1, 64, 64))
    dropped = [zero.mean().item() for zero in seen]
    assert [share > 0.3 for share in dropped] == [True] * noisy + [False] * (depth - noisy)
    of_a_channel = [zero.flatten(2).mean(2) for zero in seen[1:noisy]]
    assert all(share.min() > 0 and share.max() < 1 for share in of_a_channel)  # no channel goes, none stays, as a whole


def test_a_critic_of_pixels_has_two_hidden_layers():
    """As the paper's, of single pixels all three; the second hidden layer has twice the channels of the first."""
    found = [m for m in PatchCritic(2, width=6, stages=0).layers if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels) for m in found] == [(2, 6), (6, 12), (12, 1)]
    assert {m.kernel_size for m in found} == {(1, 1)}
