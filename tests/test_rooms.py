"""The rooms: what stands where, who may import whom, how long a file may be, and that a name means one thing."""

import ast
import importlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "medgan_lib"
LONGEST = 400  # lines
# One anatomy may take one long file: what makes it is easier to read in one piece.
ANATOMIES = ("medgan_lib/cohorts/simulated/chests.py",)

# A room may import those that stand before it in its row, and itself.
ARROWS = {
    "objectives": (),
    "networks": (),
    "physics": (),
    "files": (),
    "training": ("files", "networks"),
    "cohorts": ("files", "physics", "training"),
    "methods": ("networks", "objectives", "training"),
    "metrics": ("cohorts", "methods", "networks", "objectives", "physics", "training"),
    "ledger": ("files",),
    "figures": ("files", "objectives"),
    "own_images": ("cohorts", "figures", "files", "methods", "metrics", "networks", "training"),
}


def modules(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(path: Path, name: str) -> Iterator[str]:
    """Dotted names that a file imports, anywhere in it."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def test_nothing_stands_at_the_top_but_rooms_and_the_objectives() -> None:
    loose = {path.name for path in LIBRARY.iterdir() if path.is_file() and path.name != "py.typed"}
    assert loose == {"__init__.py", "__main__.py", "objectives.py"}
    rooms = {path.name for path in LIBRARY.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms | {"objectives"} == set(ARROWS)


@pytest.mark.parametrize("room", ARROWS)
def test_arrows_point_one_way(room: str) -> None:
    folder = LIBRARY / room
    files = modules(folder) if folder.is_dir() else [(f"medgan_lib.{room}", folder.with_suffix(".py"))]
    found = {
        (name, other)
        for name, path in files
        for target in imports(path, name)
        if target.startswith("medgan_lib.") and (other := target.split(".")[1]) != room
    }
    allowed = {*ARROWS[room], "__version__"}
    assert not {arrow for arrow in found if arrow[1] not in allowed}


def test_no_circle() -> None:
    order: list[str] = []
    while len(order) < len(ARROWS):
        ready = [room for room in ARROWS if room not in order and set(ARROWS[room]) <= set(order)]
        assert ready, f"a circle among {set(ARROWS) - set(order)}"
        order += ready


@pytest.mark.parametrize("folder", ["medgan_lib", "pipeline", "tests", "benchmarks"])
def test_no_file_is_too_long(folder: str) -> None:
    files = [path for kind in ("*.py", "*.js") for path in (ROOT / folder).rglob(kind)]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert not {name: n for name, n in lengths.items() if n > LONGEST and name not in ANATOMIES}


def test_a_public_name_means_one_thing() -> None:
    """What two rooms or files call alike, a reader takes for the same."""
    exported = Counter(
        name
        for room in ARROWS
        for name in getattr(importlib.import_module(f"medgan_lib.{room}"), "__all__", ())
    )
    assert not [name for name, n in exported.items() if n > 1]


def test_tests_mirror_the_rooms() -> None:
    others = {"pipeline", "notebooks", "book", "gpu"}
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and any(path.rglob("test_*.py"))}
    assert folders <= {*ARROWS, *others}
    loose = {path.stem.removeprefix("test_") for path in (ROOT / "tests").glob("test_*.py")}
    assert loose <= {"objectives", "rooms", "benchmarks"}, "a test belongs into the folder of what it tests"


@pytest.mark.parametrize("folder", ["medgan_lib", "pipeline", "notebooks", "benchmarks"])
def test_nothing_needs_the_tests(folder: str) -> None:
    for path in (ROOT / folder).rglob("*"):
        if path.suffix in (".py", ".ipynb"):
            assert "from tests" not in (text := path.read_text(encoding="utf-8")), path
            assert 'tests"' not in text or path.name in ("__main__.py",), path


def test_importing_the_library_has_no_side_effect() -> None:
    """No seed, no download, no style, nothing printed; and the thin rooms load no heavy package."""
    import subprocess
    import sys

    code = (
        "import sys, random; state = random.getstate(); import medgan_lib; "
        "from medgan_lib import ledger, figures, files; "
        "assert random.getstate() == state; "
        "print({'torch', 'scipy', 'sklearn', 'skimage', 'matplotlib', 'pydicom', 'nibabel'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "set()\n" and not done.stderr
