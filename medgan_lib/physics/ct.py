"""Computed tomography: Hounsfield units, parallel projection, photon counts, filtered back-projection.

NumPy arrays throughout; lengths in mm, attenuation in 1/mm, Hounsfield units 1000 (µ/µ_water − 1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WATER = 0.0193  # 1/mm, linear attenuation of water at 70 keV (NIST XCOM)
PHOTONS = 1.5e6  # counts per detector element and view without a patient, at a routine dose (dose = 1)

# Mean Hounsfield units; the range in patients is several HU for soft tissue and hundreds for bone.
HU = {
    "air": -1000.0,
    "fat": -95.0,
    "muscle": 55.0,
    "bone": 1500.0,
    "marrow": 750.0,
    "csf": 7.0,
    "grey": 38.0,
    "white": 29.0,
    "tumour": 33.0,
    "necrosis": 16.0,
    "oedema": 19.0,
}


def hu_to_attenuation(hu: NDArray) -> NDArray:
    """Hounsfield units → linear attenuation (1/mm), never negative."""
    return WATER * np.maximum(1 + np.asarray(hu, float) / 1000, 0)


def attenuation_to_hu(mu: NDArray) -> NDArray:
    """Linear attenuation (1/mm) → Hounsfield units."""
    return 1000 * (np.asarray(mu, float) / WATER - 1)


def views(size: int) -> NDArray:
    """Angles (degrees) over half a turn, enough for an image of size² (Crowther: π/2 · size)."""
    count = int(np.ceil(np.pi / 2 * size))
    return np.arange(count) * 180 / count


def project(hu: NDArray, spacing: float) -> NDArray:
    """Line integrals of attenuation: HU (size, size) with pixels of `spacing` mm → (size, views), no unit.

    The object has to lie within the circle inscribed in the image, with air (−1000 HU) outside it.

    Raises:
        ValueError: image not square, or something other than air outside the circle.
    """
    from skimage.transform import radon

    hu = np.asarray(hu, float)
    if hu.ndim != 2 or hu.shape[0] != hu.shape[1]:
        raise ValueError(f"project needs one square image, not an array of shape {hu.shape}: pad it with air")
    size = len(hu)
    y, x = np.mgrid[:size, :size] - size // 2
    if (hu[x**2 + y**2 > (size // 2) ** 2] > -990).any():
        raise ValueError("project needs the object inside the circle inscribed in the image: pad it with air")
    return radon(hu_to_attenuation(hu), theta=views(size), circle=True) * spacing


def measure(integrals: NDArray, photons: float, rng: np.random.Generator) -> NDArray:
    """Count photons: line integrals → the integrals that a detector with Poisson noise reports.

    N ~ Poisson(photons · e^{−p}), p' = −ln(N / photons). A view that stops every photon counts as one photon.
    """
    counts = rng.poisson(photons * np.exp(-np.asarray(integrals)))
    return -np.log(np.maximum(counts, 1) / photons)


def reconstruct(integrals: NDArray, spacing: float, filter_name: str = "shepp-logan") -> NDArray:
    """Filtered back-projection of (size, views) line integrals → HU (size, size), −1000 outside the circle."""
    from skimage.transform import iradon

    size = len(integrals)
    mu = iradon(integrals / spacing, theta=views(size), filter_name=filter_name, circle=True)
    return attenuation_to_hu(mu)


def scan(hu: NDArray, spacing: float, *, dose: float, rng: np.random.Generator) -> NDArray:
    """Image HU (size, size) as a scanner at `dose` times the routine dose sees it; noise grows as 1/√dose.

    Raises:
        ValueError: dose not positive, or an image `project` refuses.
    """
    if not dose > 0:
        raise ValueError(f"dose is {dose}: give a positive share of the routine dose, such as 0.25")
    return reconstruct(measure(project(hu, spacing), dose * PHOTONS, rng), spacing)


def voxel_noise(sd: float, voxel: tuple[float, float], reference: tuple[float, float]) -> float:
    """Standard deviation of the noise in a `voxel` (width, thickness) in mm, where it is `sd` in a `reference` voxel.

    The variance of a filtered back-projection of one dose is proportional to 1 / (width³ · thickness): thinner slices
    and finer pixels catch fewer photons, and finer pixels need finer projections (Brooks & Di Chiro, Med Phys 3:237,
    1976).
    """
    return sd * (reference[0] / voxel[0]) ** 1.5 * (reference[1] / voxel[1]) ** 0.5


def correlated_noise(size: int, sd: float, rng: np.random.Generator) -> NDArray:
    """Noise with the texture of filtered back-projection: spectrum ∝ f · (a smooth window), standard deviation `sd`.

    Riederer, Pelc & Chesler, Phys Med Biol 23:446 (1978): noise power rises with frequency as the ramp filter does.
    """
    f = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    amplitude = np.sqrt(f) * np.cos(np.pi * np.minimum(f, 0.5))
    full = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    power = np.mean(full * np.cos(np.pi * np.minimum(full, 0.5)) ** 2)
    white = np.fft.rfft2(rng.standard_normal((size, size)))
    return sd / np.sqrt(power) * np.fft.irfft2(white * amplitude, s=(size, size))
