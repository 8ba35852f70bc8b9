"""What tests of several rooms need."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for prepared data that does not exist yet, in the place of the user's."""
    monkeypatch.setenv("MEDGAN_DATA", str(tmp_path / "root"))
    return tmp_path / "root"


@pytest.fixture
def in_double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
