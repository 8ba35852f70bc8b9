"""The cache of simulations."""

import errno
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from medgan_lib.cohorts import cache
from medgan_lib.cohorts.simulated import heads, nodules
from medgan_lib.physics import fields


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """A build function that counts its calls, and a cache of its own."""
    monkeypatch.setenv("MEDGAN_CACHE", str(tmp_path / "cache"))
    calls = []

    def get(parameters=None):
        def build():
            calls.append(1)
            return {"x": torch.arange(6.0)}

        build.__module__ = nodules.__name__  # as if it stood there
        return cache.cached("thing", parameters or {"n": 6}, build)

    get.calls, get.folder = calls, tmp_path / "cache"
    return get


def test_the_cache_is_by_content(counted, monkeypatch, tmp_path):
    assert torch.equal(counted()["x"], counted()["x"]) and len(counted.calls) == 1
    counted({"n": 7})
    assert len(counted.calls) == 2
    source = tmp_path / "changed.py"
    code = Path(nodules.__file__).read_text()
    source.write_text(f"# the same simulation\n{code}")
    monkeypatch.setattr(nodules, "__file__", str(source))
    counted()
    assert len(counted.calls) == 2, "a comment changes no number"
    source.write_text(code + "LATER = 1\n")
    counted()
    assert len(counted.calls) == 3 and len(list(counted.folder.iterdir())) == 3


def test_what_a_simulation_imports_counts_without_being_listed(monkeypatch, tmp_path):
    before = cache.code_digest(heads.load)
    source = tmp_path / "fields.py"
    source.write_text(Path(fields.__file__).read_text() + "LATER = 1\n")
    monkeypatch.setattr(fields, "__file__", str(source))
    assert cache.code_digest(heads.load) != before


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut off", None])
def test_a_damaged_entry_is_made_again(counted, damage):
    counted()
    (path,) = counted.folder.iterdir()
    path.write_bytes(path.read_bytes()[:-40] if damage is None else damage)
    with pytest.warns(UserWarning, match="is damaged; it is made again"):
        assert torch.equal(counted()["x"], torch.arange(6.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        counted()
    assert len(counted.calls) == 2


def test_a_pickle_in_the_cache_is_never_loaded(counted, tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    counted()
    (path,) = counted.folder.iterdir()
    np.savez(path, x=np.array([Trap()], dtype=object))
    with pytest.warns(UserWarning, match="damaged"):
        counted()
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_cache_that_cannot_be_written_costs_a_warning_only(counted, monkeypatch, code):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(np, "savez", refuse)
    with pytest.warns(UserWarning, match=rf"can't be written \({os.strerror(code)}\): going on without .*MEDGAN_CACHE"):
        assert torch.equal(counted()["x"], torch.arange(6.0))
    assert list(counted.folder.iterdir()) == []


def test_a_cache_folder_that_cannot_be_made_costs_a_warning_only(counted):
    counted.folder.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="going on without the cache"):
        assert torch.equal(counted()["x"], torch.arange(6.0))
