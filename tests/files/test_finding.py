"""Finding the images of a folder."""

import shutil

import numpy as np
import pytest
from image_files import add_a_series, png, series

from medgan_lib import files


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
