"""How good it is: figures of merit, one file a question, all found here.

Every function takes PyTorch tensors on any device, samples along the first dimension, and computes in
float64. Where a number depends on the number of samples, its docstring says so: put the value of real
against other real samples beside it (`with_floor`).
"""

from medgan_lib.metrics.attributes import (
    FLUID,
    VENTRICLES_MM,
    brain_signal,
    disc_diameter,
    slant,
    thickness,
    ventricle_area,
)
from medgan_lib.metrics.baselines import (
    PCA,
    Affine,
    GreyTable,
    affine_map,
    first_components,
    grey_table,
    look_up,
    mean_image,
    perfect_regression,
)
from medgan_lib.metrics.copies import Memorisation, memorisation, nearest
from medgan_lib.metrics.faults import FAULTS, spoil
from medgan_lib.metrics.gates import (
    beyond_guessing,
    legible,
    near_modes,
    or_failed,
    over_a_circle,
    over_a_gaussian,
    over_chance,
    variety,
    variety_within,
)
from medgan_lib.metrics.head_shape import bright_by_depth, head_mask
from medgan_lib.metrics.information import MutualInformationGap, mutual_information, mutual_information_gap
from medgan_lib.metrics.marginals import KS, kolmogorov_smirnov
from medgan_lib.metrics.masks import (
    Detection,
    components,
    contrast_to_noise,
    detection,
    dice,
    grown,
    interior,
    object_dice,
    rim,
)
from medgan_lib.metrics.modes import Chance, Modes, modes_by_chance, modes_covered
from medgan_lib.metrics.observers import HotellingObserver, gabor_channels
from medgan_lib.metrics.patches import sliced_wasserstein, sliced_wasserstein_by_scale
from medgan_lib.metrics.ranking import AUC, auc, auc_interval, roc_curve
from medgan_lib.metrics.reference import high_frequency_error, line_up, mae, psnr, retrieval, same, sharpness, ssim
from medgan_lib.metrics.residuals import grain, largest, mean_residual, smoothed
from medgan_lib.metrics.sets import PRDC, Score, frechet, prdc, wasserstein1, with_floor
from medgan_lib.metrics.spectra import Spectrum, patterns, spectrum
from medgan_lib.metrics.turing import GENERATED, REAL, TuringTest, turing_lessons, turing_test
from medgan_lib.metrics.two_sample import TwoSample, proxy_a_distance, told_apart, two_sample_test
from medgan_lib.metrics.vessel_shape import over_gaussian_vessels, vessel_distance, vessel_measures
from medgan_lib.metrics.yardstick import Accuracy, Sight, Yardstick, features

__all__ = [
    "AUC",
    "FAULTS",
    "FLUID",
    "GENERATED",
    "KS",
    "PCA",
    "PRDC",
    "REAL",
    "VENTRICLES_MM",
    "Accuracy",
    "Affine",
    "Chance",
    "Detection",
    "GreyTable",
    "HotellingObserver",
    "Memorisation",
    "Modes",
    "MutualInformationGap",
    "Score",
    "Sight",
    "Spectrum",
    "TuringTest",
    "TwoSample",
    "Yardstick",
    "affine_map",
    "auc",
    "auc_interval",
    "beyond_guessing",
    "brain_signal",
    "bright_by_depth",
    "components",
    "contrast_to_noise",
    "detection",
    "dice",
    "disc_diameter",
    "features",
    "first_components",
    "frechet",
    "gabor_channels",
    "grain",
    "grey_table",
    "grown",
    "head_mask",
    "high_frequency_error",
    "interior",
    "kolmogorov_smirnov",
    "largest",
    "legible",
    "line_up",
    "look_up",
    "mae",
    "mean_image",
    "mean_residual",
    "memorisation",
    "modes_by_chance",
    "modes_covered",
    "mutual_information",
    "mutual_information_gap",
    "near_modes",
    "nearest",
    "object_dice",
    "or_failed",
    "over_a_circle",
    "over_a_gaussian",
    "over_chance",
    "over_gaussian_vessels",
    "patterns",
    "perfect_regression",
    "prdc",
    "proxy_a_distance",
    "psnr",
    "retrieval",
    "rim",
    "roc_curve",
    "same",
    "sharpness",
    "slant",
    "sliced_wasserstein",
    "sliced_wasserstein_by_scale",
    "smoothed",
    "spectrum",
    "spoil",
    "ssim",
    "thickness",
    "told_apart",
    "turing_lessons",
    "turing_test",
    "two_sample_test",
    "variety",
    "variety_within",
    "ventricle_area",
    "vessel_distance",
    "vessel_measures",
    "wasserstein1",
    "with_floor",
]
