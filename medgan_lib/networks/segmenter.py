"""The U-Net as a segmenter (review Secs. 5.4 and 5.6)."""

from __future__ import annotations

import torch
from torch import Tensor

from .translators import UNet, checked


class Segmenter(UNet):
    """Images (n, inputs, *size) -> logits of a mask (n, outputs, *size): a `UNet` without the tanh at its end.

    Losses take logits, so that where the network is sure and wrong their gradient does not vanish by rounding.
    """

    def forward(self, y: Tensor) -> Tensor:
        features = [self.first(checked(y, self))]
        for stage in self.down:
            features.append(stage(features[-1]))
        x = features.pop()
        for stage in self.up:
            x = torch.cat([stage(x), features.pop()], 1)
        return self.last(x)
