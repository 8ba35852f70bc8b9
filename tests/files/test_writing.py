"""Writing: exact to rounding, nothing overwritten, nothing half written."""

import json

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import RNG, affines, ct, png, save_nifti
from PIL import Image as Pillow

from medgan_lib import files


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
        (lambda v: v, {"units": "stone"}, "units must be one of"),
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
