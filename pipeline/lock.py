"""``make lock``: pin every package that the book needs, with the hashes of all its files.

uv resolves ``requirements.in`` and the dependencies of ``pyproject.toml`` for all platforms and Pythons at once. Pins
that are there already stay where they still fit.

The registry's PyTorch for Linux comes with the CUDA libraries, some gigabytes; PyTorch's CPU builds of the same version
need none. One list cannot serve both, since in hash-checking mode pip refuses what is not listed, and installs all that
is. So these libraries stand in a list of their own, which the Makefile installs where the torch that was installed asks
for them. The CPU build stands in ``requirements-cpu.txt``, written by hand, which the Makefile tries first: pip would
never choose it beside a file of the registry whose hash is known.
"""

import re
import shutil
import subprocess
from pathlib import Path

from pipeline import ROOT, UserError, write_atomic

HEADER = "# Made by `make lock` from requirements.in and pyproject.toml: change these.\n"
CUDA = ("cuda-", "nvidia-", "triton")  # begin the names of what only a CUDA build of torch needs


def entries(text: str) -> dict[str, str]:
    """A list of requirements by pin ("numpy==2.4.6 ; marker"): its lines, without comments.

    Two pins of one package, for different platforms, are two entries.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    blocks = re.findall(r"^\S.*(?:\n[ \t].*)*", "\n".join(lines), re.MULTILINE)
    return {re.split(r"\s*\\|\s+--hash|\s+#", block, maxsplit=1)[0]: block for block in blocks}


def split(resolved: str) -> tuple[str, str]:
    """The two lists, for every machine and for CUDA, from what uv ``resolved``."""
    found = entries(resolved)
    every = [block for pin, block in found.items() if not pin.startswith(CUDA)]
    cuda = [block for pin, block in found.items() if pin.startswith(CUDA)]
    return HEADER + "\n".join(every) + "\n", HEADER + "\n".join(cuda) + "\n"


def lock(root: Path = ROOT) -> None:
    """Write ``requirements.txt`` and ``requirements-cuda.txt`` anew. UserError: no uv, or nothing fits together."""
    uv = shutil.which("uv", path=str(root / ".venv" / "bin")) or shutil.which("uv")
    if uv is None:
        raise UserError("make lock needs uv: .venv/bin/pip install uv")
    every, cuda = root / "requirements.txt", root / "requirements-cuda.txt"
    present = root / "_build" / "lock.txt"  # uv prefers the pins in the file that it is going to write
    write_atomic(present, "".join(path.read_text(encoding="utf-8") for path in (every, cuda) if path.exists()))
    done = subprocess.run(
        [uv, "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-emit-index-url", "--no-annotate",
         "--no-header", "--python-version", "3.11", "--extra", "data", "--output-file", present,
         "requirements.in", "pyproject.toml"],
        cwd=root, capture_output=True, text=True,
    )
    if done.returncode:
        raise UserError(f"uv found no versions that fit together:\n{done.stderr.strip()}")
    for path, text in zip((every, cuda), split(present.read_text(encoding="utf-8")), strict=True):
        write_atomic(path, text)
