"""Reading and writing single images: geometry, units, and what is wrong with broken files."""

import gzip
import io
import json
import os
import pickle
import resource
import shutil
import struct
import zipfile
import zlib
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pydicom.data
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from medgan_lib import files

RNG = np.random.default_rng(0)
AFFINE = np.diag([1.5, 2.5, 4.0, 1.0])


def ct(shape):
    values = RNG.integers(-1000, 2000, shape).astype(np.int16)
    values.flat[0] = -1024
    return values


def save_nifti(path, values, affine=AFFINE, **header):
    image = nib.Nifti1Image(values, affine)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


def png(path, values):
    Pillow.fromarray(values).save(path)
    return path


# ---------------------------------------------------------------- geometry


def affines():
    for axes in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            affine = np.eye(4)
            affine[:3, :3] = 0
            for column, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
                affine[axis, column] = sign * (1.5 + column)
            affine[:3, 3] = (3, -7, 11)
            yield affine


@pytest.mark.parametrize("affine", list(affines()))
def test_every_order_of_axes_is_turned_the_same_way_and_back(tmp_path, affine):
    path = save_nifti(tmp_path / "ct.nii", ct((3, 4, 5)), affine)
    image = files.read(path)
    upright = nib.as_closest_canonical(nib.load(path))  # R, A, S
    assert np.array_equal(image.values[0], upright.get_fdata().transpose(2, 1, 0)[:, ::-1, ::-1])
    assert np.allclose(image.spacing, upright.header.get_zooms()[::-1])
    first = [upright.shape[0] - 1, upright.shape[1] - 1, 0, 1]  # of values: rightmost, foremost, lowest
    assert np.allclose(image.grid.placed[:, -1], upright.affine @ first)
    out = nib.load(files.write(tmp_path / "out.nii", image.values, image))
    assert np.array_equal(out.get_fdata(), nib.load(path).get_fdata())
    assert np.array_equal(out.affine, nib.load(path).affine)
    assert out.get_data_dtype() == np.int16


def test_oblique_geometry_and_its_codes_survive(tmp_path):
    turn = nib.eulerangles.euler2mat(0.2, -0.1, 0.15)
    affine = nib.affines.from_matvec(turn @ np.diag([0.7, -0.8, 3]), (10, 20, -30))
    image = nib.Nifti1Image(ct((6, 5, 4)), affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=3)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"name of a patient"
    nib.save(image, tmp_path / "a.nii.gz")
    read = files.read(tmp_path / "a.nii.gz")
    out = nib.load(files.write(tmp_path / "results", read.values, read))
    before = nib.load(tmp_path / "a.nii.gz").header
    for key in ("qform_code", "sform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "qoffset_x", "xyzt_units"):
        assert np.array_equal(out.header[key], before[key]), key
    assert np.array_equal(out.header["pixdim"], before["pixdim"])
    assert not out.header["descrip"].item()


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1), (1, 6, 5), (6, 1, 5), (6, 5, 4, 1), (6, 5, 1, 1)])
def test_shapes_come_back_as_they_were(tmp_path, shape):
    path = save_nifti(tmp_path / "a.nii.gz", ct(shape))
    image = files.read(path)
    assert len(image.size) == (3 if 4 in shape else 2)
    out = nib.load(files.write(tmp_path / "o.nii.gz", image.values, image))
    assert out.shape == nib.load(path).shape
    assert np.array_equal(out.get_fdata(), nib.load(path).get_fdata())


def test_coronal_and_sagittal_slices_have_the_head_up(tmp_path):
    for shape in ((5, 1, 6), (1, 5, 6)):
        values = np.broadcast_to(np.arange(6, dtype=np.float32), shape).copy()  # rises to the head
        image = files.read(save_nifti(tmp_path / f"{shape}.nii", values))
        assert image.values[0, 0, 0] == 5 and image.values[0, -1, 0] == 0


def test_units_of_the_header_become_mm(tmp_path):
    image = nib.Nifti1Image(ct((4, 4, 4)), np.diag([1500, 1500, 2000, 1.0]))
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "a.nii")
    assert np.allclose(files.read(tmp_path / "a.nii").spacing, (2, 1.5, 1.5))


def test_nifti_2_stays_nifti_2(tmp_path):
    nib.save(nib.Nifti2Image(ct((4, 5, 6)), AFFINE), tmp_path / "a.nii.gz")
    image = files.read(tmp_path / "a.nii.gz")
    out = nib.load(files.write(tmp_path / "o.nii.gz", image.values, image))
    assert isinstance(out, nib.Nifti2Image)
    assert np.array_equal(out.get_fdata(), nib.load(tmp_path / "a.nii.gz").get_fdata())


def test_rescaled_and_big_endian_nifti(tmp_path):
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    header.set_slope_inter(2.0, -1024)
    image = nib.Nifti1Image(np.arange(0, 48, 2.0).reshape(2, 3, 4) - 1024, AFFINE, header)
    nib.save(image, tmp_path / "a.nii")
    read = files.read(tmp_path / "a.nii")
    assert read.units == "HU" and read.values.min() == -1024 and read.values.max() == -1024 + 46


# ---------------------------------------------------------------- DICOM


def slice_at(
    folder, number, z, values, uid="1.2.3", orientation=(1, 0, 0, 0, 1, 0), position=(-50.0, -60.0), **changes
):
    data = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
    data.Rows, data.Columns = values.shape
    data.PixelData = (values.astype(np.int32) + 1024).astype("<i2").tobytes()
    data.RescaleIntercept, data.RescaleSlope, data.PixelSpacing = -1024, 1, [0.8, 0.6]
    data.ImageOrientationPatient = list(orientation)
    data.ImagePositionPatient = [*position, z]
    data.SeriesInstanceUID, data.InstanceNumber = uid, number
    for key, value in changes.items():
        setattr(data, key, value)
    folder.mkdir(parents=True, exist_ok=True)
    data.save_as(folder / f"{number:03}.dcm")
    return folder / f"{number:03}.dcm"


def series(folder, slices=4, gap=2.5, **how):
    values = ct((slices, 6, 5))
    for number in range(slices):  # the file names run against the positions
        slice_at(folder, slices - number, 100 + gap * number, values[number], **how)
    return values


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


def test_dark_stored_as_high_is_inverted(tmp_path):
    shown = files.read(slice_at(tmp_path / "a", 1, 0, np.full((4, 4), 7), BitsStored=12, PixelRepresentation=0))
    path = slice_at(tmp_path / "b", 1, 0, np.full((4, 4), 7), PhotometricInterpretation="MONOCHROME1", BitsStored=12,
                    PixelRepresentation=0)  # fmt: skip
    inverted = files.read(path)
    assert shown.values.max() == 7 and inverted.values.max() == 4095 - (7 + 1024) - 1024
    assert "MONOCHROME1" in inverted.notes[0]


def change_size(folder):
    slice_at(folder, 9, 110, ct((4, 5)))


def leave_a_gap(folder):
    (folder / "002.dcm").unlink()


def repeat_a_place(folder):
    slice_at(folder, 9, 100, ct((6, 5)))


def add_a_series(folder):
    slice_at(folder, 9, 110, ct((6, 5)), uid="1.2.4")


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


# ---------------------------------------------------------------- pictures and npz


@pytest.mark.parametrize("dtype, units", [(np.uint8, "intensity 0-255"), (np.uint16, "intensity 0-65535")])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_bit_depth_is_kept_and_written_as_16_bit_png(tmp_path, dtype, units, suffix):
    values = RNG.integers(0, np.iinfo(dtype).max, (5, 7), endpoint=True).astype(dtype)
    image = files.read(png(tmp_path / f"a{suffix}", values))
    assert image.units == units and image.spacing is None and np.array_equal(image.values[0], values)
    out = files.write(tmp_path / "out", image.values, image)
    assert out.name == "a.png" and np.asarray(Pillow.open(out)).dtype == np.uint16
    again = files.read(out)
    assert again.units == units and np.array_equal(again.values, image.values)


@pytest.mark.parametrize("units, low, high", [("HU", -1024, 3071), ("HU", -2000, 5000), ("signal", -3.5, 9.25)])
def test_a_picture_can_hold_other_units(tmp_path, units, low, high):
    like = files.read(png(tmp_path / "a.png", np.zeros((4, 4), np.uint8)))
    values = RNG.uniform(low, high, (1, 4, 4)).astype(np.float32)
    if units == "HU":
        values = values.round()
    again = files.read(files.write(tmp_path / "o.png", values, like, units=units))
    assert again.units == units
    assert np.abs(again.values - values).max() <= (0 if units == "HU" else (high - low) / 65535)


def test_colours(tmp_path):
    colours = RNG.integers(0, 255, (5, 7, 3)).astype(np.uint8)
    image = files.read(png(tmp_path / "a.png", colours))
    assert image.values.shape == (3, 5, 7) and image.colour
    again = files.read(files.write(tmp_path / "o.png", image.values, image))
    assert np.array_equal(again.values, image.values)
    tifffile.imwrite(tmp_path / "deep.tif", colours.astype(np.uint16) * 200, photometric="rgb")
    deep = files.read(tmp_path / "deep.tif")
    assert deep.units == "intensity 0-65535" and deep.values.max() > 255
    out = files.write(tmp_path / "o.tif", deep.values, deep)
    assert np.array_equal(files.read(out).values, deep.values)
    grey = files.read(png(tmp_path / "grey.png", np.repeat(colours[..., :1], 3, 2)))
    assert grey.values.shape == (1, 5, 7) and grey.colour
    clear = files.read(png(tmp_path / "clear.png", RNG.integers(0, 255, (5, 7, 4)).astype(np.uint8)))
    assert clear.values.shape[0] == 3 and clear.notes == ("its transparency is left out",)


def test_other_kinds_of_tiff(tmp_path):
    stack = RNG.integers(0, 65535, (3, 5, 7)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    image = files.read(tmp_path / "stack.tif")
    assert image.size == (3, 5, 7) and np.array_equal(image.values[0], stack)
    out = files.write(tmp_path / "out", image.values, image)
    assert out.name == "stack.tif" and np.array_equal(files.read(out).values, image.values)
    floats = RNG.normal(size=(5, 7)).astype(np.float32)
    tifffile.imwrite(tmp_path / "f.tif", floats)
    assert files.read(tmp_path / "f.tif").units == "signal"
    assert np.array_equal(files.read(tmp_path / "f.tif").values[0], floats)
    tifffile.imwrite(tmp_path / "d.tif", floats.astype(np.float64))
    assert np.array_equal(files.read(tmp_path / "d.tif").values[0], floats)
    tifffile.imwrite(tmp_path / "hu.tif", np.full((4, 4), -1000, np.int16))
    assert files.read(tmp_path / "hu.tif").units == "HU"
    Pillow.fromarray(RNG.integers(0, 255, (5, 7)).astype(np.uint8)).save(tmp_path / "lzw.tif", compression="tiff_lzw")
    assert files.read(tmp_path / "lzw.tif").units == "intensity 0-255"


def test_jpeg_bilevel_and_palette(tmp_path):
    png(tmp_path / "a.jpg", RNG.integers(0, 255, (8, 8)).astype(np.uint8))
    image = files.read(tmp_path / "a.jpg")
    assert image.kind == "jpeg" and files.write(tmp_path / "o", image.values, image).name == "a.png"
    Pillow.fromarray(np.eye(8, dtype=np.uint8) * 255).convert("1").save(tmp_path / "b.png")
    assert set(np.unique(files.read(tmp_path / "b.png").values)) == {0, 255}
    Pillow.fromarray(RNG.integers(0, 255, (8, 8, 3)).astype(np.uint8)).quantize(8).save(tmp_path / "p.png")
    assert files.read(tmp_path / "p.png").values.shape == (3, 8, 8)


def test_npz(tmp_path):
    volume = RNG.normal(size=(3, 5, 7))
    np.savez(tmp_path / "a.npz", values=volume, spacing=[2, 1, 1], units="HU", other=np.zeros(3))
    image = files.read(tmp_path / "a.npz")
    assert image.size == (3, 5, 7) and image.spacing == (2, 1, 1) and image.units == "HU"
    again = files.read(files.write(tmp_path / "out", image.values, image))
    assert np.array_equal(again.values, image.values) and again.units == "HU" and again.spacing == image.spacing
    np.savez_compressed(tmp_path / "b.npz", RNG.integers(0, 255, (5, 7, 3)).astype(np.uint8))
    colours = files.read(tmp_path / "b.npz")
    assert colours.values.shape == (3, 5, 7) and colours.units == "intensity 0-255"
    assert np.array_equal(files.read(files.write(tmp_path / "out", colours.values, colours)).values, colours.values)


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.integers(2, 9)] * 3),
    st.integers(-1024, 3071),
    st.sampled_from(list(affines())),
    st.sampled_from([".nii", ".nii.gz"]),
)
def test_hu_round_trips_are_exact_to_rounding(tmp_path_factory, shape, level, affine, suffix):
    folder = tmp_path_factory.mktemp("hu")
    values = ct(shape)
    values.flat[-1] = level
    image = files.read(save_nifti(folder / f"a{suffix}", values, affine))
    changed = image.values + np.float32(0.3)
    out = files.read(files.write(folder / f"o{suffix}", changed, image))
    assert np.array_equal(out.values, image.values)
    assert out.units == "HU" and out.spacing == image.spacing


# ---------------------------------------------------------------- treatments


def test_values_that_are_not_finite_are_replaced_and_noted(tmp_path):
    values = RNG.normal(size=(4, 4, 4)).astype(np.float32)
    values[0, 0, :3] = np.nan, np.inf, -np.inf
    image = files.read(save_nifti(tmp_path / "a.nii", values))
    good = values[np.isfinite(values)]
    assert np.isfinite(image.values).all()
    assert image.values.min() == good.min() and image.values.max() == good.max()
    assert image.notes[0].startswith("3 values are not finite")


def test_an_image_of_zeros_is_an_image(tmp_path):
    assert files.read(save_nifti(tmp_path / "a.nii", np.zeros((4, 4, 4), np.int16))).units == "signal"


# ---------------------------------------------------------------- refusals


def broken(folder):
    """Name -> (what makes the file, what the message says)."""
    good = save_nifti(folder / "good.nii.gz", ct((8, 8, 8))).read_bytes()
    raw = gzip.decompress(good)

    def header(**changes):
        head = nib.Nifti1Header(raw[:348])
        for key, value in changes.items():
            head[key] = value
        return head.binaryblock + raw[348:]

    huge = np.array([3, 32767, 32767, 32767, 1, 1, 1, 1])
    pickled = io.BytesIO()
    np.savez(pickled, values=np.array([Bad()], dtype=object))
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 255
    picture = io.BytesIO()
    Pillow.fromarray(RNG.integers(0, 255, (64, 64)).astype(np.uint8)).save(picture, "PNG")
    yield "truncated.nii.gz", good[: len(good) // 2], "truncated"
    yield "flipped.nii.gz", bytes(flipped), "damaged|truncated"
    yield "truncated.nii", raw[:-5], "truncated: its header asks for 1376 bytes, the file has 1371"
    yield "zero.nii.gz", b"", "empty|not a NIfTI"
    yield "zero.png", b"", "empty"
    yield "zero.npz", b"", "empty"
    yield "zero.dcm", b"", "empty"
    yield "text.png", b"this is no picture", "not a PNG, JPEG or TIFF"
    yield "text.tif", b"this is no picture", "not a TIFF"
    yield "text.nii", b"this is no volume" * 40, "not a NIfTI"
    yield "text.npz", b"this is no archive", "not an npz"
    yield "cut.png", picture.getvalue()[:2000], "damaged"
    yield "huge.nii", header(dim=huge), "claims to hold 32767 x 32767 x 32767"
    yield "huge.nii.gz", gzip.compress(header(dim=huge)), "claims to hold"
    yield "more.nii", header(dim=[3, 80, 80, 80, 1, 1, 1, 1]), "truncated"
    yield "none.nii", header(dim=[3, 0, 8, 8, 1, 1, 1, 1]), "no voxels"
    yield "line.nii", header(dim=[1, 8, 1, 1, 1, 1, 1, 1]), "no plane"
    yield "offset.nii", header(vox_offset=2**29), "voxels begin at byte"
    yield "four.nii", header(dim=[4, 8, 8, 4, 2, 1, 1, 1]), "4-D, 8 x 8 x 4 x 2: save each"
    yield "flat.nii", header(srow_x=[0, 0, 0, 0], sform_code=1), "affine is singular"
    yield "complex.nii", header(datatype=32, dim=[3, 8, 8, 2, 1, 1, 1, 1]), "only real numbers"
    yield "rgb.nii", header(datatype=128, dim=[3, 8, 8, 4, 1, 1, 1, 1]), "colours"
    yield "type.nii", header(datatype=999), "can't be read"
    yield "pickle.npz", pickled.getvalue(), "never loaded"
    yield "bomb.npz", bomb_npz(), "claims to hold"
    yield "liar.npz", bomb_npz(claimed=(10, 10)), "another number of bytes"
    yield "several.npz", saved(a=np.zeros((4, 4)), b=np.zeros((4, 4))), "it holds 2 arrays"
    yield "words.npz", saved(values=np.array([["a", "b"], ["c", "d"]])), "only real numbers"
    yield "four.npz", saved(values=np.zeros((2, 2, 2, 2))), "has shape"
    yield "units.npz", saved(values=np.zeros((4, 4)), units="Gy"), "units must be one of"
    yield "spacing.npz", saved(values=np.zeros((4, 4)), spacing=[1, -1]), "positive"
    yield "bomb.png", bomb_png(30000, 30000), "too many pixels|claims to hold"
    yield "deep.png", bomb_png(4, 4, depth=16, colour=2), "16 bits in a PNG"
    yield "gif.png", b"GIF89a" + bytes(100), "not a PNG"
    yield "notes.txt", b"notes", "not an image"


class Bad:
    def __reduce__(self):
        return (os.system, ("exit 1",))


def saved(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def bomb_npz(claimed=(2**15, 2**15)):
    """About 1 MB that unpacks to 1 GB."""
    file, head = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": claimed})
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("values.npy", "w") as member:
        member.write(head.getvalue())
        for _ in range(64 if claimed == (10, 10) else 1024):
            member.write(bytes(2**20))
    return file.getvalue()


def bomb_png(width, height, depth=8, colour=0):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(2**20))) + chunk(b"IEND", b"")
    )


def test_what_cannot_be_read_is_named_with_the_reason(tmp_path):
    (tmp_path / "files").mkdir()
    for name, content, message in broken(tmp_path):
        path = tmp_path / "files" / name
        path.write_bytes(content)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(ValueError, match=message) as caught:
            raise AssertionError(f"{name} was read: {files.read(path)}")
        assert str(caught.value).startswith(f"{path}: "), name
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        assert grown < 200, f"{name} took {grown:.0f} MB"


def test_no_flipped_bit_of_a_packed_volume_goes_unseen(tmp_path):
    values = np.random.default_rng(0).normal(0, 1, (16, 16, 16)).cumsum(0)
    good = save_nifti(tmp_path / "good.nii.gz", (20 * values).astype(np.int16)).read_bytes()
    read = files.read(tmp_path / "good.nii.gz").values
    refused = 0
    for place in np.random.default_rng(1).integers(10, len(good), 60):  # behind the header of gzip
        flipped = bytearray(good)
        flipped[place] ^= 1 << place % 8
        (tmp_path / "bad.nii.gz").write_bytes(flipped)
        try:
            assert np.array_equal(files.read(tmp_path / "bad.nii.gz").values, read)
        except ValueError:
            refused += 1
    assert refused > 50


def test_missing_files_and_links(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        files.read(tmp_path / "missing.nii")
    (tmp_path / "link.png").symlink_to(tmp_path / "missing.png")
    with pytest.raises(FileNotFoundError, match="a link that leads nowhere"):
        files.read(tmp_path / "link.png")
    with pytest.raises(FileNotFoundError, match="no such"):
        files.find(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="without DICOM slices"):
        files.read(tmp_path / "empty")


# ---------------------------------------------------------------- writing


def test_nothing_is_overwritten_or_left_half_written(tmp_path, monkeypatch):
    image = files.read(save_nifti(tmp_path / "a.nii.gz", ct((4, 4, 4))))
    content = (tmp_path / "a.nii.gz").read_bytes()
    with pytest.raises(FileExistsError, match="is there already"):
        files.write(tmp_path, image.values, image)
    with pytest.raises(FileExistsError):
        files.write(tmp_path / "a.nii.gz", image.values, image)
    assert (tmp_path / "a.nii.gz").read_bytes() == content
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        files.write(tmp_path / "out.nii.gz", image.values, image)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii.gz"]


@pytest.mark.parametrize(
    "change, how, message",
    [
        (lambda v: v[:, :-1], {}, "padding cropped off"),
        (lambda v: v[0], {}, "padding cropped off"),
        (lambda v: np.repeat(v, 2, 0), {}, "one or three channels"),
        (lambda v: np.repeat(v, 3, 0), {}, "colours can't be written as NIfTI"),
        (lambda v: v * np.nan, {}, "not all finite"),
        (lambda v: v, {"units": "Gy"}, "units must be one of"),
    ],
)
def test_wrong_values_are_refused(tmp_path, change, how, message):
    image = files.read(save_nifti(tmp_path / "a.nii.gz", ct((4, 4, 4))))
    with pytest.raises(ValueError, match=message):
        files.write(tmp_path / "o.nii.gz", change(image.values), image, **how)


def test_a_suffix_of_another_kind_is_refused(tmp_path):
    image = files.read(save_nifti(tmp_path / "a.nii.gz", ct((4, 4, 4))))
    with pytest.raises(ValueError, match=r"is a \.nii\.gz or \.nii file"):
        files.write(tmp_path / "o.png", image.values, image)


def test_fractions_that_are_not_hu_stay_float(tmp_path):
    image = files.read(save_nifti(tmp_path / "mr.nii", RNG.uniform(0, 1, (4, 4, 4)).astype(np.float32)))
    out = nib.load(files.write(tmp_path / "o.nii", image.values, image))
    assert out.get_data_dtype() == np.float32
    assert nib.load(files.write(tmp_path / "p.nii", image.values, image, units="HU")).get_data_dtype() == np.int16


def test_a_damaged_note_on_units_is_told(tmp_path):
    like = files.read(png(tmp_path / "a.png", np.zeros((4, 4), np.uint8)))
    out = files.write(tmp_path / "o.png", like.values, like)
    picture = Pillow.open(out)
    from PIL.PngImagePlugin import PngInfo

    for text in ("nonsense", json.dumps({"medgan_lib": {"units": "HU", "per_unit": 0, "low": 0}})):
        info = PngInfo()
        info.add_text("medgan_lib", text)
        picture.save(tmp_path / "n.png", pnginfo=info)
        again = files.read(tmp_path / "n.png")
        assert again.units == "intensity 0-65535" and "can't be read" in again.notes[0]


# ---------------------------------------------------------------- finding


def test_find_lists_images_in_natural_order_and_the_rest_with_reasons(tmp_path):
    for name in ("slice10.png", "slice2.png", "Ä.png"):
        png(tmp_path / name, np.zeros((4, 4), np.uint8))
    series(tmp_path / "ct")
    (tmp_path / "other").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for name in (".DS_Store", "README.md", "Thumbs.db"):
        (tmp_path / name).write_text("text")
    found = files.find(tmp_path)
    assert [path.name for path in found.paths] == ["ct", "slice2.png", "slice10.png", "Ä.png"]
    reasons = dict(line.split(": ", 1) for line in found.ignored)
    assert set(reasons) == {".DS_Store", "README.md", "Thumbs.db", "other", "loop", "circle"}
    assert "contains it" in reasons["loop"] and reasons["circle"] == "a link that leads nowhere"
    assert reasons["README.md"] == "not an image"


def test_find_knows_a_folder_that_is_a_series(tmp_path):
    series(tmp_path / "ct")
    assert files.find(tmp_path / "ct").paths == (tmp_path / "ct",)
    shutil.copy(tmp_path / "ct" / "001.dcm", tmp_path / "001.dcm")
    assert files.find(tmp_path / "001.dcm").paths == (tmp_path / "001.dcm",)
    add_a_series(tmp_path / "ct")
    with pytest.raises(ValueError, match="give each series a folder of its own"):
        files.find(tmp_path / "ct")


def test_pickled_values_run_no_code(tmp_path):
    (tmp_path / "a.npz").write_bytes(pickle.dumps(Bad()))
    with pytest.raises(ValueError, match="not an npz"):
        files.read(tmp_path / "a.npz")
