"""One file a method, each with one ``step`` that reads like the paper."""

from medgan_lib.methods.adversarial_segmentation import AdversarialSegmentation
from medgan_lib.methods.anogan import AnomalyScores, FAnoGAN, anomaly_scores, latent_search
from medgan_lib.methods.auxiliary import AuxiliaryGAN
from medgan_lib.methods.base import Method
from medgan_lib.methods.bigan import BiGAN
from medgan_lib.methods.classifier import Classifier
from medgan_lib.methods.conditional import ConditionalGAN
from medgan_lib.methods.contrastive import Contrastive
from medgan_lib.methods.cyclegan import CycleGAN, DiscoGAN, DualGAN
from medgan_lib.methods.dann import DANN, LabelsOnly, Primary
from medgan_lib.methods.gan import GAN, DiscriminatorOnly
from medgan_lib.methods.gradient_difference import GradientDifferenceGAN
from medgan_lib.methods.infogan import Codes, InfoGAN
from medgan_lib.methods.landmarks import LandmarkDetector
from medgan_lib.methods.lapgan import LAPGAN, Band
from medgan_lib.methods.progressive import ProgressiveGAN
from medgan_lib.methods.semi_supervised import SemiSupervisedGAN
from medgan_lib.methods.srgan import SRGAN, FeatureMaps
from medgan_lib.methods.translation import Pix2Pix, SelfRegularisedGAN, Translation
from medgan_lib.methods.uniform import UniformGAN
from medgan_lib.methods.unrolled import UnrolledGAN

__all__ = [
    "DANN",
    "GAN",
    "LAPGAN",
    "SRGAN",
    "AdversarialSegmentation",
    "AnomalyScores",
    "AuxiliaryGAN",
    "Band",
    "BiGAN",
    "Classifier",
    "Codes",
    "ConditionalGAN",
    "Contrastive",
    "CycleGAN",
    "DiscoGAN",
    "DiscriminatorOnly",
    "DualGAN",
    "FAnoGAN",
    "FeatureMaps",
    "GradientDifferenceGAN",
    "InfoGAN",
    "LabelsOnly",
    "LandmarkDetector",
    "Method",
    "Pix2Pix",
    "Primary",
    "ProgressiveGAN",
    "SelfRegularisedGAN",
    "SemiSupervisedGAN",
    "Translation",
    "UniformGAN",
    "UnrolledGAN",
    "anomaly_scores",
    "latent_search",
]
