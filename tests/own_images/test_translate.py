"""``python -m medgan_lib translate`` on folders as readers have them: what comes out, what is said when it can't."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from medgan_lib.__main__ import main
from medgan_lib.cohorts import Window
from medgan_lib.methods.translation import Pix2Pix
from medgan_lib.own_images import Side, apply, translate
from medgan_lib.own_images.report import Report

QUICK = ("--steps", "3", "--width", "4", "--batch-size", "2", "--device", "cpu")
AFFINE = np.array([[-0.9, 0, 0, 10], [0, -1.1, 0, 20], [0, 0, 3, -30], [0, 0, 0, 1.0]])


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDGAN_PROGRESS", os.devnull)
    torch.set_num_threads(1)


def pair(seed: int, size: tuple[int, ...] = (19, 25, 3)) -> tuple[np.ndarray, np.ndarray]:
    """A ball with a hard shell in it, as signal and in HU, with some noise."""
    draw = np.random.default_rng(seed)
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in size), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in grid)) / (0.7 + 0.2 * draw.random())
    label = (radius < 1).astype(int) + (radius < 0.8)
    signal_ = np.array([0, 150, 600])[label] + draw.normal(0, 5, size)
    return signal_.clip(0).round(), (np.array([-1000, 1200, 40])[label] + draw.normal(0, 5, size)).round()


def nifti(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values.astype(np.int16), AFFINE), path)


def niftis(root: Path, n: int = 6, size: tuple[int, ...] = (19, 25, 3)) -> Path:
    for i in range(n):
        for folder, values in zip("AB", pair(i, size), strict=True):
            nifti(root / folder / f"s{i}.nii.gz", values)
    return root


def png(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.clip(0, 65535).astype(np.uint16)).save(path)


def command(data: Path, out: Path, *more: str, method: str = "pix2pix") -> int:
    return main(["translate", "--method", method, "--data", str(data), "--out", str(out), *QUICK, *more])


def outputs(out: Path) -> list[Path]:
    return sorted(path for path in (out / "outputs").rglob("*") if path.is_file())


def complete(out: Path) -> dict:
    """The scores of a run, after a look at whether all that was promised is there."""
    assert {path.name for path in out.iterdir()} == {"run.json", translate.CHECKPOINT, *apply.RESULTS}
    assert list((out / "previews").iterdir())
    page = (out / "report.html").read_text()
    assert page.count("<img") == page.count(" alt=") == len(list((out / "previews").iterdir()))
    return json.loads((out / "metrics.json").read_text())


# --- what comes out -------------------------------------------------------------------------------------------------


def test_nifti_pairs_come_back_in_hu_on_the_grid_of_their_input(tmp_path, capsys):
    data, out = niftis(tmp_path / "data"), tmp_path / "out"
    assert command(data, out) == 0
    shown = capsys.readouterr().out
    found = complete(out)
    unseen = {name for split in found["splits"].values() for name in (row["image"] for row in split["each"])}
    assert set(found["splits"]) == {"val", "test"} and len(unseen) == 2
    for path in outputs(out):
        image, source = nib.load(path), nib.load(data / "A" / path.name)
        assert image.shape == source.shape == (19, 25, 3)
        assert np.array_equal(image.affine, source.affine)
        low, high = found["target"]["window"]
        values = image.get_fdata()
        assert found["target"]["units"] == "HU" and low - 1 <= values.min() <= values.max() <= high + 1
        scores = found["splits"][path.parent.name]
        reference = nib.load(data / "B" / path.name).get_fdata().clip(low, high)
        assert scores["pix2pix"]["mae"] == pytest.approx(abs(values - reference).mean(), abs=0.6)  # written as integers
        a, b = found["source"]["window"]
        baseline = (source.get_fdata().clip(a, b) - a) / (b - a) * (high - low) + low
        assert scores["identity"]["mae"] == pytest.approx(abs(baseline - reference).mean(), rel=1e-4)
    assert "MAE [HU]" in shown and "validation" in shown and "note: A: signal" in shown
    assert "data range" in found["how"] and "window of 11 pixels" in found["how"]


def test_a_mapping_of_grey_values_is_learnt_and_beats_the_identity(tmp_path):
    """B is A upside down in its grey values, which a few steps find."""
    for i in range(8):
        values, _ = pair(i, (32, 32))
        png(tmp_path / "data/A" / f"{i}.png", values * 60)
        png(tmp_path / "data/B" / f"{i}.png", 40000 - values * 60)
    assert command(tmp_path / "data", tmp_path / "out", "--steps", "60", "--width", "8", "--batch-size", "4") == 0
    scores = complete(tmp_path / "out")["splits"]["val"]
    assert scores["pix2pix"]["mae"] < 0.4 * scores["identity"]["mae"]
    assert scores["pix2pix"]["ssim"] > scores["identity"]["ssim"]
    for path in outputs(tmp_path / "out"):
        picture = Image.open(path)
        assert picture.size == (32, 32) and picture.mode.startswith("I")
        reference = np.asarray(Image.open(tmp_path / "data/B" / path.name)).astype(float)
        assert abs(np.asarray(picture) - reference).mean() < 8000


def test_unpaired_folders_of_unequal_numbers_and_sizes(tmp_path, capsys):
    for i in range(7):
        nifti(tmp_path / "data/A" / f"mr{i}.nii.gz", pair(i)[0])
    for i in range(4):
        nifti(tmp_path / "data/B" / f"ct{i}.nii.gz", pair(i + 20, (22, 25, 4))[1])
    assert command(tmp_path / "data", tmp_path / "out", method="cyclegan") == 0
    found = complete(tmp_path / "out")
    for split in ("val", "test"):
        scores = found["splits"][split]["cyclegan"]
        assert scores["cycle"] > 0 and scores["grey_values"] > 0 and scores["two_sample"] is None
        assert "mae" not in scores and "grey_values" in found["splits"][split]["identity"]
    for path in outputs(tmp_path / "out"):
        assert nib.load(path).shape == (19, 25, 3)
    shown = capsys.readouterr().out
    assert "cycle [signal]" in shown and "MAE" not in shown.split("identity")[0]


def test_the_two_sample_test_is_there_for_enough_images(tmp_path):
    for i in range(30):
        png(tmp_path / "data/A" / f"a{i}.png", pair(i, (16, 16))[0])
        png(tmp_path / "data/B" / f"b{i}.png", pair(i, (16, 16))[1] + 1000)
    torch.manual_seed(0)
    side = Side("B", "HU", Window(-1000, 1200), 1)
    report = Report("cyclegan", side, side, 0.0, 0, [])
    for i in range(24):
        real, other = (side.scaled(pair(seed, (16, 16))[1][None].astype(np.float32)) for seed in (i, i + 50))
        report.judge("val", "real", real)
        report.judge("val", "identity", other)
        report.judge("val", "cyclegan", torch.rand_like(real))
    report.rows["val"] = []
    assert report.two_sample("val", "cyclegan")[0] > 0.9
    low, high = report.two_sample("val", "identity")[1:]
    assert low < 0.5 < high
    assert report.mean("val", "identity")["grey_values"] < 100 < report.mean("val", "cyclegan")["grey_values"]


def test_cyclegan_on_pairs_the_other_way_is_scored_against_references(tmp_path):
    data = niftis(tmp_path / "data", n=8)
    assert command(data, tmp_path / "out", "--direction", "b2a", method="cyclegan") == 0
    found = complete(tmp_path / "out")
    assert found["source"]["units"] == "HU" and found["target"]["units"] == "signal"
    assert {"mae", "cycle", "grey_values"} <= set(found["splits"]["val"]["cyclegan"])
    assert all("medgan" not in str(nib.load(path).header["descrip"]) for path in outputs(tmp_path / "out"))


def test_whole_volumes_and_a_folder_of_more_of_another_size(tmp_path):
    data = niftis(tmp_path / "data", n=4, size=(10, 13, 5))  # fewer slices than a patch of the critic
    more = niftis(tmp_path / "more", n=1, size=(12, 9, 17))
    assert command(data, tmp_path / "out", "--three-d", "--also", str(more)) == 0
    found = complete(tmp_path / "out")
    assert {path.parent.name: nib.load(path).shape for path in outputs(tmp_path / "out")} == {
        "val": (10, 13, 5), "test": (10, 13, 5), "also": (12, 9, 17),
    }  # fmt: skip
    assert set(found["splits"]["also"]["each"][0]) == {"image"}


def test_dicom_series_resampled_come_back_in_their_own_size(tmp_path):
    for i in range(3):
        for folder, values, modality in zip("AB", pair(i), ("MR", "CT"), strict=True):
            series(tmp_path / "data" / folder / f"p{i}", values, modality)
    assert command(tmp_path / "data", tmp_path / "out", "--size", "16") == 0
    assert complete(tmp_path / "out")["target"]["units"] == "HU"
    for path in outputs(tmp_path / "out"):
        image = nib.load(path)
        assert image.shape == (19, 25, 3) and np.allclose(image.header.get_zooms(), (0.9, 1.1, 3))


def series(folder: Path, values: np.ndarray, modality: str) -> None:
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True)
    uid = generate_uid(entropy_srcs=[str(folder)])
    for k in range(values.shape[2]):
        meta = pydicom.dataset.FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(folder), str(k)])
        data = pydicom.dataset.FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        data.SeriesInstanceUID, data.Modality = uid, modality
        data.Columns, data.Rows = values.shape[:2]
        data.PixelSpacing, data.SliceThickness = [1.1, 0.9], 3
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 3.0 * k], [1, 0, 0, 0, 1, 0]
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation, data.SamplesPerPixel = 15, 1, 1
        data.PhotometricInterpretation = "MONOCHROME2"
        if modality == "CT":
            data.RescaleSlope, data.RescaleIntercept = 1, -1024
        stored = values[:, :, k] + (1024 if modality == "CT" else 0)
        data.PixelData = stored.T.round().astype("<i2").tobytes()
        data.save_as(folder / f"{k}.dcm", enforce_file_format=True)


def test_one_image_only_is_said_to_measure_nothing_new(tmp_path, capsys):
    assert command(niftis(tmp_path / "data", n=1), tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert "there is one image" in shown and "TRAINING images" in shown
    assert list(complete(tmp_path / "out")["splits"]) == ["train"]


# --- interrupted and resumed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["pix2pix", "cyclegan"])
def test_a_run_resumed_after_ctrl_c_equals_an_uninterrupted_one(tmp_path, monkeypatch, capsys, method):
    data, whole, parts = niftis(tmp_path / "data", n=7), tmp_path / "whole", tmp_path / "parts"
    kind = translate.Pix2Pix if method == "pix2pix" else translate.CycleGAN
    assert command(data, whole, "--steps", "6", method=method) == 0
    plain = kind.step

    def pressed(self, batch, done=[]):  # noqa: B006
        done.append(1)
        if len(done) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(self, batch)

    monkeypatch.setattr(kind, "step", pressed)
    assert command(data, parts, "--steps", "6", method=method) == 130
    monkeypatch.undo()
    said = capsys.readouterr().err
    assert "stopped after 3 of 6 steps" in said and "--resume" in said and "Traceback" not in said
    assert {path.name for path in parts.iterdir()} == {"run.json", translate.CHECKPOINT}
    assert command(data, parts, "--steps", "6", method=method) == 2
    assert "--resume" in capsys.readouterr().err
    assert command(data, parts, "--steps", "6", "--resume", method=method) == 0
    complete(parts)
    for path in whole.rglob("*"):
        if path.is_file() and path.name != translate.CHECKPOINT:  # which holds the seconds it took
            assert path.read_bytes() == (parts / path.relative_to(whole)).read_bytes(), path.name
    a, b = (torch.load(out / translate.CHECKPOINT, weights_only=True)["method"] for out in (whole, parts))
    assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_finished_run_can_be_prolonged_and_its_results_replaced(tmp_path, capsys):
    data, out = niftis(tmp_path / "data"), tmp_path / "out"
    assert command(data, out) == 0
    before = {path: path.read_bytes() for path in outputs(out)}
    assert command(data, out, "--resume", "--steps", "5") == 0
    assert outputs(out) == sorted(before)
    assert any(path.read_bytes() != before[path] for path in before)
    assert command(data, out, "--resume", "--steps", "4") == 2
    assert "holds 5 steps" in capsys.readouterr().err


@pytest.mark.parametrize("when", ["checkpoint", "output", "page"])
def test_a_full_disk_gives_one_line_and_leaves_nothing_half_written(tmp_path, monkeypatch, capsys, when):
    data, out = niftis(tmp_path / "data"), tmp_path / "out"

    def full(path, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    if when == "checkpoint":
        monkeypatch.setattr("medgan_lib.training.checkpoint.atomic", full)
    elif when == "output":
        monkeypatch.setattr("medgan_lib.files.write", full)
    else:
        plain = apply.write_atomic
        monkeypatch.setattr(
            apply, "write_atomic", lambda path, text: (full if path.suffix == ".html" else plain)(path, text)
        )
    assert command(data, out) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: No space left on device") and said.count("\n") == 1 and "--resume" in said
    left = {path.name for path in out.iterdir()}
    assert left == ({"run.json"} if when == "checkpoint" else {"run.json", translate.CHECKPOINT})
    monkeypatch.undo()
    assert command(data, out, "--resume") == 0
    complete(out)


# --- what can't be done ---------------------------------------------------------------------------------------------


def test_mistakes_give_status_2_and_a_line_that_helps(tmp_path, capsys):
    data, out = niftis(tmp_path / "data", n=3), tmp_path / "out"
    other = tmp_path / "other"
    for i in range(3):
        nifti(other / "A" / f"a{i}.nii.gz", pair(i)[0])
        nifti(other / "B" / f"b{i}.nii.gz", pair(i)[1])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")

    def said(*arguments, **named) -> str:
        assert command(*arguments, **named) == 2
        text = capsys.readouterr().err
        assert text.startswith("error: ") and "Traceback" not in text
        return text

    assert "no such folder" in said(tmp_path / "nowhere", out)
    assert "holds other files" in said(data, tmp_path / "full")
    assert "lies in the data folder" in said(data, data / "out")
    assert "pix2pix needs pairs" in (text := said(other, out)) and "a0" in text and "b0" in text and "cyclegan" in text
    nifti(other / "B" / "a0.nii.gz", pair(0)[1])
    assert "a1" in (text := said(other, out)) and "b1" in text  # some names have a partner, some have none
    assert "nothing there" in said(data, out, "--also", str(tmp_path / "nothing there"))
    assert "needs about" in said(data, out, "--width", "100000000")
    assert "--size" in said(data, out, "--three-d", "--size", "16")
    assert "device" in said(data, out, "--device", "cuda:77")
    one = niftis(tmp_path / "one", n=1)
    assert "too few subjects" in said(one, out, method="cyclegan")
    (data / "A" / "s1.nii.gz").write_bytes(b"\x1f\x8b broken")
    (data / "B" / "s2.nii.gz").write_bytes(b"")
    text = said(data, out)
    assert "A/s1.nii.gz" in text and "B/s2.nii.gz" in text
    assert not out.exists()


def test_a_run_can_only_be_resumed_with_its_own_settings(tmp_path, capsys):
    data, out = niftis(tmp_path / "data", n=3), tmp_path / "out"
    assert command(data, out) == 0
    assert command(data, out, "--resume", "--width", "5") == 2
    assert "--width was 4" in capsys.readouterr().err
    nifti(data / "A" / "s1.nii.gz", pair(9)[0])
    assert command(data, out, "--resume") == 2
    assert "belongs to another run" in capsys.readouterr().err
    (out / "run.json").write_text("{")
    assert command(data, out, "--resume") == 2
    assert "damaged" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_says_what_to_try(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Pix2Pix, "step", lambda self, batch: {"loss_G": torch.tensor(torch.nan)})
    assert command(niftis(tmp_path / "data", n=3), tmp_path / "out") == 1
    assert "loss_G became nan at step 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["translate", "--method", "pix3pix", "--data", "d", "--out", "o"], "invalid choice: 'pix3pix'"),
        (["translate", "--method", "pix2pix", "--data", "d"], "--out"),
        (["translate", "--method", "pix2pix", "--data", "d", "--out", "o", "--steps", "0"], "at least 1"),
        (["translate", "--method", "pix2pix", "--data", "d", "--out", "o", "--size", "30"], "multiple of 8"),
        ([], "command"),
    ],
)
def test_the_command_line_is_checked_first(arguments, words, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def test_as_a_program(tmp_path):
    """Outside of the checkout, as a reader calls it: status and messages, nothing on the wrong stream."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}

    def call(*arguments: str) -> subprocess.CompletedProcess:
        program = [sys.executable, "-m", "medgan_lib", "translate", *arguments]
        return subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)

    shown = call("--help")
    assert shown.returncode == 0 and "exit status" in shown.stdout and "what comes out" in shown.stdout
    niftis(tmp_path / "data", n=3)
    done = call("--method", "pix2pix", "--data", "data", "--out", "out", *QUICK)
    assert done.returncode == 0 and not done.stderr and "report.html are in out" in done.stdout
    again = call("--method", "pix2pix", "--data", "data", "--out", "out", *QUICK)
    assert again.returncode == 2 and "Traceback" not in again.stderr
    assert again.stderr == "error: out holds a run: go on with it by --resume, or choose another --out\n"
