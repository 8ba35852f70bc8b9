"""What is found in a folder and said of it; units, windows and channels of its domains."""

import os
import unicodedata

import numpy as np
import pytest
from image_files import save_nifti, slice_at
from odd_pictures import low_depth_png
from own_folders import RNG, nifti, png

from medgan_lib import cohorts
from medgan_lib.own_images import inspect_folder, load_folder
from medgan_lib.own_images.sides import channelled


def test_soft_tissue_beside_ct_with_air_is_hu_and_noted(tmp_path):
    nifti(tmp_path / "air.nii", low=-1000)
    nifti(tmp_path / "soft.nii", low=-100)
    found = inspect_folder(tmp_path)
    assert found.sides["A"].units == "HU" and any("soft: no value at or below -500" in line for line in found.notes)


def test_hu_windows_stay_in_what_ct_can_hold(tmp_path):
    nifti(tmp_path / "a.nii", low=-3024, high=20000)
    assert inspect_folder(tmp_path).sides["A"].window == (-1024, 3071)


def test_the_window_comes_from_training_images_only(tmp_path):
    names = [f"{k}.npz" for k in range(7)]
    for name in names:
        np.savez(tmp_path / name, values=RNG.uniform(0, 1, (16, 16)))
    found = inspect_folder(tmp_path)
    held_out = next(e for e in found.sides["A"].entries if found.splits[e.name] == "test")
    np.savez(held_out.path, values=RNG.uniform(50, 100, (16, 16)))
    changed = inspect_folder(tmp_path)
    assert changed.sides["A"].window == found.sides["A"].window and changed.sides["A"].window[1] < 1
    assert load_folder(tmp_path, "test").x.max() == 1  # clipped


def test_rgb_among_grey_becomes_grey_with_a_note(tmp_path):
    png(tmp_path / "colour.png", (8, 8, 3))
    assert load_folder(tmp_path).x.shape == (1, 3, 8, 8)
    png(tmp_path / "stored_as_rgb.png", values=np.full((8, 8, 3), 9, np.uint8))
    assert load_folder(tmp_path, "test").x.shape == (1, 3, 8, 8)  # a grey picture among colours keeps three channels
    png(tmp_path / "grey.png", (8, 8))
    found = inspect_folder(tmp_path)
    assert found.sides["A"].channels == 1
    assert any("grey are grey and others have colours" in line for line in found.notes)
    red = channelled(np.stack([np.full((2, 2), 100.0), np.zeros((2, 2)), np.zeros((2, 2))]), 1)
    assert np.allclose(red, 29.9)


def test_mixed_spacing_is_noted(tmp_path):
    nifti(tmp_path / "a.nii")
    nifti(tmp_path / "b.nii", affine=np.diag([0.5, 0.5, 3, 1]))
    nifti(tmp_path / "c.nii", affine=np.diag([0.5, 5, 3, 1]))
    png(tmp_path / "d.png", dtype=np.uint16)
    (tmp_path / "d.png").unlink()
    lines = inspect_folder(tmp_path).notes
    assert any("the spacing varies from 0.5 to 5 mm; nothing is resampled" in line for line in lines)
    assert any("axial slices of a, c have long pixels" in line or "axial slices of c have" in line for line in lines)


def test_zeros_and_values_that_are_not_finite(tmp_path):
    nifti(tmp_path / "a.nii")
    save_nifti(tmp_path / "zero.nii", np.zeros((8, 8, 4), np.int16))
    values = RNG.uniform(0, 10, (8, 8, 4)).astype(np.float32)
    values[0, 0] = np.nan
    save_nifti(tmp_path / "nan.nii", values)
    lines = inspect_folder(tmp_path).notes
    assert "zero.nii: all its values are 0; it is used as it is" in lines
    assert any(line.startswith("nan.nii: 4 values are not finite") for line in lines)
    (tmp_path / "only").mkdir()
    save_nifti(tmp_path / "only" / "zero.nii", np.zeros((8, 8, 4), np.int16))
    with pytest.raises(ValueError, match="all training images have the same single value"):
        load_folder(tmp_path / "only")


def test_names_match_however_the_system_writes_them(tmp_path):
    png(tmp_path / "A" / (unicodedata.normalize("NFC", "Schädel 頭") + ".png"))
    png(tmp_path / "B" / (unicodedata.normalize("NFD", "Schädel 頭") + ".png"))
    (tmp_path / "labels.csv").write_text("name,label\nSchädel 頭,müde\n", encoding="utf-8")
    train = cohorts.load(str(tmp_path))
    assert len(train) == 1 and train.classes["label"] == ("müde",)


def test_what_lies_beside_images_is_named(tmp_path):
    png(tmp_path / "a.png")
    for name in (".DS_Store", "README", "notes.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "more").mkdir()
    lines = inspect_folder(tmp_path).notes
    for start in (
        ".DS_Store: hidden",
        "README: not an image",
        "notes.txt: ",
        "loop: a link to a folder that",
        "more: ",
    ):
        assert any(line.startswith(start) and line.endswith("left out") for line in lines), start
    png(tmp_path / "A" / "a.png")
    png(tmp_path / "B" / "a.png")
    assert any(line.startswith("a.png: left out") for line in inspect_folder(tmp_path).notes)


def test_a_changed_file_is_read_anew(tmp_path):
    png(tmp_path / "a.png", (8, 8))
    assert load_folder(tmp_path).x.shape[-1] == 8
    png(tmp_path / "a.png", (24, 24))
    assert load_folder(tmp_path).x.shape[-1] == 24


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    png(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(ValueError, match=r"a\.png: .*Permission"):
        load_folder(tmp_path)


def test_notes_of_many_files_are_one_line_and_those_of_masks_count(tmp_path):
    for k in range(12):
        png(tmp_path / f"a{k}.png")
        (tmp_path / "masks").mkdir(exist_ok=True)
        (tmp_path / "masks" / f"a{k}.png").write_bytes(low_depth_png(4, [b"\x01" * 8] * 16, 16))
    lines = [line for line in inspect_folder(tmp_path).notes if "4 bits are stretched" in line]
    assert len(lines) == 1 and lines[0].startswith("masks/a0.png, masks/a1.png") and "and 2 more: " in lines[0]


def test_masks_of_numbers_that_float32_cannot_tell_apart_are_refused(tmp_path):
    for k in range(3):
        nifti(tmp_path / f"a{k}.nii", (4, 4, 3))
        (tmp_path / "masks").mkdir(exist_ok=True)
        save_nifti(tmp_path / "masks" / f"a{k}.nii", np.full((4, 4, 3), 614454277, np.int32))
    with pytest.raises(ValueError, match="beyond 16,777,216, which can't be told apart"):
        inspect_folder(tmp_path)


def test_masks_at_another_place_are_pointed_out(tmp_path):
    (tmp_path / "masks").mkdir()
    for k in range(3):
        nifti(tmp_path / f"a{k}.nii", (6, 5, 3))
        save_nifti(tmp_path / "masks" / f"a{k}.nii", np.eye(6, 5)[..., None].repeat(3, 2).astype(np.uint8), np.eye(4))
        png(tmp_path / "flat" / f"b{k}.png", (6, 5))
        (tmp_path / "flat" / "masks").mkdir(exist_ok=True)
        save_nifti(tmp_path / "flat" / "masks" / f"b{k}.nii", np.eye(6, 5).T[..., None].astype(np.uint8), np.eye(4))
    notes = inspect_folder(tmp_path).notes
    assert any("image and mask of a0, a1, a2 lie at different places" in line for line in notes)
    notes = inspect_folder(tmp_path / "flat").notes
    assert any("image and mask of b0, b1, b2: one has directions and is turned" in line for line in notes)


def test_images_of_different_quantities_are_no_domain(tmp_path):
    for k, units in enumerate(("GML", "GML", "CNTS")):
        slice_at(tmp_path, k, 0.0, np.full((4, 4), k), uid=str(k + 1), Modality="PT", Units=units)
    with pytest.raises(ValueError, match="different quantities can't be one domain"):
        inspect_folder(tmp_path)
