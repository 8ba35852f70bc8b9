"""Magnetic resonance: signal equations, coil bias, noise and k-space.

All times are in ms; signals are fractions of the equilibrium magnetisation of pure water. Everything takes and
returns NumPy arrays (numbers where numbers go in) and broadcasts.
Derivations: Bernstein, King & Zhou, Handbook of MRI Pulse Sequences (2004), chapters 14 and 16.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

LN2 = float(np.log(2))


class Tissue(NamedTuple):
    """What a tissue does in a magnetic field of 1.5 T: proton density (water = 1) and relaxation times in ms."""

    pd: float
    t1: float
    t2: float
    t2star: float


# Brain, around the BrainWeb values (Kwan, Evans & Pike, IEEE TMI 18:1085, 1999); T1 of cerebrospinal fluid after Rooney
# et al. (Magn Reson Med 57:308, 2007); fat and muscle after Gold et al. (AJR 183:343, 2004). Compact bone has next to
# no signal at clinical echo times; marrow of the skull is a mixture of fat and bone. Tumour, its necrotic core and
# oedema: long T1 and T2, chosen for the look of a high-grade glioma.
TISSUES = {
    "air": Tissue(0.0, 1000.0, 50.0, 20.0),
    "fat": Tissue(0.9, 288.0, 165.0, 45.0),
    "muscle": Tissue(0.85, 1000.0, 40.0, 25.0),
    "bone": Tissue(0.08, 500.0, 2.0, 1.0),
    "marrow": Tissue(0.45, 400.0, 90.0, 8.0),
    "csf": Tissue(1.0, 4000.0, 2000.0, 900.0),
    "grey": Tissue(0.86, 870.0, 85.0, 78.0),
    "white": Tissue(0.75, 540.0, 70.0, 62.0),
    "tumour": Tissue(0.92, 1250.0, 140.0, 70.0),
    "necrosis": Tissue(0.97, 2600.0, 350.0, 120.0),
    "oedema": Tissue(0.90, 1150.0, 150.0, 110.0),
}


def spin_echo(pd: ArrayLike, t1: ArrayLike, t2: ArrayLike, *, tr: float, te: float) -> NDArray:
    """Spin echo after many repetitions, TE much shorter than TR: PD (1 − e^{−TR/T1}) e^{−TE/T2}."""
    return np.asarray(pd) * -np.expm1(-tr / np.asarray(t1)) * np.exp(-te / np.asarray(t2))


def inversion_recovery(pd: ArrayLike, t1: ArrayLike, t2: ArrayLike, *, tr: float, te: float, ti: float) -> NDArray:
    """Inversion-recovery spin echo, with sign: PD (1 − 2 e^{−TI/T1} + e^{−TR/T1}) e^{−TE/T2}.

    Zero for the tissue whose T1 satisfies `null_time(t1, tr) == ti`. A magnitude image shows its absolute value.
    """
    t1 = np.asarray(t1)
    return np.asarray(pd) * (1 - 2 * np.exp(-ti / t1) + np.exp(-tr / t1)) * np.exp(-te / np.asarray(t2))


def null_time(t1: ArrayLike, tr: float) -> NDArray:
    """Inversion time (ms) at which a tissue of this T1 gives no signal: T1 [ln 2 − ln(1 + e^{−TR/T1})].

    T1 ln 2 for an infinite TR. Fluid-attenuated inversion recovery (FLAIR) takes that of cerebrospinal fluid.
    """
    t1 = np.asarray(t1)
    return t1 * (LN2 - np.log1p(np.exp(-tr / t1)))


def gradient_echo(pd: ArrayLike, t1: ArrayLike, t2star: ArrayLike, *, tr: float, te: float, flip: float) -> NDArray:
    """Spoiled gradient echo at flip angle `flip` (degrees): PD sin α (1 − E1)/(1 − E1 cos α) e^{−TE/T2*}."""
    e1, alpha = np.exp(-tr / np.asarray(t1)), np.deg2rad(flip)
    steady = np.sin(alpha) * (1 - e1) / (1 - e1 * np.cos(alpha))
    return np.asarray(pd) * steady * np.exp(-te / np.asarray(t2star))


def voxel_snr(snr: float, voxel: tuple[float, float], reference: tuple[float, float]) -> float:
    """Signal to noise in a `voxel` (mm wide in the plane, mm thick), where a `reference` of this kind has `snr`.

    snr · (width / reference width)^1.5 · (thickness / reference thickness).
    It is proportional to the voxel's volume and to the square root of the time for which the receiver listens (Parker &
    Gullberg, Med Phys 17:250, 1990; Macovski, Magn Reson Med 36:494, 1996). Here the field of view and the sequence are
    fixed, each line of k-space is read once and for the same time: the volume grows as width², the number of lines, and
    with it the time, falls as 1/width. (Were the total time kept by averaging, the exponent would be 2; averaging
    voxels of an image that exists gives 1.) A thicker slice, excited as a whole, takes no other time: exponent 1.
    """
    (width, thickness), (reference_width, reference_thickness) = voxel, reference
    return snr * (width / reference_width) ** 1.5 * (thickness / reference_thickness)


def complex_noise(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> NDArray:
    """Receiver noise: independent Gaussian noise of standard deviation `sigma` in the real and imaginary part."""
    return sigma * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))


def rician(signal: ArrayLike, sigma: float, rng: np.random.Generator) -> NDArray:
    """Magnitude image of `signal` under complex noise: Rician, with E[m²] = signal² + 2 sigma².

    Gudbjartsson & Patz, Magn Reson Med 34:910 (1995). Where there is no signal it is Rayleigh: mean sigma·√(π/2).
    """
    signal = np.asarray(signal)
    return np.abs(signal + complex_noise(signal.shape, sigma, rng))


def to_kspace(image: ArrayLike) -> NDArray:
    """Centred orthonormal Fourier transform over the last two axes; noise keeps its standard deviation."""
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, axes=axes), norm="ortho"), axes=axes)


def from_kspace(kspace: ArrayLike) -> NDArray:
    """Inverse of `to_kspace`: complex image."""
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=axes), norm="ortho"), axes=axes)


def cartesian_mask(size: int, rate: float, rng: np.random.Generator, *, centre: float = 0.08) -> NDArray:
    """Which phase-encoding lines are measured: bool (size,), exactly round(size / rate) of them.

    The central share `centre` of k-space is always measured, the rest at random, denser towards the centre
    (Lustig, Donoho & Pauly, Magn Reson Med 58:1182, 2007).

    Raises:
        ValueError: rate below 1, or so high that not even the centre can be measured.
    """
    lines, core = round(size / rate) if rate >= 1 else 0, max(2, round(centre * size))
    if not core <= lines:
        raise ValueError(f"undersampling by {rate:g} is not possible: give a rate from 1 to {size / core:.3g}")
    distance = np.abs(np.arange(size) - size // 2)
    order = np.argsort(distance, kind="stable")
    mask = np.zeros(size, bool)
    mask[order[:core]] = True
    weight = (1 - distance[order[core:]] / size) ** 4
    mask[rng.choice(order[core:], lines - core, replace=False, p=weight / weight.sum())] = True
    return mask
