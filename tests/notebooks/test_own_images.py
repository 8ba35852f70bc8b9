"""A reader's own folder as ``dataset``: every chapter that offers it runs on NIfTI files of an odd, oblong size."""

import os
import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import papermill
import pytest
import skimage.io

import pipeline
from medgan_lib import cohorts

# smaller numbers than at ci where a chapter holds out more images than the folder has
CHAPTERS = {
    "02_wasserstein": {"held_out": 64, "training_images": 64},
    "08_pix2pix": {},
    "09_super_resolution": {},
    "10_self_regularisation": {},
    "11_cyclegan": {},
    "16_mr_to_ct": {},
    "13_sample_generation": {"held_out": 60, "training_images": 100},
    "15_anomaly_detection": {},
}

PLAIN = ("02_wasserstein", "13_sample_generation", "15_anomaly_detection")  # images without a partner


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 pairs of small volumes, an MR contrast in A and CT in HU in B."""
    root = tmp_path_factory.mktemp("own")
    slices = 8
    heads = cohorts.load("heads", "train", size=64, n=80 * slices, contrasts=("t1", "ct"), slices_per_subject=slices)
    for domain, contrast, scale in (("A", "t1", 1000), ("B", "ct", 1)):
        (root / domain).mkdir()
        values = (heads.to_units(heads[contrast], contrast) * scale).round().short().numpy()
        for subject in range(80):
            volume = values[subject * slices : (subject + 1) * slices, 0].transpose(2, 1, 0)[3:]  # 61 x 64 pixels
            image = nibabel.Nifti1Image(volume, np.diag([-3.75, -3.75, 8.0, 1.0]))
            nibabel.save(image, root / domain / f"head {subject}.nii.gz")
    return root


@pytest.fixture(scope="module")
def lesions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 slices as 8-bit pictures of 40 x 37 pixels, with a mask each, and a table of what they show."""
    root = tmp_path_factory.mktemp("lesions")
    (root / "masks").mkdir()
    heads = cohorts.load("heads", "test", size=40, n=240, contrasts=("flair",), slices_per_subject=2, lesion=0.5)
    rows = ["name,label,subject"]
    for i in range(len(heads)):
        grey = ((heads.x[i, 0] + 1) * 127.5).round().byte().numpy()[:, 3:]
        skimage.io.imsave(root / f"{i}.png", grey, check_contrast=False)
        skimage.io.imsave(root / "masks" / f"{i}.png", heads["mask"][i, 0].byte().numpy()[:, 3:], check_contrast=False)
        rows.append(f"{i}.png,{'tumour' if heads['label'][i] else 'Normal'},{int(heads.subjects[i])}")
    (root / "labels.csv").write_text("\n".join(rows))
    return root


def shown(chapter: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **given: object) -> str:
    """All outputs of a chapter at ci, executed on a folder."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(pipeline.ROOT), os.environ.get("PYTHONPATH", "")]))
    given = pipeline.profile_parameters("ci")[chapter] | given | {"dataset": str(dataset), "profile": "ci"}
    source = pipeline.ROOT / "notebooks" / f"{chapter}.ipynb"
    done = papermill.execute_notebook(source, tmp_path / "done.ipynb", given, cwd=tmp_path, progress_bar=False)
    return str([cell.get("outputs") for cell in done.cells])


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_runs_on_a_folder(
    chapter: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = folder / "A" if chapter in PLAIN else folder
    # chapter 11 draws no image of its dataset, but has claims about it
    expected = "31-real-looks-like-ct" if chapter == "11_cyclegan" else f"Real data: {dataset.name}"
    assert expected in shown(chapter, dataset, tmp_path, monkeypatch, **CHAPTERS[chapter])


def test_images_are_made_with_the_masks_of_a_folder(
    lesions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = {"held_out": None, "training_images": None}
    found = shown("13_sample_generation", lesions, tmp_path, monkeypatch, **everything)
    assert f"{lesions.name} (real): " in found and "train, " in found and "[quiz with 20 images" in found
    assert "pairs of 32 x 32 pixels; the mask fills" in found and "heads (embedded)" not in found


def test_anomalies_are_sought_by_the_labels_and_masks_of_a_folder(
    lesions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = shown("15_anomaly_detection", lesions, tmp_path, monkeypatch)
    for expected in ("class 'Normal' is taken for normal", "average precision of the map", "From left to right: "):
        assert expected in found
    assert "ranked only" not in found


def test_unpaired_images_are_translated_but_not_scored_voxel_by_voxel(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "strangers"
    for domain in "AB":
        (root / domain).mkdir(parents=True)
        for path in (folder / domain).iterdir():
            shutil.copy(path, root / domain / f"{domain} {path.name}")
    found = shown("16_mr_to_ct", root, tmp_path, monkeypatch)
    assert re.search(r"strangers[^(]* \(real\): \d+ MR and \d+ CT images", found) and "43-real-nearer-to-ct" in found
    assert "Embedded data, not patients: heads" in found, "what is scored voxel by voxel are the simulated pairs"
