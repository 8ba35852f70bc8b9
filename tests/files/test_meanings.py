"""Nothing is read silently wrong: odd files give the right values, a note, or a refusal in words."""

import re

import numpy as np
import odd_dicom  # noqa: F401, each adds its cases
import odd_frames  # noqa: F401
import odd_pictures  # noqa: F401
import odd_volumes  # noqa: F401
import pytest
from odd_files import CASES

from medgan_lib import files
from medgan_lib.files.meanings import MEANINGS


def test_every_row_of_the_table_has_a_file():
    assert {(case.format, case.field) for case in CASES} == {(row.format, row.field) for row in MEANINGS}
    assert len({row[:2] for row in MEANINGS}) == len(MEANINGS)
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_odd_file_is_read_right_or_refused_in_words(tmp_path, case):
    path = case.make(tmp_path / "odd")
    if case.refused:
        with pytest.raises(ValueError, match=case.refused) as caught:
            files.read(path)
        assert str(caught.value).startswith(f"{path}: ") and "truncated or damaged" not in str(caught.value)
        return
    image = files.read(path)
    if case.values is not None:
        assert image.values.shape == np.shape(case.values)
        np.testing.assert_allclose(image.values, case.values, rtol=1e-6, atol=1e-4)
    assert case.units is None or image.units == case.units
    assert case.spacing is None or np.allclose(image.spacing, case.spacing)
    assert case.note is None or any(re.search(case.note, note) for note in image.notes), image.notes
    assert case.notes is None or len(image.notes) == case.notes, image.notes
