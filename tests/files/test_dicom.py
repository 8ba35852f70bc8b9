"""DICOM: slices sorted by position, and what is wrong with a series."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pydicom.data
import pytest
from image_files import add_a_series, ct, series, slice_at

from medgan_lib import files


def test_a_series_is_sorted_by_position_and_written_where_it_was(tmp_path):
    values = series(tmp_path / "ct")
    image = files.read(tmp_path / "ct")
    assert image.units == "HU" and image.kind == "dicom" and image.name == "ct"
    assert np.allclose(image.spacing, (2.5, 0.8, 0.6))
    assert np.array_equal(image.values[0], values)
    out = nib.load(files.write(tmp_path / "out", image.values, image))
    assert out.get_data_dtype() == np.int16 and out.get_filename().endswith("ct.nii.gz")
    # slice 2, row 3, column 4 lies at (-50 + 4 * 0.6, -60 + 3 * 0.8, 100 + 2 * 2.5) mm to the left, back and head
    i, j, k = np.round(np.linalg.inv(out.affine) @ [50 - 2.4, 60 - 2.4, 105, 1])[:3].astype(int)
    assert out.get_fdata()[i, j, k] == values[2, 3, 4]
    assert np.allclose(out.affine @ [0, 0, 0, 1], [50, 60, 100, 1])
    assert nib.aff2axcodes(out.affine) == ("L", "P", "S")
    assert np.allclose(out.get_sform(), out.get_qform())
    again = files.read(out.get_filename())
    assert np.array_equal(again.values, image.values) and np.allclose(again.spacing, image.spacing)
    assert np.allclose(again.grid.placed, image.grid.placed)


def test_a_sagittal_series_is_turned_to_axial_slices(tmp_path):
    values = ct((4, 6, 5))
    for number in range(4):  # rows go down, columns to the back; slices to the left
        slice_at(tmp_path / "s", number, 0.0, values[number], orientation=(0, 1, 0, 0, 0, -1),
                 ImagePositionPatient=[3.0 * number, 0, 0])  # fmt: skip
    image = files.read(tmp_path / "s")
    assert image.size == (6, 5, 4) and np.allclose(image.spacing, (0.8, 0.6, 3))
    assert np.array_equal(image.values[0], values.transpose(1, 2, 0)[::-1])


def test_a_single_slice_keeps_its_place(tmp_path):
    path = slice_at(tmp_path, 1, 30.0, ct((6, 5)), SliceThickness=5)
    image = files.read(path)
    assert image.size == (6, 5) and np.allclose(image.spacing, (0.8, 0.6))
    out = nib.load(files.write(tmp_path / "o.nii", image.values, image))
    assert out.shape == (5, 6, 1) and np.allclose(out.affine @ [0, 0, 0, 1], [50, 60, 30, 1])


def test_a_tilted_gantry_is_a_sheared_affine(tmp_path):
    for number in range(3):
        slice_at(tmp_path / "t", number, 2.0 * number, ct((6, 5)), position=(0.0, 0.5 * number))
    image = files.read(tmp_path / "t")
    out = nib.load(files.write(tmp_path / "o.nii", image.values, image))
    assert np.allclose(out.affine[:3, 2], [0, -0.5, 2])


def test_the_dicom_that_ships_with_pydicom():
    shipped = Path(pydicom.data.__file__).parent / "test_files"
    assert files.read(shipped / "dicomdirtests" / "98892001" / "CT5N").size == (5, 16, 16)
    image = files.read(shipped / "MR_small.dcm")
    assert image.units == "signal" and image.size == (64, 64)
    assert files.read(shipped / "examples_rgb_color.dcm").values.shape == (3, 240, 320)
    for path in shipped.glob("*.dcm"):  # each is read or refused in words
        try:
            files.read(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")


def test_dark_stored_as_high_is_inverted_unless_it_is_a_quantity(tmp_path):
    how = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0}
    film = files.read(slice_at(tmp_path / "a", 1, 0, np.full((4, 4), 7), Modality="CR", **how))
    assert film.values.max() == 4095 - (7 + 1024) - 1024 and "MONOCHROME1): inverted" in film.notes[0]
    ct = files.read(slice_at(tmp_path / "b", 1, 0, np.full((4, 4), 7), **how))
    assert ct.units == "HU" and ct.values.max() == 7 and "HU stay as they are" in ct.notes[0]


def change_size(folder):
    slice_at(folder, 9, 110, ct((4, 5)))


def leave_a_gap(folder):
    (folder / "002.dcm").unlink()


def repeat_a_place(folder):
    slice_at(folder, 9, 100, ct((6, 5)))


def cut(folder):
    data = (folder / "002.dcm").read_bytes()
    (folder / "002.dcm").write_bytes(data[:-170])  # beyond the padding at the end


def empty_one(folder):
    (folder / "002.dcm").write_bytes(b"")


def scramble(folder):
    (folder / "002.dcm").write_text("no image at all" * 20)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (change_size, "001.dcm and 009.dcm differ in size, spacing, direction or units"),
        (leave_a_gap, "slices are 2.5 mm apart, but 5 mm between 003.dcm and 001.dcm: a slice is missing"),
        (repeat_a_place, "lie at the same place"),
        (add_a_series, "a folder with 2 DICOM series"),
        (cut, "slice 002.dcm: .*less than expected"),
        (empty_one, "slice 002.dcm: the file is empty"),
        (scramble, "slice 002.dcm: not a DICOM file"),
    ],
)
def test_what_is_wrong_with_a_series(tmp_path, spoil, message):
    series(tmp_path / "ct", slices=6)
    spoil(tmp_path / "ct")
    with pytest.raises(ValueError, match=message):
        files.read(tmp_path / "ct")
