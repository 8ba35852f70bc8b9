"""Odd TIFF, PNG and JPEG, see `odd_files`."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from odd_files import COLOUR, DEEP, GREY, case
from PIL import Image as Pillow

# TIFF


def tif(folder: Path, values: np.ndarray, **how: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(folder / "a.tif", values, **how)
    return folder / "a.tif"


def axes_of(kind: str, axes: str, shape: tuple[int, ...]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / ("a.ome.tif" if kind == "ome" else "a.tif")
        values = np.arange(np.prod(shape)).reshape(shape).astype(np.uint16)
        photometric = {} if "S" in axes else {"photometric": "minisblack"}
        tifffile.imwrite(path, values, **{kind: True}, metadata={"axes": axes}, **photometric)
        return path

    make.__name__ = f"{kind}_{axes}_{'x'.join(map(str, shape))}"
    return make


for kind_ in ("imagej", "ome"):
    case("TIFF", "axes: Z, pages", values=np.arange(60).reshape(1, 3, 4, 5), units="intensity 0-65535", notes=0)(
        axes_of(kind_, "ZYX", (3, 4, 5))
    )
    for axes_, shape_, told_ in (
        ("CYX", (3, 4, 5), "3 channels"),
        ("TYX", (2, 4, 5), "2 times"),
        ("ZCYX", (2, 3, 4, 5), "3 channels"),
        ("TZCYX", (2, 3, 2, 4, 5), "2 channels"),
    ):
        case("TIFF", "axes: C, T and others", refused=rf"its axes are {axes_} .*{told_}")(axes_of(kind_, axes_, shape_))
case("TIFF", "axes: C, T and others", values=np.arange(60).reshape(1, 3, 4, 5), units="intensity 0-65535", notes=0)(
    axes_of("imagej", "TZCYX", (1, 3, 1, 4, 5))
)


@case("TIFF", "axes: Z, pages", values=np.stack([DEEP, DEEP + 1, DEEP + 2])[None], units="intensity 0-65535",
      note="3 pages are taken as slices")  # fmt: skip
def pages_without_a_name(folder):
    pages = [Pillow.fromarray(DEEP + n) for n in range(3)]
    folder.mkdir(parents=True, exist_ok=True)
    pages[0].save(folder / "a.tif", save_all=True, append_images=pages[1:])
    return folder / "a.tif"


@case("TIFF", "series of several files or sizes", refused="2 images of different sizes or kinds")
def pages_of_two_sizes(folder):
    folder.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(folder / "a.tif") as file:
        file.write(GREY, photometric="minisblack")
        file.write(GREY[:2], photometric="minisblack")
    return folder / "a.tif"


@case("TIFF", "series of several files or sizes", values=GREY[None], units="intensity 0-255", note="smaller copies")
def a_pyramid(folder):
    folder.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(folder / "a.tif") as file:
        file.write(GREY, photometric="minisblack")
        file.write(GREY[::2, ::2], photometric="minisblack", subfiletype=1)
    return folder / "a.tif"


MIN_IS_WHITE = np.array([[0, 10], [20, 255]], np.uint8)


@case("TIFF", "PhotometricInterpretation: min-is-white", values=[[[255, 245], [235, 0]]], units="intensity 0-255",
      note="min-is-white")  # fmt: skip
def dark_as_high_of_8_bits(folder):
    return tif(folder, MIN_IS_WHITE, photometric="miniswhite")


@case("TIFF", "PhotometricInterpretation: min-is-white", values=[[[255, 245], [235, 0]]], units="intensity 0-255",
      note="min-is-white")  # fmt: skip
def dark_as_high_of_8_bits_packed(folder):
    folder.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(MIN_IS_WHITE).save(folder / "a.tif", compression="tiff_lzw")
    with tifffile.TiffFile(folder / "a.tif", mode="r+") as file:
        file.pages[0].tags[262].overwrite(0)
    return folder / "a.tif"


@case("TIFF", "PhotometricInterpretation: min-is-white", values=[[[65535, 62965], [60395, 0]]],
      units="intensity 0-65535", note="min-is-white")  # fmt: skip
def dark_as_high_of_16_bits(folder):
    return tif(folder, MIN_IS_WHITE.astype(np.uint16) * 257, photometric="miniswhite")


@case("TIFF", "PhotometricInterpretation: min-is-white", refused="dark is stored as high .* as float32")
def dark_as_high_of_floats(folder):
    return tif(folder, MIN_IS_WHITE.astype(np.float32), photometric="miniswhite")


@case("TIFF", "PhotometricInterpretation: min-is-white", values=[[[0, 255], [255, 0]]], units="intensity 0-255",
      note="min-is-white")  # fmt: skip
def dark_as_high_of_1_bit(folder):
    folder.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.eye(2, dtype=bool)).save(folder / "a.tif", compression="packbits")
    with tifffile.TiffFile(folder / "a.tif", mode="r+") as file:
        file.pages[0].tags[262].overwrite(0)
    return folder / "a.tif"


@case("TIFF", "SamplesPerPixel, ExtraSamples", refused="it has 4 samples a pixel")
def four_stains(folder):
    return tif(folder, np.dstack([COLOUR, GREY]), photometric="rgb", extrasamples=["unspecified"])


@case("TIFF", "SamplesPerPixel, ExtraSamples", refused="it has 2 samples a pixel")
def two_greys(folder):
    return tif(folder, np.dstack([GREY, GREY]), photometric="minisblack", planarconfig="contig",
               extrasamples=["unspecified"], metadata=None)  # fmt: skip


@case("TIFF", "SamplesPerPixel, ExtraSamples", values=COLOUR.transpose(2, 0, 1), units="intensity 0-255",
      note="transparency is left out")  # fmt: skip
def clear_colours(folder):
    return tif(folder, np.dstack([COLOUR, GREY]), photometric="rgb", extrasamples=["unassalpha"])


@case("TIFF", "SamplesPerPixel, ExtraSamples", values=COLOUR.transpose(2, 0, 1), units="intensity 0-255",
      note="three planes are taken as colours")
def planes_of_colour(folder):
    return tif(folder, COLOUR.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate")


@case("TIFF", "SampleFormat, BitsPerSample", values=GREY[None] - 10.0, units="signal", notes=0)
def signed_8_bits(folder):
    return tif(folder, (GREY.astype(np.int16) - 10).astype(np.int8))


@case("TIFF", "SampleFormat, BitsPerSample", values=GREY[None] + 2.0**31, units="signal", note="told apart")
def unsigned_32_bits(folder):
    return tif(folder, GREY.astype(np.uint32) + np.uint32(2**31))


@case("TIFF", "SampleFormat, BitsPerSample", values=GREY[None] - 1000.0, units="HU", note="HU only by its numbers")
def signed_16_bits(folder):
    return tif(folder, GREY.astype(np.int16) - 1000)


@case("TIFF", "SampleFormat, BitsPerSample", refused="only real numbers")
def complex_numbers(folder):
    return tif(folder, GREY.astype(np.complex64))


@case("TIFF", "SampleFormat, BitsPerSample", values=GREY[None] / 8, units="signal", notes=0)
def half_floats(folder):
    return tif(folder, (GREY / 8).astype(np.float16))


@case("TIFF", "SampleFormat, BitsPerSample", values=GREY[None] * 200.0, units="intensity 0-65535", notes=0)
def big_endian_16_bits(folder):
    return tif(folder, (GREY.astype(np.uint16) * 200).astype(">u2"), byteorder=">")


@case("TIFF", "SampleFormat, BitsPerSample", values=GREY[None] * 100.0, units="intensity 0-65535", notes=0)
def twelve_bits(folder):
    """Two numbers in three bytes, which no writer here packs."""
    flat = (GREY.astype(int) * 100).ravel()
    rows = [flat[n : n + 5] for n in range(0, 20, 5)]
    packed = b""
    for row in rows:
        bits = "".join(f"{value:012b}" for value in row)
        packed += int(bits.ljust(64, "0"), 2).to_bytes(8, "big")
    path = tif(folder, np.frombuffer(packed, np.uint8).reshape(4, 8), photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags[256].overwrite(5)
        file.pages[0].tags[258].overwrite(12)
    return path


@case("TIFF", "SampleFormat, BitsPerSample", refused="64 bits .* packed as LZW can't be read")
def packed_doubles(folder):
    path = tif(folder, GREY.astype(np.float64), metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags[259].overwrite(5)
    return path


@case("TIFF", "SampleFormat, BitsPerSample", refused="big-endian numbers packed as LZW can't be read")
def packed_big_endian_numbers(folder):
    path = tif(folder, GREY.astype(">i2"), byteorder=">", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags[259].overwrite(5)
    return path


@case("TIFF", "series of several files or sizes", refused="does not hold all of its image")
def ome_without_some_of_its_pages(folder):
    path = folder / "a.ome.tif"
    folder.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.ones((2, 4, 5), np.uint16), ome=True, metadata={"axes": "ZYX"}, photometric="minisblack")
    path.write_bytes(path.read_bytes().replace(b'SizeZ="2"', b'SizeZ="5"'))
    return path


@case("TIFF", "axes: C, T and others", refused="axes are in the order YXZ")
def depth_last(folder):
    return tif(folder, np.arange(216, dtype=np.uint16).reshape(6, 6, 6), photometric="minisblack",
               metadata={"axes": "YXZ"})  # fmt: skip


@case("TIFF", "SamplesPerPixel, ExtraSamples", refused="its colours are float32")
def a_volume_taken_for_colours(folder):
    return tif(folder, np.zeros((3, 16, 12), np.float32), photometric="rgb", planarconfig="separate")


@case("TIFF", "SamplesPerPixel, ExtraSamples", refused="its kind of colour")
def a_mask_of_transparency(folder):
    path = tif(folder, GREY, photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags[262].overwrite(4)
    return path


@case("TIFF", "ImageJ: cf, c0, c1", values=GREY[None] - 1000.0, units="HU", note="calibrated numbers stay")
def imagej_shown_with_dark_as_high(folder):
    path = imagej(folder, "cf=0\nc0=-32768.0\nc1=1.0\nvunit=Gray Value\n")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags[262].overwrite(0)
    return path


def imagej(folder: Path, function: str) -> Path:
    text = f"ImageJ=1.54f\nimages=1\n{function}"
    stored = (GREY.astype(np.int32) - 1000 + 32768).astype(np.uint16)
    return tif(folder, stored, description=text, metadata=None)


@case("TIFF", "ImageJ: cf, c0, c1", values=GREY[None] - 1000.0, units="HU", note="calibration is applied: -32768")
def imagej_of_16_signed_bits(folder):
    return imagej(folder, "cf=0\nc0=-32768.0\nc1=1.0\nvunit=Gray Value\n")


@case("TIFF", "ImageJ: cf, c0, c1", refused="a curve of calibration")
def imagej_with_a_curve(folder):
    return imagej(folder, "cf=11\nc0=0.1\nc1=1.0\nvunit=OD\n")


@case("TIFF", "GDAL_NODATA", values=[[[1, 7], [1, 3]]], units="signal", note="1 values are not finite")
def a_value_for_no_data(folder):
    return tif(folder, np.array([[1, 7], [-9999, 3]], np.float32), extratags=[(42113, "s", 0, "-9999", True)])


@case("TIFF", "Orientation", values=np.rot90(GREY, -1)[None], units="intensity 0-255", note="turned upright")
def turned_page(folder):
    return tif(folder, GREY, photometric="minisblack", extratags=[(274, "H", 1, 6, True)])


@case("TIFF", "Orientation", values=np.rot90(GREY, -1)[None], units="intensity 0-255", note="turned upright")
def turned_page_packed(folder):
    folder.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(GREY).save(folder / "a.tif", compression="tiff_lzw", tiffinfo={274: 6})
    return folder / "a.tif"


# PNG, JPEG


def picture(folder: Path, image: Pillow.Image, suffix: str = ".png", **how: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    image.save(folder / f"a{suffix}", **how)
    return folder / f"a{suffix}"


@case("PNG, JPEG", "EXIF orientation", values=np.rot90(GREY)[None], units="intensity 0-255", note="turned upright")
def photo_held_sideways(folder):
    exif = Pillow.Exif()
    exif[274] = 8
    return picture(folder, Pillow.fromarray(GREY), exif=exif)


@case("PNG, JPEG", "transparency", values=GREY[None], units="intensity 0-255", note="transparency")
def clear_grey(folder):
    return picture(folder, Pillow.merge("LA", [Pillow.fromarray(GREY), Pillow.fromarray(GREY)]))


def low_depth_png(bits: int, rows: list[bytes], width: int) -> bytes:
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, len(rows), bits, 0, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@case("PNG, JPEG", "bits below 8", values=[[[0, 17], [34, 255]]], units="intensity 0-255", note="4 bits are stretched")
def png_of_4_bits(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.png").write_bytes(low_depth_png(4, [b"\x01", b"\x2f"], 2))
    return folder / "a.png"


@case("PNG, JPEG", "frames", refused="an animation of 2 frames")
def animation(folder):
    return picture(folder, Pillow.fromarray(GREY), save_all=True, append_images=[Pillow.fromarray(GREY[::-1].copy())])


@case("PNG, JPEG", "frames", units="intensity 0-255", note="the first of its 2 photos")
def two_photos(folder):
    image = Pillow.fromarray(GREY)
    return picture(folder, image, ".jpg", format="MPO", save_all=True, append_images=[image])


@case("PNG, JPEG", "palette, CMYK", values=COLOUR.transpose(2, 0, 1), units="intensity 0-255", notes=0)
def palette(folder):
    image = Pillow.frombytes("P", (5, 4), GREY.tobytes())
    image.putpalette(COLOUR.tobytes())
    return picture(folder, image)


@case("PNG, JPEG", "palette, CMYK", units="intensity 0-255", note="CMYK")
def printing_colours(folder):
    return picture(folder, Pillow.fromarray(COLOUR).convert("CMYK"), ".jpg")


