"""``fit`` against the loops people write, for translation: images a second, same networks and batch, all in turn.

Pix2Pix with a U-Net (Eq. 6) and CycleGAN with two ResNets, on 64 x 64 images, batch 8, one update of every player a
step. Run as ``python benchmarks/translate.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain, pairwise

import torch
from common import Loop, device, machine, measure, options, save, table
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss, softplus
from torch.utils.data import DataLoader, TensorDataset

from medgan_lib.methods.base import Method
from medgan_lib.methods.cyclegan import CycleGAN
from medgan_lib.methods.translation import Pix2Pix
from medgan_lib.networks.translators import PatchCritic, ResNetTranslator, UNet
from medgan_lib.training import fit

SIZE, BATCH, IMAGES, WIDTH = 64, 8, 256, 32
LR, BETAS, LAM_L1, LAM_CYCLE = 2e-4, (0.5, 0.999), 100.0, 10.0


class PlainUNet(nn.Module):
    """`UNet` as one would write it with what `torch.nn` has: the same function of the same parameters."""

    def __init__(self, width: int, depth: int = 3) -> None:
        super().__init__()
        widths = [width * min(1 << level, 8) for level in range(depth + 1)]
        self.first = plain_block(nn.Conv2d(1, width, 3, padding=1, bias=False), width)
        self.down = nn.ModuleList(
            plain_block(nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False), after)
            for before, after in pairwise(widths)
        )
        self.up = nn.ModuleList(
            plain_up(below * (1 if level == depth - 1 else 2), here)
            for level, (here, below) in reversed(list(enumerate(pairwise(widths))))
        )
        self.last = nn.Conv2d(2 * width, 1, 3, padding=1)

    def forward(self, y: Tensor) -> Tensor:
        features = [self.first(y)]
        for stage in self.down:
            features.append(stage(features[-1]))
        x = features.pop()
        for stage in self.up:
            x = torch.cat([stage(x), features.pop()], 1)
        return torch.tanh(self.last(x))


class PlainResidual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            plain_block(nn.Conv2d(width, width, 3, padding=1, bias=False), width),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.InstanceNorm2d(width, affine=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def plain_resnet(width: int, blocks: int = 4) -> nn.Sequential:
    """`ResNetTranslator` likewise."""
    return nn.Sequential(
        plain_block(nn.Conv2d(1, width, 5, padding=2, bias=False), width),
        plain_block(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False), 2 * width),
        plain_block(nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1, bias=False), 4 * width),
        *[PlainResidual(4 * width) for _ in range(blocks)],
        plain_up(4 * width, 2 * width),
        plain_up(2 * width, width),
        nn.Conv2d(width, 1, 5, padding=2),
        nn.Tanh(),
    )


def plain_critic(inputs: int, width: int) -> nn.Sequential:
    """`PatchCritic` likewise."""
    return nn.Sequential(
        nn.Conv2d(inputs, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2, True),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1), nn.LeakyReLU(0.2, True),
        nn.Conv2d(2 * width, 4 * width, 4, padding=1), nn.LeakyReLU(0.2, True),
        nn.Conv2d(4 * width, 1, 4, padding=1),
    )  # fmt: skip


def plain_block(convolution: nn.Module, width: int) -> nn.Sequential:
    return nn.Sequential(convolution, nn.InstanceNorm2d(width, affine=True), nn.LeakyReLU(0.2, True))


def plain_up(before: int, after: int) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
    return nn.Sequential(nn.Upsample(scale_factor=2), *plain_block(convolution, after))


def copied(plain: nn.Module, ours: nn.Module) -> nn.Module:
    """``plain`` with the weights of ``ours``: their parameters come in the same order."""
    with torch.no_grad():
        for mine, theirs in zip(plain.parameters(), ours.parameters(), strict=True):
            mine.copy_(theirs)
    return plain


def pix2pix_players(width: int, plain: bool = False) -> list[nn.Module]:
    torch.manual_seed(0)
    ours = [UNet(width=width), PatchCritic(2, width=width)]
    return (
        [copied(p, o) for p, o in zip((PlainUNet(width), plain_critic(2, width)), ours, strict=True)] if plain else ours
    )


def cyclegan_players(width: int, plain: bool = False) -> list[nn.Module]:
    torch.manual_seed(0)
    ours = [ResNetTranslator(width=width) for _ in range(2)] + [PatchCritic(1, width=width) for _ in range(2)]
    textbook = [plain_resnet(width) for _ in range(2)] + [plain_critic(1, width) for _ in range(2)]
    return [copied(p, o) for p, o in zip(textbook, ours, strict=True)] if plain else ours


def plain_pix2pix(players: list[nn.Module], y: Tensor, x: Tensor, device: torch.device) -> Loop:
    """What people write: DataLoader, float32, the default memory format and Adam, losses read every step."""
    G, D = (network.to(device) for network in players)
    opt_G = torch.optim.Adam(G.parameters(), LR, BETAS)
    opt_D = torch.optim.Adam(D.parameters(), LR, BETAS)
    criterion = nn.BCEWithLogitsLoss()
    loader = DataLoader(TensorDataset(y, x), batch_size=BATCH, shuffle=True, drop_last=True)
    losses: list[tuple[float, float]] = []

    def step(y: Tensor, x: Tensor) -> None:
        fake = G(y)
        real_logits, fake_logits = D(torch.cat([x, y], 1)), D(torch.cat([fake.detach(), y], 1))
        loss_D = criterion(real_logits, torch.ones_like(real_logits))
        loss_D = loss_D + criterion(fake_logits, torch.zeros_like(fake_logits))
        opt_D.zero_grad()
        loss_D.backward()
        opt_D.step()
        logits = D(torch.cat([fake, y], 1))
        loss_G = criterion(logits, torch.ones_like(logits)) + LAM_L1 * l1_loss(fake, x)
        opt_G.zero_grad()
        loss_G.backward()
        opt_G.step()
        losses.append((loss_D.item(), loss_G.item()))

    return epochs(loader, device, step)


def plain_cyclegan(players: list[nn.Module], y: Tensor, x: Tensor, device: torch.device) -> Loop:
    G_B, G_A, D_B, D_A = (network.to(device) for network in players)
    opt_G = torch.optim.Adam(chain(G_B.parameters(), G_A.parameters()), LR, BETAS)
    opt_D = torch.optim.Adam(chain(D_B.parameters(), D_A.parameters()), LR, BETAS)
    loader = DataLoader(TensorDataset(y, x), batch_size=BATCH, shuffle=True, drop_last=True)
    losses: list[tuple[float, float]] = []

    def least_squares(logits: Tensor, value: float) -> Tensor:
        return mse_loss(logits, torch.full_like(logits, value))

    def step(y: Tensor, x: Tensor) -> None:
        fake_B, fake_A = G_B(y), G_A(x)
        loss_D = least_squares(D_B(x), 1) + least_squares(D_B(fake_B.detach()), 0)
        loss_D = loss_D + least_squares(D_A(y), 1) + least_squares(D_A(fake_A.detach()), 0)
        opt_D.zero_grad()
        loss_D.backward()
        opt_D.step()
        cycle = l1_loss(G_A(fake_B), y) + l1_loss(G_B(fake_A), x)
        loss_G = least_squares(D_B(fake_B), 1) + least_squares(D_A(fake_A), 1) + LAM_CYCLE * cycle
        opt_G.zero_grad()
        loss_G.backward()
        opt_G.step()
        losses.append((loss_D.item(), loss_G.item()))

    return epochs(loader, device, step)


def epochs(loader: DataLoader, device: torch.device, step: Callable[[Tensor, Tensor], None]) -> Loop:
    def run(steps: int) -> None:
        done = 0
        while done < steps:
            for y, x in loader:
                step(y.to(device), x.to(device))
                done += 1
                if done == steps:
                    break

    return run


def lean_pix2pix(
    players: list[nn.Module], y: Tensor, x: Tensor, device: torch.device, dtype: torch.dtype | None = None
) -> Loop:
    """What an expert writes around the library's networks: resident data, channels-last, fused Adam, D frozen in G's
    step, no waiting; with ``dtype`` under autocast, losses and updates in float32."""
    G, D = (network.to(device, memory_format=torch.channels_last) for network in players)
    opt_G, opt_D = (torch.optim.Adam(network.parameters(), LR, BETAS, fused=True) for network in (G, D))
    y, x = (images.to(device, memory_format=torch.channels_last) for images in (y, x))
    losses = torch.zeros(2, device=device)

    def run(steps: int) -> None:
        for _ in range(steps):
            index = torch.randint(len(y), (BATCH,), device=device)
            source, real = y[index], x[index]
            fake = under(dtype, G, source)
            loss_D = softplus(-under(dtype, D, real, source)).mean()
            loss_D = loss_D + softplus(under(dtype, D, fake.detach(), source)).mean()
            opt_D.zero_grad()
            loss_D.backward()
            opt_D.step()
            D.requires_grad_(False)
            loss_G = softplus(-under(dtype, D, fake, source)).mean() + LAM_L1 * l1_loss(fake, real)
            opt_G.zero_grad()
            loss_G.backward()
            opt_G.step()
            D.requires_grad_(True)
            losses.copy_(torch.stack([loss_D.detach(), loss_G.detach()]))

    return run


def lean_cyclegan(
    players: list[nn.Module], y: Tensor, x: Tensor, device: torch.device, dtype: torch.dtype | None = None
) -> Loop:
    G_B, G_A, D_B, D_A = (n.to(device, memory_format=torch.channels_last) for n in players)
    opt_G = torch.optim.Adam(chain(G_B.parameters(), G_A.parameters()), LR, BETAS, fused=True)
    opt_D = torch.optim.Adam(chain(D_B.parameters(), D_A.parameters()), LR, BETAS, fused=True)
    y, x = (images.to(device, memory_format=torch.channels_last) for images in (y, x))
    losses = torch.zeros(2, device=device)

    def run(steps: int) -> None:
        for _ in range(steps):
            index = torch.randint(len(y), (BATCH,), device=device)
            a, b = y[index], x[index]
            fake_B, fake_A = under(dtype, G_B, a), under(dtype, G_A, b)
            loss_D = (under(dtype, D_B, b) - 1).square().mean() + under(dtype, D_B, fake_B.detach()).square().mean()
            loss_D = loss_D + (under(dtype, D_A, a) - 1).square().mean()
            loss_D = loss_D + under(dtype, D_A, fake_A.detach()).square().mean()
            opt_D.zero_grad()
            loss_D.backward()
            opt_D.step()
            for D in (D_B, D_A):
                D.requires_grad_(False)
            cycle = l1_loss(under(dtype, G_A, fake_B), a) + l1_loss(under(dtype, G_B, fake_A), b)
            loss_G = (under(dtype, D_B, fake_B) - 1).square().mean() + (under(dtype, D_A, fake_A) - 1).square().mean()
            loss_G = loss_G + LAM_CYCLE * cycle
            opt_G.zero_grad()
            loss_G.backward()
            opt_G.step()
            for D in (D_B, D_A):
                D.requires_grad_(True)
            losses.copy_(torch.stack([loss_D.detach(), loss_G.detach()]))

    return run


def under(dtype: torch.dtype | None, network: nn.Module, *values: Tensor) -> Tensor:
    with torch.autocast(values[0].device.type, dtype=dtype, enabled=dtype is not None):
        return network(*values).float()


def ours(method: Method, y: Tensor, x: Tensor, device: torch.device, precision: str) -> Loop:
    return lambda steps: fit(
        method, {"y": y, "x": x}, steps=steps, batch_size=BATCH, device=str(device), precision=precision
    )  # fmt: skip


def made(kind: type[Method], players: Callable[[int], list[nn.Module]]) -> Method:
    return kind(*players(WIDTH), lr=LR)


def main() -> None:
    chosen = options(__doc__)
    where = device()
    draw = torch.Generator().manual_seed(0)
    y, x = (torch.rand(IMAGES, 1, SIZE, SIZE, generator=draw) * 2 - 1 for _ in range(2))
    report: dict = {**machine(), "steps": chosen.steps}
    print("{device}, {threads} threads, torch {torch}".format(**report))
    for name, kind, players, plain, lean in (
        ("Pix2Pix, U-Net", Pix2Pix, pix2pix_players, plain_pix2pix, lean_pix2pix),
        ("CycleGAN, ResNets", CycleGAN, cyclegan_players, plain_cyclegan, lean_cyclegan),
    ):
        method = partial(made, kind, players)
        auto = fit(method(), {"y": y, "x": x}, steps=1, batch_size=BATCH).precision
        loops = {
            "plain": plain(players(WIDTH, plain=True), y, x, where),
            "lean float32": lean(players(WIDTH), y, x, where),
            "fit float32": ours(method(), y, x, where, "float32"),
            "lean bfloat16": lean(players(WIDTH), y, x, where, torch.bfloat16),
            "fit bfloat16": ours(method(), y, x, where, "bfloat16"),
            f"fit auto ({auto})": ours(method(), y, x, where, "auto"),
        }
        rates = measure(loops, BATCH, chosen.steps, chosen.rounds)
        rounds = f"median (range) of {chosen.rounds} x {chosen.steps} steps in turn"
        title = f"{name}: images a second, batch {BATCH}, {rounds}"
        report[name] = {"images_per_second": rates, **table(title, rates)}
    save(chosen.out, report)


if __name__ == "__main__":
    main()
