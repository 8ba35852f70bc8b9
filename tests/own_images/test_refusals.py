"""What is wrong with a folder is said in one message."""

import gzip

import numpy as np
import pytest
from image_files import add_a_series, save_nifti, series
from own_folders import nifti, pair_set, png

from medgan_lib import cohorts

BLANK = np.zeros((16, 16), np.uint8)


def broken_files(root):
    pair_set(root)
    good = (root / "A" / "case0.nii.gz").read_bytes()
    (root / "A" / "case1.nii.gz").write_bytes(good[:-30])
    (root / "B" / "case2.nii.gz").write_bytes(b"")
    (root / "B" / "case4.nii.gz").write_bytes(gzip.compress(b"text" * 200, mtime=0))


def text_as_picture(root):
    png(root / "a.png")
    (root / "b.png").write_text("text")
    (root / "c.png").symlink_to(root / "nowhere.png")


def one_domain(root):
    png(root / "A" / "a.png")


def empty_domain(root):
    png(root / "A" / "a.png")
    (root / "B").mkdir()


def names_differ(root):
    for name in ("1", "2", "3"):
        png(root / "A" / f"{name}.png")
    for name in ("2", "3", "4"):
        png(root / "B" / f"{name}.png")


def sizes_differ(root):
    nifti(root / "A" / "a.nii", (8, 8, 4))
    nifti(root / "B" / "a.nii", (8, 8, 5))
    png(root / "A" / "b.png", (8, 8))
    png(root / "B" / "b.png", (8, 9))


def same_name_twice(root):
    png(root / "a.png")
    png(root / "a.tif")


def depths(root):
    png(root / "a.png")
    png(root / "b.png", dtype=np.uint16)


def two_series(root):
    series(root)
    add_a_series(root)
    add_a_series(root / "..")


def four_d(root):
    root.mkdir(exist_ok=True)
    save_nifti(root / "fmri.nii.gz", np.zeros((4, 4, 4, 3), np.int16))


def csv(content, names="ab"):
    def make(root):
        for name in names:
            png(root / f"{name}.png")
        (root / "labels.csv").write_bytes(content if isinstance(content, bytes) else content.encode())

    return make


def masked(**masks):
    def make(root):
        png(root / "a.png")
        png(root / "b.png")
        for name, values in masks.items():
            png(root / "masks" / f"{name}.png", values=values)

    return make


def jpeg_masks(root):
    png(root / "a.png")
    png(root / "masks" / "a.jpg", (16, 16))


def unpaired_masks(root):
    png(root / "A" / "a.png")
    png(root / "B" / "b.png")
    png(root / "masks" / "a.png")


@pytest.mark.parametrize(
    "make, messages",
    [
        (
            broken_files,
            [
                "3 of 12 images in own can't be used",
                "\n  A/case1.nii.gz: truncated",
                "\n  B/case2.nii.gz: ",
                "B/case4.nii",
            ],
        ),
        (text_as_picture, ["2 of 3 images", "b.png: not a PNG", "c.png: a link that leads nowhere"]),
        (lambda root: root.mkdir(exist_ok=True), ["holds no images", "it is empty"]),
        (lambda root: csv("x", ""), ["holds no images"]),
        (one_domain, ["has A/ and no B/"]),
        (empty_domain, ["B holds no images"]),
        (names_differ, ["2 names are in both", "in A/ only 1; in B/ only 4"]),
        (sizes_differ, ["2 pairs have different sizes", "a: A 4 x 8 x 8, B 5 x 8 x 8", "b: A 8 x 8, B 8 x 9"]),
        (same_name_twice, ["a.png and a.tif, two images called 'a'"]),
        (depths, ["different units or bit depths", "intensity 0-255: a; intensity 0-65535: b"]),
        (two_series, ["give each series a folder of its own"]),
        (four_d, ["fmri.nii.gz: it is 4-D, 4 x 4 x 4 x 3: save each"]),
        (csv("name,label\na,1\nc,2\n"), ["Rows without an image: c; images without a row: b"]),
        (csv("name,label\na,1\nb,2\na.png,2\n"), ["row 4: a has another label"]),
        (csv("file,class\na,1\n"), ["must begin with a line 'name,label'"]),
        (csv(""), ["must begin with"]),
        (csv("name,label\na,1\nb\n"), ["row 3: 2 values are needed, it is 'b'"]),
        (csv("name,label\na,\nb,1\n"), ["row 2"]),
        (csv(b"name,label\n\xff\xfe,1\n"), ["can't be read as CSV in UTF-8"]),
        (csv('name,label\n"a,1\n'), ["can't be read as CSV"]),
        (masked(a=BLANK), ["images without a mask: b"]),
        (masked(a=BLANK, b=BLANK, c=BLANK), ["Masks without an image: c"]),
        (masked(a=BLANK, b=np.zeros((8, 8), np.uint8)), ["b.png is 8 x 8, its image 16 x 16"]),
        (masked(a=BLANK, b=np.arange(256, dtype=np.uint8).reshape(16, 16)), ["b.png has 256 different values"]),
        (masked(a=BLANK, b=np.dstack([np.eye(16), BLANK, BLANK]).astype(np.uint8)), ["b.png has colours"]),
        (jpeg_masks, ["a.jpg is a JPEG, which changes values"]),
        (unpaired_masks, ["needs pairs or a plain folder"]),
    ],
)
def test_what_is_wrong_with_a_folder(tmp_path, make, messages):
    root = tmp_path / "own"
    root.mkdir()
    make(root)
    with pytest.raises(ValueError) as caught:
        cohorts.load(str(root))
    for message in messages:
        assert message in str(caught.value)
