"""Networks for 1-D, 2-D and 3-D samples. Nothing here knows what they are trained for.

``per_sample`` on a network says that its output for one sample never depends on the others of the batch, so that
samples of two kinds may pass it together.
"""

from medgan_lib.networks.images import Critic, Encoder, Generator, ResizeConv
from medgan_lib.networks.mlp import MLP

__all__ = ["MLP", "Critic", "Encoder", "Generator", "ResizeConv"]
