"""One file a method, each with one ``step`` that reads like the paper."""

from medgan_lib.methods.base import Method
from medgan_lib.methods.classifier import Classifier
from medgan_lib.methods.gan import GAN

__all__ = ["GAN", "Classifier", "Method"]
