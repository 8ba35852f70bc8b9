"""A layer that lets a discriminator see how alike the samples of a minibatch are (review Sec. 2.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MinibatchDiscrimination(nn.Module):
    """Appends, to what D knows of a sample, how close the others of its minibatch are: (n, A) -> (n, A + B).

    Salimans et al. 2016, Sec. 3.2: a tensor T turns the features f of each sample into B rows of C numbers,
    M_i = f_i T. With c_b(i, j) = exp(-||M_ib - M_jb||_1), the sum over all j of c_b(i, j) is the b-th new feature of
    sample i: 1 (itself) where the others are far, the size of the minibatch where all are alike. It is computed for
    real and for generated samples apart; a network with this layer is therefore never ``per_sample``. A discriminator
    gets it before its last layer, as in ``Sequential(features, MinibatchDiscrimination(A, B, C), Linear(A + B, 1))``.

    inputs: A. similarities: B. kernel: C. Raises ValueError for sizes below 1 and other inputs than A.
    """

    def __init__(self, inputs: int, similarities: int = 16, kernel: int = 4) -> None:
        super().__init__()
        if min(inputs, similarities, kernel) < 1:
            raise ValueError(f"inputs, similarities and kernel must be at least 1: {inputs}, {similarities}, {kernel}")
        # f T keeps the size of f, so that distances are neither all 0 nor all huge when training starts.
        self.T = nn.Parameter(torch.randn(inputs, similarities, kernel) * inputs**-0.5)

    def forward(self, f: Tensor) -> Tensor:
        inputs = self.T.shape[0]
        if f.ndim != 2 or f.shape[1] != inputs:
            raise ValueError(f"features of shape {tuple(f.shape)}, expected (n, {inputs})")
        M = (f @ self.T.flatten(1)).unflatten(1, self.T.shape[1:]).permute(2, 1, 0)  # (C, B, n)
        distance = (M.unsqueeze(3) - M.unsqueeze(2)).abs().sum(0)  # (B, n, n)
        similarity = (-distance).exp().sum(2)  # (B, n)
        return torch.cat([f, similarity.T], dim=1)

    def extra_repr(self) -> str:
        inputs, similarities, kernel = self.T.shape
        return f"{inputs} -> {inputs + similarities}, kernel {kernel}"
