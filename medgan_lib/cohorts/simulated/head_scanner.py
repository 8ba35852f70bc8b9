"""What scanners make of a simulated head: tissue shares → MR images of four contrasts, and CT.

Signals and Hounsfield units of the tissues add up by their share of the voxel; coil, phase and noise follow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgan_lib.cohorts.simulated.head_anatomy import CONTRASTS, FAT, FIELD_OF_VIEW, MARROW, TISSUES, Subject, centres
from medgan_lib.physics import ct, mr

if TYPE_CHECKING:
    from medgan_lib.cohorts.simulated.heads import Switches

VOXEL = (2.0, 5.0)  # mm wide in the plane, mm thick: the voxel of which the two lines below speak
CT_NOISE = 5.0  # HU of a routine scan, where no `dose` is asked for
SNR = 55.0  # top of the window over the noise of one receiver channel
HEADROOM = 2.0  # how far the window of complex images reaches, in tops, above the brightest fat and its noise


class Sequence(NamedTuple):
    """How one MR contrast is acquired: times in ms, flip angle in degrees.

    `top` is the signal shown as +1, `fat` what fat saturation leaves of fat's signal.
    """

    tr: float
    te: float
    top: float
    ti: float | None = None
    flip: float | None = None
    fat: float = 1.0

    def signal(self, tissue: mr.Tissue) -> float:
        """With sign, so that tissues in one voxel add up as they do in the scanner."""
        pd, t1, t2, t2star = tissue
        if self.flip is not None:
            return float(mr.gradient_echo(pd, t1, t2star, tr=self.tr, te=self.te, flip=self.flip))
        if self.ti is not None:
            return float(mr.inversion_recovery(pd, t1, t2, tr=self.tr, te=self.te, ti=self.ti))
        return float(mr.spin_echo(pd, t1, t2, tr=self.tr, te=self.te))


def _flair(tr: float, te: float, **rest) -> Sequence:
    """The inversion time that nulls cerebrospinal fluid."""
    return Sequence(tr, te, ti=float(mr.null_time(mr.TISSUES["csf"].t1, tr)), **rest)


# Two scanners. A: spin echoes, and a gradient echo ("gre"). B: other times, a T1 from a gradient echo, fat suppressed
# in T2 but not in FLAIR, and in place of the gradient echo one with the long echo time of susceptibility weighting.
PROTOCOLS = {
    "A": {
        "t1": Sequence(500.0, 12.0, 0.72),
        "t2": Sequence(4000.0, 95.0, 0.72),
        "flair": _flair(9000.0, 115.0, top=0.31, fat=0.25),
        "gre": Sequence(600.0, 15.0, 0.34, flip=20.0),
    },
    "B": {
        "t1": Sequence(20.0, 4.6, 0.20, flip=27.0),
        "t2": Sequence(3000.0, 120.0, 0.62, fat=0.2),
        "flair": _flair(7000.0, 90.0, top=0.52),
        "gre": Sequence(50.0, 40.0, 0.13, flip=18.0),
    },
}


def mr_sequence(person: Subject, contrast: str, protocol: str) -> Sequence:
    """The protocol's, with the times it has in this person's scan."""
    sequence = PROTOCOLS[protocol][contrast]
    tr, te = person.timing[CONTRASTS.index(contrast)]
    return sequence._replace(tr=sequence.tr * tr, te=sequence.te * te)


def mr_image(
    person: Subject, fractions: NDArray, contrast: str, switches: Switches, rng: np.random.Generator
) -> NDArray:
    """Complex image (size, size): the tissues' signals by share, under the coil's sensitivity, with phase and noise."""
    sequence = mr_sequence(person, contrast, switches.protocol)
    factors = np.concatenate([person.relaxation, person.relaxation[:, 2:]], 1)
    signals = np.array(
        [
            sequence.signal(mr.Tissue(*(np.array(mr.TISSUES[name]) * factor)))
            for name, factor in zip(TISSUES, factors, strict=True)
        ]
    )
    signals[FAT] *= sequence.fat
    signals[MARROW] *= (1 + sequence.fat) / 2  # half of its signal is fat's
    line = centres(fractions.shape[-1])
    gain = np.exp(person.bias * person.coil.on_plane(line, line, 0.0))
    phase = person.phase.on_plane(line, line, 0.0)
    image = gain * np.tensordot(signals, fractions, 1) * np.exp(1j * phase)
    snr = mr.voxel_snr(switches.snr, (FIELD_OF_VIEW / len(image), switches.thickness), VOXEL)
    return image + mr.complex_noise(image.shape, sequence.top / snr, rng)


def _hounsfield(person: Subject, fractions: NDArray) -> NDArray:
    """HU (size, size) of the tissues by share, before any noise."""
    return np.tensordot(np.array([ct.HU[name] for name in TISSUES]) + person.attenuation, fractions, 1)


def ct_image(
    person: Subject, fractions: NDArray, dose: float | None, thickness: float, rng: np.random.Generator
) -> NDArray:
    """HU (size, size) with noise: of a scan at `dose`, or (None) noise like that of a routine one.

    A slice `thickness` mm thick is seen by as many more photons.
    """
    hu, spacing = _hounsfield(person, fractions), FIELD_OF_VIEW / fractions.shape[-1]
    photons = thickness / VOXEL[1]
    if dose is not None:
        pad = len(hu) // 8  # the scanner sees more than the picture shows, so that a shifted head fits
        seen = ct.scan(np.pad(hu, pad, constant_values=-1000.0), spacing, dose=dose * photons, rng=rng)
        return seen[pad:-pad, pad:-pad]
    return hu + ct.correlated_noise(len(hu), ct.voxel_noise(CT_NOISE, (spacing, thickness), VOXEL), rng)
