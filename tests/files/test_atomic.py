"""Writing beside a file and renaming: whole or not at all, for everybody to read, and without heavy imports."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medgan_lib.files.atomic import atomic, write_atomic


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["file"] and path.read_text() == "old"


def test_the_new_file_has_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    with atomic(path) as file:
        file.write("größer".encode())
        assert not path.exists()
    assert path.read_text(encoding="utf-8") == "größer" and len(list(path.parent.iterdir())) == 1
    write_atomic(path, "kürzer")
    assert path.read_bytes() == "kürzer".encode()


def test_who_may_read_it_is_up_to_the_user_and_no_thread_changes_that_for_another(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda number: write_atomic(tmp_path / f"{number % 4}", f"{number}"), range(400)))
        modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert modes == {0o640} and sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "3"]


def test_what_only_writes_files_starts_without_the_readers_and_torch() -> None:
    code = "import sys, pipeline.__main__, medgan_lib.ledger; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    loaded = done.stdout.split()
    assert "medgan_lib.files.atomic" in loaded
    assert not {"torch", "numpy", "nibabel", "pydicom", "tifffile", "PIL"} & set(loaded)


def test_the_readers_come_when_they_are_asked_for() -> None:
    code = "from medgan_lib import files; files.finding, files.UNITS; print([files.write.__name__]); files.no"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.stdout.strip() == "['write']"
    assert done.stderr.strip().endswith("module 'medgan_lib.files' has no attribute 'no'")
