"""The pinned environment: complete, hashed, and made from what is written by hand."""

import re
import tomllib
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipeline import ROOT
from pipeline.environment import DECISIVE
from pipeline.lock import entries, split

LISTS = ("requirements.txt", "requirements-cuda.txt")
HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")
RESOLVED = """\
numpy==2.4.6 \\
    --hash=sha256:{a}
nvidia-cublas==13.1 ; sys_platform == 'linux' \\
    --hash=sha256:{b} \\
    --hash=sha256:{c}
    # via torch
six==1.0 ; python_full_version < '3.12' \\
    --hash=sha256:{a}
six==2.0 ; python_full_version >= '3.12' \\
    --hash=sha256:{b}
torch==2.13.0 \\
    --hash=sha256:{c}
triton==3.7 \\
    --hash=sha256:{a}
""".format(a="a" * 64, b="b" * 64, c="c" * 64)


def pins(name: str) -> dict[str, str]:
    return entries((ROOT / name).read_text(encoding="utf-8"))


def versions(name: str) -> dict[str, set[str]]:
    """The pinned versions of each package, by its normal name."""
    found: dict[str, set[str]] = {}
    for pin in pins(name):
        requirement = Requirement(pin)
        found.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier)[2:])
    return found


def test_every_package_is_pinned_with_hashes_and_nothing_else_is_in_the_lists() -> None:
    for name in LISTS:
        assert len(pins(name)) > 15
        for pin, block in pins(name).items():
            assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; .+)?", pin), pin
            rest = block.removeprefix(pin).replace("\\\n", " ").split()
            assert rest and all(HASH.fullmatch(word) for word in rest), f"{pin}: {rest}"
        words = (ROOT / name).read_text(encoding="utf-8")
        assert "://" not in words and "index" not in words.replace("importlib", ""), "a host belongs to the machine"


def test_what_the_library_and_the_book_ask_for_is_pinned_to_a_version_that_fits() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = versions("requirements.txt")
    asked = [*project["dependencies"], *project["optional-dependencies"]["data"], *pins("requirements.in")]
    for text in asked:
        requirement = Requirement(text)
        found = pinned.get(canonicalize_name(requirement.name))
        assert found, f"{requirement.name} is not in requirements.txt: make lock"
        assert all(requirement.specifier.contains(version) for version in found), f"{text}, but {found}: make lock"


def test_these_tests_run_with_what_is_pinned() -> None:
    pinned = versions("requirements.txt")
    for name in DECISIVE:
        assert metadata.version(name).partition("+")[0] in pinned[name], f"{name}: rm .venv/installed, then make again"


def test_cuda_libraries_stand_apart() -> None:
    every, cuda = split(RESOLVED)
    assert list(entries(every)) == ["numpy==2.4.6", "six==1.0 ; python_full_version < '3.12'",
                                    "six==2.0 ; python_full_version >= '3.12'", "torch==2.13.0"]
    assert list(entries(cuda)) == ["nvidia-cublas==13.1 ; sys_platform == 'linux'", "triton==3.7"]
    assert HASH.findall(cuda) == [f"sha256:{letter * 64}" for letter in "bca"]
    assert not any(name.startswith(("nvidia-", "cuda-", "triton")) for name in versions("requirements.txt"))


def test_the_cpu_build_is_of_the_same_version_and_hashed() -> None:
    ((pin, block),) = pins("requirements-cpu.txt").items()
    assert pin == f"torch=={versions('requirements.txt')['torch'].pop()}+cpu"
    assert len(HASH.findall(block)) >= 1
