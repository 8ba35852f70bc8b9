"""Networks for 1-D, 2-D and 3-D samples. Nothing here knows what they are trained for.

``per_sample`` on a network says that its output for one sample never depends on the others of the batch, so that
samples of two kinds may pass it together.
"""

from medgan_lib.networks.batched import batched, evaluating
from medgan_lib.networks.classcritic import ClassCritic, GaussianNoise, SoftplusGenerator, WeightNormLinear
from medgan_lib.networks.conditional import (
    ConditionalCritic,
    ConditionalGenerator,
    Conditioned,
    ProjectionCritic,
)
from medgan_lib.networks.dcgan import DCCritic, DCGenerator, pooled_down, pooled_up, strided_down, strided_up
from medgan_lib.networks.dense import DenseCritic, DenseGenerator
from medgan_lib.networks.devices import chosen_device, home_of, placed
from medgan_lib.networks.images import Critic, Encoder, Generator, ResizeConv
from medgan_lib.networks.joint import JointCritic
from medgan_lib.networks.minibatch import MinibatchDiscrimination
from medgan_lib.networks.mlp import MLP
from medgan_lib.networks.progan import ProCritic, ProGenerator
from medgan_lib.networks.pyramid import BandCritic, BandGenerator
from medgan_lib.networks.segmenter import Segmenter
from medgan_lib.networks.shift import Shift
from medgan_lib.networks.superresolution import Looks, SmoothCritic, SmoothReader, SuperResolver
from medgan_lib.networks.text import TextEncoder, Vocabulary
from medgan_lib.networks.tiles import tiled
from medgan_lib.networks.translators import (
    DilatedTranslator,
    InstanceNorm,
    PatchCritic,
    ResNetTranslator,
    UNet,
)

__all__ = [
    "MLP",
    "BandCritic",
    "BandGenerator",
    "ClassCritic",
    "ConditionalCritic",
    "ConditionalGenerator",
    "Conditioned",
    "Critic",
    "DCCritic",
    "DCGenerator",
    "DenseCritic",
    "DenseGenerator",
    "DilatedTranslator",
    "Encoder",
    "GaussianNoise",
    "Generator",
    "InstanceNorm",
    "JointCritic",
    "Looks",
    "MinibatchDiscrimination",
    "PatchCritic",
    "ProCritic",
    "ProGenerator",
    "ProjectionCritic",
    "ResNetTranslator",
    "ResizeConv",
    "Segmenter",
    "Shift",
    "SmoothCritic",
    "SmoothReader",
    "SoftplusGenerator",
    "SuperResolver",
    "TextEncoder",
    "UNet",
    "Vocabulary",
    "WeightNormLinear",
    "batched",
    "chosen_device",
    "evaluating",
    "home_of",
    "placed",
    "pooled_down",
    "pooled_up",
    "strided_down",
    "strided_up",
    "tiled",
]
