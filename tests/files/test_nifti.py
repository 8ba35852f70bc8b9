"""NIfTI: geometry, headers and units come back as they were."""

import nibabel as nib
import numpy as np
import pytest
from image_files import AFFINE, affines, ct, save_nifti

from medgan_lib import files


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
