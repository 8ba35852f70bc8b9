"""Reading: values that are treated, and broken files named with the reason."""

import gzip
import io
import os
import pickle
import resource
import struct
import zipfile
import zlib

import nibabel as nib
import numpy as np
import pytest
from image_files import RNG, ct, save_nifti
from PIL import Image as Pillow

from medgan_lib import files


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
    yield "type.nii", header(datatype=999), "header makes no sense"
    yield "pickle.npz", pickled.getvalue(), "never loaded"
    yield "bomb.npz", bomb_npz(), "claims to hold"
    yield "liar.npz", bomb_npz(claimed=(10, 10)), "another number of bytes"
    yield "several.npz", saved(a=np.zeros((4, 4)), b=np.zeros((4, 4))), "it holds 2 arrays"
    yield "words.npz", saved(values=np.array([["a", "b"], ["c", "d"]])), "only real numbers"
    yield "four.npz", saved(values=np.zeros((2, 2, 2, 2))), "has shape"
    yield "units.npz", saved(values=np.zeros((4, 4)), units="stone"), "units must be one of"
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


def test_pickled_values_run_no_code(tmp_path):
    (tmp_path / "a.npz").write_bytes(pickle.dumps(Bad()))
    with pytest.raises(ValueError, match="not an npz"):
        files.read(tmp_path / "a.npz")
