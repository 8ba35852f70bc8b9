"""Pictures and npz: depth, colour and units."""

import numpy as np
import pytest
import tifffile
from image_files import RNG, png
from PIL import Image as Pillow

from medgan_lib import files


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
