"""Real axial slices of the head in T1, T2 and FLAIR, aligned to each other: 13 sessions of 11 patients, five sources.

`load` reads the prepared form, `convert` makes it of the originals (which `fetch` downloads and verifies).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from medgan_lib.cohorts.cache import data_root
from medgan_lib.cohorts.cohort import Cohort, draw
from medgan_lib.cohorts.public.prepared import prepared

NATIVE, FIELD_OF_VIEW = 192, 230.4  # pixels, mm
CHANNELS = {"t1": "T1", "t2": "T2", "flair": "FLAIR"}
SOURCES = ("LJ-MS longitudinal", "LJ-MS cross-sectional", "Kirby21", "C-STAR", "TCIA Brain-Tumor-Progression")
UNITS = "% of the scan's 99.7th percentile"


class Session(NamedTuple):
    """One visit of a patient: of which person, in which split, from which of `SOURCES`.

    ``originals`` are its three volumes in the order of `CHANNELS`: NIfTI files, or for TCIA folders of DICOM files.
    ``slices`` are those that are kept, counted from the feet (of T2 where the grids differ): the ones that show enough
    of the head, every second one where the voxels are 1 mm.
    """

    patient: int
    split: str
    source: int
    originals: tuple[str, str, str]
    slices: range


def _long(visit: str) -> tuple[str, str, str]:
    return f"{visit}_T1W.nii.gz", f"{visit}_T2W.nii.gz", f"{visit}_FLAIR.nii.gz"


def _cross(patient: str) -> tuple[str, str, str]:
    return f"{patient}_MNI_T1.nii.gz", f"{patient}_MNI_T2.nii.gz", f"{patient}_MNI_FLAIR.nii.gz"


KIRBY = tuple(f"113-02-{contrast}_processed_reg.nii.gz" for contrast in ("MPRAGE", "T2w", "FLAIR"))
CSTAR = tuple(f"stroke_{contrast}.nii.gz" for contrast in CHANNELS.values())
PGBM_002 = ("Study1/34909-T1prereg-84610", "Study1/37916-T2reg-88910", "Study1/36459-FLAIRreg-76244")
PGBM_003 = ("Study3/26401-T1prereg-52906", "Study3/37830-T2reg-78532", "Study3/36468-FLAIRreg-58706")
TCIA = 4  # the one of SOURCES that is DICOM, and radiological in the prepared form

# Two sessions of one person share its number. Whole heads (longitudinal, TCIA) and brains without skull (the others)
# are in every split, and val and test hold other people of sources that train has seen.
SESSIONS = {
    "LJ-MS-long-patient01-study1": Session(0, "train", 0, _long("patient01-study1"), range(4, 32)),
    "LJ-MS-long-patient01-study2": Session(0, "train", 0, _long("patient01-study2"), range(2, 42)),
    "LJ-MS-long-patient03-study2": Session(1, "train", 0, _long("patient03-study2"), range(2, 43)),
    "LJ-MS-long-patient04-study1": Session(2, "val", 0, _long("patient04-study1"), range(1, 43)),
    "LJ-MS-long-patient12-study1": Session(3, "test", 0, _long("patient12-study1"), range(1, 43)),
    "LJ-MS-long-patient12-study2": Session(3, "test", 0, _long("patient12-study2"), range(1, 43)),
    "LJ-MS-cross-patient07": Session(4, "train", 1, _cross("patient07"), range(36, 132, 2)),
    "LJ-MS-cross-patient19": Session(5, "val", 1, _cross("patient19"), range(36, 132, 2)),
    "LJ-MS-cross-patient26": Session(6, "test", 1, _cross("patient26"), range(40, 132, 2)),
    "Kirby21-113": Session(7, "train", 2, KIRBY, range(104, 200, 2)),
    "CSTAR-stroke": Session(8, "train", 3, CSTAR, range(26, 124, 2)),
    "TCIA-BTP-PGBM-002": Session(9, "train", TCIA, PGBM_002, range(22)),
    "TCIA-BTP-PGBM-003": Session(10, "test", TCIA, PGBM_003, range(22)),
}


def load(
    split: str,
    *,
    size: int | None = None,
    n: int | None = None,
    seed: int = 0,
    contrasts: tuple[str, ...] = ("t1", "t2", "flair"),
) -> Cohort:
    """Aligned T1, T2 and FLAIR slices of real heads: float32 (n, 1, size, size) in [-1, 1], one tensor per contrast.

    ``contrasts`` are of "t1", "t2", "flair"; the first is "x" (and under its own name, too). Every slice has all
    three. ``size`` is 192 (1.2 mm pixels) or smaller, from 8: then resampled with antialiasing at the same field of
    view. ``n`` slices are drawn from all slices of the split. Values are in % of the 99.7th percentile of the
    foreground of the slice's own volume, 0 to 100, stored in 8 bit: MR has no absolute unit, and a value means the same
    within one session and contrast only. As in `heads`, the front is up and the patient's right on the left (what the
    prepared file holds the other way round is mirrored). "source" int64 (n,) names where a slice is from. Subjects are
    patients, and splits are by patient. The longitudinal set is aligned by the scanner's coordinates only.

    ValueError: unknown contrast, a size or n it can't have, a file that can't be used; FileNotFoundError: no file.
    Lesjak et al., Neuroinformatics 14 (2016) and 16 (2018); Landman et al., NeuroImage 54 (2011); Schmainda and Prah,
    TCIA (2018), doi:10.7937/K9/TCIA.2018.15quzvnb.
    """
    names, size = _names(contrasts), size or NATIVE
    if not 8 <= size <= NATIVE:
        raise ValueError(
            f"'brain_mr_contrasts' slices are {NATIVE} x {NATIVE}: size must be from 8 to {NATIVE}, it is {size}"
        )
    images, sessions = _read()
    index = draw("brain_mr_contrasts", np.flatnonzero([session.split == split for session in sessions]), n, seed)
    x = torch.from_numpy(images[index][:, [list(CHANNELS).index(name) for name in names]]).float() / 127.5 - 1
    mirrored = torch.tensor([sessions[k].source != TCIA for k in index])
    x[mirrored] = x[mirrored].flip(-1)
    if size != NATIVE:
        x = torch.nn.functional.interpolate(x, (size, size), mode="bilinear", antialias=True).clamp(-1, 1)
    found = {name: x[:, k : k + 1].contiguous() for k, name in enumerate(names)}
    tensors = {"x": found[names[0]], **found}
    return Cohort(
        name="brain_mr_contrasts",
        tensors={**tensors, "source": torch.tensor([sessions[k].source for k in index])},
        subjects=torch.tensor([sessions[k].patient for k in index]),
        units=dict.fromkeys(tensors, UNITS),
        window=dict.fromkeys(tensors, (0.0, 100.0)),
        origin="real",
        split=split,
        spacing=(FIELD_OF_VIEW / size,) * 2,
        classes={"source": SOURCES},
        note=f"real heads, {', '.join(CHANNELS[name] for name in names)}, five sources, split by patient",
    )


def _names(contrasts: tuple[str, ...] | list[str] | str) -> tuple[str, ...]:
    names = (contrasts,) if isinstance(contrasts, str) else tuple(contrasts)
    unknown = [name for name in names if name not in CHANNELS]
    if unknown or not names or len(set(names)) < len(names):
        what = f"unknown contrast {unknown[0]!r}" if unknown else f"contrasts are {names!r}"
        raise ValueError(f"brain_mr_contrasts: {what}; give one or more, each once, of {', '.join(CHANNELS)}")
    return names


def _read() -> tuple[np.ndarray, list[Session]]:
    """(images uint8 (n, 3, 192, 192), the session of each). ValueError where the arrays contradict each other."""
    arrays = prepared("brain_mr_contrasts")
    images, subject, channels = (arrays[key] for key in ("images", "subject", "channels"))
    reason = ""
    if not np.array_equal(channels, list(CHANNELS.values())):
        reason = f"its channels are not {', '.join(CHANNELS.values())}"
    elif len(images) != len(subject):
        reason = f"it has {len(images)} images, but names the subject of {len(subject)}"
    elif not np.isin(subject, list(SESSIONS)).all():
        reason = "it names subjects that this data set does not have, so their split is not known"
    if reason:
        path = data_root() / "brain_mr_contrasts" / "brain_mr_contrasts.npz"
        raise ValueError(f"{path} is not usable: {reason}. Delete it and run `make data NAMES=brain_mr_contrasts`.")
    return images, [SESSIONS[name] for name in subject.tolist()]


def convert(originals: Mapping[str, Path | list[bytes]]) -> dict[str, NDArray]:
    """{images, subject, channels} of the prepared form, from the files named in `SESSIONS`.

    A NIfTI file is given by its path, a DICOM series by the contents of its files. T1 and FLAIR are put on the grid of
    T2 by the coordinates in the headers; each volume is scaled to the 99.7th percentile of the voxels above its median
    and clipped; kept slices are resampled linearly to 192 x 192 pixels of 1.2 mm about their centre, and rounded to
    8 bit.
    ValueError: an original that is not as expected.
    """
    images, subject = [], []
    for name, session in SESSIONS.items():
        if session.source == TCIA:
            volumes, pixel = _read_dicom(name, [originals[series] for series in session.originals])
        else:
            volumes, pixel = _read_nifti(name, [originals[file] for file in session.originals])
        if session.slices[-1] >= volumes[0].shape[0]:
            raise ValueError(f"{name} has {volumes[0].shape[0]} slices, {session.slices[-1] + 1} are needed")
        scaled = [_scale(volume) for volume in volumes]
        for k in session.slices:
            images.append([np.rint(255 * _resample(volume[k], pixel)) for volume in scaled])
            subject.append(name)
    return {
        "images": np.array(images, np.uint8),
        "subject": np.array(subject, "<U27"),
        "channels": np.array(list(CHANNELS.values()), "<U5"),
    }


def _scale(volume: NDArray) -> NDArray:
    """0 to 1: the share of the 99.7th percentile of the upper half of all voxels, which is the foreground."""
    foreground = volume[volume > np.median(volume)]
    if not foreground.size:
        raise ValueError("a volume is empty")
    return np.clip(volume / np.percentile(foreground, 99.7), 0, 1)


def _resample(image: NDArray, pixel: tuple[float, float]) -> NDArray:
    """(192, 192) of 1.2 mm with the same centre; ``pixel`` is mm along rows and columns. Outside is 0."""
    from scipy.ndimage import affine_transform

    step = FIELD_OF_VIEW / NATIVE / np.array(pixel)
    start = (np.array(image.shape) - 1) / 2 - step * (NATIVE - 1) / 2
    return affine_transform(image, step, start, output_shape=(NATIVE, NATIVE), order=1)


def _read_nifti(name: str, files: list[Path]) -> tuple[list[NDArray], tuple[float, float]]:
    """Three volumes (slice from the feet, row from the front, column from the left), mm per row and column."""
    import nibabel
    from scipy.ndimage import affine_transform

    try:
        loaded = [nibabel.as_closest_canonical(nibabel.load(file)) for file in files]  # axes to the right, front, head
        volumes = [np.asarray(image.dataobj, np.float32) for image in loaded]
    except (OSError, EOFError, ValueError, nibabel.filebasedimages.ImageFileError) as error:
        raise ValueError(f"the originals of {name} can't be read as NIfTI ({error})") from error
    grid = loaded[1]
    for k, image in enumerate(loaded):
        if image.shape != grid.shape or not np.allclose(image.affine, grid.affine, atol=1e-3):
            between = np.linalg.inv(image.affine) @ grid.affine
            volumes[k] = affine_transform(volumes[k], between[:3, :3], between[:3, 3], output_shape=grid.shape, order=1)
    across, along, _ = (float(mm) for mm in grid.header.get_zooms())
    return [volume[:, ::-1].T for volume in volumes], (along, across)


def _read_dicom(name: str, series: list[list[bytes]]) -> tuple[list[NDArray], tuple[float, float]]:
    """Three volumes (slice from the feet, row, column) on one grid, mm per row and column."""
    import pydicom

    volumes, places, pixel = [], [], ()
    for files in series:
        try:
            slices = [pydicom.dcmread(io.BytesIO(data)) for data in files]
            slices.sort(key=lambda item: float(item.ImagePositionPatient[2]))
            places.append([[*item.ImagePositionPatient, *item.ImageOrientationPatient] for item in slices])
            volumes.append(np.stack([item.pixel_array.astype(np.float32) for item in slices]))
            pixel = tuple(float(mm) for mm in slices[0].PixelSpacing)
        except (pydicom.errors.InvalidDicomError, AttributeError, TypeError, ValueError, EOFError) as error:
            raise ValueError(f"the originals of {name} can't be read as DICOM ({error})") from error
    if len({volume.shape for volume in volumes}) > 1 or not np.allclose(np.array(places, float), places[0], atol=0.01):
        raise ValueError(f"the three series of {name} are not on one grid")
    return volumes, pixel
