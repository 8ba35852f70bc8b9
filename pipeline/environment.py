"""What a run was made with: the pinned packages, their versions, the commit. Kept with its results and its record."""

import contextlib
import hashlib
import os
import subprocess
from importlib import metadata
from pathlib import Path

from pipeline import ROOT

# Whose functions decide numbers; the rest draws, reads and builds.
DECISIVE = (
    "torch", "numpy", "scipy", "scikit-image", "scikit-learn", "mlxtend", "nilearn",
    "nibabel", "pillow", "pydicom",
)
# A change elsewhere (prose, tests, the records that are being written) makes no other run.
CODE = ("medgan_lib", "notebooks", "pipeline", "book/profiles", "data", "requirements.txt")


def made_with(root: Path = ROOT) -> dict[str, str | dict[str, str] | None]:
    """``requirements``, a digest of the pinned packages; ``packages``, versions by name; ``commit``, see `commit`."""
    pinned = hashlib.sha256((root / "requirements.txt").read_bytes()).hexdigest()[:12]
    versions = {}
    for name in DECISIVE:
        with contextlib.suppress(metadata.PackageNotFoundError):  # not every chapter needs each
            versions[name] = metadata.version(name)
    return {"requirements": pinned, "packages": versions, "commit": commit(root)}


def commit(root: Path = ROOT) -> str | None:
    """The checkout's commit, 12 digits, with a "+" where code differs from it; None without git or a repository."""
    def git(*arguments: str) -> str:
        # Not beyond root: a download unpacked in another project's checkout has no commit.
        env = {**os.environ, "GIT_CEILING_DIRECTORIES": str(root.parent), "GIT_OPTIONAL_LOCKS": "0"}
        done = subprocess.run(["git", *arguments], cwd=root, env=env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--", *CODE) else "")
    except (OSError, subprocess.CalledProcessError):
        return None
