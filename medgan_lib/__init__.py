"""The thin library behind the executable review of GANs and adversarial methods in biomedical image analysis."""

__version__ = "0.1.0"
