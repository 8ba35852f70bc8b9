"""What tests of several cohorts need."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for prepared data that does not exist yet, in the place of the user's."""
    monkeypatch.setenv("MEDGAN_DATA", str(tmp_path / "root"))
    return tmp_path / "root"
