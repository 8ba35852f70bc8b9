"""``fit`` against the loops people write: images a second for the same networks and batch, all in turn in one run.

GAN-MA on 32 x 32 images, batch 64, one update of D and one of G a step, each with its own
noise. Run as ``python benchmarks/fit.py``.
"""

from __future__ import annotations

import importlib.util

import torch
from common import Loop, device, machine, measure, options, save, table
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.utils.data import DataLoader, TensorDataset

from medgan_lib.methods import GAN
from medgan_lib.networks import Critic, Generator
from medgan_lib.training import fit

SHAPE, BATCH, IMAGES = (1, 32, 32), 64, 2048
LR, BETAS = 2e-4, (0.5, 0.9)


def players() -> tuple[Generator, Critic]:
    torch.manual_seed(0)
    return Generator(SHAPE), Critic(SHAPE)


def plain(x: Tensor, device: torch.device) -> Loop:
    """What people write: DataLoader, float32, the default memory format and Adam, losses read every step."""
    G, D = (network.to(device) for network in players())
    opt_G = torch.optim.Adam(G.parameters(), LR, BETAS)
    opt_D = torch.optim.Adam(D.parameters(), LR, BETAS)
    criterion = nn.BCEWithLogitsLoss()
    loader = DataLoader(TensorDataset(x), batch_size=BATCH, shuffle=True, drop_last=True)
    losses: list[tuple[float, float]] = []

    def run(steps: int) -> None:
        done = 0
        while done < steps:
            for (real,) in loader:
                real = real.to(device)
                ones, zeros = torch.ones(BATCH, device=device), torch.zeros(BATCH, device=device)
                fake = G(torch.randn(BATCH, G.latent, device=device))
                opt_D.zero_grad()
                loss_D = criterion(D(real), ones) + criterion(D(fake.detach()), zeros)
                loss_D.backward()
                opt_D.step()
                opt_G.zero_grad()
                loss_G = criterion(D(G(torch.randn(BATCH, G.latent, device=device))), ones)
                loss_G.backward()
                opt_G.step()
                losses.append((loss_D.item(), loss_G.item()))
                done += 1
                if done == steps:
                    break

    return run


def lean(x: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Loop:
    """What an expert writes: resident data, channels-last, fused Adam, D frozen in G's step, no waiting.

    With ``dtype`` the networks run under autocast, losses and updates in float32.
    """
    G, D = (network.to(device, memory_format=torch.channels_last) for network in players())
    opt_G = torch.optim.Adam(G.parameters(), LR, BETAS, fused=True)
    opt_D = torch.optim.Adam(D.parameters(), LR, BETAS, fused=True)
    x = x.to(device, memory_format=torch.channels_last)
    losses = torch.zeros(2, device=device)

    def under(network: nn.Module, value: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            return network(value).float()

    def run(steps: int) -> None:
        for _ in range(steps):
            real = x[torch.randint(IMAGES, (BATCH,), device=device)]
            with torch.no_grad():
                fake = under(G, torch.randn(BATCH, G.latent, device=device))
            loss_D = softplus(-under(D, real)).mean() + softplus(under(D, fake)).mean()
            opt_D.zero_grad()
            loss_D.backward()
            opt_D.step()
            D.requires_grad_(False)
            loss_G = softplus(-under(D, under(G, torch.randn(BATCH, G.latent, device=device)))).mean()
            opt_G.zero_grad()
            loss_G.backward()
            opt_G.step()
            D.requires_grad_(True)
            losses.copy_(torch.stack([loss_D.detach(), loss_G.detach()]))

    return run


def ours(x: Tensor, device: torch.device, precision: str) -> Loop:
    method = GAN(*players(), "gan-ma", lr=LR, betas=BETAS)
    return lambda steps: fit(
        method, {"x": x}, steps=steps, batch_size=BATCH, device=str(device), precision=precision
    )  # fmt: skip


def monai(x: Tensor, device: torch.device) -> Loop:
    """MONAI's GanTrainer with its defaults."""
    from monai.engines import GanTrainer

    G, D = (network.to(device) for network in players())
    criterion = nn.BCEWithLogitsLoss()
    ones, zeros = torch.ones(BATCH, device=device), torch.zeros(BATCH, device=device)
    settings = {
        "g_network": G,
        "g_optimizer": torch.optim.Adam(G.parameters(), LR, BETAS),
        "g_loss_function": lambda fake: criterion(D(fake), ones),
        "d_network": D,
        "d_optimizer": torch.optim.Adam(D.parameters(), LR, BETAS),
        "d_loss_function": lambda fake, real: criterion(D(real), ones) + criterion(D(fake.detach()), zeros),
        "latent_shape": G.latent,
    }
    loader = DataLoader(TensorDataset(x), batch_size=BATCH, shuffle=True, drop_last=True)

    def run(steps: int) -> None:
        GanTrainer(
            device, 1, loader, epoch_length=steps, d_prepare_batch=lambda batch, *_: batch[0].to(device), **settings
        ).run()

    return run


def main() -> None:
    chosen = options(__doc__)
    where = device()
    x = torch.rand(IMAGES, *SHAPE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    auto = fit(GAN(*players()), {"x": x}, steps=1, batch_size=BATCH).precision
    loops = {
        "plain": plain(x, where),
        "lean float32": lean(x, where),
        "fit float32": ours(x, where, "float32"),
        "lean bfloat16": lean(x, where, torch.bfloat16),
        "fit bfloat16": ours(x, where, "bfloat16"),
        f"fit auto ({auto})": ours(x, where, "auto"),
    }
    if importlib.util.find_spec("monai") and importlib.util.find_spec("ignite"):
        loops["MONAI GanTrainer"] = monai(x, where)

    report = {**machine(), "steps": chosen.steps}
    print("{device}, {threads} threads, torch {torch}".format(**report))
    rates = measure(loops, BATCH, chosen.steps, chosen.rounds)
    title = f"GAN: images a second, batch {BATCH}, median (range) of {chosen.rounds} x {chosen.steps} steps in turn"
    save(chosen.out, {**report, "images_per_second": rates, **table(title, rates)})


if __name__ == "__main__":
    main()
