"""The only training loop of the project: `fit` trains a method on a cohort and gives back a `Run`."""

from medgan_lib.training.loop import Run, fit

__all__ = ["Run", "fit"]
