"""What holds for every real data set of the registry: missing and damaged files are named, with what to do."""

import numpy as np
import pytest

from medgan_lib import cohorts
from medgan_lib.cohorts.public.prepared import layout
from medgan_lib.cohorts.registry import entry, registry

FILES = [(name, file) for name in registry() for file in layout(name)]


def message(error):
    """One line that says how to get the data."""
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("name", registry())
def test_missing_data_say_how_to_get_them(root, name):
    with pytest.raises(FileNotFoundError) as error:
        cohorts.load(name)
    needed = (f"make data NAMES={name}", f"{entry(name)['download_mb']} MB", "MEDGAN_DATA", str(root / name))
    assert all(part in message(error) for part in (*needed, f"embedded cohort {entry(name)['embedded']!r}"))
    assert not root.exists()


@pytest.mark.parametrize("name, missing", FILES)
def test_every_missing_file_is_named_before_another_is_read(root, name, missing):
    (root / name).mkdir(parents=True)
    for file in layout(name):
        if file != missing:
            (root / name / file).write_bytes(b"not read")
    with pytest.raises(FileNotFoundError) as error:
        cohorts.load(name)
    assert missing in message(error) and f"make data NAMES={name}" in message(error)


@pytest.mark.parametrize("name", registry())
@pytest.mark.parametrize("damage, reason", [
    ("text", "truncated, damaged or not an npz file"),
    ("cut", "truncated, damaged or not an npz file"),
    ("type", "has type complex64, expected "),
    ("objects", "holds Python objects"),
    ("empty", "has shape (0,"),
    ("lacking", " is missing"),
])  # fmt: skip
def test_a_damaged_file_is_refused_by_name(root, name, damage, reason):
    """The first file of the prepared form; nothing in it is unpickled."""
    first, arrays = next(iter(layout(name).items()))
    (root / name).mkdir(parents=True)
    for file in layout(name):
        (root / name / file).write_bytes(b"text")
    path, items = root / name / first, 0 if damage == "empty" else 1
    types = {"type": lambda spec: np.complex64, "objects": lambda spec: object}.get(damage, lambda spec: spec["dtype"])
    if damage != "text":
        made = {key: np.zeros((items, *spec["shape"][1:]), types(spec)) for key, spec in arrays.items()}
        np.savez_compressed(path, **({"other": np.zeros(1)} if damage == "lacking" else made))
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError) as error:
        cohorts.load(name)
    said = message(error)
    assert said.startswith(f"{path} is not usable: ") and reason in said
    assert f"Delete it and run `make data NAMES={name}`." in said
